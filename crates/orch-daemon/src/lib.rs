//! Placeholder for the CLI; dropped at the merge.
#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    reason = "dropped at the merge"
)]
use serde::Serialize;
pub mod config;
pub mod project;
use project::Project;

macro_rules! error {
    ($($name:ident),*) => { $(
        #[derive(Debug, thiserror::Error)]
        #[error("there is no daemon yet")]
        pub struct $name;
        impl $name {
            pub fn code(&self) -> &'static str {
                "internal"
            }
            pub fn hint(&self) -> Option<String> {
                None
            }
        }
    )* };
}
error!(ConnectError, StartError, ConfigError);
pub fn connect(_project: &Project) -> Result<orch_api::client::Client, ConnectError> {
    Err(ConnectError)
}
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub once: bool,
    pub only: Option<Vec<String>>,
    pub max_agents: Option<u32>,
    pub signals: bool,
    pub verbose: bool,
}
#[derive(Debug, Clone, Serialize)]
pub struct LogLine {
    pub time: String,
    pub level: &'static str,
    pub event: String,
    pub task: Option<String>,
    pub run: Option<String>,
    pub agent: Option<String>,
    pub message: Option<String>,
}
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct End {
    pub failed: Vec<String>,
    pub stuck: Vec<String>,
}
pub type LogSink = std::sync::Arc<dyn Fn(&LogLine) + Send + Sync>;
pub fn adapters() -> Vec<&'static str> {
    vec!["claude", "shell"]
}
pub struct Daemon;
impl Daemon {
    pub fn start(
        _project: &Project,
        _options: Options,
        _log: LogSink,
    ) -> Result<Daemon, StartError> {
        Err(StartError)
    }
    pub fn client(&self) -> Result<orch_api::client::Client, StartError> {
        Err(StartError)
    }
    pub fn wait(self) -> End {
        End {
            failed: Vec::new(),
            stuck: Vec::new(),
        }
    }
}
