//! `cargo xtask test`: everything that must hold before a change lands, in one command.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::chaos;
use crate::crash_matrix;
use crate::fuzz;
use crate::sim;
use crate::steps::{self, Passed, Step};
use crate::tidy;
use crate::tree::root;

/// The version of cargo-deny that is installed when there is none. It is built from source, which
/// takes two minutes on two cores, once for each target directory.
const DENY_VERSION: &str = "0.20.2";

/// The oldest git that can merge without a checkout (`git merge-tree --write-tree`).
const GIT_OLDEST: (u32, u32) = (2, 38);

/// What a run from nothing takes on the disk of the target directory, bytes: 6 GiB were seen, and
/// the tests need some more beside them.
const ROOM: u64 = 8 << 30;

/// Seeds of the simulator that every test run plays: always the same ones, so that a failure is of
/// the change and not of the day.
const SEEDS: u64 = 10_000;

/// How the tests are run.
#[derive(Args)]
pub struct Options {
    /// Go on after a step that failed.
    #[arg(long)]
    keep_going: bool,
}

/// Runs every step.
///
/// # Errors
/// A step failed; the summary names it.
pub fn run(options: &Options) -> Result<()> {
    let mut total = Tally::default();
    let steps = vec![
        Step::new("tools", tools),
        Step::new("format", || cargo(&["fmt", "--all", "--check"])),
        Step::new("tidy", || tidy::run().map(Passed::Done)),
        Step::new("clippy", || {
            cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ])
        }),
        // The tests of other crates find the binary beside their own.
        Step::new("build", || {
            cargo(&["build", "--package", "orch", "--locked"])
        }),
        Step::new("tests", || {
            total = tests()?;
            total.judge()
        }),
        Step::new("simulator", || sim::many(0, SEEDS).map(Passed::Done)),
        Step::new("crashes", || crash_matrix::all().map(Passed::Done)),
        Step::new("chaos", rounds),
        Step::new("fuzz", fuzz::briefly),
        Step::new("agents", agents),
        Step::new("docs", docs),
        Step::new("deny", deny),
    ];
    let outcome = steps::run(steps, options.keep_going);
    // Alone on the last line but for an error, where scripts look for it.
    println!(
        "\n{} passed, {} failed, {} skipped",
        total.passed, total.failed, total.ignored
    );
    outcome
}

/// Plays the rounds that every change must stand.
fn rounds() -> Result<Passed> {
    if cfg!(target_os = "linux") {
        return chaos::sensible().map(Passed::Done);
    }
    Ok(Passed::Skipped(
        "it reads the process table of Linux".to_owned(),
    ))
}

/// Tries the real agent programs, where they can be had.
#[cfg(target_os = "linux")]
fn agents() -> Result<Passed> {
    use crate::agents::{Tried, sensible};
    Ok(match sensible()? {
        Tried::Right(said) => Passed::Done(said),
        Tried::Skipped(why) => Passed::Skipped(why),
    })
}

/// Tries the real agent programs, where they can be had.
#[cfg(not(target_os = "linux"))]
fn agents() -> Result<Passed> {
    Ok(Passed::Skipped(
        "it reads the process table of Linux".to_owned(),
    ))
}

/// Looks for the tools and installs those that rustup can install.
fn tools() -> Result<Passed> {
    let git = git_version()?;
    for (tool, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let mut probe = command(&[tool, "--version"]);
        let present = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !present.is_ok_and(|status| status.success()) {
            println!("{component} is missing; asking rustup for it");
            let status = Command::new("rustup")
                .args(["component", "add", component])
                .status();
            let added = status.is_ok_and(|status| status.success());
            ensure!(
                added,
                "{component} is missing: run `rustup component add {component}`"
            );
        }
    }
    let free = free_space();
    if free < ROOM {
        println!(
            "warning: less than {} GiB are free here, which may not do",
            ROOM >> 30
        );
    }
    let (major, minor) = git;
    Ok(Passed::Done(format!(
        "git {major}.{minor}, {} GiB free",
        free >> 30
    )))
}

/// Bytes that are free where cargo builds.
fn free_space() -> u64 {
    let beside = target_folder();
    let place = beside.ancestors().find(|folder| folder.is_dir());
    let stat = place.and_then(|folder| rustix::fs::statvfs(folder).ok());
    stat.map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn git_version() -> Result<(u32, u32)> {
    let output = Command::new("git").arg("--version").output();
    let output = output.context("git is missing: install it with your system's packages")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version =
        parse_git_version(&text).with_context(|| format!("git says '{}'", text.trim()))?;
    let (major, minor) = GIT_OLDEST;
    ensure!(
        version >= GIT_OLDEST,
        "git {}.{} is too old: {major}.{minor} is needed",
        version.0,
        version.1
    );
    Ok(version)
}

fn parse_git_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().nth(2)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// cargo with these arguments, at the root of the workspace.
pub fn command(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null());
    command
}

fn cargo(arguments: &[&str]) -> Result<Passed> {
    let status = command(arguments)
        .status()
        .context("cargo does not start")?;
    ensure!(status.success(), "cargo {} failed", arguments.join(" "));
    Ok(Passed::Done(String::new()))
}

/// Builds the API docs, so that a link to a renamed item is noticed.
fn docs() -> Result<Passed> {
    let arguments = [
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
    ];
    let status = command(&arguments)
        .env("RUSTDOCFLAGS", "-D warnings")
        .status()?;
    ensure!(status.success(), "cargo {} failed", arguments.join(" "));
    Ok(Passed::Done(String::new()))
}

/// What cargo's test runners said in sum.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Whether cargo itself ended well: tests can also fail to build or be killed.
    ended_well: bool,
}

impl Tally {
    /// Adds up a line like `test result: ok. 5 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else {
            return;
        };
        for count in counts.split(['.', ';']) {
            let mut words = count.split_whitespace();
            let (Some(Ok(number)), Some(what)) =
                (words.next().map(str::parse::<u64>), words.next())
            else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    fn judge(&self) -> Result<Passed> {
        if !self.ended_well || self.failed > 0 {
            bail!("{} failed, {} passed", self.failed, self.passed);
        }
        ensure!(self.passed > 0, "no test ran");
        Ok(Passed::Done(format!(
            "{} passed, {} ignored",
            self.passed, self.ignored
        )))
    }
}

/// Runs all tests, also those after a failing one, and counts them.
fn tests() -> Result<Tally> {
    let mut child = command(&["test", "--workspace", "--locked", "--no-fail-fast"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo does not start")?;
    let mut tally = Tally::default();
    if let Some(output) = child.stdout.take() {
        let mut here = std::io::stdout().lock();
        for line in BufReader::new(output).split(b'\n') {
            let line = line.context("reading what cargo test says")?;
            here.write_all(&line)?;
            here.write_all(b"\n")?;
            tally.add(&String::from_utf8_lossy(&line));
        }
    }
    tally.ended_well = child.wait().context("waiting for cargo test")?.success();
    Ok(tally)
}

/// Checks licences, banned packages and where packages come from. The list of advisories lives on
/// the network and would make the same commit pass today and fail tomorrow; it is not asked here.
fn deny() -> Result<Passed> {
    let Some(deny) = find_deny().or_else(install_deny) else {
        return Ok(Passed::Skipped(
            "cargo-deny is not there and could not be installed".to_owned(),
        ));
    };
    let checks = [
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ];
    let status = Command::new(deny)
        .args(checks)
        .current_dir(root())
        .status()?;
    ensure!(
        status.success(),
        "cargo deny found something; deny.toml says what is allowed"
    );
    Ok(Passed::Done("licenses, bans, sources".to_owned()))
}

/// Where this project keeps tools of its own: beside what cargo builds, so that git ignores them.
pub fn tools_folder() -> PathBuf {
    target_folder().join("tools")
}

/// Where cargo builds.
pub fn target_folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| root().join("target"))
}

fn find_deny() -> Option<PathBuf> {
    let own = tools_folder().join("bin").join("cargo-deny");
    [own, PathBuf::from("cargo-deny")].into_iter().find(|deny| {
        let mut probe = Command::new(deny);
        probe
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    })
}

fn install_deny() -> Option<PathBuf> {
    println!("cargo-deny is missing; building {DENY_VERSION}, which takes some minutes once");
    let folder = tools_folder();
    let status = command(&[
        "install",
        "cargo-deny",
        "--version",
        DENY_VERSION,
        "--locked",
        "--root",
    ])
    .arg(&folder)
    .env_remove("CARGO_TARGET_DIR")
    .status();
    let built = status.is_ok_and(|status| status.success());
    built.then(|| folder.join("bin").join("cargo-deny"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s",
            "test result: FAILED. 1 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            tally.add(line);
        }
        assert_eq!((tally.passed, tally.failed, tally.ignored), (3, 4, 1));
    }

    #[test]
    fn a_run_without_tests_is_a_failure() {
        let tally = |passed, failed, ended_well| Tally {
            passed,
            failed,
            ignored: 0,
            ended_well,
        };
        assert!(tally(1, 0, true).judge().is_ok());
        assert!(tally(0, 0, true).judge().is_err());
        assert!(tally(1, 1, true).judge().is_err());
        assert!(tally(1, 0, false).judge().is_err());
    }

    #[test]
    fn git_says_its_version_in_several_ways() {
        assert_eq!(parse_git_version("git version 2.47.3\n"), Some((2, 47)));
        assert_eq!(
            parse_git_version("git version 2.39.5 (Apple Git-154)"),
            Some((2, 39))
        );
        assert_eq!(
            parse_git_version("git version 2.44.0.windows.1"),
            Some((2, 44))
        );
        assert_eq!(parse_git_version("gitx"), None);
    }
}
