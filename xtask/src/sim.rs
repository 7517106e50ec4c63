//! `cargo xtask sim`: plays seeds of the simulator and prints what is broken, with the one command
//! that repeats it.

use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use orch_sim::{Profile, Violation, profile_of, run_many, run_twice};

/// Seeds after which a long run says how far it is, and stops if something is broken.
const CHUNK: u64 = 10_000;
/// Violations that are printed in full; the rest are named by their seeds.
const SHOWN: usize = 3;

/// Which seeds are played.
#[derive(Args)]
pub struct Options {
    /// Play this many seeds, each with the profile that goes with it
    #[arg(long, value_name = "N", default_value_t = CHUNK, conflicts_with = "seed")]
    seeds: u64,
    /// The first of them
    #[arg(
        long,
        value_name = "SEED",
        default_value_t = 0,
        conflicts_with = "seed"
    )]
    first: u64,
    /// Play this seed only, twice, and compare
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// How rough the world is for it: calm, busy or chaos
    #[arg(long, requires = "seed")]
    profile: Option<Profile>,
}

/// Plays what was asked for and says what it came to.
///
/// # Errors
/// A promise was broken; it has been printed.
pub fn run(options: &Options) -> Result<String> {
    match options.seed {
        Some(seed) => one(seed, options.profile.unwrap_or_else(|| profile_of(seed))),
        None => many(options.first, options.seeds),
    }
}

fn one(seed: u64, profile: Profile) -> Result<String> {
    match run_twice(seed, profile) {
        Ok(report) => Ok(format!(
            "seed {seed}, {profile}: {} steps, hash {:016x}, no promise broken",
            report.steps, report.hash
        )),
        Err(violation) => {
            println!("{violation}");
            bail!("seed {seed}, {profile}: {} is broken", violation.promise)
        }
    }
}

/// Plays `count` seeds from `first` on all cores.
///
/// # Errors
/// A promise was broken; the first few have been printed in full.
pub fn many(first: u64, count: u64) -> Result<String> {
    let threads = available_parallelism().map_or(1, NonZero::get);
    let start = Instant::now();
    let (mut seeds, mut steps) = (0, 0);
    while seeds < count {
        let summary = run_many(first.wrapping_add(seeds), CHUNK.min(count - seeds), threads);
        seeds += summary.seeds;
        steps += summary.steps;
        if !summary.violations.is_empty() {
            report(&summary.violations);
            bail!(
                "{} of {seeds} seeds broke a promise",
                summary.violations.len()
            );
        }
        if count > CHUNK {
            let rate = seeds as f64 / start.elapsed().as_secs_f64();
            println!("sim: {seeds} of {count} seeds, {rate:.0} a second");
        }
    }
    Ok(format!(
        "{seeds} seeds from {first}, {steps} steps, no promise broken"
    ))
}

fn report(violations: &[Violation]) {
    for violation in violations.iter().take(SHOWN) {
        println!("{violation}\n");
    }
    for violation in violations.iter().skip(SHOWN) {
        println!(
            "{} is broken too; repeat: {}",
            violation.promise,
            violation.command()
        );
    }
}
