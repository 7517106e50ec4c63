//! The fake machine: run directories, shims and agent processes, which outlive the daemon.
//!
//! It follows the steps of the real shim (lock, launch gate, agent, wait, leak grace, record,
//! message) and must not know what the daemon or the store think of them. What is kept here about
//! processes is the truth that rows are compared with.

use std::collections::BTreeMap;

use orch_core::outcome::{Enforced, Verdict};
use orch_core::run::{Changes, Exit, Failure, FailureCode, Run};
use orch_core::task::Task;
use orch_core::{RunId, TaskId, Timestamp};

use crate::agenda::{Agenda, Epoch, Happening};
use crate::mutation::Mutation;
use crate::profile::Rates;
use crate::random::Random;
use crate::script::{Launch, OnTerm, Script, Words};

/// From TERM to KILL, milliseconds.
const GRACE_MS: i64 = 10_000;
/// How long a child may hold the output after the agent has ended, milliseconds.
const LEAK_GRACE_MS: i64 = 2_000;
/// How often the session that an agent is to go on with is gone, of a thousand.
const SESSION_GONE: u32 = 150;
/// How often a file that was not flushed is gone after a reboot, of a thousand.
const UNFLUSHED_LOST: u32 = 500;
/// The adapter that has no result event.
pub(crate) const SHELL: &str = "shell";

const KILLED: Exit = Exit::Signal {
    number: 9,
    core: false,
};
const TERMINATED: Exit = Exit::Signal {
    number: 15,
    core: false,
};

/// One thing in the life of a shim or an agent, by its index.
#[derive(Debug, Clone, Copy)]
pub(crate) enum HostEvent {
    /// A shim takes its next step towards its agent.
    ShimSteps(usize),
    /// A shim writes the record of the end and tells the daemon.
    ShimRecords(usize),
    /// A shim leaves.
    ShimLeaves(usize),
    /// Somebody kills a shim.
    ShimDies(usize),
    /// A shim enforces the limit of its run.
    ShimEnforces(usize, Enforced),
    /// An agent says its result.
    Says(usize, Words),
    /// An agent ends, by itself or because it was asked to.
    Ends(usize, Exit),
    /// The grace of an agent that was asked to end is over.
    Kills(usize),
}

/// `exit.json`.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) end: RecordedEnd,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Timestamp,
    pub(crate) corrupt: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum RecordedEnd {
    Exited {
        exit: Exit,
        enforced: Option<Enforced>,
        stopped: bool,
    },
    NotStarted(Failure),
}

/// The directory of a run.
#[derive(Debug, Default)]
pub(crate) struct RunDirectory {
    /// The shim that holds `alive.lock`.
    lock: Option<usize>,
    /// The launch gate, with the boot in which it was passed.
    started: Option<u32>,
    /// `pid.json`: the process that was started.
    agent: Option<usize>,
    pub(crate) record: Option<Record>,
    /// The daemon's request to end, left for a shim that is on its way.
    stop: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShimPhase {
    Forked,
    Locked,
    Gated,
    /// Has started the process of this index.
    Waiting(usize),
    Recorded,
    Gone,
}

#[derive(Debug)]
struct Shim {
    run: RunId,
    task: TaskId,
    adapter: String,
    resumed_session: Option<String>,
    limit: Option<(i64, Enforced)>,
    stall: Option<(i64, Enforced)>,
    phase: ShimPhase,
    enforced: Option<Enforced>,
    not_started: Option<Failure>,
}

/// How a process ended: when, and what the kernel would have told its parent. `None` when no
/// parent was left to be told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) exit: Option<Exit>,
}

/// An agent's process: the truth.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) run: RunId,
    pub(crate) task: TaskId,
    adapter: String,
    script: Script,
    /// The session it said, if it came to that.
    session: Option<String>,
    /// What it did to its branch.
    left: u64,
    started_at: i64,
    boot: u32,
    pub(crate) ended: Option<Ended>,
    /// Its result event and when it was written.
    pub(crate) said: Option<(i64, Words)>,
    asked_to_end: bool,
    /// The daemon had asked for its end while it ran.
    stopped: bool,
    /// The child that outlives it.
    pub(crate) leak_alive: bool,
    shim: usize,
    /// The daemon that became its parent when its shim died.
    reaper: Option<Epoch>,
}

impl Process {
    /// Whether anything of it lives.
    pub(crate) const fn is_alive(&self) -> bool {
        self.ended.is_none() || self.leak_alive
    }
}

/// What the reconciler finds.
#[derive(Debug, Clone)]
pub(crate) enum Standing {
    /// There is a record.
    Recorded(Record),
    /// A shim is in charge.
    Supervised { started_at: Option<i64> },
    /// Nothing has been started, and no shim holds the lock.
    NeverStarted,
    /// The gate was passed and there never was a process.
    DiedAtLaunch,
    /// The agent, or a child of it, lives without a shim.
    Unsupervised { started_at: i64, agent: bool },
    /// The agent is gone and so is whoever saw its end.
    Gone(FailureCode),
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Host {
    boot: u32,
    directories: BTreeMap<RunId, RunDirectory>,
    shims: Vec<Shim>,
    pub(crate) processes: Vec<Process>,
    /// The processes of which something lives.
    pub(crate) alive: Vec<usize>,
    /// The daemon that is up, as the subreaper it is.
    pub(crate) daemon: Option<Epoch>,
    /// What the subreaper heard and the daemon has not taken yet.
    pub(crate) reaped: Vec<(RunId, Exit)>,
    pub(crate) rates: Rates,
    pub(crate) good_agents: bool,
    random: Random,
    pub(crate) mutation: Option<Mutation>,
}

impl Host {
    pub(crate) fn new(seed: u64, rates: Rates) -> Self {
        Self {
            boot: 1,
            directories: BTreeMap::new(),
            shims: Vec::new(),
            processes: Vec::new(),
            alive: Vec::new(),
            daemon: None,
            reaped: Vec::new(),
            rates,
            good_agents: false,
            random: Random::new(seed, 2),
            mutation: None,
        }
    }

    /// Forks a shim for a run. May be called twice: the lock and the gate decide.
    ///
    /// # Errors
    /// The machine has no process to give, or the worktree cannot be made.
    pub(crate) fn launch(
        &mut self,
        run: &Run,
        task: &Task,
        agenda: &mut Agenda,
    ) -> Result<(), Failure> {
        if self.random.chance(self.rates.launch_fails) {
            let code = match self.random.below(4) {
                0 => FailureCode::WorkspaceFailed,
                3 => FailureCode::NeedsConsent,
                1 => FailureCode::SpawnFailed,
                _ => FailureCode::NoResources,
            };
            return Err(failure(code));
        }
        let limit = |millis: Option<u64>, enforced: fn(u64) -> Enforced| {
            millis.map(|millis| {
                (
                    i64::try_from(millis).unwrap_or(i64::MAX / 4),
                    enforced(millis),
                )
            })
        };
        self.directories.entry(run.id.clone()).or_default();
        self.shims.push(Shim {
            run: run.id.clone(),
            task: task.id.clone(),
            adapter: run.adapter.clone(),
            resumed_session: run.resumed_session.clone(),
            limit: limit(task.timeout_ms, |limit_ms| Enforced::Timeout { limit_ms }),
            stall: limit(task.stall_ms, |limit_ms| Enforced::Stall { limit_ms }),
            phase: ShimPhase::Forked,
            enforced: None,
            not_started: None,
        });
        let shim = self.shims.len() - 1;
        let slow = self.random.chance(self.rates.launch_slow);
        let moment = self.random.between(0, if slow { 4_000 } else { 60 });
        self.plan(agenda, moment, HostEvent::ShimSteps(shim));
        if self.random.chance(self.rates.shim_killed) {
            // The short while before it has its agent is the one that matters most.
            let last = if self.random.chance(300) { 60 } else { 6_000 };
            let moment = self.random.between(0, last);
            self.plan(agenda, moment, HostEvent::ShimDies(shim));
        }
        Ok(())
    }

    /// Asks the processes of a run to end, through whoever can. May be called any number of times.
    pub(crate) fn stop(&mut self, run: &RunId, agenda: &mut Agenda) {
        self.directories.entry(run.clone()).or_default().stop = true;
        for process in self.processes_of(run) {
            let ended = self.processes[process].ended.is_some();
            self.processes[process].stopped |= !ended;
            self.terminate(process, agenda);
        }
    }

    /// Shuts the launch gate before any shim has passed it, so that none ever will. `false` if
    /// one has, or holds the lock.
    pub(crate) fn forestall(&mut self, run: &RunId) -> bool {
        let boot = self.boot;
        let directory = self.directories.entry(run.clone()).or_default();
        let open =
            directory.started.is_none() && directory.lock.is_none() && directory.record.is_none();
        if open {
            directory.started = Some(boot);
        }
        open
    }

    /// Kills what an agent left behind when no shim is there to do it.
    pub(crate) fn kill_leftovers(&mut self, run: &RunId) {
        for index in self.processes_of(run) {
            if self.processes[index].ended.is_some() {
                self.processes[index].leak_alive = false;
            }
        }
        self.forget_dead();
    }

    /// How a run stands, from what is on disk and in the process table.
    pub(crate) fn inspect(&self, run: &Run) -> Standing {
        let nothing = RunDirectory::default();
        let directory = self.directories.get(&run.id).unwrap_or(&nothing);
        if let Some(record) = &directory.record {
            return Standing::Recorded(record.clone());
        }
        if self.is_of_another_boot(run) {
            return Standing::Gone(FailureCode::HostRebooted);
        }
        let last = directory.agent.map(|index| &self.processes[index]);
        if directory.lock.is_some() {
            let started_at = last.map(|process| process.started_at);
            return Standing::Supervised { started_at };
        }
        match (last, directory.started) {
            (None, None) => Standing::NeverStarted,
            (None, Some(_)) => Standing::DiedAtLaunch,
            (Some(process), _) if process.is_alive() => Standing::Unsupervised {
                started_at: process.started_at,
                agent: process.ended.is_none(),
            },
            (Some(process), _) if process.boot != self.boot => {
                Standing::Gone(FailureCode::HostRebooted)
            }
            (Some(_), _) => Standing::Gone(FailureCode::SupervisorDied),
        }
    }

    fn is_of_another_boot(&self, run: &Run) -> bool {
        let forgets = self.mutation == Some(Mutation::ForgetsBoot);
        !forgets && run.boot.as_ref() != Some(&self.boot_name())
    }

    /// What this boot is called.
    pub(crate) fn boot_name(&self) -> String {
        format!("boot {}", self.boot)
    }

    /// What the transcript amounts to, for the adapter of the run.
    pub(crate) fn verdict(&self, run: &RunId, adapter: &str) -> Verdict {
        let said = self.said(run);
        match said {
            _ if adapter == SHELL => Verdict::ByExitStatus,
            None => Verdict::NoResult,
            Some((_, Words::Success)) => Verdict::Success,
            Some((_, Words::Error(code))) => Verdict::Error {
                code,
                message: "it did not work".to_owned(),
            },
            Some((at, Words::Limited(code, after))) => Verdict::Limited {
                code,
                message: "you have used up your limit".to_owned(),
                until: after.map(|after| Timestamp(at + after)),
            },
        }
    }

    /// When the result event of a run was written, and what it says.
    pub(crate) fn said(&self, run: &RunId) -> Option<(i64, Words)> {
        let last = self.processes.iter().rev().find(|it| &it.run == run);
        last.and_then(|process| process.said)
    }

    /// The session that the agent of a run said.
    pub(crate) fn session(&self, run: &RunId) -> Option<String> {
        let last = self.processes.iter().rev().find(|it| &it.run == run);
        last.and_then(|process| process.session.clone())
    }

    /// What the agent of a run did to its branch.
    pub(crate) fn changes(&self, run: &RunId) -> Changes {
        self.left_by(|process| &process.run == run)
    }

    /// What all agents of a task did to its branch.
    pub(crate) fn branch(&self, task: &TaskId) -> Changes {
        self.left_by(|process| &process.task == task)
    }

    /// An agent of this machine commits every other file it changes.
    fn left_by(&self, is_one: impl Fn(&Process) -> bool) -> Changes {
        let files = self.processes.iter().filter(|it| is_one(it));
        let files = files.map(|process| process.left).sum();
        Changes {
            files,
            commits: files / 2,
        }
    }

    /// The record of a run, if one was written.
    pub(crate) fn record(&self, run: &RunId) -> Option<&Record> {
        self.directories.get(run).and_then(|it| it.record.as_ref())
    }

    /// Whether a shim of this run is on its way or at work.
    pub(crate) fn has_shim(&self, run: &RunId) -> bool {
        let busy = |shim: &Shim| !matches!(shim.phase, ShimPhase::Recorded | ShimPhase::Gone);
        self.shims.iter().any(|shim| &shim.run == run && busy(shim))
    }

    /// Whether an agent of this run lives, or something it left.
    pub(crate) fn has_process(&self, run: &RunId) -> bool {
        self.alive
            .iter()
            .any(|index| &self.processes[*index].run == run)
    }

    /// What the kernel told somebody about the end of this run's agent.
    pub(crate) fn kernel_status(&self, run: &RunId) -> Option<Exit> {
        let last = self.processes.iter().rev().find(|it| &it.run == run);
        last.and_then(|process| process.ended)
            .and_then(|ended| ended.exit)
    }

    /// Whether its agent was asked to end by the daemon while it ran.
    pub(crate) fn was_stopped(&self, run: &RunId) -> bool {
        let last = self.processes.iter().rev().find(|it| &it.run == run);
        last.is_some_and(|process| process.stopped)
    }

    /// Whether an agent of this run is at work that nobody has asked to end.
    pub(crate) fn works_unaware(&self, run: &RunId) -> bool {
        let mut alive = self.alive.iter().map(|index| &self.processes[*index]);
        alive.any(|it| &it.run == run && it.ended.is_none() && !it.asked_to_end)
    }

    /// Whether this run had an agent and has it no more.
    pub(crate) fn agent_has_ended(&self, run: &RunId) -> bool {
        let last = self.processes.iter().rev().find(|it| &it.run == run);
        last.is_some_and(|process| process.ended.is_some())
    }

    /// Ends everything at once, without a witness. Of the files that nobody flushed, any may be
    /// missing afterwards; a record was flushed.
    pub(crate) fn reboot(&mut self) {
        self.boot += 1;
        for shim in &mut self.shims {
            shim.phase = ShimPhase::Gone;
        }
        for directory in self.directories.values_mut() {
            directory.lock = None;
            directory.stop = false;
            if self.random.chance(UNFLUSHED_LOST) {
                directory.started = None;
            }
            if self.random.chance(UNFLUSHED_LOST) {
                directory.agent = None;
            }
        }
        for process in &mut self.processes {
            process.leak_alive = false;
            if process.ended.is_none() {
                process.ended = Some(Ended { exit: None });
            }
        }
        self.reaped.clear();
        self.forget_dead();
    }

    pub(crate) fn happen(&mut self, event: HostEvent, agenda: &mut Agenda) {
        match event {
            HostEvent::ShimSteps(shim) => self.shim_steps(shim, agenda),
            HostEvent::ShimRecords(shim) => self.shim_records(shim, agenda),
            HostEvent::ShimLeaves(shim) => self.shim_leaves(shim),
            HostEvent::ShimDies(shim) => self.shim_dies(shim),
            HostEvent::ShimEnforces(shim, limit) => self.shim_enforces(shim, limit, agenda),
            HostEvent::Says(process, words) => self.says(process, words, agenda),
            HostEvent::Ends(process, exit) => self.ends(process, exit, agenda),
            HostEvent::Kills(process) => self.ends(process, KILLED, agenda),
        }
    }

    fn plan(&self, agenda: &mut Agenda, after: i64, event: HostEvent) {
        agenda.after(after, Happening::Host(event));
    }

    fn processes_of(&self, run: &RunId) -> Vec<usize> {
        let alive = self.alive.iter().copied();
        alive
            .filter(|index| &self.processes[*index].run == run)
            .collect()
    }

    fn forget_dead(&mut self) {
        let processes = &self.processes;
        self.alive.retain(|index| processes[*index].is_alive());
    }

    fn shim_steps(&mut self, index: usize, agenda: &mut Agenda) {
        let gate_open = self.mutation == Some(Mutation::NoLaunchGate);
        let boot = self.boot;
        let shim = &mut self.shims[index];
        let directory = self.directories.entry(shim.run.clone()).or_default();
        match shim.phase {
            ShimPhase::Forked => {
                let taken = directory.lock.is_some()
                    || directory.started.is_some()
                    || directory.record.is_some();
                if taken && !gate_open {
                    shim.phase = ShimPhase::Gone;
                    return;
                }
                directory.lock = Some(index);
                shim.phase = ShimPhase::Locked;
            }
            ShimPhase::Locked => {
                directory.started = Some(boot);
                shim.phase = ShimPhase::Gated;
            }
            ShimPhase::Gated if directory.stop => {
                shim.not_started = Some(failure(FailureCode::SpawnFailed));
                return self.shim_records(index, agenda);
            }
            ShimPhase::Gated => return self.start_agent(index, agenda),
            ShimPhase::Waiting(_) | ShimPhase::Recorded | ShimPhase::Gone => return,
        }
        let moment = self.random.between(0, 20);
        self.plan(agenda, moment, HostEvent::ShimSteps(index));
    }

    fn start_agent(&mut self, index: usize, agenda: &mut Agenda) {
        let resumes = self.shims[index].resumed_session.is_some();
        let script = if resumes && self.random.chance(SESSION_GONE) {
            Script::without_session(&mut self.random)
        } else if self.good_agents {
            Script::good(&mut self.random)
        } else {
            Script::draw(&mut self.random)
        };
        if let Launch::Fails(code) = script.launch {
            self.shims[index].not_started = Some(failure(code));
            return self.shim_records(index, agenda);
        }
        let says_session = self.random.chance(800);
        // The last one tried is to get through.
        let left = if self.good_agents {
            1
        } else {
            self.random.below(3)
        };
        let shim = &mut self.shims[index];
        let number = self.processes.len();
        shim.phase = ShimPhase::Waiting(number);
        let new_session = || format!("session of {}", shim.run);
        let session = shim.resumed_session.clone().unwrap_or_else(new_session);
        self.processes.push(Process {
            run: shim.run.clone(),
            task: shim.task.clone(),
            adapter: shim.adapter.clone(),
            script,
            session: (says_session && shim.adapter != SHELL).then_some(session),
            left,
            started_at: agenda.now(),
            boot: self.boot,
            ended: None,
            said: None,
            asked_to_end: false,
            stopped: false,
            leak_alive: false,
            shim: index,
            reaper: None,
        });
        self.alive.push(number);
        let run = shim.run.clone();
        self.directories.entry(run).or_default().agent = Some(number);
        let shim = &self.shims[index];
        let (run, limit, stall) = (shim.run.clone(), shim.limit, shim.stall);
        self.plan_life(number, index, agenda, limit, stall);
        self.tell(&run, agenda);
    }

    fn plan_life(
        &self,
        process: usize,
        shim: usize,
        agenda: &mut Agenda,
        limit: Option<(i64, Enforced)>,
        stall: Option<(i64, Enforced)>,
    ) {
        let script = self.processes[process].script;
        if let Some((at, words)) = script.says {
            self.plan(agenda, at, HostEvent::Says(process, words));
        }
        if let Some((at, exit)) = script.ends {
            self.plan(agenda, at, HostEvent::Ends(process, exit));
        }
        if let Some((at, enforced)) = limit {
            self.plan(agenda, at, HostEvent::ShimEnforces(shim, enforced));
        }
        // An agent that says nothing and does not end is also the one that falls silent.
        if let (Some((at, enforced)), None, None) = (stall, script.says, script.ends) {
            self.plan(agenda, at, HostEvent::ShimEnforces(shim, enforced));
        }
    }

    /// Sends a message about a run: a hint to look at its directory. It may get lost, come late
    /// or come twice.
    fn tell(&mut self, run: &RunId, agenda: &mut Agenda) {
        let copies = 1 + u32::from(self.random.chance(self.rates.news_repeated));
        for _ in 0..copies {
            if !self.random.chance(self.rates.news_lost) {
                let late = self.random.between(0, self.rates.news_late_ms);
                agenda.after(late, Happening::News(run.clone()));
            }
        }
    }

    fn says(&mut self, index: usize, words: Words, agenda: &mut Agenda) {
        let process = &mut self.processes[index];
        if process.ended.is_some() || process.said.is_some() {
            return;
        }
        process.said = Some((agenda.now(), words));
        let (run, adapter) = (process.run.clone(), process.adapter.clone());
        if adapter != SHELL {
            self.tell(&run, agenda);
        }
    }

    fn terminate(&mut self, index: usize, agenda: &mut Agenda) {
        let process = &mut self.processes[index];
        if process.asked_to_end || process.ended.is_some() {
            return;
        }
        process.asked_to_end = true;
        let on_term = process.script.on_term;
        let moment = self.random.between(0, 50);
        match on_term {
            OnTerm::Dies => self.plan(agenda, moment, HostEvent::Ends(index, TERMINATED)),
            OnTerm::Exits(code) => {
                self.plan(agenda, moment, HostEvent::Ends(index, Exit::Code(code)));
            }
            OnTerm::SaysAndExits(words, code) => {
                self.plan(agenda, moment, HostEvent::Says(index, words));
                self.plan(agenda, moment + 1, HostEvent::Ends(index, Exit::Code(code)));
            }
            OnTerm::Ignores => {}
        }
        self.plan(agenda, GRACE_MS, HostEvent::Kills(index));
    }

    fn ends(&mut self, index: usize, exit: Exit, agenda: &mut Agenda) {
        let process = &mut self.processes[index];
        if process.ended.is_some() {
            return;
        }
        process.leak_alive = process.script.leaks;
        let shim = process.shim;
        let seen_by_shim = self.shims[shim].phase == ShimPhase::Waiting(index);
        let seen_by_daemon = process.reaper.is_some() && process.reaper == self.daemon;
        let heard = seen_by_shim || seen_by_daemon;
        process.ended = Some(Ended {
            exit: heard.then_some(exit),
        });
        if seen_by_shim {
            let grace = if process.leak_alive { LEAK_GRACE_MS } else { 0 };
            let moment = grace + self.random.between(0, 5);
            self.plan(agenda, moment, HostEvent::ShimRecords(shim));
        } else if seen_by_daemon {
            let run = process.run.clone();
            self.reaped.push((run.clone(), exit));
            agenda.after(0, Happening::News(run));
        }
        self.forget_dead();
    }

    fn shim_enforces(&mut self, index: usize, enforced: Enforced, agenda: &mut Agenda) {
        let shim = &mut self.shims[index];
        if let ShimPhase::Waiting(process) = shim.phase
            && self.processes[process].ended.is_none()
        {
            shim.enforced = shim.enforced.or(Some(enforced));
            self.terminate(process, agenda);
        }
    }

    fn shim_records(&mut self, index: usize, agenda: &mut Agenda) {
        let shim = &mut self.shims[index];
        let (end, started_at) = match (shim.phase, shim.not_started.take()) {
            (ShimPhase::Gone | ShimPhase::Recorded, _) => return,
            (_, Some(failure)) => (RecordedEnd::NotStarted(failure), None),
            (ShimPhase::Waiting(number), None) => {
                let process = &mut self.processes[number];
                process.leak_alive = false;
                let Some(exit) = process.ended.and_then(|ended| ended.exit) else {
                    return;
                };
                let started_at = Timestamp(process.started_at);
                let end = RecordedEnd::Exited {
                    exit,
                    enforced: shim.enforced,
                    stopped: process.stopped,
                };
                (end, Some(started_at))
            }
            (ShimPhase::Forked | ShimPhase::Locked | ShimPhase::Gated, None) => return,
        };
        shim.phase = ShimPhase::Recorded;
        let run = shim.run.clone();
        let corrupt = self.random.chance(self.rates.record_corrupt);
        self.directories.entry(run.clone()).or_default().record = Some(Record {
            end,
            started_at,
            finished_at: agenda.timestamp(),
            corrupt,
        });
        self.forget_dead();
        self.tell(&run, agenda);
        let moment = self.random.between(0, 50);
        self.plan(agenda, moment, HostEvent::ShimLeaves(index));
    }

    fn shim_leaves(&mut self, index: usize) {
        self.shims[index].phase = ShimPhase::Gone;
        self.unlock(index);
    }

    fn shim_dies(&mut self, index: usize) {
        if let ShimPhase::Waiting(process) = self.shims[index].phase {
            // The subreaper inherits the agent, if it is there.
            self.processes[process].reaper = self.daemon;
        }
        self.shim_leaves(index);
    }

    fn unlock(&mut self, index: usize) {
        let run = &self.shims[index].run;
        if let Some(directory) = self.directories.get_mut(run)
            && directory.lock == Some(index)
        {
            directory.lock = None;
        }
    }
}

fn failure(code: FailureCode) -> Failure {
    Failure {
        code,
        message: format!("it could not be started: {code}"),
        evidence: "errno of the fake machine".to_owned(),
    }
}
