//! The ledger of the core, as statements.
//!
//! The schema refuses what must not be; this file turns its refusals into words. It must not know
//! how a transaction begins or ends.

use orch_core::event::Event;
use orch_core::ledger::{self, Candidate, DependencyStatus, Ledger};
use orch_core::run::Run;
use orch_core::task::{Dependency, DependencyKind, Lane, Task};
use orch_core::{RunId, TaskId, Timestamp};
use rusqlite::{Row, params, params_from_iter};

use super::connection::{Answer, Connection, all, execute, first, limit, word};
use super::statements as sql;
use crate::error::Cause;
use crate::rows::{Fields, event_values, read_run, read_task, run_values, task_values};
use crate::{Breach, whole};

/// Whether the only value of the only row is true.
fn holds(inner: &rusqlite::Connection, statement: &str, id: &str) -> Answer<bool> {
    Ok(first(inner, statement, [id], |row| row.get(0))?.unwrap_or(false))
}

/// Names the rule that a refused statement would have broken. The schema refuses; this only finds
/// the words, so it may look at more rows than the statement did.
fn explain(error: Cause, breach: impl FnOnce() -> Answer<Option<Breach>>) -> Cause {
    let Cause::Sql(error) = error else {
        return error;
    };
    if error.sqlite_error_code() != Some(rusqlite::ErrorCode::ConstraintViolation) {
        return Cause::Sql(error);
    }
    match breach() {
        Ok(Some(breach)) => Cause::Breach(breach),
        Ok(None) => Cause::Sql(error),
        Err(other) => other,
    }
}

fn task_exists(inner: &rusqlite::Connection, id: &TaskId) -> Answer<bool> {
    holds(inner, sql::TASK_EXISTS, id.as_str())
}

/// Refuses unless the statement that was meant for one row found it.
fn found(rows: usize, missing: impl FnOnce() -> Breach) -> Answer<()> {
    match rows {
        0 => Err(missing().into()),
        _ => Ok(()),
    }
}

fn add_dependencies(
    inner: &rusqlite::Connection,
    id: &TaskId,
    dependencies: &[Dependency],
) -> Answer<()> {
    whole::dependencies(id, dependencies)?;
    for Dependency { on, kind } in dependencies {
        execute(
            inner,
            sql::INSERT_DEPENDENCY,
            [id.as_str(), on.as_str(), kind.as_str()],
        )
        .map_err(|error| {
            explain(error, || {
                Ok((!task_exists(inner, on)?).then(|| Breach::NoTask(on.clone())))
            })
        })?;
    }
    Ok(())
}

fn insert_task(
    inner: &rusqlite::Connection,
    task: &Task,
    dependencies: &[Dependency],
) -> Answer<u64> {
    whole::task(task)?;
    execute(
        inner,
        &sql::INSERT_TASK,
        params_from_iter(task_values(task)),
    )
    .map_err(|error| {
        explain(error, || {
            Ok(task_exists(inner, &task.id)?.then(|| Breach::TaskExists(task.id.clone())))
        })
    })?;
    let seq = inner.last_insert_rowid();
    add_dependencies(inner, &task.id, dependencies)?;
    Ok(seq.unsigned_abs())
}

fn delete_task(inner: &rusqlite::Connection, id: &TaskId) -> Answer<()> {
    let rows = execute(inner, sql::DELETE_TASK, [id.as_str()]).map_err(|error| {
        explain(error, || {
            Ok(if holds(inner, sql::HAS_DEPENDANTS, id.as_str())? {
                Some(Breach::HasDependants(id.clone()))
            } else if holds(inner, sql::HAS_LIVE_RUN, id.as_str())? {
                Some(Breach::HasLiveRun(id.clone()))
            } else {
                None
            })
        })
    })?;
    found(rows, || Breach::NoTask(id.clone()))
}

fn insert_run(inner: &rusqlite::Connection, run: &Run) -> Answer<()> {
    whole::run(run)?;
    let inserted = execute(inner, &sql::INSERT_RUN, params_from_iter(run_values(run)));
    inserted.map(drop).map_err(|error| {
        explain(error, || {
            Ok(
                if first(inner, sql::RUN_SEQ, [run.id.as_str()], |_| Ok(()))?.is_some() {
                    Some(Breach::RunExists(run.id.clone()))
                } else if !task_exists(inner, &run.task)? {
                    Some(Breach::NoTask(run.task.clone()))
                } else if holds(inner, sql::HAS_LIVE_RUN, run.task.as_str())? {
                    Some(Breach::HasLiveRun(run.task.clone()))
                } else {
                    None
                },
            )
        })
    })
}

fn update_run(inner: &rusqlite::Connection, run: &Run) -> Answer<()> {
    whole::run(run)?;
    let rows = execute(inner, &sql::UPDATE_RUN, params_from_iter(run_values(run)));
    let rows = rows.map_err(|error| {
        explain(error, || {
            let stored = first(inner, &sql::RUN_BY_ID, [run.id.as_str()], read_run)?;
            let ended = stored.is_some_and(|stored| stored.status().is_final());
            Ok(ended.then(|| Breach::RunEnded(run.id.clone())))
        })
    })?;
    found(rows, || Breach::NoRun(run.id.clone()))
}

fn set_dependencies(
    inner: &rusqlite::Connection,
    id: &TaskId,
    dependencies: &[Dependency],
) -> Answer<()> {
    if !task_exists(inner, id)? {
        return Err(Breach::NoTask(id.clone()).into());
    }
    execute(inner, sql::DELETE_DEPENDENCIES, [id.as_str()])?;
    add_dependencies(inner, id, dependencies)
}

fn read_dependency(row: &Row<'_>) -> rusqlite::Result<DependencyStatus> {
    let mut fields = Fields::new(row);
    Ok(DependencyStatus {
        dependency: Dependency {
            on: fields.word()?,
            kind: fields.word()?,
        },
        status: fields.word()?,
    })
}

fn read_candidate(row: &Row<'_>) -> rusqlite::Result<Candidate> {
    let mut fields = Fields::new(row);
    Ok(Candidate {
        task: fields.word()?,
        priority: fields.priority()?,
        seq: fields.count()?,
    })
}

impl Ledger for Connection {
    fn task(&mut self, id: &TaskId) -> ledger::Result<Option<Task>> {
        Ok(self.ask(
            || format!("reading task {id}"),
            |inner| first(inner, &sql::TASK_BY_ID, [id.as_str()], read_task),
        )?)
    }

    fn insert_task(&mut self, task: &Task, dependencies: &[Dependency]) -> ledger::Result<u64> {
        Ok(self.ask(
            || format!("adding task {}", task.id),
            |inner| insert_task(inner, task, dependencies),
        )?)
    }

    fn update_task(&mut self, task: &Task) -> ledger::Result<()> {
        Ok(self.ask(
            || format!("writing task {}", task.id),
            |inner| {
                whole::task(task)?;
                let values = params_from_iter(task_values(task));
                let rows = execute(inner, &sql::UPDATE_TASK, values)?;
                found(rows, || Breach::NoTask(task.id.clone()))
            },
        )?)
    }

    fn delete_task(&mut self, id: &TaskId) -> ledger::Result<()> {
        Ok(self.ask(
            || format!("deleting task {id}"),
            |inner| delete_task(inner, id),
        )?)
    }

    fn dependencies(&mut self, id: &TaskId) -> ledger::Result<Vec<DependencyStatus>> {
        Ok(self.ask(
            || format!("reading what task {id} waits for"),
            |inner| {
                let mut told = all(inner, sql::DEPENDENCIES, [id.as_str()], read_dependency)?;
                // The order of the kinds is the core's; the alphabet has another one.
                told.sort_by(|one, other| one.dependency.cmp(&other.dependency));
                Ok(told)
            },
        )?)
    }

    fn set_dependencies(&mut self, id: &TaskId, dependencies: &[Dependency]) -> ledger::Result<()> {
        Ok(self.ask(
            || format!("setting what task {id} waits for"),
            |inner| set_dependencies(inner, id, dependencies),
        )?)
    }

    fn dependants(&mut self, id: &TaskId) -> ledger::Result<Vec<TaskId>> {
        Ok(self.ask(
            || format!("reading what waits for task {id}"),
            |inner| all(inner, sql::DEPENDANTS, [id.as_str()], word),
        )?)
    }

    fn shift_unmet(&mut self, id: &TaskId, kind: DependencyKind, by: i32) -> ledger::Result<u64> {
        Ok(self.ask(
            || format!("counting what waits for task {id}"),
            |inner| {
                let values = params![id.as_str(), kind.as_str(), by];
                let rows = execute(inner, sql::SHIFT_UNMET, values).map_err(|error| {
                    explain(error, || Ok(Some(Breach::NothingUnmet(id.clone()))))
                })?;
                Ok(rows as u64)
            },
        )?)
    }

    fn ready_lanes(&mut self) -> ledger::Result<Vec<Lane>> {
        Ok(self.ask(
            || "reading the lanes with ready tasks".to_owned(),
            |inner| all(inner, sql::READY_LANES, (), |row| Fields::new(row).lane()),
        )?)
    }

    fn ready_in_lane(&mut self, lane: &Lane, rows: usize) -> ledger::Result<Vec<Candidate>> {
        Ok(self.ask(
            || format!("reading the ready tasks of lane {}", lane.key()),
            |inner| {
                let values = params![lane.key(), limit(rows)];
                all(inner, sql::READY_IN_LANE, values, read_candidate)
            },
        )?)
    }

    fn due(&mut self, now: Timestamp, rows: usize) -> ledger::Result<Vec<TaskId>> {
        Ok(self.ask(
            || "reading the tasks whose time has come".to_owned(),
            |inner| all(inner, sql::DUE, params![now.0, limit(rows)], word),
        )?)
    }

    fn next_due(&mut self) -> ledger::Result<Option<Timestamp>> {
        Ok(self.ask(
            || "reading when the next task's time comes".to_owned(),
            |inner| {
                let next = first(inner, sql::NEXT_DUE, (), |row| {
                    Fields::new(row).maybe_time()
                })?;
                Ok(next.flatten())
            },
        )?)
    }

    fn landing(&mut self) -> ledger::Result<Vec<TaskId>> {
        Ok(self.ask(
            || "reading the tasks that are landing".to_owned(),
            |inner| all(inner, sql::LANDING, (), word),
        )?)
    }

    fn run(&mut self, id: &RunId) -> ledger::Result<Option<Run>> {
        Ok(self.ask(
            || format!("reading run {id}"),
            |inner| first(inner, &sql::RUN_BY_ID, [id.as_str()], read_run),
        )?)
    }

    fn run_ids_of(&mut self, task: &TaskId) -> ledger::Result<Vec<RunId>> {
        Ok(self.ask(
            || format!("reading the runs of {task}"),
            |inner| all(inner, sql::RUN_IDS_OF_TASK, [task.as_str()], word),
        )?)
    }

    fn insert_run(&mut self, run: &Run) -> ledger::Result<()> {
        Ok(self.ask(
            || format!("adding run {}", run.id),
            |inner| insert_run(inner, run),
        )?)
    }

    fn update_run(&mut self, run: &Run) -> ledger::Result<()> {
        Ok(self.ask(
            || format!("writing run {}", run.id),
            |inner| update_run(inner, run),
        )?)
    }

    fn live_runs(&mut self) -> ledger::Result<Vec<Run>> {
        Ok(self.ask(
            || "reading the live runs".to_owned(),
            |inner| all(inner, &sql::LIVE_RUNS, (), read_run),
        )?)
    }

    fn append(&mut self, event: &Event) -> ledger::Result<u64> {
        Ok(self.ask(
            || format!("recording {}", event.kind),
            |inner| {
                let values = params_from_iter(event_values(event));
                execute(inner, &sql::INSERT_EVENT, values)?;
                Ok(inner.last_insert_rowid().unsigned_abs())
            },
        )?)
    }
}
