//! What can be asked of a reader, and what it answers beside the types of the core.

use std::collections::BTreeMap;

use orch_core::event::Event;
use orch_core::run::Run;
use orch_core::task::{Task, TaskStatus};
use orch_core::{AgentName, RunId, TaskId};

/// How many tasks there are of each status; every status is there.
pub type Counts = BTreeMap<TaskStatus, u64>;

/// A fact with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its number, gapless from 1.
    pub seq: u64,
    /// The fact.
    pub event: Event,
}

/// Which tasks to list. The default lists all of them, one page long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFilter {
    /// Tasks of these statuses; of all when empty.
    pub statuses: Vec<TaskStatus>,
    /// Tasks with this label.
    pub label: Option<String>,
    /// Tasks that ask for this agent by name.
    pub agent: Option<AgentName>,
    /// At most so many.
    pub limit: usize,
    /// Tasks that arrived before this one: the `seq` of the last task of the page before.
    pub before_seq: Option<u64>,
}

/// Rows of a page unless the caller says otherwise.
const PAGE: usize = 100;

impl Default for TaskFilter {
    fn default() -> Self {
        Self {
            statuses: Vec::new(),
            label: None,
            agent: None,
            limit: PAGE,
            before_seq: None,
        }
    }
}

impl TaskFilter {
    /// Whether `task` passes, page length aside.
    #[must_use]
    pub fn admits(&self, task: &Task) -> bool {
        (self.statuses.is_empty() || self.statuses.contains(&task.status()))
            && self
                .label
                .as_ref()
                .is_none_or(|label| task.labels.contains(label))
            && self
                .agent
                .as_ref()
                .is_none_or(|agent| task.agent.as_ref() == Some(agent))
            && self.before_seq.is_none_or(|before| task.seq < before)
    }
}

/// Which runs to list. The default lists all of them, one page long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFilter {
    /// Runs of this task.
    pub task: Option<TaskId>,
    /// Runs of this agent.
    pub agent: Option<AgentName>,
    /// At most so many.
    pub limit: usize,
    /// Runs that were recorded before this one: the last run of the page before. No run comes
    /// before one that does not exist.
    pub before: Option<RunId>,
}

impl Default for RunFilter {
    fn default() -> Self {
        Self {
            task: None,
            agent: None,
            limit: PAGE,
            before: None,
        }
    }
}

impl RunFilter {
    /// Whether `run` passes, paging aside.
    #[must_use]
    pub fn admits(&self, run: &Run) -> bool {
        self.task.as_ref().is_none_or(|task| &run.task == task)
            && self.agent.as_ref().is_none_or(|agent| &run.agent == agent)
    }
}
