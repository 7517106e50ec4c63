//! What a person or an agent may ask of the engine.

use std::collections::BTreeSet;

use crate::id::{AgentName, TaskId};
use crate::lifecycle::{self, IllegalTransition};
use crate::task::{
    Dependency, OnLost, Priority, Require, ReviewMode, Task, TaskStatus, WorkspaceMode,
};
use crate::text::BadText;

/// A task to be added. `None` takes what the configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewTask {
    /// One line.
    pub title: String,
    /// What the agent is to do.
    pub description: String,
    /// 1 to 4.
    pub priority: Option<Priority>,
    /// The agent it must have.
    pub agent: Option<AgentName>,
    /// What it is about.
    pub labels: BTreeSet<String>,
    /// Paths it is expected to touch.
    pub scope: Vec<String>,
    /// Files given along, absolute.
    pub attachments: Vec<String>,
    /// What must happen first.
    pub dependencies: Vec<Dependency>,
    /// Where its agent works.
    pub workspace: Option<WorkspaceMode>,
    /// Who approves.
    pub review: Option<ReviewMode>,
    /// What happens when a run is lost.
    pub on_lost: Option<OnLost>,
    /// What a success must have left behind; `None` is what its agent's configuration says.
    pub require: Option<Require>,
    /// Attempts it may have.
    pub max_attempts: Option<u32>,
    /// Longest a run may take, milliseconds.
    pub timeout_ms: Option<u64>,
    /// Longest a run may be silent, milliseconds.
    pub stall_ms: Option<u64>,
}

/// What to change about a task; `None` leaves as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskEdit {
    /// One line. Only before the first run: the branch carries it.
    pub title: Option<String>,
    /// What the agent is to do.
    pub description: Option<String>,
    /// 1 to 4.
    pub priority: Option<Priority>,
    /// The agent it must have; `Some(None)` takes the pin away.
    pub agent: Option<Option<AgentName>>,
    /// What it is about.
    pub labels: Option<BTreeSet<String>>,
    /// What must happen first.
    pub dependencies: Option<Vec<Dependency>>,
    /// Attempts it may have.
    pub max_attempts: Option<u32>,
    /// Longest a run may take, milliseconds.
    pub timeout_ms: Option<u64>,
    /// What a success must have left behind; `Some(None)` is what its agent's configuration says.
    pub require: Option<Option<Require>>,
}

/// What a person or an agent may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Add a task.
    Add(Box<NewTask>),
    /// Change a task that is not being worked on.
    Edit {
        /// Which.
        task: TaskId,
        /// How.
        edit: Box<TaskEdit>,
    },
    /// Stop a task for good.
    Cancel {
        /// Which.
        task: TaskId,
    },
    /// Give a task that ended, or waits to be retried, a fresh set of attempts now.
    Retry {
        /// Which.
        task: TaskId,
    },
    /// Find the work good and land it.
    Approve {
        /// Which.
        task: TaskId,
    },
    /// Find the work not good and send it back.
    Reject {
        /// Which.
        task: TaskId,
        /// What is wrong with it, for the agent.
        reason: String,
    },
    /// Send a task that was ended, or is in review, back to its agent with a message.
    Resume {
        /// Which.
        task: TaskId,
        /// What it is to know, for the agent.
        message: String,
    },
    /// Forget a task.
    Delete {
        /// Which.
        task: TaskId,
    },
    /// Try again now whatever waits for a person's consent: it was given.
    Agreed,
}

/// What a request led to.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The task as it is now.
    Task(Box<Task>),
    /// The request had already been fulfilled; nothing changed.
    Unchanged(Box<Task>),
    /// The task is being stopped; it is `cancelled` when nothing of it is alive.
    Stopping(Box<Task>),
    /// The branch is being landed; the answer comes with [`crate::engine::Input::Landed`].
    Landing(Box<Task>),
    /// The task is gone.
    Deleted(TaskId),
    /// So many tasks do not wait for consent any more.
    Released(u64),
}

/// Why a request was not fulfilled. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A text breaks its rule.
    #[error("the {field} {problem}")]
    Text {
        /// Which field.
        field: &'static str,
        /// What is wrong.
        problem: BadText,
    },
    /// A scope that can be of no file of the repository.
    #[error("scope '{scope}' {why}")]
    Scope {
        /// What was given.
        scope: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A number is outside its range.
    #[error("{field} must be from {} to {}, not {}", amount(.field, *.least), amount(.field, *.most), amount(.field, *.got))]
    Range {
        /// Which field.
        field: &'static str,
        /// The least allowed.
        least: u64,
        /// The most allowed.
        most: u64,
        /// What was given.
        got: u64,
    },
    /// Too many of something.
    #[error("at most {most} {field} are allowed, not {got}")]
    TooMany {
        /// Of what.
        field: &'static str,
        /// The most allowed.
        most: usize,
        /// How many were given.
        got: usize,
    },
    /// No such task.
    #[error("there is no task {0}")]
    NoSuchTask(TaskId),
    /// No such agent.
    #[error("there is no agent '{0}'")]
    NoSuchAgent(AgentName),
    /// A task would wait for itself.
    #[error("that would be a cycle: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → "))]
    Cycle(Vec<TaskId>),
    /// The task is in the middle of something.
    #[error("task {task} is {}: {why}", lifecycle::words(.status.as_str()))]
    Busy {
        /// Which.
        task: TaskId,
        /// How it stands.
        status: TaskStatus,
        /// Why that is in the way.
        why: &'static str,
    },
    /// Others wait for it.
    #[error("task {task} is needed by {needed_by}")]
    Needed {
        /// Which.
        task: TaskId,
        /// One of those that wait for it.
        needed_by: TaskId,
    },
    /// Two things that cannot be had together.
    #[error("{one} cannot be had with {other}: {why}")]
    NotTogether {
        /// One of them, as it is typed.
        one: String,
        /// The other.
        other: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// The state does not allow it.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
}

/// A number as a person wrote it: a time with its unit.
fn amount(field: &str, number: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("d", 24 * 3_600_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ];
    if !field.ends_with("timeout") {
        return number.to_string();
    }
    let unit = UNITS
        .iter()
        .find(|(_, length)| number > 0 && number.is_multiple_of(*length));
    match unit {
        Some((name, length)) => format!("{}{name}", number / length),
        None => format!("{number}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    #[test]
    fn a_range_of_times_is_said_with_units() {
        let refused = |field, least, most, got| {
            let refusal = Refusal::Range {
                field,
                least,
                most,
                got,
            };
            refusal.to_string()
        };
        assert_eq!(
            refused(
                "timeout",
                limits::TIMEOUT_MIN_MS,
                limits::TIMEOUT_MAX_MS,
                50
            ),
            "timeout must be from 100ms to 30d, not 50ms"
        );
        assert_eq!(
            refused("stall timeout", 1_000, 3_600_000, 90_000_000),
            "stall timeout must be from 1s to 1h, not 25h"
        );
        assert_eq!(
            refused("max attempts", 1, 100, 60_000),
            "max attempts must be from 1 to 100, not 60000"
        );
    }
}
