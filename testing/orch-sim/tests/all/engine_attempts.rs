//! What becomes of a task after each way a run can end.

use orch_core::engine::{Effect, End, Input, Landing};
use orch_core::outcome::{Enforced, Verdict};
use orch_core::request::{Answer, NewTask, Refusal, Request, TaskEdit};
use orch_core::run::{Exit, FailureCode, RunStatus, StopReason};
use orch_core::task::{OnLost, Review, ReviewMode, TaskState, WorkspaceMode};
use orch_core::{TaskId, Timestamp, engine, limits};
use orch_store::Store;

use crate::bench::{Bench, error, failed, lost, new, not_started, seen, success};

const KILLED: Exit = Exit::Signal {
    number: 9,
    core: false,
};

/// A task whose run has just begun.
fn started(bench: &mut Bench, new: NewTask) -> TaskId {
    let id = bench.add(new);
    assert_eq!(bench.plan().len(), 1);
    id
}

fn limit(until: Option<i64>) -> End {
    let verdict = Verdict::Limited {
        code: FailureCode::UsageLimit,
        message: "come back later".into(),
        until: until.map(Timestamp),
    };
    seen(Exit::Code(1), verdict)
}

#[test]
fn failures_are_retried_after_a_back_off_that_doubles_and_then_given_up() {
    let mut bench = Bench::new();
    let task = started(
        &mut bench,
        NewTask {
            max_attempts: Some(4),
            ..new("a")
        },
    );
    for full in [10_000, 20_000, 40_000] {
        bench.end(&task, error());
        let hold = bench.hold_ms(&task);
        assert!((full * 3 / 4..=full).contains(&hold), "{hold} of {full}");
        assert_eq!(
            (bench.status(&task), bench.code(&task)),
            ("retrying", "backoff")
        );
        bench.wait(hold - 1);
        assert!(bench.plan().is_empty());
        bench.wait(1);
        assert_eq!(bench.plan(), ["a"]);
    }
    bench.end(&task, error());
    assert_eq!(
        (bench.status(&task), bench.failure(&task)),
        ("failed", FailureCode::AgentError)
    );
    assert_eq!((bench.task(&task).attempts, bench.task(&task).runs), (4, 4));
}

#[test]
fn a_limit_parks_the_task_and_uses_no_attempt() {
    let mut bench = Bench::new();
    let task = started(
        &mut bench,
        NewTask {
            max_attempts: Some(1),
            ..new("a")
        },
    );
    let reset = bench.now + 3_600_000;
    bench.end(&task, limit(Some(reset)));
    assert_eq!((bench.status(&task), bench.code(&task)), ("todo", "limit"));
    assert_eq!(bench.why(&task).until, Some(Timestamp(reset)));
    let why = bench.why(&task).message;
    assert!(why.contains("come back later"), "{why}");
    assert_eq!(bench.task(&task).attempts, 0);
    bench.wait(3_600_000);
    assert_eq!(bench.plan(), ["a"]);
    // Without a time, and with one that has passed, it waits as the back-off says, longer each
    // time in a row: a provider that is asked again and again lifts nothing.
    for (until, longest) in [(None, 20_000), (Some(bench.now - 1), 40_000)] {
        bench.end(&task, limit(until));
        let hold = bench.hold_ms(&task);
        assert!((longest * 3 / 4..=longest).contains(&hold), "{hold}");
        bench.wait(hold);
        assert_eq!(bench.plan(), ["a"]);
    }
    assert_eq!(bench.last_run(&task).attempt, 4);
}

#[test]
fn a_lost_run_is_retried_where_that_is_safe_and_else_shown_to_a_person() {
    let cases = [
        (WorkspaceMode::Worktree, OnLost::Default, "retrying"),
        (WorkspaceMode::Shared, OnLost::Default, "review"),
        (WorkspaceMode::Shared, OnLost::Retry, "retrying"),
        (WorkspaceMode::Worktree, OnLost::Ask, "review"),
    ];
    for (workspace, on_lost, status) in cases {
        let mut bench = Bench::new();
        let new = NewTask {
            workspace: Some(workspace),
            on_lost: Some(on_lost),
            ..new("a")
        };
        let task = started(&mut bench, new);
        bench.end(&task, lost());
        assert_eq!(bench.status(&task), status, "{workspace} {on_lost}");
        assert_eq!(bench.task(&task).attempts, 1);
        assert_eq!(bench.last_run(&task).ending().unwrap().exit, None);
        if status == "review" {
            assert_eq!(bench.code(&task), "lost");
            bench.ask(Request::Retry { task: task.clone() });
            assert_eq!(bench.plan(), ["a"]);
        }
    }
}

#[test]
fn a_command_that_is_not_there_is_not_tried_again() {
    for code in [FailureCode::CommandNotFound, FailureCode::NotExecutable] {
        let mut bench = Bench::new();
        let task = started(&mut bench, new("a"));
        bench.end(&task, not_started(code));
        assert_eq!(
            (bench.status(&task), bench.failure(&task)),
            ("failed", code)
        );
    }
}

#[test]
fn want_of_resources_uses_no_attempt_and_is_not_for_ever() {
    let mut bench = Bench::new();
    let task = started(
        &mut bench,
        NewTask {
            max_attempts: Some(1),
            ..new("a")
        },
    );
    for _ in 1..10 {
        bench.end(&task, not_started(FailureCode::NoResources));
        assert_eq!(
            (bench.status(&task), bench.task(&task).attempts),
            ("retrying", 0)
        );
        bench.wait(600_000);
        assert_eq!(bench.plan(), ["a"]);
    }
    bench.end(&task, not_started(FailureCode::NoResources));
    assert_eq!(
        (bench.status(&task), bench.failure(&task)),
        ("failed", FailureCode::NoResources)
    );
}

#[test]
fn an_interrupt_costs_nothing_and_the_work_goes_on_after_a_restart() {
    let mut bench = Bench::new();
    let task = started(
        &mut bench,
        NewTask {
            max_attempts: Some(1),
            ..new("a")
        },
    );
    bench.step(Input::Interrupt).unwrap();
    let run = bench.last_run(&task);
    assert_eq!(run.stop, Some(StopReason::Interrupt));
    bench.permit_nothing = true;
    bench.end(&task, seen(KILLED, Verdict::NoResult));
    assert_eq!(bench.run(&run.id).status(), RunStatus::Cancelled);
    assert_eq!(
        (bench.status(&task), bench.task(&task).attempts),
        ("todo", 0)
    );
    assert!(bench.plan().is_empty());
    bench.permit_nothing = false;
    assert_eq!(bench.plan(), ["a"]);
}

/// An agent that is asked to leave often says so as its last words, in the form of an error.
#[test]
fn the_complaint_of_an_interrupted_agent_is_not_a_failure() {
    let mut bench = Bench::new();
    let task = started(
        &mut bench,
        NewTask {
            max_attempts: Some(1),
            ..new("a")
        },
    );
    bench.step(Input::Interrupt).unwrap();
    bench.end(&task, error());
    assert_eq!(
        (bench.status(&task), bench.task(&task).attempts),
        ("todo", 0)
    );
}

#[test]
fn work_that_was_done_before_the_interrupt_counts_as_done() {
    let mut bench = Bench::new();
    let task = started(&mut bench, new("a"));
    bench.step(Input::Interrupt).unwrap();
    bench.end(&task, seen(KILLED, Verdict::Success));
    assert_eq!(bench.status(&task), "review");
    let warnings = bench.last_run(&task).ending().unwrap().warnings.clone();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn a_cancelled_task_is_cancelled_only_when_its_run_is_over() {
    for end in [
        success(),
        error(),
        lost(),
        not_started(FailureCode::SpawnFailed),
    ] {
        let mut bench = Bench::new();
        let task = started(&mut bench, new("a"));
        let cancel = Request::Cancel { task: task.clone() };
        assert!(matches!(bench.ask(cancel.clone()), Answer::Stopping(_)));
        assert!(matches!(bench.ask(cancel), Answer::Unchanged(_)));
        assert_eq!(bench.status(&task), "in_progress");
        bench.end(&task, end);
        assert_eq!(bench.status(&task), "cancelled");
        assert_eq!(bench.failure(&task), FailureCode::CancelledByUser);
    }
}

#[test]
fn a_timeout_and_a_stall_are_told_apart() {
    let cases = [
        (Enforced::Timeout { limit_ms: 5 }, FailureCode::Timeout),
        (Enforced::Stall { limit_ms: 5 }, FailureCode::Stalled),
    ];
    for (enforced, code) in cases {
        let mut bench = Bench::new();
        let task = started(&mut bench, new("a"));
        let end = End::Seen {
            exit: KILLED,
            enforced: Some(enforced),
            stopped: false,
            verdict: Verdict::NoResult,
            logs: "out.log".into(),
        };
        bench.end(&task, end);
        assert_eq!(
            (bench.status(&task), bench.failure(&task)),
            ("retrying", code)
        );
    }
}

/// Promise 9.
#[test]
fn idempotent_ingest() {
    let mut bench = Bench::new();
    let task = started(&mut bench, new("a"));
    let run = bench.last_run(&task).id;
    bench.report(&run, error());
    let (row, facts) = (bench.run(&run), bench.facts().len());
    for end in [error(), success(), lost()] {
        bench.report(&run, end);
    }
    assert_eq!((bench.run(&run), bench.facts().len()), (row, facts));
    assert_eq!(bench.task(&task).attempts, 1);
}

#[test]
fn news_of_a_start_after_the_end_changes_nothing() {
    let mut bench = Bench::new();
    let task = started(&mut bench, new("a"));
    let run = bench.last_run(&task).id;
    bench.end(&task, success());
    let row = bench.run(&run);
    let at = Timestamp(bench.now);
    bench
        .step(Input::Spawned {
            run: run.clone(),
            at,
        })
        .unwrap();
    assert_eq!(bench.run(&run), row);
}

#[test]
fn an_end_of_a_run_nobody_knows_changes_nothing() {
    let mut bench = Bench::new();
    bench.report(&orch_core::RunId::from_entropy(7), success());
    assert!(bench.facts().is_empty());
}

#[test]
fn a_stop_that_came_before_the_process_is_sent_once_more_when_it_comes() {
    let mut bench = Bench::new();
    let task = started(&mut bench, new("a"));
    bench.ask(Request::Cancel { task: task.clone() });
    bench.effects.clear();
    let (run, at) = (bench.last_run(&task).id, Timestamp(bench.now));
    bench
        .step(Input::Spawned {
            run: run.clone(),
            at,
        })
        .unwrap();
    let reason = StopReason::Cancel;
    assert_eq!(bench.effects, [Effect::Stop { run, reason }]);
}

/// Promise 2.
#[test]
fn what_had_ended_by_itself_was_not_stopped_by_what_was_asked_for_later() {
    let ended = |exit| End::Seen {
        exit,
        enforced: None,
        stopped: false,
        verdict: Verdict::ByExitStatus,
        logs: "out.log".into(),
    };
    let run_after = |exit, cancel: bool| {
        let mut bench = Bench::new();
        let task = started(&mut bench, new("a"));
        match cancel {
            true => drop(bench.ask(Request::Cancel { task: task.clone() })),
            false => bench.step(Input::Interrupt).map(drop).unwrap(),
        }
        bench.end(&task, ended(exit));
        (bench.last_run(&task).status(), bench.status(&task))
    };
    let (good, bad) = (Exit::Code(0), Exit::Code(9));
    assert_eq!(run_after(good, false), (RunStatus::Completed, "review"));
    assert_eq!(run_after(good, true), (RunStatus::Completed, "cancelled"));
    assert_eq!(run_after(bad, false), (RunStatus::Failed, "retrying"));
    assert_eq!(run_after(bad, true), (RunStatus::Failed, "cancelled"));
}

#[test]
fn a_lingering_process_is_stopped_once_and_its_success_stands() {
    let mut bench = Bench::new();
    let task = started(&mut bench, new("a"));
    let run = bench.last_run(&task).id;
    for _ in 0..2 {
        bench.step(Input::Lingers { run: run.clone() }).unwrap();
    }
    let reason = StopReason::Linger;
    assert_eq!(bench.effects, [Effect::Stop { run, reason }]);
    bench.end(&task, seen(KILLED, Verdict::Success));
    assert_eq!(bench.status(&task), "review");
}

#[test]
fn a_rejection_after_a_conflict_tells_the_next_attempt_of_it() {
    let mut bench = Bench::new();
    let task = started(&mut bench, new("a"));
    bench.end(&task, success());
    bench.ask(Request::Approve { task: task.clone() });
    let landing = Landing::Blocked {
        message: "it conflicts with 'main'".into(),
        files: vec!["a.txt".into()],
    };
    bench
        .step(Input::Landed {
            task: task.clone(),
            landing,
        })
        .unwrap();
    let reason = "resolve it".to_owned();
    bench.ask(Request::Reject {
        task: task.clone(),
        reason,
    });
    let feedback = bench.task(&task).feedback.unwrap();
    for words in [
        "resolve it",
        "conflicts with 'main'",
        "a.txt",
        "merge that branch",
    ] {
        assert!(feedback.contains(words), "{feedback}");
    }
}

#[test]
fn a_rejection_sends_the_words_to_the_next_attempt_with_fresh_attempts() {
    let mut bench = Bench::new();
    let task = started(
        &mut bench,
        NewTask {
            max_attempts: Some(1),
            ..new("a")
        },
    );
    bench.end(&task, success());
    assert_eq!(bench.code(&task), "approval");
    let reject = |reason: &str| Request::Reject {
        task: task.clone(),
        reason: reason.into(),
    };
    assert!(matches!(
        bench.refusal(reject(" ")),
        Refusal::Text {
            field: "reason",
            ..
        }
    ));
    bench.ask(reject("the tests are missing"));
    let row = bench.task(&task);
    assert_eq!(
        (row.feedback.as_deref(), row.attempts),
        (Some("the tests are missing"), 0)
    );
    assert_eq!(bench.plan(), ["a"]);
    bench.end(&task, success());
    assert_eq!(bench.task(&task).feedback, None);
}

#[test]
fn a_blocked_landing_waits_for_a_person_and_can_be_tried_again() {
    let mut bench = Bench::new();
    let task = started(
        &mut bench,
        NewTask {
            review: Some(ReviewMode::Auto),
            ..new("a")
        },
    );
    bench.end(&task, success());
    assert!(matches!(bench.effects.last(), Some(Effect::Land { .. })));
    assert_eq!(bench.code(&task), "landing");
    let cancel = Request::Cancel { task: task.clone() };
    assert!(matches!(bench.refusal(cancel), Refusal::Illegal(_)));
    let blocked = Landing::Blocked {
        message: "conflicts".into(),
        files: vec!["src/a.rs".into()],
    };
    bench.landed(&task, blocked);
    let why = bench.why(&task);
    assert_eq!(
        (why.code.as_str(), why.actor.as_str()),
        ("landing_blocked", "person")
    );
    assert!(why.message.contains("src/a.rs"), "{}", why.message);
    let approve = Request::Approve { task: task.clone() };
    assert!(matches!(bench.ask(approve.clone()), Answer::Landing(_)));
    bench.land(&task);
    bench.land(&task);
    assert_eq!(bench.task(&task).landed.as_deref(), Some("abc"));
    assert!(matches!(bench.ask(approve), Answer::Unchanged(_)));
}

#[test]
fn work_in_the_shared_directory_is_done_with_its_approval() {
    let mut bench = Bench::new();
    let shared = |title, review| NewTask {
        workspace: Some(WorkspaceMode::Shared),
        review: Some(review),
        ..new(title)
    };
    let by_itself = started(&mut bench, shared("a", ReviewMode::Auto));
    let before = bench.effects.len();
    bench.end(&by_itself, success());
    assert_eq!(bench.task(&by_itself).state, TaskState::Done);
    let by_hand = started(&mut bench, shared("b", ReviewMode::Manual));
    bench.end(&by_hand, success());
    let approve = Request::Approve { task: by_hand };
    match bench.ask(approve) {
        Answer::Task(task) => assert_eq!(task.state, TaskState::Done),
        other => panic!("{other:?}"),
    }
    let landings = bench.effects[before..]
        .iter()
        .filter(|effect| matches!(effect, Effect::Land { .. }));
    assert_eq!(landings.count(), 0, "there is nothing to land");
    let facts = bench.facts();
    let told = ["task_review", "task_approved", "task_done"];
    assert!(facts.ends_with(&told), "{facts:?}");
}

#[test]
fn what_a_dead_daemon_left_is_named_at_the_next_start() {
    let mut bench = Bench::new();
    let landing = started(
        &mut bench,
        NewTask {
            review: Some(ReviewMode::Auto),
            ..new("a")
        },
    );
    bench.end(&landing, success());
    let running = started(&mut bench, new("b"));
    let stopping = started(&mut bench, new("c"));
    let (stopped, at) = (bench.last_run(&stopping).id, Timestamp(bench.now));
    bench
        .step(Input::Spawned {
            run: stopped.clone(),
            at,
        })
        .unwrap();
    bench.ask(Request::Cancel {
        task: stopping.clone(),
    });
    let owed = bench
        .store
        .transact(|ledger| engine::resume(ledger).map_err(|_| orch_store_error()))
        .unwrap();
    let owed: Vec<(&str, &str)> = owed
        .iter()
        .map(|effect| match effect {
            Effect::Adopt { task, .. } => ("adopt", task.id.as_str()),
            Effect::Stop { run, .. } => ("stop", run.as_str()),
            Effect::Land { task, .. } => ("land", task.id.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        ("adopt", running.as_str()),
        ("adopt", stopping.as_str()),
        ("stop", stopped.as_str()),
        ("land", landing.as_str()),
    ];
    assert_eq!(owed, expected);
}

fn orch_store_error() -> orch_store::StoreError {
    unreachable!("the memory store does not fail")
}

#[test]
fn fewer_attempts_than_were_used_cannot_be_asked_for() {
    let mut bench = Bench::new();
    let task = started(&mut bench, new("a"));
    bench.end(&task, error());
    let edit = |max| Request::Edit {
        task: task.clone(),
        edit: Box::new(TaskEdit {
            max_attempts: Some(max),
            ..TaskEdit::default()
        }),
    };
    let refusal = bench.refusal(edit(1));
    assert_eq!(
        refusal.to_string(),
        "max attempts must be from 2 to 100, not 1"
    );
    bench.ask(edit(2));
    bench.wait(60_000);
    bench.plan();
    bench.end(&task, error());
    assert_eq!(bench.status(&task), "failed");
}

#[test]
fn a_task_at_work_cannot_be_edited_and_a_branch_keeps_its_title() {
    let mut bench = Bench::new();
    let task = started(&mut bench, new("a"));
    let edit = Request::Edit {
        task: task.clone(),
        edit: Box::new(TaskEdit {
            title: Some("b".into()),
            ..TaskEdit::default()
        }),
    };
    assert!(matches!(bench.refusal(edit.clone()), Refusal::Busy { .. }));
    bench.end(&task, error());
    assert!(matches!(bench.refusal(edit), Refusal::Busy { .. }));
}

#[test]
fn approving_what_was_lost_lands_it() {
    let mut bench = Bench::new();
    let task = started(
        &mut bench,
        NewTask {
            on_lost: Some(OnLost::Ask),
            ..new("a")
        },
    );
    bench.end(&task, lost());
    let failure = failed(FailureCode::SupervisorDied);
    assert_eq!(
        bench.task(&task).state,
        TaskState::Review(Review::Lost { failure })
    );
    bench.ask(Request::Approve { task: task.clone() });
    bench.land(&task);
    assert_eq!(bench.status(&task), "done");
}

#[test]
fn consent_ends_the_wait_for_it_and_no_other() {
    let mut bench = Bench::new();
    let (asked, busy) = (bench.add(new("asked")), bench.add(new("busy")));
    assert_eq!(bench.plan().len(), 2);
    for _ in 0..=limits::TRANSIENT_START_FAILURES {
        bench.end(&asked, not_started(FailureCode::NeedsConsent));
        assert_eq!(bench.code(&asked), "consent");
        assert_eq!(bench.ask(Request::Agreed), Answer::Released(1));
        assert_eq!(bench.plan(), ["asked"]);
    }
    bench.end(&busy, not_started(FailureCode::NoResources));
    bench.end(&asked, not_started(FailureCode::NoResources));
    // Starts that failed for want of consent are not held against the task.
    assert_eq!(
        (bench.status(&asked), bench.status(&busy)),
        ("retrying", "retrying")
    );
    assert_eq!(bench.ask(Request::Agreed), Answer::Released(0));
    assert_eq!(bench.plan(), Vec::<String>::new());
}
