//! When a limit is passed, decided from the time that has gone by and the bytes that were
//! written. Must not know clocks, files or processes.

use std::time::Duration;

use orch_core::outcome::Enforced;

use crate::supervise::Limits;

/// Longest between two looks at the size of the logs while it is limited. An agent that writes
/// 70 MB/s overshoots its limit by a quarter of that.
const SIZE_INTERVAL: Duration = Duration::from_millis(250);

/// Watches one agent's limits.
#[derive(Debug)]
pub struct Limiter {
    timeout: Option<u64>,
    stall: Option<u64>,
    output: Option<u64>,
    bytes: u64,
    grown_at: Duration,
}

impl Limiter {
    /// Nothing has gone by and nothing was written yet.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            timeout: limits.timeout_ms,
            stall: limits.stall_ms,
            output: limits.output_bytes,
            bytes: 0,
            grown_at: Duration::ZERO,
        }
    }

    /// The limit that is passed when the agent has run for `active` and written `bytes`.
    pub fn check(&mut self, active: Duration, bytes: u64) -> Option<Enforced> {
        if bytes != self.bytes {
            self.bytes = bytes;
            self.grown_at = active;
        }
        let passed = |limit: Option<u64>, since: Duration| {
            limit
                .filter(|&limit_ms| active >= since.saturating_add(Duration::from_millis(limit_ms)))
        };
        if let Some(limit_bytes) = self.output.filter(|&limit| bytes > limit) {
            return Some(Enforced::Output { limit_bytes });
        }
        if let Some(limit_ms) = passed(self.timeout, Duration::ZERO) {
            return Some(Enforced::Timeout { limit_ms });
        }
        passed(self.stall, self.grown_at).map(|limit_ms| Enforced::Stall { limit_ms })
    }

    /// When to check again, counted like `active`. `None`: never.
    pub(super) fn next_check(&self, active: Duration) -> Option<Duration> {
        let timeout = self.timeout.map(Duration::from_millis);
        let size = self.output.map(|_| active + SIZE_INTERVAL);
        let stall = self.stall.map(|limit_ms| {
            let limit = Duration::from_millis(limit_ms);
            // Growth is dated when it is seen, so it must be looked for well before the limit.
            (self.grown_at.saturating_add(limit)).min(active.saturating_add(limit / 4))
        });
        [timeout, size, stall].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn limiter(timeout_ms: Option<u64>, stall_ms: Option<u64>, bytes: Option<u64>) -> Limiter {
        Limiter::new(&Limits {
            timeout_ms,
            stall_ms,
            output_bytes: bytes,
            ..Limits::default()
        })
    }

    #[test]
    fn without_limits_nothing_is_enforced_and_nothing_wakes() {
        let mut free = limiter(None, None, None);
        assert_eq!(free.check(Duration::MAX, u64::MAX), None);
        assert_eq!(free.next_check(at(0)), None);
    }

    #[test]
    fn a_timeout_passes_at_its_time_and_not_before() {
        let mut limited = limiter(Some(100), None, None);
        assert_eq!(limited.check(at(99), 5), None);
        assert_eq!(limited.next_check(at(99)), Some(at(100)));
        let timeout = Enforced::Timeout { limit_ms: 100 };
        assert_eq!(limited.check(at(100), 6), Some(timeout));
    }

    #[test]
    fn growth_puts_a_stall_off() {
        let mut limited = limiter(None, Some(100), None);
        assert_eq!(limited.check(at(90), 1), None);
        assert_eq!(limited.check(at(189), 1), None);
        let stall = Enforced::Stall { limit_ms: 100 };
        assert_eq!(limited.check(at(190), 1), Some(stall));
        assert_eq!(limited.check(at(191), 2), None);
    }

    #[test]
    fn a_stall_is_looked_for_often_enough_to_be_dated() {
        let mut limited = limiter(None, Some(100), None);
        assert_eq!(limited.next_check(at(0)), Some(at(25)));
        assert_eq!(limited.check(at(25), 1), None);
        assert_eq!(limited.next_check(at(110)), Some(at(125)));
    }

    #[test]
    fn output_is_limited_by_more_than_its_limit() {
        let mut limited = limiter(None, None, Some(10));
        assert_eq!(limited.check(at(1), 10), None);
        assert_eq!(limited.next_check(at(1)), Some(at(251)));
        let output = Enforced::Output { limit_bytes: 10 };
        assert_eq!(limited.check(at(2), 11), Some(output));
    }
}
