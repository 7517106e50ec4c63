//! `cargo xtask crash-matrix`: lets daemon, shim or both die at every failpoint and asks the
//! oracle.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use orch_field::matrix::{self, Cell, Outcome, Victim};

use crate::points::{LIST, Listed, listed};
use crate::test::target_folder;
use crate::tree::root;

/// Cells at once for each processor: most of a cell is waiting.
const CELLS_PER_PROCESSOR: usize = 4;

/// What must be in a binary with failpoints and in no other.
const TRACE: &str = "ORCH_FAILPOINT";

/// Which cells are played.
#[derive(Args)]
pub struct Options {
    /// Only the points whose name contains this
    #[arg(long, value_name = "NAME", default_value = "")]
    point: String,
    /// Only these victims
    #[arg(long, value_name = "WHO", value_delimiter = ',')]
    victim: Vec<Who>,
    /// Decides how often a point is reached before somebody dies there
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Cells at once
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// A victim as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Who {
    Daemon,
    Shim,
    Both,
    Panic,
}

impl Who {
    const fn victim(self) -> Victim {
        match self {
            Self::Daemon => Victim::Daemon,
            Self::Shim => Victim::Shim,
            Self::Both => Victim::Both,
            Self::Panic => Victim::Panic,
        }
    }
}

/// Plays what was asked for and says what it came to.
///
/// # Errors
/// A promise was broken, or a point was not reached; it has been printed.
pub fn run(options: &Options) -> Result<String> {
    let binary = build()?;
    let text = std::fs::read_to_string(root().join(LIST)).context("reading the list of points")?;
    let points: Vec<Listed> = listed(&text)
        .into_iter()
        .filter(|point| point.name.contains(&options.point))
        .collect();
    ensure!(
        !points.is_empty(),
        "no point is called like '{}'",
        options.point
    );
    let victims: Vec<Victim> = match options.victim.as_slice() {
        [] => Victim::ALL.to_vec(),
        some => some.iter().map(|who| who.victim()).collect(),
    };
    let cells = cells(&binary, &points, &victims, options.seed);
    let processors = available_parallelism().map_or(1, NonZero::get);
    let threads = options.threads.unwrap_or(processors * CELLS_PER_PROCESSOR);
    let outcomes = matrix::play(&binary, &cells, threads.max(1), print);
    judge(&points, &outcomes)
}

/// Every point with every victim; what each run of the tests plays.
///
/// # Errors
/// As for [`run`].
pub fn all() -> Result<String> {
    run(&Options {
        point: String::new(),
        victim: Vec::new(),
        seed: 0,
        threads: None,
    })
}

/// Builds `orch` with failpoints beside the one without, and puts that one back.
fn build() -> Result<PathBuf> {
    let target = target_folder();
    let built = target.join("debug").join("orch");
    let folder = target.join("failpoints");
    let kept = folder.join("orch");
    cargo_build(&["--features", "failpoints"])?;
    std::fs::create_dir_all(&folder).context("making a folder for the binary")?;
    // A new file: the old one may still be executed.
    let _ = std::fs::remove_file(&kept);
    std::fs::copy(&built, &kept).context("keeping the binary with failpoints")?;
    cargo_build(&[])?;
    ensure!(
        mentions_points(&kept)?,
        "the binary with failpoints has none"
    );
    ensure!(
        !mentions_points(&built)?,
        "the binary without failpoints has some"
    );
    Ok(kept)
}

fn cargo_build(more: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--package", "orch", "--locked"])
        .args(more)
        .current_dir(root());
    let status = command.status().context("cargo does not start")?;
    ensure!(status.success(), "orch does not build {}", more.join(" "));
    Ok(())
}

fn mentions_points(binary: &PathBuf) -> Result<bool> {
    let bytes = std::fs::read(binary).context("reading a binary")?;
    let trace = TRACE.as_bytes();
    Ok(bytes.windows(trace.len()).any(|window| window == trace))
}

/// Every point with every victim. How often it is reached before somebody dies there is drawn from
/// what a day without faults reaches, and at most half of it: a fault earlier changes the rest.
fn cells(binary: &std::path::Path, points: &[Listed], victims: &[Victim], seed: u64) -> Vec<Cell> {
    let calm = matrix::baseline(binary, "");
    let drain = matrix::baseline(binary, "daemon.drain");
    let mut cells = Vec::new();
    for (index, point) in points.iter().enumerate() {
        let reached = match calm.get(&point.name) {
            Some(times) => *times,
            None => drain.get(&point.name).copied().unwrap_or(1),
        };
        for (row, victim) in victims.iter().enumerate() {
            let draw = mix(seed, (index * Victim::ALL.len() + row) as u64);
            let choices = (reached / 2).max(1) as u64;
            cells.push(Cell {
                point: point.name.clone(),
                victim: *victim,
                times: usize::try_from(draw % choices).unwrap_or(0) + 1,
            });
        }
    }
    cells
}

/// A number that looks like chance and is the same each time.
const fn mix(seed: u64, number: u64) -> u64 {
    let mut bits = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn print(outcome: &Outcome) {
    let Cell {
        point,
        victim,
        times,
    } = &outcome.cell;
    let what = match (outcome.reached, outcome.violations.as_slice()) {
        (_, [_, ..]) => "BROKEN",
        (true, []) => "ok",
        (false, []) => "not reached",
    };
    println!(
        "{point:<28} {victim:<6} @{times:<2} {what:<11} {}",
        outcome.recovered
    );
    for violation in &outcome.violations {
        println!("    {violation}");
    }
}

/// A point that no cell reached proves nothing, and says so.
fn judge(points: &[Listed], outcomes: &[Outcome]) -> Result<String> {
    let broken = outcomes
        .iter()
        .filter(|it| !it.violations.is_empty())
        .count();
    let reached = outcomes.iter().filter(|it| it.reached);
    let reached: BTreeSet<&str> = reached.map(|it| it.cell.point.as_str()).collect();
    let missed: Vec<&str> = points
        .iter()
        .map(|point| point.name.as_str())
        .filter(|name| !reached.contains(name))
        .collect();
    if broken > 0 || !missed.is_empty() {
        bail!(
            "{broken} of {} cells broke a promise; never reached: {missed:?}",
            outcomes.len()
        );
    }
    let unreached = outcomes.iter().filter(|it| !it.reached).count();
    Ok(format!(
        "{} points, {} cells, {unreached} of them ended before their point, no promise broken",
        points.len(),
        outcomes.len()
    ))
}
