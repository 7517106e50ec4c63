//! Waiting for what the system gives no event for, and not for ever.

use std::time::{Duration, Instant};

/// When a test gives up waiting. Far above what a busy machine needs.
const GIVE_UP: Duration = Duration::from_secs(120);
/// Between two looks, where there is nothing to wait for.
const LOOK: Duration = Duration::from_millis(20);

/// Looks until `seen` sees something.
///
/// # Panics
/// It saw nothing for two minutes.
#[track_caller]
pub fn until<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + GIVE_UP;
    loop {
        if let Some(found) = seen() {
            return found;
        }
        assert!(Instant::now() < give_up, "waited in vain: {what}");
        // tidy: what is looked for in the process table and on disk gives no event
        std::thread::sleep(LOOK);
    }
}

/// Looks until `count` of `word` are in what `text` reads.
///
/// # Panics
/// There were fewer for two minutes; what was there is shown.
#[track_caller]
pub fn until_said(word: &str, count: usize, mut text: impl FnMut() -> String) {
    let mut last = String::new();
    let give_up = Instant::now() + GIVE_UP;
    loop {
        let now = text();
        if now.matches(word).count() >= count {
            return;
        }
        if now != last {
            last = now;
        }
        assert!(
            Instant::now() < give_up,
            "waited in vain for {count} times '{word}' in:\n{last}"
        );
        // tidy: what an agent writes into a file gives no event
        std::thread::sleep(LOOK);
    }
}
