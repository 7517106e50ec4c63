//! Random work, done by both engines, which must agree on every answer and every refusal.

use orch_core::ledger::LedgerError;
use orch_core::run::{Run, RunState};
use orch_core::task::{Dependency, DependencyKind, Priority, Task};
use orch_core::{AgentName, RunId, TaskId, Timestamp};
use orch_store::memory::MemoryStore;
use orch_store::{Breach, Reader, RunFilter, Store, StoreError, TaskFilter, Transaction};
use proptest::prelude::*;
use proptest::sample::select;

use crate::sample::*;

/// Few ids, so that they meet.
const TASKS: u64 = 6;
const RUNS: u64 = 9;

/// One call of a ledger.
#[derive(Debug, Clone)]
enum Call {
    InsertTask(Task, Vec<Dependency>),
    UpdateTask(Task),
    DeleteTask(TaskId),
    SetDependencies(TaskId, Vec<Dependency>),
    ShiftUnmet(TaskId, DependencyKind, i32),
    InsertRun(Run),
    UpdateRun(Run),
    Append(String),
}

/// Calls that are committed or rolled back together.
#[derive(Debug, Clone)]
struct Group {
    calls: Vec<Call>,
    committed: bool,
}

fn some_task_id() -> impl Strategy<Value = TaskId> {
    (1..=TASKS).prop_map(task_id)
}

fn some_agent() -> impl Strategy<Value = Option<AgentName>> {
    select(vec![None, None, Some("ada"), Some("bob")]).prop_map(|name| name.map(agent))
}

fn some_task() -> impl Strategy<Value = Task> {
    let words = select(vec![vec![], vec!["api"], vec!["db"], vec!["api", "db"]]);
    let parts = (
        1..=TASKS,
        select(states()),
        1..=4_u8,
        some_agent(),
        words,
        0..3_u32,
        any::<bool>(),
    );
    parts.prop_map(|(number, state, priority, agent, words, unmet, full)| {
        let base = if full {
            full_task(number, state.clone())
        } else {
            task_in(number, state)
        };
        Task {
            priority: Priority::new(priority).unwrap(),
            agent,
            labels: labels(&words),
            unmet,
            ..base
        }
    })
}

fn some_dependencies() -> impl Strategy<Value = Vec<Dependency>> {
    let dependency = (1..=TASKS, any::<bool>()).prop_map(|(number, success)| {
        if success {
            needs(number)
        } else {
            after(number)
        }
    });
    prop::collection::vec(dependency, 0..3)
}

fn some_run() -> impl Strategy<Value = Run> {
    let parts = (
        1..=RUNS,
        1..=TASKS,
        prop::option::of(select(outcomes())),
        any::<bool>(),
    );
    parts.prop_map(
        |(number, task, outcome, running)| match (outcome, running) {
            (Some(outcome), _) => ended(number, task, outcome),
            (None, true) => Run {
                state: RunState::Running,
                started_at: Some(Timestamp(2_020)),
                ..run(number, task)
            },
            (None, false) => run(number, task),
        },
    )
}

fn some_call() -> impl Strategy<Value = Call> {
    let kind = select(DependencyKind::ALL);
    prop_oneof![
        4 => (some_task(), some_dependencies()).prop_map(|(task, on)| Call::InsertTask(task, on)),
        4 => some_task().prop_map(Call::UpdateTask),
        1 => some_task_id().prop_map(Call::DeleteTask),
        1 => (some_task_id(), some_dependencies()).prop_map(|(id, on)| Call::SetDependencies(id, on)),
        2 => (some_task_id(), kind, select(vec![1, -1]))
            .prop_map(|(id, kind, by)| Call::ShiftUnmet(id, kind, by)),
        3 => some_run().prop_map(Call::InsertRun),
        3 => some_run().prop_map(Call::UpdateRun),
        1 => "[a-z]{1,3}".prop_map(Call::Append),
    ]
}

fn some_groups() -> impl Strategy<Value = Vec<Group>> {
    let group = (
        prop::collection::vec(some_call(), 1..8),
        prop::bool::weighted(0.8),
    );
    let group = group.prop_map(|(calls, committed)| Group { calls, committed });
    prop::collection::vec(group, 1..8)
}

fn perform(ledger: &mut dyn Transaction, call: &Call) -> Result<u64, LedgerError> {
    match call {
        Call::InsertTask(task, on) => ledger.insert_task(task, on),
        Call::UpdateTask(task) => ledger.update_task(task).map(|()| 0),
        Call::DeleteTask(id) => ledger.delete_task(id).map(|()| 0),
        Call::SetDependencies(id, on) => ledger.set_dependencies(id, on).map(|()| 0),
        Call::ShiftUnmet(id, kind, by) => ledger.shift_unmet(id, *kind, *by),
        Call::InsertRun(run) => ledger.insert_run(run).map(|()| 0),
        Call::UpdateRun(run) => ledger.update_run(run).map(|()| 0),
        Call::Append(word) => ledger.append(&event(word)),
    }
}

/// What came of each call: its answer, or the rule that it would have broken.
type Answers = Vec<Result<u64, Breach>>;

/// Why a group was rolled back.
enum Stop {
    OnPurpose(Answers, String),
    Broken(LedgerError),
}

impl From<LedgerError> for Stop {
    fn from(error: LedgerError) -> Self {
        Self::Broken(error)
    }
}

/// Performs a group; returns every answer and what the ledger showed at the end.
fn play(store: &mut impl Store, group: &Group) -> (Answers, String) {
    let played = store.transact(|ledger| {
        let mut answers = Vec::new();
        for call in &group.calls {
            let answer = ledger.attempt(|part| perform(part, call));
            answers.push(answer.map_err(|error| {
                let error = StoreError::from(error);
                error
                    .breach()
                    .unwrap_or_else(|| panic!("{call:?}: {error}: {}", error.cause()))
                    .clone()
            }));
        }
        let shown = show(ledger)?;
        match group.committed {
            true => Ok((answers, shown)),
            false => Err(Stop::OnPurpose(answers, shown)),
        }
    });
    match played {
        Ok(played) => played,
        Err(Stop::OnPurpose(answers, shown)) => (answers, shown),
        Err(Stop::Broken(error)) => panic!("{error}: {}", error.source),
    }
}

/// Everything that a ledger can be asked, as text.
fn show(ledger: &mut dyn Transaction) -> Result<String, LedgerError> {
    let mut lines = Vec::new();
    for number in 1..=TASKS {
        let id = task_id(number);
        lines.push(format!("{:?}", ledger.task(&id)?));
        lines.push(format!("{:?}", ledger.dependencies(&id)?));
        lines.push(format!("{:?}", ledger.dependants(&id)?));
    }
    for number in 1..=RUNS {
        lines.push(format!("{:?}", ledger.run(&run_id(number))?));
    }
    for lane in ledger.ready_lanes()? {
        for limit in [1, 100] {
            lines.push(format!(
                "{lane:?} {:?}",
                ledger.ready_in_lane(&lane, limit)?
            ));
        }
    }
    for now in [0, 500, 600] {
        lines.push(format!("due {:?}", ledger.due(Timestamp(now), 3)?));
    }
    lines.push(format!("{:?}", ledger.next_due()?));
    lines.push(format!("landing {:?}", ledger.landing()?));
    lines.push(format!("live {:?}", ledger.live_runs()?));
    Ok(lines.join("\n"))
}

/// Everything that a reader can be asked and a ledger cannot, as text.
fn list(reader: &mut dyn Reader) -> Result<String, StoreError> {
    let mut lines = Vec::new();
    for (label, name) in [(None, None), (Some("api"), None), (None, Some("ada"))] {
        let filter = TaskFilter {
            label: label.map(str::to_owned),
            agent: name.map(agent),
            limit: 4,
            ..TaskFilter::default()
        };
        lines.push(format!("{:?}", reader.tasks(&filter)?));
        let filter = RunFilter {
            agent: name.map(agent),
            ..RunFilter::default()
        };
        lines.push(format!("{:?}", reader.runs(&filter)?));
    }
    let ids: Vec<RunId> = reader.run_ids_with_prefix("run_", 100)?;
    lines.push(format!(
        "{ids:?} {:?}",
        reader.task_ids_with_prefix("tsk_", 100)?
    ));
    lines.push(format!(
        "{:?} {:?}",
        reader.counts()?,
        reader.needing_person(20)?
    ));
    lines.push(format!(
        "{:?} {:?}",
        reader.last_event()?,
        reader.events(1, 100)?
    ));
    Ok(lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn both_engines_agree(groups in some_groups()) {
        let mut memory = MemoryStore::default();
        let (_directory, mut sqlite) = crate::sqlite();
        let mut memory_reader = memory.reader().unwrap();
        let mut sqlite_reader = sqlite.reader().unwrap();
        for group in &groups {
            let (answers, shown) = play(&mut memory, group);
            let (others, other_shown) = play(&mut sqlite, group);
            prop_assert_eq!(answers, others);
            prop_assert_eq!(shown, other_shown);
            let listed = list(&mut *memory_reader).unwrap();
            prop_assert_eq!(listed, list(&mut *sqlite_reader).unwrap());
        }
    }
}
