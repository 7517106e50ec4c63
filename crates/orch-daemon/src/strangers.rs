//! Runs that the database does not know: it was put back from an older copy, say.
//!
//! They are told of and never touched. An agent of such a run may be at work in a worktree that
//! orch would give to the next; so nothing is started beside one.

use std::collections::BTreeSet;
use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use orch_core::RunId;
use orch_host::run_dir::RunDir;
use orch_store::{Reader, StoreError};

use crate::careful;
use crate::error::StartError;
use crate::log::{LogLine, LogSink};
use crate::project::Project;

/// Most of them that are named.
const NAMED: usize = 10;

/// Says which runs the database does not know.
///
/// # Errors
/// An agent of one of them is at work, or the database cannot be read.
pub(crate) fn look(
    project: &Project,
    reader: &mut dyn Reader,
    log: &LogSink,
) -> Result<(), StartError> {
    let unknown = unknown(&project.runs(), reader)?;
    let (alive, over): (Vec<_>, Vec<_>) = unknown.into_iter().partition(|path| is_alive(path));
    if !alive.is_empty() {
        return Err(StartError::Strangers {
            database: project.database(),
            runs: named(&alive),
        });
    }
    let since = last_fact(reader)?;
    let newer: Vec<PathBuf> = over
        .into_iter()
        .filter(|path| modified(path) > since)
        .collect();
    if !newer.is_empty() {
        let message = format!(
            "{} runs are newer than the database and unknown to it; they are left as they are: {}",
            newer.len(),
            named(&newer).join(", ")
        );
        log.say(LogLine::note("error", "unknown_runs", message));
    }
    Ok(())
}

/// The directories of runs that the database does not know. Those of deleted tasks are among them.
fn unknown(runs: &Path, reader: &mut dyn Reader) -> Result<Vec<PathBuf>, StoreError> {
    let Ok(entries) = std::fs::read_dir(runs) else {
        return Ok(Vec::new());
    };
    let known = reader.run_ids_with_prefix(RunId::PREFIX, usize::MAX)?;
    let known: BTreeSet<RunId> = known.into_iter().collect();
    let mut unknown: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| {
            let id = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            id.is_some_and(|id| !known.contains(&id))
        })
        .map(|entry| entry.path())
        .collect();
    unknown.sort_unstable();
    Ok(unknown)
}

/// Whether a supervisor holds the lock of this run.
fn is_alive(run: &Path) -> bool {
    let lock = careful::open_regular(&RunDir::at(run).alive_lock());
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// When the last fact was recorded. What deleted a task is a fact later than all of its runs.
fn last_fact(reader: &mut dyn Reader) -> Result<SystemTime, StoreError> {
    let last = reader.last_event()?;
    let fact = reader.events(last.saturating_sub(1), 1)?.pop();
    let millis = fact.map_or(0, |fact| fact.event.time.0.unsigned_abs());
    // A fact is younger than its millisecond.
    Ok(UNIX_EPOCH + Duration::from_millis(millis + 1))
}

fn modified(path: &Path) -> SystemTime {
    let modified = path.metadata().and_then(|metadata| metadata.modified());
    modified.unwrap_or(UNIX_EPOCH)
}

fn named(paths: &[PathBuf]) -> Vec<String> {
    let names = paths.iter().take(NAMED);
    names.map(|path| path.display().to_string()).collect()
}
