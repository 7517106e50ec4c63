//! Starting the shim of a run.

use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use super::files::Dir;
use super::process::Identity;
use super::reaper::spawn_unowned;
use super::spec::Spec;
use crate::failpoint::{self, Point};
use crate::run_dir::{RunDir, name};

/// The hidden subcommand under which a program calls [`shim_main`](super::shim_main).
pub const SHIM_COMMAND: &str = "__shim";

/// Why a shim could not be started. The agent was not started either, and the run may be
/// launched again.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The run directory could not be made ready.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The program could not be started.
    #[error("cannot start the supervisor {}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Shuts the launch gate of a run that is not to be started any more: a shim that is still on its
/// way will find it shut and leave. `false` if a shim has passed it already; then how the run
/// stands is [`inspect`](super::inspect)'s to say. A run without a directory has no shim.
///
/// # Errors
/// The gate could not be made durable; nothing may be concluded from that.
pub fn forestall(dir: &RunDir) -> io::Result<bool> {
    let open = match Dir::open(dir.path()) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let this = Identity::of(rustix::process::getpid().as_raw_pid())?;
    let text = serde_json::to_vec(&this).map_err(io::Error::other)?;
    match open.create_new(name::STARTED, &text) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes down what is to be started and starts a shim for it: `<program> __shim <dir>`. Does
/// not wait for the agent; [`inspect`](super::inspect) tells what came of it. Safe to call any
/// number of times, at once and from several processes: one shim at most starts the agent, once.
///
/// # Errors
/// Nothing was started.
pub fn launch(program: &Path, dir: &RunDir, spec: &Spec) -> Result<(), LaunchError> {
    let path = std::path::absolute(dir.path()).map_err(|source| LaunchError::Write {
        path: dir.path().to_owned(),
        source,
    })?;
    let dir = RunDir::at(&path);
    if prepare(&dir, spec).map_err(|source| LaunchError::Write {
        path: path.clone(),
        source,
    })? {
        start(program, &dir).map_err(|source| LaunchError::Spawn {
            program: program.to_owned(),
            source,
        })?;
    }
    Ok(())
}

/// Makes the directory ready. `false` if a shim was here already.
fn prepare(dir: &RunDir, spec: &Spec) -> io::Result<bool> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    dir.create()?;
    let open = Dir::open(dir.path())?;
    if open.exists(name::STARTED)? || open.exists(name::EXIT_RECORD)? {
        return Ok(false);
    }
    // Two launches at once must not write into one temporary file.
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let temporary = format!("spec.{}.{call}", std::process::id());
    open.replace(name::SPEC, &temporary, &spec.encode())?;
    Ok(true)
}

fn start(program: &Path, dir: &RunDir) -> io::Result<()> {
    let log = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(dir.shim_log())?;
    let mut command = Command::new(program);
    command
        .arg(SHIM_COMMAND)
        .arg(dir.path())
        // The shim must not keep a directory busy that somebody wants to remove or unmount.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    failpoint::hand_down(&mut command);
    spawn_unowned(&mut command)?;
    failpoint::hit(Point::ShimSpawned);
    Ok(())
}
