//! The clock by which the daemon decides when something is due.
//!
//! A wall clock may be set while tasks wait for a moment: put an hour back, each retry would come
//! an hour late; put ahead, at once. This clock shows the wall's time and then goes on by itself,
//! also while the machine is suspended, and takes over the wall's time again only while nothing
//! waits for a moment. The next daemon goes on by it until the machine is restarted. Then it begins
//! with the wall's time, which on a machine without a battery may be that of 1970, or with the last
//! moment that was recorded, if that is later. Must not know what waits.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use orch_core::Timestamp;
use orch_host::supervise;
use serde::{Deserialize, Serialize};

use crate::convert;

/// What the wall clock was ahead of the time since boot when it was last looked at, milliseconds.
static AHEAD: AtomicI64 = AtomicI64::new(UNSET);
/// What of it is kept for the next daemon.
static KEPT: AtomicI64 = AtomicI64::new(UNSET);
/// Nobody has looked yet.
const UNSET: i64 = i64::MIN;
/// Differences below this are not worth a write, milliseconds: wall clocks are adjusted all the
/// time.
const WORTH_KEEPING_MS: u64 = 1_000;

/// Clocks that differ by less than this show the same, milliseconds: each is cut to milliseconds,
/// and they are read one after the other.
const SAME_MS: u64 = 10;

/// What an earlier daemon went by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    boot: String,
    ahead_ms: i64,
}

/// Goes on by what is kept at `path`, and by no earlier moment than `newest` if that is of no use:
/// the last one that was recorded.
pub(crate) fn go_on(path: &Path, newest: Option<Timestamp>) {
    let kept = fs::read(path).ok();
    let kept = kept.and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
    let ahead = ahead_at_start(
        kept.as_ref(),
        supervise::present_boot().as_deref(),
        newest,
        wall_ahead(),
        since_boot_ms(),
    );
    AHEAD.store(ahead, Ordering::Release);
}

/// Writes down what the next daemon is to go by, at `path`, if it has changed. To be called before
/// something begins to wait.
///
/// # Errors
/// It cannot be written. All that comes of it is that a wall clock which is set while no daemon
/// runs moves what waits.
pub(crate) fn keep(path: &Path) -> io::Result<()> {
    let ahead_ms = AHEAD.load(Ordering::Acquire);
    let kept = KEPT.load(Ordering::Acquire);
    if ahead_ms == UNSET || kept != UNSET && ahead_ms.abs_diff(kept) < WORTH_KEEPING_MS {
        return Ok(());
    }
    let Some(boot) = supervise::present_boot() else {
        return Ok(());
    };
    let draft = path.with_extension("new");
    fs::write(&draft, serde_json::to_vec(&Kept { boot, ahead_ms })?)?;
    fs::rename(&draft, path)?;
    KEPT.store(ahead_ms, Ordering::Release);
    Ok(())
}

/// What the clock is to be ahead of the time since boot.
fn ahead_at_start(
    kept: Option<&Kept>,
    boot: Option<&str>,
    newest: Option<Timestamp>,
    wall_ahead: i64,
    since_boot_ms: i64,
) -> i64 {
    match kept.filter(|kept| boot == Some(kept.boot.as_str())) {
        Some(kept) => kept.ahead_ms,
        None => {
            let newest = newest.map(|newest| newest.0.saturating_sub(since_boot_ms));
            newest.map_or(wall_ahead, |newest| newest.max(wall_ahead))
        }
    }
}

/// Now, by the clock that nobody sets.
pub(crate) fn now() -> Timestamp {
    if AHEAD.load(Ordering::Acquire) == UNSET {
        follow_wall();
    }
    steady(AHEAD.load(Ordering::Acquire), since_boot_ms())
}

/// Takes over the time of the wall clock. To be called only while nothing waits for a moment.
pub(crate) fn follow_wall() {
    AHEAD.store(wall_ahead(), Ordering::Release);
}

fn wall_ahead() -> i64 {
    convert::now().0.saturating_sub(since_boot_ms())
}

/// A moment of the wall clock, as somebody outside gave it, by this clock.
pub(crate) fn from_wall(moment: Timestamp) -> Timestamp {
    // In this order: should time pass in between, what waits is late and not too early.
    let wall = convert::now();
    moved(moment, wall, now())
}

/// `moment` of the clock that shows `wall` by the one that shows `ours`.
fn moved(moment: Timestamp, wall: Timestamp, ours: Timestamp) -> Timestamp {
    let ahead = ours.0.saturating_sub(wall.0);
    match ahead.unsigned_abs() < SAME_MS {
        true => moment,
        false => Timestamp(moment.0.saturating_add(ahead)),
    }
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
    fn a_new_daemon_goes_on_by_the_clock_of_the_one_before() {
        let kept = Kept {
            boot: "a".to_owned(),
            ahead_ms: 5_000,
        };
        let newest = Some(Timestamp(9_000));
        let start = |boot, newest, wall| ahead_at_start(Some(&kept), boot, newest, wall, 1_000);
        assert_eq!(start(Some("a"), newest, 77), 5_000);
        // After a restart of the machine, whose clock may stand at the beginning of time.
        assert_eq!(start(Some("b"), newest, 12_345), 12_345);
        assert_eq!(start(Some("b"), newest, 77), 8_000);
        assert_eq!(start(None, newest, 77), 8_000);
        assert_eq!(ahead_at_start(None, Some("a"), None, 77, 1_000), 77);
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("clock.json");
        go_on(&path, None);
        keep(&path).unwrap();
        let kept: Kept = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(Some(kept.boot), supervise::present_boot());
        assert!(kept.ahead_ms.abs_diff(wall_ahead()) < 10_000);
    }

    #[test]
    fn while_the_wall_is_not_set_both_show_the_same() {
        follow_wall();
        let (steady, wall) = (now(), convert::now());
        assert!((steady.0 - wall.0).abs() < 1_000, "{steady:?} {wall:?}");
        let moment = from_wall(Timestamp(5_000_000));
        assert!((5_000_000..5_001_000).contains(&moment.0), "{moment:?}");
    }

    /// A reset that a provider told was waited for a millisecond too short.
    #[test]
    fn a_moment_outside_is_moved_by_what_the_wall_was_set_and_by_no_reading() {
        let moment = Timestamp(4_102_444_800_000);
        let by = |ours| moved(moment, Timestamp(1_000_000), Timestamp(ours)).0 - moment.0;
        assert_eq!([by(999_999), by(1_000_000), by(1_000_003)], [0, 0, 0]);
        assert_eq!([by(4_600_000), by(400_000)], [3_600_000, -600_000]);
        assert_eq!(by(i64::MAX), i64::MAX - moment.0);
    }
}
