//! A ledger that counts what is asked of it and how many rows it hands out.

use orch_core::event::Event;
use orch_core::ledger::{Candidate, DependencyStatus, Ledger, Result};
use orch_core::run::Run;
use orch_core::task::{Dependency, DependencyKind, Lane, Task};
use orch_core::{RunId, TaskId, Timestamp};

/// What something cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Calls of the ledger; each is one statement, or as many as its row has parts.
    pub calls: u64,
    /// Rows that came back.
    pub rows: u64,
}

pub struct Counting<'a> {
    inner: &'a mut dyn Ledger,
    pub cost: Cost,
}

impl<'a> Counting<'a> {
    pub fn new(inner: &'a mut dyn Ledger) -> Self {
        Self {
            inner,
            cost: Cost::default(),
        }
    }

    fn one<T>(&mut self, call: impl FnOnce(&mut dyn Ledger) -> Result<T>) -> Result<T> {
        self.cost.calls += 1;
        self.cost.rows += 1;
        call(self.inner)
    }

    fn many<T>(&mut self, call: impl FnOnce(&mut dyn Ledger) -> Result<Vec<T>>) -> Result<Vec<T>> {
        self.cost.calls += 1;
        let rows = call(self.inner)?;
        self.cost.rows += rows.len() as u64;
        Ok(rows)
    }
}

impl Ledger for Counting<'_> {
    fn task(&mut self, id: &TaskId) -> Result<Option<Task>> {
        self.one(|inner| inner.task(id))
    }

    fn insert_task(&mut self, task: &Task, dependencies: &[Dependency]) -> Result<u64> {
        self.one(|inner| inner.insert_task(task, dependencies))
    }

    fn update_task(&mut self, task: &Task) -> Result<()> {
        self.one(|inner| inner.update_task(task))
    }

    fn delete_task(&mut self, id: &TaskId) -> Result<()> {
        self.one(|inner| inner.delete_task(id))
    }

    fn dependencies(&mut self, id: &TaskId) -> Result<Vec<DependencyStatus>> {
        self.many(|inner| inner.dependencies(id))
    }

    fn set_dependencies(&mut self, id: &TaskId, dependencies: &[Dependency]) -> Result<()> {
        self.one(|inner| inner.set_dependencies(id, dependencies))
    }

    fn dependants(&mut self, id: &TaskId) -> Result<Vec<TaskId>> {
        self.many(|inner| inner.dependants(id))
    }

    fn shift_unmet(&mut self, id: &TaskId, kind: DependencyKind, by: i32) -> Result<u64> {
        self.one(|inner| inner.shift_unmet(id, kind, by))
    }

    fn ready_lanes(&mut self) -> Result<Vec<Lane>> {
        self.many(|inner| inner.ready_lanes())
    }

    fn ready_in_lane(&mut self, lane: &Lane, limit: usize) -> Result<Vec<Candidate>> {
        self.many(|inner| inner.ready_in_lane(lane, limit))
    }

    fn due(&mut self, now: Timestamp, limit: usize) -> Result<Vec<TaskId>> {
        self.many(|inner| inner.due(now, limit))
    }

    fn next_due(&mut self) -> Result<Option<Timestamp>> {
        self.one(|inner| inner.next_due())
    }

    fn landing(&mut self) -> Result<Vec<TaskId>> {
        self.many(|inner| inner.landing())
    }

    fn run(&mut self, id: &RunId) -> Result<Option<Run>> {
        self.one(|inner| inner.run(id))
    }

    fn run_ids_of(&mut self, task: &TaskId) -> Result<Vec<RunId>> {
        self.many(|inner| inner.run_ids_of(task))
    }

    fn insert_run(&mut self, run: &Run) -> Result<()> {
        self.one(|inner| inner.insert_run(run))
    }

    fn update_run(&mut self, run: &Run) -> Result<()> {
        self.one(|inner| inner.update_run(run))
    }

    fn live_runs(&mut self) -> Result<Vec<Run>> {
        self.many(|inner| inner.live_runs())
    }

    fn append(&mut self, event: &Event) -> Result<u64> {
        self.one(|inner| inner.append(event))
    }
}
