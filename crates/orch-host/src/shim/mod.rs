//! The small process that owns one run's agent.
//!
//! It has no thread, no runtime and no database. It must not know about tasks, retries,
//! adapters or the daemon, except for a socket that it tells where to look. Everything it learns
//! goes into the run directory, in an order that makes every instant of its death decidable:
//! lock, gate, agent, `pid.json`, news; then logs durable, record durable, news, lock.

pub(crate) mod agent;
#[cfg(target_os = "linux")]
mod clone;
mod descriptors;
mod end;
mod limiter;
mod memory;
#[cfg(target_os = "linux")]
mod server;
mod signals;
#[cfg(target_os = "linux")]
mod title;
mod watch;

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use orch_core::run::{Failure, FailureCode};

use crate::errno::named;
use crate::failpoint::{self, Point};
use crate::run_dir::{RunDir, name};
use crate::supervise::files::{Dir, Small};
use crate::supervise::news::{News, Teller, What};
use crate::supervise::process::Identity;
use crate::supervise::record::{PidRecord, RESERVE_BYTES, Record};
use crate::supervise::spec::{SPEC_BYTES, Spec};
use crate::supervise::{become_subreaper, clock};
use agent::Agent;
pub use limiter::Limiter;
#[cfg(target_os = "linux")]
pub use server::shims_main;
use signals::Signals;

/// How often a shim tries for its lock, which a daemon's look at it can take for an instant.
const LOCK_TRIES: u32 = 200;
/// Between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The whole life of a shim: the hidden subcommand calls this first thing, before anything in
/// the process has opened a descriptor or started a thread, and exits with what it returns. 0
/// when a record was left or another shim has the run in hand, 1 when nothing could be done;
/// `shim.log` says why.
#[must_use]
pub fn shim_main(dir: &Path) -> i32 {
    descriptors::close_inherited();
    prepare();
    supervise_in(dir)
}

/// What a shim needs and a process that is copied may have done for it.
fn prepare() {
    signals::withstand();
    std::panic::set_hook(Box::new(|panic| note(&panic.to_string())));
}

/// The same for a process that is prepared and has nothing open but the three standard descriptors.
fn supervise_in(dir: &Path) -> i32 {
    match live(dir) {
        Ok(()) => 0,
        Err(error) => {
            note(&format!("cannot supervise {}: {error}", dir.display()));
            1
        }
    }
}

/// Where `shim.log` lies, as soon as that is known.
static NOTES: OnceLock<Dir> = OnceLock::new();

/// Says something to people, in `shim.log`, which most shims never need.
fn note(text: &str) {
    let line = format!("{} {text}\n", clock::now().0);
    // There is nowhere to tell that telling failed.
    let _ = match NOTES.get().map(|dir| dir.open_log(name::SHIM_LOG)) {
        Some(Ok(mut log)) => log.write_all(line.as_bytes()),
        _ => io::stderr().write_all(line.as_bytes()),
    };
}

fn live(path: &Path) -> io::Result<()> {
    failpoint::serve(path);
    failpoint::hit(Point::ShimEntered);
    let dir = Dir::open(path)?;
    let _ = NOTES.set(dir.try_clone()?);
    // A session of its own, so that no terminal and no group signal reaches it. It fails only
    // for the leader of a group, which has what matters already.
    let _ = rustix::process::setsid();
    become_subreaper()?;
    let signals = Signals::register()?;
    let Some(lock) = enter(&dir)? else {
        return Ok(());
    };
    failpoint::hit(Point::ShimLocked);
    let spec = read_spec(&dir)?;
    let teller = Teller::new(&spec.news);
    let Some(record) = supervise(&dir, &spec, &signals, &teller) else {
        return Ok(());
    };
    if !end::persist(&dir, &record) {
        note("the run directory is gone; the end of the run cannot be recorded");
    }
    tell(&teller, &spec, What::Ended);
    failpoint::hit(Point::EndTold);
    drop(lock);
    Ok(())
}

/// Takes the lock, unless the run is, or was, in another shim's hands.
fn enter(dir: &Dir) -> io::Result<Option<File>> {
    let lock = dir.open_lock(name::ALIVE_LOCK, true)?;
    for _ in 0..LOCK_TRIES {
        if is_taken(dir)? {
            return Ok(None);
        }
        match lock.try_lock() {
            // Another may have come and gone between the look and the lock.
            Ok(()) => return Ok((!is_taken(dir)?).then_some(lock)),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

fn is_taken(dir: &Dir) -> io::Result<bool> {
    Ok(dir.exists(name::STARTED)? || dir.exists(name::EXIT_RECORD)?)
}

fn read_spec(dir: &Dir) -> io::Result<Spec> {
    match dir.read_small(name::SPEC, SPEC_BYTES)? {
        Small::Bytes(bytes) => Spec::decode(&bytes).map_err(io::Error::other),
        Small::Absent => Err(io::ErrorKind::NotFound.into()),
        Small::Unusable(why) => Err(io::Error::other(why)),
    }
}

/// The directory that a run was started in; `None` if that cannot be read any more.
#[must_use]
pub fn directory_of(dir: &RunDir) -> Option<PathBuf> {
    let dir = Dir::open(dir.path()).ok()?;
    read_spec(&dir).ok().map(|spec| spec.cwd)
}

/// Starts the agent and sees it end. `None` if the gate was passed by another.
fn supervise(dir: &Dir, spec: &Spec, signals: &Signals, teller: &Teller<'_>) -> Option<Record> {
    let logs = match Logs::open(dir) {
        Ok(logs) => logs,
        Err(error) => return Some(not_started(spec, unprepared("its log files", &error))),
    };
    failpoint::hit(Point::LogsOpened);
    match pass_gate(dir, spec) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return None,
        Err(error) => return Some(not_started(spec, unprepared("its launch gate", &error))),
    }
    if signals.take_stop() {
        return Some(not_started(spec, stopped_before_start()));
    }
    // From here on nobody can tell by its absence that the agent was never started.
    if let Err(error) = dir.touch(name::PID_TEMPORARY) {
        return Some(not_started(spec, unprepared("that it is to start", &error)));
    }
    let agent = match Agent::start(spec, &logs) {
        Ok(agent) => agent,
        Err(failure) => return Some(not_started(spec, failure)),
    };
    failpoint::hit(Point::AgentSpawned);
    write_down(dir, spec, &agent);
    tell(teller, spec, What::Started);
    failpoint::hit(Point::HelloSent);
    let end = watch::Watch::new(&agent, spec, signals, &logs)
        .until_end(|seen| end::leave_word(dir, end::describe(spec, &agent, &logs, seen)));
    Some(Record::Ended(end::record(spec, &agent, &logs, end)))
}

/// After this the attempt is never started again, by whomever.
fn pass_gate(dir: &Dir, spec: &Spec) -> io::Result<()> {
    dir.reserve::<RESERVE_BYTES>(name::EXIT_RESERVE)?;
    failpoint::hit(Point::ReserveWritten);
    let this = Identity::of(rustix::process::getpid().as_raw_pid())?;
    let text = serde_json::to_vec(&this).map_err(io::Error::other)?;
    dir.create_new(name::STARTED, &text, spec.files_survive())
}

/// Writes down which process the agent is.
fn write_down(dir: &Dir, spec: &Spec, agent: &Agent) {
    let record = PidRecord {
        agent: agent.identity.clone(),
        started_at_ms: agent.started_at.0,
    };
    let written = serde_json::to_vec(&record)
        .map_err(io::Error::other)
        .and_then(|text| {
            let survives = spec.files_survive();
            dir.replace(name::PID_RECORD, name::PID_TEMPORARY, &text, survives)
        });
    // The run goes on without: the record of its end does not need it.
    if let Err(error) = written {
        note(&format!("cannot write {}: {error}", name::PID_RECORD));
    }
}

fn tell(teller: &Teller<'_>, spec: &Spec, what: What) {
    let news = News {
        run: spec.run.clone(),
        what,
    };
    if let Err(error) = teller.tell(&news) {
        note(&format!("cannot tell {}: {error}", spec.news.display()));
    }
}

fn not_started(spec: &Spec, failure: Failure) -> Record {
    Record::NotStarted {
        run: spec.run.clone(),
        attempt: spec.attempt,
        failure,
        finished_at: clock::now(),
    }
}

fn unprepared(what: &str, error: &io::Error) -> Failure {
    Failure {
        code: agent::code_of(error).unwrap_or(FailureCode::SpawnFailed),
        message: format!("the supervisor could not write {what}"),
        evidence: named(error),
    }
}

fn stopped_before_start() -> Failure {
    Failure {
        code: FailureCode::Interrupted,
        message: "stopped before the agent was started".to_owned(),
        evidence: "SIGTERM to the supervisor".to_owned(),
    }
}

/// The files that are the agent's standard output and error. Never read and never written here.
struct Logs {
    out: File,
    err: File,
}

impl Logs {
    fn open(dir: &Dir) -> io::Result<Self> {
        Ok(Self {
            out: dir.open_log(name::OUT_LOG)?,
            err: dir.open_log(name::ERR_LOG)?,
        })
    }

    /// Lengths of both, bytes.
    fn lengths(&self) -> io::Result<(u64, u64)> {
        Ok((self.out.metadata()?.len(), self.err.metadata()?.len()))
    }
}
