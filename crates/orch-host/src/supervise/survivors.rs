//! The processes of a run whose directory tells nothing any more.
//!
//! Must not know what is to become of them.

use std::io;

use super::launch::SHIM_COMMAND;
use super::process::{Process, descendants, marked, supervising, table};
use super::spec::MARKER;

/// Everything that lives of a run: what carries its marker, then its shim, which carries none,
/// then what descends from these. An agent may clear the environment of what it starts, but not
/// the shim's command line. Never this process, which an agent may have started.
pub(super) fn survivors(run: &str) -> io::Result<Vec<Process>> {
    let mut found = marked(MARKER, run)?;
    found.extend(supervising(SHIM_COMMAND, run)?);
    if found.is_empty() {
        return Ok(found);
    }
    let table = table()?;
    let this = rustix::process::getpid().as_raw_pid();
    let roots: Vec<i32> = found.iter().map(|process| process.pid).collect();
    for process in roots.iter().flat_map(|root| descendants(&table, *root)) {
        let known = found.iter().any(|other| other.pid == process.pid);
        if !known && process.pid != this {
            found.push(process);
        }
    }
    found.retain(|process| !process.zombie);
    Ok(found)
}
