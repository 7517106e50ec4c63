//! Fetching the statuses of processes that lost their parent.
//!
//! A daemon that is a child subreaper becomes the parent of an agent whose shim was killed, and
//! of everything a dead shim's agent leaves behind. It must fetch their statuses, or they stay
//! as zombies, and it may learn an agent's true end that way. It must never fetch the status
//! of a child that some [`std::process::Child`] in this process waits for.
//!
//! Both are kept apart by one lock. A child of our own is made and entered into the registry
//! while the lock is held ([`spawn_owned`]) and leaves the registry only after its status was
//! fetched; [`reap_orphans`] holds the lock while it looks and fetches. An id cannot be reused
//! while its status is not fetched, so what was looked at is what is fetched.
//!
//! Every process the daemon starts must go through [`spawn_owned`]; one that does not may have its
//! status taken away, and `wait` on it then fails with `ECHILD`. Shims are the exception:
//! nobody waits for them, so they are left to the reaper on purpose.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

use orch_core::Timestamp;
use orch_core::run::Exit;
use rustix::io::Errno;
use rustix::process::{
    Pid, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, WaitStatus, waitid, waitpid,
};

use super::clock;
use super::process::{self, Identity};
#[cfg(target_os = "linux")]
use super::server::Answer;
use super::spec::MARKER;

/// What the kernel calls a shim, and an agent until it executes its command.
pub(crate) const SHIM_NAME: &str = "orch-shim";
/// Most statuses that are remembered; the oldest are forgotten.
const REMEMBERED: usize = 1024;

struct Registry {
    owned: BTreeSet<i32>,
    /// Children that nobody waits for; how they are found where there is no process table.
    unowned: BTreeSet<i32>,
    reaped: VecDeque<Reaped>,
}

/// A status that was fetched in place of a dead parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reaped {
    pub(crate) pid: i32,
    pub(crate) start_time: u64,
    pub(crate) group: i32,
    pub(crate) session: i32,
    /// It ended as a copy of its shim: it could not execute its command, or had not come so far.
    pub(crate) never_executed: bool,
    pub(crate) exit: Exit,
    pub(crate) at: Timestamp,
    pub(crate) cpu_ticks: u64,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    owned: BTreeSet::new(),
    unowned: BTreeSet::new(),
    reaped: VecDeque::new(),
});

fn registry() -> MutexGuard<'static, Registry> {
    // Its operations are single insertions and removals; a panic between them cannot exist.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes this process the parent of every orphan among its descendants, so that the end of an
/// agent whose shim was killed can still be learned. Does nothing where the system has no such
/// thing (macOS); such an end is then `lost`.
///
/// # Errors
/// The kernel refused.
pub fn become_subreaper() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// A child whose status only its owner fetches.
#[derive(Debug)]
pub struct OwnedChild {
    child: Child,
}

/// Starts a child that [`reap_orphans`] leaves alone. Every process a daemon starts for itself
/// must be started with this.
///
/// # Errors
/// What [`Command::spawn`] said.
pub fn spawn_owned(command: &mut Command) -> io::Result<OwnedChild> {
    let mut registry = registry();
    let child = command.spawn()?;
    registry.owned.insert(Pid::from_child(&child).as_raw_pid());
    Ok(OwnedChild { child })
}

/// Takes in a child that nobody will wait for, made by another process in this one's name. The
/// lock is held from before it is there: its status cannot be fetched, nor its id be reused, until
/// it is known here.
#[cfg(target_os = "linux")]
pub(crate) fn adopt_unowned(make: impl FnOnce() -> io::Result<Answer>) -> io::Result<Answer> {
    let mut registry = registry();
    let answer = make()?;
    if let Answer::Made(pid) = answer {
        registry.unowned.insert(pid);
    }
    Ok(answer)
}

/// Starts a child that nobody will wait for and whose status the reaper may fetch. A spawn that
/// fails half-way waits for its own child, so it needs the lock all the same.
#[cfg(not(target_os = "linux"))]
pub(crate) fn spawn_unowned(command: &mut Command) -> io::Result<()> {
    let mut registry = registry();
    let child = command.spawn()?;
    registry
        .unowned
        .insert(Pid::from_child(&child).as_raw_pid());
    Ok(())
}

impl OwnedChild {
    /// The child itself: its id and its pipes. Its `wait` may be called too.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// What [`Child::wait`] said.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// Its status if it has ended.
    ///
    /// # Errors
    /// What [`Child::try_wait`] said.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits for its end and reads what it writes meanwhile. Give it a null standard input, or
    /// take the pipe and write it in a thread first.
    ///
    /// # Errors
    /// What reading and waiting said.
    pub fn wait_with_output(mut self) -> io::Result<std::process::Output> {
        use std::io::Read;
        drop(self.child.stdin.take());
        let mut error = self.child.stderr.take();
        // Both at once, so that neither pipe can fill while the other is read.
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            match &mut error {
                Some(pipe) => pipe.read_to_end(&mut bytes).map(|_| bytes),
                None => Ok(bytes),
            }
        });
        let mut stdout = Vec::new();
        if let Some(mut pipe) = self.child.stdout.take() {
            pipe.read_to_end(&mut stdout)?;
        }
        let stderr = reader
            .join()
            .map_err(|_| io::Error::other("the reader of standard error panicked"))??;
        let status = self.child.wait()?;
        Ok(std::process::Output {
            status,
            stdout,
            stderr,
        })
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        // If its status was not fetched, it is an orphan from now on and the reaper's.
        let pid = Pid::from_child(&self.child).as_raw_pid();
        registry().owned.remove(&pid);
    }
}

/// Fetches the status of every ended child of this process that has no owner, and remembers it
/// for [`inspect`](super::inspect). To be called once a second and on SIGCHLD; returns how many
/// were fetched.
///
/// # Errors
/// The process table could not be read.
pub fn reap_orphans() -> io::Result<usize> {
    let mut registry = registry();
    let this = rustix::process::getpid().as_raw_pid();
    let mut fetched = forget_ended(&mut registry.unowned)?;
    if !has_ended_child() {
        return Ok(fetched);
    }
    for process in process::table()? {
        if process.parent != this || !process.zombie || registry.owned.contains(&process.pid) {
            continue;
        }
        let Some(exit) = fetch(process.pid)? else {
            continue;
        };
        fetched += 1;
        registry.unowned.remove(&process.pid);
        if registry.reaped.len() == REMEMBERED {
            registry.reaped.pop_front();
        }
        registry.reaped.push_back(Reaped {
            pid: process.pid,
            start_time: process.start_time,
            group: process.group,
            session: process.session,
            never_executed: process.name == SHIM_NAME,
            exit,
            at: clock::now(),
            cpu_ticks: process.cpu_ticks,
        });
    }
    Ok(fetched)
}

/// Whether any child of this process has ended and still has its status. Reading the process table
/// costs three calls for each process of the machine, and once a second there is mostly nothing in
/// it. Where the system cannot tell, the table does.
fn has_ended_child() -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::All, look), Ok(None) | Err(Errno::CHILD))
}

/// The living children of this process that nobody can assign: it did not start them, and they
/// carry no run's marker. They descend from an agent whose shim was killed, and have dropped
/// everything by which the agent could be told.
///
/// # Errors
/// The process table could not be read.
pub fn strays() -> io::Result<Vec<(i32, String)>> {
    let registry = registry();
    let this = rustix::process::getpid().as_raw_pid();
    let is_known = |pid: &i32| registry.owned.contains(pid) || registry.unowned.contains(pid);
    let mut found = Vec::new();
    for process in process::table()? {
        let is_mine = process.parent == this && !process.zombie;
        if is_mine && !is_known(&process.pid) && !process::is_marked(process.pid, MARKER)? {
            found.push((process.pid, process.name));
        }
    }
    Ok(found)
}

/// Fetches the statuses of shims, which tell nothing: what a shim has to say is in its record.
fn forget_ended(unowned: &mut BTreeSet<i32>) -> io::Result<usize> {
    let mut ended = Vec::new();
    for &pid in unowned.iter() {
        match waitpid(Pid::from_raw(pid), WaitOptions::NOHANG) {
            Ok(None) => {}
            Ok(Some(_)) | Err(Errno::CHILD) => ended.push(pid),
            Err(error) => return Err(error.into()),
        }
    }
    for pid in &ended {
        unowned.remove(pid);
    }
    Ok(ended.len())
}

/// The status of this process, if it ended as an orphan of ours.
pub(crate) fn status_of(agent: &Identity) -> Option<Reaped> {
    registry()
        .reaped
        .iter()
        .rfind(|reaped| (reaped.pid, reaped.start_time) == (agent.pid, agent.start_time))
        .cloned()
}

/// How the agent ended that this shim started, for a shim that was killed before it could write
/// down which process that is. The agent leads a group of its own in the shim's session, and was
/// there before anything it started; where two could be it, nobody is.
pub(crate) fn status_of_agent_of(shim: &Identity) -> Option<Reaped> {
    let registry = registry();
    let could_be = |it: &&Reaped| {
        let is_of_shim = it.session == shim.pid && it.start_time >= shim.start_time;
        is_of_shim && it.group == it.pid && !it.never_executed
    };
    let mut candidates: Vec<&Reaped> = registry.reaped.iter().filter(could_be).collect();
    candidates.sort_by_key(|it| it.start_time);
    match candidates.as_slice() {
        [only] => Some((*only).clone()),
        [first, second, ..] if first.start_time < second.start_time => Some((*first).clone()),
        _ => None,
    }
}

fn fetch(pid: i32) -> io::Result<Option<Exit>> {
    match waitpid(Pid::from_raw(pid), WaitOptions::NOHANG) {
        Ok(Some((_, status))) => Ok(exit_of(status)),
        Ok(None) | Err(Errno::CHILD) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The same for a status that was looked at and left with the kernel.
pub(crate) fn exit_told(status: &WaitIdStatus) -> Option<Exit> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(Exit::Code(code)),
        (None, Some(number)) => Some(Exit::Signal {
            number,
            core: status.dumped(),
        }),
        (None, None) => None,
    }
}

/// What the kernel said, taken apart and nothing added. `None` for a process that has not ended.
pub(crate) fn exit_of(status: WaitStatus) -> Option<Exit> {
    /// Set in a wait status when a core was dumped, on Linux and on every BSD.
    const CORE_DUMPED: i32 = 0x80;
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(Exit::Code(code)),
        (None, Some(number)) => Some(Exit::Signal {
            number,
            core: status.as_raw() & CORE_DUMPED != 0,
        }),
        (None, None) => None,
    }
}
