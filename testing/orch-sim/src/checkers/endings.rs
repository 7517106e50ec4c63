//! Promises 2 to 5, 8: what is recorded of an end is what was seen, is reasoned, and stays.

use orch_core::event::EventKind;
use orch_core::outcome::Verdict as Words;
use orch_core::run::{Exit, FailureCode as Code, Run, RunStatus};
use orch_core::task::{Require, Task, TaskState};

use super::{Checker, Seen, Verdict, demand};
use crate::host::RecordedEnd;
use crate::rows::{Change, Commit};

/// The recorded status is the kernel's, and nothing where nobody heard the kernel.
pub(super) struct ExactStatus;

impl Checker for ExactStatus {
    fn promise(&self) -> &'static str {
        "exact_status"
    }

    fn committed(&mut self, commit: &Commit, seen: &Seen<'_>) -> Verdict {
        for run in commit.ended() {
            let Some(ending) = run.ending() else { continue };
            let truth = seen.host.kernel_status(&run.id);
            if let Some(exit) = ending.exit {
                demand(truth == Some(exit), || {
                    format!(
                        "{} is recorded with {exit}, the kernel said {truth:?}",
                        run.id
                    )
                })?;
            }
            // What had ended by itself is not called stopped because somebody asked for it later.
            let stopped = run.status() != RunStatus::Cancelled || seen.host.was_stopped(&run.id);
            demand(ending.exit.is_none() || stopped, || {
                format!("{} is cancelled and had ended by itself", run.id)
            })?;
            if run.status() == RunStatus::Lost {
                let record = seen.host.record(&run.id).filter(|record| !record.corrupt);
                demand(ending.exit.is_none() && record.is_none(), || {
                    format!("{} is lost, and yet its end is known: {record:?}", run.id)
                })?;
            }
            check_record(run, ending.exit, seen)?;
        }
        Ok(())
    }
}

/// A record that can be read is what the row says.
fn check_record(run: &Run, exit: Option<Exit>, seen: &Seen<'_>) -> Verdict {
    let record = seen.host.record(&run.id).filter(|record| !record.corrupt);
    match record.map(|record| &record.end) {
        Some(RecordedEnd::Exited { exit: recorded, .. }) => demand(exit == Some(*recorded), || {
            format!(
                "{} has a record of {recorded} and a row of {exit:?}",
                run.id
            )
        }),
        Some(RecordedEnd::NotStarted(_)) => demand(exit.is_none(), || {
            format!("{} was not started and has a row of {exit:?}", run.id)
        }),
        None => Ok(()),
    }
}

/// A run that has ended never changes again, nor does a task that is done, unless a person sends
/// it back.
pub(super) struct TerminalIsFinal;

impl Checker for TerminalIsFinal {
    fn promise(&self) -> &'static str {
        "terminal_is_final"
    }

    fn committed(&mut self, commit: &Commit, _seen: &Seen<'_>) -> Verdict {
        for (id, change) in &commit.runs {
            if let Change {
                before: Some(before),
                after: Some(after),
            } = change
            {
                let same = !before.status().is_final() || before == after;
                demand(same, || {
                    format!("{id} had ended and was changed: {after:?}")
                })?;
            }
        }
        for (id, change) in &commit.tasks {
            let done = |task: &Task| task.state == TaskState::Done;
            let is_resumed = commit.events.iter().any(|(_, event)| {
                event.kind == EventKind::TaskResumed && event.task.as_ref() == Some(id)
            });
            if change.before.as_ref().is_some_and(done) && !is_resumed {
                let stays = change.after.as_ref().is_none_or(done);
                demand(stays, || format!("{id} was done and is {:?}", change.after))?;
            }
        }
        Ok(())
    }
}

/// A run is `completed` only if its agent said success, or, having no words, exited with 0; a task
/// is `done` only after such a run, or after a person looked at one that was lost.
pub(super) struct SuccessNeedsProof;

impl Checker for SuccessNeedsProof {
    fn promise(&self) -> &'static str {
        "success_needs_proof"
    }

    fn committed(&mut self, commit: &Commit, seen: &Seen<'_>) -> Verdict {
        for run in commit.ended() {
            let said = seen.host.verdict(&run.id, &run.adapter);
            let exit = seen.host.kernel_status(&run.id);
            let proof = said == Words::Success
                || (said == Words::ByExitStatus && exit == Some(Exit::Code(0)));
            let completed = run.status() == RunStatus::Completed;
            demand(!completed || proof, || {
                format!(
                    "{} is completed, the agent said {said:?}, exit {exit:?}",
                    run.id
                )
            })?;
            // The other way round: success that was seen is never called a failure, unless it
            // left nothing where something was required.
            let heard = run.ending().is_some_and(|ending| ending.exit.is_some());
            let empty = left_too_little(run, seen);
            let rightly = completed || said != Words::Success || !heard || empty;
            demand(rightly, || {
                format!("{} said success and is {}", run.id, run.status())
            })?;
            demand(!completed || !empty, || {
                format!("{} is completed and left too little", run.id)
            })?;
        }
        for task in commit.changed_tasks() {
            if task.state == TaskState::Done {
                let last = task
                    .last_run
                    .as_ref()
                    .and_then(|run| seen.rows.runs.get(run));
                let status = last.map(Run::status);
                let proven = matches!(status, Some(RunStatus::Completed | RunStatus::Lost));
                demand(proven, || format!("{} is done after {status:?}", task.id))?;
            }
        }
        Ok(())
    }
}

/// Whether a run in a worktree left less than its task, or else its agent, asks for.
fn left_too_little(run: &Run, seen: &Seen<'_>) -> bool {
    let of_task = seen.rows.tasks.get(&run.task).and_then(|task| task.require);
    let of_agent = || seen.config.agent(&run.agent)?.require;
    let left = seen.host.branch(&run.task);
    run.branch.is_some()
        && match of_task.or_else(of_agent) {
            Some(Require::Commit) => left.commits == 0,
            Some(Require::Changes) => left.files == 0,
            Some(Require::Nothing) | None => false,
        }
}

/// Whatever is not a success has a code that fits its status, a sentence and evidence.
pub(super) struct FailureHasReason;

impl Checker for FailureHasReason {
    fn promise(&self) -> &'static str {
        "failure_has_reason"
    }

    fn committed(&mut self, commit: &Commit, _seen: &Seen<'_>) -> Verdict {
        for run in commit.ended() {
            let failure = run.ending().and_then(|ending| ending.outcome.failure());
            let reasoned = match (run.status(), failure) {
                (RunStatus::Completed, failure) => failure.is_none(),
                (_, None) => false,
                (status, Some(failure)) => {
                    fits(status, failure.code)
                        && !failure.message.is_empty()
                        && failure.evidence.len() > 3
                }
            };
            demand(reasoned, || {
                format!("{} is {} because {failure:?}", run.id, run.status())
            })?;
        }
        for task in commit.changed_tasks() {
            if let TaskState::Failed { failure } | TaskState::Cancelled { failure } = &task.state {
                let reasoned = !failure.message.is_empty() && !failure.evidence.is_empty();
                demand(reasoned, || {
                    format!("{} has no reason: {failure:?}", task.id)
                })?;
            }
        }
        Ok(())
    }
}

const fn fits(status: RunStatus, code: Code) -> bool {
    match status {
        RunStatus::Failed => matches!(
            code,
            Code::AgentError
                | Code::NoResult
                | Code::ExitNonzero
                | Code::Signaled
                | Code::OutputLimit
                | Code::AuthFailed
                | Code::BadRequest
                | Code::ModelNotFound
                | Code::Overloaded
                | Code::ProviderError
                | Code::ConnectionFailed
                | Code::ContextTooLong
                | Code::Refused
                | Code::AnswerCut
                | Code::TurnLimit
                | Code::BudgetLimit
                | Code::SessionGone
                | Code::NoChanges
        ),
        RunStatus::Limited => matches!(code, Code::RateLimit | Code::UsageLimit),
        RunStatus::TimedOut => matches!(code, Code::Timeout | Code::Stalled),
        RunStatus::Cancelled => matches!(code, Code::CancelledByUser | Code::Interrupted),
        RunStatus::NotStarted => matches!(
            code,
            Code::CommandNotFound
                | Code::NotExecutable
                | Code::NoResources
                | Code::WorkspaceFailed
                | Code::SpawnFailed
                | Code::NeedsConsent
                | Code::SupervisorDiedAtLaunch
        ),
        RunStatus::Lost => matches!(
            code,
            Code::SupervisorDied | Code::HostRebooted | Code::RecordCorrupt | Code::RecordMissing
        ),
        RunStatus::Starting | RunStatus::Running | RunStatus::Completed => false,
    }
}
