//! Making, refusing, migrating and closing the file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use orch_core::task::TaskState;

use super::{Place, commit, fill, task};
use crate::error::Cause;
use crate::sqlite::migrate::{Step, Steps};
use crate::sqlite::{SqliteStore, open, schema};
use crate::{Store, StoreError, TaskFilter};

/// The error of opening what is at `path`, which must name it.
fn refused(path: &Path) -> StoreError {
    match SqliteStore::open(path) {
        Ok(_) => panic!("it was opened"),
        Err(error) => {
            assert!(
                error.to_string().contains(&path.display().to_string()),
                "{error}"
            );
            error
        }
    }
}

fn how_many(store: &SqliteStore) -> usize {
    store
        .reader()
        .unwrap()
        .tasks(&TaskFilter::default())
        .unwrap()
        .len()
}

/// The files of a database in use, as they would be after the writer was killed.
fn killed(place: &Place, with_log: bool) -> Place {
    let copy = Place::new();
    std::fs::copy(place.path(), copy.path()).unwrap();
    if with_log {
        std::fs::copy(
            open::beside(&place.path(), "-wal"),
            open::beside(&copy.path(), "-wal"),
        )
        .unwrap();
    }
    copy
}

#[test]
fn a_new_database_is_private_and_says_that_it_is_new() {
    let place = Place::new();
    let store = place.open();
    assert!(store.opening().created);
    let mode = std::fs::metadata(place.path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    store.close().unwrap();
    assert_eq!(place.files(), ["orch.db"], "nothing else stays");
    let again = place.open();
    assert_eq!(*again.opening(), open::Opening::default());
}

#[test]
fn what_is_left_of_an_earlier_attempt_to_make_it_is_no_hindrance() {
    let place = Place::new();
    std::fs::write(open::beside(&place.path(), ".new"), "half").unwrap();
    drop(place.open());
    assert_eq!(place.files(), ["orch.db"]);
}

#[test]
fn open_existing_never_makes_one() {
    let place = Place::new();
    let error = SqliteStore::open_existing(&place.path()).err().unwrap();
    assert!(matches!(error.cause(), Cause::Missing));
    assert_eq!(place.files(), [""; 0]);
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let place = Place::new();
    let error = refused(&place.directory.path().join("gone/orch.db"));
    assert!(
        matches!(error.cause(), Cause::File(_)),
        "{:?}",
        error.cause()
    );
}

#[test]
fn an_empty_file_is_not_a_new_database() {
    let place = Place::new();
    std::fs::write(place.path(), "").unwrap();
    let error = refused(&place.path());
    assert!(matches!(error.cause(), Cause::Empty));
    assert!(error.is_corrupt());
    assert_eq!(
        std::fs::read(place.path()).unwrap(),
        b"",
        "it stays as it is"
    );
}

#[test]
fn a_file_that_is_not_a_database_is_refused() {
    let place = Place::new();
    for text in ["x", "# orch.db\n", &"SQLite format 4\0".repeat(99)] {
        std::fs::write(place.path(), text).unwrap();
        let error = refused(&place.path());
        assert!(
            matches!(error.cause(), Cause::NotADatabase(_)),
            "{:?}",
            error.cause()
        );
        assert_eq!(
            std::fs::read(place.path()).unwrap(),
            text.as_bytes(),
            "it stays as it is"
        );
    }
}

#[test]
fn a_database_of_another_program_is_refused() {
    let place = Place::new();
    place.raw().execute_batch("CREATE TABLE task (id)").unwrap();
    let error = refused(&place.path());
    assert!(
        matches!(error.cause(), Cause::NotADatabase(_)),
        "{:?}",
        error.cause()
    );
}

/// Promise 26.
#[test]
fn old_binary_refuses_newer_schema() {
    let place = Place::new();
    fill(&mut place.open());
    place.raw().pragma_update(None, "user_version", 7).unwrap();
    let before = std::fs::read(place.path()).unwrap();
    let error = refused(&place.path());
    let said = error.cause().to_string();
    assert!(
        said.contains("version 7") && said.contains("up to 4"),
        "{said}"
    );
    assert_eq!(std::fs::read(place.path()).unwrap(), before);
}

#[test]
fn an_older_schema_without_a_way_is_refused_by_its_number() {
    let place = Place::new();
    drop(place.open());
    place.raw().pragma_update(None, "user_version", 0).unwrap();
    let said = refused(&place.path()).cause().to_string();
    assert!(
        said.contains("version 0") && said.contains("from 1 on"),
        "{said}"
    );
    place.raw().pragma_update(None, "user_version", -3).unwrap();
    assert!(
        refused(&place.path())
            .cause()
            .to_string()
            .contains("version -3")
    );
}

#[test]
fn a_truncated_database_is_refused() {
    let place = Place::new();
    fill(&mut place.open());
    let bytes = std::fs::read(place.path()).unwrap();
    for length in [20, 100, 4_096, bytes.len() / 2] {
        std::fs::write(place.path(), &bytes[..length]).unwrap();
        let error = refused(&place.path());
        assert!(error.is_corrupt(), "{length} bytes: {:?}", error.cause());
    }
}

#[test]
fn a_log_without_its_database_is_not_begun_anew() {
    let place = Place::new();
    let mut store = place.open();
    fill(&mut store);
    let copy = killed(&place, true);
    std::fs::remove_file(copy.path()).unwrap();
    let error = refused(&copy.path());
    assert!(matches!(error.cause(), Cause::LogAlone(_)));
    assert!(error.cause().to_string().contains("orch.db-wal"));
}

/// Promise 22.
#[test]
fn acknowledged_means_durable() {
    let place = Place::new();
    let mut store = place.open();
    fill(&mut store);
    let copy = killed(&place, true);
    let again = copy.open();
    assert!(again.opening().unclean_stop && !again.opening().log_missing);
    assert_eq!(how_many(&again), 11);
    again.close().unwrap();
    assert!(!copy.open().opening().unclean_stop);
}

#[test]
fn a_log_that_is_missing_after_a_kill_is_told() {
    let place = Place::new();
    let mut store = place.open();
    fill(&mut store);
    let copy = killed(&place, false);
    let again = copy.open();
    assert!(again.opening().unclean_stop && again.opening().log_missing);
    assert_eq!(how_many(&again), 0, "the facts were in the log");
}

#[test]
fn a_damaged_page_is_found_after_a_kill() {
    let place = Place::new();
    fill(&mut place.open());
    place
        .raw()
        .execute_batch("UPDATE store_state SET open = 1")
        .unwrap();
    let page: i64 = place
        .raw()
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'run'",
            (),
            |row| row.get(0),
        )
        .unwrap();
    let mut bytes = std::fs::read(place.path()).unwrap();
    let start = (usize::try_from(page).unwrap() - 1) * 4_096;
    bytes[start..start + 4_096].fill(0);
    std::fs::write(place.path(), bytes).unwrap();
    let error = refused(&place.path());
    assert!(error.is_corrupt(), "{:?}", error.cause());
}

const ONE_MORE: Steps = Steps {
    steps: &[
        Step {
            from: 4,
            sql: "ALTER TABLE task ADD COLUMN goal TEXT; UPDATE task SET goal = 'g';",
        },
        Step {
            from: 5,
            sql: "ALTER TABLE task RENAME COLUMN goal TO aim;",
        },
    ],
    current: 6,
};

#[test]
fn an_older_database_is_migrated_and_a_copy_lies_beside_it() {
    let place = Place::new();
    fill(&mut place.open());
    let (inner, opening) = open::connect(&place.path(), false, &ONE_MORE).unwrap();
    assert_eq!(opening.migrated_from, Some(4));
    let aims: i64 = inner
        .query_row("SELECT count(*) FROM task WHERE aim = 'g'", (), |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(aims, 11);
    drop(inner);

    let backup = opening.backup.unwrap();
    assert_eq!(backup, open::beside(&place.path(), ".v4.backup"));
    let mode = std::fs::metadata(&backup).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(how_many(&SqliteStore::open_existing(&backup).unwrap()), 11);

    let (_, opening) = open::connect(&place.path(), false, &ONE_MORE).unwrap();
    assert_eq!(opening.migrated_from, None);
    assert!(matches!(
        refused(&place.path()).cause(),
        Cause::TooNew { found: 6, .. }
    ));
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    const BROKEN: Steps = Steps {
        steps: &[Step {
            from: 4,
            sql: "ALTER TABLE task ADD COLUMN goal TEXT; INSERT INTO nowhere VALUES (1);",
        }],
        current: 5,
    };
    const DANGLING: Steps = Steps {
        steps: &[Step {
            from: 4,
            sql: "DELETE FROM dependency WHERE needs <> ''; DROP TRIGGER task_outlives_its_run;
                  DROP TRIGGER run_goes_with_its_task; DELETE FROM task;",
        }],
        current: 5,
    };
    let place = Place::new();
    fill(&mut place.open());
    for steps in [&BROKEN, &DANGLING] {
        assert!(open::connect(&place.path(), false, steps).is_err());
    }
    assert_eq!(how_many(&place.open()), 11);
    let backups = place
        .files()
        .into_iter()
        .filter(|name| name.contains("backup"));
    assert_eq!(backups.count(), 2, "a copy is never written over");
}

#[test]
fn a_backup_is_whole_and_never_replaces_a_file() {
    let place = Place::new();
    let mut store = place.open();
    fill(&mut store);
    let to = place.directory.path().join("copy.db");
    store.back_up(&to).unwrap();
    commit(&mut store, |ledger| {
        ledger.insert_task(&task(50, TaskState::Done), &[])
    });
    assert_eq!(how_many(&SqliteStore::open_existing(&to).unwrap()), 11);
    let error = store.back_up(&to).unwrap_err();
    assert!(
        matches!(error.cause(), Cause::File(_)),
        "{:?}",
        error.cause()
    );
}

#[test]
fn a_path_may_have_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let name = std::ffi::OsStr::from_bytes(b"a\nb'%\xff?mode=ro#.db");
    let path = place.directory.path().join(name);
    let mut store = SqliteStore::open(&path).unwrap();
    fill(&mut store);
    store.back_up(&open::beside(&path, ".copy")).unwrap();
    assert_eq!(how_many(&store), 11);
    assert!(path.exists() && open::beside(&path, ".copy").exists());
}

#[test]
fn the_version_is_written_down() {
    let place = Place::new();
    drop(place.open());
    let pragma = |name| -> i64 {
        place
            .raw()
            .pragma_query_value(None, name, |row| row.get(0))
            .unwrap()
    };
    assert_eq!(pragma("user_version"), i64::from(schema::VERSION));
    assert_eq!(pragma("application_id"), 0x6f72_6368);
}
