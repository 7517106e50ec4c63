//! The store in memory: for the simulator and for tests.
//!
//! Real transactions at the price of an undo log, real snapshots at the price of a copy when, and
//! only when, a reader holds one while something is written. It must not know more than the trait
//! says: a rule that only this engine has would hide a bug of the other.

mod tables;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orch_core::event::Event;
use orch_core::ledger::{self, Candidate, DependencyStatus, Ledger};
use orch_core::run::Run;
use orch_core::task::{Dependency, DependencyKind, Lane, Task};
use orch_core::{RunId, TaskId, Timestamp};

use crate::{
    Breach, Counts, Reader, Recorded, Result, RunFilter, Store, StoreError, TaskFilter, Transaction,
};
use tables::{Tables, Undo};

/// What writer and readers share. The writer holds the lock for a whole transaction, so whoever
/// gets it sees committed rows only.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Arc<Tables>>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Arc<Tables>> {
        // A panic inside a transaction rolls it back before the lock is released, so the rows
        // behind a poisoned lock are whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store that is gone with the process.
#[derive(Default)]
pub struct MemoryStore {
    shared: Shared,
}

impl Store for MemoryStore {
    fn transact<T, E: From<ledger::LedgerError>>(
        &mut self,
        work: impl FnOnce(&mut dyn Transaction) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let mut open = Open {
            tables: self.shared.lock(),
            undo: Vec::new(),
            marks: Vec::new(),
        };
        let value = work(&mut open)?;
        // What is not in the undo log stays.
        open.undo.clear();
        Ok(value)
    }

    fn reader(&self) -> Result<Box<dyn Reader>> {
        Ok(Box::new(MemoryReader {
            view: View {
                shared: self.shared.clone(),
                held: None,
            },
        }))
    }
}

/// A transaction under way. Dropping it undoes whatever is in the undo log.
struct Open<'a> {
    tables: MutexGuard<'a, Arc<Tables>>,
    undo: Vec<Undo>,
    marks: Vec<usize>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.undo_to(0);
    }
}

impl Open<'_> {
    fn undo_to(&mut self, length: usize) {
        if self.undo.len() > length {
            let tables = Arc::make_mut(&mut self.tables);
            for undo in self.undo.drain(length..).rev() {
                tables.undo(undo);
            }
        }
    }

    /// Runs one write and turns a breach into the error that the core knows.
    fn write<T>(
        &mut self,
        doing: impl FnOnce() -> String,
        work: impl FnOnce(&mut Tables, &mut Vec<Undo>) -> std::result::Result<T, Breach>,
    ) -> ledger::Result<T> {
        work(Arc::make_mut(&mut self.tables), &mut self.undo)
            .map_err(|breach| refused(doing(), breach))
    }
}

fn refused(doing: String, breach: Breach) -> ledger::LedgerError {
    StoreError::new(doing, None, breach.into()).into()
}

impl Transaction for Open<'_> {
    fn mark(&mut self) -> ledger::Result<()> {
        self.marks.push(self.undo.len());
        Ok(())
    }

    fn keep(&mut self) -> ledger::Result<()> {
        self.marks.pop();
        Ok(())
    }

    fn undo(&mut self) -> ledger::Result<()> {
        if let Some(length) = self.marks.pop() {
            self.undo_to(length);
        }
        Ok(())
    }

    fn facts_after(&mut self, after: u64) -> ledger::Result<Vec<Recorded>> {
        Ok(self.tables.events(after, usize::MAX))
    }
}

impl Ledger for Open<'_> {
    fn task(&mut self, id: &TaskId) -> ledger::Result<Option<Task>> {
        Ok(self.tables.task(id))
    }

    fn insert_task(&mut self, task: &Task, dependencies: &[Dependency]) -> ledger::Result<u64> {
        self.write(
            || format!("adding task {}", task.id),
            |tables, undo| tables.insert_task(task, dependencies, undo),
        )
    }

    fn update_task(&mut self, task: &Task) -> ledger::Result<()> {
        self.write(
            || format!("writing task {}", task.id),
            |tables, undo| tables.update_task(task, undo),
        )
    }

    fn delete_task(&mut self, id: &TaskId) -> ledger::Result<()> {
        self.write(
            || format!("deleting task {id}"),
            |tables, undo| tables.delete_task(id, undo),
        )
    }

    fn dependencies(&mut self, id: &TaskId) -> ledger::Result<Vec<DependencyStatus>> {
        Ok(self.tables.dependencies(id))
    }

    fn set_dependencies(&mut self, id: &TaskId, dependencies: &[Dependency]) -> ledger::Result<()> {
        self.write(
            || format!("setting what task {id} waits for"),
            |tables, undo| tables.set_dependencies(id, dependencies, undo),
        )
    }

    fn dependants(&mut self, id: &TaskId) -> ledger::Result<Vec<TaskId>> {
        Ok(self.tables.dependants(id))
    }

    fn shift_unmet(&mut self, id: &TaskId, kind: DependencyKind, by: i32) -> ledger::Result<u64> {
        self.write(
            || format!("counting what waits for task {id}"),
            |tables, undo| tables.shift_unmet(id, kind, by, undo),
        )
    }

    fn ready_lanes(&mut self) -> ledger::Result<Vec<Lane>> {
        Ok(self.tables.ready_lanes())
    }

    fn ready_in_lane(&mut self, lane: &Lane, limit: usize) -> ledger::Result<Vec<Candidate>> {
        Ok(self.tables.ready_in_lane(lane, limit))
    }

    fn due(&mut self, now: Timestamp, limit: usize) -> ledger::Result<Vec<TaskId>> {
        Ok(self.tables.due(now, limit))
    }

    fn next_due(&mut self) -> ledger::Result<Option<Timestamp>> {
        Ok(self.tables.next_due())
    }

    fn landing(&mut self) -> ledger::Result<Vec<TaskId>> {
        Ok(self.tables.landing())
    }

    fn run(&mut self, id: &RunId) -> ledger::Result<Option<Run>> {
        Ok(self.tables.run(id))
    }

    fn run_ids_of(&mut self, task: &TaskId) -> ledger::Result<Vec<RunId>> {
        Ok(self.tables.run_ids_of(task))
    }

    fn insert_run(&mut self, run: &Run) -> ledger::Result<()> {
        self.write(
            || format!("adding run {}", run.id),
            |tables, undo| tables.insert_run(run, undo),
        )
    }

    fn update_run(&mut self, run: &Run) -> ledger::Result<()> {
        self.write(
            || format!("writing run {}", run.id),
            |tables, undo| tables.update_run(run, undo),
        )
    }

    fn live_runs(&mut self) -> ledger::Result<Vec<Run>> {
        Ok(self.tables.live_runs())
    }

    fn append(&mut self, event: &Event) -> ledger::Result<u64> {
        self.write(
            || format!("recording {}", event.kind),
            |tables, undo| Ok(tables.append(event, undo)),
        )
    }
}

/// The rows as a reader sees them: those of the held moment, else those of now.
struct View {
    shared: Shared,
    held: Option<Arc<Tables>>,
}

impl View {
    fn read<T>(&self, work: impl FnOnce(&Tables) -> T) -> T {
        match &self.held {
            Some(tables) => work(tables),
            None => work(&self.shared.lock()),
        }
    }

    fn refuse<T>(doing: &str) -> ledger::Result<T> {
        Err(refused(doing.to_owned(), Breach::ReadOnly))
    }
}

impl Ledger for View {
    fn task(&mut self, id: &TaskId) -> ledger::Result<Option<Task>> {
        Ok(self.read(|tables| tables.task(id)))
    }

    fn insert_task(&mut self, _: &Task, _: &[Dependency]) -> ledger::Result<u64> {
        Self::refuse("adding a task")
    }

    fn update_task(&mut self, _: &Task) -> ledger::Result<()> {
        Self::refuse("writing a task")
    }

    fn delete_task(&mut self, _: &TaskId) -> ledger::Result<()> {
        Self::refuse("deleting a task")
    }

    fn dependencies(&mut self, id: &TaskId) -> ledger::Result<Vec<DependencyStatus>> {
        Ok(self.read(|tables| tables.dependencies(id)))
    }

    fn set_dependencies(&mut self, _: &TaskId, _: &[Dependency]) -> ledger::Result<()> {
        Self::refuse("setting what a task waits for")
    }

    fn dependants(&mut self, id: &TaskId) -> ledger::Result<Vec<TaskId>> {
        Ok(self.read(|tables| tables.dependants(id)))
    }

    fn shift_unmet(&mut self, _: &TaskId, _: DependencyKind, _: i32) -> ledger::Result<u64> {
        Self::refuse("counting what waits for a task")
    }

    fn ready_lanes(&mut self) -> ledger::Result<Vec<Lane>> {
        Ok(self.read(Tables::ready_lanes))
    }

    fn ready_in_lane(&mut self, lane: &Lane, limit: usize) -> ledger::Result<Vec<Candidate>> {
        Ok(self.read(|tables| tables.ready_in_lane(lane, limit)))
    }

    fn due(&mut self, now: Timestamp, limit: usize) -> ledger::Result<Vec<TaskId>> {
        Ok(self.read(|tables| tables.due(now, limit)))
    }

    fn next_due(&mut self) -> ledger::Result<Option<Timestamp>> {
        Ok(self.read(Tables::next_due))
    }

    fn landing(&mut self) -> ledger::Result<Vec<TaskId>> {
        Ok(self.read(Tables::landing))
    }

    fn run(&mut self, id: &RunId) -> ledger::Result<Option<Run>> {
        Ok(self.read(|tables| tables.run(id)))
    }

    fn run_ids_of(&mut self, task: &TaskId) -> ledger::Result<Vec<RunId>> {
        Ok(self.read(|tables| tables.run_ids_of(task)))
    }

    fn insert_run(&mut self, _: &Run) -> ledger::Result<()> {
        Self::refuse("adding a run")
    }

    fn update_run(&mut self, _: &Run) -> ledger::Result<()> {
        Self::refuse("writing a run")
    }

    fn live_runs(&mut self) -> ledger::Result<Vec<Run>> {
        Ok(self.read(Tables::live_runs))
    }

    fn append(&mut self, _: &Event) -> ledger::Result<u64> {
        Self::refuse("recording a fact")
    }
}

/// Reads a [`MemoryStore`]. Blocks while a transaction is under way, so a transaction must not
/// wait for one.
struct MemoryReader {
    view: View,
}

impl Reader for MemoryReader {
    fn task(&mut self, id: &TaskId) -> Result<Option<Task>> {
        Ok(self.view.read(|tables| tables.task(id)))
    }

    fn tasks(&mut self, filter: &TaskFilter) -> Result<Vec<Task>> {
        Ok(self.view.read(|tables| tables.tasks(filter)))
    }

    fn needing_person(&mut self, limit: usize) -> Result<Vec<Task>> {
        Ok(self.view.read(|tables| tables.needing_person(limit)))
    }

    fn counts(&mut self) -> Result<Counts> {
        Ok(self.view.read(Tables::counts))
    }

    fn dependencies(&mut self, id: &TaskId) -> Result<Vec<DependencyStatus>> {
        Ok(self.view.read(|tables| tables.dependencies(id)))
    }

    fn dependants(&mut self, id: &TaskId) -> Result<Vec<TaskId>> {
        Ok(self.view.read(|tables| tables.dependants(id)))
    }

    fn task_ids_with_prefix(&mut self, prefix: &str, limit: usize) -> Result<Vec<TaskId>> {
        Ok(self
            .view
            .read(|tables| tables.task_ids_with_prefix(prefix, limit)))
    }

    fn run(&mut self, id: &RunId) -> Result<Option<Run>> {
        Ok(self.view.read(|tables| tables.run(id)))
    }

    fn runs(&mut self, filter: &RunFilter) -> Result<Vec<Run>> {
        Ok(self.view.read(|tables| tables.runs(filter)))
    }

    fn live_runs(&mut self) -> Result<Vec<Run>> {
        Ok(self.view.read(Tables::live_runs))
    }

    fn run_ids_with_prefix(&mut self, prefix: &str, limit: usize) -> Result<Vec<RunId>> {
        Ok(self
            .view
            .read(|tables| tables.run_ids_with_prefix(prefix, limit)))
    }

    fn events(&mut self, after: u64, limit: usize) -> Result<Vec<Recorded>> {
        Ok(self.view.read(|tables| tables.events(after, limit)))
    }

    fn last_event(&mut self) -> Result<u64> {
        Ok(self.view.read(Tables::last_event))
    }

    fn ledger(&mut self) -> &mut dyn Ledger {
        &mut self.view
    }

    fn hold(&mut self) -> Result<()> {
        if self.view.held.is_none() {
            self.view.held = Some(Arc::clone(&self.view.shared.lock()));
        }
        Ok(())
    }

    fn release(&mut self) -> Result<()> {
        self.view.held = None;
        Ok(())
    }
}
