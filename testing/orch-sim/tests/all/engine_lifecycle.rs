//! The state machines as a table: every state with every event, legal or named.

use orch_core::Timestamp;
use orch_core::lifecycle::{IllegalTransition, RunEvent, TaskEvent, next_run, next_task};
use orch_core::run::{Ending, FailureCode, Outcome, RunState, Usage};
use orch_core::task::{Hold, Review, TaskState};

use crate::bench::failed;

/// What `docs/lifecycle.md` shows. When the machines change on purpose, so does this.
const TABLE: &str = include_str!("lifecycle.md");

fn hold() -> Hold {
    Hold {
        until: Timestamp(5),
        failure: failed(FailureCode::AgentError),
    }
}

fn run_id() -> orch_core::RunId {
    orch_core::RunId::from_entropy(1)
}

fn task_states() -> Vec<(&'static str, TaskState)> {
    let failure = || failed(FailureCode::AgentError);
    let blocked = Review::Blocked {
        message: "conflict".into(),
        files: Vec::new(),
    };
    vec![
        ("todo", TaskState::Todo { hold: None }),
        ("todo (held)", TaskState::Todo { hold: Some(hold()) }),
        ("in_progress", TaskState::InProgress { run: run_id() }),
        ("retrying", TaskState::Retrying { hold: hold() }),
        ("review (person)", TaskState::Review(Review::Person)),
        ("review (landing)", TaskState::Review(Review::Landing)),
        ("review (blocked)", TaskState::Review(blocked)),
        (
            "review (lost)",
            TaskState::Review(Review::Lost { failure: failure() }),
        ),
        ("done", TaskState::Done),
        ("failed", TaskState::Failed { failure: failure() }),
        ("cancelled", TaskState::Cancelled { failure: failure() }),
    ]
}

fn task_events() -> Vec<TaskEvent> {
    let failure = || failed(FailureCode::AgentError);
    vec![
        TaskEvent::Started(run_id()),
        TaskEvent::Succeeded,
        TaskEvent::Failing(hold()),
        TaskEvent::Limited(hold()),
        TaskEvent::Interrupted,
        TaskEvent::Lost(failure()),
        TaskEvent::GaveUp(failure()),
        TaskEvent::HoldPassed,
        TaskEvent::Cancelled(failure()),
        TaskEvent::RetryAsked,
        TaskEvent::Resumed,
        TaskEvent::Approved,
        TaskEvent::Landed,
        TaskEvent::LandingBlocked {
            message: "conflict".into(),
            files: Vec::new(),
        },
        TaskEvent::Rejected,
    ]
}

fn ending(outcome: Outcome) -> Box<Ending> {
    Box::new(Ending {
        outcome,
        exit: None,
        result: None,
        usage: Usage::default(),
        cost_estimated: false,
        session_id: None,
        commit: None,
        changes: None,
        events: 0,
        warnings: Vec::new(),
        finished_at: Timestamp(5),
    })
}

fn run_states() -> Vec<(&'static str, RunState)> {
    let failure = || failed(FailureCode::AgentError);
    let ended = |outcome| RunState::Ended(ending(outcome));
    let limited = Outcome::Limited {
        failure: failure(),
        until: None,
    };
    vec![
        ("starting", RunState::Starting),
        ("running", RunState::Running),
        ("completed", ended(Outcome::Completed)),
        ("failed", ended(Outcome::Failed(failure()))),
        ("limited", ended(limited)),
        ("timed_out", ended(Outcome::TimedOut(failure()))),
        ("cancelled", ended(Outcome::Cancelled(failure()))),
        ("not_started", ended(Outcome::NotStarted(failure()))),
        ("lost", ended(Outcome::Lost(failure()))),
    ]
}

fn name_of<S: PartialEq>(states: &[(&'static str, S)], state: &S) -> String {
    let found = states.iter().find(|(_, known)| known == state);
    found.map_or("?", |(name, _)| name).to_owned()
}

/// An illegal pair must name both of its sides; in the table it is a dot.
fn illegal(error: &IllegalTransition, state: &str, event: &str) -> String {
    assert!(state.starts_with(error.state), "{error} for {state}");
    assert_eq!(error.event, event);
    "·".to_owned()
}

fn table(title: &str, rows: &[(String, Vec<String>)], columns: &[&str]) -> String {
    let mut text = format!("| {title} | {} |\n", columns.join(" | "));
    text += &format!("|---{}|\n", "|---".repeat(columns.len()));
    for (state, cells) in rows {
        text += &format!("| {state} | {} |\n", cells.join(" | "));
    }
    text
}

fn task_table() -> String {
    let (states, events) = (task_states(), task_events());
    let cell =
        |name: &str, state: &TaskState, event: &TaskEvent| match next_task(state, event.clone()) {
            Ok(next) => name_of(&states, &next),
            Err(error) => illegal(&error, name, event.name()),
        };
    let row = |(name, state): &(&str, TaskState)| {
        let cells = events.iter().map(|event| cell(name, state, event));
        ((*name).to_owned(), cells.collect())
    };
    let columns: Vec<&str> = events.iter().map(TaskEvent::name).collect();
    table(
        "task",
        &states.iter().map(row).collect::<Vec<_>>(),
        &columns,
    )
}

fn run_table() -> String {
    let states = run_states();
    let events = [
        RunEvent::Spawned,
        RunEvent::Ended(ending(Outcome::Completed)),
    ];
    let cell = |name: &str, state: &RunState, event: &RunEvent| match next_run(state, event.clone())
    {
        Ok(next) => name_of(&states, &next),
        Err(error) => illegal(&error, name, event.name()),
    };
    let row = |(name, state): &(&str, RunState)| {
        let cells = events.iter().map(|event| cell(name, state, event));
        ((*name).to_owned(), cells.collect())
    };
    let columns: Vec<&str> = events.iter().map(RunEvent::name).collect();
    table("run", &states.iter().map(row).collect::<Vec<_>>(), &columns)
}

#[test]
fn every_state_with_every_event_is_in_the_table() {
    let table = format!("{}\n{}", task_table(), run_table());
    assert_eq!(table, TABLE, "the table is now:\n{table}");
}

#[test]
fn a_run_that_has_ended_takes_no_event() {
    for (name, state) in run_states().into_iter().skip(2) {
        let events = [
            RunEvent::Spawned,
            RunEvent::Ended(ending(Outcome::Completed)),
        ];
        for event in events {
            let error = next_run(&state, event).unwrap_err();
            let text = error.to_string();
            let said = |word: &str| text.contains(&word.replace('_', " "));
            assert!(said(name) && said(error.event), "{text}");
        }
    }
}

#[test]
fn an_illegal_transition_is_said_in_words() {
    let event = TaskEvent::RetryAsked;
    let review = TaskState::Review(Review::Person);
    let error = next_task(&review, event).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a task that is in review cannot be retried"
    );
}

#[test]
fn a_task_that_is_done_is_only_ever_sent_back_by_a_person() {
    let events = task_events().into_iter();
    for event in events.filter(|event| *event != TaskEvent::Resumed) {
        assert!(next_task(&TaskState::Done, event).is_err());
    }
}
