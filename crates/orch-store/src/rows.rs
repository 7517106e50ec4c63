//! Rows and the types of the core, each made from the other. Lists are JSON texts that no
//! statement looks into, but for the trigger that keeps the index of labels.
//!
//! This file must not know any statement: it names columns and their values.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;

use orch_core::Timestamp;
use orch_core::event::Event;
use orch_core::run::{Changes, Ending, Exit, Failure, Outcome, Run, RunState, RunStatus, Usage};
use orch_core::task::{Hold, Lane, Priority, Review, Task, TaskState, TaskStatus};
use rusqlite::types::{FromSql, ToSqlOutput, Type, ValueRef};
use rusqlite::{Row, ToSql};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Recorded;

/// The columns of a task that a write names, in the order of [`task_values`]. The long texts come
/// last, so that reading the others does not follow their pages.
pub(crate) const TASK_COLUMNS: [&str; 35] = [
    "id",
    "title",
    "status",
    "priority",
    "agent",
    "labels",
    "lane",
    "unmet",
    "hold_until",
    "failure_code",
    "failure_message",
    "failure_evidence",
    "current_run",
    "review_wait",
    "review_message",
    "review_files",
    "workspace",
    "review_mode",
    "on_lost",
    "require",
    "attempts",
    "max_attempts",
    "runs",
    "start_failures",
    "timeout_ms",
    "stall_ms",
    "last_run",
    "landed",
    "created_at",
    "updated_at",
    "scope",
    "attachments",
    "feedback",
    "result",
    "description",
];

/// The columns of a run that a write names, in the order of [`run_values`].
pub(crate) const RUN_COLUMNS: [&str; 33] = [
    "id",
    "task",
    "agent",
    "adapter",
    "attempt",
    "status",
    "stop",
    "branch",
    "boot",
    "resumed_session",
    "created_at",
    "started_at",
    "finished_at",
    "exit_code",
    "exit_signal",
    "exit_core",
    "failure_code",
    "failure_message",
    "failure_evidence",
    "limited_until",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cost_usd",
    "cost_estimated",
    "session_id",
    "commit_id",
    "files_changed",
    "commits_made",
    "events",
    "warnings",
    "result",
];

/// The columns of an event that a write names, in the order of [`event_values`].
pub(crate) const EVENT_COLUMNS: [&str; 7] =
    ["time", "kind", "task", "run", "agent", "word", "message"];

/// What a task in review waits for, as the database spells it.
pub(crate) const REVIEW_WAITS: [&str; 4] = ["person", "landing", "blocked", "lost"];

/// One value on its way into a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Column<'a> {
    /// Nothing.
    Null,
    /// A number.
    Integer(i64),
    /// A number with a fraction.
    Real(f64),
    /// A text.
    Text(Cow<'a, str>),
}

impl<'a> Column<'a> {
    fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    fn maybe_text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, Self::text)
    }

    /// A count. Those beyond the largest number of SQLite are stored as that number: a hostile
    /// transcript that claims 2^64 tokens must not keep its run from ending.
    fn count(count: u64) -> Self {
        Self::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    fn maybe_count(count: Option<u64>) -> Self {
        count.map_or(Self::Null, Self::count)
    }

    fn time(time: Timestamp) -> Self {
        Self::Integer(time.0)
    }

    fn maybe_time(time: Option<Timestamp>) -> Self {
        time.map_or(Self::Null, Self::time)
    }

    fn list(items: &impl Serialize) -> Self {
        let json = serde_json::to_string(items).expect("a list of strings has a JSON form");
        Self::Text(Cow::Owned(json))
    }
}

impl ToSql for Column<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// A failure as three values.
fn failure_values(failure: Option<&Failure>) -> [Column<'_>; 3] {
    match failure {
        Some(failure) => [
            Column::text(failure.code.as_str()),
            Column::text(&failure.message),
            Column::text(&failure.evidence),
        ],
        None => [Column::Null, Column::Null, Column::Null],
    }
}

/// What a review waits for as three values: the word, the message, the files.
fn review_values(state: &TaskState) -> [Column<'_>; 3] {
    let [person, landing, blocked, lost] = REVIEW_WAITS.map(Column::text);
    match state {
        TaskState::Review(Review::Person) => [person, Column::Null, Column::Null],
        TaskState::Review(Review::Landing) => [landing, Column::Null, Column::Null],
        TaskState::Review(Review::Lost { .. }) => [lost, Column::Null, Column::Null],
        TaskState::Review(Review::Blocked { message, files }) => {
            [blocked, Column::text(message), Column::list(files)]
        }
        _ => [Column::Null, Column::Null, Column::Null],
    }
}

/// A task as values of [`TASK_COLUMNS`].
pub(crate) fn task_values(task: &Task) -> [Column<'_>; TASK_COLUMNS.len()] {
    let [failure_code, failure_message, failure_evidence] = failure_values(task.state.failure());
    let [review_wait, review_message, review_files] = review_values(&task.state);
    let current_run = match &task.state {
        TaskState::InProgress { run } => Column::text(run.as_str()),
        _ => Column::Null,
    };
    [
        Column::text(task.id.as_str()),
        Column::text(&task.title),
        Column::text(task.status().as_str()),
        Column::count(task.priority.number().into()),
        Column::maybe_text(task.agent.as_ref().map(|agent| agent.as_str())),
        Column::list(&task.labels),
        Column::Text(Cow::Owned(task.lane().key())),
        Column::count(task.unmet.into()),
        Column::maybe_time(task.state.hold().map(|hold| hold.until)),
        failure_code,
        failure_message,
        failure_evidence,
        current_run,
        review_wait,
        review_message,
        review_files,
        Column::text(task.workspace.as_str()),
        Column::text(task.review.as_str()),
        Column::text(task.on_lost.as_str()),
        Column::maybe_text(task.require.map(|require| require.as_str())),
        Column::count(task.attempts.into()),
        Column::count(task.max_attempts.into()),
        Column::count(task.runs.into()),
        Column::count(task.start_failures.into()),
        Column::maybe_count(task.timeout_ms),
        Column::maybe_count(task.stall_ms),
        Column::maybe_text(task.last_run.as_ref().map(|run| run.as_str())),
        Column::maybe_text(task.landed.as_deref()),
        Column::time(task.created_at),
        Column::time(task.updated_at),
        Column::list(&task.scope),
        Column::list(&task.attachments),
        Column::maybe_text(task.feedback.as_deref()),
        Column::maybe_text(task.result.as_deref()),
        Column::text(&task.description),
    ]
}

/// An exit as three values: the code, the signal, whether a core was dumped.
fn exit_values(exit: Option<Exit>) -> [Column<'static>; 3] {
    match exit {
        Some(Exit::Code(code)) => [Column::Integer(code.into()), Column::Null, Column::Null],
        Some(Exit::Signal { number, core }) => [
            Column::Null,
            Column::Integer(number.into()),
            Column::Integer(core.into()),
        ],
        None => [Column::Null, Column::Null, Column::Null],
    }
}

/// A run as values of [`RUN_COLUMNS`].
pub(crate) fn run_values(run: &Run) -> [Column<'_>; RUN_COLUMNS.len()] {
    let ending = run.ending();
    let outcome = ending.map(|ending| &ending.outcome);
    let [exit_code, exit_signal, exit_core] = exit_values(ending.and_then(|ending| ending.exit));
    let [failure_code, failure_message, failure_evidence] =
        failure_values(outcome.and_then(Outcome::failure));
    let limited_until = match outcome {
        Some(Outcome::Limited { until, .. }) => *until,
        _ => None,
    };
    let usage = ending.map(|ending| ending.usage).unwrap_or_default();
    // No number at all is how SQLite stores what is not a number.
    let cost_usd = usage.cost_usd.filter(|cost| !cost.is_nan());
    let cost_estimated = cost_usd.and_then(|_| ending.map(|ending| ending.cost_estimated.into()));
    let changes = ending.and_then(|ending| ending.changes);
    [
        Column::text(run.id.as_str()),
        Column::text(run.task.as_str()),
        Column::text(run.agent.as_str()),
        Column::text(&run.adapter),
        Column::count(run.attempt.into()),
        Column::text(run.status().as_str()),
        Column::maybe_text(run.stop.map(|stop| stop.as_str())),
        Column::maybe_text(run.branch.as_deref()),
        Column::maybe_text(run.boot.as_deref()),
        Column::maybe_text(run.resumed_session.as_deref()),
        Column::time(run.created_at),
        Column::maybe_time(run.started_at),
        Column::maybe_time(ending.map(|ending| ending.finished_at)),
        exit_code,
        exit_signal,
        exit_core,
        failure_code,
        failure_message,
        failure_evidence,
        Column::maybe_time(limited_until),
        Column::maybe_count(usage.input_tokens),
        Column::maybe_count(usage.output_tokens),
        Column::maybe_count(usage.cache_read_tokens),
        Column::maybe_count(usage.cache_write_tokens),
        cost_usd.map_or(Column::Null, Column::Real),
        cost_estimated.map_or(Column::Null, Column::Integer),
        Column::maybe_text(ending.and_then(|ending| ending.session_id.as_deref())),
        Column::maybe_text(ending.and_then(|ending| ending.commit.as_deref())),
        Column::maybe_count(changes.map(|changes| changes.files)),
        Column::maybe_count(changes.map(|changes| changes.commits)),
        Column::maybe_count(ending.map(|ending| ending.events)),
        ending.map_or(Column::Null, |ending| Column::list(&ending.warnings)),
        Column::maybe_text(ending.and_then(|ending| ending.result.as_deref())),
    ]
}

/// An event as values of [`EVENT_COLUMNS`].
pub(crate) fn event_values(event: &Event) -> [Column<'_>; EVENT_COLUMNS.len()] {
    [
        Column::time(event.time),
        Column::text(event.kind.as_str()),
        Column::maybe_text(event.task.as_ref().map(|task| task.as_str())),
        Column::maybe_text(event.run.as_ref().map(|run| run.as_str())),
        Column::maybe_text(event.agent.as_ref().map(|agent| agent.as_str())),
        Column::maybe_text(event.word.as_deref()),
        Column::maybe_text(event.message.as_deref()),
    ]
}

/// Reads the columns of a row from left to right.
pub(crate) struct Fields<'a, 'b> {
    row: &'a Row<'b>,
    next: usize,
}

impl<'a, 'b> Fields<'a, 'b> {
    /// The columns of `row`.
    pub(crate) const fn new(row: &'a Row<'b>) -> Self {
        Self { row, next: 0 }
    }

    /// The next column as it is.
    pub(crate) fn take<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    /// The next column as a count.
    pub(crate) fn count<T: TryFrom<i64, Error: Display>>(&mut self) -> rusqlite::Result<T> {
        let number: i64 = self.take()?;
        T::try_from(number).map_err(|error| self.damage(format!("{number}: {error}")))
    }

    fn maybe_count<T: TryFrom<i64, Error: Display>>(&mut self) -> rusqlite::Result<Option<T>> {
        let number: Option<i64> = self.take()?;
        number
            .map(|number| {
                T::try_from(number).map_err(|error| self.damage(format!("{number}: {error}")))
            })
            .transpose()
    }

    /// The next column as one of the words of `T`, or an id.
    pub(crate) fn word<T: FromStr<Err: Display>>(&mut self) -> rusqlite::Result<T> {
        let text: String = self.take()?;
        text.parse()
            .map_err(|error: T::Err| self.damage(error.to_string()))
    }

    fn maybe_word<T: FromStr<Err: Display>>(&mut self) -> rusqlite::Result<Option<T>> {
        let text: Option<String> = self.take()?;
        text.map(|text| {
            text.parse()
                .map_err(|error: T::Err| self.damage(error.to_string()))
        })
        .transpose()
    }

    /// The next column as the key of a lane.
    pub(crate) fn lane(&mut self) -> rusqlite::Result<Lane> {
        let key: String = self.take()?;
        Lane::from_key(&key).ok_or_else(|| self.damage(format!("'{key}' is no lane")))
    }

    /// The next column as a priority.
    pub(crate) fn priority(&mut self) -> rusqlite::Result<Priority> {
        let number = self.count()?;
        Priority::new(number).ok_or_else(|| self.damage(format!("{number} is no priority")))
    }

    fn time(&mut self) -> rusqlite::Result<Timestamp> {
        self.take().map(Timestamp)
    }

    /// The next column as a moment, if there is one.
    pub(crate) fn maybe_time(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        Ok(self.take::<Option<i64>>()?.map(Timestamp))
    }

    fn list<T: DeserializeOwned>(&mut self) -> rusqlite::Result<T> {
        let text: String = self.take()?;
        serde_json::from_str(&text).map_err(|error| self.damage(error.to_string()))
    }

    fn maybe_list<T: DeserializeOwned>(&mut self) -> rusqlite::Result<Option<T>> {
        let text: Option<String> = self.take()?;
        text.map(|text| serde_json::from_str(&text).map_err(|error| self.damage(error.to_string())))
            .transpose()
    }

    fn failure(&mut self) -> rusqlite::Result<Option<Failure>> {
        let code = self.maybe_word()?;
        let message: Option<String> = self.take()?;
        let evidence: Option<String> = self.take()?;
        Ok(match (code, message, evidence) {
            (Some(code), Some(message), Some(evidence)) => Some(Failure {
                code,
                message,
                evidence,
            }),
            _ => None,
        })
    }

    fn exit(&mut self) -> rusqlite::Result<Option<Exit>> {
        let code: Option<i32> = self.take()?;
        let signal: Option<i32> = self.take()?;
        let core: Option<bool> = self.take()?;
        Ok(match (code, signal) {
            (Some(code), _) => Some(Exit::Code(code)),
            (None, Some(number)) => Some(Exit::Signal {
                number,
                core: core.unwrap_or(false),
            }),
            (None, None) => None,
        })
    }

    fn changes(&mut self) -> rusqlite::Result<Option<Changes>> {
        let files = self.maybe_count()?;
        let commits = self.maybe_count()?;
        Ok(files
            .zip(commits)
            .map(|(files, commits)| Changes { files, commits }))
    }

    /// The error for a column whose value this program never writes.
    fn damage(&self, what: String) -> rusqlite::Error {
        let at = self.next.saturating_sub(1);
        let column = self.row.as_ref().column_name(at).unwrap_or("?").to_owned();
        let what: Box<dyn Error + Send + Sync> = format!("column {column}: {what}").into();
        rusqlite::Error::FromSqlConversionFailure(at, Type::Text, what)
    }
}

/// Reads a task from `seq` and [`TASK_COLUMNS`].
pub(crate) fn read_task(row: &Row<'_>) -> rusqlite::Result<Task> {
    let mut fields = Fields::new(row);
    let seq = fields.count()?;
    let id = fields.word()?;
    let title = fields.take()?;
    let status = fields.word()?;
    let priority = fields.priority()?;
    let agent = fields.maybe_word()?;
    let labels = fields.list()?;
    let _lane: Lane = fields.lane()?;
    Ok(Task {
        seq,
        id,
        title,
        priority,
        agent,
        labels,
        unmet: fields.count()?,
        state: read_task_state(&mut fields, status)?,
        workspace: fields.word()?,
        review: fields.word()?,
        on_lost: fields.word()?,
        require: fields.maybe_word()?,
        attempts: fields.count()?,
        max_attempts: fields.count()?,
        runs: fields.count()?,
        start_failures: fields.count()?,
        timeout_ms: fields.maybe_count()?,
        stall_ms: fields.maybe_count()?,
        last_run: fields.maybe_word()?,
        landed: fields.take()?,
        created_at: fields.time()?,
        updated_at: fields.time()?,
        scope: fields.list()?,
        attachments: fields.list()?,
        feedback: fields.take()?,
        result: fields.take()?,
        description: fields.take()?,
    })
}

/// Reads the columns from `hold_until` to `review_files`.
fn read_task_state(fields: &mut Fields<'_, '_>, status: TaskStatus) -> rusqlite::Result<TaskState> {
    let until = fields.maybe_time()?;
    let failure = fields.failure()?;
    let run = fields.maybe_word()?;
    let review: Option<String> = fields.take()?;
    let message: Option<String> = fields.take()?;
    let files = fields.maybe_list()?;
    let hold = |until, failure| Hold { until, failure };
    Ok(match (status, until, failure, run, review.as_deref()) {
        (TaskStatus::Todo, None, ..) => TaskState::Todo { hold: None },
        (TaskStatus::Todo, Some(until), Some(failure), ..) => TaskState::Todo {
            hold: Some(hold(until, failure)),
        },
        (TaskStatus::InProgress, _, _, Some(run), _) => TaskState::InProgress { run },
        (TaskStatus::Retrying, Some(until), Some(failure), ..) => TaskState::Retrying {
            hold: hold(until, failure),
        },
        (TaskStatus::Review, _, _, _, Some("person")) => TaskState::Review(Review::Person),
        (TaskStatus::Review, _, _, _, Some("landing")) => TaskState::Review(Review::Landing),
        (TaskStatus::Review, _, _, _, Some("blocked")) => TaskState::Review(Review::Blocked {
            message: message.unwrap_or_default(),
            files: files.unwrap_or_default(),
        }),
        (TaskStatus::Review, _, Some(failure), _, Some("lost")) => {
            TaskState::Review(Review::Lost { failure })
        }
        (TaskStatus::Done, ..) => TaskState::Done,
        (TaskStatus::Failed, _, Some(failure), ..) => TaskState::Failed { failure },
        (TaskStatus::Cancelled, _, Some(failure), ..) => TaskState::Cancelled { failure },
        (status, ..) => return Err(fields.damage(format!("{status} without what belongs to it"))),
    })
}

/// Reads a run from [`RUN_COLUMNS`].
pub(crate) fn read_run(row: &Row<'_>) -> rusqlite::Result<Run> {
    let mut fields = Fields::new(row);
    let id = fields.word()?;
    let task = fields.word()?;
    let agent = fields.word()?;
    let adapter = fields.take()?;
    let attempt = fields.count()?;
    let status = fields.word()?;
    Ok(Run {
        id,
        task,
        agent,
        adapter,
        attempt,
        stop: fields.maybe_word()?,
        branch: fields.take()?,
        boot: fields.take()?,
        resumed_session: fields.take()?,
        created_at: fields.time()?,
        started_at: fields.maybe_time()?,
        state: read_run_state(&mut fields, status)?,
    })
}

/// Reads the columns from `finished_at` to the end.
fn read_run_state(fields: &mut Fields<'_, '_>, status: RunStatus) -> rusqlite::Result<RunState> {
    let finished_at = match (status, fields.maybe_time()?) {
        (RunStatus::Starting, _) => return Ok(RunState::Starting),
        (RunStatus::Running, _) => return Ok(RunState::Running),
        (_, Some(finished_at)) => finished_at,
        (_, None) => return Err(fields.damage(format!("{status} without an end"))),
    };
    let exit = fields.exit()?;
    let failure = fields.failure()?;
    let until = fields.maybe_time()?;
    let outcome = match (status, failure) {
        (RunStatus::Completed, _) => Outcome::Completed,
        (RunStatus::Failed, Some(failure)) => Outcome::Failed(failure),
        (RunStatus::Limited, Some(failure)) => Outcome::Limited { failure, until },
        (RunStatus::TimedOut, Some(failure)) => Outcome::TimedOut(failure),
        (RunStatus::Cancelled, Some(failure)) => Outcome::Cancelled(failure),
        (RunStatus::NotStarted, Some(failure)) => Outcome::NotStarted(failure),
        (RunStatus::Lost, Some(failure)) => Outcome::Lost(failure),
        (status, _) => return Err(fields.damage(format!("{status} without a failure"))),
    };
    Ok(RunState::Ended(Box::new(Ending {
        outcome,
        exit,
        usage: Usage {
            input_tokens: fields.maybe_count()?,
            output_tokens: fields.maybe_count()?,
            cache_read_tokens: fields.maybe_count()?,
            cache_write_tokens: fields.maybe_count()?,
            cost_usd: fields.take()?,
        },
        cost_estimated: fields.take::<Option<bool>>()?.unwrap_or(false),
        session_id: fields.take()?,
        commit: fields.take()?,
        changes: fields.changes()?,
        events: fields.count()?,
        warnings: fields.list()?,
        result: fields.take()?,
        finished_at,
    })))
}

/// Reads a fact from `seq` and [`EVENT_COLUMNS`].
pub(crate) fn read_event(row: &Row<'_>) -> rusqlite::Result<Recorded> {
    let mut fields = Fields::new(row);
    Ok(Recorded {
        seq: fields.count()?,
        event: Event {
            time: fields.time()?,
            kind: fields.word()?,
            task: fields.maybe_word()?,
            run: fields.maybe_word()?,
            agent: fields.maybe_word()?,
            word: fields.take()?,
            message: fields.take()?,
        },
    })
}
