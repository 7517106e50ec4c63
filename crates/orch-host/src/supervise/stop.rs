//! Asking a run to end.

use std::io;

use rustix::process::Signal;

use super::files::Dir;
use super::process::{Handle, Process, descendants, marked, table};
use super::record::PidRecord;
use super::spec::MARKER;
use super::standing::{living_shim, read_json};
use super::survivors::survivors;
use super::tree::{Killed, kill_tree};
use crate::run_dir::{RunDir, name};

/// Who was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSent {
    /// The shim: it gives the agent its grace, which runs from the first request. The end comes
    /// as any other.
    Shim,
    /// There is no shim that could record an end; the agent's whole tree was killed.
    Killed {
        /// How many processes were killed.
        processes: usize,
        /// How many could not be.
        survivors: usize,
    },
    /// Nothing of the run lives, or its shim is only just starting. Ask again when it has said
    /// that the agent runs.
    Nothing,
}

/// Asks a run to end. May be repeated: while its shim lives the agent keeps the grace that the
/// first request gave it. Blocks for at most a few seconds, and only where no shim can record the
/// end any more.
///
/// # Errors
/// The directory or the process table could not be read, or a signal was refused.
pub fn stop(dir: &RunDir) -> io::Result<StopSent> {
    let open = match Dir::open(dir.path()) {
        Ok(open) => open,
        // Whoever starts it has not come that far, or the directory was removed under the run.
        // Then its shim goes with the rest: it could not record an end any more.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let run = name_of(dir);
            return Ok(sent(&kill_tree(|| survivors(&run))?));
        }
        Err(error) => return Err(error),
    };
    if let Some(shim) = living_shim(&open)? {
        return match shim.open()? {
            Some(handle) => {
                handle.signal(Signal::TERM)?;
                Ok(StopSent::Shim)
            }
            None => Ok(StopSent::Nothing),
        };
    }
    if open.is_locked(name::ALIVE_LOCK)? {
        return Ok(StopSent::Nothing);
    }
    kill_unsupervised(&open, dir)
}

fn kill_unsupervised(open: &Dir, dir: &RunDir) -> io::Result<StopSent> {
    let agent = read_json::<PidRecord>(open, name::PID_RECORD)?;
    let marker = name_of(dir);
    Ok(sent(&kill_tree(|| find(agent.as_ref(), &marker))?))
}

/// The run that the directory is named after.
fn name_of(dir: &RunDir) -> String {
    let run = dir.path().file_name().unwrap_or_default();
    run.to_string_lossy().into_owned()
}

fn sent(killed: &Killed) -> StopSent {
    match (killed.victims.len(), killed.survivors.len()) {
        (0, 0) => StopSent::Nothing,
        (processes, survivors) => StopSent::Killed {
            processes,
            survivors,
        },
    }
}

/// The agent, what descends from it, and what carries the run's marker: a tool whose parent has
/// ended descends from the agent no more.
fn find(agent: Option<&PidRecord>, marker: &str) -> io::Result<Vec<Process>> {
    let mut found = marked(MARKER, marker)?;
    if let Some(PidRecord { agent, .. }) = agent
        && agent.is_of_this_boot()
        && Handle::open(agent.pid, agent.start_time)?.is_some()
    {
        let table = table()?;
        found.extend(descendants(&table, agent.pid));
        found.extend(
            table.into_iter().filter(|process| {
                (process.pid, process.start_time) == (agent.pid, agent.start_time)
            }),
        );
    }
    Ok(found)
}
