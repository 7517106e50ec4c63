//! What is done to daemons, shims and agents. Every deed is written into the ledger first.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::keeper::Keeper;
use super::plan::Fault;
use super::random::Random;
use super::round::Round;
use crate::oracle::{Account, signal, stat};

/// A process that can be meant without mistaking another for it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    run: String,
    pid: i32,
    start_time: u64,
}

impl Target {
    fn send(&self, what: Signal) -> bool {
        signal(self.pid, self.start_time, what)
    }
}

impl Round<'_> {
    /// Does what the plan says.
    pub(super) fn inject(&mut self, fault: Fault) -> Result<(), String> {
        match fault {
            Fault::KillDaemon { down_ms } => self.kill_daemon(down_ms),
            Fault::KillShim { all } => {
                self.kill_shims(all);
                Ok(())
            }
            Fault::KillBoth {
                down_ms,
                daemon_first,
            } => self.kill_both(down_ms, daemon_first),
            Fault::KillAgent => {
                self.kill_agent();
                Ok(())
            }
            Fault::StopDaemon { for_ms } => {
                self.stop_daemon(for_ms);
                Ok(())
            }
            Fault::StopShim { for_ms } => {
                let shims = self.shims();
                self.stop_one(&shims, for_ms);
                Ok(())
            }
            Fault::StopAgent { for_ms } => {
                self.stop_agent(for_ms);
                Ok(())
            }
        }
    }

    /// Fault 1. Injected: the daemon is killed with SIGKILL up to three times in a round, each time
    /// at a random moment within 150 ms while tasks are added, started, ended and landed, and is
    /// started again at once or up to 150 ms later. Held: no agent is started twice or stopped, no
    /// exit status, output byte, event or commit is missing, no run is lost or stale, dependants
    /// start once, and every end is recorded within 5 s of the next start.
    ///
    /// Promises 1, 2, 7, 9, 10, 11, 12, 17, 18, 19, 20, 21.
    fn kill_daemon(&mut self, down_ms: u64) -> Result<(), String> {
        if let Some(keeper) = self.keeper.take() {
            keeper.kill(self.ledger);
            self.tally.daemon_kills += 1;
        }
        wait(down_ms);
        self.start_daemon(&[])
    }

    /// Fault 3. Injected: the shims of one run or of all runs are killed with SIGKILL at a random
    /// moment while the daemon lives. Held: the agents go on as children of the daemon, which
    /// fetches their exit status; what was never started is `not_started` and costs no attempt;
    /// nothing starts twice and nothing is left running.
    ///
    /// Promises 3, 10, 11, 13, 14.
    fn kill_shims(&mut self, all: bool) {
        let mut shims = self.shims();
        if !all && !shims.is_empty() {
            shims = vec![self.random.pick(&shims).clone()];
        }
        for shim in shims {
            self.ledger.shim_killed(&shim.run);
            self.tally.shim_kills += u64::from(shim.send(Signal::KILL));
        }
    }

    /// Fault 4. Injected: all shims and the daemon are killed with SIGKILL in the same moment,
    /// either first. Held: a run whose end nobody could see is `lost` with its evidence and
    /// without an exit status; its agent has no twin, and the next attempt waits until nothing of
    /// it lives.
    ///
    /// Promises 3, 11, 13.
    fn kill_both(&mut self, down_ms: u64, daemon_first: bool) -> Result<(), String> {
        let shims = self.shims();
        let keeper = self.keeper.take();
        for shim in &shims {
            self.ledger.shim_killed(&shim.run);
        }
        if keeper.is_some() {
            self.ledger.daemon_killed();
        }
        if let Some(keeper) = keeper.as_ref().filter(|_| daemon_first) {
            keeper.signal(Signal::KILL);
        }
        for shim in &shims {
            self.tally.shim_kills += u64::from(shim.send(Signal::KILL));
        }
        if let Some(keeper) = keeper {
            keeper.kill(self.ledger);
            self.tally.daemon_kills += 1;
        }
        wait(down_ms);
        self.start_daemon(&[])
    }

    /// Fault 5. Injected: the process of a running agent is killed with SIGKILL at a random moment,
    /// also while it prints. Held: the run is `failed(signaled)` with signal 9 as the kernel gave
    /// it, never `lost`; what it had printed is kept and what it left running is ended.
    ///
    /// Promises 2, 5, 14, 21.
    fn kill_agent(&mut self) {
        let agents = self.agents();
        if agents.is_empty() {
            return;
        }
        let agent = self.random.pick(&agents).clone();
        self.ledger.agent_signalled(&agent.run, 9);
        self.tally.agent_kills += u64::from(agent.send(Signal::KILL));
    }

    /// Fault 18. Injected: the daemon, or the shim of a run, is stopped with SIGSTOP for 50 to
    /// 300 ms and goes on; meanwhile a second daemon is started. Held: the second daemon is refused
    /// and names the first; what ended meanwhile is recorded within the usual time after
    /// SIGCONT, and nothing is taken for dead.
    ///
    /// Promises 1, 12, 24.
    fn stop_daemon(&mut self, for_ms: u64) {
        let Some(keeper) = &self.keeper else { return };
        keeper.signal(Signal::STOP);
        let refused = self.second_daemon();
        wait(for_ms);
        keeper.signal(Signal::CONT);
        self.ledger.paused(None, for_ms);
        self.tally.stops += 1;
        self.trouble.extend(refused);
    }

    /// Fault 17. Injected: a running agent is stopped with SIGSTOP for 50 to 300 ms and goes on.
    /// Held: its run goes on too, ends as the agent meant it to, and is never `lost`.
    ///
    /// Promises 1, 2, 3.
    fn stop_agent(&mut self, for_ms: u64) {
        let agents = self.agents();
        self.stop_one(&agents, for_ms);
    }

    fn stop_one(&mut self, targets: &[Target], for_ms: u64) {
        if targets.is_empty() {
            return;
        }
        let target = self.random.pick(targets);
        if target.send(Signal::STOP) {
            wait(for_ms);
            target.send(Signal::CONT);
            self.ledger.paused(Some(&target.run), for_ms);
            self.tally.stops += 1;
        }
    }

    /// Starts a second daemon beside the first, which must be refused.
    fn second_daemon(&self) -> Option<String> {
        let output = self.project.output(&["serve", "--log-format", "json"]);
        let said = crate::lossy(&output.stderr);
        let holder = self.keeper.as_ref().map(Keeper::pid).unwrap_or_default();
        let named = said.contains(&holder.to_string());
        (output.status.code() != Some(4) || !named).then(|| {
            let status = output.status;
            format!("a second daemon was not refused by the stopped one: {status}: {said}")
        })
    }

    /// The shims that live now, by the gates they passed.
    fn shims(&self) -> Vec<Target> {
        let runs = self.project.root().join(".orch/runs");
        let daemon = self.keeper.as_ref().map(Keeper::pid);
        let entries = fs::read_dir(runs).into_iter().flatten();
        entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let gate = fs::read(entry.path().join("started")).ok()?;
                let gate: Value = serde_json::from_slice(&gate).ok()?;
                let pid = gate["pid"].as_i64()? as i32;
                let target = Target {
                    run: entry.file_name().into_string().ok()?,
                    pid,
                    start_time: gate["start_time"].as_u64()?,
                };
                // A daemon shuts the gate of a run that is not to start, in its own name.
                (Some(pid) != daemon && target.lives()).then_some(target)
            })
            .collect()
    }

    /// The agents that live now, by their own account.
    fn agents(&self) -> Vec<Target> {
        let accounts = self.ledger.read().runs;
        let alive = |(run, account): (String, Account)| {
            let start = account.starts.last()?;
            let target = Target {
                run,
                pid: start.pid,
                start_time: start.start_time,
            };
            (account.end.is_none() && target.lives()).then_some(target)
        };
        accounts.into_iter().filter_map(alive).collect()
    }
}

impl Target {
    fn lives(&self) -> bool {
        stat(self.pid).is_some_and(|(state, _, since)| state != 'Z' && since == self.start_time)
    }
}

/// Lets time pass: the moment of a fault is the fault.
pub(super) fn wait(milliseconds: u64) {
    // tidy: the fault is that it happens at a random moment, and nothing is waited for
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// Draws that the plan does not make, because they depend on what is there.
pub(super) fn live_draws(seed: u64) -> Random {
    Random::new(!seed)
}
