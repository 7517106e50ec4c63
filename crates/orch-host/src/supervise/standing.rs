//! Finding out how a run stands, from what lies in its directory and what still lives.
//!
//! This is the only way an end is learned; news merely says when to look. It may be asked any
//! number of times, by a daemon that started the run or by one that never saw it. The order is
//! what makes it right: the record, then the lock, then the record again, because a shim writes
//! the record before it lets go of the lock.

use std::io;
use std::path::Path;

use orch_core::run::{Failure, FailureCode};
use orch_core::{RunId, Timestamp};

use super::files::{Dir, Small};
use super::launch::SHIM_COMMAND;
use super::process::{
    Identity, Life, Process, TICKS_PER_SECOND, marked, may_be_agent, supervising,
};
use super::reaper::{self, Reaped};
use super::record::{self, ExitRecord, PidRecord, RECORD_BYTES, Record, Source, Started};
use super::spec::MARKER;
use super::survivors::survivors;
use super::{clock, process};
use crate::run_dir::{RunDir, name};
use crate::time;

/// Longer than a process takes to execute a command, even on a busy machine. Only a run whose
/// supervisor died at its launch is looked at for so long.
const EXECUTING: std::time::Duration = std::time::Duration::from_millis(50);

const REBOOTED: &str = "the machine was restarted before the end of the run was recorded";

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The launch gate was never passed: it may be launched, and launching again is safe.
    Fresh,
    /// A shim is at work and the agent's process is not known yet.
    Launching,
    /// A shim watches the agent.
    Running {
        /// Since when the agent runs.
        started_at: Timestamp,
    },
    /// The agent was seen to end.
    Ended(ExitRecord),
    /// There never was an agent's process, or none that did anything.
    NotStarted(Failure),
    /// The agent runs and its shim is dead. No other attempt may start; its end will be known if
    /// this process became its parent, and `Lost` otherwise.
    Unsupervised {
        /// The agent's process id.
        pid: i32,
        /// Since when it runs, if that was written down.
        started_at: Option<Timestamp>,
    },
    /// It is over and nobody saw how.
    Lost(Failure),
}

/// Finds out how a run stands. A record that cannot be trusted is moved aside, never deleted.
/// Never blocks, whatever lies in the directory. A directory that is not there gives
/// `Lost(record_missing)`, but not while any process of the run lives: who has not made it yet
/// should not ask. `boot` is the boot in which the run was recorded; whatever a run of another boot
/// left but its record may be incomplete, and it is never started again.
///
/// # Errors
/// The directory or the process table could not be read; asking again later may work.
pub fn inspect(
    dir: &RunDir,
    run: &RunId,
    attempt: u32,
    boot: Option<&str>,
) -> io::Result<Standing> {
    let open = match Dir::open(dir.path()) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return without_directory(dir.path(), run, boot);
        }
        Err(error) => return Err(error),
    };
    Inspection {
        dir: open,
        path: dir.path(),
        run,
        attempt,
        boot,
        gate_passed: false,
    }
    .standing()
}

struct Inspection<'a> {
    dir: Dir,
    path: &'a Path,
    run: &'a RunId,
    attempt: u32,
    boot: Option<&'a str>,
    /// The launch gate had been passed before the lock was tried.
    gate_passed: bool,
}

/// What `exit.json` is worth.
enum Found {
    Nothing,
    Record(Record),
    Corrupt(String),
}

impl Inspection<'_> {
    fn standing(&mut self) -> io::Result<Standing> {
        // Before the lock is tried: whoever passes the gate holds the lock from before that until
        // its record is written. A gate seen only after a free lock is one that was passed in
        // between, by a shim that lives.
        self.gate_passed = self.dir.exists(name::STARTED)?;
        if let Found::Record(record) = self.exit_record()? {
            return self.told(record);
        }
        if self.dir.is_locked(name::ALIVE_LOCK)? {
            return self.supervised();
        }
        match self.exit_record()? {
            Found::Record(record) => self.told(record),
            Found::Nothing => self.unrecorded(None),
            Found::Corrupt(why) => self.unrecorded(Some(why)),
        }
    }

    /// Believes a record unless the process it says has ended is alive.
    fn told(&self, record: Record) -> io::Result<Standing> {
        let alive = match self.agent()? {
            Some(pid) => pid.agent.life()? == Life::Alive,
            None => false,
        };
        match record {
            _ if alive && self.dir.is_locked(name::ALIVE_LOCK)? => self.supervised(),
            _ if alive => self.unrecorded(Some(
                "exit.json says that a process has ended that is alive".to_owned(),
            )),
            Record::Ended(record) => Ok(Standing::Ended(record)),
            Record::NotStarted { failure, .. } => Ok(Standing::NotStarted(failure)),
        }
    }

    fn supervised(&self) -> io::Result<Standing> {
        Ok(match self.agent()? {
            Some(pid) => Standing::Running {
                started_at: Timestamp(pid.started_at_ms),
            },
            None => Standing::Launching,
        })
    }

    /// No shim lives and it left no record that can be used.
    fn unrecorded(&self, corrupt: Option<String>) -> io::Result<Standing> {
        let agent = self.agent()?;
        if corrupt.is_none()
            && let Some(record) = self.last_word(agent.as_ref())?
        {
            return Ok(Standing::Ended(record));
        }
        if let Some(pid) = &agent
            && let Some(standing) = self.by_process(pid)?
        {
            return Ok(standing);
        }
        // A shim that dies between making the agent and writing its id down: the lock goes with
        // every copy of its descriptor, so until the agent executes its command the lock is
        // held, and from then on it carries its marker. The gate is not asked: somebody may be
        // removing the directory, file by file.
        let marked = match agent {
            None => self.marked_processes()?,
            Some(_) => Vec::new(),
        };
        if let Some(process) = marked.iter().find(|process| may_be_agent(process)) {
            return self.unsupervised(process.pid, None);
        }
        if let Some(why) = corrupt {
            return Ok(Standing::Lost(self.quarantine(&why)?));
        }
        if self.dir.exists(name::EXIT_CORRUPT)? {
            return Ok(Standing::Lost(self.corrupt("it was moved aside before")));
        }
        if self.dir.is_gone() {
            return without_directory(self.path, self.run, self.boot);
        }
        if is_over(self.boot) {
            return Ok(Standing::Lost(self.rebooted()));
        }
        if !self.gate_passed {
            let coming = self.dir.exists(name::STARTED)? || self.has_shim()?;
            return Ok(if coming {
                Standing::Launching
            } else {
                Standing::Fresh
            });
        }
        self.abandoned(agent.as_ref(), !marked.is_empty())
    }

    /// What a shim that was killed knew of the end before the record had its name.
    fn last_word(&self, agent: Option<&PidRecord>) -> io::Result<Option<ExitRecord>> {
        let bytes = match self.dir.read_small(name::EXIT_RESERVE, RECORD_BYTES)? {
            Small::Bytes(bytes) => bytes,
            Small::Absent | Small::Unusable(_) => return Ok(None),
        };
        // The rest is the space that was set aside.
        let line = bytes.split(|byte| *byte == b'\n').next();
        let record = record::decode(line.unwrap_or_default(), self.run, self.attempt);
        let Ok(Record::Ended(mut record)) = record else {
            return Ok(None);
        };
        if agent.map(|pid| pid.agent.life()).transpose()? == Some(Life::Alive) {
            return Ok(None);
        }
        record.warnings.push(
            "the supervisor died after the agent ended; the daemon ends what was left behind"
                .to_owned(),
        );
        // Nobody has ended what the agent left behind.
        record.source = Source::Daemon;
        Ok(Some(record))
    }

    /// The processes that carry the run's marker. In the middle of executing its command a process
    /// has let go of the lock and shows no environment yet: it is looked for a second time.
    fn marked_processes(&self) -> io::Result<Vec<Process>> {
        let find = || marked(MARKER, self.run.as_str());
        let mut found = find()?;
        if found.is_empty() && self.gate_passed && !is_over(self.boot) {
            std::thread::sleep(EXECUTING);
            found = find()?;
        }
        Ok(found)
    }

    /// Whether a shim of the run lives, whatever lies in the directory: somebody may have emptied
    /// it, and an agent that is just executing its command shows no marker for that moment.
    fn has_shim(&self) -> io::Result<bool> {
        Ok(!supervising(SHIM_COMMAND, self.run.as_str())?.is_empty())
    }

    /// What the process table or the reaper knows of the agent, if anything.
    fn by_process(&self, pid: &PidRecord) -> io::Result<Option<Standing>> {
        // An end that is still to be fetched by this process is fetched now.
        reaper::reap_orphans()?;
        if let Some(reaped) = reaper::status_of(&pid.agent) {
            return Ok(Some(Standing::Ended(self.witnessed(pid, &reaped))));
        }
        let pending = match pid.agent.life()? {
            Life::Alive => true,
            // A dying process lets go of its lock before it lets go of its children: the end
            // is about to come to this process, or to another that will not tell.
            Life::Zombie { parent } => self.is_shim(parent) || parent == this_process(),
            Life::Gone => false,
        };
        let since = Some(Timestamp(pid.started_at_ms));
        let standing = pending.then(|| self.unsupervised(pid.agent.pid, since));
        standing.transpose()
    }

    /// What the kernel knows of an agent whose shim died before it could write down which process
    /// it is: it is in the shim's session.
    fn by_session(&self, shim: &Started) -> io::Result<Option<Standing>> {
        reaper::reap_orphans()?;
        if let Some(reaped) = reaper::status_of_agent_of(shim) {
            let pid = PidRecord {
                agent: Identity {
                    pid: reaped.pid,
                    start_time: reaped.start_time,
                    boot_id: process::boot_id(),
                },
                started_at_ms: self
                    .dir
                    .modified(name::PID_TEMPORARY)
                    .unwrap_or(reaped.at)
                    .0,
            };
            return Ok(Some(Standing::Ended(self.witnessed(&pid, &reaped))));
        }
        // A dying shim lets go of its lock before it lets go of its children.
        let of_shim = |it: &&Process| it.session == shim.pid && it.group == it.pid && it.zombie;
        let table = process::table()?;
        let pending = table.iter().filter(of_shim).find(|it| {
            (it.parent == shim.pid && self.is_shim(it.parent)) || it.parent == this_process()
        });
        pending
            .map(|it| self.unsupervised(it.pid, None))
            .transpose()
    }

    /// The agent lives and the lock was free when it was tried. It is tried once more: a shim holds
    /// it from before the agent is made, and may have come only after the first try.
    fn unsupervised(&self, pid: i32, started_at: Option<Timestamp>) -> io::Result<Standing> {
        if self.dir.is_locked(name::ALIVE_LOCK)? {
            return self.supervised();
        }
        Ok(Standing::Unsupervised { pid, started_at })
    }

    /// The gate was passed, the agent does not live, and nobody saw the end. `left` is whether
    /// something that it started lives on.
    fn abandoned(&self, agent: Option<&PidRecord>, left: bool) -> io::Result<Standing> {
        let gate = self.started()?;
        let of_this_boot = match (&gate, agent) {
            (Some(shim), _) => shim.is_of_this_boot(),
            (None, Some(pid)) => pid.agent.is_of_this_boot(),
            (None, None) => true,
        };
        if !of_this_boot {
            return Ok(Standing::Lost(self.rebooted()));
        }
        if let (Some(shim), None) = (&gate, agent)
            && let Some(standing) = self.by_session(shim)?
        {
            return Ok(standing);
        }
        let written = self.dir.length(name::OUT_LOG) + self.dir.length(name::ERR_LOG);
        // One that was started may have ended before anything could be written down about it.
        let began = agent.is_some() || left || written > 0;
        if !began && !self.dir.exists(name::PID_TEMPORARY)? {
            return Ok(Standing::NotStarted(self.failure(
                FailureCode::SupervisorDiedAtLaunch,
                "the supervisor died before the agent was started",
                "no pid.json, no output, no process of the run",
            )));
        }
        let process = match agent {
            Some(pid) => format!("process {} is gone", pid.agent.pid),
            None => "no pid.json and no process of the run".to_owned(),
        };
        Ok(Standing::Lost(self.failure(
            FailureCode::SupervisorDied,
            "the supervisor died while the agent ran, and nobody saw how the agent ended",
            &process,
        )))
    }

    fn rebooted(&self) -> Failure {
        self.failure(
            FailureCode::HostRebooted,
            REBOOTED,
            &format!("the boot is {} now", process::boot_id()),
        )
    }

    fn witnessed(&self, pid: &PidRecord, reaped: &Reaped) -> ExitRecord {
        ExitRecord {
            run: self.run.clone(),
            attempt: self.attempt,
            exit: reaped.exit,
            enforced: None,
            stopped: false,
            started_at: Timestamp(pid.started_at_ms),
            finished_at: reaped.at,
            active_ms: None,
            cpu_ms: Some(reaped.cpu_ticks * 1000 / TICKS_PER_SECOND),
            out_bytes: Some(self.dir.length(name::OUT_LOG)),
            err_bytes: Some(self.dir.length(name::ERR_LOG)),
            oom_kills: 0,
            leaked: Vec::new(),
            leaked_count: 0,
            warnings: vec![
                "the supervisor died while the agent ran; the daemon fetched its status".to_owned(),
            ],
            source: Source::Daemon,
        }
    }

    fn exit_record(&self) -> io::Result<Found> {
        Ok(
            match self.dir.read_small(name::EXIT_RECORD, RECORD_BYTES)? {
                Small::Absent => Found::Nothing,
                Small::Unusable(why) => Found::Corrupt(why),
                Small::Bytes(bytes) => match record::decode(&bytes, self.run, self.attempt) {
                    Ok(record) => Found::Record(record),
                    Err(why) => Found::Corrupt(why),
                },
            },
        )
    }

    fn agent(&self) -> io::Result<Option<PidRecord>> {
        Ok(match read_json(&self.dir, name::PID_RECORD)? {
            // The shim died before it could give the file its name.
            None => read_json(&self.dir, name::PID_TEMPORARY)?,
            found => found,
        })
    }

    fn started(&self) -> io::Result<Option<Started>> {
        read_json(&self.dir, name::STARTED)
    }

    fn is_shim(&self, pid: i32) -> bool {
        let shim = self.started().ok().flatten();
        shim.is_some_and(|shim| shim.pid == pid && !matches!(shim.life(), Ok(Life::Gone)))
    }

    fn quarantine(&self, why: &str) -> io::Result<Failure> {
        self.dir.move_aside(name::EXIT_RECORD, name::EXIT_CORRUPT)?;
        Ok(self.corrupt(why))
    }

    fn corrupt(&self, why: &str) -> Failure {
        let aside = self.path.join(name::EXIT_CORRUPT);
        self.failure(
            FailureCode::RecordCorrupt,
            "the record of the end is there and cannot be trusted",
            &format!("{why}; see {}", aside.display()),
        )
    }

    fn failure(&self, code: FailureCode, message: &str, evidence: &str) -> Failure {
        Failure {
            code,
            message: message.to_owned(),
            evidence: format!(
                "{evidence}; out.log bytes 0-{}, err.log bytes 0-{}; no supervisor holds {} at {}",
                self.dir.length(name::OUT_LOG),
                self.dir.length(name::ERR_LOG),
                name::ALIVE_LOCK,
                time::rfc3339(clock::now()),
            ),
        }
    }
}

/// A record that only a shim writes; one that is torn or odd counts as absent.
pub(super) fn read_json<R: serde::de::DeserializeOwned>(
    dir: &Dir,
    name: &str,
) -> io::Result<Option<R>> {
    Ok(match dir.read_small(name, RECORD_BYTES)? {
        Small::Bytes(bytes) => serde_json::from_slice(&bytes).ok(),
        Small::Absent | Small::Unusable(_) => None,
    })
}

/// The process a shim's gate names, if that shim still lives.
pub(super) fn living_shim(dir: &Dir) -> io::Result<Option<Identity>> {
    match dir.is_locked(name::ALIVE_LOCK)? {
        true => read_json::<Started>(dir, name::STARTED),
        false => Ok(None),
    }
}

/// Whether that boot is known and is not this one.
fn is_over(boot: Option<&str>) -> bool {
    boot.is_some_and(|boot| boot != process::boot_id())
}

fn this_process() -> i32 {
    rustix::process::getpid().as_raw_pid()
}

/// The directory is gone: nothing will be recorded, and only the process table still tells.
fn without_directory(path: &Path, run: &RunId, boot: Option<&str>) -> io::Result<Standing> {
    Ok(match survivors(run.as_str())?.first() {
        Some(process) => Standing::Unsupervised {
            pid: process.pid,
            started_at: None,
        },
        // The directory itself may not have survived.
        None if is_over(boot) => Standing::Lost(Failure {
            code: FailureCode::HostRebooted,
            message: REBOOTED.to_owned(),
            evidence: format!(
                "the boot is {} now and {} does not exist",
                process::boot_id(),
                path.display()
            ),
        }),
        None => Standing::Lost(missing(path)),
    })
}

fn missing(path: &Path) -> Failure {
    Failure {
        code: FailureCode::RecordMissing,
        message: "the directory of the run is gone".to_owned(),
        evidence: format!(
            "{} does not exist and no process of the run lives",
            path.display()
        ),
    }
}
