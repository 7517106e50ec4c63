//! From a path to a connection that can be trusted: making the file, looking at what is there,
//! refusing what is not ours.
//!
//! It must not know what the rows mean.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;

use super::connection::{Connection, Role, execute, first};
use super::migrate::{self, Steps};
use super::{batch, schema, statements as sql};
use crate::error::Cause;
use crate::{Result, StoreError};

/// The first version without the bug that can lose commits when the log starts anew while another
/// connection is open.
const NEEDED_LIBRARY: (&str, i32) = ("3.51.3", 3_051_003);

/// How long to wait for another process, such as somebody's `sqlite3`, to let go of the database.
/// The daemon's loop stands still meanwhile, and what waits for it has seconds.
const BUSY_MS: u64 = 5_000;

/// Prepared statements kept per connection; there are fewer.
const STATEMENTS: usize = 128;

/// What every SQLite file begins with.
const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// What was found when a database was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opening {
    /// There was no file; this one is new.
    pub created: bool,
    /// The file had this older version and was brought up to date.
    pub migrated_from: Option<u32>,
    /// The copy from before that.
    pub backup: Option<PathBuf>,
    /// The last writer did not close the database. It was checked and is whole.
    pub unclean_stop: bool,
    /// The last writer did not close the database, and its write-ahead log is not there. If
    /// another program did not fold it in, the last facts are lost with it.
    pub log_missing: bool,
}

type Answer<T> = std::result::Result<T, Cause>;

/// Opens the database for writing; with `create` makes it if there is no file.
pub(super) fn open(path: &Path, create: bool) -> Result<(Connection, Opening)> {
    let fail = |cause| StoreError::new("opening the database", Some(path), cause);
    let opened = check_library()
        .and_then(|()| prepare(path, create))
        .and_then(|created| connect(path, created, &migrate::STEPS));
    let (inner, opening) = opened.map_err(fail)?;
    Ok((Connection::new(inner, path, Role::Writer), opening))
}

/// Opens the database for reading.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    let fail = |cause| StoreError::new("opening the database for reading", Some(path), cause);
    let connect = || {
        let inner = raw(path)?;
        // A reader must never fold the log into the database, not even as the last to leave.
        inner.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        batch(&inner, "PRAGMA query_only = ON")?;
        Ok(inner)
    };
    let inner = connect().map_err(fail)?;
    Ok(Connection::new(inner, path, Role::Reader))
}

fn check_library() -> Answer<()> {
    let (needed, number) = NEEDED_LIBRARY;
    if rusqlite::version_number() < number {
        return Err(Cause::LibraryTooOld {
            found: rusqlite::version(),
            needed,
        });
    }
    Ok(())
}

/// The file beside the database that holds what was committed last.
pub fn log_of(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// `path` with `ending` behind its name.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Looks at what is at `path` before SQLite does, because SQLite takes an empty file for a new
/// database. Makes the database if there is nothing and `create` says so; returns whether it did.
fn prepare(path: &Path, create: bool) -> Answer<bool> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let log = log_of(path);
            return match (log.exists(), create) {
                (true, _) => Err(Cause::LogAlone(log)),
                (false, true) => make(path).map(|()| true),
                (false, false) => Err(Cause::Missing),
            };
        }
        Err(error) => return Err(error.into()),
    };
    if file.metadata()?.len() == 0 {
        return Err(Cause::Empty);
    }
    let mut header = [0; HEADER.len()];
    match file.read_exact(&mut header) {
        Ok(()) if &header == HEADER => Ok(false),
        _ => Err(Cause::NotADatabase(
            "it does not begin as a SQLite file does".to_owned(),
        )),
    }
}

/// Makes the database under another name and renames it when it is whole, so that a stop in
/// between leaves nothing that looks like a damaged database.
fn make(path: &Path) -> Answer<()> {
    let new = beside(path, ".new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    private_file(&new)?;
    let inner = raw(&new)?;
    batch(&inner, "PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE")?;
    batch(&inner, &schema::creation())?;
    inner.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
    inner.pragma_update(None, "user_version", schema::VERSION)?;
    batch(&inner, "COMMIT")?;
    inner.close().map_err(|(_, error)| error)?;
    File::open(&new)?.sync_all()?;
    std::fs::rename(&new, path)?;
    sync_directory(path)
}

/// Makes an empty file that only its owner can read. It must not exist.
pub(super) fn private_file(path: &Path) -> Answer<()> {
    const PRIVATE: u32 = 0o600;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(path)?;
    Ok(file.set_permissions(Permissions::from_mode(PRIVATE))?)
}

/// Makes the name of a new file as durable as its bytes.
pub(super) fn sync_directory(path: &Path) -> Answer<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok(File::open(directory)?.sync_all()?)
}

/// A connection to a file that exists, with what every connection has.
fn raw(path: &Path) -> Answer<rusqlite::Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let inner = rusqlite::Connection::open_with_flags(path, flags)?;
    inner.busy_timeout(Duration::from_millis(BUSY_MS))?;
    inner.set_prepared_statement_cache_capacity(STATEMENTS);
    // Otherwise SQLite compiles a prepared statement anew whenever other values are bound to it,
    // to choose a better plan for them. The plans here do not depend on values.
    inner.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // The cache holds what a transaction touches many times over; what is beyond it comes from the
    // system's own at the price of a copy. Larger, it would fill for days and look like a leak.
    // The file lies in somebody's repository: what its schema says is not trusted more than needed.
    batch(
        &inner,
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -4096",
    )?;
    Ok(inner)
}

/// Opens what [`prepare`] found, and does to it what must be done before the first row is read.
pub(super) fn connect(
    path: &Path,
    created: bool,
    steps: &Steps,
) -> Answer<(rusqlite::Connection, Opening)> {
    // Opening the file makes a log, so this is looked at first.
    let had_log = log_of(path).exists();
    let inner = raw(path)?;
    let found = migrate::version(&inner)?;
    let migration = migrate::needed(found, steps)?;
    make_durable(&inner)?;
    // An older version may not have the note; its steps begin with a check of the whole file.
    let backup = match migration {
        Some(from) => {
            check_pages(&inner)?;
            Some(migrate::bring_up(&inner, path, from, steps)?)
        }
        None => None,
    };
    batch(&inner, "PRAGMA foreign_keys = ON")?;
    let open: bool = first(&inner, sql::STATE, (), |row| row.get(0))?.unwrap_or(true);
    if open && migration.is_none() {
        check_pages(&inner)?;
    }
    note_open(&inner, true)?;
    // The note goes to the database itself: it must be there even if the log is not.
    first(&inner, "PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
    let opening = Opening {
        created,
        migrated_from: migration,
        backup,
        unclean_stop: open,
        log_missing: open && !had_log,
    };
    Ok((inner, opening))
}

/// What was committed must survive a power failure, and readers must not stop the writer.
fn make_durable(inner: &rusqlite::Connection) -> Answer<()> {
    let mode: Option<String> = first(inner, "PRAGMA journal_mode = WAL", (), |row| row.get(0))?;
    if mode.as_deref() != Some("wal") {
        return Err(Cause::NoLog(mode.unwrap_or_default()));
    }
    batch(
        inner,
        "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;
         PRAGMA journal_size_limit = 67108864",
    )
}

/// Notes whether a writer has the database open.
pub(super) fn note_open(inner: &rusqlite::Connection, open: bool) -> Answer<()> {
    execute(inner, sql::SET_STATE, [open]).map(drop)
}

/// Asks SQLite whether the database at `path` is whole.
pub(super) fn check(path: &Path) -> Result<()> {
    let fail = |cause| StoreError::new("checking the database", Some(path), cause);
    let connection = open_reader(path)?;
    // An empty file has no page that is not whole.
    migrate::version(connection.inner()).map_err(fail)?;
    check_pages(connection.inner()).map_err(fail)
}

/// Moves what is in the log into the database, as far as no reader needs it. Done before closing,
/// for a log whose name somebody has removed is gone with the last descriptor.
pub(super) fn fold_log(inner: &rusqlite::Connection) -> Answer<()> {
    first(inner, "PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(())).map(drop)
}

/// Sees to it that closing writes nothing.
pub(super) fn leave_log(inner: &rusqlite::Connection) -> Answer<()> {
    inner.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// Asks SQLite whether the file is whole.
fn check_pages(inner: &rusqlite::Connection) -> Answer<()> {
    let said: Option<String> = first(inner, "PRAGMA quick_check(1)", (), |row| row.get(0))?;
    match said.as_deref() {
        Some("ok") => Ok(()),
        said => Err(Cause::Corrupt(
            said.unwrap_or("it cannot be checked").to_owned(),
        )),
    }
}
