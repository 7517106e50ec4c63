//! What the engine asks of a store: the rows it reads and writes inside one transaction.
//!
//! The engine decides, the ledger remembers. A ledger must not decide anything: it checks only
//! what keeps its own rows whole (unique ids, terminal runs stay as they are).

use crate::event::Event;
use crate::id::{RunId, TaskId};
use crate::run::Run;
use crate::task::{Dependency, DependencyKind, Lane, Task, TaskStatus};
use crate::time::Timestamp;

/// The store could not do what it was asked. The transaction must be rolled back.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct LedgerError {
    /// What was being done, as in "writing run run_…".
    pub doing: String,
    /// What the store said.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// The result of asking a ledger.
pub type Result<T> = std::result::Result<T, LedgerError>;

/// A task that could start now, as little of it as the plan needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The task.
    pub task: TaskId,
    /// How urgent.
    pub priority: crate::task::Priority,
    /// Order of arrival.
    pub seq: u64,
}

/// One side of a dependency with the present status of the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyStatus {
    /// What is waited for.
    pub dependency: Dependency,
    /// How it stands.
    pub status: TaskStatus,
}

/// The rows of one transaction. Every method sees what the methods before it wrote.
pub trait Ledger {
    /// The task of this id.
    fn task(&mut self, id: &TaskId) -> Result<Option<Task>>;

    /// Adds a task with its dependencies; returns its order of arrival. `task.seq` is ignored.
    /// Every task it depends on must exist.
    fn insert_task(&mut self, task: &Task, dependencies: &[Dependency]) -> Result<u64>;

    /// Rewrites the row of a task that exists.
    fn update_task(&mut self, task: &Task) -> Result<()>;

    /// Removes a task, its runs and its dependencies. It must have no dependants and no live run.
    fn delete_task(&mut self, id: &TaskId) -> Result<()>;

    /// What the task waits for, with the status of each, in order of id.
    fn dependencies(&mut self, id: &TaskId) -> Result<Vec<DependencyStatus>>;

    /// Replaces what the task waits for. Does not touch `unmet`.
    fn set_dependencies(&mut self, id: &TaskId, dependencies: &[Dependency]) -> Result<()>;

    /// The tasks that wait for this one, in order of id.
    fn dependants(&mut self, id: &TaskId) -> Result<Vec<TaskId>>;

    /// Adds `by` (1 or -1) to `unmet` of every task that waits for `id` with a
    /// dependency of `kind`, in one statement; returns how many there were.
    fn shift_unmet(&mut self, id: &TaskId, kind: DependencyKind, by: i32) -> Result<u64>;

    /// The lanes in which at least one task is ready ([`Task::is_ready`]), in order of key.
    /// Must cost in proportion to the number of lanes, not of tasks.
    fn ready_lanes(&mut self) -> Result<Vec<Lane>>;

    /// The first `limit` ready tasks of a lane by priority, then age.
    fn ready_in_lane(&mut self, lane: &Lane, limit: usize) -> Result<Vec<Candidate>>;

    /// Up to `limit` tasks whose hold is over at `now`, earliest first.
    fn due(&mut self, now: Timestamp, limit: usize) -> Result<Vec<TaskId>>;

    /// The earliest moment at which a hold is over.
    fn next_due(&mut self) -> Result<Option<Timestamp>>;

    /// Tasks whose landing is under way, in order of arrival.
    fn landing(&mut self) -> Result<Vec<TaskId>>;

    /// The run of this id.
    fn run(&mut self, id: &RunId) -> Result<Option<Run>>;

    /// The runs of a task, oldest first.
    fn run_ids_of(&mut self, task: &TaskId) -> Result<Vec<RunId>>;

    /// Adds a run. A second live run of one task is refused.
    fn insert_run(&mut self, run: &Run) -> Result<()>;

    /// Rewrites the row of a run that has not ended. A run that has ended is refused.
    fn update_run(&mut self, run: &Run) -> Result<()>;

    /// Every run that has not ended, oldest first. There are never more than slots.
    fn live_runs(&mut self) -> Result<Vec<Run>>;

    /// Appends a fact; returns its number, gapless from 1.
    fn append(&mut self, event: &Event) -> Result<u64>;
}
