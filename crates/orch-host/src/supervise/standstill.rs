//! A shim that a signal, or its disk, keeps from doing what it is there for.
//!
//! It holds its lock, so the run counts as supervised; but no limit holds, nobody is asked to end
//! and no end is recorded for as long as it stands still. Must not know when that is too long.

use std::io;

use rustix::fs::Access;
use rustix::io::Errno;
use rustix::process::Signal;

use super::files::{Dir, Small};
use super::process::{Handle, Life, read};
use super::record::PidRecord;
use super::standing::{living_shim, read_json};
use crate::run_dir::{RunDir, name};

/// A longer `shim.log` is not looked into, bytes.
const COMPLAINTS_BYTES_MAX: u64 = 64 << 10;

/// The shim of a run, stopped by SIGSTOP or its like when it was looked at.
#[derive(Debug)]
pub struct StoppedShim {
    handle: Handle,
    /// Its process id.
    pub pid: i32,
    /// Whether its agent has ended, which nobody will record.
    pub agent_ended: bool,
}

/// Whether a process is stopped by SIGSTOP or its like. One that cannot be looked at is not.
#[must_use]
pub fn is_stopped(pid: i32) -> bool {
    read(pid).is_ok_and(|process| process.is_some_and(|process| process.stopped))
}

/// The process id of this run's agent, if a signal has stopped it.
///
/// # Errors
/// The directory or the process table could not be read.
pub fn stopped_agent(dir: &RunDir) -> io::Result<Option<i32>> {
    let open = match Dir::open(dir.path()) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(record) = read_json::<PidRecord>(&open, name::PID_RECORD)? else {
        return Ok(None);
    };
    let agent = record.agent;
    let is_stopped = agent.life()? == Life::Alive && is_stopped(agent.pid);
    Ok(is_stopped.then_some(agent.pid))
}

/// Why the end of this run is not written down although its agent has ended and its shim lives, in
/// words; `None` if nothing speaks for that.
///
/// # Errors
/// The directory or the process table could not be read.
pub fn unwritten_end(dir: &RunDir) -> io::Result<Option<String>> {
    let open = match Dir::open(dir.path()) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(why) = refusal(dir, &open) else {
        return Ok(None);
    };
    let agent = read_json::<PidRecord>(&open, name::PID_RECORD)?;
    let life = agent.map(|record| record.agent.life()).transpose()?;
    let ended = matches!(life, Some(Life::Zombie { .. } | Life::Gone));
    let waits = ended && living_shim(&open)?.is_some() && !open.exists(name::EXIT_RECORD)?;
    Ok(waits.then_some(why))
}

/// What refuses to take a record: the directory, as the system says without being asked to write,
/// or whatever the shim complained of last.
fn refusal(dir: &RunDir, open: &Dir) -> Option<String> {
    let needed = Access::WRITE_OK | Access::EXEC_OK;
    match rustix::fs::access(dir.path(), needed) {
        Err(error) if error != Errno::NOENT => {
            let path = dir.path().display();
            Some(format!(
                "{path} cannot be written: {}",
                io::Error::from(error)
            ))
        }
        _ => last_complaint(dir, open),
    }
}

/// The last of what a shim had to say of its own trouble, if that is about its record.
fn last_complaint(dir: &RunDir, open: &Dir) -> Option<String> {
    let Ok(Small::Bytes(bytes)) = open.read_small(name::SHIM_LOG, COMPLAINTS_BYTES_MAX) else {
        return None;
    };
    let text = String::from_utf8_lossy(&bytes);
    let (_, said) = text.lines().last()?.split_once(' ')?;
    said.starts_with(&format!("cannot write {}", name::EXIT_RECORD))
        .then(|| format!("its supervisor {said} ({})", dir.shim_log().display()))
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
