//! The rows and their indexes. Every change goes through one of five `put_…` functions, which
//! keep the indexes right and note how to go back; going back is the same function again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use orch_core::event::Event;
use orch_core::ledger::{Candidate, DependencyStatus};
use orch_core::run::Run;
use orch_core::task::TaskStatus;
use orch_core::task::{Dependency, DependencyKind, Lane, Priority, Review, Task, TaskState};
use orch_core::{RunId, TaskId, Timestamp};

use crate::{Breach, Counts, Recorded, RunFilter, TaskFilter, whole};

type Result<T> = std::result::Result<T, Breach>;

/// How to take one change back.
pub(super) enum Undo {
    /// The task was this, or was not there.
    Task(TaskId, Option<Arc<Task>>),
    /// The task waited for these.
    Needs(TaskId, BTreeSet<Dependency>),
    /// The run was this, or was not there.
    Run(RunId, Option<Arc<Stored>>),
    /// There was one fact less.
    Event,
    /// The last numbers given out were these.
    Numbers(Numbers),
}

/// The last numbers given out. They are never given out again.
#[derive(Clone, Copy, Default)]
pub(super) struct Numbers {
    task: u64,
    run: u64,
}

/// A run with its order of arrival.
pub(super) struct Stored {
    seq: u64,
    run: Run,
}

/// A ready queue: its lane and its tasks in the order in which they start.
#[derive(Clone)]
struct Queue {
    lane: Lane,
    tasks: BTreeSet<(Priority, u64, TaskId)>,
}

/// Everything that is stored. Cloned only while a reader holds a moment.
#[derive(Clone, Default)]
pub(super) struct Tables {
    tasks: BTreeMap<TaskId, Arc<Task>>,
    needs: BTreeMap<TaskId, BTreeSet<Dependency>>,
    runs: BTreeMap<RunId, Arc<Stored>>,
    events: Vec<Arc<Event>>,
    numbers: Numbers,

    // Indexes; each follows from the rows above.
    task_order: BTreeMap<u64, TaskId>,
    counts: BTreeMap<TaskStatus, u64>,
    needed_by: BTreeMap<TaskId, BTreeSet<(TaskId, DependencyKind)>>,
    ready: BTreeMap<String, Queue>,
    held: BTreeSet<(Timestamp, u64, TaskId)>,
    landing: BTreeSet<(u64, TaskId)>,
    person: BTreeSet<(Priority, u64, TaskId)>,
    run_order: BTreeMap<u64, RunId>,
    runs_of: BTreeMap<TaskId, BTreeSet<RunId>>,
    live: BTreeMap<u64, RunId>,
    live_of: BTreeMap<TaskId, RunId>,
}

/// What the ledger writes.
impl Tables {
    pub(super) fn insert_task(
        &mut self,
        task: &Task,
        dependencies: &[Dependency],
        log: &mut Vec<Undo>,
    ) -> Result<u64> {
        whole::task(task)?;
        if self.tasks.contains_key(&task.id) {
            return Err(Breach::TaskExists(task.id.clone()));
        }
        self.check_dependencies(&task.id, dependencies)?;
        log.push(Undo::Numbers(self.numbers));
        self.numbers.task += 1;
        let seq = self.numbers.task;
        let stored = Task {
            seq,
            ..task.clone()
        };
        self.change_task(&task.id, Some(Arc::new(stored)), log);
        self.change_needs(&task.id, dependencies, log);
        Ok(seq)
    }

    pub(super) fn update_task(&mut self, task: &Task, log: &mut Vec<Undo>) -> Result<()> {
        whole::task(task)?;
        let seq = self.require(&task.id)?.seq;
        let stored = Task {
            seq,
            ..task.clone()
        };
        self.change_task(&task.id, Some(Arc::new(stored)), log);
        Ok(())
    }

    pub(super) fn delete_task(&mut self, id: &TaskId, log: &mut Vec<Undo>) -> Result<()> {
        self.require(id)?;
        if self.needed_by.contains_key(id) {
            return Err(Breach::HasDependants(id.clone()));
        }
        if self.live_of.contains_key(id) {
            return Err(Breach::HasLiveRun(id.clone()));
        }
        for run in self.runs_of.get(id).cloned().unwrap_or_default() {
            self.change_run(&run, None, log);
        }
        self.change_needs(id, &[], log);
        self.change_task(id, None, log);
        Ok(())
    }

    pub(super) fn set_dependencies(
        &mut self,
        id: &TaskId,
        dependencies: &[Dependency],
        log: &mut Vec<Undo>,
    ) -> Result<()> {
        self.require(id)?;
        self.check_dependencies(id, dependencies)?;
        self.change_needs(id, dependencies, log);
        Ok(())
    }

    pub(super) fn shift_unmet(
        &mut self,
        id: &TaskId,
        kind: DependencyKind,
        by: i32,
        log: &mut Vec<Undo>,
    ) -> Result<u64> {
        let waiting: Vec<TaskId> = self
            .needed_by
            .get(id)
            .into_iter()
            .flatten()
            .filter(|(_, its_kind)| *its_kind == kind)
            .map(|(task, _)| task.clone())
            .collect();
        let mut shifted = Vec::with_capacity(waiting.len());
        for task in &waiting {
            let mut task = Task::clone(self.require(task)?);
            task.unmet = task
                .unmet
                .checked_add_signed(by)
                .ok_or_else(|| Breach::NothingUnmet(id.clone()))?;
            shifted.push(task);
        }
        for task in shifted {
            self.change_task(&task.id.clone(), Some(Arc::new(task)), log);
        }
        Ok(waiting.len() as u64)
    }

    pub(super) fn insert_run(&mut self, run: &Run, log: &mut Vec<Undo>) -> Result<()> {
        whole::run(run)?;
        if self.runs.contains_key(&run.id) {
            return Err(Breach::RunExists(run.id.clone()));
        }
        self.require(&run.task)?;
        if !run.status().is_final() && self.live_of.contains_key(&run.task) {
            return Err(Breach::HasLiveRun(run.task.clone()));
        }
        log.push(Undo::Numbers(self.numbers));
        self.numbers.run += 1;
        let stored = Stored {
            seq: self.numbers.run,
            run: run.clone(),
        };
        self.change_run(&run.id, Some(Arc::new(stored)), log);
        Ok(())
    }

    pub(super) fn update_run(&mut self, run: &Run, log: &mut Vec<Undo>) -> Result<()> {
        whole::run(run)?;
        let before = self
            .runs
            .get(&run.id)
            .filter(|before| before.run.task == run.task)
            .ok_or_else(|| Breach::NoRun(run.id.clone()))?;
        if before.run.status().is_final() {
            return Err(Breach::RunEnded(run.id.clone()));
        }
        let stored = Stored {
            seq: before.seq,
            run: run.clone(),
        };
        self.change_run(&run.id, Some(Arc::new(stored)), log);
        Ok(())
    }

    pub(super) fn append(&mut self, event: &Event, log: &mut Vec<Undo>) -> u64 {
        self.events.push(Arc::new(event.clone()));
        log.push(Undo::Event);
        self.last_event()
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Task(id, before) => drop(self.put_task(&id, before)),
            Undo::Needs(id, before) => drop(self.put_needs(&id, before)),
            Undo::Run(id, before) => drop(self.put_run(&id, before)),
            Undo::Event => drop(self.events.pop()),
            Undo::Numbers(before) => self.numbers = before,
        }
    }

    fn require(&self, id: &TaskId) -> Result<&Task> {
        match self.tasks.get(id) {
            Some(task) => Ok(task),
            None => Err(Breach::NoTask(id.clone())),
        }
    }

    fn check_dependencies(&self, id: &TaskId, dependencies: &[Dependency]) -> Result<()> {
        whole::dependencies(id, dependencies)?;
        for dependency in dependencies {
            self.require(&dependency.on)?;
        }
        Ok(())
    }
}

/// What the ledger and readers read.
impl Tables {
    pub(super) fn task(&self, id: &TaskId) -> Option<Task> {
        self.tasks.get(id).map(|task| Task::clone(task))
    }

    pub(super) fn tasks(&self, filter: &TaskFilter) -> Vec<Task> {
        let before = filter.before_seq.unwrap_or(u64::MAX);
        let newest_first = self.task_order.range(..before).rev();
        newest_first
            .filter_map(|(_, id)| self.tasks.get(id))
            .filter(|task| filter.admits(task))
            .take(filter.limit)
            .map(|task| Task::clone(task))
            .collect()
    }

    pub(super) fn needing_person(&self, limit: usize) -> Vec<Task> {
        let ids = self.person.iter().map(|(_, _, id)| id);
        ids.take(limit).filter_map(|id| self.task(id)).collect()
    }

    pub(super) fn counts(&self) -> Counts {
        let count = |status| self.counts.get(&status).copied().unwrap_or(0);
        TaskStatus::ALL
            .iter()
            .map(|status| (*status, count(*status)))
            .collect()
    }

    pub(super) fn dependencies(&self, id: &TaskId) -> Vec<DependencyStatus> {
        let needs = self.needs.get(id).into_iter().flatten();
        needs
            .filter_map(|dependency| {
                Some(DependencyStatus {
                    dependency: dependency.clone(),
                    status: self.tasks.get(&dependency.on)?.status(),
                })
            })
            .collect()
    }

    pub(super) fn dependants(&self, id: &TaskId) -> Vec<TaskId> {
        let mut dependants: Vec<TaskId> = self
            .needed_by
            .get(id)
            .into_iter()
            .flatten()
            .map(|(task, _)| task.clone())
            .collect();
        dependants.dedup();
        dependants
    }

    pub(super) fn task_ids_with_prefix(&self, prefix: &str, limit: usize) -> Vec<TaskId> {
        let ids = self.tasks.keys().skip_while(|id| id.as_str() < prefix);
        ids.take_while(|id| id.as_str().starts_with(prefix))
            .take(limit)
            .cloned()
            .collect()
    }

    pub(super) fn ready_lanes(&self) -> Vec<Lane> {
        self.ready
            .values()
            .map(|queue| queue.lane.clone())
            .collect()
    }

    pub(super) fn ready_in_lane(&self, lane: &Lane, limit: usize) -> Vec<Candidate> {
        let tasks = self
            .ready
            .get(&lane.key())
            .into_iter()
            .flat_map(|queue| &queue.tasks);
        tasks
            .take(limit)
            .map(|(priority, seq, task)| Candidate {
                task: task.clone(),
                priority: *priority,
                seq: *seq,
            })
            .collect()
    }

    pub(super) fn due(&self, now: Timestamp, limit: usize) -> Vec<TaskId> {
        let over = self.held.iter().take_while(|(until, _, _)| *until <= now);
        over.take(limit).map(|(_, _, id)| id.clone()).collect()
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.held.first().map(|(until, _, _)| *until)
    }

    pub(super) fn landing(&self) -> Vec<TaskId> {
        self.landing.iter().map(|(_, id)| id.clone()).collect()
    }

    pub(super) fn run(&self, id: &RunId) -> Option<Run> {
        self.runs.get(id).map(|stored| stored.run.clone())
    }

    pub(super) fn runs(&self, filter: &RunFilter) -> Vec<Run> {
        let before = match &filter.before {
            Some(id) => self.runs.get(id).map_or(0, |stored| stored.seq),
            None => u64::MAX,
        };
        let newest_first = self.run_order.range(..before).rev();
        newest_first
            .filter_map(|(_, id)| self.runs.get(id))
            .map(|stored| &stored.run)
            .filter(|run| filter.admits(run))
            .take(filter.limit)
            .cloned()
            .collect()
    }

    pub(super) fn run_ids_of(&self, task: &TaskId) -> Vec<RunId> {
        let runs = self.runs_of.get(task).into_iter().flatten();
        let mut runs: Vec<&RunId> = runs.collect();
        runs.sort_by_key(|id| self.runs.get(id).map(|stored| stored.seq));
        runs.into_iter().cloned().collect()
    }

    pub(super) fn live_runs(&self) -> Vec<Run> {
        self.live.values().filter_map(|id| self.run(id)).collect()
    }

    pub(super) fn run_ids_with_prefix(&self, prefix: &str, limit: usize) -> Vec<RunId> {
        let ids = self.runs.keys().skip_while(|id| id.as_str() < prefix);
        ids.take_while(|id| id.as_str().starts_with(prefix))
            .take(limit)
            .cloned()
            .collect()
    }

    pub(super) fn events(&self, after: u64, limit: usize) -> Vec<Recorded> {
        let skipped = usize::try_from(after).unwrap_or(usize::MAX);
        let rest = self.events.iter().zip(1..).skip(skipped);
        rest.take(limit)
            .map(|(event, seq)| Recorded {
                seq,
                event: Event::clone(event),
            })
            .collect()
    }

    pub(super) fn last_event(&self) -> u64 {
        self.events.len() as u64
    }
}

/// The changes, with their way back.
impl Tables {
    fn change_task(&mut self, id: &TaskId, task: Option<Arc<Task>>, log: &mut Vec<Undo>) {
        let before = self.put_task(id, task);
        log.push(Undo::Task(id.clone(), before));
    }

    fn change_needs(&mut self, id: &TaskId, needs: &[Dependency], log: &mut Vec<Undo>) {
        let before = self.put_needs(id, needs.iter().cloned().collect());
        log.push(Undo::Needs(id.clone(), before));
    }

    fn change_run(&mut self, id: &RunId, run: Option<Arc<Stored>>, log: &mut Vec<Undo>) {
        let before = self.put_run(id, run);
        log.push(Undo::Run(id.clone(), before));
    }

    fn put_task(&mut self, id: &TaskId, task: Option<Arc<Task>>) -> Option<Arc<Task>> {
        let before = match &task {
            Some(task) => self.tasks.insert(id.clone(), Arc::clone(task)),
            None => self.tasks.remove(id),
        };
        if let Some(before) = &before {
            self.leave_indexes(before);
        }
        if let Some(task) = &task {
            self.enter_indexes(task);
        }
        before
    }

    fn enter_indexes(&mut self, task: &Task) {
        let id = || task.id.clone();
        self.task_order.insert(task.seq, id());
        *self.counts.entry(task.status()).or_default() += 1;
        if task.is_ready() {
            let lane = task.lane();
            let queue = self.ready.entry(lane.key()).or_insert_with(|| Queue {
                lane,
                tasks: BTreeSet::new(),
            });
            queue.tasks.insert((task.priority, task.seq, id()));
        }
        if let Some(hold) = task.state.hold() {
            self.held.insert((hold.until, task.seq, id()));
        }
        match &task.state {
            TaskState::Review(Review::Landing) => drop(self.landing.insert((task.seq, id()))),
            TaskState::Review(_) => drop(self.person.insert((task.priority, task.seq, id()))),
            _ => {}
        }
    }

    fn leave_indexes(&mut self, task: &Task) {
        let id = || task.id.clone();
        self.task_order.remove(&task.seq);
        if let Some(count) = self.counts.get_mut(&task.status()) {
            *count -= 1;
        }
        if task.is_ready() {
            let key = task.lane().key();
            if let Some(queue) = self.ready.get_mut(&key) {
                queue.tasks.remove(&(task.priority, task.seq, id()));
                if queue.tasks.is_empty() {
                    self.ready.remove(&key);
                }
            }
        }
        if let Some(hold) = task.state.hold() {
            self.held.remove(&(hold.until, task.seq, id()));
        }
        match &task.state {
            TaskState::Review(Review::Landing) => drop(self.landing.remove(&(task.seq, id()))),
            TaskState::Review(_) => drop(self.person.remove(&(task.priority, task.seq, id()))),
            _ => {}
        }
    }

    fn put_needs(&mut self, id: &TaskId, needs: BTreeSet<Dependency>) -> BTreeSet<Dependency> {
        let before = self.needs.remove(id).unwrap_or_default();
        for dependency in &before {
            if let Some(needed_by) = self.needed_by.get_mut(&dependency.on) {
                needed_by.remove(&(id.clone(), dependency.kind));
                if needed_by.is_empty() {
                    self.needed_by.remove(&dependency.on);
                }
            }
        }
        for dependency in &needs {
            let needed_by = self.needed_by.entry(dependency.on.clone()).or_default();
            needed_by.insert((id.clone(), dependency.kind));
        }
        if !needs.is_empty() {
            self.needs.insert(id.clone(), needs);
        }
        before
    }

    fn put_run(&mut self, id: &RunId, run: Option<Arc<Stored>>) -> Option<Arc<Stored>> {
        let before = match &run {
            Some(run) => self.runs.insert(id.clone(), Arc::clone(run)),
            None => self.runs.remove(id),
        };
        if let Some(before) = &before {
            self.forget_run(before);
        }
        if let Some(run) = &run {
            self.note_run(run);
        }
        before
    }

    fn note_run(&mut self, stored: &Stored) {
        let Stored { seq, run } = stored;
        self.run_order.insert(*seq, run.id.clone());
        let runs = self.runs_of.entry(run.task.clone()).or_default();
        runs.insert(run.id.clone());
        if !run.status().is_final() {
            self.live.insert(*seq, run.id.clone());
            self.live_of.insert(run.task.clone(), run.id.clone());
        }
    }

    fn forget_run(&mut self, stored: &Stored) {
        let Stored { seq, run } = stored;
        self.run_order.remove(seq);
        if let Some(runs) = self.runs_of.get_mut(&run.task) {
            runs.remove(&run.id);
            if runs.is_empty() {
                self.runs_of.remove(&run.task);
            }
        }
        if !run.status().is_final() {
            self.live.remove(seq);
            self.live_of.remove(&run.task);
        }
    }
}
