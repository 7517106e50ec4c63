//! Leaving the record of the end, whatever the disk does.

use std::io;
use std::time::Duration;

use super::agent::Agent;
use super::watch::End;
use super::{Logs, note};
use crate::failpoint::{self, Point};
use crate::run_dir::name;
use crate::supervise::files::{Dir, Survives};
use crate::supervise::process::TICKS_PER_SECOND;
use crate::supervise::record::{ExitRecord, Record, Source, encode};
use crate::supervise::spec::Spec;

/// Between two attempts to write the record.
const RETRY: Duration = Duration::from_secs(1);

/// Makes the logs durable and says what is known of the end.
pub(super) fn record(spec: &Spec, agent: &Agent, logs: &Logs, end: End) -> ExitRecord {
    let mut record = describe(spec, agent, logs, end);
    for (file, name, bytes) in [
        (&logs.out, name::OUT_LOG, record.out_bytes),
        (&logs.err, name::ERR_LOG, record.err_bytes),
    ] {
        if bytes != Some(0)
            && let Err(error) = file.sync_all()
        {
            let warning = format!("{name} may not survive a power cut: {error}");
            record.warnings.push(warning);
        }
    }
    failpoint::hit(Point::LogsSynced);
    record
}

/// Leaves what is known of the end where the record will be written, should this process be killed
/// before that. Whoever reads it there knows that what the agent left behind may still live.
pub(super) fn leave_word(dir: &Dir, record: ExitRecord) {
    let bytes = encode(&Record::Ended(record));
    if let Err(error) = dir.overwrite(name::EXIT_RESERVE, &bytes) {
        note(&format!("cannot write {}: {error}", name::EXIT_RESERVE));
    }
}

/// What is known of the end.
pub(super) fn describe(spec: &Spec, agent: &Agent, logs: &Logs, end: End) -> ExitRecord {
    let mut warnings = end.warnings;
    let lengths = match logs.lengths() {
        Ok(lengths) => Some(lengths),
        Err(error) => {
            warnings.push(format!("the lengths of the logs are unknown: {error}"));
            None
        }
    };
    let (out_bytes, err_bytes) = lengths.unzip();
    ExitRecord {
        run: spec.run.clone(),
        attempt: spec.attempt,
        exit: end.exit,
        enforced: end.enforced,
        stopped: end.stopped,
        started_at: agent.started_at,
        finished_at: end.finished_at,
        active_ms: u64::try_from(end.active.as_millis()).ok(),
        cpu_ms: end.cpu_ticks.map(|ticks| ticks * 1000 / TICKS_PER_SECOND),
        out_bytes,
        err_bytes,
        oom_kills: end.oom_kills,
        leaked: end.leaked,
        leaked_count: end.leaked_count,
        warnings,
        source: Source::Shim,
    }
}

/// Makes the record durable, however long that takes; the lock stays held meanwhile, so nobody
/// thinks the run is over. `false` if the directory is gone and nobody could ever read it.
pub(super) fn persist(dir: &Dir, record: &Record) -> bool {
    let bytes = encode(record);
    let mut said = String::new();
    loop {
        let Err(error) = write(dir, &bytes) else {
            return true;
        };
        if dir.is_gone() {
            return false;
        }
        let text = format!("cannot write {}: {error}; trying again", name::EXIT_RECORD);
        if text != said {
            note(&text);
            said = text;
        }
        std::thread::sleep(RETRY);
    }
}

fn write(dir: &Dir, bytes: &[u8]) -> io::Result<()> {
    let Err(error) = dir.replace(
        name::EXIT_RECORD,
        name::EXIT_RESERVE,
        bytes,
        Survives::PowerCut,
    ) else {
        return Ok(());
    };
    match error.kind() {
        // The blocks that were set aside are worth more than a new file would be.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {}
        // A directory in the record's place is nobody's record.
        io::ErrorKind::IsADirectory => dir.move_aside(name::EXIT_RECORD, name::EXIT_CORRUPT)?,
        // A file that failed to become durable once may claim to be later and not be.
        _ => {
            let _ = dir.remove(name::EXIT_RESERVE);
        }
    }
    Err(error)
}
