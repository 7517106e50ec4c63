//! A second copy of the committed rows, built from nothing but what each transaction changed.
//!
//! Checkers read this copy and never the store, so a store that forgets what it was told is found.

use std::collections::{BTreeMap, BTreeSet};

use orch_core::event::Event;
use orch_core::run::Run;
use orch_core::task::{Dependency, Task};
use orch_core::wait::Wait;
use orch_core::{RunId, TaskId};

/// One row before and after a transaction; `None` when it was not there.
#[derive(Debug, Clone)]
pub(crate) struct Change<T> {
    pub(crate) before: Option<T>,
    pub(crate) after: Option<T>,
}

/// What one transaction changed.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    pub(crate) tasks: BTreeMap<TaskId, Change<Task>>,
    pub(crate) runs: BTreeMap<RunId, Change<Run>>,
    pub(crate) dependencies: BTreeMap<TaskId, Vec<Dependency>>,
    pub(crate) events: Vec<(u64, Event)>,
    /// The plan was made, with everything permitted.
    pub(crate) planned: bool,
    /// Requests that were refused and yet wrote something.
    pub(crate) written_by_refused: u64,
    /// Why each changed task does not move, as orch explains it.
    pub(crate) waits: Vec<(TaskId, Option<Wait>)>,
}

impl Commit {
    /// The runs this transaction recorded.
    pub(crate) fn started(&self) -> impl Iterator<Item = &Run> {
        let new = self.runs.values().filter(|change| change.before.is_none());
        new.filter_map(|change| change.after.as_ref())
    }

    /// The runs this transaction ended.
    pub(crate) fn ended(&self) -> impl Iterator<Item = &Run> {
        let live = |run: &Run| !run.status().is_final();
        self.runs
            .values()
            .filter(move |change| change.before.as_ref().is_none_or(live))
            .filter_map(|change| change.after.as_ref())
            .filter(move |run| !live(run))
    }

    /// The tasks this transaction changed, as they are now.
    pub(crate) fn changed_tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks
            .values()
            .filter_map(|change| change.after.as_ref())
    }
}

/// Every committed row.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    pub(crate) runs: BTreeMap<RunId, Run>,
    pub(crate) live: BTreeSet<RunId>,
    /// The tasks that have not ended.
    pub(crate) open: BTreeSet<TaskId>,
    pub(crate) dependencies: BTreeMap<TaskId, Vec<Dependency>>,
    pub(crate) events: u64,
}

impl Rows {
    /// Applies what a transaction changed.
    pub(crate) fn apply(&mut self, commit: &Commit) {
        for (id, change) in &commit.tasks {
            self.apply_task(id, change.after.as_ref());
        }
        for (id, dependencies) in &commit.dependencies {
            self.dependencies.insert(id.clone(), dependencies.clone());
        }
        for (id, change) in &commit.runs {
            match &change.after {
                Some(run) if !run.status().is_final() => {
                    self.live.insert(id.clone());
                    self.runs.insert(id.clone(), run.clone());
                }
                Some(run) => {
                    self.live.remove(id);
                    self.runs.insert(id.clone(), run.clone());
                }
                None => {
                    self.live.remove(id);
                    self.runs.remove(id);
                }
            }
        }
        if let Some((last, _)) = commit.events.last() {
            self.events = *last;
        }
    }

    fn apply_task(&mut self, id: &TaskId, after: Option<&Task>) {
        match after {
            Some(task) => {
                if task.status().is_ended() {
                    self.open.remove(id);
                } else {
                    self.open.insert(id.clone());
                }
                self.tasks.insert(id.clone(), task.clone());
            }
            None => {
                self.tasks.remove(id);
                self.open.remove(id);
                self.dependencies.remove(id);
                self.runs.retain(|_, run| &run.task != id);
                let runs = &self.runs;
                self.live.retain(|run| runs.contains_key(run));
            }
        }
    }

    /// The runs that have not ended, in order of id.
    pub(crate) fn live_runs(&self) -> impl Iterator<Item = &Run> {
        self.live.iter().filter_map(|id| self.runs.get(id))
    }

    /// The tasks that have not ended, in order of id.
    pub(crate) fn open_tasks(&self) -> impl Iterator<Item = &Task> {
        self.open.iter().filter_map(|id| self.tasks.get(id))
    }

    /// How many dependencies of a task are not met, counted anew.
    pub(crate) fn count_unmet(&self, id: &TaskId) -> usize {
        let dependencies = self.dependencies.get(id).into_iter().flatten();
        dependencies
            .filter(|dependency| {
                let other = self.tasks.get(&dependency.on);
                other.is_none_or(|other| !dependency.kind.is_met_by(other.status()))
            })
            .count()
    }
}
