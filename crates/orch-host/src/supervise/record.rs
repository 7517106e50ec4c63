//! The records a shim leaves: the gate, the agent's identity and the end.
//!
//! The exit record is the truth about a run, and any process of the same user can write into
//! the directory. It therefore carries a version, the run, the attempt and a checksum, and is
//! taken whole or not at all. The checksum finds accidents; it does not stop a forger.

use orch_core::outcome::Enforced;
use orch_core::run::{Exit, Failure, FailureCode};
use orch_core::{RunId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::process::Identity;

/// The present form of `exit.json`.
const VERSION: u32 = 1;
/// Longest record of any kind, bytes.
pub(crate) const RECORD_BYTES: u64 = 64 * 1024;
/// Blocks set aside for the exit record, bytes: room for one with every list full.
pub(crate) const RESERVE_BYTES: usize = 16 * 1024;
/// Most left-behind processes that are named in a record; the rest are only counted.
pub(crate) const LEAKED_NAMED: usize = 32;

/// A process the agent left behind when it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaked {
    /// Process id.
    pub pid: i32,
    /// Its command name as the kernel keeps it, at most 15 bytes.
    pub name: String,
    /// Whether it could not be killed and is still there.
    pub alive: bool,
}

/// Who fetched the wait status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The run's shim, in its exit record.
    Shim,
    /// The daemon, because the shim was dead.
    Daemon,
}

/// How an agent's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitRecord {
    /// The run.
    pub run: RunId,
    /// Which attempt.
    pub attempt: u32,
    /// What the kernel said.
    pub exit: Exit,
    /// The limit the shim enforced before the agent ended, if it did.
    pub enforced: Option<Enforced>,
    /// Whether the shim was asked to stop the agent before it ended.
    pub stopped: bool,
    /// When the agent was started.
    pub started_at: Timestamp,
    /// When it was seen to have ended.
    pub finished_at: Timestamp,
    /// How long it ran, milliseconds in which the machine was not suspended. Unknown when the
    /// daemon is the source.
    pub active_ms: Option<u64>,
    /// Processor time of the agent and the children it waited for, milliseconds, if known.
    pub cpu_ms: Option<u64>,
    /// Length of `out.log`, bytes, if it could be told.
    pub out_bytes: Option<u64>,
    /// Length of `err.log`, bytes, if it could be told.
    pub err_bytes: Option<u64>,
    /// How many processes of its control group the kernel ended for want of memory while it ran;
    /// 0 also where the system does not tell.
    pub oom_kills: u64,
    /// What it left behind: at most 32 of them.
    pub leaked: Vec<Leaked>,
    /// How many it left behind in all.
    pub leaked_count: u64,
    /// What went wrong beside it, like a log that could not be made durable.
    pub warnings: Vec<String>,
    /// Who says so.
    pub source: Source,
}

impl ExitRecord {
    /// Where the agent's output lies, as evidence: `out.log bytes 0-12, err.log bytes 0-0`.
    #[must_use]
    pub fn logs(&self) -> String {
        let of = |name: &str, bytes: Option<u64>| match bytes {
            Some(bytes) => format!("{name} bytes 0-{bytes}"),
            None => format!("{name}, of which nobody could tell the length"),
        };
        let out = of("out.log", self.out_bytes);
        format!("{out}, {}", of("err.log", self.err_bytes))
    }

    /// Whether want of memory is why it ended: the kernel's kill, which nobody here had sent,
    /// while the kernel ended something of its control group for that reason.
    #[must_use]
    pub fn oom_killed(&self) -> bool {
        /// SIGKILL on every system.
        const KILL: i32 = 9;
        let killed = matches!(self.exit, Exit::Signal { number: KILL, .. });
        killed && self.oom_kills > 0 && !self.stopped && self.enforced.is_none()
    }
}

/// What `exit.json` can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    Ended(ExitRecord),
    NotStarted {
        run: RunId,
        attempt: u32,
        failure: Failure,
        finished_at: Timestamp,
    },
}

impl Record {
    fn names(&self) -> (&RunId, u32) {
        match self {
            Self::Ended(record) => (&record.run, record.attempt),
            Self::NotStarted { run, attempt, .. } => (run, *attempt),
        }
    }
}

/// The launch gate's contents: which shim opened it.
pub(crate) type Started = Identity;

/// Which process the agent is, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PidRecord {
    #[serde(flatten)]
    pub(crate) agent: Identity,
    pub(crate) started_at_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct Envelope<R> {
    record: R,
    crc32: u32,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    version: u32,
    run: String,
    attempt: u32,
    finished_at_ms: i64,
    #[serde(flatten)]
    end: WireEnd,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
enum WireEnd {
    Ended(WireEnded),
    NotStarted {
        code: String,
        message: String,
        evidence: String,
    },
}

#[derive(Serialize, Deserialize)]
struct WireEnded {
    exit: WireExit,
    enforced: Option<WireEnforced>,
    stopped: bool,
    started_at_ms: i64,
    active_ms: Option<u64>,
    cpu_ms: Option<u64>,
    #[serde(default)]
    out_bytes: Option<u64>,
    #[serde(default)]
    err_bytes: Option<u64>,
    /// Records of before this was counted have none.
    #[serde(default)]
    oom_kills: u64,
    leaked: Vec<Leaked>,
    leaked_count: u64,
    warnings: Vec<String>,
    source: Source,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireExit {
    Code(i32),
    Signal { number: i32, core: bool },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireEnforced {
    TimeoutMs(u64),
    StallMs(u64),
    OutputBytes(u64),
}

/// The bytes of `exit.json`.
pub(crate) fn encode(record: &Record) -> Vec<u8> {
    let (run, attempt) = record.names();
    let (finished_at, end) = match record {
        Record::Ended(record) => (record.finished_at, WireEnd::Ended(to_wire(record))),
        Record::NotStarted {
            failure,
            finished_at,
            ..
        } => (
            *finished_at,
            WireEnd::NotStarted {
                code: failure.code.to_string(),
                message: failure.message.clone(),
                evidence: failure.evidence.clone(),
            },
        ),
    };
    let wire = Wire {
        version: VERSION,
        run: run.to_string(),
        attempt,
        finished_at_ms: finished_at.0,
        end,
    };
    let text = serde_json::to_string(&wire).expect("text and numbers always have a JSON form");
    let crc32 = crc32fast::hash(text.as_bytes());
    format!("{{\"record\":{text},\"crc32\":{crc32}}}\n").into_bytes()
}

/// The record of this run and attempt, or what is wrong with the bytes.
pub(crate) fn decode(bytes: &[u8], run: &RunId, attempt: u32) -> Result<Record, String> {
    let envelope: Envelope<&RawValue> = serde_json::from_slice(bytes)
        .map_err(|error| format!("exit.json is not a whole record: {error}"))?;
    let text = envelope.record.get();
    let crc32 = crc32fast::hash(text.as_bytes());
    if crc32 != envelope.crc32 {
        return Err(format!(
            "exit.json has checksum {crc32} and says {}",
            envelope.crc32
        ));
    }
    let wire: Wire = serde_json::from_str(text)
        .map_err(|error| format!("exit.json is not a record of this version: {error}"))?;
    if wire.version != VERSION {
        return Err(format!(
            "exit.json has the unknown version {}",
            wire.version
        ));
    }
    let record = from_wire(wire).map_err(|error| format!("exit.json: {error}"))?;
    if record.names() != (run, attempt) {
        let (other, number) = record.names();
        return Err(format!(
            "exit.json is of {other} attempt {number}, not of {run} attempt {attempt}"
        ));
    }
    Ok(record)
}

fn to_wire(record: &ExitRecord) -> WireEnded {
    WireEnded {
        exit: match record.exit {
            Exit::Code(code) => WireExit::Code(code),
            Exit::Signal { number, core } => WireExit::Signal { number, core },
        },
        enforced: record.enforced.map(|enforced| match enforced {
            Enforced::Timeout { limit_ms } => WireEnforced::TimeoutMs(limit_ms),
            Enforced::Stall { limit_ms } => WireEnforced::StallMs(limit_ms),
            Enforced::Output { limit_bytes } => WireEnforced::OutputBytes(limit_bytes),
        }),
        stopped: record.stopped,
        started_at_ms: record.started_at.0,
        active_ms: record.active_ms,
        cpu_ms: record.cpu_ms,
        out_bytes: record.out_bytes,
        err_bytes: record.err_bytes,
        oom_kills: record.oom_kills,
        leaked: record.leaked.clone(),
        leaked_count: record.leaked_count,
        warnings: record.warnings.clone(),
        source: record.source,
    }
}

fn from_wire(wire: Wire) -> Result<Record, String> {
    let run: RunId = wire
        .run
        .parse()
        .map_err(|error: orch_core::id::BadId| error.to_string())?;
    let finished_at = Timestamp(wire.finished_at_ms);
    Ok(match wire.end {
        WireEnd::NotStarted {
            code,
            message,
            evidence,
        } => Record::NotStarted {
            run,
            attempt: wire.attempt,
            failure: Failure {
                code: code
                    .parse::<FailureCode>()
                    .map_err(|error| error.to_string())?,
                message,
                evidence,
            },
            finished_at,
        },
        WireEnd::Ended(ended) => Record::Ended(ExitRecord {
            run,
            attempt: wire.attempt,
            exit: match ended.exit {
                WireExit::Code(code) => Exit::Code(code),
                WireExit::Signal { number, core } => Exit::Signal { number, core },
            },
            enforced: ended.enforced.map(|enforced| match enforced {
                WireEnforced::TimeoutMs(limit_ms) => Enforced::Timeout { limit_ms },
                WireEnforced::StallMs(limit_ms) => Enforced::Stall { limit_ms },
                WireEnforced::OutputBytes(limit_bytes) => Enforced::Output { limit_bytes },
            }),
            stopped: ended.stopped,
            started_at: Timestamp(ended.started_at_ms),
            finished_at,
            active_ms: ended.active_ms,
            cpu_ms: ended.cpu_ms,
            out_bytes: known_length(ended.out_bytes),
            err_bytes: known_length(ended.err_bytes),
            oom_kills: ended.oom_kills,
            leaked: ended.leaked,
            leaked_count: ended.leaked_count,
            warnings: ended.warnings,
            source: ended.source,
        }),
    })
}

/// Earlier versions wrote the largest number for a length that they could not tell.
fn known_length(bytes: Option<u64>) -> Option<u64> {
    bytes.filter(|bytes| *bytes != u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn ended(run: &RunId) -> ExitRecord {
        ExitRecord {
            run: run.clone(),
            attempt: 2,
            exit: Exit::Signal {
                number: 15,
                core: false,
            },
            enforced: Some(Enforced::Stall { limit_ms: 7 }),
            stopped: true,
            started_at: Timestamp(5),
            finished_at: Timestamp(9),
            active_ms: Some(4),
            cpu_ms: None,
            out_bytes: Some(10),
            err_bytes: Some(0),
            oom_kills: 1,
            leaked: vec![Leaked {
                pid: 7,
                name: "s\"l".into(),
                alive: false,
            }],
            leaked_count: 1,
            warnings: vec!["x".into()],
            source: Source::Shim,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let run = RunId::from_entropy(1);
        let not_started = Record::NotStarted {
            run: run.clone(),
            attempt: 2,
            failure: Failure {
                code: FailureCode::CommandNotFound,
                message: "m".into(),
                evidence: "e".into(),
            },
            finished_at: Timestamp(3),
        };
        for record in [Record::Ended(ended(&run)), not_started] {
            assert_eq!(decode(&encode(&record), &run, 2), Ok(record));
        }
    }

    #[test]
    fn every_prefix_and_every_changed_byte_of_the_record_is_refused() {
        let run = RunId::from_entropy(1);
        let bytes = encode(&Record::Ended(ended(&run)));
        for length in 0..bytes.len() - 1 {
            assert!(decode(&bytes[..length], &run, 2).is_err(), "{length}");
        }
        for at in 0..bytes.len() - 1 {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(decode(&changed, &run, 2).is_err(), "{at}");
        }
    }

    #[test]
    fn a_record_of_another_run_or_attempt_is_refused() {
        let run = RunId::from_entropy(1);
        let bytes = encode(&Record::Ended(ended(&run)));
        assert!(decode(&bytes, &RunId::from_entropy(9), 2).is_err());
        assert!(decode(&bytes, &run, 3).is_err());
    }

    #[test]
    fn a_full_record_fits_into_what_is_set_aside() {
        let mut record = ended(&RunId::from_entropy(1));
        record.leaked = vec![
            Leaked {
                pid: i32::MAX,
                name: "\u{1}".repeat(15),
                alive: true,
            };
            LEAKED_NAMED
        ];
        assert!(encode(&Record::Ended(record)).len() <= RESERVE_BYTES);
    }
}
