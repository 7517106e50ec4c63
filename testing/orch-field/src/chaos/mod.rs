//! Chaos: the real daemon, shims and agents, and faults at random moments.
//!
//! A round is a project of its own with three tasks at once and one that waits for one of them.
//! Its agents and its faults are drawn from a seed; at which instruction of which process a fault
//! strikes is up to the machine, so a seed repeats the round and perhaps not the failure. When
//! everything has come to rest, the [oracle](crate::oracle) compares what orch recorded with what
//! the agents wrote down.
//!
//! Must not know how orch works inside.

mod faults;
mod keeper;
mod plan;
mod random;
mod round;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use plan::{Fault, Plan};

use crate::Project;
use crate::oracle::{Scene, Violation, delays};

/// Which faults strike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mode {
    /// Daemons are killed.
    pub daemon: bool,
    /// Shims are killed.
    pub shim: bool,
    /// Agents are killed.
    pub agent: bool,
    /// Daemon and shims are killed in the same moment.
    pub both: bool,
    /// Processes of the kinds above are stopped for a moment too.
    pub stop: bool,
}

impl Mode {
    fn kinds(&self) -> Vec<Fault> {
        let (down_ms, for_ms) = (0, 0);
        let daemon_first = false;
        let kinds = [
            (self.daemon, Fault::KillDaemon { down_ms }),
            (self.shim, Fault::KillShim { all: false }),
            (self.agent, Fault::KillAgent),
            (
                self.both,
                Fault::KillBoth {
                    down_ms,
                    daemon_first,
                },
            ),
            (self.stop, Fault::StopDaemon { for_ms }),
            (self.stop, Fault::StopShim { for_ms }),
            (self.stop, Fault::StopAgent { for_ms }),
        ];
        let kinds = kinds.into_iter().filter(|(on, _)| *on);
        kinds.map(|(_, fault)| fault).collect()
    }
}

/// What is to be played.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `orch` to torture.
    pub binary: PathBuf,
    /// The faults.
    pub mode: Mode,
    /// The first seed.
    pub first: u64,
    /// How many seeds.
    pub rounds: u64,
    /// How many rounds at once.
    pub jobs: usize,
}

/// What has been played.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rounds.
    pub rounds: u64,
    /// Daemons killed.
    pub daemon_kills: u64,
    /// Shims killed.
    pub shim_kills: u64,
    /// Agents killed.
    pub agent_kills: u64,
    /// Processes stopped for a moment.
    pub stops: u64,
    /// Runs by the status they ended with.
    pub endings: BTreeMap<String, u64>,
    /// Longest an end stayed unrecorded while a daemon was there, milliseconds.
    pub slowest_ms: i64,
}

impl Tally {
    fn count(&mut self, scene: &Scene) {
        self.rounds += 1;
        for run in &scene.runs {
            *self
                .endings
                .entry(run.text("status").to_owned())
                .or_default() += 1;
        }
        let slowest = delays(scene).into_iter().max().unwrap_or(0);
        self.slowest_ms = self.slowest_ms.max(slowest);
    }

    fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.daemon_kills += other.daemon_kills;
        self.shim_kills += other.shim_kills;
        self.agent_kills += other.agent_kills;
        self.stops += other.stops;
        for (status, number) in other.endings {
            *self.endings.entry(status).or_default() += number;
        }
        self.slowest_ms = self.slowest_ms.max(other.slowest_ms);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs: u64 = self.endings.values().sum();
        write!(f, "{} rounds, {runs} runs (", self.rounds)?;
        for (index, (status, number)) in self.endings.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{number} {status}")?;
        }
        write!(
            f,
            "); killed {} daemons, {} shims, {} agents; stopped {}; slowest end {} ms",
            self.daemon_kills, self.shim_kills, self.agent_kills, self.stops, self.slowest_ms
        )
    }
}

/// A round in which a promise was broken.
#[derive(Debug)]
pub struct BadRound {
    /// Its seed.
    pub seed: u64,
    /// Its project, kept as it was.
    pub kept: PathBuf,
    /// What is wrong.
    pub violations: Vec<Violation>,
}

/// Plays all rounds and calls `each` after every one, with what has been played so far and with
/// the round if it was a bad one.
pub fn play(
    options: &Options,
    each: &(dyn Fn(&Tally, Option<&BadRound>) + Sync),
) -> (Tally, usize) {
    let payloads = tempfile::tempdir().unwrap();
    round::write_payloads(payloads.path());
    let next = AtomicU64::new(0);
    let total = Mutex::new((Tally::default(), 0));
    let work = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= options.rounds {
            return;
        }
        let seed = options.first + number;
        let plan = Plan::of(seed, &options.mode, payloads.path());
        let (tally, bad) = play_one(options, seed, &plan);
        let mut total = total.lock().unwrap();
        total.0.add(tally);
        total.1 += usize::from(bad.is_some());
        each(&total.0, bad.as_ref());
    };
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(work);
        }
    });
    total.into_inner().unwrap()
}

fn play_one(options: &Options, seed: u64, plan: &Plan) -> (Tally, Option<BadRound>) {
    let project = Project::with_binary(options.binary.clone(), "");
    let played = catch_unwind(AssertUnwindSafe(|| round::play(&project, seed, plan)));
    let (tally, violations) = played.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let what = said.unwrap_or_else(|| "the round could not be played".to_owned());
        let trouble = Violation {
            promise: 0,
            check: "the round itself",
            what,
        };
        (Tally::default(), vec![trouble])
    });
    let bad = (!violations.is_empty()).then(|| BadRound {
        seed,
        kept: project.keep(),
        violations,
    });
    (tally, bad)
}
