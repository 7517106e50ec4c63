//! The simulator of orch: the real engine and the memory store, with a fake host, a fake clock and
//! faults, all from one seed.
//!
//! [`run`] plays one seed and checks the promises of orch after every step; [`run_many`] plays a
//! range of them. What goes wrong is repeated exactly by the same seed, profile and commit.
//! This crate must not know SQL, real processes or real time.

mod agenda;
mod checkers;
mod daemon;
mod git;
mod host;
mod mutation;
mod people;
mod profile;
mod random;
mod rows;
mod script;
mod storage;
mod trace;
mod world;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

pub use mutation::Mutation;
pub use profile::{Profile, UnknownProfile};

use checkers::Finding;
use trace::Trace;
use world::World;

/// What a simulation that broke no promise came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Things that happened.
    pub steps: u64,
    /// A hash of everything that happened: equal for equal seeds.
    pub hash: u64,
    /// The words of the facts, endings and wait reasons that came up.
    pub marks: BTreeSet<&'static str>,
}

/// A promise that was broken.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Where the numbers came from.
    pub seed: u64,
    /// How rough the world was.
    pub profile: Profile,
    /// The promise, by its name.
    pub promise: &'static str,
    /// What was seen.
    pub what: String,
    /// After how many steps.
    pub step: u64,
    /// The last things that happened, oldest first.
    pub trace: Vec<String>,
}

impl Violation {
    /// The command that repeats it.
    #[must_use]
    pub fn command(&self) -> String {
        format!(
            "cargo xtask sim --seed {} --profile {}",
            self.seed, self.profile
        )
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(
            f,
            "{} is broken after {} steps: {}",
            self.promise, self.step, self.what
        )?;
        write!(f, "repeat: {}", self.command())
    }
}

impl std::error::Error for Violation {}

/// Plays one seed to its end.
///
/// # Errors
/// The first promise that was broken, with the last things that happened before.
pub fn run(seed: u64, profile: Profile) -> Result<Report, Violation> {
    play(seed, profile, None, Trace::quiet()).or_else(|_| {
        // Played once more, this time with a trace that a person can read.
        play(seed, profile, None, Trace::spoken())
    })
}

/// Plays one seed twice and compares the hashes.
///
/// # Errors
/// A promise was broken, or the two plays differ: then the simulation is not deterministic.
pub fn run_twice(seed: u64, profile: Profile) -> Result<Report, Violation> {
    let first = run(seed, profile)?;
    let second = run(seed, profile)?;
    if first == second {
        return Ok(first);
    }
    Err(Violation {
        seed,
        profile,
        promise: "same_seed_same_history",
        what: format!("{first:?} and then {second:?}"),
        step: second.steps,
        trace: Vec::new(),
    })
}

/// Plays one seed with orch made wrong on purpose, checking only the promise that must notice.
///
/// # Errors
/// The promise was found broken, as it should be for some seed.
pub fn run_mutated(seed: u64, profile: Profile, mutation: Mutation) -> Result<Report, Violation> {
    play(seed, profile, Some(mutation), Trace::quiet())
}

fn play(
    seed: u64,
    profile: Profile,
    mutation: Option<Mutation>,
    trace: Trace,
) -> Result<Report, Violation> {
    let mut world = World::new(seed, profile, mutation, trace);
    if let Some(mutation) = mutation {
        world.checkers.keep_only(mutation.promise());
    }
    match world.run() {
        Ok(()) => Ok(Report {
            steps: world.steps,
            hash: world.trace.hash(),
            marks: world.marks,
        }),
        Err(Finding { promise, what }) => Err(Violation {
            seed,
            profile,
            promise,
            what,
            step: world.steps,
            trace: world.trace.into_lines(),
        }),
    }
}

/// The promises that are checked after every step, by name.
#[must_use]
pub fn promises() -> Vec<&'static str> {
    checkers::Checkers::all().promises()
}

/// What a range of seeds came to.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Seeds played; each with one profile.
    pub seeds: u64,
    /// Things that happened in all of them.
    pub steps: u64,
    /// The words of the facts, endings and wait reasons that came up in any of them.
    pub marks: BTreeSet<&'static str>,
    /// What was broken, in order of seed.
    pub violations: Vec<Violation>,
}

/// One in so many seeds is played twice by [`run_many`].
const TWICE_EVERY: u64 = 20;

/// The profile that [`run_many`] plays a seed with: half of them chaos.
#[must_use]
pub const fn profile_of(seed: u64) -> Profile {
    match seed % 4 {
        0 => Profile::Calm,
        1 => Profile::Busy,
        _ => Profile::Chaos,
    }
}

/// Plays `count` seeds from `first` on `threads` threads, each seed with [`profile_of`] it, and
/// one in twenty of them twice.
#[must_use]
pub fn run_many(first: u64, count: u64, threads: usize) -> Summary {
    let next = AtomicU64::new(0);
    let work = || {
        let mut summary = Summary::default();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return summary;
            }
            summary.add(first.wrapping_add(index));
        }
    };
    let mut summary = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let done = workers.into_iter().map(|worker| match worker.join() {
            Ok(summary) => summary,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        done.fold(Summary::default(), Summary::joined)
    });
    summary.violations.sort_by_key(|violation| violation.seed);
    summary
}

impl Summary {
    fn add(&mut self, seed: u64) {
        let profile = profile_of(seed);
        let played = if seed.is_multiple_of(TWICE_EVERY) {
            run_twice(seed, profile)
        } else {
            run(seed, profile)
        };
        self.seeds += 1;
        match played {
            Ok(report) => {
                self.steps += report.steps;
                self.marks.extend(report.marks);
            }
            Err(violation) => self.violations.push(violation),
        }
    }

    fn joined(mut self, other: Self) -> Self {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.marks.extend(other.marks);
        self.violations.extend(other.violations);
        self
    }
}
