//! Getting the agent programs from the npm registry, into a folder that git ignores.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::programs::{Package, Program};
use crate::test::tools_folder;

/// Why there is nothing to run.
#[derive(Debug)]
pub struct Unreachable(pub String);

/// The folder that holds a folder for each package.
pub fn folder() -> PathBuf {
    tools_folder().join("agents")
}

/// Installs what these programs need and is not there yet.
///
/// # Errors
/// A disk or npm itself is broken. That npm or its registry cannot be reached is no error but the
/// inner one.
pub fn all(programs: &[&Program]) -> Result<Result<(), Unreachable>> {
    let folder = folder();
    for program in programs {
        if let Err(reason) = one(&folder, &program.package)? {
            return Ok(Err(reason));
        }
    }
    Ok(Ok(()))
}

fn one(folder: &Path, package: &Package) -> Result<Result<(), Unreachable>> {
    let place = folder.join(package.program);
    if installed(&place, package).as_deref() == Some(package.version) {
        return Ok(Ok(()));
    }
    println!("agents: installing {} {}", package.name, package.version);
    let start = Instant::now();
    fs::create_dir_all(&place).with_context(|| format!("making {}", place.display()))?;
    fs::write(place.join("package.json"), "{\"private\": true}\n")?;
    let wanted = format!("{}@{}", package.name, package.version);
    let flags = [
        "--no-audit",
        "--no-fund",
        "--no-progress",
        "--save-exact",
        // Without a network it would try for minutes.
        "--fetch-retries=1",
    ];
    let output = Command::new("npm")
        .arg("install")
        .args(flags)
        .arg("--prefix")
        .arg(&place)
        .arg(&wanted)
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return Ok(Err(Unreachable(format!("npm does not start: {error}")))),
    };
    if !output.status.success() {
        return refused(&String::from_utf8_lossy(&output.stderr), &wanted);
    }
    println!(
        "agents: {} {} is there after {:.0} s",
        package.program,
        package.version,
        start.elapsed().as_secs_f64()
    );
    Ok(Ok(()))
}

/// What npm said when it did not install: that it cannot reach its registry, or something worse.
fn refused(said: &str, wanted: &str) -> Result<Result<(), Unreachable>> {
    let network = [
        "ENOTFOUND",
        "EAI_AGAIN",
        "ECONNREFUSED",
        "ECONNRESET",
        "ETIMEDOUT",
        "ENETUNREACH",
        "E403",
        "E407",
        "E503",
    ];
    let word = network.iter().find(|word| said.contains(*word));
    match word {
        Some(word) => Ok(Err(Unreachable(format!(
            "the npm registry cannot be reached ({word})"
        )))),
        None => bail!("npm cannot install {wanted}:\n{said}"),
    }
}

/// The version that lies there.
fn installed(place: &Path, package: &Package) -> Option<String> {
    let manifest = place
        .join("node_modules")
        .join(package.name)
        .join("package.json");
    let manifest: Value = serde_json::from_str(&fs::read_to_string(manifest).ok()?).ok()?;
    let there = place
        .join("node_modules/.bin")
        .join(package.program)
        .exists();
    there.then(|| manifest["version"].as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_network_is_told_from_a_package_that_does_not_exist() {
        let offline = "npm error code ENOTFOUND\nnpm error network request failed";
        assert!(
            matches!(refused(offline, "x@1"), Ok(Err(Unreachable(said))) if said.contains("ENOTFOUND"))
        );
        assert!(refused("npm error code ETARGET\nNo matching version", "x@1").is_err());
    }
}
