//! Runs that write faster than they are read.
//!
//! Whoever reads takes time away from those who write: on a busy machine every second of it is a
//! second that agents do not get. So runs that leave more than a piece unread are read for a small
//! share of the time only, and nothing waits for it: an end is read at once and whole, whatever is
//! unread then. This file must not know how output is read.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use orch_core::RunId;

/// How much longer they are left alone than they were read: they have a twentieth of the time.
const REST: u32 = 19;
/// The longest time for which they are left alone.
const REST_MAX: Duration = Duration::from_secs(1);

/// Who is to be read again, and when.
pub(super) struct Behind {
    runs: BTreeSet<RunId>,
    due: Instant,
}

impl Behind {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            runs: BTreeSet::new(),
            due: now,
        }
    }

    pub(super) fn has(&self, run: &RunId) -> bool {
        self.runs.contains(run)
    }

    pub(super) fn add(&mut self, run: RunId) {
        self.runs.insert(run);
    }

    /// How long nothing is to be read; `None` if nobody is behind.
    pub(super) fn patience(&self, now: Instant) -> Option<Duration> {
        (!self.runs.is_empty()).then(|| self.due.saturating_duration_since(now))
    }

    /// Those whose turn it is: all or none.
    pub(super) fn take(&mut self, now: Instant) -> BTreeSet<RunId> {
        match now < self.due {
            true => BTreeSet::new(),
            false => std::mem::take(&mut self.runs),
        }
    }

    /// They have been read since `began`.
    pub(super) fn rest(&mut self, began: Instant, now: Instant) {
        let rest = now.saturating_duration_since(began) * REST;
        self.due = now + rest.min(REST_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn runs(numbers: &[u64]) -> BTreeSet<RunId> {
        numbers.iter().copied().map(RunId::from_entropy).collect()
    }

    #[test]
    fn nobody_behind_is_no_reason_to_wake() {
        let now = Instant::now();
        let mut behind = Behind::new(now);
        assert_eq!(behind.patience(now), None);
        assert!(behind.take(now).is_empty());
    }

    #[test]
    fn who_is_behind_is_read_for_a_twentieth_of_the_time() {
        let now = Instant::now();
        let mut behind = Behind::new(now);
        for run in runs(&[1, 2]) {
            behind.add(run);
        }
        assert_eq!(behind.patience(now), Some(Duration::ZERO));
        assert_eq!(behind.take(now), runs(&[1, 2]));
        for run in runs(&[2]) {
            behind.add(run.clone());
            assert!(behind.has(&run));
        }
        behind.rest(now, now + 5 * MS);
        assert_eq!(behind.patience(now + 5 * MS), Some(95 * MS));
        assert!(behind.take(now + 99 * MS).is_empty());
        assert_eq!(behind.take(now + 100 * MS), runs(&[2]));
        assert_eq!(behind.patience(now + 100 * MS), None);
    }

    #[test]
    fn nobody_waits_longer_than_a_second() {
        let now = Instant::now();
        let mut behind = Behind::new(now);
        behind.add(RunId::from_entropy(1));
        behind.rest(now, now + 500 * MS);
        assert_eq!(behind.patience(now + 500 * MS), Some(REST_MAX));
        assert_eq!(behind.patience(now + 5_000 * MS), Some(Duration::ZERO));
    }
}
