//! What a shim is told: which command, where, and within which limits.
//!
//! `spec.json` is written by one version of orch and may be read by a shim of another, so it
//! carries a version and its form is apart from the type the rest of the code uses.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use orch_core::{RunId, TaskId};
use serde::{Deserialize, Serialize};

use super::files::Survives;

/// The present form of `spec.json`.
const VERSION: u32 = 1;
/// Longest `spec.json`, bytes: argv and environment of 2 MiB, each byte written as a number.
pub(crate) const SPEC_BYTES: u64 = 16 << 20;

/// Bounds on one run. `None` is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Longest the agent may run, milliseconds of active time (a suspended machine does not
    /// count).
    pub timeout_ms: Option<u64>,
    /// Longest neither log may grow, milliseconds of active time.
    pub stall_ms: Option<u64>,
    /// Most bytes both logs may have together.
    pub output_bytes: Option<u64>,
    /// From asking the agent to leave until its tree is killed, milliseconds.
    pub stop_grace_ms: u64,
    /// From the agent's end until what it left behind is killed, milliseconds.
    pub leak_grace_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout_ms: None,
            stall_ms: None,
            output_bytes: None,
            stop_grace_ms: 10_000,
            leak_grace_ms: 2_000,
        }
    }
}

/// How an agent is asked to leave. Whoever does not heed it is killed after its grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopSignal {
    /// SIGTERM.
    #[default]
    Terminate,
    /// SIGINT, for an agent that ends more truthfully when it is interrupted.
    Interrupt,
}

/// One run, as its shim needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The run.
    pub run: RunId,
    /// The task it is an attempt of; for people who look into the directory.
    pub task: TaskId,
    /// Which attempt.
    pub attempt: u32,
    /// The command and its arguments. A command without a slash is looked up on the `PATH` of
    /// `env`; one with a slash is taken relative to `cwd`.
    pub argv: Vec<OsString>,
    /// The whole environment of the agent, except for [`MARKER`], which the shim adds.
    pub env: Vec<(OsString, OsString)>,
    /// Where the agent works.
    pub cwd: PathBuf,
    /// The agent's standard input; `None` is `/dev/null`.
    pub stdin: Option<PathBuf>,
    /// Its bounds.
    pub limits: Limits,
    /// How it is asked to leave.
    pub stop_signal: StopSignal,
    /// The daemon's news socket. Nobody need listen there.
    pub news: PathBuf,
    /// The boot of the machine that was durably recorded with the run, if one was.
    pub boot: Option<String>,
}

/// The variable that marks every process of a run; its value is the run's id.
pub const MARKER: &str = "ORCH_RUN_ID";

/// Why a `spec.json` could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// It is not what this or any earlier version writes.
    #[error("spec.json cannot be read")]
    Form(#[source] serde_json::Error),
    /// A later version wrote it.
    #[error("spec.json has version {0}; this orch knows up to {VERSION}")]
    Version(u32),
    /// It names no run, or no task.
    #[error(transparent)]
    Id(#[from] orch_core::id::BadId),
}

#[derive(Serialize, Deserialize)]
struct Wire {
    version: u32,
    run: String,
    task: String,
    attempt: u32,
    argv: Vec<Text>,
    env: Vec<(Text, Text)>,
    cwd: Text,
    stdin: Option<Text>,
    limits: Limits,
    #[serde(default)]
    stop_signal: StopSignal,
    news: Text,
    #[serde(default)]
    boot: Option<String>,
}

/// Text of the operating system: readable where it is UTF-8, bytes where it is not.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Utf8(String),
    Bytes(Vec<u8>),
}

impl From<OsString> for Text {
    fn from(text: OsString) -> Self {
        match text.into_string() {
            Ok(text) => Self::Utf8(text),
            Err(text) => Self::Bytes(text.as_bytes().to_vec()),
        }
    }
}

impl From<Text> for OsString {
    fn from(text: Text) -> Self {
        match text {
            Text::Utf8(text) => text.into(),
            Text::Bytes(bytes) => Self::from_vec(bytes),
        }
    }
}

impl Spec {
    /// What the files that tell how far a launch got have to survive. Where the run's own row says
    /// in which boot it may be started, a restart of the machine makes them worthless.
    pub(crate) fn files_survive(&self) -> Survives {
        match self.boot {
            Some(_) => Survives::Kill,
            None => Survives::PowerCut,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let spec = self.clone();
        let wire = Wire {
            version: VERSION,
            run: spec.run.to_string(),
            task: spec.task.to_string(),
            attempt: spec.attempt,
            argv: spec.argv.into_iter().map(Text::from).collect(),
            env: spec
                .env
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            cwd: spec.cwd.into_os_string().into(),
            stdin: spec.stdin.map(|path| path.into_os_string().into()),
            limits: spec.limits,
            stop_signal: spec.stop_signal,
            news: spec.news.into_os_string().into(),
            boot: spec.boot,
        };
        serde_json::to_vec_pretty(&wire).expect("text and numbers always have a JSON form")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, SpecError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_slice(bytes).map_err(SpecError::Form)?;
        if version != VERSION {
            return Err(SpecError::Version(version));
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(SpecError::Form)?;
        Ok(Self {
            run: wire.run.parse()?,
            task: wire.task.parse()?,
            attempt: wire.attempt,
            argv: wire.argv.into_iter().map(OsString::from).collect(),
            env: wire
                .env
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            cwd: OsString::from(wire.cwd).into(),
            stdin: wire.stdin.map(|path| OsString::from(path).into()),
            limits: wire.limits,
            stop_signal: wire.stop_signal,
            news: OsString::from(wire.news).into(),
            boot: wire.boot,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            run: RunId::from_entropy(1),
            task: TaskId::from_entropy(2),
            attempt: 3,
            argv: vec!["sh".into(), OsString::from_vec(vec![b'a', 0xff, b'\n'])],
            env: vec![("A".into(), "ä\"\n".into())],
            cwd: "/tmp/with space".into(),
            stdin: None,
            limits: Limits::default(),
            stop_signal: StopSignal::Interrupt,
            news: "/tmp/news".into(),
            boot: Some("boot".into()),
        }
    }

    #[test]
    fn a_spec_is_read_as_it_was_written_whatever_its_bytes() {
        assert_eq!(Spec::decode(&spec().encode()).unwrap(), spec());
    }

    #[test]
    fn the_files_of_a_launch_may_go_only_where_its_row_names_the_boot() {
        let mut spec = spec();
        assert_eq!(spec.files_survive(), Survives::Kill);
        spec.boot = None;
        assert_eq!(spec.files_survive(), Survives::PowerCut);
    }

    #[test]
    fn a_later_version_is_named_and_garbage_is_refused() {
        let text = String::from_utf8(spec().encode()).unwrap();
        let later = text.replace("\"version\": 1", "\"version\": 2");
        assert!(matches!(
            Spec::decode(later.as_bytes()),
            Err(SpecError::Version(2))
        ));
        assert!(matches!(Spec::decode(b"{"), Err(SpecError::Form(_))));
    }
}
