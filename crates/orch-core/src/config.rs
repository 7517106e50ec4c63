//! What the user decided, as the scheduler sees it. Read from `orch.toml` by the daemon.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::AgentName;
use crate::policy::Backoff;
use crate::task::{OnLost, Require, ReviewMode, WorkspaceMode};

/// A named configuration that can work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its identity.
    pub name: AgentName,
    /// The kind of command line it is.
    pub adapter: String,
    /// What it is for; counts as a label when tasks are assigned.
    pub role: Option<String>,
    /// What it can do.
    pub labels: BTreeSet<String>,
    /// Runs it may have at once.
    pub max_parallel: u32,
    /// Whether it may be given work.
    pub enabled: bool,
    /// What its success must have left behind, for tasks that do not say.
    pub require: Option<Require>,
    /// Whether a later run of a task goes on with the session of the one before.
    pub resumes: Resumes,
}

/// When an agent goes on with its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumes {
    /// Its kind cannot, or the user does not want it.
    Never,
    /// Whenever it has one.
    Always,
    /// Unless a call to its model failed before one was answered: its kind takes such a session
    /// back although it has named it.
    OnceAnswered,
}

impl Agent {
    /// Whether it declares every one of `labels`, its role counting as one.
    #[must_use]
    pub fn declares(&self, labels: &BTreeSet<String>) -> bool {
        labels.iter().all(|label| {
            self.labels.contains(label) || self.role.as_deref() == Some(label.as_str())
        })
    }

    /// Whether it declares nothing and so is for anything.
    #[must_use]
    pub fn is_generalist(&self) -> bool {
        self.labels.is_empty()
    }
}

/// What a task gets when it does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskDefaults {
    /// Where agents work.
    pub workspace: WorkspaceMode,
    /// Who approves.
    pub review: ReviewMode,
    /// What happens when a run is lost.
    pub on_lost: OnLost,
    /// Attempts a task may have.
    pub max_attempts: u32,
    /// Longest a run may take, milliseconds.
    pub timeout_ms: Option<u64>,
    /// Longest a run may be silent, milliseconds.
    pub stall_ms: Option<u64>,
}

impl Default for TaskDefaults {
    fn default() -> Self {
        Self {
            workspace: WorkspaceMode::Worktree,
            review: ReviewMode::Manual,
            on_lost: OnLost::Default,
            max_attempts: 3,
            // An agent that nobody watches must end some day; two hours is longer than any
            // headless run the field reports as useful.
            timeout_ms: Some(2 * 3_600_000),
            stall_ms: None,
        }
    }
}

/// Everything the engine asks the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Runs at once in the whole project.
    pub max_agents: u32,
    /// Runs at once per kind of agent, where limited.
    pub adapter_caps: BTreeMap<String, u32>,
    /// The agents, in the order of the file.
    pub agents: Vec<Agent>,
    /// What tasks get.
    pub defaults: TaskDefaults,
    /// How long to wait before trying again.
    pub backoff: Backoff,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_agents: 4,
            adapter_caps: BTreeMap::new(),
            agents: Vec::new(),
            defaults: TaskDefaults::default(),
            backoff: Backoff::default(),
        }
    }
}

impl Config {
    /// The agent of this name.
    #[must_use]
    pub fn agent(&self, name: &AgentName) -> Option<&Agent> {
        self.agents.iter().find(|agent| &agent.name == name)
    }
}
