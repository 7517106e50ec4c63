//! What the tables refuse by themselves, whoever writes to them.

use super::{Place, commit, ended, failure, fill, run, task};
use crate::rows::{EVENT_COLUMNS, RUN_COLUMNS, TASK_COLUMNS};
use crate::sqlite::SqliteStore;
use crate::{RunFilter, Store, TaskFilter};
use orch_core::run::{Exit, FailureCode, Outcome, Run, RunState};
use orch_core::task::{Task, TaskState};
use rusqlite::types::Value;

/// The rows of each version as they were written, together with the tables of then.
const VERSION_1: &str = include_str!("../../../fixtures/version-1.sql");
const VERSION_2: &str = include_str!("../../../fixtures/version-2.sql");
const VERSION_3: &str = include_str!("../../../fixtures/version-3.sql");
const VERSION_4: &str = include_str!("../../../fixtures/version-4.sql");

/// Everything in a database as SQL text: the tables first, then the rows.
fn dump(inner: &rusqlite::Connection) -> String {
    let strings = |statement: &str| -> Vec<String> {
        let mut prepared = inner.prepare(statement).unwrap();
        let rows = prepared.query_map((), |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let mut text = String::new();
    let tables = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL
        AND name NOT LIKE 'sqlite_%' ORDER BY rowid";
    for statement in strings(tables) {
        text.push_str(&format!("{statement};\n"));
    }
    for (table, key) in [
        ("task", "seq"),
        ("dependency", "task"),
        ("run", "seq"),
        ("event", "seq"),
    ] {
        let columns = strings(&format!("SELECT name FROM pragma_table_info('{table}')"));
        let values: Vec<String> = columns
            .iter()
            .map(|column| format!("quote({column})"))
            .collect();
        let rows = format!(
            "SELECT 'INSERT INTO {table} ({}) VALUES (' || {} || ');' FROM {table} ORDER BY {key}",
            columns.join(", "),
            values.join(" || ', ' || "),
        );
        for row in strings(&rows) {
            text.push_str(&format!("{row}\n"));
        }
    }
    text
}

#[test]
fn the_schema_is_that_of_its_version() {
    let place = Place::new();
    fill(&mut place.open());
    let now = dump(&place.raw());
    let changed = now
        .lines()
        .zip(VERSION_4.lines())
        .find(|(now, then)| now != then);
    assert!(
        now == VERSION_4,
        "version 4 has been given out and never changes: write version 5 and the step to it. \
         First difference: {changed:#?}"
    );
}

/// A database as a program of `version` left it, with a row in each state.
fn place_of_version(version: u32, rows: &str) -> Place {
    let place = Place::new();
    let raw = place.raw();
    raw.execute_batch(rows).unwrap();
    raw.execute_batch(&format!(
        "INSERT INTO store_state VALUES (1, 0);
         INSERT INTO task_count SELECT column1, 0 FROM (VALUES ('todo'), ('in_progress'),
            ('retrying'), ('review'), ('done'), ('failed'), ('cancelled'));
         UPDATE task_count SET number = (SELECT count(*) FROM task
            WHERE task.status = task_count.status);
         UPDATE sqlite_sequence SET seq = 1000 + seq;
         PRAGMA application_id = 0x6f726368; PRAGMA user_version = {version};"
    ))
    .unwrap();
    place
}

fn tasks(store: &SqliteStore) -> Vec<Task> {
    let filter = TaskFilter::default();
    store.reader().unwrap().tasks(&filter).unwrap()
}

fn runs(store: &SqliteStore) -> Vec<Run> {
    let filter = RunFilter::default();
    store.reader().unwrap().runs(&filter).unwrap()
}

/// Fault 45. Injected: databases that earlier versions wrote. Held: they are read and written, and
/// what those versions did not know is not made up: no boot, no counted changes, no session that
/// was gone on with, and a cost that the agent said.
///
/// Promise 26.
#[test]
fn databases_of_earlier_versions_are_read_and_written() {
    for (version, rows) in [(1, VERSION_1), (2, VERSION_2), (3, VERSION_3)] {
        let place = place_of_version(version, rows);
        let mut store = place.open();
        let fresh = Place::new();
        let mut expected = fresh.open();
        fill(&mut expected);
        let mut tasks_then = tasks(&expected);
        if version < 3 {
            for task in &mut tasks_then {
                assert!(task.require.take().is_some());
            }
        }
        assert_eq!(tasks(&store), tasks_then, "version {version}");
        let mut runs_then = runs(&expected);
        for run in &mut runs_then {
            forget_what_is_new(run, version);
        }
        assert_eq!(runs(&store), runs_then, "version {version}");
        let next = run(
            4,
            1,
            ended(Outcome::Failed(failure(FailureCode::NoChanges))),
        );
        let late = task(12, TaskState::Done);
        commit(&mut store, |ledger| ledger.insert_run(&next));
        let seq = commit(&mut store, |ledger| ledger.insert_task(&late, &[]));
        assert!(runs(&store).contains(&next));
        assert_eq!(seq, 1_012, "an order of arrival is never given out twice");
        assert_eq!(store.reader().unwrap().last_event().unwrap(), 1);
    }
}

/// What a program of `version` did not write down of a run.
fn forget_what_is_new(run: &mut Run, version: u32) {
    if version >= 3 {
        return;
    }
    assert!(run.resumed_session.take().is_some());
    if version < 2 {
        assert!(run.boot.take().is_some());
    }
    if let RunState::Ended(ending) = &mut run.state {
        assert!(ending.changes.take().is_some());
        assert!(std::mem::take(&mut ending.cost_estimated));
    }
}

/// The rules are part of the tables: one that a step forgets would be missed by nobody until it
/// is broken.
#[test]
fn a_migrated_database_has_the_rules_of_a_new_one() {
    let fresh = Place::new();
    drop(fresh.open());
    for (version, rows) in [(1, VERSION_1), (2, VERSION_2), (3, VERSION_3)] {
        let place = place_of_version(version, rows);
        drop(place.open());
        assert_eq!(rules(&place), rules(&fresh), "version {version}");
    }
}

/// Everything a database is made of, in an order that does not depend on when it was made. What
/// was renamed is in quotes.
fn rules(place: &Place) -> Vec<String> {
    let raw = place.raw();
    let mut prepared = raw
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name")
        .unwrap();
    let rows = prepared
        .query_map((), |row| row.get::<_, String>(0))
        .unwrap();
    rows.map(|sql| sql.unwrap().replace('"', "")).collect()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// What the columns of task 10 of [`fill`] hold.
fn values_of_task() -> Vec<(&'static str, Value)> {
    vec![
        ("title", text("the title")),
        ("description", text("the description")),
        ("priority", Value::Integer(2)),
        ("agent", text("ada")),
        ("labels", text("[\"api\",\"db\"]")),
        ("lane", text("@ada")),
        ("unmet", Value::Integer(5)),
        ("attempts", Value::Integer(6)),
        ("max_attempts", Value::Integer(7)),
        ("runs", Value::Integer(8)),
        ("start_failures", Value::Integer(9)),
        ("timeout_ms", Value::Integer(10)),
        ("stall_ms", Value::Integer(11)),
        ("created_at", Value::Integer(12)),
        ("updated_at", Value::Integer(13)),
        ("workspace", text("shared")),
        ("review_mode", text("auto")),
        ("on_lost", text("ask")),
        ("require", text("commit")),
        ("scope", text("[\"src/**\"]")),
        ("attachments", text("[\"/a b\"]")),
        ("result", text("the result")),
        ("feedback", text("the feedback")),
        ("landed", text("0123abcd")),
        ("status", text("failed")),
        ("failure_code", text("exit_nonzero")),
        ("failure_message", text("it failed")),
        ("failure_evidence", text("exit status 3")),
    ]
}

/// What the columns of run 3 of [`fill`] hold.
fn values_of_run() -> Vec<(&'static str, Value)> {
    vec![
        ("adapter", text("claude")),
        ("attempt", Value::Integer(3)),
        ("status", text("failed")),
        ("branch", text("orch/x")),
        ("boot", text("the boot")),
        ("resumed_session", text("an earlier session")),
        ("created_at", Value::Integer(14)),
        ("started_at", Value::Integer(15)),
        ("input_tokens", Value::Integer(16)),
        ("output_tokens", Value::Integer(17)),
        ("cache_read_tokens", Value::Integer(18)),
        ("cache_write_tokens", Value::Integer(19)),
        ("cost_usd", Value::Real(0.5)),
        ("cost_estimated", Value::Integer(1)),
        ("session_id", text("session")),
        ("commit_id", text("abcd0123")),
        ("files_changed", Value::Integer(22)),
        ("commits_made", Value::Integer(23)),
        ("events", Value::Integer(20)),
        ("finished_at", Value::Integer(21)),
        ("exit_code", Value::Integer(3)),
        ("exit_signal", Value::Null),
        ("warnings", text("[\"a warning\"]")),
        ("failure_code", text("exit_nonzero")),
    ]
}

#[test]
fn each_value_is_in_the_column_of_its_name() {
    let place = Place::new();
    fill(&mut place.open());
    let raw = place.raw();
    let value = |table: &str, column: &str, row: u64| -> Value {
        let statement = format!("SELECT {column} FROM {table} WHERE seq = {row}");
        raw.query_row(&statement, (), |row| row.get(0)).unwrap()
    };
    for (column, expected) in values_of_task() {
        assert_eq!(value("task", column, 10), expected, "{column}");
    }
    for (column, expected) in values_of_run() {
        assert_eq!(value("run", column, 3), expected, "{column}");
    }
    for (column, expected) in [
        ("kind", "run_ended"),
        ("word", "completed"),
        ("message", "a message"),
    ] {
        assert_eq!(value("event", column, 1), text(expected), "{column}");
    }
}

/// What SQLite says to a statement that must be refused.
fn refusal(raw: &rusqlite::Connection, statement: &str) -> String {
    match raw.execute_batch(statement) {
        Ok(()) => panic!("not refused: {statement}"),
        Err(error) => error.to_string(),
    }
}

/// Statements that must be refused, with a part of what SQLite says to each. Of what [`fill`]
/// stores, run 1 is live, run 2 is completed and run 3 has failed; task 1 waits, task 3 is at work.
const REFUSED: &[(&str, &str)] = &[
    ("UPDATE run SET result = 'x' WHERE seq = 2", "final"),
    ("UPDATE run SET status = 'running' WHERE seq = 3", "final"),
    (
        "DELETE FROM run WHERE seq = 2",
        "only together with its task",
    ),
    (
        "DELETE FROM run WHERE seq = 1",
        "only together with its task",
    ),
    ("DELETE FROM task WHERE seq = 3", "not ended"),
    ("DELETE FROM task WHERE seq = 1", "FOREIGN KEY"),
    (
        "UPDATE run SET status = 'failed', finished_at = 1, events = 0, warnings = '[]' WHERE seq = 1",
        "CHECK",
    ),
    (
        "UPDATE run SET status = 'lost', finished_at = 1, events = 0, warnings = '[]', failure_code = 'no_result', failure_message = 'm', failure_evidence = '' WHERE seq = 1",
        "CHECK",
    ),
    (
        "UPDATE run SET status = 'lost', finished_at = 1, events = 0, warnings = '[]', failure_code = 'because', failure_message = 'm', failure_evidence = 'e' WHERE seq = 1",
        "CHECK",
    ),
    (
        "UPDATE run SET status = 'completed', events = 0, warnings = '[]' WHERE seq = 1",
        "CHECK",
    ),
    (
        "UPDATE run SET status = 'completed', finished_at = 1, events = 0, warnings = '[]', exit_code = 0, exit_signal = 9, exit_core = 0 WHERE seq = 1",
        "CHECK",
    ),
    ("UPDATE run SET finished_at = 1 WHERE seq = 1", "CHECK"),
    ("UPDATE run SET status = 'paused' WHERE seq = 1", "CHECK"),
    ("UPDATE run SET exit_code = 0 WHERE seq = 1", "CHECK"),
    (
        "UPDATE run SET files_changed = 1, commits_made = 1 WHERE seq = 1",
        "CHECK",
    ),
    (
        "UPDATE run SET status = 'completed', finished_at = 1, events = 0, warnings = '[]', files_changed = 1 WHERE seq = 1",
        "CHECK",
    ),
    (
        "UPDATE run SET status = 'completed', finished_at = 1, events = 0, warnings = '[]', cost_usd = 0.5 WHERE seq = 1",
        "CHECK",
    ),
    ("UPDATE task SET require = 'luck' WHERE seq = 1", "CHECK"),
    (
        "INSERT INTO run (id, task, agent, adapter, attempt, status, created_at) SELECT 'other', task, agent, adapter, 9, 'starting', 0 FROM run WHERE seq = 1",
        "UNIQUE",
    ),
    (
        "INSERT INTO run (id, task, agent, adapter, attempt, status, created_at) VALUES ('x', 'nobody', 'a', 'b', 1, 'starting', 0)",
        "FOREIGN KEY",
    ),
    ("UPDATE task SET status = 'started' WHERE seq = 1", "CHECK"),
    ("UPDATE task SET status = 'failed' WHERE seq = 1", "CHECK"),
    (
        "UPDATE task SET status = 'in_progress' WHERE seq = 1",
        "CHECK",
    ),
    ("UPDATE task SET status = 'retrying' WHERE seq = 1", "CHECK"),
    ("UPDATE task SET status = 'review' WHERE seq = 1", "CHECK"),
    ("UPDATE task SET hold_until = 5 WHERE seq = 1", "CHECK"),
    (
        "UPDATE task SET review_wait = 'blocked' WHERE seq = 5",
        "CHECK",
    ),
    ("UPDATE task SET unmet = -1 WHERE seq = 1", "CHECK"),
    ("UPDATE task SET priority = 5 WHERE seq = 1", "CHECK"),
    ("UPDATE task SET title = NULL WHERE seq = 1", "NOT NULL"),
    ("UPDATE task SET priority = 'high' WHERE seq = 1", "TEXT"),
    ("UPDATE event SET word = 'x'", "never rewritten"),
    ("DELETE FROM event", "never deleted"),
];

#[test]
fn the_tables_refuse_what_must_never_be_true() {
    let place = Place::new();
    fill(&mut place.open());
    let raw = place.raw();
    raw.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    for (statement, why) in REFUSED {
        let said = refusal(&raw, statement);
        assert!(said.contains(why), "{statement}\n{said}");
    }
    raw.execute_batch("DELETE FROM dependency; DELETE FROM task WHERE seq = 9")
        .unwrap();
    let left: i64 = raw
        .query_row("SELECT count(*) FROM run WHERE seq = 2", (), |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(left, 0, "a run goes with its task");
}

#[test]
fn numbers_too_large_for_a_column_are_stored_as_the_largest() {
    let place = Place::new();
    let mut store = place.open();
    let mut over = run(1, 1, ended(Outcome::Completed));
    if let RunState::Ended(ending) = &mut over.state {
        ending.usage.input_tokens = Some(u64::MAX);
        ending.usage.cost_usd = Some(f64::NAN);
        ending.exit = Some(Exit::Code(i32::MIN));
    }
    commit(&mut store, |ledger| {
        ledger.insert_task(&task(1, TaskState::Done), &[])?;
        ledger.insert_run(&over)
    });
    let stored = commit(&mut store, |ledger| ledger.run(&over.id)).unwrap();
    let ending = stored.ending().unwrap();
    assert_eq!(ending.usage.input_tokens, Some(i64::MAX as u64));
    assert_eq!(ending.usage.cost_usd, None);
    assert_eq!(ending.exit, Some(Exit::Code(i32::MIN)));
}

#[test]
fn no_column_is_forgotten() {
    let place = Place::new();
    drop(place.open());
    let raw = place.raw();
    let columns = |table: &str| -> Vec<String> {
        let mut prepared = raw
            .prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))
            .unwrap();
        let names = prepared.query_map((), |row| row.get(0)).unwrap();
        names
            .map(Result::unwrap)
            .filter(|name| name != "seq")
            .collect()
    };
    assert_eq!(columns("task"), TASK_COLUMNS);
    assert_eq!(columns("run"), RUN_COLUMNS);
    assert_eq!(columns("event"), EVENT_COLUMNS);
}
