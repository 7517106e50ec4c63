//! Waiting for what the system gives no event for, and not for ever.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// When a test gives up waiting. Far above what a busy machine needs, and below what a person or a
/// CI waits for.
const GIVE_UP: Duration = Duration::from_secs(180);
/// The same when others have waited in vain already: what is broken then is broken for all, and a
/// CI that is ended from outside says less than one that fails.
const GIVE_UP_SOON: Duration = Duration::from_secs(20);
/// How many must have waited in vain for that.
const FEW: u32 = 3;

static IN_VAIN: AtomicU32 = AtomicU32::new(0);

/// How long to wait for something.
pub(crate) fn patience() -> Duration {
    patience_after(IN_VAIN.load(Ordering::Relaxed))
}

/// Notes that something was waited for in vain.
pub(crate) fn waited_in_vain() {
    IN_VAIN.fetch_add(1, Ordering::Relaxed);
}

fn patience_after(in_vain: u32) -> Duration {
    if in_vain < FEW { GIVE_UP } else { GIVE_UP_SOON }
}
/// Between two looks, where there is nothing to wait for.
const LOOK: Duration = Duration::from_millis(20);

/// Looks until `seen` sees something.
///
/// # Panics
/// It saw nothing for minutes.
#[track_caller]
pub fn until<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + patience();
    loop {
        if let Some(found) = seen() {
            return found;
        }
        if Instant::now() >= give_up {
            waited_in_vain();
            panic!("waited in vain: {what}");
        }
        // tidy: what is looked for in the process table and on disk gives no event
        std::thread::sleep(LOOK);
    }
}

/// Looks until `count` of `word` are in what `text` reads.
///
/// # Panics
/// There were fewer for minutes; what was there is shown.
#[track_caller]
pub fn until_said(word: &str, count: usize, mut text: impl FnMut() -> String) {
    let mut last = String::new();
    let give_up = Instant::now() + patience();
    loop {
        let now = text();
        if now.matches(word).count() >= count {
            return;
        }
        if now != last {
            last = now;
        }
        if Instant::now() >= give_up {
            waited_in_vain();
            panic!("waited in vain for {count} times '{word}' in:\n{last}");
        }
        // tidy: what an agent writes into a file gives no event
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_waited_for_long() {
        assert_eq!(patience_after(0), GIVE_UP);
        assert_eq!(patience_after(FEW - 1), GIVE_UP);
        assert_eq!(patience_after(FEW), GIVE_UP_SOON);
    }
}
