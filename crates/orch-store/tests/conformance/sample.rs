//! Rows to store.

use std::collections::BTreeSet;

use orch_core::event::{Event, EventKind};
use orch_core::run::{Changes, Ending, Exit, Failure, FailureCode, Outcome, Run, RunState, Usage};
use orch_core::task::{
    Dependency, DependencyKind, Hold, OnLost, Priority, Require, Review, ReviewMode, Task,
    TaskState, WorkspaceMode,
};
use orch_core::{AgentName, RunId, TaskId, Timestamp};

pub fn task_id(number: u64) -> TaskId {
    TaskId::from_entropy(number)
}

pub fn run_id(number: u64) -> RunId {
    RunId::from_entropy(number)
}

pub fn agent(name: &str) -> AgentName {
    name.parse().unwrap()
}

pub fn labels(labels: &[&str]) -> BTreeSet<String> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

pub fn failure(code: FailureCode) -> Failure {
    Failure {
        code,
        message: format!("it failed: {code}"),
        evidence: "exit status 3, err.log 0..12".to_owned(),
    }
}

pub fn hold(until: i64) -> Hold {
    Hold {
        until: Timestamp(until),
        failure: failure(FailureCode::RateLimit),
    }
}

/// A task that waits for its turn.
pub fn task(number: u64) -> Task {
    Task {
        id: task_id(number),
        seq: 0,
        title: format!("task {number}"),
        description: "do it".to_owned(),
        state: TaskState::Todo { hold: None },
        priority: Priority::NORMAL,
        agent: None,
        labels: BTreeSet::new(),
        scope: Vec::new(),
        attachments: Vec::new(),
        unmet: 0,
        workspace: WorkspaceMode::Worktree,
        review: ReviewMode::Manual,
        on_lost: OnLost::Default,
        require: None,
        attempts: 0,
        max_attempts: 3,
        runs: 0,
        start_failures: 0,
        timeout_ms: None,
        stall_ms: None,
        result: None,
        feedback: None,
        last_run: None,
        landed: None,
        created_at: Timestamp(1_000),
        updated_at: Timestamp(1_000),
    }
}

pub fn task_in(number: u64, state: TaskState) -> Task {
    Task {
        state,
        ..task(number)
    }
}

pub fn urgent(number: u64, priority: u8) -> Task {
    Task {
        priority: Priority::new(priority).unwrap(),
        ..task(number)
    }
}

/// A task with something in every field.
pub fn full_task(number: u64, state: TaskState) -> Task {
    Task {
        state,
        priority: Priority::new(1).unwrap(),
        agent: Some(agent("ada")),
        labels: labels(&["api", "db"]),
        scope: vec!["src/**".to_owned(), "docs".to_owned()],
        attachments: vec!["/tmp/a b".to_owned()],
        unmet: 2,
        workspace: WorkspaceMode::Shared,
        review: ReviewMode::Auto,
        on_lost: OnLost::Ask,
        require: Some(Require::Commit),
        attempts: 1,
        runs: 4,
        start_failures: 5,
        timeout_ms: Some(60_000),
        stall_ms: Some(7_000),
        result: Some("all good".to_owned()),
        feedback: Some("not yet".to_owned()),
        last_run: Some(run_id(9)),
        landed: Some("0123abcd".to_owned()),
        created_at: Timestamp(-5),
        updated_at: Timestamp(i64::MAX),
        ..task(number)
    }
}

/// Every state a task can be in.
pub fn states() -> Vec<TaskState> {
    vec![
        TaskState::Todo { hold: None },
        TaskState::Todo {
            hold: Some(hold(500)),
        },
        TaskState::InProgress { run: run_id(7) },
        TaskState::Retrying { hold: hold(600) },
        TaskState::Review(Review::Person),
        TaskState::Review(Review::Landing),
        TaskState::Review(Review::Blocked {
            message: "conflict".to_owned(),
            files: vec!["a.rs".to_owned(), "b\n.rs".to_owned()],
        }),
        TaskState::Review(Review::Blocked {
            message: String::new(),
            files: Vec::new(),
        }),
        TaskState::Review(Review::Lost {
            failure: failure(FailureCode::HostRebooted),
        }),
        TaskState::Done,
        TaskState::Failed {
            failure: failure(FailureCode::ExitNonzero),
        },
        TaskState::Cancelled {
            failure: failure(FailureCode::CancelledByUser),
        },
    ]
}

/// A run that was recorded and has no process yet.
pub fn run(number: u64, task: u64) -> Run {
    Run {
        id: run_id(number),
        task: task_id(task),
        agent: agent("ada"),
        adapter: "shell".to_owned(),
        attempt: 1,
        state: RunState::Starting,
        stop: None,
        branch: None,
        boot: Some("the boot".to_owned()),
        resumed_session: Some("s-0".to_owned()),
        created_at: Timestamp(2_000),
        started_at: None,
    }
}

pub fn ended(number: u64, task: u64, outcome: Outcome) -> Run {
    Run {
        state: RunState::Ended(Box::new(ending(outcome, Some(Exit::Code(0))))),
        started_at: Some(Timestamp(2_100)),
        ..run(number, task)
    }
}

pub fn ending(outcome: Outcome, exit: Option<Exit>) -> Ending {
    Ending {
        outcome,
        exit,
        result: Some("done\n".to_owned()),
        usage: Usage {
            input_tokens: Some(12),
            output_tokens: None,
            cache_read_tokens: Some(0),
            cache_write_tokens: Some(1 << 40),
            cost_usd: Some(0.125),
        },
        cost_estimated: true,
        session_id: Some("s-1".to_owned()),
        commit: None,
        changes: Some(Changes {
            files: 3,
            commits: 0,
        }),
        events: 17,
        warnings: vec!["the exit status says otherwise".to_owned()],
        finished_at: Timestamp(2_500),
    }
}

/// Every way in which a run can end.
pub fn outcomes() -> Vec<Outcome> {
    let of = failure;
    vec![
        Outcome::Completed,
        Outcome::Failed(of(FailureCode::NoResult)),
        Outcome::Limited {
            failure: of(FailureCode::UsageLimit),
            until: Some(Timestamp(9_000)),
        },
        Outcome::Limited {
            failure: of(FailureCode::RateLimit),
            until: None,
        },
        Outcome::TimedOut(of(FailureCode::Stalled)),
        Outcome::Cancelled(of(FailureCode::Interrupted)),
        Outcome::NotStarted(of(FailureCode::CommandNotFound)),
        Outcome::Lost(of(FailureCode::SupervisorDied)),
    ]
}

pub fn needs(number: u64) -> Dependency {
    Dependency {
        on: task_id(number),
        kind: DependencyKind::Succeeded,
    }
}

pub fn after(number: u64) -> Dependency {
    Dependency {
        on: task_id(number),
        kind: DependencyKind::Ended,
    }
}

pub fn event(word: &str) -> Event {
    Event {
        time: Timestamp(3_000),
        kind: EventKind::TaskAdded,
        task: Some(task_id(1)),
        run: None,
        agent: Some(agent("ada")),
        word: Some(word.to_owned()),
        message: None,
    }
}
