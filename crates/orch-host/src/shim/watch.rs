//! Waiting for the agent's process to end, asking it to when it must, and ending what it leaves
//! behind.
//!
//! Waits for processes and never for the end of a pipe or file: a tool in the background may
//! hold the agent's output open for ever. That everything is gone is known without looking at
//! the process table: this process adopts every orphan of the tree, so the tree is empty when
//! it has no child left.

use std::io;
use std::time::{Duration, Instant};

use orch_core::Timestamp;
use orch_core::outcome::Enforced;
use orch_core::run::Exit;
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, wait, waitid, waitpid,
};

use super::agent::Agent;
use super::limiter::Limiter;
use super::signals::Signals;
use super::{Logs, note};
use crate::failpoint::{self, Point};
use crate::supervise::process::{Process, descendants, read, table};
use crate::supervise::record::{LEAKED_NAMED, Leaked};
use crate::supervise::tree::{Killed, kill_tree};
use crate::supervise::{Limits, Spec, StopSignal, clock, exit_told};

/// To see that a child has ended and leave its status where it is.
const LOOK: WaitIdOptions = WaitIdOptions::EXITED
    .union(WaitIdOptions::NOHANG)
    .union(WaitIdOptions::NOWAIT);
/// Between two attempts to kill an agent that does not go.
const KILL_AGAIN: Duration = Duration::from_secs(1);

/// How it went.
pub(super) struct End {
    pub(super) exit: Exit,
    pub(super) enforced: Option<Enforced>,
    pub(super) stopped: bool,
    pub(super) finished_at: Timestamp,
    pub(super) active: Duration,
    pub(super) cpu_ticks: Option<u64>,
    pub(super) oom_kills: u64,
    pub(super) leaked: Vec<Leaked>,
    pub(super) leaked_count: u64,
    pub(super) warnings: Vec<String>,
}

/// How far the ending of the agent has gone.
#[derive(Clone, Copy)]
enum Stage {
    /// It is left to work.
    Working,
    /// It was asked to leave and will be killed then.
    Asked { kill_at: Instant },
}

/// The agent's end as the kernel told it.
struct Reaped {
    exit: Exit,
    at: Timestamp,
    active: Duration,
    cpu_ticks: Option<u64>,
    oom_kills: u64,
}

pub(super) struct Watch<'a> {
    agent: &'a Agent,
    limits: &'a Limits,
    stop_signal: Signal,
    signals: &'a Signals,
    logs: &'a Logs,
    limiter: Limiter,
    stage: Stage,
    enforced: Option<Enforced>,
    stopped: bool,
    warnings: Vec<String>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        agent: &'a Agent,
        spec: &'a Spec,
        signals: &'a Signals,
        logs: &'a Logs,
    ) -> Self {
        Self {
            agent,
            limits: &spec.limits,
            stop_signal: match spec.stop_signal {
                StopSignal::Terminate => Signal::TERM,
                StopSignal::Interrupt => Signal::INT,
            },
            signals,
            logs,
            limiter: Limiter::new(&spec.limits),
            stage: Stage::Working,
            enforced: None,
            stopped: false,
            warnings: Vec::new(),
        }
    }

    /// Returns when the agent has ended and nothing of it is left that can be ended.
    pub(super) fn until_end(mut self, seen: impl FnOnce(End)) -> End {
        let reaped = loop {
            if let Some(reaped) = self.look_at_agent() {
                break reaped;
            }
            self.reap_orphans();
            self.heed_stops();
            self.heed_limits();
            self.heed_grace();
            self.sleep(self.next_look());
        };
        failpoint::hit(Point::EndSeen);
        // Noted first and fetched second: until it is fetched the status lies with the kernel, and
        // whoever becomes the agent's parent, should this process be killed, can still have it.
        seen(self.end(&reaped, &Killed::default()));
        failpoint::hit(Point::EndNoted);
        let _ = waitpid(Some(self.agent.pid), WaitOptions::NOHANG);
        let killed = self.end_leaked();
        failpoint::hit(Point::LeaksEnded);
        self.end(&reaped, &killed)
    }

    fn end(&self, reaped: &Reaped, killed: &Killed) -> End {
        End {
            exit: reaped.exit,
            enforced: self.enforced,
            stopped: self.stopped,
            finished_at: reaped.at,
            active: reaped.active,
            cpu_ticks: reaped.cpu_ticks,
            oom_kills: reaped.oom_kills,
            leaked_count: killed.victims.len() as u64,
            leaked: name(killed),
            warnings: self.warnings.clone(),
        }
    }

    /// However often it is asked, the grace runs from the first time: who asks again, as a daemon
    /// does that was started meanwhile, cannot know whether it was asked before.
    fn heed_stops(&mut self) {
        if self.signals.take_stop() {
            self.stopped = true;
            self.ask();
        }
    }

    fn heed_limits(&mut self) {
        if matches!(self.stage, Stage::Asked { .. }) {
            return;
        }
        let bytes = self.logs.lengths().map_or(0, |(out, err)| out + err);
        if let Some(enforced) = self.limiter.check(self.agent.since.elapsed(), bytes) {
            self.enforced = Some(enforced);
            self.ask();
        }
    }

    /// Asks the agent to leave, unless that was done. Its whole group, because a launcher may not
    /// pass a signal on; and awake, because a stopped process handles none.
    fn ask(&mut self) {
        if matches!(self.stage, Stage::Asked { .. }) {
            return;
        }
        self.signal_group(self.stop_signal);
        self.signal_group(Signal::CONT);
        let grace = Duration::from_millis(self.limits.stop_grace_ms);
        self.stage = Stage::Asked {
            kill_at: later(Instant::now(), grace),
        };
    }

    fn heed_grace(&mut self) {
        if let Stage::Asked { kill_at } = self.stage
            && Instant::now() >= kill_at
        {
            self.signal_group(Signal::KILL);
            self.kill_descendants();
            self.stage = Stage::Asked {
                kill_at: later(Instant::now(), KILL_AGAIN),
            };
        }
    }

    /// Its status is not fetched, so the group's number is still its own.
    fn signal_group(&self, signal: Signal) {
        if let Err(error) = kill_process_group(self.agent.pid, signal)
            && error != Errno::SRCH
        {
            note(&format!("cannot signal the agent's group: {error}"));
        }
    }

    fn next_look(&self) -> Option<Instant> {
        match self.stage {
            Stage::Asked { kill_at } => Some(kill_at),
            Stage::Working => {
                let next = self.limiter.next_check(self.agent.since.elapsed())?;
                self.agent.since.checked_add(next)
            }
        }
    }

    fn sleep(&self, until: Option<Instant>) {
        if let Err(error) = self.signals.wait(until) {
            // Without its ears the shim still looks, only less often.
            note(&format!("cannot wait for signals: {error}"));
            std::thread::sleep(KILL_AGAIN);
        }
    }

    /// How the agent ended, if it has. Its status is left with the kernel.
    fn look_at_agent(&self) -> Option<Reaped> {
        let ended = waitid(WaitId::Pid(self.agent.pid), LOOK).ok().flatten()?;
        // Where orphans are not adopted they can only be reached through the group, and only
        // while its leader's status keeps the number from being reused.
        if !cfg!(target_os = "linux") {
            self.signal_group(Signal::KILL);
        }
        Some(Reaped {
            exit: exit_told(&ended)?,
            at: clock::now(),
            active: self.agent.since.elapsed(),
            cpu_ticks: self.cpu_ticks(),
            oom_kills: self.agent.shortage.kills(),
        })
    }

    /// Fetches the statuses of adopted children that have ended, and never the agent's. What cannot
    /// be found now is fetched when the agent has ended.
    fn reap_orphans(&self) {
        if !matches!(waitid(WaitId::All, LOOK), Ok(Some(_))) {
            return;
        }
        let this = rustix::process::getpid().as_raw_pid();
        let of_mine = |process: &Process| process.parent == this && process.zombie;
        for process in table().unwrap_or_default().iter().filter(|it| of_mine(it)) {
            if process.pid != self.agent.pid.as_raw_pid() {
                let _ = waitpid(Pid::from_raw(process.pid), WaitOptions::NOHANG);
            }
        }
    }

    fn cpu_ticks(&self) -> Option<u64> {
        let process = read(self.agent.pid.as_raw_pid()).ok().flatten()?;
        cfg!(target_os = "linux").then_some(process.cpu_ticks)
    }

    /// Gives what the agent left behind its grace, then kills it. Only a first request to stop ends
    /// that grace.
    fn end_leaked(&mut self) -> Killed {
        let until = later(
            Instant::now(),
            Duration::from_millis(self.limits.leak_grace_ms),
        );
        while reap() {
            let is_first_stop = self.signals.take_stop() && !self.stopped;
            if is_first_stop || Instant::now() >= until {
                return self.kill_descendants();
            }
            self.sleep(Some(until));
        }
        Killed::default()
    }

    fn kill_descendants(&mut self) -> Killed {
        let killed = kill_tree(find);
        killed.unwrap_or_else(|error| {
            self.warnings.push(format!(
                "what the agent left behind cannot be found: {error}"
            ));
            Killed::default()
        })
    }
}

/// Fetches every status there is, once the agent's was fetched. `true` if a child is left.
fn reap() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn find() -> io::Result<Vec<Process>> {
    let this = rustix::process::getpid().as_raw_pid();
    Ok(descendants(&table()?, this))
}

fn name(killed: &Killed) -> Vec<Leaked> {
    killed
        .victims
        .values()
        .take(LEAKED_NAMED)
        .map(|process| Leaked {
            pid: process.pid,
            name: process.name.clone(),
            alive: killed.survivors.contains(&process.pid),
        })
        .collect()
}

/// `from` plus `by`; a grace of a thousand years is as good as none.
fn later(from: Instant, by: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    from + by.min(FAR)
}
