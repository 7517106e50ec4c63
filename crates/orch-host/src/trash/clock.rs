//! Which clock a lifetime is measured by.
//!
//! Lifetimes are days and machines are switched off at night, so they are counted in wall time. But
//! a wall clock can be set, and a lifetime must not end because of that. While the machine is up a
//! second clock runs that nobody can set; where the two disagree the wall clock was set, and by how
//! much is remembered until the next boot.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use orch_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::supervise::{clock, process};

/// The two clocks may drift apart by this much, milliseconds, without one having been set.
const DRIFT_MS: i64 = 60_000;

/// The time that lifetimes are measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trusted {
    /// Now.
    pub now: Timestamp,
    /// By how much the wall clock is ahead of it, milliseconds, because somebody set it.
    pub skew_ms: i64,
}

/// Both clocks at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    boot: String,
    up_ms: i64,
    wall_ms: i64,
    skew_ms: i64,
}

/// What is trusted at `now`, given what was seen before.
fn judge(before: Option<&Seen>, mut now: Seen) -> Seen {
    let same_boot = |before: &&Seen| !now.boot.is_empty() && before.boot == now.boot;
    now.skew_ms = match before.filter(same_boot) {
        // Over a restart of the machine only the wall clock goes on.
        None => 0,
        Some(before) => {
            let expected = before.wall_ms.saturating_add(now.up_ms - before.up_ms);
            let jump = now.wall_ms.saturating_sub(expected);
            let jump = if jump.abs() > DRIFT_MS { jump } else { 0 };
            before.skew_ms.saturating_add(jump)
        }
    };
    now
}

/// How long the machine has been up, suspended or not, milliseconds.
fn up_ms() -> i64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
}

/// One note at a time. Other processes are kept away by the lock on the state directory.
static NOTING: Mutex<()> = Mutex::new(());

/// Now, and a note of it at `path` for the next time.
pub(super) fn trusted_now(path: &Path) -> io::Result<Trusted> {
    let _turn = NOTING.lock().unwrap_or_else(PoisonError::into_inner);
    let text = match fs::read(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        text => text.unwrap_or_default(),
    };
    let before: Option<Seen> = serde_json::from_slice(&text).ok();
    let seen = judge(
        before.as_ref(),
        Seen {
            boot: process::boot_id(),
            up_ms: up_ms(),
            wall_ms: clock::now().0,
            skew_ms: 0,
        },
    );
    let temporary = path.with_extension("new");
    fs::write(&temporary, serde_json::to_vec(&seen)?)?;
    fs::rename(&temporary, path)?;
    Ok(Trusted {
        now: Timestamp(seen.wall_ms.saturating_sub(seen.skew_ms)),
        skew_ms: seen.skew_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEARS: i64 = 10 * 365 * 86_400_000;

    fn seen(boot: &str, up_ms: i64, wall_ms: i64, skew_ms: i64) -> Seen {
        Seen {
            boot: boot.to_owned(),
            up_ms,
            wall_ms,
            skew_ms,
        }
    }

    /// Fault 28. Injected: the wall clock is set ten years ahead, and back again. Held: the time by
    /// which lifetimes are counted does not move, so nothing expires; days during which the machine
    /// was off do count.
    #[test]
    fn a_clock_that_is_set_ends_no_lifetime() {
        let start = seen("a", 1_000, 500_000, 0);
        let ahead = judge(Some(&start), seen("a", 2_000, 501_000 + YEARS, 0));
        assert_eq!(
            (ahead.wall_ms - ahead.skew_ms, ahead.skew_ms),
            (501_000, YEARS)
        );
        let later = judge(Some(&ahead), seen("a", 100_000, 599_000 + YEARS, 0));
        assert_eq!(later.wall_ms - later.skew_ms, 599_000);
        let back = judge(Some(&later), seen("a", 101_000, 600_000, 0));
        assert_eq!((back.wall_ms, back.skew_ms), (600_000, 0));
        let drifted = judge(Some(&start), seen("a", 2_000, 531_000, 0));
        assert_eq!(drifted.skew_ms, 0);
        let after_a_week_off = judge(Some(&later), seen("b", 10, 700_000_000, 0));
        assert_eq!(after_a_week_off.skew_ms, 0);
    }

    #[test]
    fn what_was_seen_is_remembered_and_nonsense_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("clock.json");
        let first = trusted_now(&path).unwrap();
        let note: Seen = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(note.skew_ms, 0);
        let set_back = Seen {
            wall_ms: note.wall_ms - YEARS,
            ..note
        };
        fs::write(&path, serde_json::to_vec(&set_back).unwrap()).unwrap();
        // Since then the wall clock seems to have been set ahead by ten years.
        let second = trusted_now(&path).unwrap();
        assert!((second.skew_ms - YEARS).abs() < 60_000, "{second:?}");
        assert!(second.now < first.now);
        fs::write(&path, "{").unwrap();
        assert_eq!(trusted_now(&path).unwrap().skew_ms, 0);
    }
}
