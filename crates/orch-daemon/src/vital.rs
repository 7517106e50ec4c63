//! Threads that a daemon cannot do without.
//!
//! A thread that panics ends in silence. Where it was the sweep, or the one that hears of ends,
//! orch would go on and wait for what nobody looks for any more. A daemon that ends and says why
//! is started again, finds its agents, and loses nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use crate::wake::Wake;

/// Does `work` on a thread of its own. Should it panic, the loop is told that nothing may be relied
/// on any more.
pub(crate) fn spawn(
    what: &'static str,
    wakes: Sender<Wake>,
    work: impl FnOnce() + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        if let Err(panic) = caught(work) {
            let _ = wakes.send(Wake::Broken(format!("{what} ended: {panic}")));
        }
    })
}

/// Does `work`; should it panic, says what it said.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        format!("orch itself failed: {}", text.unwrap_or("a panic"))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// Fault 48. Injected: a panic in a thread that nobody waits for: the sweep, the listener, the
    /// reader of output, the writer of copies. Held: the loop is told, and the daemon ends with the
    /// panic's words instead of going on without that thread.
    #[test]
    fn a_panic_is_an_alarm_and_an_end_is_none() {
        let (wakes, woken) = channel();
        spawn("the sweep", wakes.clone(), || panic!("of the test"))
            .join()
            .unwrap();
        let told = woken.recv().unwrap();
        let Wake::Broken(why) = told else {
            panic!("something else was told");
        };
        assert_eq!(why, "the sweep ended: orch itself failed: of the test");
        spawn("the sweep", wakes, || {}).join().unwrap();
        assert!(woken.recv().is_err(), "nobody is left to tell anything");
    }
}
