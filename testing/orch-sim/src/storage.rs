//! The store under test, watched: what each transaction really changed is read back from it
//! before it commits. Faults of the store and mutations of it are injected here.

use std::collections::{BTreeMap, BTreeSet};

use orch_core::event::{Event, EventKind};
use orch_core::ledger::{Candidate, DependencyStatus, Ledger, Result};
use orch_core::run::Run;
use orch_core::task::{Dependency, DependencyKind, Lane, Task};
use orch_core::{RunId, TaskId, Timestamp};
use orch_store::memory::MemoryStore;
use orch_store::{Store, StoreError};

use crate::mutation::{Lie, Mutation};
use crate::rows::{Change, Commit, Rows};

/// Why a transaction was rolled back.
#[derive(Debug)]
pub(crate) enum Abort {
    /// The simulated disk refused the commit. The daemon tries again.
    Injected,
    /// A rule was broken; this ends the simulation.
    Broken(String),
}

impl From<StoreError> for Abort {
    fn from(error: StoreError) -> Self {
        Self::Broken(chain(&error))
    }
}

impl From<orch_core::ledger::LedgerError> for Abort {
    fn from(error: orch_core::ledger::LedgerError) -> Self {
        Self::Broken(chain(&error))
    }
}

/// An error with its causes, as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The memory store and a copy of what was committed to it.
#[derive(Default)]
pub(crate) struct Storage {
    store: MemoryStore,
    pub(crate) rows: Rows,
    pub(crate) mutation: Option<Mutation>,
}

impl Storage {
    /// Does `work` in one transaction and says what it changed. The copy is not touched yet:
    /// that is for the caller, who first shows the change to the checkers.
    ///
    /// # Errors
    /// What `work` returned, or that the store refused something.
    pub(crate) fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Watch<'_>) -> std::result::Result<T, Abort>,
    ) -> std::result::Result<(T, Commit), Abort> {
        let Self {
            store,
            rows,
            mutation,
        } = self;
        store.transact(|transaction| {
            let mut watch = Watch {
                ledger: transaction,
                touched: Touched::default(),
                withheld: Vec::new(),
                mutation: *mutation,
            };
            let value = work(&mut watch)?;
            let mut commit = watch.changes(rows)?;
            Lie(*mutation).about_history(&mut commit, rows);
            Ok((value, commit))
        })
    }

    /// Takes the words of a task's result away behind everybody's back, as only a store that is
    /// wrong does.
    ///
    /// # Errors
    /// The store refused.
    pub(crate) fn forget(&mut self) -> std::result::Result<(), Abort> {
        let done = self.rows.tasks.values().find(|task| task.result.is_some());
        let Some(task) = done.filter(|_| self.mutation == Some(Mutation::StoreForgets)) else {
            return Ok(());
        };
        let forgetful = Task {
            result: None,
            ..task.clone()
        };
        self.store
            .transact(|transaction| Ok(transaction.update_task(&forgetful)?))
    }

    /// Reads rows outside any transaction.
    ///
    /// # Errors
    /// The store could not be read.
    pub(crate) fn read<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Ledger) -> Result<T>,
    ) -> std::result::Result<T, Abort> {
        let mut reader = self.store.reader()?;
        Ok(work(reader.ledger())?)
    }
}

#[derive(Debug, Default)]
struct Touched {
    tasks: BTreeSet<TaskId>,
    runs: BTreeSet<RunId>,
    dependencies: BTreeSet<TaskId>,
    events: Vec<(u64, Event)>,
    writes: u64,
}

/// A ledger that notes which rows are written and, when a mutation asks for it, lies.
pub(crate) struct Watch<'a> {
    ledger: &'a mut dyn Ledger,
    touched: Touched,
    withheld: Vec<Task>,
    mutation: Option<Mutation>,
}

impl Watch<'_> {
    /// The task rows that [`Mutation::TwoTransactions`] kept for a transaction of their own.
    pub(crate) fn take_withheld(&mut self) -> Vec<Task> {
        // The second transaction must not keep them back again.
        std::mem::take(&mut self.withheld)
    }

    /// Writes something that nobody asked for.
    pub(crate) fn scribble(&mut self, time: Timestamp) -> Result<()> {
        let event = Event {
            time,
            kind: EventKind::TaskEdited,
            task: None,
            run: None,
            agent: None,
            word: None,
            message: None,
        };
        self.append(&event).map(|_| ())
    }

    /// How many writes there have been.
    pub(crate) const fn writes(&self) -> u64 {
        self.touched.writes
    }

    fn changes(&mut self, rows: &Rows) -> Result<Commit> {
        let touched = std::mem::take(&mut self.touched);
        let mut tasks = BTreeMap::new();
        for id in touched.tasks {
            let after = self.ledger.task(&id)?;
            let before = rows.tasks.get(&id).cloned();
            if before != after {
                tasks.insert(id, Change { before, after });
            }
        }
        let mut runs = BTreeMap::new();
        for id in touched.runs {
            let after = self.ledger.run(&id)?;
            let before = rows.runs.get(&id).cloned();
            if before != after {
                runs.insert(id, Change { before, after });
            }
        }
        let mut dependencies = BTreeMap::new();
        for id in touched.dependencies {
            let statuses = self.ledger.dependencies(&id)?;
            let needed = statuses.into_iter().map(|it| it.dependency).collect();
            dependencies.insert(id, needed);
        }
        Ok(Commit {
            tasks,
            runs,
            dependencies,
            events: touched.events,
            planned: false,
            written_by_refused: 0,
            waits: Vec::new(),
        })
    }

    fn lie(&self) -> Lie {
        Lie(self.mutation)
    }
}

impl Ledger for Watch<'_> {
    fn task(&mut self, id: &TaskId) -> Result<Option<Task>> {
        self.ledger.task(id)
    }

    fn insert_task(&mut self, task: &Task, dependencies: &[Dependency]) -> Result<u64> {
        self.touched.writes += 1;
        self.touched.tasks.insert(task.id.clone());
        self.touched.dependencies.insert(task.id.clone());
        match self.lie().about_new_task(task) {
            Some(task) => self.ledger.insert_task(&task, dependencies),
            None => self.ledger.insert_task(task, dependencies),
        }
    }

    fn update_task(&mut self, task: &Task) -> Result<()> {
        self.touched.writes += 1;
        self.touched.tasks.insert(task.id.clone());
        let before = self.ledger.task(&task.id)?;
        match self.lie().about_task(before.as_ref(), task) {
            Some(task) => self.ledger.update_task(&task),
            None if self.mutation == Some(Mutation::TwoTransactions) => {
                self.withheld.push(task.clone());
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn delete_task(&mut self, id: &TaskId) -> Result<()> {
        self.touched.writes += 1;
        self.touched.tasks.insert(id.clone());
        self.ledger.delete_task(id)
    }

    fn dependencies(&mut self, id: &TaskId) -> Result<Vec<DependencyStatus>> {
        self.ledger.dependencies(id)
    }

    fn set_dependencies(&mut self, id: &TaskId, dependencies: &[Dependency]) -> Result<()> {
        self.touched.writes += 1;
        self.touched.dependencies.insert(id.clone());
        self.ledger.set_dependencies(id, dependencies)
    }

    fn dependants(&mut self, id: &TaskId) -> Result<Vec<TaskId>> {
        self.ledger.dependants(id)
    }

    fn shift_unmet(&mut self, id: &TaskId, kind: DependencyKind, by: i32) -> Result<u64> {
        self.touched.writes += 1;
        let waiting = self.ledger.dependants(id)?;
        self.touched.tasks.extend(waiting);
        if self.lie().drops_shift(by) {
            return Ok(0);
        }
        self.ledger.shift_unmet(id, kind, by)
    }

    fn ready_lanes(&mut self) -> Result<Vec<Lane>> {
        let lanes = self.ledger.ready_lanes()?;
        Ok(self.lie().about_lanes(lanes))
    }

    fn ready_in_lane(&mut self, lane: &Lane, limit: usize) -> Result<Vec<Candidate>> {
        let most = if self.lie().reverses() {
            usize::MAX
        } else {
            limit
        };
        let mut candidates = self.ledger.ready_in_lane(lane, most)?;
        self.lie().about_candidates(&mut candidates, limit);
        Ok(candidates)
    }

    fn due(&mut self, now: Timestamp, limit: usize) -> Result<Vec<TaskId>> {
        let mut due = self.ledger.due(self.lie().about_time(now), limit)?;
        if self.mutation == Some(Mutation::WakesTheWaking) {
            for lane in self.ledger.ready_lanes()? {
                let ready = self.ledger.ready_in_lane(&lane, 1)?;
                due.extend(ready.into_iter().map(|candidate| candidate.task));
            }
        }
        Ok(due)
    }

    fn next_due(&mut self) -> Result<Option<Timestamp>> {
        self.ledger.next_due()
    }

    fn landing(&mut self) -> Result<Vec<TaskId>> {
        self.ledger.landing()
    }

    fn run(&mut self, id: &RunId) -> Result<Option<Run>> {
        self.ledger.run(id)
    }

    fn run_ids_of(&mut self, task: &TaskId) -> Result<Vec<RunId>> {
        self.ledger.run_ids_of(task)
    }

    fn insert_run(&mut self, run: &Run) -> Result<()> {
        self.touched.writes += 1;
        self.touched.runs.insert(run.id.clone());
        let lie = self.lie().about_new_run(run);
        self.ledger.insert_run(lie.as_ref().unwrap_or(run))
    }

    fn update_run(&mut self, run: &Run) -> Result<()> {
        self.touched.writes += 1;
        self.touched.runs.insert(run.id.clone());
        match self.lie().about_run(run) {
            Some(run) => self.ledger.update_run(&run),
            None => Ok(()),
        }
    }

    fn live_runs(&mut self) -> Result<Vec<Run>> {
        let live = self.ledger.live_runs()?;
        Ok(self.lie().about_live(live))
    }

    fn append(&mut self, event: &Event) -> Result<u64> {
        self.touched.writes += 1;
        if let Some(number) = self.lie().about_event(event, self.touched.events.last()) {
            return Ok(number);
        }
        let number = self.ledger.append(event)?;
        let shown = self.lie().about_number(event, number);
        self.touched.events.push((shown, event.clone()));
        Ok(number)
    }
}
