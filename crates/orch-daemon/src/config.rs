pub use crate::ConfigError;
use crate::project::Project;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    Literal(String),
    FromEnvironment(String),
}
impl EnvValue {
    pub fn written(&self) -> String {
        match self {
            Self::Literal(text) => text.clone(),
            Self::FromEnvironment(name) => format!("${name}"),
        }
    }
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentEntry {
    pub name: orch_core::AgentName,
    pub adapter: String,
    pub command: Option<String>,
    pub model: Option<String>,
    pub role: Option<String>,
    pub system_prompt: Option<String>,
    pub permission: Option<String>,
    pub max_turns: Option<u32>,
    pub labels: BTreeSet<String>,
    pub max_parallel: u32,
    pub env: BTreeMap<String, EnvValue>,
    pub args: Vec<String>,
    pub enabled: bool,
}
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentFields {
    pub adapter: Option<String>,
    pub model: Option<String>,
    pub role: Option<String>,
    pub labels: Option<Vec<String>>,
    pub command: Option<String>,
    pub system_prompt: Option<String>,
    pub permission: Option<String>,
    pub max_turns: Option<u32>,
    pub max_parallel: Option<u32>,
    pub env: BTreeMap<String, Option<String>>,
    pub args: Option<Vec<String>>,
    pub enabled: Option<bool>,
}
pub struct Initialised {
    pub project: Project,
    pub created: bool,
}
pub struct Loaded {
    pub name: String,
}
pub struct Setting {
    pub key: String,
    pub value: serde_json::Value,
    pub is_set: bool,
}
pub fn init(
    _root: &Path,
    _name: Option<&str>,
    _target: Option<&str>,
) -> Result<Initialised, ConfigError> {
    Err(ConfigError)
}
pub fn add_agent(
    _project: &Project,
    _name: &orch_core::AgentName,
    _fields: &AgentFields,
    _adapters: &[&str],
) -> Result<Loaded, ConfigError> {
    Err(ConfigError)
}
pub fn edit_agent(
    _project: &Project,
    _name: &orch_core::AgentName,
    _fields: &AgentFields,
    _adapters: &[&str],
) -> Result<Loaded, ConfigError> {
    Err(ConfigError)
}
pub fn remove_agent(
    _project: &Project,
    _name: &orch_core::AgentName,
    _adapters: &[&str],
) -> Result<Loaded, ConfigError> {
    Err(ConfigError)
}
pub fn set_enabled(
    _project: &Project,
    _name: &orch_core::AgentName,
    _enabled: bool,
    _adapters: &[&str],
) -> Result<Loaded, ConfigError> {
    Err(ConfigError)
}
pub fn get(
    _project: &Project,
    _key: &str,
    _adapters: &[&str],
) -> Result<Vec<Setting>, ConfigError> {
    Err(ConfigError)
}
pub fn settings(_project: &Project, _adapters: &[&str]) -> Result<Vec<Setting>, ConfigError> {
    Err(ConfigError)
}
pub fn set(
    _project: &Project,
    _key: &str,
    _value: &str,
    _adapters: &[&str],
) -> Result<Loaded, ConfigError> {
    Err(ConfigError)
}
pub fn load(_project: &Project, _adapters: &[&str]) -> Result<Loaded, ConfigError> {
    Err(ConfigError)
}
pub fn agents(_project: &Project, _adapters: &[&str]) -> Result<Vec<AgentEntry>, ConfigError> {
    Err(ConfigError)
}
