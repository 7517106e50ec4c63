//! Where the files of one run lie.
//!
//! Only names and the making of the directory. What is in the files is the business of their
//! writers: the supervisor, the transcript, the daemon.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use orch_core::RunId;

/// Names of the files inside a run's directory.
pub mod name {
    /// What to start and within which limits.
    pub const SPEC: &str = "spec.json";
    /// The prompt, given to the agent as its standard input.
    pub const PROMPT: &str = "prompt.md";
    /// How the agent was defined, for a kind of the user's own.
    pub const DEFINITION: &str = "adapter.json";
    /// What the agent wrote to its standard output, byte for byte.
    pub const OUT_LOG: &str = "out.log";
    /// What the agent wrote to its standard error, byte for byte.
    pub const ERR_LOG: &str = "err.log";
    /// How it ended. The truth about a run lies here.
    pub const EXIT_RECORD: &str = "exit.json";
    /// Blocks set aside so that the exit record can be written on a full disk.
    pub const EXIT_RESERVE: &str = "exit.reserve";
    /// An exit record that could not be trusted, moved aside.
    pub const EXIT_CORRUPT: &str = "exit.json.corrupt";
    /// Held by the shim for as long as it lives.
    pub const ALIVE_LOCK: &str = "alive.lock";
    /// The launch gate: once it exists the attempt is never started again.
    pub const STARTED: &str = "started";
    /// Which process the agent is.
    pub const PID_RECORD: &str = "pid.json";
    /// Becomes `pid.json`. It is there, empty, before the agent is: whoever finds
    /// neither knows that the agent was never started.
    pub const PID_TEMPORARY: &str = "pid.temporary";
    /// What the shim itself had to say, for people.
    pub const SHIM_LOG: &str = "shim.log";
    /// What the agent did, one event per line.
    pub const EVENTS: &str = "events.jsonl";
    /// A copy of the run's row, for people and scripts.
    pub const RUN_JSON: &str = "run.json";
    /// The commit that the run's branch stood at when it began.
    pub const BEGIN: &str = "begin";
    /// A directory of files for the agent itself, and of those it is asked to write.
    pub const AGENT_FILES: &str = "agent";
}

/// The directory of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// The directory of `run` under `runs`. Touches nothing.
    #[must_use]
    pub fn new(runs: &Path, run: &RunId) -> Self {
        Self {
            path: runs.join(run.as_str()),
        }
    }

    /// The directory at `path`, as the shim is told it. Touches nothing.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Makes the directory with mode 0700, and whatever is missing above it. One that is there
    /// is left as it is.
    ///
    /// # Errors
    /// What the file system said.
    pub fn create(&self) -> io::Result<()> {
        let mut make = std::fs::DirBuilder::new();
        make.mode(0o700);
        match make.create(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(home) = self.path.parent() {
                    make.recursive(true).create(home)?;
                    spread(home);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made,
        }
        make.recursive(true).create(&self.path)
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What to start and within which limits.
    #[must_use]
    pub fn spec(&self) -> PathBuf {
        self.path.join(name::SPEC)
    }

    /// How the agent was defined, for a kind of the user's own.
    #[must_use]
    pub fn definition(&self) -> PathBuf {
        self.path.join(name::DEFINITION)
    }

    /// The prompt.
    #[must_use]
    pub fn prompt(&self) -> PathBuf {
        self.path.join(name::PROMPT)
    }

    /// The agent's standard output.
    #[must_use]
    pub fn out_log(&self) -> PathBuf {
        self.path.join(name::OUT_LOG)
    }

    /// The agent's standard error.
    #[must_use]
    pub fn err_log(&self) -> PathBuf {
        self.path.join(name::ERR_LOG)
    }

    /// The commit that the run's branch stood at when it began.
    #[must_use]
    pub fn begin(&self) -> PathBuf {
        self.path.join(name::BEGIN)
    }

    /// The directory of files for the agent itself.
    #[must_use]
    pub fn agent_files(&self) -> PathBuf {
        self.path.join(name::AGENT_FILES)
    }

    /// Makes [`Self::agent_files`] with mode 0700.
    ///
    /// # Errors
    /// What the file system said.
    pub fn create_agent_files(&self) -> io::Result<()> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.agent_files())
    }

    /// How it ended.
    #[must_use]
    pub fn exit_record(&self) -> PathBuf {
        self.path.join(name::EXIT_RECORD)
    }

    /// The shim's proof of life.
    #[must_use]
    pub fn alive_lock(&self) -> PathBuf {
        self.path.join(name::ALIVE_LOCK)
    }

    /// The launch gate.
    #[must_use]
    pub fn started(&self) -> PathBuf {
        self.path.join(name::STARTED)
    }

    /// Which process the agent is.
    #[must_use]
    pub fn pid_record(&self) -> PathBuf {
        self.path.join(name::PID_RECORD)
    }

    /// What the shim itself had to say.
    #[must_use]
    pub fn shim_log(&self) -> PathBuf {
        self.path.join(name::SHIM_LOG)
    }

    /// What the agent did.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.path.join(name::EVENTS)
    }

    /// A copy of the run's row.
    #[must_use]
    pub fn run_json(&self) -> PathBuf {
        self.path.join(name::RUN_JSON)
    }
}

/// Tells the file system that the directories in `home` have nothing to do with each other, as
/// those of the users of a machine. ext4 then puts each where there is room. Beside each other
/// they would all lie where the builds and worktrees of the project lie, too: where thousands of
/// files are deleted, ext4 without a journal makes new ones ten times more slowly for minutes. A
/// file system that knows nothing of this does nothing.
fn spread(home: &Path) {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
        let told = std::fs::File::open(home).and_then(|home| {
            let flags = ioctl_getflags(&home)?;
            Ok(ioctl_setflags(&home, flags | IFlags::TOPDIR)?)
        });
        // It works without, only slower.
        drop(told);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = home;
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_is_private_and_one_that_is_there_is_left_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let runs = home.path().join("state").join("runs");
        let dir = RunDir::new(&runs, &RunId::from_entropy(1));
        dir.create().unwrap();
        for path in [runs.as_path(), dir.path()] {
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", path.display());
        }
        std::fs::write(dir.prompt(), "here").unwrap();
        dir.create().unwrap();
        assert_eq!(std::fs::read_to_string(dir.prompt()).unwrap(), "here");
        std::fs::remove_dir_all(dir.path()).unwrap();
        std::fs::write(dir.path(), "in the way").unwrap();
        assert!(dir.create().is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn runs_are_spread_over_the_disk_where_the_file_system_can() {
        use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
        let home = tempfile::tempdir().unwrap();
        let probe = std::fs::File::open(home.path()).unwrap();
        let can =
            ioctl_getflags(&probe).and_then(|flags| ioctl_setflags(&probe, flags | IFlags::TOPDIR));
        if let Err(error) = can {
            println!("skipped: this file system cannot be told ({error})");
            return;
        }
        let runs = home.path().join("runs");
        RunDir::new(&runs, &RunId::from_entropy(1))
            .create()
            .unwrap();
        let flags = ioctl_getflags(std::fs::File::open(runs).unwrap()).unwrap();
        assert!(flags.contains(IFlags::TOPDIR));
    }
}
