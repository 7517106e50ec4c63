//! The clock by which the daemon decides when something is due.
//!
//! A wall clock may be set while tasks wait for a moment: put an hour back, each retry would come
//! an hour late; put ahead, at once. This clock shows the wall's time and then goes on by itself,
//! also while the machine is suspended, and takes over the wall's time again only while nothing
//! waits for a moment. Must not know what waits.

use std::sync::atomic::{AtomicI64, Ordering};

use orch_core::Timestamp;

use crate::convert;

/// What the wall clock was ahead of the time since boot when it was last looked at, milliseconds.
static AHEAD: AtomicI64 = AtomicI64::new(UNSET);
/// Nobody has looked yet.
const UNSET: i64 = i64::MIN;

/// Now, by the clock that nobody sets.
pub(crate) fn now() -> Timestamp {
    if AHEAD.load(Ordering::Acquire) == UNSET {
        follow_wall();
    }
    steady(AHEAD.load(Ordering::Acquire), since_boot_ms())
}

/// Takes over the time of the wall clock. To be called only while nothing waits for a moment.
pub(crate) fn follow_wall() {
    AHEAD.store(
        convert::now().0.saturating_sub(since_boot_ms()),
        Ordering::Release,
    );
}

/// A moment of the wall clock, as somebody outside gave it, by this clock.
pub(crate) fn from_wall(moment: Timestamp) -> Timestamp {
    let ahead = now().0.saturating_sub(convert::now().0);
    Timestamp(moment.0.saturating_add(ahead))
}

const fn steady(ahead: i64, since_boot_ms: i64) -> Timestamp {
    Timestamp(ahead.saturating_add(since_boot_ms))
}

/// Time since the machine was started, suspended or not, where the system tells.
fn since_boot_ms() -> i64 {
    use rustix::time::{ClockId, clock_gettime};
    #[cfg(target_os = "linux")]
    let time = clock_gettime(ClockId::Boottime);
    #[cfg(not(target_os = "linux"))]
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_from_where_the_wall_was_whatever_the_wall_does() {
        let ahead = 1_000_000 - 40;
        assert_eq!(steady(ahead, 40), Timestamp(1_000_000));
        assert_eq!(steady(ahead, 45), Timestamp(1_000_005));
    }

    #[test]
    fn while_the_wall_is_not_set_both_show_the_same() {
        follow_wall();
        let (steady, wall) = (now(), convert::now());
        assert!((steady.0 - wall.0).abs() < 1_000, "{steady:?} {wall:?}");
        let moment = from_wall(Timestamp(5_000_000));
        assert!((moment.0 - 5_000_000).abs() < 1_000, "{moment:?}");
    }
}
