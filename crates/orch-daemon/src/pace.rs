//! How fast agents are started after the machine had nothing left for one of them.
//!
//! A start that fails for want of processes, descriptors or memory says something about all
//! starts. So none is tried for a moment, which doubles with each failure, and then one at a time,
//! until one succeeds. This file must not know what was wanting.

use std::time::{Duration, Instant};

use orch_core::engine::{End, Input};
use orch_core::run::FailureCode;

/// After the first failure nothing is started for so long.
const FIRST: Duration = Duration::from_secs(1);
/// Longest time without a start; whatever the machine lacked may be back by then.
const LONGEST: Duration = Duration::from_secs(30);

/// How starts are paced.
#[derive(Debug, Default)]
pub(crate) struct Pace(Option<Held>);

#[derive(Debug)]
struct Held {
    pause: Duration,
    until: Instant,
}

impl Pace {
    /// Takes in what the host reports. `Some(true)` if starts are held back from now on, and
    /// `Some(false)` if they no longer are.
    pub(crate) fn heed<'a>(
        &mut self,
        inputs: impl IntoIterator<Item = &'a Input>,
        now: Instant,
    ) -> Option<bool> {
        let was_held = self.0.is_some();
        let (mut failed, mut went) = (false, false);
        for input in inputs {
            match input {
                Input::Ended { report, .. } => failed |= lacked_resources(&report.end),
                Input::Spawned { .. } => went = true,
                _ => {}
            }
        }
        match (failed, went) {
            (true, _) => self.hold(now),
            (false, true) => self.0 = None,
            (false, false) => {}
        }
        let is_held = self.0.is_some();
        (was_held != is_held).then_some(is_held)
    }

    /// Failures of starts that were under way together count once.
    fn hold(&mut self, now: Instant) {
        let pause = match &self.0 {
            None => FIRST,
            Some(held) if now < held.until => return,
            Some(held) => (held.pause * 2).min(LONGEST),
        };
        let until = now + pause;
        self.0 = Some(Held { pause, until });
    }

    /// Whether nothing may be started now.
    pub(crate) fn rests(&self, now: Instant) -> bool {
        self.0.as_ref().is_some_and(|held| now < held.until)
    }

    /// Whether agents are started one at a time.
    pub(crate) const fn is_careful(&self) -> bool {
        self.0.is_some()
    }
}

fn lacked_resources(end: &End) -> bool {
    matches!(end, End::NotStarted(failure) if failure.code == FailureCode::NoResources)
}

#[cfg(test)]
mod tests {
    use orch_core::engine::Report;
    use orch_core::run::Failure;
    use orch_core::{RunId, Timestamp};

    use super::*;

    fn failed(code: FailureCode) -> Input {
        let failure = Failure {
            code,
            message: "no".to_owned(),
            evidence: "EMFILE".to_owned(),
        };
        let report = Box::new(Report::bare(End::NotStarted(failure), Timestamp(1)));
        let run = RunId::from_entropy(1);
        Input::Ended { run, report }
    }

    fn went() -> Input {
        Input::Spawned {
            run: RunId::from_entropy(2),
            at: Timestamp(1),
        }
    }

    #[test]
    fn pauses_double_and_one_success_ends_them() {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let _ = pace.heed(&[failed(FailureCode::NoResources)], now);
            assert!(pace.rests(now) && pace.is_careful());
            let seconds = (1..=31).find(|s| !pace.rests(now + Duration::from_secs(*s)));
            pauses.push(seconds.unwrap());
            now += Duration::from_secs(seconds.unwrap());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pace.heed(&[went()], now), Some(false));
        assert!(!pace.rests(now) && !pace.is_careful());
    }

    #[test]
    fn failures_of_one_moment_are_one_failure() {
        let mut pace = Pace::default();
        let now = Instant::now();
        let inputs = [failed(FailureCode::NoResources), went()];
        assert_eq!(pace.heed(&inputs, now), Some(true));
        assert_eq!(pace.heed(&inputs, now), None);
        assert!(!pace.rests(now + FIRST));
    }

    #[test]
    fn other_failures_hold_nothing_back() {
        let mut pace = Pace::default();
        let inputs = [failed(FailureCode::CommandNotFound)];
        assert_eq!(pace.heed(&inputs, Instant::now()), None);
        assert!(!pace.is_careful());
    }
}
