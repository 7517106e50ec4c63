//! Ending a tree of processes that may not want to end.
//!
//! Agents start their tools in sessions of their own, so a signal to a group does not reach
//! them; they are walked instead. A cgroup would be surer and is not used: an ordinary user
//! gets one to manage only where the service manager delegates it.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::process::{Handle, Process};

/// How long a killed process may take to go, before it is reported as still there. Only one
/// that waits for a disk or a network file system in the kernel can take so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait for one victim before looking at the table again.
const GLANCE: Duration = Duration::from_millis(50);
/// Most victims that are waited for before the next look; the others have the same time.
const AWAITED: usize = 16;

/// What was killed and what could not be.
#[derive(Debug, Default)]
pub(crate) struct Killed {
    /// Every process that was signalled, by id.
    pub(crate) victims: BTreeMap<i32, Process>,
    /// Those that were still there in the end.
    pub(crate) survivors: Vec<i32>,
}

/// Stops and kills whatever `find` finds until it finds nothing twice in a row. `find` may also
/// collect the dead. Stopped first, so that a parent cannot have more children meanwhile.
///
/// # Errors
/// The process table could not be read.
pub(crate) fn kill_tree(mut find: impl FnMut() -> io::Result<Vec<Process>>) -> io::Result<Killed> {
    let mut killed = Killed::default();
    let give_up = Instant::now() + PATIENCE;
    let mut quiet = 0;
    while quiet < 2 {
        let found: Vec<Process> = find()?.into_iter().filter(|p| !p.zombie).collect();
        if found.is_empty() {
            quiet += 1;
            continue;
        }
        quiet = 0;
        if Instant::now() >= give_up {
            killed.survivors = found.iter().map(|process| process.pid).collect();
            break;
        }
        kill_all(found, &mut killed)?;
    }
    Ok(killed)
}

/// Each is opened anew for each signal: a tree may have more processes than this one may have
/// descriptors.
fn kill_all(found: Vec<Process>, killed: &mut Killed) -> io::Result<()> {
    for process in &found {
        if let Some(handle) = Handle::open(process.pid, process.start_time)? {
            // A process of another user (a setuid tool) refuses; the rest must still go.
            let _ = handle.signal(Signal::STOP);
        }
    }
    let mut awaited = Vec::new();
    for process in found {
        if let Some(handle) = Handle::open(process.pid, process.start_time)? {
            let _ = handle.signal(Signal::KILL);
            killed.victims.insert(process.pid, process);
            if awaited.len() < AWAITED {
                awaited.push(handle);
            }
        }
    }
    for handle in &awaited {
        handle.wait_end(GLANCE);
    }
    Ok(())
}
