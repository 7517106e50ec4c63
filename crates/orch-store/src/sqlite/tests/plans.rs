//! No hot statement may look at rows it does not want. SQLite says how it would run each.

use super::Place;
use crate::sqlite::statements as sql;

/// How SQLite would run a statement, one step per line.
fn plan(inner: &rusqlite::Connection, statement: &str) -> Vec<String> {
    let mut explained = inner
        .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
        .unwrap();
    // The plan does not depend on the values, but each must be there.
    let values = vec![rusqlite::types::Value::Null; explained.parameter_count()];
    let steps = explained.query_map(rusqlite::params_from_iter(values), |row| row.get("detail"));
    steps.unwrap().map(Result::unwrap).collect()
}

/// A walk over everything that an index or table holds is fine where that is little by nature.
fn is_small(step: &str) -> bool {
    let small = [
        "INDEX task_held",
        "INDEX task_landing",
        "INDEX task_person",
        "INDEX run_live_order",
        "SCAN task_count",
        "SCAN store_state",
        "SCAN found",
        "SCAN CONSTANT ROW",
    ];
    small.iter().any(|part| step.contains(part))
}

/// A statement with the indexes it must use, in any order.
type Expected = (&'static str, &'static [&'static str]);

/// The statements about tasks.
fn statements_of_tasks() -> Vec<Expected> {
    let task_id: &[&str] = &["sqlite_autoindex_task_1"];
    let rowid: &[&str] = &["INTEGER PRIMARY KEY"];
    vec![
        (&sql::UPDATE_TASK, task_id),
        (sql::DELETE_TASK, task_id),
        (sql::TASK_EXISTS, task_id),
        (&sql::TASK_BY_ID, task_id),
        (&sql::TASK_BY_SEQ, rowid),
        (sql::TASK_IDS, task_id),
        (sql::DELETE_DEPENDENCIES, &["PRIMARY KEY (task=?)"]),
        (
            sql::DEPENDENCIES,
            &["PRIMARY KEY (task=?)", "sqlite_autoindex_task_1 (id=?)"],
        ),
        (sql::DEPENDANTS, &["dependency_needs (needs=?)"]),
        (sql::HAS_DEPENDANTS, &["dependency_needs (needs=?)"]),
        (
            sql::SHIFT_UNMET,
            &[
                "sqlite_autoindex_task_1 (id=?)",
                "dependency_needs (needs=?)",
            ],
        ),
        (
            sql::READY_LANES,
            &["INDEX task_ready", "INDEX task_ready (lane>?)"],
        ),
        (sql::READY_IN_LANE, &["INDEX task_ready (lane=?)"]),
        (sql::DUE, &["COVERING INDEX task_held (hold_until<?)"]),
        (sql::NEXT_DUE, &["COVERING INDEX task_held"]),
        (sql::LANDING, &["COVERING INDEX task_landing"]),
        (sql::NEEDING_PERSON, &["INDEX task_person"]),
        (
            sql::TASKS,
            &["COVERING INDEX task_status (status=? AND seq<?)"],
        ),
        (
            sql::TASKS_OF_AGENT,
            &["COVERING INDEX task_agent (agent=? AND status=? AND seq<?)"],
        ),
        (
            sql::TASKS_OF_LABEL,
            &["PRIMARY KEY (label=? AND status=? AND seq<?)"],
        ),
        (
            sql::TASKS_OF_LABEL_AND_AGENT,
            &[
                "PRIMARY KEY (label=? AND status=? AND seq<?)",
                "INTEGER PRIMARY KEY (rowid=?)",
            ],
        ),
        (sql::COUNTS, &["task_count"]),
    ]
}

/// Those about runs and facts.
fn statements_of_runs() -> Vec<Expected> {
    let run_id: &[&str] = &["sqlite_autoindex_run_1"];
    let rowid: &[&str] = &["INTEGER PRIMARY KEY"];
    vec![
        (&sql::UPDATE_RUN, run_id),
        (&sql::RUN_BY_ID, run_id),
        (sql::RUN_SEQ, run_id),
        (sql::RUN_IDS, run_id),
        (sql::HAS_LIVE_RUN, &["INDEX run_live (task=?)"]),
        (&sql::LIVE_RUNS, &["INDEX run_live_order"]),
        (&sql::RUNS, rowid),
        (sql::RUN_IDS_OF_TASK, &["INDEX run_task (task=?)"]),
        (&sql::RUNS_OF_TASK, &["run_task (task=? AND seq<?)"]),
        (&sql::RUNS_OF_AGENT, &["run_agent (agent=? AND seq<?)"]),
        (
            &sql::RUNS_OF_TASK_AND_AGENT,
            &["run_task (task=? AND seq<?)"],
        ),
        (&sql::EVENTS, rowid),
        (sql::LAST_EVENT, &["SEARCH event"]),
        (sql::STATE, &["store_state"]),
        (sql::SET_STATE, &["store_state"]),
    ]
}

/// What the triggers and foreign keys do; SQLite does not explain those.
const BEHIND: &[Expected] = &[
    ("DELETE FROM label WHERE seq = ?", &["label_task (seq=?)"]),
    (
        "UPDATE task_count SET number = number + 1 WHERE status = ?",
        &["(status=?)"],
    ),
    (
        "SELECT 1 FROM run WHERE task = ? AND finished_at IS NULL",
        &["run_live (task=?)"],
    ),
    (
        "SELECT 1 FROM dependency WHERE needs = ?",
        &["dependency_needs (needs=?)"],
    ),
    ("SELECT 1 FROM dependency WHERE task = ?", &["(task=?)"]),
    ("DELETE FROM run WHERE task = ?", &["run_task (task=?)"]),
];

#[test]
fn every_statement_uses_its_index() {
    let place = Place::new();
    drop(place.open());
    let inner = place.raw();
    let statements = [statements_of_tasks(), statements_of_runs(), BEHIND.to_vec()];
    for (statement, indexes) in statements.concat() {
        let steps = plan(&inner, statement);
        for index in indexes {
            assert!(
                steps.iter().any(|step| step.contains(index)),
                "not by {index}: {statement}\n{steps:#?}"
            );
        }
        for step in &steps {
            assert!(
                !step.starts_with("SCAN") || is_small(step),
                "walks over everything: {statement}\n{steps:#?}"
            );
            assert!(
                !step.contains("TEMP B-TREE"),
                "sorts: {statement}\n{steps:#?}"
            );
        }
    }
}

/// How often SQLite compiled `statement` again while other values were bound to it.
fn compiled_again(inner: &rusqlite::Connection, statement: &str) -> i32 {
    let mut prepared = inner.prepare(statement).unwrap();
    let count = prepared.parameter_count();
    for number in 1..5 {
        let values = vec![rusqlite::types::Value::Integer(number); count];
        let mut rows = prepared.query(rusqlite::params_from_iter(values)).unwrap();
        while rows.next().unwrap().is_some() {}
    }
    prepared.get_status(rusqlite::StatementStatus::RePrepare)
}

#[test]
fn no_statement_is_compiled_again_for_other_values() {
    let place = Place::new();
    let store = place.open();
    let reader = crate::sqlite::open::open_reader(&place.path()).unwrap();
    let inner = [store.connection.inner(), reader.inner()];
    let reads = [statements_of_tasks(), statements_of_runs()].concat();
    let reads = reads.iter().filter(|(statement, _)| {
        let statement = statement.trim_start();
        statement.starts_with("SELECT") || statement.starts_with("WITH")
    });
    for (statement, _) in reads {
        assert_eq!(
            inner.map(|inner| compiled_again(inner, statement)),
            [0, 0],
            "{statement}"
        );
    }
}

#[test]
fn every_statement_is_in_the_list() {
    let source = include_str!("../statements.rs");
    let names = source
        .lines()
        .filter(|line| line.starts_with("pub(super) "))
        .count();
    // Those that insert have no plan.
    let inserts = source.matches("pub(super) static INSERT_").count()
        + source.matches("pub(super) const INSERT_").count();
    assert_eq!(
        names - inserts,
        statements_of_tasks().len() + statements_of_runs().len()
    );
}
