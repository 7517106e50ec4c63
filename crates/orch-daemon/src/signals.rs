//! SIGTERM and SIGINT: the first drains, the second stops the agents, the third leaves at once.
//! SIGQUIT leaves at once, for a service manager that restarts orch and leaves its agents alone.
//! SIGHUP reads the configuration again. Who tries something out stops the agents with the first.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Once};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::{Handle, Signals};

use crate::notify;
use crate::wake::{Ending, Wake};

/// A file that may not grow any more is an error to be told and no reason to die. Handled and not
/// ignored, so that it is as ever in every program that is started.
pub(crate) fn outlive_file_limits() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Where no handler can be had, the limit ends this process; nothing is lost by that.
        let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    });
}

/// Turns signals into wakes until dropped.
pub(crate) struct SignalWatch(Handle);

impl SignalWatch {
    /// Takes signals from now on; `patient` if the first of them lets agents finish.
    pub(crate) fn start(wakes: Sender<Wake>, patient: bool) -> io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP])?;
        let handle = signals.handle();
        std::thread::spawn(move || {
            let mut asked = 0;
            for signal in signals.forever() {
                let wake = if signal == SIGHUP {
                    Wake::Reload(None)
                } else {
                    notify::stopping();
                    asked += if signal == SIGQUIT { LEAVE } else { 1 };
                    Wake::End(firmness(asked, patient))
                };
                if wakes.send(wake).is_err() {
                    break;
                }
            }
        });
        Ok(Self(handle))
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// How many times asking is enough for leaving at once.
const LEAVE: u32 = 3;

const fn firmness(times_asked: u32, patient: bool) -> Ending {
    match times_asked {
        1 if patient => Ending::Drain,
        1 | 2 => Ending::StopAgents,
        _ => Ending::Leave,
    }
}
