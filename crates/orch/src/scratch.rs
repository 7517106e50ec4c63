//! Throw-away directories and repositories in them, for commands that show or try something
//! without touching the user's project.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Kind, Result, UserError};

/// A directory that is removed in the end, however the command ends.
pub struct Scratch {
    /// Where it is.
    pub directory: PathBuf,
    keep: bool,
}

impl Scratch {
    /// A new directory that nobody else can look into; its name begins with `name`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(name: &str, keep: bool) -> Result<Self> {
        let directory = fresh_directory(name)?;
        Ok(Self { directory, keep })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed from a temporary directory does no harm there.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Makes `root` a repository whose commits are by `who`.
///
/// # Errors
/// There is no git, or it refused.
pub fn repository(root: &Path, who: &str) -> Result<()> {
    git(root, &["init", "--quiet", "--initial-branch=main"])?;
    git(root, &["config", "user.name", who])?;
    git(root, &["config", "user.email", "orch@example.invalid"])?;
    Ok(())
}

/// A new directory that nobody else can look into.
fn fresh_directory(name: &str) -> Result<PathBuf> {
    let base = std::env::temp_dir();
    let base = base.canonicalize().unwrap_or(base);
    for number in 0..1_000 {
        let directory = base.join(format!("{name}-{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let what = format!("cannot make the directory {}", directory.display());
                return Err(UserError::io(&what, &error));
            }
        }
    }
    let message = format!("{} is full of earlier ones", base.display());
    Err(UserError::new(Kind::Conflict, "exists", message))
}

/// Makes a directory.
///
/// # Errors
/// It cannot be made.
pub fn make(directory: &Path) -> Result<()> {
    let what = format!("cannot make {}", directory.display());
    fs::create_dir(directory).map_err(|error| UserError::io(&what, &error))
}

/// Writes a file.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let what = format!("cannot write {}", path.display());
    fs::write(path, text).map_err(|error| UserError::io(&what, &error))
}

/// Calls git in a throw-away repository, untouched by the user's configuration; what it printed.
///
/// # Errors
/// There is no git, or it refused.
pub fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    // tidy: it plays the user, who makes a repository without orch.
    let output = Command::new("git")
        .args(arguments)
        .current_dir(root)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            UserError::new(Kind::Unreachable, "git", "cannot start git")
                .caused_by(&error)
                .hint("'orch doctor' says which git is needed")
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let message = format!("'git {}' ended with {}", arguments.join(" "), output.status);
    let said = io::Error::other(said);
    Err(UserError::new(Kind::Internal, "git", message).caused_by(&said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_vanishes_unless_it_is_kept() {
        for keep in [false, true] {
            let scratch = Scratch::make("orch-scratch", keep).unwrap();
            let directory = scratch.directory.clone();
            drop(scratch);
            assert_eq!(directory.exists(), keep);
            if keep {
                fs::remove_dir(&directory).unwrap();
            }
        }
    }
}
