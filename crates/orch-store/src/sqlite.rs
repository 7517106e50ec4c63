//! The store in one SQLite file.
//!
//! One connection writes, in WAL mode with `synchronous=FULL`: what was committed survives a
//! power failure. Readers have connections of their own that cannot write. This module must not
//! know which process owns the file: whoever opens a [`SqliteStore`] holds the lock on the state
//! directory, so that there is one writer.

mod connection;
mod ledger;
mod migrate;
mod open;
mod reader;
mod schema;
mod statements;

use std::path::Path;

use orch_core::ledger::LedgerError;

use crate::error::Cause;
use crate::{Reader, Result, Store, StoreError, Transaction};
use connection::Connection;
use reader::SqliteReader;

pub use open::{Opening, log_of};

/// A store in one SQLite file. Dropping it closes the file; [`SqliteStore::close`] also says
/// whether that went well.
pub struct SqliteStore {
    connection: Connection,
    opening: Opening,
    closed: bool,
}

impl SqliteStore {
    /// Opens the database, or makes one if there is no file. The directory must exist. A database
    /// of an older version is brought up to date, after a copy of it was put beside it.
    ///
    /// # Errors
    /// The file is empty, not a database of orch, of a version this program does not know, or
    /// damaged; it or its directory cannot be read and written; the SQLite library is too old.
    /// Whatever is wrong, nothing is ever begun anew over what is there.
    pub fn open(path: &Path) -> Result<Self> {
        open::open(path, true).map(Self::new)
    }

    /// Opens the database as [`SqliteStore::open`] does, but never makes one.
    ///
    /// # Errors
    /// There is no file, or as for [`SqliteStore::open`].
    pub fn open_existing(path: &Path) -> Result<Self> {
        open::open(path, false).map(Self::new)
    }

    fn new((connection, opening): (Connection, Opening)) -> Self {
        Self {
            connection,
            opening,
            closed: false,
        }
    }

    /// What was found when the file was opened.
    #[must_use]
    pub const fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Writes a copy of the database as it is now to `to`, durably and readable for its owner
    /// only.
    ///
    /// # Errors
    /// `to` exists, or the disk is full, or the copy could not be written.
    pub fn back_up(&self, to: &Path) -> Result<()> {
        let path = self.connection.path();
        migrate::copy(self.connection.inner(), to).map_err(|cause| {
            StoreError::new(
                format!("copying to {} what is", to.display()),
                Some(path),
                cause,
            )
        })
    }

    /// Closes the database and notes that this was on purpose.
    ///
    /// # Errors
    /// The note could not be written. What was committed is safe all the same.
    pub fn close(mut self) -> Result<()> {
        self.note_close()
    }

    fn note_close(&mut self) -> Result<()> {
        self.closed = true;
        if self.connection.is_stopped() {
            // Not a byte more: the next start checks the file and reads what is in the log.
            return open::leave_log(self.connection.inner())
                .map_err(|cause| StoreError::new("closing", Some(self.connection.path()), cause));
        }
        open::note_open(self.connection.inner(), false)
            .and_then(|()| open::fold_log(self.connection.inner()))
            .map_err(|cause| StoreError::new("closing", Some(self.connection.path()), cause))
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        if !self.closed {
            // Without the note the next start checks the file; nothing is lost.
            drop(self.note_close());
        }
    }
}

/// Rolls back whatever is not committed when it goes, also when `work` panics.
struct Guard<'a>(&'a mut Connection);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.roll_back();
    }
}

impl Store for SqliteStore {
    fn transact<T, E: From<LedgerError>>(
        &mut self,
        work: impl FnOnce(&mut dyn Transaction) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.connection.begin().map_err(LedgerError::from)?;
        let guard = Guard(&mut self.connection);
        let value = work(&mut *guard.0)?;
        guard.0.commit().map_err(LedgerError::from)?;
        Ok(value)
    }

    fn reader(&self) -> Result<Box<dyn Reader>> {
        open_reader(self.connection.path())
    }
}

/// Opens a reader of the database at `path`, which must be open for writing somewhere.
///
/// # Errors
/// The file cannot be read.
pub fn open_reader(path: &Path) -> Result<Box<dyn Reader>> {
    let connection = open::open_reader(path)?;
    Ok(Box::new(SqliteReader::new(connection)))
}

/// The version of SQLite that is built in.
#[must_use]
pub fn library_version() -> &'static str {
    rusqlite::version()
}

/// Reads the whole database at `path` and compares its pages and indexes. May take long.
///
/// # Errors
/// It cannot be read, or it is damaged.
pub fn check(path: &Path) -> Result<()> {
    open::check(path)
}

/// Runs statements that take no values and return nothing worth keeping.
fn batch(inner: &rusqlite::Connection, statements: &str) -> std::result::Result<(), Cause> {
    Ok(inner.execute_batch(statements)?)
}

#[cfg(test)]
mod tests;
