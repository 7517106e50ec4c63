//! The note that says what an item is, where it came from and why it is here.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use orch_core::{RunId, TaskId, Timestamp};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

/// Largest note that is read, bytes.
const MOST_BYTES: u64 = 64 << 10;

/// What kind of thing was taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A task's worktree. All of it that git does not ignore is in commits as well.
    Worktree,
    /// The directory of a run: logs, events and records.
    Run,
    /// Something that stood where orch needed the place.
    Aside,
}

impl Kind {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worktree => "worktree",
            Self::Run => "run",
            Self::Aside => "aside",
        }
    }
}

/// What an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What kind of thing.
    pub kind: Kind,
    /// Whose it was.
    pub task: TaskId,
    /// Which run's, for the directory of one.
    pub run: Option<RunId>,
    /// Why it was taken away, in words.
    pub why: String,
    /// Where it was.
    pub from: PathBuf,
    /// When it was taken away.
    pub at: Timestamp,
}

/// The form on disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    kind: Kind,
    task: String,
    run: Option<String>,
    why: String,
    from: String,
    at_ms: i64,
}

const VERSION: u32 = 1;

impl Manifest {
    /// A note about something that is taken away now.
    #[must_use]
    pub fn now(kind: Kind, task: &TaskId, why: &str, from: &Path) -> Self {
        Self {
            kind,
            task: task.clone(),
            run: None,
            why: why.to_owned(),
            from: from.to_owned(),
            at: crate::supervise::clock::now(),
        }
    }

    /// The same about a run.
    #[must_use]
    pub fn of_run(self, run: &RunId) -> Self {
        let run = Some(run.clone());
        Self { run, ..self }
    }

    /// Writes the note, durably.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let stored = Stored {
            version: VERSION,
            kind: self.kind,
            task: self.task.to_string(),
            run: self.run.as_ref().map(ToString::to_string),
            why: self.why.clone(),
            from: self.from.to_string_lossy().into_owned(),
            at_ms: self.at.0,
        };
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(&serde_json::to_vec_pretty(&stored)?)?;
        file.sync_all()
    }

    /// Reads a note; `None` if there is none or it is not one of orch's.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        // Neither a link nor a FIFO in its place may lead elsewhere or block.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let opened = fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags.cast_signed())
            .open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes).ok().and_then(Self::of))
    }

    fn of(stored: Stored) -> Option<Self> {
        Some(Self {
            kind: stored.kind,
            task: stored.task.parse().ok()?,
            run: match stored.run {
                Some(run) => Some(run.parse().ok()?),
                None => None,
            },
            why: stored.why,
            from: PathBuf::from(stored.from),
            at: (stored.version == VERSION).then_some(Timestamp(stored.at_ms))?,
        })
    }
}
