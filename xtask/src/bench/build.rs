//! What is measured and what it is compared with: built, installed and found.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::server::{Programs, find_program};
use crate::test::command;
use crate::tree::root;

/// The version of pueue that is installed when there is none.
const PUEUE_VERSION: &str = "4.0.4";

/// What `apt-get` calls what orch is compared with.
const PACKAGES: &[&str] = &["task-spooler", "make"];

/// Makes release builds of orch and of this program, and becomes the latter.
///
/// They are built one after the other: built together, they would share the features of their
/// common parts, and what is measured would not be what is shipped.
///
/// # Errors
/// They cannot be built.
pub fn build_and_go_on(with_orch: bool, with_peers: bool) -> Result<()> {
    let orch = with_orch.then_some("orch");
    for package in orch.into_iter().chain(["xtask"]) {
        println!("building {package}, release");
        let arguments = [
            "build",
            "--release",
            "--quiet",
            "--locked",
            "--package",
            package,
        ];
        let status = command(&arguments)
            .status()
            .context("cargo does not start")?;
        ensure!(status.success(), "{package} cannot be built");
    }
    if with_peers {
        install()?;
    }
    let error = Command::new(release("xtask"))
        .args(std::env::args_os().skip(1))
        .arg("--built")
        .exec();
    Err(error).context("starting the release build of xtask")
}

/// Installs pueue and task-spooler where they are missing.
fn install() -> Result<()> {
    let programs = programs(None)?;
    if programs.pueue.is_none() {
        println!("building pueue {PUEUE_VERSION}, which takes some minutes once");
        let arguments = [
            "install",
            "pueue",
            "--version",
            PUEUE_VERSION,
            "--locked",
            "--root",
        ];
        let mut install = command(&arguments);
        install.arg(crate::test::tools_folder());
        let status = install.status().context("cargo does not start")?;
        ensure!(status.success(), "pueue cannot be built");
    }
    if programs.spooler.is_some() && programs.make.is_some() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        println!(
            "to install the rest: apt-get install {}",
            PACKAGES.join(" ")
        );
        return Ok(());
    }
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--quiet"]).args(PACKAGES);
    match install.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("apt-get install failed: {status}"),
        Err(_) => {
            println!(
                "there is no apt-get; install {} yourself",
                PACKAGES.join(" and ")
            );
            Ok(())
        }
    }
}

/// Where the results are kept.
pub fn results_folder() -> PathBuf {
    target().join("bench")
}

/// Where programs are that were installed for this project.
pub fn tools_folder() -> PathBuf {
    absolute(&crate::test::tools_folder()).join("bin")
}

fn target() -> PathBuf {
    let tools = absolute(&crate::test::tools_folder());
    tools
        .parent()
        .map_or_else(|| root().join("target"), Path::to_path_buf)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn release(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// Everything that is measured and is there; `orch` in place of the release build.
///
/// # Errors
/// There is no such program.
pub fn programs(orch: Option<&Path>) -> Result<Programs> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = [tools_folder()]
        .into_iter()
        .chain(std::env::split_paths(&path))
        .collect();
    let find = |name: &str| find_program(name, &folders);
    let orch = orch.map_or_else(|| release("orch"), absolute);
    ensure!(orch.is_file(), "{} is not there", orch.display());
    Ok(Programs {
        orch,
        own: release("xtask"),
        pueue: find("pueue").zip(find("pueued")),
        spooler: find("tsp"),
        make: find("make"),
    })
}

/// What each program says its version is.
pub fn versions(programs: &Programs) -> BTreeMap<String, String> {
    let pueue = programs.pueue.as_ref().map(|(client, _)| client);
    let asked = [
        ("orch", Some(&programs.orch), "--version"),
        ("pueue", pueue, "--version"),
        ("task-spooler", programs.spooler.as_ref(), "-V"),
        ("make", programs.make.as_ref(), "--version"),
    ];
    let told = asked.into_iter().filter_map(|(name, program, argument)| {
        let output = Command::new(program?).arg(argument).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Some((name.to_owned(), version(&text)?))
    });
    told.collect()
}

/// The first word of a text that looks like a version.
fn version(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    let word = words.find(|word| {
        let word = word.trim_start_matches('v');
        word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.')
    });
    word.map(|word| word.trim_start_matches('v').to_owned())
}

/// The commit that is measured, with a `+` if files were changed since.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(root())
            .output();
        output.map_or_else(
            |_| String::new(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]);
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    if changed.is_empty() {
        commit
    } else {
        commit + "+"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let said = [
            ("GNU Make 4.3\nBuilt for x86_64-pc-linux-gnu\n", "4.3"),
            ("pueue 4.0.4\n", "4.0.4"),
            ("Task Spooler v1.0.1 - a task queue\n", "1.0.1"),
        ];
        for (text, expected) in said {
            assert_eq!(version(text).as_deref(), Some(expected));
        }
        assert_eq!(version("none"), None);
    }
}
