//! The directory of one run: what lies where.
//!
//! This part must not know what is in the files.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use orch_core::RunId;

/// The directory of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// The directory of `run` below `runs`. Nothing is created.
    #[must_use]
    pub fn new(runs: &Path, run: &RunId) -> Self {
        Self {
            path: runs.join(run.as_str()),
        }
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the shim is to do.
    #[must_use]
    pub fn spec(&self) -> PathBuf {
        self.path.join("spec.json")
    }

    /// The agent's standard input.
    #[must_use]
    pub fn prompt(&self) -> PathBuf {
        self.path.join("prompt.txt")
    }

    /// The agent's standard output, every byte.
    #[must_use]
    pub fn out_log(&self) -> PathBuf {
        self.path.join("out.log")
    }

    /// The agent's standard error, every byte.
    #[must_use]
    pub fn err_log(&self) -> PathBuf {
        self.path.join("err.log")
    }

    /// How the agent's process ended.
    #[must_use]
    pub fn exit_record(&self) -> PathBuf {
        self.path.join("exit.json")
    }

    /// What the agent did, one event per line.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    /// A copy of the run's row, for people and scripts.
    #[must_use]
    pub fn run_json(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// Creates the directory, readable by the owner alone. It is fine if it exists.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn create(&self) -> io::Result<()> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
    }
}
