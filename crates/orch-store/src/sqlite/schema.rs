//! The tables, and what they refuse by themselves.
//!
//! The words of every closed list come from the core. They become part of the tables that are
//! made, so a new word is a new schema version; a test compares what this file makes with the
//! fixture of its version and says so.

use orch_core::event::EventKind;
use orch_core::run::{FailureCode, RunStatus, StopReason};
use orch_core::task::{DependencyKind, OnLost, Require, ReviewMode, TaskStatus, WorkspaceMode};

use crate::rows::REVIEW_WAITS;

/// The version this program writes.
pub(super) const VERSION: u32 = 4;

/// Says that a file is ours: `orch` in ASCII.
pub(super) const APPLICATION_ID: i64 = 0x6f72_6368;

/// `'a', 'b', 'c'`
fn quoted<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    let quoted: Vec<String> = words
        .into_iter()
        .map(|word| format!("'{}'", word.as_ref()))
        .collect();
    quoted.join(", ")
}

/// `(column = 'a' OR column = 'b')`, which says what `column IN ('a', 'b')` says. For that SQLite
/// would sort a list of more than two words into a table of its own, with each row that is written.
fn one_of<T: AsRef<str>>(column: &str, words: impl IntoIterator<Item = T>) -> String {
    let is_one: Vec<String> = words
        .into_iter()
        .map(|word| format!("{column} = '{}'", word.as_ref()))
        .collect();
    format!("({})", is_one.join(" OR "))
}

macro_rules! words {
    ($list:ty) => {
        <$list>::ALL.iter().map(|word| word.as_str())
    };
}

/// Statements that make an empty database of version [`VERSION`].
pub(super) fn creation() -> String {
    let statuses: Vec<String> = TaskStatus::ALL
        .iter()
        .map(|status| format!("INSERT INTO task_count VALUES ('{status}', 0);"))
        .collect();
    [
        task_table(),
        TASK_INDEXES.to_owned(),
        dependency_table(),
        run_table(),
        RUN_RULES.to_owned(),
        event_table(),
        task_counts(),
        LABELS.to_owned(),
        STATE.to_owned(),
        statuses.join("\n"),
    ]
    .join("\n")
}

fn task_table() -> String {
    format!(
        "
CREATE TABLE task (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    status TEXT NOT NULL CHECK {statuses},
    priority INTEGER NOT NULL CHECK (priority BETWEEN 1 AND 4),
    agent TEXT,
    labels TEXT NOT NULL,
    lane TEXT NOT NULL,
    unmet INTEGER NOT NULL CHECK (unmet >= 0),
    hold_until INTEGER,
    failure_code TEXT CHECK {codes},
    failure_message TEXT,
    failure_evidence TEXT CHECK (failure_evidence <> ''),
    current_run TEXT,
    review_wait TEXT CHECK {waits},
    review_message TEXT,
    review_files TEXT,
    workspace TEXT NOT NULL CHECK {workspaces},
    review_mode TEXT NOT NULL CHECK {reviews},
    on_lost TEXT NOT NULL CHECK {on_lost},
    require TEXT CHECK {requires},
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    max_attempts INTEGER NOT NULL CHECK (max_attempts >= 0),
    runs INTEGER NOT NULL CHECK (runs >= 0),
    start_failures INTEGER NOT NULL CHECK (start_failures >= 0),
    timeout_ms INTEGER CHECK (timeout_ms >= 0),
    stall_ms INTEGER CHECK (stall_ms >= 0),
    last_run TEXT,
    landed TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    scope TEXT NOT NULL,
    attachments TEXT NOT NULL,
    feedback TEXT,
    result TEXT,
    description TEXT NOT NULL,

    -- Each status has what belongs to it, and nothing else.
    CHECK (hold_until IS NULL OR status IN ('todo', 'retrying')),
    CHECK (hold_until IS NOT NULL OR status <> 'retrying'),
    CHECK ((current_run IS NOT NULL) = (status = 'in_progress')),
    CHECK ((review_wait IS NOT NULL) = (status = 'review')),
    CHECK ((review_message IS NOT NULL) = (review_wait IS 'blocked')),
    CHECK ((review_files IS NOT NULL) = (review_wait IS 'blocked')),
    -- What did not succeed says why, with evidence.
    CHECK ((failure_code IS NULL) = (failure_message IS NULL)),
    CHECK ((failure_code IS NULL) = (failure_evidence IS NULL)),
    CHECK ((failure_code IS NOT NULL) = (hold_until IS NOT NULL
        OR status IN ('failed', 'cancelled') OR review_wait IS 'lost'))
) STRICT;",
        statuses = one_of("status", words!(TaskStatus)),
        codes = one_of("failure_code", words!(FailureCode)),
        waits = one_of("review_wait", REVIEW_WAITS),
        workspaces = one_of("workspace", words!(WorkspaceMode)),
        reviews = one_of("review_mode", words!(ReviewMode)),
        on_lost = one_of("on_lost", words!(OnLost)),
        requires = one_of("require", words!(Require)),
    )
}

/// Each holds only the tasks it is about, so its size follows what is unfinished.
const TASK_INDEXES: &str = "
CREATE INDEX task_ready ON task (lane, priority, seq)
    WHERE status = 'todo' AND hold_until IS NULL AND unmet = 0;
CREATE INDEX task_held ON task (hold_until, seq, id) WHERE hold_until IS NOT NULL;
CREATE INDEX task_landing ON task (seq, id) WHERE review_wait = 'landing';
CREATE INDEX task_person ON task (priority, seq) WHERE review_wait <> 'landing';
CREATE INDEX task_status ON task (status, seq);
CREATE INDEX task_agent ON task (agent, status, seq) WHERE agent IS NOT NULL;";

fn dependency_table() -> String {
    format!(
        "
CREATE TABLE dependency (
    task TEXT NOT NULL REFERENCES task (id) ON DELETE CASCADE,
    needs TEXT NOT NULL REFERENCES task (id),
    kind TEXT NOT NULL CHECK (kind IN ({kinds})),
    PRIMARY KEY (task, needs, kind),
    CHECK (task <> needs)
) STRICT, WITHOUT ROWID;
CREATE INDEX dependency_needs ON dependency (needs, task, kind);",
        kinds = quoted(words!(DependencyKind)),
    )
}

fn run_table() -> String {
    let is_final = |word: &&str| word.parse().is_ok_and(RunStatus::is_final);
    let (last, live): (Vec<&str>, Vec<&str>) = words!(RunStatus).partition(is_final);
    format!(
        "
CREATE TABLE run (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    task TEXT NOT NULL REFERENCES task (id) ON DELETE CASCADE,
    agent TEXT NOT NULL,
    adapter TEXT NOT NULL,
    attempt INTEGER NOT NULL CHECK (attempt >= 0),
    status TEXT NOT NULL CHECK {statuses},
    stop TEXT CHECK {stops},
    branch TEXT,
    boot TEXT,
    resumed_session TEXT,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    exit_code INTEGER,
    exit_signal INTEGER,
    exit_core INTEGER CHECK (exit_core IN (0, 1)),
    failure_code TEXT CHECK {codes},
    failure_message TEXT,
    failure_evidence TEXT CHECK (failure_evidence <> ''),
    limited_until INTEGER CHECK (limited_until IS NULL OR status = 'limited'),
    input_tokens INTEGER CHECK (input_tokens >= 0),
    output_tokens INTEGER CHECK (output_tokens >= 0),
    cache_read_tokens INTEGER CHECK (cache_read_tokens >= 0),
    cache_write_tokens INTEGER CHECK (cache_write_tokens >= 0),
    cost_usd REAL,
    cost_estimated INTEGER CHECK (cost_estimated IN (0, 1)),
    session_id TEXT,
    commit_id TEXT,
    files_changed INTEGER CHECK (files_changed >= 0),
    commits_made INTEGER CHECK (commits_made >= 0),
    events INTEGER CHECK (events >= 0),
    warnings TEXT,
    result TEXT,

    -- A run has an end exactly when its status is final.
    CHECK ((finished_at IS NULL) = {is_live}),
    CHECK ((events IS NULL) = (finished_at IS NULL)),
    CHECK ((warnings IS NULL) = (finished_at IS NULL)),
    -- Both are counted or neither is, and only of a run that is over.
    CHECK ((files_changed IS NULL) = (commits_made IS NULL)),
    CHECK (files_changed IS NULL OR finished_at IS NOT NULL),
    -- A cost is the agent's or an estimate.
    CHECK ((cost_estimated IS NULL) = (cost_usd IS NULL)),
    -- The kernel says one thing about how a process ended, and only about one that has.
    CHECK (exit_code IS NULL OR exit_signal IS NULL),
    CHECK ((exit_core IS NULL) = (exit_signal IS NULL)),
    CHECK (finished_at IS NOT NULL OR (exit_code IS NULL AND exit_signal IS NULL)),
    -- What did not succeed says why, with evidence.
    CHECK ((failure_code IS NULL) = (failure_message IS NULL)),
    CHECK ((failure_code IS NULL) = (failure_evidence IS NULL)),
    CHECK ((failure_code IS NULL) = {has_no_failure})
) STRICT;",
        statuses = one_of("status", live.iter().chain(&last)),
        is_live = one_of("status", &live),
        has_no_failure = one_of("status", live.iter().chain(&["completed"])),
        stops = one_of("stop", words!(StopReason)),
        codes = one_of("failure_code", words!(FailureCode)),
    )
}

/// One live run per task; what has ended stays as it is and goes only with its task.
const RUN_RULES: &str = "
CREATE UNIQUE INDEX run_live ON run (task) WHERE finished_at IS NULL;
CREATE INDEX run_live_order ON run (seq) WHERE finished_at IS NULL;
CREATE INDEX run_task ON run (task, seq);
CREATE INDEX run_agent ON run (agent, seq);
CREATE TRIGGER run_is_final BEFORE UPDATE ON run WHEN OLD.finished_at IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a run that has ended is final');
END;
CREATE TRIGGER run_goes_with_its_task BEFORE DELETE ON run
    WHEN EXISTS (SELECT 1 FROM task WHERE id = OLD.task)
BEGIN
    SELECT RAISE(ABORT, 'a run is deleted only together with its task');
END;
CREATE TRIGGER task_outlives_its_run BEFORE DELETE ON task
    WHEN EXISTS (SELECT 1 FROM run WHERE task = OLD.id AND finished_at IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'a task with a run that has not ended cannot be deleted');
END;";

fn event_table() -> String {
    format!(
        "
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK {kinds},
    task TEXT,
    run TEXT,
    agent TEXT,
    word TEXT,
    message TEXT
) STRICT;
CREATE TRIGGER event_is_final BEFORE UPDATE ON event
BEGIN
    SELECT RAISE(ABORT, 'a fact is never rewritten');
END;
CREATE TRIGGER event_stays BEFORE DELETE ON event
BEGIN
    SELECT RAISE(ABORT, 'a fact is never deleted');
END;",
        kinds = one_of("kind", words!(EventKind)),
    )
}

/// Counting 100,000 rows for every `orch status` would cost more than everything else it does.
fn task_counts() -> String {
    format!(
        "
CREATE TABLE task_count (
    status TEXT PRIMARY KEY CHECK (status IN ({statuses})),
    number INTEGER NOT NULL CHECK (number >= 0)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER task_counted AFTER INSERT ON task
BEGIN
    UPDATE task_count SET number = number + 1 WHERE status = NEW.status;
END;
CREATE TRIGGER task_uncounted AFTER DELETE ON task
BEGIN
    UPDATE task_count SET number = number - 1 WHERE status = OLD.status;
END;
CREATE TRIGGER task_recounted AFTER UPDATE OF status ON task WHEN OLD.status <> NEW.status
BEGIN
    UPDATE task_count SET number = number - 1 WHERE status = OLD.status;
    UPDATE task_count SET number = number + 1 WHERE status = NEW.status;
END;",
        statuses = quoted(words!(TaskStatus)),
    )
}

/// An index over the labels of tasks, as a table because a task has many.
const LABELS: &str = "
CREATE TABLE label (
    label TEXT NOT NULL,
    status TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (label, status, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX label_task ON label (seq);
CREATE TRIGGER task_labelled AFTER INSERT ON task WHEN NEW.labels <> '[]'
BEGIN
    INSERT INTO label SELECT value, NEW.status, NEW.seq FROM json_each(NEW.labels);
END;
CREATE TRIGGER task_relabelled AFTER UPDATE OF labels, status ON task
    WHEN OLD.labels <> NEW.labels OR (NEW.labels <> '[]' AND OLD.status <> NEW.status)
BEGIN
    DELETE FROM label WHERE seq = OLD.seq;
    INSERT INTO label SELECT value, NEW.status, NEW.seq FROM json_each(NEW.labels);
END;
CREATE TRIGGER task_unlabelled AFTER DELETE ON task WHEN OLD.labels <> '[]'
BEGIN
    DELETE FROM label WHERE seq = OLD.seq;
END;";

/// One row: whether a writer has the database open.
const STATE: &str = "
CREATE TABLE store_state (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    open INTEGER NOT NULL CHECK (open IN (0, 1))
) STRICT;
INSERT INTO store_state VALUES (1, 0);";
