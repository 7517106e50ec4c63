//! Whether this process was started by an agent, for what only a person may do.
//!
//! An agent chooses the environment of what it starts, but not who its parents were: a process
//! that its parent left behind becomes a child of the shim, or of the daemon when that is gone.

use std::io;

use super::launch::SHIM_COMMAND;
use super::process::{is_called, is_marked, is_program, read};
#[cfg(target_os = "linux")]
use super::server::SHIMS_COMMAND;
use super::spec::MARKER;

#[cfg(not(target_os = "linux"))]
const SHIMS_COMMAND: &str = SHIM_COMMAND;

/// Whether one of the processes that this one descends from belongs to a run: it carries a run's
/// marker, is a shim, or is a daemon, under which nobody works but agents. Where the system has no
/// `/proc` nothing is known, and the answer is no.
///
/// # Errors
/// The process table cannot be read.
pub fn is_within_run() -> io::Result<bool> {
    let program = std::env::current_exe().ok();
    let this = rustix::process::getpid().as_raw_pid();
    let mut above = read(this)?.map(|process| process.parent);
    while let Some(pid) = above.filter(|pid| *pid > 0) {
        if is_marked(pid, MARKER)?
            || is_called(pid, &[SHIM_COMMAND, SHIMS_COMMAND])?
            || program.as_deref().is_some_and(|it| is_program(pid, it))
        {
            return Ok(true);
        }
        above = read(pid)?.map(|process| process.parent);
    }
    Ok(false)
}
