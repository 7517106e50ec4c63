//! `cargo xtask chaos`: the real daemon, shims and agents under random kills, judged by an oracle
//! that reads what the agents wrote down themselves.

use std::env::consts::EXE_SUFFIX;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use orch_field::chaos::{self, BadRound, Mode};

use crate::tree::root;

/// Lines about how it goes, at most.
const REPORTS: u64 = 10;
/// Violations of a round that are printed; the others are only counted.
const SHOWN: usize = 8;

/// A kind of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Victim {
    /// `orch serve`
    Daemon,
    /// The small process that owns one agent
    Shim,
    /// The agent's process
    Agent,
}

/// What is played.
#[derive(Args)]
pub struct Options {
    /// Play this many rounds
    #[arg(long, value_name = "N", default_value_t = 100, conflicts_with = "seed")]
    rounds: u64,
    /// The seed of the first of them
    #[arg(
        long,
        value_name = "SEED",
        default_value_t = 0,
        conflicts_with = "seed"
    )]
    first: u64,
    /// Play the round of this seed only
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Play so many rounds at once
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Kill these, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "daemon")]
    kill: Vec<Victim>,
    /// Kill the daemon and all shims in the same moment too
    #[arg(long)]
    both: bool,
    /// Stop daemons, shims and agents for a moment too
    #[arg(long)]
    stop: bool,
    /// The orch to torture; the one beside this program unless given
    #[arg(long, value_name = "FILE")]
    orch: Option<PathBuf>,
}

/// Plays what was asked for and says what it came to.
///
/// # Errors
/// A promise was broken; the round was printed and its project is kept.
pub fn run(options: &Options) -> Result<String> {
    let kills = |victim| options.kill.contains(&victim);
    let mode = Mode {
        daemon: kills(Victim::Daemon),
        shim: kills(Victim::Shim),
        agent: kills(Victim::Agent),
        both: options.both,
        stop: options.stop,
    };
    let (first, rounds) = match options.seed {
        Some(seed) => (seed, 1),
        None => (options.first, options.rounds),
    };
    let binary = match &options.orch {
        Some(orch) => std::path::absolute(orch)?,
        None => built()?,
    };
    many(&chaos::Options {
        binary,
        mode,
        first,
        rounds,
        jobs: options.jobs,
    })
}

/// The rounds of every test run: daemon kills, then shims with them, then agents as well.
///
/// # Errors
/// A promise was broken.
pub fn sensible() -> Result<String> {
    let daemon = Mode {
        daemon: true,
        ..Mode::default()
    };
    let shim = Mode {
        shim: true,
        both: true,
        ..daemon
    };
    let agent = Mode {
        agent: true,
        stop: true,
        ..shim
    };
    let binary = beside()?;
    let mut said = Vec::new();
    for (mode, rounds) in [(daemon, 300), (shim, 50), (agent, 25)] {
        said.push(many(&chaos::Options {
            binary: binary.clone(),
            mode,
            first: 0,
            rounds,
            jobs: 2,
        })?);
    }
    Ok(said.join("; "))
}

fn many(options: &chaos::Options) -> Result<String> {
    ensure!(
        cfg!(target_os = "linux"),
        "chaos reads the process table of Linux"
    );
    let start = Instant::now();
    let every = (options.rounds / REPORTS).max(1);
    let (tally, bad) = chaos::play(options, &|tally, bad| {
        if let Some(bad) = bad {
            report(options, bad);
        }
        if tally.rounds % every == 0 && tally.rounds < options.rounds {
            println!("chaos: {tally}");
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    if bad > 0 {
        bail!("{bad} rounds broke a promise: {tally}, {seconds:.0} s");
    }
    Ok(format!("{tally}, no promise broken, {seconds:.0} s"))
}

fn report(options: &chaos::Options, bad: &BadRound) {
    println!("seed {}: {} violations", bad.seed, bad.violations.len());
    for violation in bad.violations.iter().take(SHOWN) {
        println!("  {violation}");
    }
    println!("  look at {}", bad.kept.display());
    println!(
        "  repeat: cargo xtask chaos --seed {}{}",
        bad.seed,
        flags(&options.mode)
    );
}

/// The arguments that give this mode.
fn flags(mode: &Mode) -> String {
    let victims = [
        (mode.daemon, "daemon"),
        (mode.shim, "shim"),
        (mode.agent, "agent"),
    ];
    let victims = victims.iter().filter(|(on, _)| *on);
    let victims: Vec<&str> = victims.map(|(_, name)| *name).collect();
    let mut text = format!(" --kill {}", victims.join(","));
    for (on, flag) in [(mode.both, " --both"), (mode.stop, " --stop")] {
        if on {
            text.push_str(flag);
        }
    }
    text
}

/// Builds orch as cargo builds it for tests; where it lies.
///
/// # Errors
/// It cannot be built.
pub fn built() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", "orch", "--locked"])
        .current_dir(root())
        .status()
        .context("cargo does not start")?;
    ensure!(status.success(), "orch cannot be built");
    beside()
}

/// The orch that was built beside this program.
///
/// # Errors
/// There is none.
pub fn beside() -> Result<PathBuf> {
    let this = std::env::current_exe().context("this program does not know where it is")?;
    let orch = this.with_file_name(format!("orch{EXE_SUFFIX}"));
    ensure!(orch.is_file(), "{} is not there", orch.display());
    Ok(orch)
}
