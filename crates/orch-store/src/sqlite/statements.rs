//! Every statement that runs more than once, so that a test can ask SQLite how it would run each.
//!
//! None may cost more because more tasks have ended. `INDEXED BY` stands where SQLite, which knows
//! nothing of how many rows there are, would choose worse.

use std::sync::LazyLock;

use crate::rows::{EVENT_COLUMNS, RUN_COLUMNS, TASK_COLUMNS};

/// What the partial index of ready tasks holds. A statement that wants the index repeats it.
macro_rules! ready {
    () => {
        "status = 'todo' AND hold_until IS NULL AND unmet = 0"
    };
}

/// A statement whose list of columns comes from `rows`.
type Built = LazyLock<String>;

fn insert(table: &str, columns: &[&str]) -> String {
    let places: Vec<String> = (1..=columns.len())
        .map(|place| format!("?{place}"))
        .collect();
    let (columns, places) = (columns.join(", "), places.join(", "));
    format!("INSERT INTO {table} ({columns}) VALUES ({places})")
}

/// Rewrites everything but the columns of `key`, which find the row. Value N is column N.
fn update(table: &str, columns: &[&str], key: &[&str]) -> String {
    let places = || columns.iter().zip(1..);
    let pair = |(column, place): (&&str, usize)| format!("{column} = ?{place}");
    let is_key = |(column, _): &(&&str, usize)| key.contains(*column);
    let set: Vec<String> = places().filter(|it| !is_key(it)).map(pair).collect();
    let found: Vec<String> = places().filter(is_key).map(pair).collect();
    format!(
        "UPDATE {table} SET {} WHERE {}",
        set.join(", "),
        found.join(" AND ")
    )
}

fn select(first: &str, table: &str, columns: &[&str], rest: &str) -> String {
    format!("SELECT {first}{} FROM {table} {rest}", columns.join(", "))
}

pub(super) static INSERT_TASK: Built = Built::new(|| insert("task", &TASK_COLUMNS));
pub(super) static UPDATE_TASK: Built = Built::new(|| update("task", &TASK_COLUMNS, &["id"]));
pub(super) const DELETE_TASK: &str = "DELETE FROM task WHERE id = ?1";
pub(super) const TASK_EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM task WHERE id = ?1)";
pub(super) static TASK_BY_ID: Built =
    Built::new(|| select("seq, ", "task", &TASK_COLUMNS, "WHERE id = ?1"));
pub(super) static TASK_BY_SEQ: Built =
    Built::new(|| select("seq, ", "task", &TASK_COLUMNS, "WHERE seq = ?1"));

pub(super) const INSERT_DEPENDENCY: &str =
    "INSERT OR IGNORE INTO dependency (task, needs, kind) VALUES (?1, ?2, ?3)";
pub(super) const DELETE_DEPENDENCIES: &str = "DELETE FROM dependency WHERE task = ?1";
pub(super) const DEPENDENCIES: &str = "
    SELECT dependency.needs, dependency.kind, task.status
    FROM dependency CROSS JOIN task ON task.id = dependency.needs
    WHERE dependency.task = ?1 ORDER BY dependency.needs";
pub(super) const DEPENDANTS: &str =
    "SELECT DISTINCT task FROM dependency WHERE needs = ?1 ORDER BY task";
pub(super) const HAS_DEPENDANTS: &str = "SELECT EXISTS (SELECT 1 FROM dependency WHERE needs = ?1)";
pub(super) const SHIFT_UNMET: &str = "
    UPDATE task SET unmet = unmet + ?3
    WHERE id IN (SELECT task FROM dependency WHERE needs = ?1 AND kind = ?2)";

/// Walks the index from one lane to the next, so a lane costs one search however full it is.
pub(super) const READY_LANES: &str = concat!(
    "WITH RECURSIVE found (lane) AS (
        SELECT (SELECT min(lane) FROM task INDEXED BY task_ready WHERE ",
    ready!(),
    ")
        UNION ALL
        SELECT (SELECT min(lane) FROM task INDEXED BY task_ready WHERE lane > found.lane AND ",
    ready!(),
    ") FROM found WHERE found.lane IS NOT NULL
    )
    SELECT lane FROM found WHERE lane IS NOT NULL"
);
pub(super) const READY_IN_LANE: &str = concat!(
    "SELECT id, priority, seq FROM task INDEXED BY task_ready WHERE lane = ?1 AND ",
    ready!(),
    " ORDER BY priority, seq LIMIT ?2"
);
pub(super) const DUE: &str =
    "SELECT id FROM task WHERE hold_until <= ?1 ORDER BY hold_until, seq LIMIT ?2";
pub(super) const NEXT_DUE: &str = "SELECT min(hold_until) FROM task WHERE hold_until IS NOT NULL";
pub(super) const LANDING: &str = "SELECT id FROM task WHERE review_wait = 'landing' ORDER BY seq";
pub(super) const NEEDING_PERSON: &str =
    "SELECT seq FROM task WHERE review_wait <> 'landing' ORDER BY priority, seq LIMIT ?1";

pub(super) const TASKS: &str =
    "SELECT seq FROM task WHERE status = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3";
pub(super) const TASKS_OF_AGENT: &str = "
    SELECT seq FROM task WHERE agent = ?4 AND status = ?1 AND seq < ?2
    ORDER BY seq DESC LIMIT ?3";
pub(super) const TASKS_OF_LABEL: &str = "
    SELECT seq FROM label WHERE label = ?4 AND status = ?1 AND seq < ?2
    ORDER BY seq DESC LIMIT ?3";
pub(super) const TASKS_OF_LABEL_AND_AGENT: &str = "
    SELECT label.seq FROM label CROSS JOIN task ON task.seq = label.seq
    WHERE label.label = ?4 AND label.status = ?1 AND label.seq < ?2 AND task.agent = ?5
    ORDER BY label.seq DESC LIMIT ?3";
pub(super) const COUNTS: &str = "SELECT status, number FROM task_count";
pub(super) const TASK_IDS: &str =
    "SELECT id FROM task WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3";

pub(super) static INSERT_RUN: Built = Built::new(|| insert("run", &RUN_COLUMNS));
/// Task and agent of a run never change; to set what is in an index rewrites the index.
pub(super) static UPDATE_RUN: Built =
    Built::new(|| update("run", &RUN_COLUMNS, &["id", "task", "agent"]));
pub(super) static RUN_BY_ID: Built =
    Built::new(|| select("", "run", &RUN_COLUMNS, "WHERE id = ?1"));
pub(super) const RUN_SEQ: &str = "SELECT seq FROM run WHERE id = ?1";
pub(super) const HAS_LIVE_RUN: &str =
    "SELECT EXISTS (SELECT 1 FROM run WHERE task = ?1 AND finished_at IS NULL)";
pub(super) static LIVE_RUNS: Built = Built::new(|| {
    select(
        "",
        "run",
        &RUN_COLUMNS,
        "WHERE finished_at IS NULL ORDER BY seq",
    )
});
pub(super) const RUN_IDS: &str =
    "SELECT id FROM run WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3";

fn runs(condition: &str) -> String {
    let rest = format!("WHERE {condition}seq < ?1 ORDER BY seq DESC LIMIT ?2");
    select("", "run", &RUN_COLUMNS, &rest)
}

pub(super) const RUN_IDS_OF_TASK: &str = "SELECT id FROM run WHERE task = ?1 ORDER BY seq";
pub(super) static RUNS: Built = Built::new(|| runs(""));
pub(super) static RUNS_OF_TASK: Built = Built::new(|| runs("task = ?3 AND "));
pub(super) static RUNS_OF_AGENT: Built = Built::new(|| runs("agent = ?3 AND "));
/// A task has few runs; the agent is looked at in each, which the sign keeps from the index.
pub(super) static RUNS_OF_TASK_AND_AGENT: Built =
    Built::new(|| runs("task = ?3 AND +agent = ?4 AND "));

pub(super) static INSERT_EVENT: Built = Built::new(|| insert("event", &EVENT_COLUMNS));
pub(super) static EVENTS: Built = Built::new(|| {
    select(
        "seq, ",
        "event",
        &EVENT_COLUMNS,
        "WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )
});
pub(super) const LAST_EVENT: &str = "SELECT max(seq) FROM event";

pub(super) const STATE: &str = "SELECT open FROM store_state";
pub(super) const SET_STATE: &str = "UPDATE store_state SET open = ?1";
