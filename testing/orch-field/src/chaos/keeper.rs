//! A daemon that is started and killed over and over, with everything it says kept.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::Project;
use crate::oracle::Ledger;

/// Longest a daemon may take until it serves; far more than any should.
const SERVING: Duration = Duration::from_secs(20);

/// A daemon that serves the project of a round.
pub(super) struct Keeper {
    child: Child,
    log: Option<JoinHandle<()>>,
    over: Receiver<()>,
}

impl Keeper {
    /// Starts a daemon and waits until it serves.
    pub(super) fn start(project: &Project, ledger: &Ledger, more: &[&str]) -> Result<Self, String> {
        let mut arguments = vec!["serve", "--log-format", "json"];
        arguments.extend(more);
        ledger.daemon_started();
        let mut child = project
            .orch(&arguments)
            .stdout(Stdio::piped())
            .stderr(append(project, "daemon.err"))
            .spawn()
            .unwrap();
        let said = child.stdout.take().unwrap();
        let mut kept = append(project, "daemon.log");
        let (serving, serves) = channel();
        let (end, over) = channel();
        let log = std::thread::spawn(move || {
            for line in BufReader::new(said).lines() {
                let Ok(line) = line else { break };
                writeln!(kept, "{line}").unwrap();
                if line.contains("\"event\":\"serving\"") {
                    let _ = serving.send(());
                }
            }
            drop(end);
        });
        let mut keeper = Self {
            child,
            log: Some(log),
            over,
        };
        match serves.recv_timeout(SERVING) {
            Ok(()) => Ok(keeper),
            Err(RecvTimeoutError::Timeout) => Err("the daemon does not serve".to_owned()),
            // With nothing left to do it may have ended before it said so.
            Err(RecvTimeoutError::Disconnected) => {
                let status = keeper.child.wait().unwrap();
                Err(format!("the daemon ended with {status} before it served"))
            }
        }
    }

    /// Its process.
    pub(super) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) {
        // It has not been waited for, so the id is its own.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Kills it and waits until it is gone.
    pub(super) fn kill(mut self, ledger: &Ledger) {
        ledger.daemon_killed();
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
        self.close();
    }

    /// Waits until it has ended by itself; its exit code, or `None` if it does not within `most`.
    pub(super) fn ended(mut self, most: Duration) -> Option<Option<i32>> {
        // Nothing is ever sent: the other side goes when the daemon has said its last word.
        if self.over.recv_timeout(most) == Err(RecvTimeoutError::Timeout) {
            return None;
        }
        let status = self.child.wait().unwrap();
        self.close();
        Some(status.code())
    }

    fn close(&mut self) {
        if let Some(log) = self.log.take() {
            log.join().unwrap();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn append(project: &Project, name: &str) -> File {
    let path = project.outside(name);
    let mut options = OpenOptions::new();
    options.append(true).create(true).open(path).unwrap()
}
