//! One connection: its transactions, and what its errors mean for what comes after.
//!
//! It must not know what is read and written, nor how a database file comes to be.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use orch_core::ledger;
use rusqlite::{OptionalExtension, Params, Row, params};

use super::statements as sql;
use crate::error::Cause;
use crate::rows::{Fields, read_event};
use crate::{Breach, Recorded, Result, StoreError, Transaction};

/// What is done with the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Reads what is committed.
    Reader,
    /// Writes, one transaction at a time.
    Writer,
}

/// A connection to the database of `path`.
pub(super) struct Connection {
    inner: rusqlite::Connection,
    path: PathBuf,
    role: Role,
    /// The error after which nothing may be written, as text.
    stopped: Option<String>,
    /// What SQLite ended the transaction for, until the next one begins: what was being done, and
    /// the cause.
    ended_for: Option<(String, Cause)>,
}

/// Statements, whoever runs them.
pub(super) type Answer<T> = std::result::Result<T, Cause>;

impl Connection {
    pub(super) fn new(inner: rusqlite::Connection, path: &Path, role: Role) -> Self {
        Self {
            inner,
            path: path.to_owned(),
            role,
            stopped: None,
            ended_for: None,
        }
    }

    /// The database file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The connection as rusqlite has it.
    pub(super) const fn inner(&self) -> &rusqlite::Connection {
        &self.inner
    }

    /// Begins a transaction that nobody else can begin meanwhile.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.ended_for = None;
        let inner = &self.inner;
        let begun = match &self.stopped {
            Some(error) => Err(Cause::Stopped(error.clone())),
            None => execute(inner, "BEGIN IMMEDIATE", ()).map(drop),
        };
        begun.map_err(|cause| self.fail("beginning a transaction", cause))
    }

    /// Makes the transaction durable.
    pub(super) fn commit(&mut self) -> Result<()> {
        self.ask(
            || "committing".to_owned(),
            |inner| execute(inner, "COMMIT", ()).map(drop).map_err(unconfirmed),
        )
    }

    /// Whether an error came after which nothing may be written.
    pub(super) const fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Takes the transaction back, if one is open.
    pub(super) fn roll_back(&mut self) {
        if self.inner.is_autocommit() {
            return;
        }
        if let Err(error) = self.inner.execute_batch("ROLLBACK") {
            self.stopped.get_or_insert(format!("rolling back: {error}"));
        }
    }

    /// Begins or ends what makes several reads see the same moment.
    pub(super) fn hold(&mut self, hold: bool) -> Result<()> {
        let held = !self.inner.is_autocommit();
        if hold == held {
            return Ok(());
        }
        self.ask(
            || "reading".to_owned(),
            |inner| match hold {
                // The moment is that of the first read.
                true => {
                    execute(inner, "BEGIN", ())?;
                    first(inner, sql::STATE, (), |_| Ok(())).map(drop)
                }
                false => execute(inner, "COMMIT", ()).map(drop),
            },
        )
    }

    /// Runs statements and puts what was being done into their error.
    ///
    /// SQLite ends the whole transaction on some errors, after which every statement would commit
    /// by itself; so a writer outside its transaction does nothing any more. What is told of it
    /// from then on is the error that ended it: it alone says what can be done.
    pub(super) fn ask<T>(
        &mut self,
        doing: impl FnOnce() -> String,
        work: impl FnOnce(&rusqlite::Connection) -> Answer<T>,
    ) -> Result<T> {
        let outside = self.role == Role::Writer && self.inner.is_autocommit();
        let answer = match &self.stopped {
            Some(error) => Err(Cause::Stopped(error.clone())),
            None if outside => return Err(self.over(doing())),
            None => work(&self.inner),
        };
        answer.map_err(|cause| {
            let doing = doing();
            if self.role == Role::Writer && self.inner.is_autocommit() {
                let cause = cause.again().unwrap_or(Cause::RolledBack);
                self.ended_for = Some((doing.clone(), cause));
            }
            self.fail(doing, cause)
        })
    }

    /// Why nothing can be done in a transaction that SQLite has ended.
    fn over(&self, doing: String) -> StoreError {
        let first = self.ended_for.as_ref();
        let (doing, cause) = first
            .and_then(|(doing, cause)| Some((doing.clone(), cause.again()?)))
            .unwrap_or((doing, Cause::RolledBack));
        StoreError::new(doing, Some(&self.path), cause)
    }

    /// Up to `rows` facts whose number is greater than `after`, in order.
    pub(super) fn facts(&mut self, after: u64, rows: usize) -> Result<Vec<Recorded>> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        self.ask(
            || format!("reading the facts after {after}"),
            |inner| all(inner, &sql::EVENTS, params![after, limit(rows)], read_event),
        )
    }

    fn fail(&mut self, doing: impl Into<String>, cause: Cause) -> StoreError {
        let cause = match (self.role, cause) {
            (Role::Reader, Cause::ReadOnly(_)) => Breach::ReadOnly.into(),
            (_, cause) => cause,
        };
        let fatal = matches!(
            cause,
            Cause::Disk(_) | Cause::Unconfirmed(_) | Cause::Corrupt(_) | Cause::NotADatabase(_)
        );
        let error = StoreError::new(doing, Some(&self.path), cause);
        // After a failed fsync nobody knows what the disk holds; a second one that succeeds
        // would prove nothing. The database is opened anew or not at all.
        if fatal && self.role == Role::Writer {
            self.stopped = Some(format!("{error}: {}", error.cause()));
        }
        error
    }
}

/// A commit whose bytes were written and could not be made durable may be found by whoever opens
/// the database next.
fn unconfirmed(cause: Cause) -> Cause {
    match cause {
        Cause::Disk(error) => Cause::Unconfirmed(error),
        cause => cause,
    }
}

/// Runs a statement that returns nothing; says how many rows it changed.
pub(super) fn execute(
    inner: &rusqlite::Connection,
    statement: &str,
    params: impl Params,
) -> Answer<usize> {
    Ok(inner.prepare_cached(statement)?.execute(params)?)
}

/// The first row, if there is one.
pub(super) fn first<T>(
    inner: &rusqlite::Connection,
    statement: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Answer<Option<T>> {
    Ok(inner
        .prepare_cached(statement)?
        .query_row(params, read)
        .optional()?)
}

/// Every row.
pub(super) fn all<T>(
    inner: &rusqlite::Connection,
    statement: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Answer<Vec<T>> {
    let mut prepared = inner.prepare_cached(statement)?;
    let rows = prepared.query_map(params, read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Reads a single id or word.
pub(super) fn word<T: FromStr<Err: Display>>(row: &Row<'_>) -> rusqlite::Result<T> {
    Fields::new(row).word()
}

/// A page length as SQLite wants it.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

impl Transaction for Connection {
    fn mark(&mut self) -> ledger::Result<()> {
        Ok(self.ask(
            || "setting a mark".to_owned(),
            |inner| execute(inner, "SAVEPOINT part", ()).map(drop),
        )?)
    }

    fn keep(&mut self) -> ledger::Result<()> {
        Ok(self.ask(
            || "keeping a part".to_owned(),
            |inner| execute(inner, "RELEASE part", ()).map(drop),
        )?)
    }

    fn undo(&mut self) -> ledger::Result<()> {
        Ok(self.ask(
            || "undoing a part".to_owned(),
            |inner| {
                execute(inner, "ROLLBACK TO part", ())?;
                execute(inner, "RELEASE part", ()).map(drop)
            },
        )?)
    }

    fn facts_after(&mut self, after: u64) -> ledger::Result<Vec<Recorded>> {
        Ok(self.facts(after, usize::MAX)?)
    }
}
