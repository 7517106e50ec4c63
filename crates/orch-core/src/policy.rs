//! Retry and back-off arithmetic.

use crate::limits;
use crate::run::{FailureCode, Outcome, Run};
use crate::session;
use crate::task::{OnLost, Task, WorkspaceMode};
use crate::time::Timestamp;

/// How long to wait before an attempt is repeated: `base * 2^(n-1)`, at most `max`, and up to a
/// quarter less so that tasks which failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Wait after the first failure, milliseconds.
    pub base_ms: u64,
    /// Longest wait, milliseconds.
    pub max_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base_ms: 10_000,
            max_ms: 600_000,
        }
    }
}

impl Backoff {
    /// Milliseconds to wait after failure number `failures` (1 for the first).
    #[must_use]
    pub fn delay_ms(&self, failures: u32, entropy: u64) -> u64 {
        let doublings = failures.saturating_sub(1).min(32);
        let full = self.base_ms.saturating_mul(1 << doublings).min(self.max_ms);
        full - (full / 4) * (entropy % 1024) / 1024
    }
}

/// What becomes of a task after one of its runs has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The work is done.
    Succeed,
    /// Try again at this time.
    RetryAt(Timestamp),
    /// Wait for a limit to pass; no attempt was used up.
    HoldUntil(Timestamp),
    /// Straight back into the queue; no attempt was used up.
    Requeue,
    /// A person must look.
    AskPerson,
    /// Not wanted any more.
    Cancel,
    /// No attempt is left.
    GiveUp,
}

/// Whether an ended run used up one of the task's attempts.
#[must_use]
pub fn counts_as_attempt(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Completed | Outcome::Failed(_) | Outcome::TimedOut(_) | Outcome::Lost(_) => true,
        Outcome::NotStarted(failure) => failure.code.is_permanent(),
        Outcome::Cancelled(failure) => failure.code == FailureCode::CancelledByUser,
        Outcome::Limited { .. } => false,
    }
}

/// Whether a run ended only because its session was gone, so that the next one begins anew at
/// once, without one.
#[must_use]
pub fn is_fresh_start(run: &Run, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed(failure) | Outcome::NotStarted(failure) => {
            session::was_gone(run, failure.code)
        }
        _ => false,
    }
}

/// Decides what becomes of `task` after `run`, which its counters already include.
#[must_use]
pub fn dispose(
    task: &Task,
    run: &Run,
    outcome: &Outcome,
    backoff: Backoff,
    now: Timestamp,
    entropy: u64,
) -> Disposition {
    match outcome {
        Outcome::Completed => Disposition::Succeed,
        _ if is_fresh_start(run, outcome) => Disposition::RetryAt(now),
        Outcome::Cancelled(failure) if failure.code == FailureCode::Interrupted => {
            Disposition::Requeue
        }
        Outcome::Cancelled(_) => Disposition::Cancel,
        Outcome::Limited { until, .. } => {
            let default = now.plus_millis(backoff.delay_ms(task.start_failures, entropy));
            // A reset time in the past would start a retry storm.
            Disposition::HoldUntil(until.map_or(default, |until| until.max(default)))
        }
        Outcome::NotStarted(failure) if failure.code.is_permanent() => Disposition::GiveUp,
        Outcome::NotStarted(failure) if task.start_failures >= most_starts(failure.code) => {
            Disposition::GiveUp
        }
        Outcome::NotStarted(_) => {
            Disposition::RetryAt(now.plus_millis(backoff.delay_ms(task.start_failures, entropy)))
        }
        Outcome::Lost(_) if asks_person(task) => Disposition::AskPerson,
        // The next attempt would fail the same way, and cost the same.
        Outcome::Failed(failure) if failure.code.is_permanent() => Disposition::GiveUp,
        Outcome::Failed(_) | Outcome::TimedOut(_) | Outcome::Lost(_) => {
            if task.attempts < task.max_attempts {
                Disposition::RetryAt(now.plus_millis(backoff.delay_ms(task.attempts, entropy)))
            } else {
                Disposition::GiveUp
            }
        }
    }
}

/// Starts in a row that may fail this way.
const fn most_starts(code: FailureCode) -> u32 {
    match code {
        FailureCode::WorkspaceFailed | FailureCode::SpawnFailed => limits::UNREADY_START_FAILURES,
        // It waits for a person, however long that takes.
        FailureCode::NeedsConsent => u32::MAX,
        _ => limits::TRANSIENT_START_FAILURES,
    }
}

/// Nobody knows what a lost run did to a directory that others use as well.
fn asks_person(task: &Task) -> bool {
    match task.on_lost {
        OnLost::Ask => true,
        OnLost::Retry => false,
        OnLost::Default => task.workspace == WorkspaceMode::Shared,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_and_stops_at_its_maximum() {
        let backoff = Backoff {
            base_ms: 1_000,
            max_ms: 5_000,
        };
        let delays: Vec<u64> = (1..=5)
            .map(|failures| backoff.delay_ms(failures, 0))
            .collect();
        assert_eq!(delays, [1_000, 2_000, 4_000, 5_000, 5_000]);
        assert_eq!(backoff.delay_ms(u32::MAX, 0), 5_000);
    }

    #[test]
    fn jitter_takes_away_at_most_a_quarter() {
        let backoff = Backoff {
            base_ms: 1_000,
            max_ms: 5_000,
        };
        for entropy in [1, 511, 1023, u64::MAX] {
            let delay = backoff.delay_ms(1, entropy);
            assert!((750..=1_000).contains(&delay), "{delay}");
        }
    }
}
