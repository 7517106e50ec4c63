//! What the rest of the daemon gets from a configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use orch_core::config::Config;
use orch_core::id::AgentName;
use orch_core::task::Require;
use orch_host::adapter::AgentSettings;

/// A configuration that was found right as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What the project is called.
    pub name: String,
    /// The branch that finished work lands on; `None` for the one checked out.
    pub target: Option<String>,
    /// What the scheduler is to know.
    pub core: Config,
    /// The agents in full, in the order of the file.
    pub agents: Vec<AgentEntry>,
    /// What bounds a run.
    pub limits: RunLimits,
    /// How long what was removed can be had back.
    pub cleanup: Cleanup,
    /// The files that prompts are made by.
    pub prompt: PromptFiles,
    /// Which state of the file this is.
    pub source_stamp: SourceStamp,
}

impl Loaded {
    /// The agent of this name.
    #[must_use]
    pub fn agent(&self, name: &AgentName) -> Option<&AgentEntry> {
        self.agents.iter().find(|agent| &agent.name == name)
    }
}

/// All that is configured about one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentEntry {
    /// Its identity.
    pub name: AgentName,
    /// The kind of command line it is; one of the known ones.
    pub adapter: String,
    /// The model it asks for.
    pub model: Option<String>,
    /// What it is for; counts as a label.
    pub role: Option<String>,
    /// What it can do.
    pub labels: BTreeSet<String>,
    /// What the shell runs, or the program to start instead of the usual one.
    pub command: Option<String>,
    /// What it is told before every task.
    pub system_prompt: Option<String>,
    /// What it may do without asking; one of [`orch_host::adapter::Permission`].
    pub permission: Option<String>,
    /// How hard it is to think, in its own words.
    pub effort: Option<String>,
    /// A file of MCP servers for it, relative to the repository.
    pub mcp: Option<String>,
    /// What a success must have left behind.
    pub require: Option<Require>,
    /// Whether a later run goes on with the session of the one before.
    pub resume: bool,
    /// Most turns in one run.
    pub max_turns: Option<u32>,
    /// Runs it may have at once.
    pub max_parallel: u32,
    /// Variables it is started with, as they are written: `$NAME` refers to orch's own.
    pub env: BTreeMap<String, String>,
    /// Arguments to add to its command line.
    pub args: Vec<String>,
    /// Whether it may be given work.
    pub enabled: bool,
}

impl AgentEntry {
    /// The part of it that its adapter knows.
    #[must_use]
    pub fn settings(&self) -> AgentSettings {
        AgentSettings {
            name: self.name.to_string(),
            command: self.command.clone(),
            model: self.model.clone(),
            system_prompt: self.system_prompt.clone(),
            permission: self
                .permission
                .as_deref()
                .and_then(|word| word.parse().ok()),
            effort: self.effort.clone(),
            max_turns: self.max_turns,
            args: self.args.clone(),
            env: self.env.clone(),
        }
    }
}

/// What bounds one run, besides its timeouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// Most it may print, bytes.
    pub output_bytes: u64,
    /// How long it may take to end when asked, milliseconds.
    pub stop_grace_ms: u64,
    /// How long what it leaves running may live on, milliseconds.
    pub leak_grace_ms: u64,
    /// Free space without which nothing is started, bytes; depends on the disk unless given.
    pub free_space_bytes: Option<u64>,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self {
            output_bytes: 256 << 20,
            stop_grace_ms: 10_000,
            leak_grace_ms: 2_000,
            free_space_bytes: None,
        }
    }
}

/// How long what orch removed can be had back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleanup {
    /// Its lifetime, milliseconds; `None` for ever.
    pub keep_ms: Option<u64>,
    /// How large the trash may grow, bytes.
    pub trash_bytes: u64,
}

impl Default for Cleanup {
    fn default() -> Self {
        Self {
            keep_ms: Some(14 * 86_400_000),
            trash_bytes: 10 << 30,
        }
    }
}

/// Templates of the user's own, as paths from the top of the repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PromptFiles {
    /// In place of the part that says who the agent is and how it works here.
    pub system: Option<String>,
    /// In place of the part that says what its task is.
    pub task: Option<String>,
}

/// Tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceStamp {
    modified_ns: i128,
    length: u64,
    inode: u64,
}

impl From<&Metadata> for SourceStamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            modified_ns: i128::from(metadata.mtime()) * 1_000_000_000
                + i128::from(metadata.mtime_nsec()),
            length: metadata.len(),
            inode: metadata.ino(),
        }
    }
}
