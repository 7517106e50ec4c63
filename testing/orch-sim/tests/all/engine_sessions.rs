//! What a run goes on with, what of the session's use is its own, and what its success must have
//! left behind.

use orch_core::config::Resumes;
use orch_core::engine::{End, Input, Report};
use orch_core::outcome::Verdict;
use orch_core::price::Price;
use orch_core::request::{NewTask, Refusal, Request, TaskEdit};
use orch_core::run::{Changes, Ending, Exit, FailureCode, RunStatus, StopReason, Usage};
use orch_core::task::{Require, WorkspaceMode};
use orch_core::{TaskId, Timestamp};

use crate::bench::{Bench, agent, error, lost, name, new, not_started, seen, success};

fn started(bench: &mut Bench, new: NewTask) -> TaskId {
    let id = bench.add(new);
    assert_eq!(bench.plan().len(), 1);
    id
}

fn said(code: FailureCode) -> End {
    let message = "no".to_owned();
    seen(Exit::Code(1), Verdict::Error { code, message })
}

/// Ends the task's run with what `report` says beside its end.
fn end_with(bench: &mut Bench, task: &TaskId, end: End, report: impl FnOnce(&mut Report)) {
    let run = bench.last_run(task).id;
    let mut told = Box::new(Report::bare(end, Timestamp(bench.now)));
    report(&mut told);
    let step = bench.step(Input::Ended { run, report: told });
    step.expect("an end is always taken");
}

fn end_in_session(bench: &mut Bench, task: &TaskId, end: End, session: &str) {
    end_with(bench, task, end, |report| {
        report.session_id = Some(session.to_owned());
    });
}

/// Starts the next run, as soon as it may; the session it goes on with.
fn next_session(bench: &mut Bench, task: &TaskId) -> Option<String> {
    if bench.task(task).state.hold().is_some() {
        let hold = bench.hold_ms(task);
        bench.wait(hold);
    }
    assert_eq!(bench.plan().len(), 1);
    bench.last_run(task).resumed_session
}

fn last_ending(bench: &mut Bench, task: &TaskId) -> Ending {
    let run = bench.last_run(task);
    run.ending().expect("it has ended").clone()
}

#[test]
fn the_next_run_goes_on_with_the_session_of_the_one_before() {
    let limited = Verdict::Limited {
        code: FailureCode::RateLimit,
        message: "slow down".into(),
        until: None,
    };
    let timed_out = End::Seen {
        exit: Exit::Code(143),
        enforced: Some(orch_core::outcome::Enforced::Timeout { limit_ms: 5 }),
        stopped: false,
        verdict: Verdict::NoResult,
        logs: "out.log".into(),
    };
    for end in [error(), lost(), timed_out, seen(Exit::Code(1), limited)] {
        let mut bench = Bench::new();
        let task = started(&mut bench, new("a"));
        assert_eq!(bench.last_run(&task).resumed_session, None);
        end_in_session(&mut bench, &task, end.clone(), "s1");
        let session = next_session(&mut bench, &task);
        assert_eq!(session.as_deref(), Some("s1"), "{end:?}");
    }
}

#[test]
fn a_session_that_its_agent_takes_back_is_gone_on_with_once_a_call_was_answered() {
    let limited = || {
        let (code, message) = (FailureCode::RateLimit, "slow down".to_owned());
        let until = None;
        seen(
            Exit::Code(1),
            Verdict::Limited {
                code,
                message,
                until,
            },
        )
    };
    let killed = || {
        seen(
            Exit::Signal {
                number: 9,
                core: false,
            },
            Verdict::NoResult,
        )
    };
    for (end, answered, expected) in [
        (error(), None, None),
        (error(), Some(0), None),
        (said(FailureCode::ConnectionFailed), None, None),
        (limited(), None, None),
        (error(), Some(3), Some("s1")),
        (limited(), Some(3), Some("s1")),
        (killed(), None, Some("s1")),
        (lost(), None, Some("s1")),
    ] {
        let mut bench = Bench::new();
        bench.config.agents[0].resumes = Resumes::OnceAnswered;
        let task = started(&mut bench, new("a"));
        end_with(&mut bench, &task, end.clone(), |report| {
            report.session_id = Some("s1".to_owned());
            report.usage.output_tokens = answered;
        });
        let ending = last_ending(&mut bench, &task);
        assert_eq!(ending.session_id.as_deref(), Some("s1"), "it was named");
        let next = next_session(&mut bench, &task);
        assert_eq!(next.as_deref(), expected, "{answered:?} {end:?}");
    }
}

#[test]
fn a_session_that_was_gone_on_with_is_there_whatever_its_agent_takes_back() {
    let mut bench = Bench::new();
    bench.config.agents[0].resumes = Resumes::OnceAnswered;
    let task = started(&mut bench, new("a"));
    end_in_session(&mut bench, &task, lost(), "s1");
    assert_eq!(next_session(&mut bench, &task).as_deref(), Some("s1"));
    end_in_session(&mut bench, &task, error(), "s1");
    assert_eq!(next_session(&mut bench, &task).as_deref(), Some("s1"));
}

#[test]
fn an_interrupted_and_a_rejected_run_are_gone_on_with() {
    let mut bench = Bench::new();
    let task = started(&mut bench, new("a"));
    bench.step(Input::Interrupt).unwrap();
    assert_eq!(bench.last_run(&task).stop, Some(StopReason::Interrupt));
    end_in_session(&mut bench, &task, error(), "s1");
    assert_eq!(next_session(&mut bench, &task).as_deref(), Some("s1"));
    end_in_session(&mut bench, &task, success(), "s2");
    let reason = "not yet".to_owned();
    bench.ask(Request::Reject {
        task: task.clone(),
        reason,
    });
    assert_eq!(next_session(&mut bench, &task).as_deref(), Some("s2"));
}

#[test]
fn a_run_that_did_not_say_its_session_had_the_one_it_was_started_with() {
    let mut bench = Bench::new();
    let task = started(&mut bench, new("a"));
    end_in_session(&mut bench, &task, error(), "s1");
    assert_eq!(next_session(&mut bench, &task).as_deref(), Some("s1"));
    bench.end(&task, not_started(FailureCode::NoResources));
    assert_eq!(next_session(&mut bench, &task).as_deref(), Some("s1"));
}

#[test]
fn a_session_is_not_gone_on_with_by_another_agent_or_kind_or_against_the_users_will() {
    let mut bench = Bench::new();
    let task = started(&mut bench, new("a"));
    end_in_session(&mut bench, &task, error(), "s1");
    let worked = bench.last_run(&task).agent;
    for change in 0..3 {
        let mut bench = Bench::new();
        let task = started(&mut bench, new("a"));
        end_in_session(&mut bench, &task, error(), "s1");
        let mut other = agent(worked.as_str());
        match change {
            0 => other.name = name("another"),
            1 => other.adapter = "codex".into(),
            _ => other.resumes = Resumes::Never,
        }
        bench.config.agents = vec![other];
        assert_eq!(next_session(&mut bench, &task), None, "{change}");
    }
}

#[test]
fn a_session_that_cannot_go_on_is_left() {
    for code in [FailureCode::ContextTooLong, FailureCode::BadRequest] {
        let mut bench = Bench::new();
        let task = started(&mut bench, new("a"));
        end_in_session(&mut bench, &task, said(code), "s1");
        assert_eq!(bench.status(&task), "failed");
        bench.ask(Request::Retry { task: task.clone() });
        assert_eq!(next_session(&mut bench, &task), None, "{code}");
    }
}

#[test]
fn a_session_that_is_gone_costs_no_attempt_and_the_next_run_has_its_own() {
    for gone in [
        said(FailureCode::SessionGone),
        not_started(FailureCode::SessionGone),
    ] {
        let mut bench = Bench::new();
        let two = NewTask {
            max_attempts: Some(2),
            ..new("a")
        };
        let task = started(&mut bench, two);
        end_in_session(&mut bench, &task, error(), "s1");
        assert_eq!(next_session(&mut bench, &task).as_deref(), Some("s1"));
        bench.end(&task, gone);
        assert_eq!((bench.status(&task), bench.hold_ms(&task)), ("retrying", 0));
        assert_eq!(bench.failure(&task), FailureCode::SessionGone);
        assert_eq!(bench.task(&task).attempts, 1);
        assert_eq!(next_session(&mut bench, &task), None);
        // Without a session to go on with it is a failure like any other.
        bench.end(&task, said(FailureCode::SessionGone));
        assert_eq!(
            (bench.status(&task), bench.task(&task).attempts),
            ("failed", 2)
        );
    }
}

#[test]
fn a_task_that_ended_goes_on_when_a_person_says_so() {
    let words = || "also the docs".to_owned();
    for ending in ["done", "failed", "cancelled", "review"] {
        let mut bench = Bench::new();
        let one = NewTask {
            max_attempts: Some(1),
            ..new("a")
        };
        let task = started(&mut bench, one);
        match ending {
            "failed" => end_in_session(&mut bench, &task, error(), "s1"),
            _ => end_in_session(&mut bench, &task, success(), "s1"),
        }
        match ending {
            "done" => {
                bench.ask(Request::Approve { task: task.clone() });
                bench.land(&task);
            }
            "cancelled" => {
                bench.ask(Request::Cancel { task: task.clone() });
            }
            _ => {}
        }
        assert_eq!(bench.status(&task), ending);
        bench.ask(Request::Resume {
            task: task.clone(),
            message: words(),
        });
        let resumed = bench.task(&task);
        assert_eq!((resumed.attempts, resumed.feedback), (0, Some(words())));
        assert_eq!(next_session(&mut bench, &task).as_deref(), Some("s1"));
        assert!(bench.facts().contains(&"task_resumed"));
    }
}

#[test]
fn a_task_that_is_done_and_goes_on_holds_back_what_waits_for_it() {
    let mut bench = Bench::new();
    let first = started(&mut bench, new("a"));
    bench.succeed(&first);
    bench.config.max_agents = 0;
    let second = bench.add(crate::bench::after("b", &[&first]));
    assert_eq!(bench.task(&second).unmet, 0);
    let message = "once more".to_owned();
    bench.ask(Request::Resume {
        task: first,
        message,
    });
    assert_eq!(bench.task(&second).unmet, 1);
}

#[test]
fn a_resume_is_refused_in_words_where_there_is_nothing_to_go_on_with() {
    let mut bench = Bench::new();
    let task = bench.add(new("a"));
    let resume = |message: &str| Request::Resume {
        task: task.clone(),
        message: message.to_owned(),
    };
    let said = bench.refusal(resume("go on")).to_string();
    assert_eq!(said, "a task that is todo cannot be resumed");
    assert!(matches!(
        bench.refusal(resume("  ")),
        Refusal::Text {
            field: "message",
            ..
        }
    ));
    bench.ask(Request::Cancel { task: task.clone() });
    let said = bench.refusal(resume("go on")).to_string();
    assert!(said.contains("has never run"), "{said}");
    bench.ask(Request::Retry { task: task.clone() });
    bench.plan();
    let said = bench.refusal(resume("go on")).to_string();
    assert_eq!(said, "a task that is in progress cannot be resumed");
}

fn tokens(input: u64, cost: Option<f64>) -> Usage {
    Usage {
        input_tokens: Some(input),
        output_tokens: Some(input / 2),
        cost_usd: cost,
        ..Usage::default()
    }
}

fn end_having_used(bench: &mut Bench, task: &TaskId, usage: Usage) {
    end_with(bench, task, error(), |report| {
        report.session_id = Some("s1".to_owned());
        report.usage = usage;
        report.cumulative = true;
    });
}

#[test]
fn of_a_session_that_is_counted_as_a_whole_each_run_has_its_share() {
    let mut bench = Bench::new();
    let many = NewTask {
        max_attempts: Some(9),
        ..new("a")
    };
    let task = started(&mut bench, many);
    end_having_used(&mut bench, &task, tokens(100, Some(0.25)));
    assert_eq!(
        last_ending(&mut bench, &task).usage,
        tokens(100, Some(0.25))
    );
    next_session(&mut bench, &task);
    end_having_used(&mut bench, &task, tokens(130, Some(0.75)));
    assert_eq!(last_ending(&mut bench, &task).usage, tokens(30, Some(0.5)));
    // A run that does not say what it used leaves its share to the next one.
    next_session(&mut bench, &task);
    end_having_used(&mut bench, &task, Usage::default());
    assert_eq!(last_ending(&mut bench, &task).usage, Usage::default());
    next_session(&mut bench, &task);
    end_having_used(&mut bench, &task, tokens(150, None));
    let ending = last_ending(&mut bench, &task);
    assert_eq!((ending.usage, ending.warnings), (tokens(20, None), vec![]));
    // Less than before cannot be.
    next_session(&mut bench, &task);
    end_having_used(&mut bench, &task, tokens(10, None));
    let ending = last_ending(&mut bench, &task);
    assert_eq!(ending.usage, Usage::default());
    assert!(
        ending.warnings[0].contains("not known"),
        "{:?}",
        ending.warnings
    );
}

#[test]
fn a_session_of_its_own_shares_nothing() {
    let mut bench = Bench::new();
    let task = started(&mut bench, new("a"));
    end_having_used(&mut bench, &task, tokens(100, None));
    bench.config.agents[0].resumes = Resumes::Never;
    assert_eq!(next_session(&mut bench, &task), None);
    end_having_used(&mut bench, &task, tokens(40, None));
    assert_eq!(last_ending(&mut bench, &task).usage, tokens(40, None));
}

#[test]
fn a_cost_that_was_not_reported_is_estimated_from_the_runs_own_tokens_and_marked() {
    let price = Some(Price {
        input: 10_000.0,
        output: 0.0,
        ..Price::default()
    });
    let mut bench = Bench::new();
    let task = started(&mut bench, new("a"));
    let end = |bench: &mut Bench, usage| {
        let task = task.clone();
        end_with(bench, &task, error(), |report| {
            report.session_id = Some("s1".to_owned());
            report.usage = usage;
            report.cumulative = true;
            report.price = price;
        });
        let ending = last_ending(bench, &task);
        (ending.usage.cost_usd, ending.cost_estimated)
    };
    assert_eq!(end(&mut bench, tokens(100, None)), (Some(1.0), true));
    next_session(&mut bench, &task);
    // An estimate is no part of what the agent says of the session.
    assert_eq!(
        end(&mut bench, tokens(130, Some(0.75))),
        (Some(0.75), false)
    );
    bench.ask(Request::Retry { task: task.clone() });
    assert_eq!(next_session(&mut bench, &task).as_deref(), Some("s1"));
    assert_eq!(end(&mut bench, Usage::default()), (None, false));
}

const NOTHING: Changes = Changes {
    files: 0,
    commits: 0,
};
const A_FILE: Changes = Changes {
    files: 1,
    commits: 0,
};
const A_COMMIT: Changes = Changes {
    files: 1,
    commits: 1,
};

/// How a success ends that left `branch`, for a task and an agent that require this.
fn judged(
    of_task: Option<Require>,
    of_agent: Option<Require>,
    branch: Option<Changes>,
) -> (RunStatus, Ending) {
    let mut bench = Bench::new();
    for agent in &mut bench.config.agents {
        agent.require = of_agent;
    }
    let task = started(
        &mut bench,
        NewTask {
            require: of_task,
            ..new("a")
        },
    );
    end_with(&mut bench, &task, success(), |report| {
        report.changes = branch;
        report.branch = branch;
    });
    (
        bench.last_run(&task).status(),
        last_ending(&mut bench, &task),
    )
}

/// Promise 5.
#[test]
fn a_success_that_left_too_little_is_a_failure_with_evidence() {
    use Require::{Changes, Commit, Nothing};
    let (fails, passes) = (RunStatus::Failed, RunStatus::Completed);
    for (of_task, of_agent, branch, status) in [
        (None, None, NOTHING, passes),
        (Some(Changes), None, NOTHING, fails),
        (Some(Changes), None, A_FILE, passes),
        (Some(Commit), None, A_FILE, fails),
        (Some(Commit), None, A_COMMIT, passes),
        (None, Some(Commit), A_FILE, fails),
        (Some(Nothing), Some(Commit), NOTHING, passes),
        (Some(Changes), Some(Commit), A_FILE, passes),
    ] {
        let (got, ending) = judged(of_task, of_agent, Some(branch));
        assert_eq!(got, status, "{of_task:?} {of_agent:?} {branch:?}");
        if let Some(failure) = ending.outcome.failure() {
            assert_eq!(failure.code, FailureCode::NoChanges);
            let counted = format!("{} changed files", branch.files);
            assert!(failure.evidence.contains(&counted), "{}", failure.evidence);
            assert!(failure.evidence.contains("out.log"), "{}", failure.evidence);
        }
        assert_eq!(ending.changes, Some(branch));
        let warned = ending
            .warnings
            .iter()
            .any(|it| it.contains("changed no file"));
        assert_eq!(warned, branch == NOTHING);
    }
}

/// Promise 19.
#[test]
fn what_orch_stopped_is_not_to_blame_for_what_it_did_not_leave() {
    let mut bench = Bench::new();
    let new = NewTask {
        require: Some(Require::Commit),
        ..new("a")
    };
    let task = started(&mut bench, new);
    bench.step(Input::Interrupt).unwrap();
    end_with(&mut bench, &task, success(), |report| {
        report.branch = Some(NOTHING);
    });
    let run = bench.last_run(&task);
    assert_eq!(run.status(), RunStatus::Cancelled);
    assert_eq!(
        (bench.status(&task), bench.task(&task).attempts),
        ("todo", 0)
    );
}

#[test]
fn what_was_not_counted_is_no_failure_and_is_said() {
    let (status, ending) = judged(Some(Require::Commit), None, None);
    assert_eq!(status, RunStatus::Completed);
    assert!(
        ending.warnings[0].contains("not judged"),
        "{:?}",
        ending.warnings
    );
}

#[test]
fn what_is_required_can_be_changed_while_the_task_waits() {
    use Require::{Commit, Nothing};
    let (fails, passes) = (RunStatus::Failed, RunStatus::Completed);
    for (before, edit, status) in [
        (None, Some(Some(Commit)), fails),
        (Some(Nothing), Some(None), fails),
        (Some(Commit), Some(Some(Nothing)), passes),
        (Some(Nothing), None, passes),
    ] {
        let mut bench = Bench::new();
        for agent in &mut bench.config.agents {
            agent.require = Some(Require::Changes);
        }
        let task = bench.add(NewTask {
            require: before,
            ..new("a")
        });
        bench.ask(edit_require(&task, edit));
        assert_eq!(bench.plan().len(), 1);
        end_with(&mut bench, &task, success(), |report| {
            report.branch = Some(NOTHING);
        });
        let got = bench.last_run(&task).status();
        assert_eq!(got, status, "{before:?} {edit:?}");
    }
}

fn edit_require(task: &TaskId, require: Option<Option<Require>>) -> Request {
    Request::Edit {
        task: task.clone(),
        edit: Box::new(TaskEdit {
            require,
            ..TaskEdit::default()
        }),
    }
}

#[test]
fn an_edit_can_require_nothing_of_work_in_the_shared_directory_either() {
    let mut bench = Bench::new();
    let task = bench.add(NewTask {
        workspace: Some(WorkspaceMode::Shared),
        ..new("a")
    });
    let said = bench.refusal(edit_require(&task, Some(Some(Require::Changes))));
    assert!(said.to_string().contains("require = changes"), "{said}");
    assert_eq!(bench.task(&task).require, None);
    bench.ask(edit_require(&task, Some(Some(Require::Nothing))));
    assert_eq!(bench.task(&task).require, Some(Require::Nothing));
}

#[test]
fn nothing_can_be_required_of_work_in_the_shared_directory() {
    let mut bench = Bench::new();
    let shared = |require| NewTask {
        workspace: Some(WorkspaceMode::Shared),
        require,
        ..new("a")
    };
    let asked = Request::Add(Box::new(shared(Some(Require::Commit))));
    let said = bench.refusal(asked).to_string();
    assert!(
        said.contains("require = commit cannot be had with the shared"),
        "{said}"
    );
    // What its agent asks of every task is passed over, and that is said.
    for agent in &mut bench.config.agents {
        agent.require = Some(Require::Commit);
    }
    let task = started(&mut bench, shared(None));
    bench.end(&task, success());
    let ending = last_ending(&mut bench, &task);
    assert_eq!(bench.last_run(&task).status(), RunStatus::Completed);
    assert!(
        ending.warnings[0].contains("shared directory"),
        "{:?}",
        ending.warnings
    );
}
