//! Why a daemon could not be started or reached, in the words a person needs.

use std::path::PathBuf;

use orch_api::client::ClientError;
use orch_host::git::GitError;
use orch_host::supervise;
use orch_store::StoreError;

use crate::config::ConfigError;
use crate::descriptors;
use crate::project::ProjectError;

/// Why the daemon, or a command in its stead, could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody else holds the state directory.
    #[error("this project is in use by {holder}")]
    Locked {
        /// What the holder wrote about itself: what it is and its pid.
        holder: String,
        /// It is a daemon that lets its agents finish and then ends.
        drains: bool,
    },
    /// The project or its state directory is not as it must be.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// `orch.toml` cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database is gone and what belongs to it is not.
    #[error("{} is gone, and {} holds what it knew of", .database.display(), .runs.display())]
    DatabaseMissing {
        /// Where the database should be.
        database: PathBuf,
        /// The directories of the runs.
        runs: PathBuf,
    },
    /// Agents are at work of whose runs the database knows nothing.
    #[error("agents are at work that {} knows nothing of: {}", .database.display(), .runs.join(", "))]
    Strangers {
        /// The database.
        database: PathBuf,
        /// The directories of their runs.
        runs: Vec<String>,
    },
    /// The database cannot be used.
    #[error("{0} failed")]
    Store(#[from] StoreError),
    /// The repository cannot be used.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A file or socket of the state directory could not be used.
    #[error("{doing} {} failed", .path.display())]
    Io {
        /// What was being done, as in "opening".
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Too few files may be open in this process.
    #[error(
        "only {limit} files may be open, and serving a project takes {}",
        descriptors::LEAST
    )]
    TooFewDescriptors {
        /// How many may be.
        limit: u64,
    },
    /// A task that was named does not exist.
    #[error("there is no task {0}")]
    NoSuchTask(String),
}

impl StartError {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "locked",
            Self::Project(error) => error.code(),
            Self::Config(error) => error.code(),
            Self::Store(error) if error.is_disk_full() => "disk",
            Self::Store(error) if error.is_not_allowed() => "not_allowed",
            Self::Git(error) => code_of_git(error),
            Self::Store(_) => "internal",
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull => "disk",
                std::io::ErrorKind::PermissionDenied => "not_allowed",
                std::io::ErrorKind::AlreadyExists => "conflict",
                _ => "internal",
            },
            Self::DatabaseMissing { .. } | Self::Strangers { .. } => "conflict",
            Self::TooFewDescriptors { .. } => "descriptors",
            Self::NoSuchTask(_) => "not_found",
        }
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Locked { drains: true, .. } => Some(
                "it is draining: it starts nothing more and ends when its agents have; then start \
                 again ('orch status' shows whom it waits for)"
                    .to_owned(),
            ),
            Self::Locked { holder, .. } => Some(
                stopped(holder)
                    .unwrap_or_else(|| "it answers commands; see 'orch status'".to_owned()),
            ),
            Self::Project(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::DatabaseMissing { runs, .. } => Some(format!(
                "put the database back, or begin anew: move {} away",
                runs.display()
            )),
            Self::Strangers { .. } => Some(
                "the database may be an older copy: wait until they have ended, or end them"
                    .to_owned(),
            ),
            Self::TooFewDescriptors { .. } => Some(
                "raise the limit where orch is started: 'ulimit -n 1024', or LimitNOFILE= in its \
                 systemd unit"
                    .to_owned(),
            ),
            Self::NoSuchTask(_) => Some("'orch task list' shows what there is".to_owned()),
            Self::Io { source, path, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
                Some(format!("move {} away", path.display()))
            }
            Self::Store(error) if error.is_not_allowed() => Some(
                "the state directory and the database must be yours: ls -ld .orch .orch/orch.db"
                    .to_owned(),
            ),
            Self::Store(error) if error.is_corrupt() => Some(
                "'orch doctor --deep' says more; keep a copy of .orch, then go back to a backup"
                    .to_owned(),
            ),
            Self::Store(_) | Self::Git(_) | Self::Io { .. } => None,
        }
    }
}

/// What to do about a holder of the project that is stopped by a signal; `None` if it is not.
fn stopped(holder: &str) -> Option<String> {
    let (_, pid) = holder.rsplit_once("pid ")?;
    let pid: i32 = pid.trim().parse().ok()?;
    supervise::is_stopped(pid)
        .then(|| format!("it is stopped by a signal: 'kill -CONT {pid}' lets it go on"))
}

/// What a failing git means for a command. A place that cannot become a project is, to whoever
/// asks, one that is not initialised.
pub(crate) const fn code_of_git(error: &GitError) -> &'static str {
    match error {
        GitError::NotARepository { .. } | GitError::Bare { .. } | GitError::NoCommits { .. } => {
            "not_initialised"
        }
        GitError::DubiousOwnership { .. } => "not_allowed",
        GitError::Missing | GitError::TooOld { .. } => "unreachable",
        _ => "internal",
    }
}

/// Why a command could reach neither a daemon nor the state directory.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The command could not do the work in the daemon's stead.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The daemon is there and does not understand this program, or the other way round.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Somebody holds the state directory and answers nobody.
    #[error("{holder} holds this project and does not answer")]
    Busy {
        /// What the holder wrote about itself.
        holder: String,
    },
}

impl ConnectError {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Start(error) => error.code(),
            Self::Client(ClientError::Version { .. }) => "version_mismatch",
            Self::Client(_) => "unreachable",
            Self::Busy { .. } => "busy",
        }
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Start(error) => error.hint(),
            Self::Client(ClientError::Stopped { pid, .. }) => {
                Some(format!("'kill -CONT {pid}' lets it go on"))
            }
            Self::Client(ClientError::Version { .. }) => {
                Some("end the daemon (SIGTERM drains it) and start this version's".to_owned())
            }
            Self::Client(_) => Some("look at what 'orch serve' says".to_owned()),
            Self::Busy { holder } => {
                let stopped = stopped(holder);
                Some(stopped.unwrap_or_else(|| "try again in a moment".to_owned()))
            }
        }
    }
}
