//! From an older version of the schema to the one this program writes.
//!
//! A migration is one transaction, and a copy of the file from before lies beside it. It must not
//! know any row: a step is SQL and nothing else.

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::types::{ToSqlOutput, ValueRef};

use super::connection::{execute, first};
use super::open::{beside, private_file, sync_directory};
use super::{batch, schema};
use crate::error::Cause;

type Answer<T> = Result<T, Cause>;

/// What turns a database of version `from` into one of the version after it.
pub(super) struct Step {
    /// The version it is for.
    pub(super) from: u32,
    /// The statements.
    pub(super) sql: &'static str,
}

/// Every step there is, oldest first and without gaps, and the version they lead to.
pub(super) struct Steps {
    /// The steps.
    pub(super) steps: &'static [Step],
    /// The version after the last one.
    pub(super) current: u32,
}

/// The steps of this program. Version 1 is the first.
pub(super) const STEPS: Steps = Steps {
    steps: &[
        Step {
            from: 1,
            // Nobody knows any more in which boot a run was recorded that is there already.
            sql: "ALTER TABLE run ADD COLUMN boot TEXT",
        },
        Step {
            from: 2,
            sql: include_str!("version-2-to-3.sql"),
        },
        Step {
            from: 3,
            sql: include_str!("version-3-to-4.sql"),
        },
    ],
    current: schema::VERSION,
};

/// Copies beside one database before nobody cleans up any more.
const BACKUPS: u32 = 1_000;

/// The version of a database that is ours.
pub(super) fn version(inner: &rusqlite::Connection) -> Answer<i64> {
    let pragma = |name| inner.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = pragma("application_id")?;
    if application != schema::APPLICATION_ID {
        return Err(Cause::NotADatabase(format!(
            "it is a SQLite database of another program (application id {application:#x})"
        )));
    }
    Ok(pragma("user_version")?)
}

/// The version to migrate from; `None` if the database is up to date.
pub(super) fn needed(found: i64, steps: &Steps) -> Answer<Option<u32>> {
    let oldest = steps.steps.first().map_or(steps.current, |step| step.from);
    match u32::try_from(found) {
        Ok(found) if found == steps.current => Ok(None),
        Ok(found) if found >= oldest && found < steps.current => Ok(Some(found)),
        Ok(found) if found < oldest => Err(Cause::TooOld {
            found: found.into(),
            oldest,
        }),
        _ => Err(Cause::TooNew {
            found,
            supported: steps.current,
        }),
    }
}

/// Migrates from version `from`; returns where the copy from before is.
pub(super) fn bring_up(
    inner: &rusqlite::Connection,
    path: &Path,
    from: u32,
    steps: &Steps,
) -> Answer<PathBuf> {
    let backup = backup_path(path, from)?;
    copy(inner, &backup)?;
    // Rebuilding a table that others point to needs this, and it only works outside a transaction.
    batch(inner, "PRAGMA foreign_keys = OFF; BEGIN EXCLUSIVE")?;
    let migrated = apply(inner, from, steps);
    match &migrated {
        Ok(()) => batch(inner, "COMMIT")?,
        Err(_) => batch(inner, "ROLLBACK")?,
    }
    migrated.map(|()| backup)
}

fn apply(inner: &rusqlite::Connection, from: u32, steps: &Steps) -> Answer<()> {
    for step in steps.steps.iter().filter(|step| step.from >= from) {
        batch(inner, step.sql)?;
    }
    let dangling = first(inner, "PRAGMA foreign_key_check", (), |row| {
        row.get::<_, String>(0)
    })?;
    if let Some(table) = dangling {
        return Err(Cause::Corrupt(format!(
            "a row of table {table} points nowhere"
        )));
    }
    Ok(inner.pragma_update(None, "user_version", steps.current)?)
}

/// A name for the copy that is not taken: an older copy is never written over.
fn backup_path(path: &Path, version: u32) -> Answer<PathBuf> {
    let name = |number| match number {
        1 => beside(path, &format!(".v{version}.backup")),
        _ => beside(path, &format!(".v{version}.backup-{number}")),
    };
    let free = (1..=BACKUPS).map(name).find(|path| !path.exists());
    free.ok_or_else(|| {
        let taken = std::io::ErrorKind::AlreadyExists;
        std::io::Error::new(
            taken,
            format!("there are {BACKUPS} copies beside it already"),
        )
        .into()
    })
}

/// Writes a copy of the database to a new file, durably.
pub(super) fn copy(inner: &rusqlite::Connection, to: &Path) -> Answer<()> {
    private_file(to)?;
    let path = ValueRef::Text(to.as_os_str().as_encoded_bytes());
    execute(inner, "VACUUM INTO ?1", [ToSqlOutput::Borrowed(path)])?;
    File::open(to)?.sync_all()?;
    sync_directory(to)
}
