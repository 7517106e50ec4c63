//! Reads for other threads, each over a connection of its own that cannot write.

use orch_core::ledger::{DependencyStatus, Ledger};
use orch_core::run::Run;
use orch_core::task::{Task, TaskStatus};
use orch_core::{RunId, TaskId};
use rusqlite::params;

use super::connection::{Connection, all, first, limit, word};
use super::statements as sql;
use crate::error::Cause;
use crate::rows::{Fields, read_run, read_task};
use crate::{Counts, Reader, Recorded, Result, RunFilter, TaskFilter};

/// A text greater than every id that begins with a prefix, behind that prefix: ids are ASCII
/// letters, digits and `_`.
const AFTER_EVERY_ID: char = '~';

/// Reads a database through a connection of its own.
pub(super) struct SqliteReader {
    connection: Connection,
}

impl SqliteReader {
    pub(super) const fn new(connection: Connection) -> Self {
        Self { connection }
    }
}

type Answer<T> = std::result::Result<T, Cause>;

/// The numbers of the newest tasks of one status. Every status has its own place in the index, so
/// a page of few statuses never walks over the others.
fn newest(
    inner: &rusqlite::Connection,
    status: TaskStatus,
    filter: &TaskFilter,
) -> Answer<Vec<i64>> {
    let before = filter
        .before_seq
        .map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
    let (status, rows) = (status.as_str(), limit(filter.limit));
    let seq = |row: &rusqlite::Row<'_>| row.get(0);
    match (
        &filter.label,
        filter.agent.as_ref().map(|agent| agent.as_str()),
    ) {
        (None, None) => all(inner, sql::TASKS, params![status, before, rows], seq),
        (None, Some(agent)) => all(
            inner,
            sql::TASKS_OF_AGENT,
            params![status, before, rows, agent],
            seq,
        ),
        (Some(label), None) => all(
            inner,
            sql::TASKS_OF_LABEL,
            params![status, before, rows, label],
            seq,
        ),
        (Some(label), Some(agent)) => {
            let values = params![status, before, rows, label, agent];
            all(inner, sql::TASKS_OF_LABEL_AND_AGENT, values, seq)
        }
    }
}

fn tasks(inner: &rusqlite::Connection, filter: &TaskFilter) -> Answer<Vec<Task>> {
    let statuses = match filter.statuses.as_slice() {
        [] => TaskStatus::ALL,
        statuses => statuses,
    };
    let mut numbers = Vec::new();
    for status in statuses {
        numbers.extend(newest(inner, *status, filter)?);
    }
    numbers.sort_unstable_by(|one, other| other.cmp(one));
    numbers.dedup();
    numbers.truncate(filter.limit);
    tasks_of(inner, &numbers)
}

fn tasks_of(inner: &rusqlite::Connection, numbers: &[i64]) -> Answer<Vec<Task>> {
    let mut tasks = Vec::with_capacity(numbers.len());
    for seq in numbers {
        tasks.extend(first(inner, &sql::TASK_BY_SEQ, [seq], read_task)?);
    }
    Ok(tasks)
}

fn runs(inner: &rusqlite::Connection, filter: &RunFilter) -> Answer<Vec<Run>> {
    let before: i64 = match &filter.before {
        Some(run) => first(inner, sql::RUN_SEQ, [run.as_str()], |row| row.get(0))?.unwrap_or(0),
        None => i64::MAX,
    };
    let rows = limit(filter.limit);
    let task = filter.task.as_ref().map(|task| task.as_str());
    let agent = filter.agent.as_ref().map(|agent| agent.as_str());
    match (task, agent) {
        (None, None) => all(inner, &sql::RUNS, params![before, rows], read_run),
        (Some(task), None) => all(
            inner,
            &sql::RUNS_OF_TASK,
            params![before, rows, task],
            read_run,
        ),
        (None, Some(agent)) => all(
            inner,
            &sql::RUNS_OF_AGENT,
            params![before, rows, agent],
            read_run,
        ),
        (Some(task), Some(agent)) => {
            let values = params![before, rows, task, agent];
            all(inner, &sql::RUNS_OF_TASK_AND_AGENT, values, read_run)
        }
    }
}

impl SqliteReader {
    /// Several statements that must see the same moment.
    fn together<T>(
        &mut self,
        doing: &str,
        work: impl FnOnce(&rusqlite::Connection) -> Answer<T>,
    ) -> Result<T> {
        let held = !self.connection.inner().is_autocommit();
        self.connection.hold(true)?;
        let result = self.connection.ask(|| doing.to_owned(), work);
        self.connection.hold(held)?;
        result
    }

    fn ids<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        statement: &str,
        prefix: &str,
        rows: usize,
    ) -> Result<Vec<T>> {
        self.connection.ask(
            || {
                format!(
                    "looking for ids that begin with '{}'",
                    prefix.escape_default()
                )
            },
            |inner| {
                let end = format!("{prefix}{AFTER_EVERY_ID}");
                all(inner, statement, params![prefix, end, limit(rows)], word)
            },
        )
    }
}

impl Reader for SqliteReader {
    fn task(&mut self, id: &TaskId) -> Result<Option<Task>> {
        Ok(Ledger::task(&mut self.connection, id)?)
    }

    fn tasks(&mut self, filter: &TaskFilter) -> Result<Vec<Task>> {
        self.together("listing tasks", |inner| tasks(inner, filter))
    }

    fn needing_person(&mut self, rows: usize) -> Result<Vec<Task>> {
        self.together("listing the tasks that need a person", |inner| {
            let seq = |row: &rusqlite::Row<'_>| row.get(0);
            let numbers: Vec<i64> = all(inner, sql::NEEDING_PERSON, [limit(rows)], seq)?;
            tasks_of(inner, &numbers)
        })
    }

    fn counts(&mut self) -> Result<Counts> {
        self.connection.ask(
            || "counting tasks".to_owned(),
            |inner| {
                let counts = all(inner, sql::COUNTS, (), |row| {
                    let mut fields = Fields::new(row);
                    Ok((fields.word()?, fields.count()?))
                })?;
                Ok(counts.into_iter().collect())
            },
        )
    }

    fn dependencies(&mut self, id: &TaskId) -> Result<Vec<DependencyStatus>> {
        Ok(self.connection.dependencies(id)?)
    }

    fn dependants(&mut self, id: &TaskId) -> Result<Vec<TaskId>> {
        Ok(self.connection.dependants(id)?)
    }

    fn task_ids_with_prefix(&mut self, prefix: &str, rows: usize) -> Result<Vec<TaskId>> {
        self.ids(sql::TASK_IDS, prefix, rows)
    }

    fn run(&mut self, id: &RunId) -> Result<Option<Run>> {
        Ok(Ledger::run(&mut self.connection, id)?)
    }

    fn runs(&mut self, filter: &RunFilter) -> Result<Vec<Run>> {
        self.together("listing runs", |inner| runs(inner, filter))
    }

    fn live_runs(&mut self) -> Result<Vec<Run>> {
        Ok(Ledger::live_runs(&mut self.connection)?)
    }

    fn run_ids_with_prefix(&mut self, prefix: &str, rows: usize) -> Result<Vec<RunId>> {
        self.ids(sql::RUN_IDS, prefix, rows)
    }

    fn events(&mut self, after: u64, rows: usize) -> Result<Vec<Recorded>> {
        self.connection.facts(after, rows)
    }

    fn last_event(&mut self) -> Result<u64> {
        self.connection.ask(
            || "reading the number of the last fact".to_owned(),
            |inner| {
                let last: Option<i64> =
                    first(inner, sql::LAST_EVENT, (), |row| row.get(0))?.flatten();
                Ok(last.unwrap_or(0).unsigned_abs())
            },
        )
    }

    fn ledger(&mut self) -> &mut dyn Ledger {
        &mut self.connection
    }

    fn hold(&mut self) -> Result<()> {
        self.connection.hold(true)
    }

    fn release(&mut self) -> Result<()> {
        self.connection.hold(false)
    }
}
