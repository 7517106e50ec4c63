use crate::project::Project;
use std::collections::BTreeMap;
use std::path::Path;
pub use crate::ConfigError;
pub type Value = serde_json::Value;
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentEntry {
    pub name: String,
    pub adapter: String,
    pub command: Option<String>,
    pub model: Option<String>,
    pub role: Option<String>,
    pub system_prompt: Option<String>,
    pub permission: Option<String>,
    pub max_turns: Option<u32>,
    pub labels: Vec<String>,
    pub max_parallel: Option<u32>,
    pub env: BTreeMap<String, String>,
    pub args: Vec<String>,
    pub enabled: bool,
}
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentPatch {
    pub adapter: Option<String>,
    pub command: Option<String>,
    pub model: Option<String>,
    pub role: Option<String>,
    pub system_prompt: Option<String>,
    pub permission: Option<String>,
    pub max_turns: Option<u32>,
    pub labels: Option<Vec<String>>,
    pub max_parallel: Option<u32>,
    pub env: Option<BTreeMap<String, String>>,
    pub args: Option<Vec<String>>,
}
pub fn init(_root: &Path, _name: Option<&str>) -> Result<Project, ConfigError> {
    Err(crate::ConfigError)
}
pub fn add_agent(_project: &Project, _agent: &AgentEntry) -> Result<(), ConfigError> {
    Err(crate::ConfigError)
}
pub fn edit_agent(_project: &Project, _name: &str, _patch: &AgentPatch) -> Result<(), ConfigError> {
    Err(crate::ConfigError)
}
pub fn remove_agent(_project: &Project, _name: &str) -> Result<(), ConfigError> {
    Err(crate::ConfigError)
}
pub fn set_enabled(_project: &Project, _name: &str, _enabled: bool) -> Result<(), ConfigError> {
    Err(crate::ConfigError)
}
pub fn get(_project: &Project, _key: &str) -> Result<Value, ConfigError> {
    Err(crate::ConfigError)
}
pub fn set(_project: &Project, _key: &str, _value: &str) -> Result<(), ConfigError> {
    Err(crate::ConfigError)
}
pub fn agents(_project: &Project) -> Result<Vec<AgentEntry>, ConfigError> {
    Err(crate::ConfigError)
}
