//! A thread that cleans up behind a daemon that serves: at its start and every hour.
//!
//! Removing files may take minutes and must keep nobody waiting, so it has a thread of its own. It
//! decides nothing; `cleanup` does.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::cleanup::{self, CleanupError, Swept};
use crate::log::{LogLine, chain};
use crate::shared::Shared;

/// How often it cleans up.
const EVERY: Duration = Duration::from_secs(3_600);

/// The thread; it ends some time after this value. Nobody waits for it: removing a large directory
/// must not keep a daemon from ending, and every step may be cut short.
pub(crate) struct Janitor {
    _quit: Sender<()>,
}

impl Janitor {
    /// Begins. A machine without a thread to spare goes uncleaned, and says so.
    pub(crate) fn start(shared: &Arc<Shared>) -> Self {
        let (quit, quitting) = channel();
        let own = Arc::clone(shared);
        let thread = std::thread::Builder::new()
            .name("orch-janitor".to_owned())
            .spawn(move || {
                let mut last_warning = String::new();
                loop {
                    tell(&own, pass(&own), &mut last_warning);
                    match quitting.recv_timeout(EVERY) {
                        Err(RecvTimeoutError::Timeout) => {}
                        _ => return,
                    }
                }
            });
        if let Err(error) = thread {
            let message = format!("nothing is cleaned up: {error}");
            shared.log.say(LogLine::note("warn", "trouble", message));
        }
        Self { _quit: quit }
    }
}

fn pass(shared: &Shared) -> Result<Swept, CleanupError> {
    let config = shared.config();
    shared.read(|reader| {
        cleanup::pass(
            &shared.project,
            config.target.as_deref(),
            config.cleanup,
            reader,
        )
    })
}

/// Nothing goes without being named; a trouble that lasts is told once.
fn tell(shared: &Shared, swept: Result<Swept, CleanupError>, last_warning: &mut String) {
    let warning = match swept {
        Ok(swept) => {
            for (id, why) in swept.given_up {
                let message = format!("{id} can no longer be restored: {why}");
                shared
                    .log
                    .say(LogLine::note("info", "rescue_given_up", message));
            }
            swept.warnings.join("; ")
        }
        Err(error) => format!(
            "cleaning up stopped, nothing more was removed: {}",
            chain(&error)
        ),
    };
    if !warning.is_empty() && warning != *last_warning {
        shared
            .log
            .say(LogLine::note("warn", "trouble", warning.clone()));
    }
    *last_warning = warning;
}
