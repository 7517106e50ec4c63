//! One function for each thing that every engine must do.

use std::collections::BTreeSet;

use orch_core::ledger::LedgerError;
use orch_core::run::{Exit, Failure, FailureCode, Outcome, Run, RunState, StopReason};
use orch_core::task::{Dependency, DependencyKind, Lane, Review, Task, TaskState, TaskStatus};
use orch_core::{RunId, TaskId, Timestamp};
use orch_store::{Breach, Counts, Reader, RunFilter, Store, StoreError, TaskFilter, Transaction};

use crate::sample::*;

/// Commits what `work` does.
fn commit<T>(
    store: &mut impl Store,
    work: impl FnOnce(&mut dyn Transaction) -> Result<T, LedgerError>,
) -> T {
    store.transact(work).unwrap()
}

/// The rule that `work` breaks. Nothing of it stays.
fn breach<T>(
    store: &mut impl Store,
    work: impl FnOnce(&mut dyn Transaction) -> Result<T, LedgerError>,
) -> Breach {
    let error: StoreError = match store.transact(work) {
        Ok(_) => panic!("it was not refused"),
        Err(error) => LedgerError::into(error),
    };
    error
        .breach()
        .unwrap_or_else(|| panic!("no breach: {error}: {}", error.cause()))
        .clone()
}

/// Adds tasks without dependencies.
fn add(store: &mut impl Store, tasks: impl IntoIterator<Item = Task>) {
    commit(store, |ledger| {
        for task in tasks {
            ledger.insert_task(&task, &[])?;
        }
        Ok(())
    });
}

fn reader(store: &impl Store) -> Box<dyn Reader> {
    store.reader().unwrap()
}

fn ids(tasks: &[Task]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.id.clone()).collect()
}

fn run_ids(runs: &[Run]) -> Vec<RunId> {
    runs.iter().map(|run| run.id.clone()).collect()
}

fn task_ids(numbers: &[u64]) -> Vec<TaskId> {
    numbers.iter().map(|number| task_id(*number)).collect()
}

pub fn a_task_comes_back_as_it_went_in(store: &mut impl Store) {
    for (state, number) in states().into_iter().zip(1..) {
        let first = full_task(number, state.clone());
        let seq = commit(store, |ledger| ledger.insert_task(&first, &[]));
        assert_eq!(seq, number);
        let stored = Task { seq, ..first };
        assert_eq!(
            commit(store, |ledger| ledger.task(&task_id(number))),
            Some(stored)
        );

        let second = task_in(number, state);
        commit(store, |ledger| ledger.update_task(&second));
        let stored = Task { seq, ..second };
        assert_eq!(reader(store).task(&task_id(number)).unwrap(), Some(stored));
    }
    assert_eq!(reader(store).task(&task_id(99)).unwrap(), None);
}

pub fn a_run_comes_back_as_it_went_in(store: &mut impl Store) {
    add(store, [task(1)]);
    let exits = [
        None,
        Some(Exit::Code(-1)),
        Some(Exit::Code(255)),
        Some(Exit::Signal {
            number: 9,
            core: false,
        }),
        Some(Exit::Signal {
            number: 11,
            core: true,
        }),
    ];
    let endings = outcomes().into_iter().zip(exits.into_iter().cycle());
    for ((outcome, exit), number) in endings.zip(1..) {
        let starting = run(number, 1);
        let running = Run {
            state: RunState::Running,
            stop: Some(StopReason::Linger),
            branch: Some("orch/x".to_owned()),
            started_at: Some(Timestamp(2_050)),
            ..starting.clone()
        };
        let over = Run {
            state: RunState::Ended(Box::new(ending(outcome, exit))),
            ..running.clone()
        };
        commit(store, |ledger| ledger.insert_run(&starting));
        for next in [starting, running, over] {
            commit(store, |ledger| ledger.update_run(&next));
            assert_eq!(
                commit(store, |ledger| ledger.run(&next.id)).as_ref(),
                Some(&next)
            );
            assert_eq!(reader(store).run(&next.id).unwrap(), Some(next));
        }
    }
}

pub fn hostile_text_comes_back_as_it_went_in(store: &mut impl Store) {
    let hostile = [
        "",
        "\0",
        "a\0b",
        "'; DROP TABLE task; --",
        "\u{1b}[2J\u{202e}",
        "\u{10ffff}",
        &"x".repeat(2 << 20),
    ];
    for (text, number) in hostile.into_iter().zip(1..) {
        let task = Task {
            title: text.to_owned(),
            description: text.to_owned(),
            labels: labels(&["-- \" ' \0 []"]),
            scope: vec![text.to_owned()],
            result: Some(text.to_owned()),
            state: TaskState::Failed {
                failure: Failure {
                    code: FailureCode::AgentError,
                    message: text.to_owned(),
                    evidence: format!("{text}."),
                },
            },
            ..task(number)
        };
        let seq = commit(store, |ledger| ledger.insert_task(&task, &[]));
        let stored = reader(store).task(&task.id).unwrap();
        assert!(
            stored == Some(Task { seq, ..task }),
            "text {number} changed"
        );
    }
}

pub fn an_error_leaves_no_trace(store: &mut impl Store) {
    commit(store, |ledger| {
        ledger.insert_task(&task(1), &[])?;
        ledger.insert_task(&task(2), &[needs(1)])?;
        ledger.insert_run(&run(1, 1))?;
        ledger.append(&event("first"))
    });
    let before = commit(store, |ledger| picture(ledger));
    let result: Result<(), LedgerError> = store.transact(|ledger| {
        ledger.insert_task(&urgent(3, 1), &[needs(1), after(2)])?;
        ledger.update_task(&task_in(1, TaskState::Done))?;
        ledger.shift_unmet(&task_id(1), DependencyKind::Succeeded, 1)?;
        ledger.set_dependencies(&task_id(2), &[])?;
        ledger.update_run(&ended(1, 1, Outcome::Completed))?;
        ledger.insert_run(&run(2, 1))?;
        ledger.delete_task(&task_id(2))?;
        ledger.append(&event("second"))?;
        ledger.insert_task(&task(1), &[]).map(drop)
    });
    assert!(result.is_err());
    assert_eq!(commit(store, |ledger| picture(ledger)), before);
    let counts = reader(store).counts().unwrap();
    assert_eq!(counts[&TaskStatus::Todo], 2);
    assert_eq!(reader(store).last_event().unwrap(), 1);
}

/// Much of what a ledger can tell, as text to compare.
fn picture(ledger: &mut dyn Transaction) -> Result<String, LedgerError> {
    let mut lines = Vec::new();
    for number in 1..=3 {
        lines.push(format!("{:?}", ledger.task(&task_id(number))?));
        lines.push(format!("{:?}", ledger.dependencies(&task_id(number))?));
        lines.push(format!("{:?}", ledger.dependants(&task_id(number))?));
        lines.push(format!("{:?}", ledger.run(&run_id(number))?));
    }
    lines.push(format!("{:?}", ledger.ready_in_lane(&Lane::Any, 9)?));
    lines.push(format!("{:?}", ledger.live_runs()?));
    Ok(lines.join("\n"))
}

pub fn a_panic_leaves_no_trace(store: &mut impl Store) {
    let attempt = std::panic::AssertUnwindSafe(|| {
        store.transact(|ledger| -> Result<(), LedgerError> {
            ledger.insert_task(&task(1), &[])?;
            panic!("in the middle of a transaction");
        })
    });
    assert!(std::panic::catch_unwind(attempt).is_err());
    assert_eq!(reader(store).task(&task_id(1)).unwrap(), None);
    add(store, [task(1)]);
    assert_eq!(reader(store).task(&task_id(1)).unwrap().unwrap().seq, 1);
}

pub fn a_part_that_fails_leaves_no_trace_and_the_rest_stays(store: &mut impl Store) {
    let refused = commit(store, |ledger| {
        ledger.insert_task(&task(1), &[])?;
        let refused: Result<(), LedgerError> = ledger.attempt(|part| {
            part.insert_task(&task(2), &[])?;
            part.update_task(&task_in(1, TaskState::Done))?;
            part.insert_task(&task(1), &[]).map(drop)
        });
        ledger.attempt(|part| part.insert_task(&task(3), &[]))?;
        Ok::<_, LedgerError>(refused)
    });
    assert!(refused.is_err());
    let tasks = reader(store).tasks(&TaskFilter::default()).unwrap();
    assert_eq!(ids(&tasks), task_ids(&[3, 1]));
    assert_eq!(
        tasks[0].seq, 2,
        "a number that was taken back is free again"
    );
    assert_eq!(tasks[1].status(), TaskStatus::Todo);
}

pub fn parts_lie_inside_each_other(store: &mut impl Store) {
    commit(store, |ledger| {
        let outer: Result<(), LedgerError> = ledger.attempt(|outer| {
            outer.attempt(|inner| inner.insert_task(&task(1), &[]))?;
            outer.insert_task(&task(1), &[]).map(drop)
        });
        assert!(outer.is_err());
        ledger.attempt(|outer| {
            outer.insert_task(&task(2), &[])?;
            let inner: Result<(), LedgerError> = outer.attempt(|inner| {
                inner.insert_task(&task(3), &[])?;
                inner.insert_task(&task(2), &[]).map(drop)
            });
            assert!(inner.is_err());
            Ok::<_, LedgerError>(())
        })
    });
    let tasks = reader(store).tasks(&TaskFilter::default()).unwrap();
    assert_eq!(ids(&tasks), task_ids(&[2]));
}

pub fn a_transaction_sees_the_facts_it_has_recorded(store: &mut impl Store) {
    let seqs = |facts: &[orch_store::Recorded]| -> Vec<u64> {
        facts.iter().map(|fact| fact.seq).collect()
    };
    commit(store, |ledger| ledger.append(&event("one")));
    commit(store, |ledger| {
        ledger.append(&event("two"))?;
        let undone: Result<(), LedgerError> = ledger.attempt(|part| {
            part.append(&event("three"))?;
            assert_eq!(seqs(&part.facts_after(0)?), [1, 2, 3]);
            part.update_task(&task(9))
        });
        assert!(undone.is_err());
        let facts = ledger.facts_after(1)?;
        assert_eq!(seqs(&facts), [2]);
        assert_eq!(facts[0].event, event("two"));
        Ok(())
    });
}

pub fn an_id_is_given_once(store: &mut impl Store) {
    add(store, [task(1), task(2)]);
    commit(store, |ledger| ledger.insert_run(&run(1, 1)));
    let again = breach(store, |ledger| ledger.insert_task(&task(1), &[]));
    assert_eq!(again, Breach::TaskExists(task_id(1)));
    let again = breach(store, |ledger| ledger.insert_run(&run(1, 2)));
    assert_eq!(again, Breach::RunExists(run_id(1)));
}

pub fn what_is_not_there_cannot_be_rewritten(store: &mut impl Store) {
    add(store, [task(1), task(2)]);
    commit(store, |ledger| ledger.insert_run(&run(1, 1)));
    let no_task = Breach::NoTask(task_id(9));
    assert_eq!(
        breach(store, |ledger| ledger.update_task(&task(9))),
        no_task
    );
    assert_eq!(
        breach(store, |ledger| ledger.delete_task(&task_id(9))),
        no_task
    );
    assert_eq!(
        breach(store, |ledger| ledger.insert_run(&run(2, 9))),
        no_task
    );
    assert_eq!(
        breach(store, |ledger| ledger.insert_task(&task(3), &[needs(9)])),
        no_task
    );
    assert_eq!(
        breach(store, |ledger| ledger.set_dependencies(&task_id(9), &[])),
        no_task
    );
    assert_eq!(
        breach(store, |ledger| ledger
            .set_dependencies(&task_id(1), &[after(9)])),
        no_task
    );
    assert_eq!(
        breach(store, |ledger| ledger.update_run(&run(9, 1))),
        Breach::NoRun(run_id(9))
    );
    assert_eq!(
        breach(store, |ledger| ledger.update_run(&run(1, 2))),
        Breach::NoRun(run_id(1)),
        "a run never changes its task"
    );
    assert_eq!(
        breach(store, |ledger| ledger
            .set_dependencies(&task_id(1), &[needs(1)])),
        Breach::WaitsForItself(task_id(1))
    );
}

pub fn a_task_has_one_live_run(store: &mut impl Store) {
    add(store, [task(1), task(2)]);
    commit(store, |ledger| ledger.insert_run(&run(1, 1)));
    let second = breach(store, |ledger| ledger.insert_run(&run(2, 1)));
    assert_eq!(second, Breach::HasLiveRun(task_id(1)));
    commit(store, |ledger| ledger.insert_run(&run(2, 2)));
    commit(store, |ledger| {
        ledger.update_run(&ended(1, 1, Outcome::Completed))?;
        ledger.insert_run(&run(3, 1))
    });
    let live = commit(store, |ledger| ledger.live_runs());
    assert_eq!(run_ids(&live), [run_id(2), run_id(3)]);
}

pub fn a_run_that_has_ended_is_final(store: &mut impl Store) {
    add(store, [task(1)]);
    for (outcome, number) in outcomes().into_iter().zip(1..) {
        commit(store, |ledger| ledger.insert_run(&run(number, 1)));
        let over = ended(number, 1, outcome);
        commit(store, |ledger| ledger.update_run(&over));
        let lost = Outcome::Lost(failure(FailureCode::SupervisorDied));
        for next in [over.clone(), run(number, 1), ended(number, 1, lost)] {
            let refused = breach(store, |ledger| ledger.update_run(&next));
            assert_eq!(refused, Breach::RunEnded(run_id(number)));
        }
        assert_eq!(reader(store).run(&run_id(number)).unwrap(), Some(over));
    }
}

pub fn a_failure_has_evidence(store: &mut impl Store) {
    let bare = Failure {
        evidence: String::new(),
        ..failure(FailureCode::NoResult)
    };
    let failed = task_in(
        1,
        TaskState::Failed {
            failure: bare.clone(),
        },
    );
    let gap = |breach| assert!(matches!(breach, Breach::NotWhole(_)), "{breach}");
    gap(breach(store, |ledger| ledger.insert_task(&failed, &[])));
    add(store, [task(1)]);
    gap(breach(store, |ledger| ledger.update_task(&failed)));
    gap(breach(store, |ledger| {
        ledger.insert_run(&ended(1, 1, Outcome::Lost(bare.clone())))
    }));
    commit(store, |ledger| ledger.insert_run(&run(1, 1)));
    gap(breach(store, |ledger| {
        ledger.update_run(&ended(1, 1, Outcome::Failed(bare.clone())))
    }));
}

pub fn a_task_goes_with_its_runs(store: &mut impl Store) {
    commit(store, |ledger| {
        ledger.insert_task(&task(1), &[])?;
        ledger.insert_task(&full_task(2, TaskState::Done), &[needs(1)])?;
        ledger.insert_run(&run(1, 2))?;
        ledger.update_run(&ended(1, 2, Outcome::Completed))?;
        ledger.delete_task(&task_id(2))
    });
    let mut reader = reader(store);
    assert_eq!(reader.task(&task_id(2)).unwrap(), None);
    assert_eq!(reader.run(&run_id(1)).unwrap(), None);
    assert_eq!(reader.runs(&RunFilter::default()).unwrap(), []);
    assert_eq!(reader.dependants(&task_id(1)).unwrap(), []);
    let labelled = TaskFilter {
        label: Some("api".to_owned()),
        ..TaskFilter::default()
    };
    assert_eq!(reader.tasks(&labelled).unwrap(), []);
    drop(reader);
    commit(store, |ledger| ledger.delete_task(&task_id(1)));
}

pub fn a_task_that_is_needed_stays(store: &mut impl Store) {
    commit(store, |ledger| {
        ledger.insert_task(&task(1), &[])?;
        ledger.insert_task(&task(2), &[after(1)])
    });
    let refused = breach(store, |ledger| ledger.delete_task(&task_id(1)));
    assert_eq!(refused, Breach::HasDependants(task_id(1)));
    commit(store, |ledger| {
        ledger.delete_task(&task_id(2))?;
        ledger.delete_task(&task_id(1))
    });
}

pub fn a_task_that_is_at_work_stays(store: &mut impl Store) {
    add(store, [task(1)]);
    commit(store, |ledger| ledger.insert_run(&run(1, 1)));
    let refused = breach(store, |ledger| ledger.delete_task(&task_id(1)));
    assert_eq!(refused, Breach::HasLiveRun(task_id(1)));
    commit(store, |ledger| {
        assert_eq!(ledger.run_ids_of(&task_id(1))?, [run_id(1)]);
        assert_eq!(ledger.run_ids_of(&task_id(2))?, []);
        Ok(())
    });
    assert!(reader(store).run(&run_id(1)).unwrap().is_some());
}

pub fn numbers_are_never_given_again(store: &mut impl Store) {
    add(store, [task(1), task(2)]);
    commit(store, |ledger| ledger.delete_task(&task_id(2)));
    assert_eq!(commit(store, |ledger| ledger.insert_task(&task(3), &[])), 3);
}

pub fn dependencies_tell_how_they_stand(store: &mut impl Store) {
    commit(store, |ledger| {
        ledger.insert_task(&task_in(1, TaskState::Done), &[])?;
        ledger.insert_task(&task(2), &[])?;
        ledger.insert_task(&task(3), &[needs(2), after(1), needs(1), needs(2)])?;
        ledger.insert_task(&task(4), &[after(1)])
    });
    let told = commit(store, |ledger| ledger.dependencies(&task_id(3)));
    let told: BTreeSet<(Dependency, TaskStatus)> = told
        .into_iter()
        .map(|it| (it.dependency, it.status))
        .collect();
    let expected = [
        (needs(1), TaskStatus::Done),
        (after(1), TaskStatus::Done),
        (needs(2), TaskStatus::Todo),
    ];
    assert_eq!(told, expected.into_iter().collect());

    let in_order = reader(store).dependencies(&task_id(3)).unwrap();
    assert_eq!(in_order.len(), 3, "said twice is said once");
    assert!(in_order.is_sorted_by_key(|it| it.dependency.clone()));
    let mut waiting = task_ids(&[3, 4]);
    waiting.sort();
    assert_eq!(
        commit(store, |ledger| ledger.dependants(&task_id(1))),
        waiting
    );
    assert_eq!(reader(store).dependants(&task_id(1)).unwrap(), waiting);
    assert_eq!(reader(store).dependants(&task_id(3)).unwrap(), []);
}

pub fn dependencies_are_replaced(store: &mut impl Store) {
    commit(store, |ledger| {
        ledger.insert_task(&task(1), &[])?;
        ledger.insert_task(&task(2), &[])?;
        ledger.insert_task(&task(3), &[needs(1)])?;
        ledger.set_dependencies(&task_id(3), &[after(2)])
    });
    let mut reader = reader(store);
    let now: Vec<Dependency> = reader
        .dependencies(&task_id(3))
        .unwrap()
        .into_iter()
        .map(|it| it.dependency)
        .collect();
    assert_eq!(now, [after(2)]);
    assert_eq!(reader.dependants(&task_id(1)).unwrap(), []);
    assert_eq!(reader.task(&task_id(3)).unwrap().unwrap().unmet, 0);
}

pub fn unmet_is_shifted_for_one_kind(store: &mut impl Store) {
    commit(store, |ledger| {
        ledger.insert_task(&task(1), &[])?;
        ledger.insert_task(&task(2), &[needs(1)])?;
        ledger.insert_task(&task(3), &[after(1)])?;
        ledger.insert_task(&task(4), &[needs(1), after(1)])?;
        ledger.insert_task(&task(5), &[])
    });
    let shift =
        |kind, by| move |ledger: &mut dyn Transaction| ledger.shift_unmet(&task_id(1), kind, by);
    assert_eq!(commit(store, shift(DependencyKind::Succeeded, 1)), 2);
    assert_eq!(commit(store, shift(DependencyKind::Ended, 1)), 2);
    assert_eq!(commit(store, shift(DependencyKind::Succeeded, -1)), 2);
    let unmet: Vec<u32> = (1..=5)
        .map(|number| reader(store).task(&task_id(number)).unwrap().unwrap().unmet)
        .collect();
    assert_eq!(unmet, [0, 0, 1, 1, 0]);
    let nobody = commit(store, |ledger| {
        ledger.shift_unmet(&task_id(5), DependencyKind::Ended, 1)
    });
    assert_eq!(nobody, 0);
}

pub fn unmet_never_falls_below_zero(store: &mut impl Store) {
    commit(store, |ledger| {
        ledger.insert_task(&task(1), &[])?;
        let waiting = Task {
            unmet: 1,
            ..task(2)
        };
        ledger.insert_task(&waiting, &[needs(1)])?;
        ledger.insert_task(&task(3), &[needs(1)])
    });
    let refused = breach(store, |ledger| {
        ledger.shift_unmet(&task_id(1), DependencyKind::Succeeded, -1)
    });
    assert_eq!(refused, Breach::NothingUnmet(task_id(1)));
    assert_eq!(reader(store).task(&task_id(2)).unwrap().unwrap().unmet, 1);
}

pub fn ready_tasks_come_by_priority_then_age(store: &mut impl Store) {
    let ada = |number, priority| Task {
        agent: Some(agent("ada")),
        ..urgent(number, priority)
    };
    add(
        store,
        [
            urgent(1, 3),
            ada(2, 1),
            urgent(3, 1),
            urgent(4, 4),
            urgent(5, 1),
            ada(6, 1),
        ],
    );
    commit(store, |ledger| {
        let ready = ledger.ready_in_lane(&Lane::Any, 10)?;
        let found: Vec<TaskId> = ready.iter().map(|it| it.task.clone()).collect();
        assert_eq!(found, task_ids(&[3, 5, 1, 4]));
        assert_eq!((ready[0].priority.number(), ready[0].seq), (1, 3));
        assert_eq!(ledger.ready_in_lane(&Lane::Any, 2)?, ready[..2]);
        assert_eq!(ledger.ready_in_lane(&Lane::Any, 0)?, []);
        let lane = Lane::Agent(agent("ada"));
        let found = ledger.ready_in_lane(&lane, 10)?;
        let found: Vec<TaskId> = found.into_iter().map(|it| it.task).collect();
        assert_eq!(found, task_ids(&[2, 6]));
        let nobody = ledger.ready_in_lane(&Lane::Agent(agent("bob")), 10)?;
        assert_eq!(nobody, []);
        Ok(())
    });
}

pub fn ready_lanes_are_those_with_ready_tasks(store: &mut impl Store) {
    assert_eq!(commit(store, |ledger| ledger.ready_lanes()), []);
    let asks = |number, name: &str| Task {
        agent: Some(agent(name)),
        ..task(number)
    };
    let about = |number, words: &[&str]| Task {
        labels: labels(words),
        ..task(number)
    };
    let blocked = Task {
        unmet: 1,
        ..asks(9, "blocked")
    };
    add(
        store,
        [
            asks(1, "bob"),
            asks(2, "ada"),
            task(3),
            about(4, &["db", "api"]),
            about(5, &["api"]),
            task(6),
            blocked,
            Task {
                state: TaskState::Done,
                ..asks(10, "done")
            },
        ],
    );
    let expected = [
        Lane::Labels(labels(&["api"])),
        Lane::Labels(labels(&["api", "db"])),
        Lane::Any,
        Lane::Agent(agent("ada")),
        Lane::Agent(agent("bob")),
    ];
    assert_eq!(commit(store, |ledger| ledger.ready_lanes()), expected);
}

pub fn a_task_enters_and_leaves_the_queue_with_its_state(store: &mut impl Store) {
    add(store, [task(1)]);
    let mut is_queued = |task: Task| {
        commit(store, |ledger| {
            ledger.update_task(&task)?;
            let queued = !ledger.ready_in_lane(&Lane::Any, 1)?.is_empty();
            assert_eq!(!ledger.ready_lanes()?.is_empty(), queued);
            Ok(queued)
        })
    };
    for state in states() {
        let ready = state == TaskState::Todo { hold: None };
        assert_eq!(is_queued(task_in(1, state)), ready);
    }
    assert!(is_queued(task(1)));
    let blocked = Task {
        unmet: 1,
        ..task(1)
    };
    assert!(!is_queued(blocked));
    assert!(is_queued(task(1)));
}

pub fn holds_end_in_order(store: &mut impl Store) {
    assert_eq!(commit(store, |ledger| ledger.next_due()), None);
    let retrying = |number, until| task_in(number, TaskState::Retrying { hold: hold(until) });
    let limited = TaskState::Todo {
        hold: Some(hold(150)),
    };
    add(
        store,
        [
            retrying(1, 300),
            retrying(2, 100),
            task_in(3, limited),
            retrying(4, 100),
            task(5),
        ],
    );
    let due = |now, limit| move |ledger: &mut dyn Transaction| ledger.due(Timestamp(now), limit);
    assert_eq!(
        commit(store, |ledger| ledger.next_due()),
        Some(Timestamp(100))
    );
    assert_eq!(commit(store, due(99, 10)), []);
    assert_eq!(commit(store, due(100, 10)), task_ids(&[2, 4]));
    assert_eq!(commit(store, due(1_000, 10)), task_ids(&[2, 4, 3, 1]));
    assert_eq!(commit(store, due(1_000, 3)), task_ids(&[2, 4, 3]));
    add(store, []);
    commit(store, |ledger| {
        ledger.update_task(&task(2))?;
        ledger.delete_task(&task_id(4))
    });
    assert_eq!(
        commit(store, |ledger| ledger.next_due()),
        Some(Timestamp(150))
    );
}

pub fn landings_come_in_order_of_arrival(store: &mut impl Store) {
    let landing = |number| task_in(number, TaskState::Review(Review::Landing));
    add(
        store,
        [
            task(4),
            landing(3),
            task_in(2, TaskState::Review(Review::Person)),
            landing(1),
        ],
    );
    assert_eq!(commit(store, |ledger| ledger.landing()), task_ids(&[3, 1]));
    commit(store, |ledger| {
        ledger.update_task(&task_in(3, TaskState::Done))
    });
    assert_eq!(commit(store, |ledger| ledger.landing()), task_ids(&[1]));
}

pub fn people_are_asked_by_priority_then_age(store: &mut impl Store) {
    for (state, number) in states().into_iter().zip(1..) {
        add(store, [task_in(number, state)]);
    }
    let needing = reader(store).needing_person(20).unwrap();
    assert_eq!(ids(&needing), task_ids(&[5, 7, 8, 9]));
    let urgent = Task {
        state: TaskState::Review(Review::Person),
        ..urgent(50, 1)
    };
    add(store, [urgent]);
    assert_eq!(
        ids(&reader(store).needing_person(2).unwrap()),
        task_ids(&[50, 5])
    );
}

pub fn live_runs_come_oldest_first(store: &mut impl Store) {
    add(store, (1..=4).map(task));
    commit(store, |ledger| {
        for number in [3, 1, 4, 2] {
            ledger.insert_run(&run(number, number))?;
        }
        ledger.update_run(&ended(1, 1, Outcome::Completed))?;
        ledger.update_run(&Run {
            state: RunState::Running,
            ..run(4, 4)
        })
    });
    let expected = [run_id(3), run_id(4), run_id(2)];
    assert_eq!(
        run_ids(&commit(store, |ledger| ledger.live_runs())),
        expected
    );
    assert_eq!(run_ids(&reader(store).live_runs().unwrap()), expected);
}

pub fn events_have_no_gap(store: &mut impl Store) {
    assert_eq!(reader(store).last_event().unwrap(), 0);
    assert_eq!(commit(store, |ledger| ledger.append(&event("a"))), 1);
    let failed: Result<(), LedgerError> = store.transact(|ledger| {
        ledger.append(&event("never"))?;
        ledger.update_task(&task(9))
    });
    assert!(failed.is_err());
    let numbers = commit(store, |ledger| {
        Ok([ledger.append(&event("b"))?, ledger.append(&event("c"))?])
    });
    assert_eq!(numbers, [2, 3]);
    let mut reader = reader(store);
    let words = |after, limit| -> Vec<(u64, Option<String>)> {
        let events = reader.events(after, limit).unwrap();
        events
            .into_iter()
            .map(|it| (it.seq, it.event.word))
            .collect()
    };
    let mut words = words;
    let fact = |seq, word: &str| (seq, Some(word.to_owned()));
    assert_eq!(words(0, 10), [fact(1, "a"), fact(2, "b"), fact(3, "c")]);
    assert_eq!(words(1, 1), [fact(2, "b")]);
    assert_eq!(words(3, 10), []);
    assert_eq!(words(u64::MAX, 10), []);
    assert_eq!(reader.last_event().unwrap(), 3);
    assert_eq!(reader.events(0, 1).unwrap()[0].event, event("a"));
}

pub fn tasks_are_listed_newest_first(store: &mut impl Store) {
    for (state, number) in states().into_iter().zip(1..) {
        add(store, [task_in(number, state)]);
    }
    let all = reader(store).tasks(&TaskFilter::default()).unwrap();
    let newest_first: Vec<u64> = (1..=12).rev().collect();
    assert_eq!(ids(&all), task_ids(&newest_first));
    assert_eq!(
        all.iter().map(|task| task.seq).collect::<Vec<_>>(),
        newest_first
    );
}

/// Tasks of every status, with and without labels and agents.
fn add_mixture(store: &mut impl Store) -> Vec<Task> {
    let names = [None, Some("ada"), Some("bob")];
    let words: [&[&str]; 3] = [&[], &["api"], &["api", "db"]];
    let mut tasks = Vec::new();
    for round in 0..9_u64 {
        for (state, place) in states().into_iter().zip(1..) {
            let seq = round * 12 + place;
            tasks.push(Task {
                seq,
                agent: names[round as usize % 3].map(agent),
                labels: labels(words[round as usize / 3]),
                ..task_in(seq, state)
            });
        }
    }
    add(store, tasks.clone());
    tasks
}

/// Filters that differ in everything.
fn filters() -> Vec<TaskFilter> {
    let mut filters = Vec::new();
    let statuses = [
        vec![],
        vec![TaskStatus::Done],
        vec![TaskStatus::Review, TaskStatus::Todo],
    ];
    for statuses in statuses {
        for label in [None, Some("api"), Some("db"), Some("none")] {
            for name in [None, Some("ada"), Some("nobody")] {
                filters.push(TaskFilter {
                    statuses: statuses.clone(),
                    label: label.map(str::to_owned),
                    agent: name.map(agent),
                    ..TaskFilter::default()
                });
            }
        }
    }
    filters
}

pub fn tasks_are_filtered(store: &mut impl Store) {
    let tasks = add_mixture(store);
    let mut reader = reader(store);
    for filter in filters() {
        for before_seq in [None, Some(50), Some(0), Some(u64::MAX)] {
            for limit in [0, 4, 100] {
                let filter = TaskFilter {
                    limit,
                    before_seq,
                    ..filter.clone()
                };
                let newest_first = tasks.iter().rev().filter(|task| filter.admits(task));
                let expected: Vec<Task> = newest_first.take(limit).cloned().collect();
                assert_eq!(reader.tasks(&filter).unwrap(), expected, "{filter:?}");
            }
        }
    }
}

pub fn tasks_are_listed_page_by_page(store: &mut impl Store) {
    add_mixture(store);
    let mut reader = reader(store);
    let mut filter = TaskFilter {
        limit: 7,
        statuses: vec![TaskStatus::Review, TaskStatus::Done],
        ..TaskFilter::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = reader.tasks(&filter).unwrap();
        let Some(last) = page.last() else { break };
        filter.before_seq = Some(last.seq);
        seen.extend(page.iter().map(|task| task.seq));
    }
    assert_eq!(seen.len(), 9 * 6);
    assert!(seen.is_sorted_by(|one, next| one > next));
}

/// How many tasks of a status have a label.
fn labelled(store: &impl Store, label: &str, status: TaskStatus) -> usize {
    let filter = TaskFilter {
        statuses: vec![status],
        label: Some(label.to_owned()),
        ..TaskFilter::default()
    };
    reader(store).tasks(&filter).unwrap().len()
}

pub fn labels_follow_their_task(store: &mut impl Store) {
    let about = |words: &[&str], state| Task {
        labels: labels(words),
        ..task_in(1, state)
    };
    add(store, [about(&["a", "b"], TaskState::Todo { hold: None })]);
    assert_eq!(labelled(store, "a", TaskStatus::Todo), 1);
    assert_eq!(labelled(store, "b", TaskStatus::Todo), 1);
    assert_eq!(labelled(store, "a", TaskStatus::Done), 0);
    commit(store, |ledger| {
        ledger.update_task(&about(&["b", "c"], TaskState::Done))
    });
    assert_eq!(labelled(store, "a", TaskStatus::Done), 0);
    assert_eq!(labelled(store, "b", TaskStatus::Done), 1);
    assert_eq!(labelled(store, "c", TaskStatus::Done), 1);
    assert_eq!(labelled(store, "b", TaskStatus::Todo), 0);
}

pub fn runs_are_listed_and_filtered(store: &mut impl Store) {
    add(store, [task(1), task(2)]);
    let mut runs = Vec::new();
    for number in 1..=9 {
        let name = if number % 3 == 0 { "bob" } else { "ada" };
        runs.push(Run {
            agent: agent(name),
            ..ended(number, 1 + number % 2, Outcome::Completed)
        });
    }
    commit(store, |ledger| {
        runs.iter().try_for_each(|run| ledger.insert_run(run))
    });
    let mut reader = reader(store);
    for task in [None, Some(1), Some(2), Some(3)] {
        for name in [None, Some("ada"), Some("bob"), Some("nobody")] {
            for (before, rest) in [(None, 9), (Some(run_id(5)), 4), (Some(run_id(77)), 0)] {
                let filter = RunFilter {
                    task: task.map(task_id),
                    agent: name.map(agent),
                    limit: 3,
                    before,
                };
                let newest_first = runs[..rest].iter().rev().filter(|run| filter.admits(run));
                let expected: Vec<Run> = newest_first.take(3).cloned().collect();
                assert_eq!(reader.runs(&filter).unwrap(), expected, "{filter:?}");
            }
        }
    }
}

pub fn ids_are_found_by_prefix(store: &mut impl Store) {
    add(store, (1..=40).map(task));
    commit(store, |ledger| {
        (1..=40).try_for_each(|number| ledger.insert_run(&run(number, number)))
    });
    let mut tasks: Vec<TaskId> = (1..=40).map(task_id).collect();
    let mut runs: Vec<RunId> = (1..=40).map(run_id).collect();
    tasks.sort();
    runs.sort();
    let mut reader = reader(store);
    for prefix in [
        "", "t", "tsk_", "tsk_1", "tsk_10", "run_", "run_2", "~", "é", "tsk_'", "z", "%",
    ] {
        for limit in [0, 2, 100] {
            let found = tasks.iter().filter(|id| id.as_str().starts_with(prefix));
            let found: Vec<TaskId> = found.take(limit).cloned().collect();
            assert_eq!(
                reader.task_ids_with_prefix(prefix, limit).unwrap(),
                found,
                "{prefix}"
            );
            let found = runs.iter().filter(|id| id.as_str().starts_with(prefix));
            let found: Vec<RunId> = found.take(limit).cloned().collect();
            assert_eq!(
                reader.run_ids_with_prefix(prefix, limit).unwrap(),
                found,
                "{prefix}"
            );
        }
    }
    let whole = reader.task_ids_with_prefix(task_id(7).as_str(), 2).unwrap();
    assert_eq!(whole, [task_id(7)]);
}

pub fn tasks_are_counted(store: &mut impl Store) {
    let none: Counts = TaskStatus::ALL.iter().map(|status| (*status, 0)).collect();
    assert_eq!(reader(store).counts().unwrap(), none);
    add(store, [task(1), task(2), task_in(3, TaskState::Done)]);
    commit(store, |ledger| {
        ledger.update_task(&task_in(1, TaskState::Done))?;
        ledger.update_task(&task_in(1, TaskState::Done))?;
        ledger.update_task(&task_in(2, TaskState::InProgress { run: run_id(1) }))?;
        ledger.delete_task(&task_id(3))
    });
    let mut expected = none;
    expected.insert(TaskStatus::Done, 1);
    expected.insert(TaskStatus::InProgress, 1);
    assert_eq!(reader(store).counts().unwrap(), expected);
}

pub fn a_reader_sees_what_was_committed(store: &mut impl Store) {
    let mut reader = reader(store);
    add(store, [task(1)]);
    let seen = std::thread::scope(|scope| {
        scope
            .spawn(move || reader.task(&task_id(1)).unwrap().is_some())
            .join()
            .unwrap()
    });
    assert!(seen, "from another thread, through a reader made before");
}

pub fn a_reader_can_hold_a_moment(store: &mut impl Store) {
    add(store, [task(1)]);
    let mut reader = reader(store);
    let seen: Result<_, StoreError> = reader.at_one_moment(|reader| {
        let before = reader.tasks(&TaskFilter::default())?;
        commit(store, |ledger| {
            ledger.update_task(&task_in(1, TaskState::Done))?;
            ledger.append(&event("later"))
        });
        let after = reader.tasks(&TaskFilter::default())?;
        Ok((
            before == after,
            reader.counts()?[&TaskStatus::Done],
            reader.last_event()?,
        ))
    });
    assert_eq!(seen.unwrap(), (true, 0, 0));
    assert_eq!(reader.counts().unwrap()[&TaskStatus::Done], 1);
    assert_eq!(reader.last_event().unwrap(), 1);

    reader.hold().unwrap();
    add(store, [task(2)]);
    let held = reader.task(&task_id(2)).unwrap();
    assert_eq!(
        held, None,
        "the moment is that of the hold, not of the first read after it"
    );
    reader.release().unwrap();
}

pub fn a_reader_cannot_write(store: &mut impl Store) {
    commit(store, |ledger| {
        ledger.insert_task(&task(1), &[])?;
        ledger.insert_task(&task(2), &[needs(1)])
    });
    let mut reader = reader(store);
    let view = reader.ledger();
    assert_eq!(view.dependencies(&task_id(2)).unwrap().len(), 1);
    assert_eq!(view.ready_lanes().unwrap(), [Lane::Any]);
    let refusals = [
        view.insert_task(&task(3), &[]).map(drop),
        view.update_task(&task_in(1, TaskState::Done)),
        view.delete_task(&task_id(2)),
        view.set_dependencies(&task_id(2), &[]),
        view.shift_unmet(&task_id(1), DependencyKind::Succeeded, 1)
            .map(drop),
        view.insert_run(&run(1, 1)),
        view.append(&event("no")).map(drop),
    ];
    for refusal in refusals {
        let error = StoreError::from(refusal.unwrap_err());
        assert_eq!(error.breach(), Some(&Breach::ReadOnly), "{error}");
    }
    assert_eq!(
        reader.task(&task_id(1)).unwrap().unwrap().status(),
        TaskStatus::Todo
    );
}
