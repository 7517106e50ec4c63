//! How long something took, how much CPU time we and all that we started used meanwhile, and how
//! much of the machine others used.

use std::num::NonZero;
use std::time::{Duration, Instant};

use super::figures::number;
use super::procfs::{self, Process};
use super::record::QUIET_SHARE;

/// How long the machine is looked at to see whether it is quiet.
const LOOK: Duration = Duration::from_millis(300);

/// A measurement under way.
pub struct Meter {
    began: Instant,
    busy: f64,
    own: f64,
}

/// What a measurement came to.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// How long it took, seconds.
    pub wall: f64,
    /// CPU time of this process and of everything it started, seconds.
    pub own: f64,
    /// The share of all CPUs that others used, 0 to 1.
    pub foreign: f64,
}

impl Meter {
    /// Begins to measure.
    pub fn start() -> Self {
        Self {
            busy: procfs::busy_seconds(),
            own: own_seconds(),
            began: Instant::now(),
        }
    }

    /// Ends the measurement.
    pub fn stop(&self) -> Reading {
        let wall = self.began.elapsed().as_secs_f64();
        self.stop_at(wall)
    }

    /// Ends the measurement of what was over after `wall` seconds.
    pub fn stop_at(&self, wall: f64) -> Reading {
        let span = self.began.elapsed().as_secs_f64().max(1e-6);
        let own = (own_seconds() - self.own).max(0.0);
        let busy = procfs::busy_seconds() - self.busy;
        Reading {
            wall,
            own,
            foreign: share(busy - own, span, cores()),
        }
    }
}

fn share(seconds: f64, span: f64, cores: f64) -> f64 {
    (seconds / (span * cores)).clamp(0.0, 1.0)
}

/// CPU time of this process, of what it started and of what that started, dead or alive. Nothing
/// is missed as long as orphans come to this process and it waits for them.
fn own_seconds() -> f64 {
    let own = std::process::id();
    let here = Process::read(own).map_or(0.0, |process| process.whole_seconds());
    let below = procfs::descendants(own);
    here + below.iter().map(Process::whole_seconds).sum::<f64>()
}

/// How many CPUs this process may use.
pub fn cores() -> f64 {
    number(std::thread::available_parallelism().map_or(1, NonZero::get))
}

/// Waits until others use less than a quarter of the machine, at most `patience`.
pub fn wait_until_quiet(patience: Duration) {
    let began = Instant::now();
    while began.elapsed() < patience {
        let meter = Meter::start();
        std::thread::sleep(LOOK);
        if meter.stop().foreign < QUIET_SHARE {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_others_is_a_share() {
        assert!((share(1.0, 2.0, 2.0) - 0.25).abs() < 1e-9);
        assert!(share(-0.5, 1.0, 2.0).abs() < 1e-9);
        assert!((share(9.0, 1.0, 2.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn work_of_our_own_is_not_foreign() {
        let meter = Meter::start();
        let mut sum = 0_u64;
        while meter.began.elapsed() < Duration::from_millis(60) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(meter.stop().own >= 0.02);
    }
}
