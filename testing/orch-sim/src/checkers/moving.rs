//! Every task that has not ended says why it does not move, and something will move it.

use orch_core::task::{Review, Task, TaskState};
use orch_core::wait::{Actor, Wait, WaitCode};
use orch_core::{RunId, TaskId};

use super::{Checker, Seen, Since, Verdict, demand};
use crate::rows::Commit;

/// `orch why` has exactly one answer for each open task and none for an ended one, and the answer
/// fits the state.
pub(super) struct OneWaitReason;

impl Checker for OneWaitReason {
    fn promise(&self) -> &'static str {
        "one_wait_reason"
    }

    fn committed(&mut self, commit: &Commit, seen: &Seen<'_>) -> Verdict {
        for (id, wait) in &commit.waits {
            let Some(task) = seen.rows.tasks.get(id) else {
                continue;
            };
            let fits = match wait {
                None => task.status().is_ended(),
                Some(wait) => explains(task, wait),
            };
            demand(fits, || {
                format!("{id} is {:?} and waits for {wait:?}", task.state)
            })?;
            // Whoever is next in line after a plan was not passed over by that plan.
            let turn = wait
                .as_ref()
                .is_some_and(|wait| wait.code == WaitCode::Turn);
            demand(!turn || !commit.planned, || {
                format!("{id} waits for its turn after the plan")
            })?;
        }
        Ok(())
    }
}

fn explains(task: &Task, wait: &Wait) -> bool {
    let has_words = !wait.message.is_empty();
    let fits = match &task.state {
        TaskState::Done | TaskState::Failed { .. } | TaskState::Cancelled { .. } => false,
        TaskState::InProgress { .. } => matches!(wait.code, WaitCode::Agent | WaitCode::Stopping),
        TaskState::Retrying { hold } | TaskState::Todo { hold: Some(hold) } => {
            let actor = match wait.code {
                WaitCode::Consent => Actor::Person,
                _ => Actor::Timer,
            };
            wait.actor == actor && wait.until == Some(hold.until)
        }
        TaskState::Review(Review::Landing) => wait.code == WaitCode::Landing,
        TaskState::Review(_) => wait.actor == Actor::Person,
        TaskState::Todo { hold: None } if task.unmet > 0 => {
            matches!(wait.code, WaitCode::Dependency | WaitCode::DependencyFailed)
        }
        TaskState::Todo { hold: None } => matches!(
            wait.code,
            WaitCode::Slot
                | WaitCode::AgentBusy
                | WaitCode::NoAgent
                | WaitCode::NoAgentForLabels
                | WaitCode::AgentUnavailable
                | WaitCode::Turn
                | WaitCode::NotServed
                | WaitCode::Draining
        ),
    };
    has_words && fits
}

/// Longest time from the end of a hold to its waking, milliseconds.
const WAKING_MS: i64 = 2_000;
/// Longest time a landing may take, milliseconds.
const LANDING_MS: i64 = 5_000;
/// Longest time from asking a run to stop to its end: grace, leak, settling, milliseconds.
const STOPPING_MS: i64 = 20_000;

/// Longest time from recording a stop to the signal, milliseconds.
const HEARING_MS: i64 = 2_000;

/// What orch itself has to do next, it does within a bound: wake a task whose hold is over,
/// finish a landing, end a run it asked to stop.
#[derive(Default)]
pub(super) struct EveryTaskMoves {
    due: Since<TaskId>,
    landing: Since<TaskId>,
    stopping: Since<RunId>,
    unheard: Since<RunId>,
}

impl Checker for EveryTaskMoves {
    fn promise(&self) -> &'static str {
        "every_task_moves"
    }

    fn moment(&mut self, seen: &Seen<'_>) -> Verdict {
        let tasks = |passes: &dyn Fn(&Task) -> bool| -> Vec<TaskId> {
            let passing = seen.rows.open_tasks().filter(|task| passes(task));
            passing.map(|task| task.id.clone()).collect()
        };
        let is_due = |task: &Task| {
            task.state
                .hold()
                .is_some_and(|hold| hold.until.0 <= seen.now)
        };
        within(
            self.due.note(tasks(&is_due), seen),
            WAKING_MS,
            "its hold has been over",
        )?;
        let is_landing = |task: &Task| task.state == TaskState::Review(Review::Landing);
        within(
            self.landing.note(tasks(&is_landing), seen),
            LANDING_MS,
            "it has been landing",
        )?;
        let stopping = seen.rows.live_runs().filter(|run| run.stop.is_some());
        let stopping = stopping.map(|run| run.id.clone()).collect();
        within(
            self.stopping.note(stopping, seen),
            STOPPING_MS,
            "it was asked to stop",
        )?;
        let unheard = seen.rows.live_runs().filter(|run| run.stop.is_some());
        let unheard = unheard.filter(|run| seen.host.works_unaware(&run.id));
        let unheard = unheard.map(|run| run.id.clone()).collect();
        within(
            self.unheard.note(unheard, seen),
            HEARING_MS,
            "its agent was not told to stop",
        )
    }
}

fn within<K: std::fmt::Display>(oldest: Option<(K, i64)>, most: i64, what: &str) -> Verdict {
    match oldest {
        Some((id, age)) => demand(age <= most, || format!("{id}: {what} for {age} ms")),
        None => Ok(()),
    }
}
