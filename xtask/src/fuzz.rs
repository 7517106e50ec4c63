//! `cargo xtask fuzz`: any bytes for the readers of agents' output.
//!
//! One program serves most of them; an environment variable says which. What the driver of ACP
//! agents writes has a program of its own, which knows its checksum. What they begin with are the
//! recorded transcripts, and what they find on the way is kept beside what cargo builds.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::steps::Passed;
use crate::test::{self, tools_folder};
use crate::tree::root;

/// The version of cargo-fuzz that is installed when there is none.
const FUZZ_VERSION: &str = "0.13.2";
/// How long all readers together are fuzzed in every test run, seconds.
const SECONDS: u64 = 60;
/// Longest input, bytes: some lines, and not so many that a run takes long.
const INPUT_BYTES: u64 = 20 * 1024;

/// The reader of what the driver of ACP agents writes.
const ACP: &str = "acp";

/// How the readers are fuzzed.
#[derive(Args)]
pub struct Options {
    /// How long, in seconds, shared among the readers.
    #[arg(long, default_value_t = SECONDS)]
    seconds: u64,
    /// The reader of this kind of agent alone.
    adapter: Option<String>,
}

/// Fuzzes as asked.
///
/// # Errors
/// A reader failed, or there is no such reader.
pub fn run(options: &Options) -> Result<()> {
    let all = adapters()?;
    let chosen = match &options.adapter {
        None => all,
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => bail!("'{name}' is none of {}", all.join(", ")),
    };
    match fuzz(&chosen, options.seconds)? {
        Passed::Done(summary) => println!("fuzz: {summary}"),
        Passed::Skipped(why) => println!("fuzz: skipped: {why}"),
    }
    Ok(())
}

/// Fuzzes all readers for as long as every test run does.
///
/// # Errors
/// A reader failed.
pub fn briefly() -> Result<Passed> {
    fuzz(&adapters()?, SECONDS)
}

/// The kinds of agents that have recorded transcripts.
fn adapters() -> Result<Vec<String>> {
    let entries = fs::read_dir(transcripts()).context("there are no transcripts")?;
    let mut names = vec![ACP.to_owned()];
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn transcripts() -> PathBuf {
    root().join("crates/orch-host/tests/transcripts")
}

/// The fuzz target of a reader and what it begins with.
fn target(adapter: &str) -> (&'static str, PathBuf) {
    match adapter {
        ACP => (ACP, root().join("crates/orch-host/fixtures/acp")),
        adapter => ("adapter", transcripts().join(adapter)),
    }
}

fn fuzz(adapters: &[String], seconds: u64) -> Result<Passed> {
    if !succeeds(nightly(&["rustc", "--version"])) {
        return Ok(Passed::Skipped(
            "it needs a nightly compiler: `rustup toolchain install nightly`".to_owned(),
        ));
    }
    if !succeeds(cargo_fuzz(&["--version"])) && !install() {
        return Ok(Passed::Skipped(
            "cargo-fuzz is not there and could not be installed".to_owned(),
        ));
    }
    let built = cargo_fuzz(&["build"]).args(places()).status()?;
    ensure!(built.success(), "the fuzz targets do not build");
    let share = share(seconds, adapters.len());
    let mut inputs = 0;
    for adapter in adapters {
        inputs += one(adapter, share)?;
    }
    Ok(Passed::Done(format!(
        "{inputs} inputs, {share} s for each of {} readers",
        adapters.len()
    )))
}

/// Fuzzes one reader; how many inputs it stood.
fn one(adapter: &str, seconds: u64) -> Result<u64> {
    let folder = folder().join(adapter);
    let corpus = folder.join("corpus");
    fs::create_dir_all(&corpus)?;
    let log = folder.join("log");
    let (target, seeds) = target(adapter);
    let mut command = cargo_fuzz(&["run", target]);
    command.args(places());
    command.args([&corpus, &seeds]);
    command
        .arg("--")
        .args([
            format!("-max_total_time={seconds}"),
            format!("-max_len={INPUT_BYTES}"),
            format!("-artifact_prefix={}/", folder.display()),
            "-timeout=20".to_owned(),
            "-print_final_stats=1".to_owned(),
        ])
        .env("ORCH_FUZZ_ADAPTER", adapter)
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?);
    let status = command.status().context("cargo-fuzz does not start")?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if !status.success() {
        println!("{}", last_lines(&said, 40));
        bail!(
            "the reader of {adapter} failed; the input is in {}",
            folder.display()
        );
    }
    let inputs = executed(&said).context("the fuzzer does not say what it did")?;
    println!("{adapter}: {inputs} inputs");
    Ok(inputs)
}

/// Where the fuzz target lies and where it is built, and no sanitizer: nothing here is unsafe.
fn places() -> [OsString; 6] {
    [
        "--fuzz-dir".into(),
        root().join("fuzz").into(),
        "--target-dir".into(),
        folder().join("target").into(),
        "--sanitizer".into(),
        "none".into(),
    ]
}

fn folder() -> PathBuf {
    let beside = tools_folder();
    beside.parent().unwrap_or(Path::new(".")).join("fuzz")
}

/// Seconds for each of `count` readers, at least 1.
fn share(seconds: u64, count: usize) -> u64 {
    let count = u64::try_from(count).unwrap_or(u64::MAX).max(1);
    (seconds / count).max(1)
}

/// The number in a line like `stat::number_of_executed_units: 4711`.
fn executed(said: &str) -> Option<u64> {
    let prefix = "stat::number_of_executed_units:";
    let number = said.lines().find_map(|line| line.strip_prefix(prefix))?;
    number.trim().parse().ok()
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A program of the nightly toolchain, started at the root of the workspace and untouched by what
/// the cargo that runs this has set for itself.
fn nightly(arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command
        .args(["run", "nightly"])
        .args(arguments)
        .current_dir(root())
        .env_remove("CARGO")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN")
        .stdin(Stdio::null());
    command
}

fn cargo_fuzz(arguments: &[&str]) -> Command {
    let mut all = vec!["cargo", "fuzz"];
    all.extend(arguments);
    let mut command = nightly(&all);
    let own = tools_folder().join("bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(own).chain(std::env::split_paths(&path));
    if let Ok(path) = std::env::join_paths(paths) {
        command.env("PATH", path);
    }
    command
}

fn succeeds(mut command: Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn install() -> bool {
    println!("cargo-fuzz is missing; building {FUZZ_VERSION}, which takes some minutes once");
    let mut command = test::command(&[
        "install",
        "cargo-fuzz",
        "--version",
        FUZZ_VERSION,
        "--locked",
        "--root",
    ]);
    command.arg(tools_folder()).env_remove("CARGO_TARGET_DIR");
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_shared_and_nobody_goes_without() {
        assert_eq!((share(60, 8), share(5, 8), share(60, 0)), (7, 1, 60));
    }

    #[test]
    fn the_count_is_found_in_what_the_fuzzer_says() {
        let said = "#2 INITED\nstat::number_of_executed_units: 4711\nstat::x: 1\n";
        assert_eq!(executed(said), Some(4711));
        assert_eq!(executed("#2 INITED"), None);
    }

    #[test]
    fn every_kind_of_agent_with_transcripts_has_a_reader() {
        let names = adapters().unwrap();
        assert!(names.contains(&"claude".to_owned()), "{names:?}");
        assert!(names.contains(&ACP.to_owned()), "{names:?}");
        for name in names {
            let (target, seeds) = target(&name);
            let source = root().join(format!("fuzz/fuzz_targets/{target}.rs"));
            assert!(source.is_file(), "{target}");
            assert!(fs::read_dir(&seeds).unwrap().count() > 0, "{name}");
        }
    }
}
