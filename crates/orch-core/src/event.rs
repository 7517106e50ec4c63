//! Facts: what has happened, in the order it was recorded. `orch events` prints them.

use crate::id::{AgentName, RunId, TaskId};
use crate::text_enum::text_enum;
use crate::time::Timestamp;

text_enum! {
    /// Every kind of fact.
    pub enum EventKind {
        /// A task was asked for.
        TaskAdded = "task_added",
        /// Somebody changed what a task says.
        TaskEdited = "task_edited",
        /// A task was removed.
        TaskDeleted = "task_deleted",
        /// Somebody asked for another attempt.
        TaskRetryAsked = "task_retry_asked",
        /// Somebody sent it back to its agent with a message.
        TaskResumed = "task_resumed",
        /// The next attempt waits for its time.
        TaskRetrying = "task_retrying",
        /// A limit holds a task back.
        TaskLimited = "task_limited",
        /// orch stopped the run and put its task back.
        TaskInterrupted = "task_interrupted",
        /// The time a task was waiting for has come.
        TaskHoldPassed = "task_hold_passed",
        /// Work is done and waits for approval.
        TaskReview = "task_review",
        /// Work was found good.
        TaskApproved = "task_approved",
        /// Work was not found good.
        TaskRejected = "task_rejected",
        /// Work could not be landed.
        TaskLandingBlocked = "task_landing_blocked",
        /// Work is on the target branch.
        TaskDone = "task_done",
        /// No attempt is left.
        TaskFailed = "task_failed",
        /// Not wanted any more.
        TaskCancelled = "task_cancelled",
        /// A run was recorded; its process comes next.
        RunStarting = "run_starting",
        /// The agent's process exists.
        RunRunning = "run_running",
        /// A run was asked to end.
        RunStopAsked = "run_stop_asked",
        /// A run is over.
        RunEnded = "run_ended",
    }
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When it was recorded.
    pub time: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// To which task.
    pub task: Option<TaskId>,
    /// In which run.
    pub run: Option<RunId>,
    /// By which agent.
    pub agent: Option<AgentName>,
    /// The new status or failure code, a single word.
    pub word: Option<String>,
    /// A sentence for a person.
    pub message: Option<String>,
}
