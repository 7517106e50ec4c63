//! A shim that a signal keeps from doing anything.
//!
//! It holds its lock, so the run counts as supervised; but no limit holds, nobody is asked to end
//! and no end is recorded for as long as it stands still. Must not know when that is too long.

use std::io;

use rustix::process::Signal;

use super::files::Dir;
use super::process::{Handle, Life, read};
use super::record::PidRecord;
use super::standing::{living_shim, read_json};
use crate::run_dir::{RunDir, name};

/// The shim of a run, stopped by SIGSTOP or its like when it was looked at.
#[derive(Debug)]
pub struct StoppedShim {
    handle: Handle,
    /// Its process id.
    pub pid: i32,
    /// Whether its agent has ended, which nobody will record.
    pub agent_ended: bool,
}

/// The shim of this run, if it stands still.
///
/// # Errors
/// The directory or the process table could not be read.
pub fn stopped_shim(dir: &RunDir) -> io::Result<Option<StoppedShim>> {
    let open = match Dir::open(dir.path()) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(shim) = living_shim(&open)? else {
        return Ok(None);
    };
    let Some(handle) = shim.open()? else {
        return Ok(None);
    };
    // Opened first and looked at second: it is the one that is signalled.
    if !read(shim.pid)?.is_some_and(|process| process.stopped) {
        return Ok(None);
    }
    let agent = read_json::<PidRecord>(&open, name::PID_RECORD)?;
    let life = agent.map(|record| record.agent.life()).transpose()?;
    Ok(Some(StoppedShim {
        handle,
        pid: shim.pid,
        agent_ended: matches!(life, Some(Life::Zombie { .. } | Life::Gone)),
    }))
}

impl StoppedShim {
    /// Lets it go on.
    ///
    /// # Errors
    /// The signal was refused.
    pub fn wake(&self) -> io::Result<()> {
        self.handle.signal(Signal::CONT)
    }

    /// Ends it: its agent is without a shim from then on, which a daemon can deal with.
    ///
    /// # Errors
    /// The signal was refused.
    pub fn end(&self) -> io::Result<()> {
        self.handle.signal(Signal::KILL)
    }
}
