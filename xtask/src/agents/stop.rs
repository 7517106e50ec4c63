//! What happens when whoever started the trials does not want them any more: everything that was
//! started ends, what was made is taken away, and this program ends by the signal it got.
//!
//! Nothing is ended here but descendants of this process. From the signal on it is their subreaper,
//! so that the agents of a daemon that is killed stay among them; before, it would be the parent
//! of every orphan and have to tell them from the children that it waits for. What a trial left
//! behind earlier is ended by the trial.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{getpid, set_child_subreaper};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::bench::stage::kill_descendants;

/// How long the trials may take to notice before this program ends without them.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often to look whether something was started meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The first signal that asked for the end; 0 before.
static ASKED: AtomicI32 = AtomicI32::new(0);

/// From now on the first TERM, INT or HUP ends whatever was started here, and goes on doing so
/// until [`leave_if_asked`]. A second one ends this program too.
///
/// # Errors
/// The system refuses it.
pub fn at_signals() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("catching signals")?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if ASKED.swap(signal, Ordering::SeqCst) != 0 {
                kill_descendants();
                leave_by(signal);
            }
            std::thread::spawn(move || end_all(signal));
        }
    });
    Ok(())
}

fn end_all(signal: i32) {
    let asked = Instant::now();
    // Without it the first pass may miss what a killed daemon leaves, as every pass is a snapshot.
    let _ = set_child_subreaper(Some(getpid()));
    while asked.elapsed() < PATIENCE {
        kill_descendants();
        std::thread::sleep(LOOK_EVERY);
    }
    leave_by(signal);
}

/// Whether the trials may go on.
///
/// # Errors
/// A signal has asked for the end.
pub fn check() -> Result<()> {
    let signal = ASKED.load(Ordering::SeqCst);
    ensure!(signal == 0, "stopped by signal {signal}");
    Ok(())
}

/// Ends this program by the signal that asked for it, if one did.
pub fn leave_if_asked() {
    let signal = ASKED.load(Ordering::SeqCst);
    if signal == 0 {
        return;
    }
    while kill_descendants() > 0 {
        std::thread::sleep(LOOK_EVERY);
    }
    leave_by(signal);
}

fn leave_by(signal: i32) {
    // It does not return for a signal that ends a process.
    let _ = emulate_default_handler(signal);
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

    use super::*;

    /// Says to this test that it is the program that is signalled.
    const PLAYED: &str = "XTASK_STOP_IS_PLAYED";

    #[test]
    fn a_signal_ends_also_what_has_a_session_of_its_own() {
        if std::env::var_os(PLAYED).is_some() {
            return play();
        }
        let name = "agents::stop::tests::a_signal_ends_also_what_has_a_session_of_its_own";
        let mut program = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(PLAYED, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(program.stdout.take().unwrap()).lines();
        let mut numbers = said.map_while(Result::ok).filter_map(|line| {
            let number = line.strip_prefix("started ")?;
            Pid::from_raw(number.parse().ok()?)
        });
        let left = numbers.next().unwrap();
        let left = pidfd_open(left, PidfdFlags::empty()).unwrap();
        kill_process(Pid::from_child(&program), Signal::TERM).unwrap();
        assert_eq!(program.wait().unwrap().signal(), Some(SIGTERM));
        // It is readable when the process has ended.
        let mut waited = [rustix::event::PollFd::new(
            &left,
            rustix::event::PollFlags::IN,
        )];
        let limit = rustix::event::Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        assert_eq!(rustix::event::poll(&mut waited, Some(&limit)), Ok(1));
    }

    /// Starts a child that is waited for, and something below it that leaves its session.
    fn play() {
        at_signals().unwrap();
        let script = "setsid sleep 90 & echo \"started $!\"; wait";
        let ended = Command::new("sh").args(["-c", script]).status().unwrap();
        assert_eq!(ended.signal(), Some(9));
        assert!(check().is_err());
        leave_if_asked();
        unreachable!("the signal ends it");
    }
}
