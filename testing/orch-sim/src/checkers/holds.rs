//! Promise 19, first half: back-off and resets are waited for, across restarts.

use std::collections::BTreeMap;

use orch_core::event::EventKind;
use orch_core::policy::Backoff;
use orch_core::run::FailureCode;
use orch_core::task::{Hold, Task, TaskState};
use orch_core::{TaskId, Timestamp};

use super::{Checker, Seen, Verdict, demand};
use crate::rows::Commit;

/// No run begins before the hold of its task is over, unless a person asked for it; and a hold is
/// as long as the rule says.
#[derive(Default)]
pub(super) struct BackoffIsHonoured {
    holds: BTreeMap<TaskId, Timestamp>,
}

impl Checker for BackoffIsHonoured {
    fn promise(&self) -> &'static str {
        "backoff_is_honoured"
    }

    fn committed(&mut self, commit: &Commit, seen: &Seen<'_>) -> Verdict {
        for (_, event) in &commit.events {
            let asked = matches!(
                event.kind,
                EventKind::TaskRetryAsked | EventKind::TaskResumed | EventKind::TaskRejected
            );
            if let Some(task) = event.task.as_ref().filter(|_| asked) {
                self.holds.remove(task);
            }
        }
        for run in commit.started() {
            let hold = self.holds.get(&run.task);
            let waited = hold.is_none_or(|until| run.created_at >= *until);
            demand(waited, || {
                format!("{} began at {:?}, before {hold:?}", run.id, run.created_at)
            })?;
        }
        for (id, change) in &commit.tasks {
            let Some(task) = &change.after else { continue };
            let before = change.before.as_ref().and_then(|task| task.state.hold());
            match task.state.hold() {
                Some(hold) if before != Some(hold) => {
                    check_length(task, hold, seen.now, seen.config.backoff)?;
                    self.holds.insert(id.clone(), hold.until);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn check_length(task: &Task, hold: &Hold, now: i64, backoff: Backoff) -> Verdict {
    if hold.failure.code == FailureCode::SessionGone && waits_for_nothing(hold, now) {
        return Ok(());
    }
    let failures = match hold.failure.code {
        FailureCode::RateLimit | FailureCode::UsageLimit => task.start_failures,
        code if is_transient(code) => task.start_failures,
        _ => task.attempts,
    };
    let waits = u64::try_from(hold.until.0 - now).unwrap_or(0);
    let full = (0..failures.saturating_sub(1))
        .fold(backoff.base_ms, |wait, _| (wait * 2).min(backoff.max_ms));
    let least = full.min(backoff.max_ms) * 3 / 4;
    demand(waits >= least, || {
        format!(
            "{} waits {waits} ms, at least {least} are due: {hold:?}",
            task.id
        )
    })?;
    let retrying = matches!(task.state, TaskState::Retrying { .. });
    demand(!retrying || waits <= full, || {
        format!(
            "{} waits {waits} ms, at most {full} are due: {hold:?}",
            task.id
        )
    })
}

/// The next run has no session that could be gone, so there is nothing to wait for.
const fn waits_for_nothing(hold: &Hold, now: i64) -> bool {
    hold.until.0 == now
}

const fn is_transient(code: FailureCode) -> bool {
    matches!(
        code,
        FailureCode::NoResources
            | FailureCode::WorkspaceFailed
            | FailureCode::SpawnFailed
            | FailureCode::NeedsConsent
            | FailureCode::SupervisorDiedAtLaunch
    )
}
