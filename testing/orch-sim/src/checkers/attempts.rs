//! Promise 19, second half, and 9 of the design: attempts are bounded, and what is not the
//! agent's fault costs none.

use std::collections::BTreeMap;

use orch_core::TaskId;
use orch_core::event::EventKind;
use orch_core::run::{FailureCode as Code, Run, RunStatus, StopReason};

use super::{Checker, Seen, Verdict, demand};
use crate::rows::Commit;

/// The task's count equals a count kept here from its runs, and stays within its bound.
#[derive(Default)]
pub(super) struct AttemptsAreCounted {
    counted: BTreeMap<TaskId, u32>,
}

impl Checker for AttemptsAreCounted {
    fn promise(&self) -> &'static str {
        "attempts_are_counted"
    }

    fn committed(&mut self, commit: &Commit, seen: &Seen<'_>) -> Verdict {
        // In the order of the facts, since one transaction may hold a retry and an end.
        for (_, event) in &commit.events {
            let Some(task) = &event.task else { continue };
            match event.kind {
                EventKind::TaskRetryAsked | EventKind::TaskResumed | EventKind::TaskRejected => {
                    self.counted.insert(task.clone(), 0);
                }
                EventKind::RunEnded => {
                    let run = event.run.as_ref().and_then(|run| seen.rows.runs.get(run));
                    if run.is_some_and(|run| costs(run, seen.host.was_stopped(&run.id))) {
                        *self.counted.entry(task.clone()).or_default() += 1;
                    }
                }
                _ => {}
            }
        }
        for task in commit.changed_tasks() {
            let counted = self.counted.get(&task.id).copied().unwrap_or(0);
            demand(task.attempts == counted, || {
                format!(
                    "{} says {} attempts, counted {counted}",
                    task.id, task.attempts
                )
            })?;
            demand(task.attempts <= task.max_attempts, || {
                format!("{} had {} of {}", task.id, task.attempts, task.max_attempts)
            })?;
        }
        Ok(())
    }
}

fn costs(run: &Run, was_stopped: bool) -> bool {
    let code = run
        .ending()
        .and_then(|ending| ending.outcome.failure())
        .map(|failure| failure.code);
    let interrupted = was_stopped && run.stop == Some(StopReason::Interrupt);
    match run.status() {
        // Whatever an agent says when orch stops it: it costs nothing.
        RunStatus::Failed | RunStatus::TimedOut if interrupted => false,
        // The session was gone, which says nothing about the work.
        RunStatus::Failed if code == Some(Code::SessionGone) && run.resumed_session.is_some() => {
            false
        }
        RunStatus::Completed | RunStatus::Failed | RunStatus::TimedOut | RunStatus::Lost => true,
        RunStatus::NotStarted => {
            matches!(code, Some(Code::CommandNotFound | Code::NotExecutable))
        }
        RunStatus::Cancelled => code == Some(Code::CancelledByUser),
        RunStatus::Limited | RunStatus::Starting | RunStatus::Running => false,
    }
}
