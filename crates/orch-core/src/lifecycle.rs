//! The state machines of task and run, as total functions.
//!
//! Nothing else changes a state. A pair that is not listed is an [`IllegalTransition`] that names
//! both sides; it is never ignored. `docs/lifecycle.md` draws what this file says, and a test
//! compares the two.

use crate::id::RunId;
use crate::run::{Ending, Failure, RunState};
use crate::task::{Hold, Review, TaskState};

/// A state does not allow an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {subject} that is {} cannot be {}", words(.state), words(.event))]
pub struct IllegalTransition {
    /// `task` or `run`.
    pub subject: &'static str,
    /// The state it is in.
    pub state: &'static str,
    /// What was asked of it.
    pub event: &'static str,
}

/// A state or an event as it is said: "a task that is in review cannot be retried".
pub(crate) fn words(name: &str) -> String {
    match name {
        "review" => "in review".to_owned(),
        "retry_asked" => "retried".to_owned(),
        name => name.replace('_', " "),
    }
}

/// What can happen to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEvent {
    /// The agent's process exists.
    Spawned,
    /// It is over, as told.
    Ended(Box<Ending>),
}

impl RunEvent {
    /// Its name in errors and diagrams.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Spawned => "spawned",
            Self::Ended(_) => "ended",
        }
    }
}

/// The state of a run after `event`.
///
/// # Errors
/// The run has ended: terminal is final.
pub fn next_run(state: &RunState, event: RunEvent) -> Result<RunState, IllegalTransition> {
    match (state, event) {
        (RunState::Starting | RunState::Running, RunEvent::Spawned) => Ok(RunState::Running),
        (RunState::Starting | RunState::Running, RunEvent::Ended(ending)) => {
            Ok(RunState::Ended(ending))
        }
        (RunState::Ended(ending), event) => Err(IllegalTransition {
            subject: "run",
            state: ending.outcome.status().as_str(),
            event: event.name(),
        }),
    }
}

/// What can happen to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskEvent {
    /// A run was recorded for it.
    Started(RunId),
    /// Its run did the work.
    Succeeded,
    /// Its run failed and there is another attempt.
    Failing(Hold),
    /// A limit stopped its run.
    Limited(Hold),
    /// orch stopped its run.
    Interrupted,
    /// Its run was lost and a person must look.
    Lost(Failure),
    /// Its run failed and there is no other attempt.
    GaveUp(Failure),
    /// The time it was waiting for has come.
    HoldPassed,
    /// Somebody does not want it any more, and nothing of it runs.
    Cancelled(Failure),
    /// A person wants another attempt.
    RetryAsked,
    /// A person sends it back to its agent with a message.
    Resumed,
    /// Its work was found good.
    Approved,
    /// Its work is on the target branch.
    Landed,
    /// Its work could not be put there.
    LandingBlocked {
        /// What is in the way.
        message: String,
        /// The files that conflict.
        files: Vec<String>,
    },
    /// Its work was not found good.
    Rejected,
}

impl TaskEvent {
    /// Its name in errors and diagrams.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started(_) => "started",
            Self::Succeeded => "succeeded",
            Self::Failing(_) => "failing",
            Self::Limited(_) => "limited",
            Self::Interrupted => "interrupted",
            Self::Lost(_) => "lost",
            Self::GaveUp(_) => "gave_up",
            Self::HoldPassed => "hold_passed",
            Self::Cancelled(_) => "cancelled",
            Self::RetryAsked => "retry_asked",
            Self::Resumed => "resumed",
            Self::Approved => "approved",
            Self::Landed => "landed",
            Self::LandingBlocked { .. } => "landing_blocked",
            Self::Rejected => "rejected",
        }
    }
}

/// The state of a task after `event`.
///
/// # Errors
/// The state does not allow the event.
pub fn next_task(state: &TaskState, event: TaskEvent) -> Result<TaskState, IllegalTransition> {
    use TaskEvent as E;
    use TaskState as S;
    let waiting = S::Todo { hold: None };
    match (state, event) {
        (S::Todo { hold: None }, E::Started(run)) => Ok(S::InProgress { run }),

        (S::InProgress { .. }, E::Succeeded) => Ok(S::Review(Review::Person)),
        (S::InProgress { .. }, E::Failing(hold)) => Ok(S::Retrying { hold }),
        (S::InProgress { .. }, E::Limited(hold)) => Ok(S::Todo { hold: Some(hold) }),
        (S::InProgress { .. }, E::Interrupted) => Ok(waiting),
        (S::InProgress { .. }, E::Lost(failure)) => Ok(S::Review(Review::Lost { failure })),
        (S::InProgress { .. }, E::GaveUp(failure)) => Ok(S::Failed { failure }),

        (S::Todo { hold: Some(_) } | S::Retrying { .. }, E::HoldPassed) => Ok(waiting),

        // A landing under way is not torn away from under git; it ends within its own time limit.
        (S::Review(Review::Landing), event @ E::Cancelled(_)) => Err(illegal(state, &event)),
        (
            S::Todo { .. } | S::InProgress { .. } | S::Retrying { .. } | S::Review(_),
            E::Cancelled(failure),
        ) => Ok(S::Cancelled { failure }),

        (
            S::Failed { .. }
            | S::Cancelled { .. }
            | S::Retrying { .. }
            | S::Todo { hold: Some(_) }
            | S::Review(Review::Lost { .. }),
            E::RetryAsked,
        ) => Ok(waiting),

        (
            S::Done
            | S::Failed { .. }
            | S::Cancelled { .. }
            | S::Review(Review::Person | Review::Blocked { .. } | Review::Lost { .. }),
            E::Resumed,
        ) => Ok(waiting),

        (S::Review(Review::Person | Review::Blocked { .. } | Review::Lost { .. }), E::Approved) => {
            Ok(S::Review(Review::Landing))
        }
        (S::Review(Review::Landing), E::Landed) => Ok(S::Done),
        (S::Review(Review::Person | Review::Landing), E::LandingBlocked { message, files }) => {
            Ok(S::Review(Review::Blocked { message, files }))
        }
        (S::Review(Review::Person | Review::Blocked { .. } | Review::Lost { .. }), E::Rejected) => {
            Ok(waiting)
        }

        (state, event) => Err(illegal(state, &event)),
    }
}

fn illegal(state: &TaskState, event: &TaskEvent) -> IllegalTransition {
    IllegalTransition {
        subject: "task",
        state: state.status().as_str(),
        event: event.name(),
    }
}
