//! Promise 20: the facts are gapless, and reading them alone gives the states of the rows.

use std::collections::BTreeMap;

use orch_core::event::{Event, EventKind as Kind};
use orch_core::run::RunStatus;
use orch_core::task::TaskStatus;
use orch_core::{RunId, TaskId};

use super::{Checker, Seen, Verdict, demand};
use crate::rows::Commit;

/// A third copy of the states, made from the facts.
#[derive(Default)]
pub(super) struct EventsTellAll {
    last: u64,
    tasks: BTreeMap<TaskId, TaskStatus>,
    runs: BTreeMap<RunId, Told>,
}

/// What the facts say of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Starting,
    Running,
    Ended,
}

impl Checker for EventsTellAll {
    fn promise(&self) -> &'static str {
        "events_tell_all"
    }

    fn committed(&mut self, commit: &Commit, _seen: &Seen<'_>) -> Verdict {
        for (number, event) in &commit.events {
            demand(*number == self.last + 1, || {
                format!("fact {number} follows fact {}", self.last)
            })?;
            self.last = *number;
            self.tell(event);
        }
        for (id, change) in &commit.tasks {
            let row = change.after.as_ref().map(orch_core::task::Task::status);
            let told = self.tasks.get(id).copied();
            demand(row == told, || {
                format!("{id} is {row:?} in its row and {told:?} in the facts")
            })?;
        }
        for (id, change) in &commit.runs {
            let Some(run) = &change.after else { continue };
            let row = match run.status() {
                RunStatus::Starting => Told::Starting,
                RunStatus::Running => Told::Running,
                _ => Told::Ended,
            };
            let told = self.runs.get(id).copied();
            demand(told == Some(row), || {
                format!("{id} is {row:?} in its row and {told:?} in the facts")
            })?;
        }
        Ok(())
    }
}

impl EventsTellAll {
    fn tell(&mut self, event: &Event) {
        let told = match event.kind {
            Kind::RunStarting => Some(Told::Starting),
            Kind::RunRunning => Some(Told::Running),
            Kind::RunEnded => Some(Told::Ended),
            _ => None,
        };
        if let (Some(run), Some(told)) = (&event.run, told) {
            self.runs.insert(run.clone(), told);
        }
        let Some(task) = &event.task else { return };
        let status = match event.kind {
            Kind::TaskAdded
            | Kind::TaskRetryAsked
            | Kind::TaskResumed
            | Kind::TaskLimited
            | Kind::TaskInterrupted
            | Kind::TaskHoldPassed
            | Kind::TaskRejected => TaskStatus::Todo,
            Kind::RunStarting => TaskStatus::InProgress,
            Kind::TaskRetrying => TaskStatus::Retrying,
            Kind::TaskReview | Kind::TaskApproved | Kind::TaskLandingBlocked => TaskStatus::Review,
            Kind::TaskDone => TaskStatus::Done,
            Kind::TaskFailed => TaskStatus::Failed,
            Kind::TaskCancelled => TaskStatus::Cancelled,
            Kind::TaskDeleted => {
                self.tasks.remove(task);
                return;
            }
            Kind::TaskEdited | Kind::RunRunning | Kind::RunStopAsked | Kind::RunEnded => return,
        };
        self.tasks.insert(task.clone(), status);
    }
}
