//! Starting the shim of a run.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(target_os = "linux")]
use std::sync::{Mutex, PoisonError};

use super::files::{Dir, Survives};
use super::process::Identity;
#[cfg(target_os = "linux")]
use super::reaper::adopt_unowned;
#[cfg(target_os = "linux")]
use super::server::{Answer, Server};
use super::spec::Spec;
use crate::failpoint::{self, Point};
use crate::run_dir::{RunDir, name};

/// The hidden subcommand under which a program calls [`shim_main`](super::shim_main).
pub const SHIM_COMMAND: &str = "__shim";

/// How many processes that make shims are tried for one launch.
#[cfg(target_os = "linux")]
const SERVERS: u32 = 2;

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
    match open.create_new(name::STARTED, &text, Survives::PowerCut) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// What starts the shims of one daemon.
#[derive(Debug)]
pub struct Launcher {
    program: PathBuf,
    /// The process that makes them, from the first launch on.
    #[cfg(target_os = "linux")]
    server: Mutex<Option<Server>>,
}

impl Launcher {
    /// For shims that are made by `program`, which has the hidden subcommands. Starts nothing yet.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            #[cfg(target_os = "linux")]
            server: Mutex::default(),
        }
    }

    /// Writes down what is to be started and starts a shim for it. Does not wait for the agent;
    /// [`inspect`](super::inspect) tells what came of it. Safe to call any number of times, at
    /// once and from several processes: one shim at most starts the agent, once.
    ///
    /// # Errors
    /// No agent was started. A shim may be on its way in the rare case that the process which
    /// makes them died twice at this very request; [`forestall`] shuts it out.
    pub fn launch(&self, dir: &RunDir, spec: &Spec) -> Result<(), LaunchError> {
        let path = std::path::absolute(dir.path()).map_err(|source| LaunchError::Write {
            path: dir.path().to_owned(),
            source,
        })?;
        let dir = RunDir::at(&path);
        let fresh = prepare(&dir, spec).map_err(|source| LaunchError::Write {
            path: path.clone(),
            source,
        })?;
        if !fresh {
            return Ok(());
        }
        self.start(&path).map_err(|source| LaunchError::Spawn {
            program: self.program.clone(),
            source,
        })?;
        failpoint::hit(Point::ShimSpawned);
        Ok(())
    }

    /// Has the shim made. A server that does not answer is replaced and the request repeated: had
    /// it made the shim before it died, the lock and the gate let one of the two through.
    #[cfg(target_os = "linux")]
    fn start(&self, dir: &Path) -> io::Result<()> {
        let mut kept = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let mut trouble = None;
        for _ in 0..SERVERS {
            let server = match kept.take() {
                Some(server) => server,
                None => Server::start(&self.program)?,
            };
            match adopt_unowned(|| server.ask(dir)) {
                Ok(answer) => {
                    *kept = Some(server);
                    return match answer {
                        Answer::Made(_) => Ok(()),
                        Answer::Refused(errno) => Err(errno.into()),
                    };
                }
                Err(error) => trouble = Some(error),
            }
        }
        Err(trouble.unwrap_or_else(|| io::ErrorKind::TimedOut.into()))
    }

    /// Starts `<program> __shim <dir>`.
    #[cfg(not(target_os = "linux"))]
    fn start(&self, dir: &Path) -> io::Result<()> {
        let mut command = std::process::Command::new(&self.program);
        command
            .arg(SHIM_COMMAND)
            .arg(dir)
            // The shim must not keep a directory busy that somebody wants to remove or unmount.
            .current_dir("/")
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        crate::failpoint::hand_down(&mut command);
        super::reaper::spawn_unowned(&mut command)
    }
}

/// Makes the directory ready. `false` if a shim was here already.
fn prepare(dir: &RunDir, spec: &Spec) -> io::Result<bool> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let open = match Dir::open(dir.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            dir.create()?;
            Dir::open(dir.path())?
        }
        opened => opened?,
    };
    if open.exists(name::STARTED)? || open.exists(name::EXIT_RECORD)? {
        return Ok(false);
    }
    // Two launches at once must not write into one temporary file.
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let temporary = format!("spec.{}.{call}", std::process::id());
    open.replace(name::SPEC, &temporary, &spec.encode(), spec.files_survive())?;
    Ok(true)
}
