//! Many tasks in the real store: each does what its wait says, and no step looks at more rows
//! because there are more tasks. That each statement finds its rows by an index is shown by the
//! query plans, beside the statements.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod counting;

use std::collections::BTreeSet;

use orch_core::config::{Agent, Config, Resumes};
use orch_core::engine::{self, Context, Effect, End, Input, Landing, Permit, Report, StepError};
use orch_core::ledger::Ledger;
use orch_core::outcome::Verdict;
use orch_core::request::{Answer, NewTask, Refusal, Request, TaskEdit};
use orch_core::run::{Exit, Run};
use orch_core::task::{Dependency, DependencyKind, ReviewMode, TaskStatus, WorkspaceMode};
use orch_core::wait::{self, Service, WaitCode};
use orch_core::{TaskId, Timestamp};
use orch_store::Store;
use orch_store::sqlite::SqliteStore;

use counting::{Cost, Counting};

const SLOTS: u32 = 4;

struct Project {
    store: SqliteStore,
    config: Config,
    random: u64,
    _directory: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        // In memory where there is such a place: rows are counted here, and no disk is measured.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let directory = directory.unwrap();
        let worker = Agent {
            name: "worker".parse().unwrap(),
            adapter: "shell".to_owned(),
            role: None,
            labels: BTreeSet::new(),
            max_parallel: 2 * SLOTS,
            enabled: true,
            require: None,
            resumes: Resumes::Never,
        };
        let config = Config {
            max_agents: SLOTS,
            agents: vec![worker],
            ..Config::default()
        };
        Self {
            store: SqliteStore::open(&directory.path().join("orch.db")).unwrap(),
            config,
            random: 0,
            _directory: directory,
        }
    }

    /// One transaction and what it cost.
    fn counted<T>(
        &mut self,
        work: impl FnOnce(&mut Counting<'_>, &mut Context<'_>) -> T,
    ) -> (T, Cost) {
        let random = &mut self.random;
        let mut entropy = || {
            *random += 1;
            *random
        };
        let mut context = Context {
            now: Timestamp(1_000),
            config: &self.config,
            boot: Some("the boot"),
            entropy: &mut entropy,
        };
        let done = self.store.transact(|ledger| {
            let mut counting = Counting::new(ledger);
            let done = work(&mut counting, &mut context);
            Ok::<_, orch_core::ledger::LedgerError>((done, counting.cost))
        });
        done.unwrap()
    }

    /// Adds tasks in one transaction; every one waits for `needs`.
    fn add(&mut self, count: usize, needs: Option<&TaskId>) -> Vec<TaskId> {
        let dependencies: Vec<_> = needs
            .map(|on| Dependency {
                on: on.clone(),
                kind: DependencyKind::Succeeded,
            })
            .into_iter()
            .collect();
        let add = |ledger: &mut Counting<'_>, context: &mut Context<'_>| {
            let new = NewTask {
                title: "a task".to_owned(),
                dependencies: dependencies.clone(),
                workspace: Some(WorkspaceMode::Shared),
                review: Some(ReviewMode::Auto),
                ..NewTask::default()
            };
            let input = Input::Request(Request::Add(Box::new(new)));
            match engine::step(ledger, input, context).unwrap().answer {
                Some(Answer::Task(task)) => task.id,
                other => panic!("{other:?}"),
            }
        };
        self.counted(|ledger, context| (0..count).map(|_| add(ledger, context)).collect())
            .0
    }

    /// Has the first of a chain wait for the last; how long the path is that the refusal names.
    fn ring(&mut self, chain: &[TaskId]) -> usize {
        let needs = Dependency {
            on: chain[chain.len() - 1].clone(),
            kind: DependencyKind::Succeeded,
        };
        let edit = TaskEdit {
            dependencies: Some(vec![needs]),
            ..TaskEdit::default()
        };
        let request = Request::Edit {
            task: chain[0].clone(),
            edit: Box::new(edit),
        };
        let step = |ledger: &mut Counting<'_>, context: &mut Context<'_>| match engine::step(
            ledger,
            Input::Request(request),
            context,
        ) {
            Err(StepError::Refused(Refusal::Cycle(path))) => path.len(),
            other => panic!("{other:?}"),
        };
        self.counted(step).0
    }

    /// Starts what can start.
    fn plan(&mut self) -> (Vec<Run>, Cost) {
        self.counted(|ledger, context| {
            let effects = engine::plan(ledger, Permit::Everything, context).unwrap();
            let runs = effects.into_iter().map(|effect| match effect {
                Effect::Start { run, .. } => *run,
                other => panic!("{other:?}"),
            });
            runs.collect()
        })
    }

    /// A run from its process to its landing.
    fn finish(&mut self, run: &Run) -> Cost {
        let report = Report::bare(
            End::Seen {
                exit: Exit::Code(0),
                enforced: None,
                stopped: false,
                verdict: Verdict::ByExitStatus,
                logs: "out.log bytes 0-0".to_owned(),
            },
            Timestamp(2_000),
        );
        let inputs = [
            Input::Spawned {
                run: run.id.clone(),
                at: Timestamp(1_000),
            },
            Input::Ended {
                run: run.id.clone(),
                report: Box::new(report),
            },
            Input::Landed {
                task: run.task.clone(),
                landing: Landing::Landed { commit: None },
            },
        ];
        let step = |ledger: &mut Counting<'_>, context: &mut Context<'_>| {
            for input in inputs {
                engine::step(ledger, input, context).unwrap();
            }
        };
        self.counted(step).1
    }

    /// What every one of these tasks waits for, and the most that saying it cost.
    fn why(&mut self, tasks: &[TaskId]) -> (Vec<Option<WaitCode>>, Cost) {
        let (told, _) = self.counted(|ledger, context| {
            let live = ledger.live_runs().unwrap();
            let mut most = Cost::default();
            let told = tasks.iter().map(|id| {
                let before = ledger.cost;
                let task = ledger.task(id).unwrap().unwrap();
                let service = Service::Serving;
                let wait = wait::explain(ledger, &task, context.config, &live, service).unwrap();
                most.calls = most.calls.max(ledger.cost.calls - before.calls);
                most.rows = most.rows.max(ledger.cost.rows - before.rows);
                wait.map(|wait| wait.code)
            });
            (told.collect(), most)
        });
        told
    }
}

/// What one task costs from its adding to its end, and its explanation, beside `others`.
fn a_life_beside(others: usize) -> [Cost; 4] {
    let mut project = Project::new();
    let tasks = project.add(others, None);
    let (runs, first_plan) = project.plan();
    assert_eq!(runs.len(), SLOTS as usize);
    let end = project.finish(&runs[0]);
    let (next, plan) = project.plan();
    assert_eq!(next.len(), 1, "one slot was free");
    let (told, why) = project.why(&tasks);
    let count = |code| told.iter().filter(|told| **told == code).count();
    assert_eq!(count(None), 1);
    assert_eq!(count(Some(WaitCode::Agent)), SLOTS as usize);
    assert_eq!(count(Some(WaitCode::Slot)), others - 1 - SLOTS as usize);
    [first_plan, end, plan, why]
}

/// Fault 47. Injected: 10,000 queued tasks and eight slots. Held: planning, ending a run and saying
/// why a task waits look at as many rows as with a hundred, and no more run than there are slots.
///
/// Promise 18.
#[test]
fn ten_thousand_queued_tasks_cost_no_more_than_a_hundred() {
    assert_eq!(a_life_beside(10_000), a_life_beside(100));
}

/// Runs a task that `dependants` wait for; what its end and the plan after it cost.
fn fan_out(dependants: usize) -> (Project, Vec<TaskId>, Vec<Run>, [Cost; 2]) {
    let mut project = Project::new();
    let root = project.add(1, None).remove(0);
    let tasks = project.add(dependants, Some(&root));
    let (runs, _) = project.plan();
    assert_eq!(runs.len(), 1, "only the root is ready");
    let (told, _) = project.why(&tasks);
    assert!(told.iter().all(|told| *told == Some(WaitCode::Dependency)));
    let end = project.finish(&runs[0]);
    let (started, plan) = project.plan();
    (project, tasks, started, [end, plan])
}

/// Fault 47. Injected: 2,000 tasks that wait for one. Held: they become ready when it is done and not
/// before, each is started exactly once, by age, and no more run at once than there are slots.
///
/// Promises 17, 18.
#[test]
fn two_thousand_dependants_start_once_each_in_their_order() {
    let (_, _, _, of_few) = fan_out(20);
    let (mut project, tasks, mut running, of_many) = fan_out(2_000);
    assert_eq!(of_many, of_few);
    let mut started: Vec<TaskId> = running.iter().map(|run| run.task.clone()).collect();
    while let Some(run) = running.first().cloned() {
        running.remove(0);
        project.finish(&run);
        let (next, _) = project.plan();
        started.extend(next.iter().map(|run| run.task.clone()));
        running.extend(next);
        assert!(running.len() <= SLOTS as usize);
    }
    assert_eq!(started, tasks, "each once, by age");
    let (ended, _) = project.counted(|ledger, _| {
        let mut status = |id| ledger.task(id).unwrap().unwrap().status();
        tasks
            .iter()
            .filter(|id| status(id) == TaskStatus::Done)
            .count()
    });
    assert_eq!(ended, 2_000);
}

/// Fault 47. Injected: a chain of 5,000 tasks, each of which waits for the one before. Held: one of
/// them is ready at a time, in order; a link costs the same at the end as at the beginning; and
/// closing the chain to a ring is refused and does not exhaust the stack.
///
/// Promises 7, 17.
#[test]
fn a_chain_of_five_thousand_is_done_link_by_link() {
    let mut project = Project::new();
    let mut chain = project.add(1, None);
    while chain.len() < 5_000 {
        let link = project.add(1, chain.last()).remove(0);
        chain.push(link);
    }
    assert_eq!(project.ring(&chain), chain.len() + 1);
    let mut costs = Vec::new();
    for link in &chain {
        let (runs, plan) = project.plan();
        let started: Vec<&TaskId> = runs.iter().map(|run| &run.task).collect();
        assert_eq!(started, [link]);
        costs.push([plan, project.finish(&runs[0])]);
    }
    assert_eq!(costs[10], costs[4_990]);
    assert_eq!(project.plan().0, Vec::new());
}

#[test]
fn a_failed_root_keeps_two_thousand_waiting_for_a_person() {
    let mut project = Project::new();
    let root = project.add(1, None).remove(0);
    let tasks = project.add(2_000, Some(&root));
    let cancel = Input::Request(Request::Cancel { task: root });
    project.counted(|ledger, context| drop(engine::step(ledger, cancel, context).unwrap()));
    let (told, _) = project.why(&tasks);
    let hopeless = Some(WaitCode::DependencyFailed);
    assert!(told.iter().all(|told| *told == hopeless));
    assert_eq!(project.plan().0, Vec::new());
}
