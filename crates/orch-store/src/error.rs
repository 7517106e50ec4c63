//! What can go wrong with a store, so that the caller can tell a full disk from a bug.

use orch_core::ledger::LedgerError;
use orch_core::{RunId, TaskId};

/// A row that would not fit the rows that are there. The caller has a bug or lost a race.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// The id is taken.
    #[error("task {0} exists already")]
    TaskExists(TaskId),
    /// There is no such task.
    #[error("there is no task {0}")]
    NoTask(TaskId),
    /// A task cannot wait for itself.
    #[error("task {0} would wait for itself")]
    WaitsForItself(TaskId),
    /// Deleting it would leave tasks that wait for nothing.
    #[error("other tasks wait for task {0}")]
    HasDependants(TaskId),
    /// The task has a run that has not ended.
    #[error("task {0} has a run that has not ended")]
    HasLiveRun(TaskId),
    /// The count of unmet dependencies would fall below 0.
    #[error("a task that waits for {0} has no unmet dependency left to count down")]
    NothingUnmet(TaskId),
    /// The id is taken.
    #[error("run {0} exists already")]
    RunExists(RunId),
    /// There is no such run of that task.
    #[error("there is no run {0} of that task")]
    NoRun(RunId),
    /// Terminal is final.
    #[error("run {0} has ended, and that is final")]
    RunEnded(RunId),
    /// A failure without evidence, a status without what belongs to it, a word of no list.
    #[error("the row is not whole: {0}")]
    NotWhole(String),
    /// A reader was asked to write.
    #[error("this view of the store can only be read")]
    ReadOnly,
}

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The row does not fit.
    #[error("{doing}")]
    Refused {
        /// What was being done.
        doing: String,
        /// What is in the way.
        #[source]
        breach: Breach,
    },
}

impl StoreError {
    /// The rule that was about to be broken, if that is what went wrong.
    #[must_use]
    pub fn breach(&self) -> Option<&Breach> {
        match self {
            Self::Refused { breach, .. } => Some(breach),
        }
    }

    /// The store's own error inside one that went through the core.
    #[must_use]
    pub fn inside(error: &LedgerError) -> Option<&Self> {
        error.source.downcast_ref()
    }
}

impl From<StoreError> for LedgerError {
    fn from(error: StoreError) -> Self {
        Self {
            doing: "using the store".to_owned(),
            source: Box::new(error),
        }
    }
}
