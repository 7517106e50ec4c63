//! Other processes, full disks and errors in the middle.

use std::time::Duration;

use orch_core::TaskId;
use orch_core::ledger::Ledger;
use orch_core::task::TaskState;

use super::{Place, commit, fill, task};
use crate::error::Cause;
use crate::{Store, StoreError, Transaction};

fn todo(number: u64) -> orch_core::task::Task {
    task(number, TaskState::Todo { hold: None })
}

#[test]
fn every_connection_is_durable() {
    let place = Place::new();
    let store = place.open();
    let pragma = |name| -> String {
        let inner = store.connection.inner();
        let value: rusqlite::types::Value = inner
            .pragma_query_value(None, name, |row| row.get(0))
            .unwrap();
        format!("{value:?}")
    };
    assert_eq!(pragma("journal_mode"), "Text(\"wal\")");
    assert_eq!(pragma("synchronous"), "Integer(2)");
    assert_eq!(pragma("fullfsync"), "Integer(1)");
    assert_eq!(pragma("foreign_keys"), "Integer(1)");
}

#[test]
fn a_reader_sees_nothing_of_an_open_transaction() {
    let place = Place::new();
    let mut store = place.open();
    let mut reader = store.reader().unwrap();
    let seen = commit(&mut store, |ledger| {
        ledger.insert_task(&todo(1), &[])?;
        Ok(reader.task(&TaskId::from_entropy(1))?)
    });
    assert_eq!(seen, None);
    assert!(reader.task(&TaskId::from_entropy(1)).unwrap().is_some());
}

#[test]
fn a_reader_that_holds_a_moment_does_not_stop_the_writer() {
    let place = Place::new();
    let mut store = place.open();
    let mut reader = store.reader().unwrap();
    reader.hold().unwrap();
    fill(&mut store);
    reader.release().unwrap();
    assert_eq!(reader.last_event().unwrap(), 1);
}

#[test]
fn a_foreign_lock_is_an_error_that_passes() {
    let place = Place::new();
    let mut store = place.open();
    store
        .connection
        .inner()
        .busy_timeout(Duration::from_millis(1))
        .unwrap();
    let other = place.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut called = false;
    let result: Result<(), StoreError> = store.transact(|_| {
        called = true;
        Ok(())
    });
    let error = result.unwrap_err();
    assert!(error.is_busy() && !called, "{error}");
    assert_eq!(error.path(), Some(&*place.path()));
    other.execute_batch("ROLLBACK").unwrap();
    fill(&mut store);
}

#[test]
fn a_full_disk_is_an_error_that_passes() {
    let place = Place::new();
    let mut store = place.open();
    fill(&mut store);
    let set = |store: &crate::sqlite::SqliteStore, pages: i64| {
        store
            .connection
            .inner()
            .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
    };
    set(&store, 1).unwrap();
    let large = orch_core::task::Task {
        description: "x".repeat(1 << 20),
        ..todo(60)
    };
    let result: Result<u64, StoreError> =
        store.transact(|ledger| Ok(ledger.insert_task(&large, &[])?));
    let error = result.unwrap_err();
    assert!(
        error.is_disk_full() && !error.is_last(),
        "{:?}",
        error.cause()
    );
    assert!(error.to_string().contains("orch.db"), "{error}");
    set(&store, 1_000_000).unwrap();
    commit(&mut store, |ledger| ledger.insert_task(&large, &[]));
}

#[test]
fn a_transaction_that_sqlite_ended_tells_what_it_ended_for() {
    let place = Place::new();
    let mut store = place.open();
    let trigger = "CREATE TRIGGER t BEFORE INSERT ON task WHEN NEW.title = 'bad'
                   BEGIN SELECT RAISE(ROLLBACK, 'no room for it'); END";
    place.raw().execute_batch(trigger).unwrap();
    let bad = orch_core::task::Task {
        title: "bad".to_owned(),
        ..todo(1)
    };
    let mut said = Vec::new();
    let result: Result<(), StoreError> = store.transact(|ledger| {
        let mut add = |task| {
            let added = ledger.attempt(|part| part.insert_task(&task, &[]).map(drop));
            said.push(added.unwrap_err());
        };
        add(bad);
        add(todo(2));
        said.push(ledger.next_due().unwrap_err());
        Ok(())
    });
    let errors = said.into_iter().map(StoreError::from).chain(result.err());
    let errors: Vec<StoreError> = errors.collect();
    assert_eq!(errors.len(), 4, "the commit fails, too");
    for error in errors {
        let first = TaskId::from_entropy(1);
        let doing = error.to_string();
        assert!(
            doing.starts_with(&format!("adding task {first}")),
            "{doing}"
        );
        let cause = error.cause().to_string();
        assert!(cause.contains("no room for it"), "{cause}");
    }
    // The next transaction knows nothing of it.
    commit(&mut store, |ledger| ledger.insert_task(&todo(3), &[]));
}

#[test]
fn nothing_commits_by_itself_once_sqlite_has_ended_the_transaction() {
    let place = Place::new();
    let mut store = place.open();
    let connection = &mut store.connection;
    connection.begin().unwrap();
    connection.insert_task(&todo(1), &[]).unwrap();
    // As SQLite does by itself on some errors.
    connection.inner().execute_batch("ROLLBACK").unwrap();
    let part: &mut dyn Transaction = connection;
    let calls = [
        part.insert_task(&todo(2), &[]).map(drop),
        part.mark(),
        part.attempt(|part| part.insert_task(&todo(3), &[]))
            .map(drop),
    ];
    for call in calls {
        let error = StoreError::from(call.unwrap_err());
        assert!(
            matches!(error.cause(), Cause::RolledBack),
            "{:?}",
            error.cause()
        );
    }
    assert!(connection.commit().is_err());
    connection.roll_back();
    fill(&mut store);
    assert_eq!(
        store.reader().unwrap().last_event().unwrap(),
        1,
        "the next one works"
    );
}

#[test]
fn a_row_that_cannot_be_read_stops_the_writer() {
    let place = Place::new();
    let mut store = place.open();
    commit(&mut store, |ledger| ledger.insert_task(&todo(1), &[]));
    place
        .raw()
        .execute_batch("UPDATE task SET lane = '?', unmet = 0")
        .unwrap();
    let result: Result<_, StoreError> = store.transact(|ledger| Ok(ledger.ready_lanes()?));
    let error = result.unwrap_err();
    assert!(error.is_corrupt() && error.is_last(), "{:?}", error.cause());
    assert!(
        error.cause().to_string().contains("'?' is no lane"),
        "{}",
        error.cause()
    );
    let result: Result<(), StoreError> = store.transact(|_| Ok(()));
    let error = result.unwrap_err();
    assert!(
        matches!(error.cause(), Cause::Stopped(_)),
        "{:?}",
        error.cause()
    );
    let mut reader = store.reader().unwrap();
    assert!(reader.task(&TaskId::from_entropy(1)).is_err());
    assert!(reader.last_event().is_ok(), "a reader goes on");
}
