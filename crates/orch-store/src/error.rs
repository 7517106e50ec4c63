//! What can go wrong with a store, so that the caller can tell a full disk from a bug.

use std::fmt;
use std::path::{Path, PathBuf};

use orch_core::ledger::LedgerError;
use orch_core::{RunId, TaskId};

/// Why a store could not do what it was asked: what was being done, where, and the cause.
#[derive(Debug)]
pub struct StoreError {
    doing: String,
    path: Option<PathBuf>,
    cause: Cause,
}

impl StoreError {
    pub(crate) fn new(doing: impl Into<String>, path: Option<&Path>, cause: Cause) -> Self {
        Self {
            doing: doing.into(),
            path: path.map(Path::to_owned),
            cause,
        }
    }

    /// What went wrong.
    #[must_use]
    pub const fn cause(&self) -> &Cause {
        &self.cause
    }

    /// The database file, unless the store has none.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The rule that was about to be broken, if that is what went wrong.
    #[must_use]
    pub const fn breach(&self) -> Option<&Breach> {
        match &self.cause {
            Cause::Breach(breach) => Some(breach),
            _ => None,
        }
    }

    /// Whether the same again can succeed once there is room on the disk.
    #[must_use]
    pub const fn is_disk_full(&self) -> bool {
        matches!(self.cause, Cause::DiskFull(_) | Cause::WriteRefused(_))
    }

    /// Whether this user may not read or write what is there.
    #[must_use]
    pub fn is_not_allowed(&self) -> bool {
        match &self.cause {
            Cause::ReadOnly(_) => true,
            Cause::File(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }

    /// Whether the same again can succeed once another process lets go of the database.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        matches!(self.cause, Cause::Busy(_))
    }

    /// Whether SQLite had ended the transaction before, nobody knows why.
    #[must_use]
    pub const fn is_rolled_back(&self) -> bool {
        matches!(self.cause, Cause::RolledBack)
    }

    /// Whether what is on the disk cannot be trusted.
    #[must_use]
    pub const fn is_corrupt(&self) -> bool {
        matches!(
            self.cause,
            Cause::Corrupt(_) | Cause::NotADatabase(_) | Cause::Empty | Cause::LogAlone(_)
        )
    }

    /// Whether the writer refuses everything from now on, so that trying again is of no use: the
    /// database must be opened anew, which checks it.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        matches!(
            self.cause,
            Cause::Stopped(_) | Cause::Disk(_) | Cause::Unconfirmed(_)
        ) || self.is_corrupt()
    }

    /// Whether nobody can know, before the database is opened anew, if the transaction is stored.
    #[must_use]
    pub const fn is_unconfirmed(&self) -> bool {
        matches!(self.cause, Cause::Unconfirmed(_))
    }

    /// The store's own error inside one that went through the core.
    #[must_use]
    pub fn inside(error: &LedgerError) -> Option<&Self> {
        error.source.downcast_ref()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{} in {}", self.doing, path.display()),
            None => f.write_str(&self.doing),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

impl From<StoreError> for LedgerError {
    fn from(error: StoreError) -> Self {
        Self {
            doing: "the store failed".to_owned(),
            source: Box::new(error),
        }
    }
}

impl From<LedgerError> for StoreError {
    fn from(error: LedgerError) -> Self {
        match error.source.downcast() {
            Ok(own) => *own,
            Err(foreign) => Self::new(error.doing, None, Cause::Foreign(foreign)),
        }
    }
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The row does not fit.
    #[error(transparent)]
    Breach(#[from] Breach),
    /// No room on the disk. Nothing of the transaction is stored.
    #[error("the disk is full")]
    DiskFull(#[source] rusqlite::Error),
    /// The disk took no bytes for another reason than that it is full: a quota, or a limit on the
    /// size of files. Nothing of the transaction is stored, and nothing before it is in doubt.
    #[error("the disk refused to write")]
    WriteRefused(#[source] rusqlite::Error),
    /// Another process holds the database, for longer than this one waits.
    #[error("another process holds the database locked")]
    Busy(#[source] rusqlite::Error),
    /// What is on the disk contradicts itself.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// The file or its file system may not be written.
    #[error("the database may not be written")]
    ReadOnly(#[source] rusqlite::Error),
    /// The disk refused to read or write. What it holds now is unknown.
    #[error("the disk failed")]
    Disk(#[source] rusqlite::Error),
    /// The disk failed while the transaction was made durable. Its rows may be on the disk or not;
    /// that shows when the database is opened anew.
    #[error("the disk failed while this was made durable; nobody knows whether it is recorded")]
    Unconfirmed(#[source] rusqlite::Error),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// An error came before this one after which nothing may be written: the disk failed, what is
    /// there is damaged, or the transaction could not be rolled back.
    #[error("nothing more is written after an earlier error: {0}")]
    Stopped(String),
    /// The file is something else.
    #[error("the file is not an orch database: {0}")]
    NotADatabase(String),
    /// The file is there and holds nothing.
    #[error("the file is empty; it was truncated, or something else made it")]
    Empty,
    /// The database is gone and its write-ahead log is still there.
    #[error(
        "the database file is gone, but its write-ahead log {} is there: put the database back, \
         or move the log away to begin anew", .0.display()
    )]
    LogAlone(PathBuf),
    /// There is no database.
    #[error("there is no such file")]
    Missing,
    /// A newer orch made it.
    #[error(
        "the database has schema version {found}, and this orch knows versions up to {supported}: \
         use the newer orch again"
    )]
    TooNew {
        /// The version of the file.
        found: i64,
        /// The newest version this program knows.
        supported: u32,
    },
    /// It is older than any version that can be brought up to date.
    #[error(
        "the database has schema version {found}, and this orch can migrate versions from {oldest} \
         on: migrate it with an older orch first"
    )]
    TooOld {
        /// The version of the file.
        found: i64,
        /// The oldest version this program can migrate.
        oldest: u32,
    },
    /// The SQLite library has a known bug that loses commits.
    #[error("the SQLite library is version {found}, and at least {needed} is needed")]
    LibraryTooOld {
        /// The version that is linked.
        found: &'static str,
        /// The first version without the bug.
        needed: &'static str,
    },
    /// The file system cannot do what a write-ahead log needs.
    #[error("no write-ahead log is possible here (journal mode '{0}'): use a local file system")]
    NoLog(String),
    /// SQLite took the whole transaction back after an earlier error in it.
    #[error("the transaction was rolled back after an earlier error in it")]
    RolledBack,
    /// SQLite said something else.
    #[error(transparent)]
    Sql(rusqlite::Error),
    /// An error that is not of this crate.
    #[error(transparent)]
    Foreign(Box<dyn std::error::Error + Send + Sync>),
}

impl Cause {
    /// The same cause once more, where SQLite said it.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::DiskFull(error)
            | Self::WriteRefused(error)
            | Self::Busy(error)
            | Self::ReadOnly(error)
            | Self::Disk(error)
            | Self::Sql(error) => match error {
                rusqlite::Error::SqliteFailure(code, words) => {
                    Some(rusqlite::Error::SqliteFailure(*code, words.clone()).into())
                }
                _ => None,
            },
            _ => None,
        }
    }
}

impl From<rusqlite::Error> for Cause {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        match (&error, error.sqlite_error_code()) {
            (_, Some(Code::DiskFull)) => Self::DiskFull(error),
            (_, Some(Code::DatabaseBusy | Code::DatabaseLocked)) => Self::Busy(error),
            (_, Some(Code::DatabaseCorrupt)) => Self::Corrupt(error.to_string()),
            (_, Some(Code::NotADatabase)) => Self::NotADatabase(error.to_string()),
            (_, Some(Code::ReadOnly | Code::PermissionDenied)) => Self::ReadOnly(error),
            (_, Some(Code::SystemIoFailure)) if is_write(&error) => Self::WriteRefused(error),
            (_, Some(Code::SystemIoFailure)) => Self::Disk(error),
            // A value of a type or a word that this program never writes.
            (
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::Utf8Error(..),
                _,
            ) => Self::Corrupt(error.to_string()),
            _ => Self::Sql(error),
        }
    }
}

/// Whether it was a write that failed, of which the system says so at once. A failed read or
/// flush tells nothing about what the disk holds.
fn is_write(error: &rusqlite::Error) -> bool {
    let error = error.sqlite_error();
    error.is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE)
}

/// A row that would not fit the rows that are there. The caller has a bug or lost a race.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// The id is taken.
    #[error("task {0} exists already")]
    TaskExists(TaskId),
    /// There is no such task.
    #[error("there is no task {0}")]
    NoTask(TaskId),
    /// A task cannot wait for itself.
    #[error("task {0} would wait for itself")]
    WaitsForItself(TaskId),
    /// Deleting it would leave tasks that wait for nothing.
    #[error("other tasks wait for task {0}")]
    HasDependants(TaskId),
    /// The task has a run that has not ended.
    #[error("task {0} has a run that has not ended")]
    HasLiveRun(TaskId),
    /// The count of unmet dependencies would fall below 0.
    #[error("a task that waits for {0} has no unmet dependency left to count down")]
    NothingUnmet(TaskId),
    /// The id is taken.
    #[error("run {0} exists already")]
    RunExists(RunId),
    /// There is no such run of that task.
    #[error("there is no run {0} of that task")]
    NoRun(RunId),
    /// Terminal is final.
    #[error("run {0} has ended, and that is final")]
    RunEnded(RunId),
    /// A failure without evidence, or another gap that the types do not rule out.
    #[error("the row is not whole: {0}")]
    NotWhole(String),
    /// A reader was asked to write.
    #[error("this view of the store can only be read")]
    ReadOnly,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_read_is_not_allowed_and_what_is_broken_is_not_that() {
        let of = |cause| StoreError::new("opening the database", None, cause);
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert!(of(Cause::File(denied)).is_not_allowed());
        let other = std::io::Error::other("x");
        assert!(!of(Cause::File(other)).is_not_allowed());
        assert!(!of(Cause::Corrupt("x".to_owned())).is_not_allowed());
    }
}
