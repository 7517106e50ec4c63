//! Writes the tables and diagrams of `docs/lifecycle.md` from the functions in
//! `orch_core::lifecycle`, and checks that they are in step.
//!
//! It knows one state and one event of each kind and asks core about every pair.

use anyhow::{Context, Result};
use orch_core::lifecycle::{RunEvent, TaskEvent, next_run, next_task};
use orch_core::run::{Ending, Failure, FailureCode, Outcome, RunState, Usage};
use orch_core::task::{Hold, Review, TaskState};
use orch_core::{RunId, Timestamp};

use crate::page::replace;
use crate::tree::{Complaint, Tree, root};

const PAGE: &str = "docs/lifecycle.md";

/// One pair of state and event that core allows, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Transition {
    from: String,
    event: String,
    to: String,
}

/// All that core says about one kind of thing.
#[derive(Debug)]
struct Machine {
    initial: &'static str,
    states: Vec<String>,
    events: Vec<String>,
    transitions: Vec<Transition>,
}

/// Rewrites the generated parts of the page.
///
/// # Errors
/// The page cannot be read or written, or lacks a marker.
pub fn run() -> Result<()> {
    let path = root().join(PAGE);
    let page = std::fs::read_to_string(&path).with_context(|| format!("reading {PAGE}"))?;
    let fresh = regenerate(&page).map_err(anyhow::Error::msg)?;
    std::fs::write(&path, fresh).with_context(|| format!("writing {PAGE}"))
}

/// Complains if the page does not say what core does.
pub fn in_step(tree: &Tree) -> Vec<Complaint> {
    let Some(page) = tree.texts.get(PAGE) else {
        return vec![Complaint::about(PAGE, "is missing")];
    };
    match regenerate(page) {
        Ok(fresh) if &fresh == page => Vec::new(),
        Ok(_) => vec![Complaint::about(
            PAGE,
            "is out of step; run `cargo xtask lifecycle`",
        )],
        Err(problem) => vec![Complaint::about(PAGE, problem)],
    }
}

fn regenerate(page: &str) -> Result<String, String> {
    let page = replace(page, "lifecycle", "task", &task_machine().render())?;
    replace(&page, "lifecycle", "run", &run_machine().render())
}

impl Machine {
    fn render(&self) -> String {
        format!("{}\n{}\n{}", self.diagram(), self.table(), self.summary())
    }

    /// One arrow for each pair of states, with every event that leads along it.
    fn diagram(&self) -> String {
        let mut text = format!(
            "```mermaid\nstateDiagram-v2\n    [*] --> {}\n",
            self.initial
        );
        for from in &self.states {
            for to in &self.states {
                let events: Vec<&str> = self
                    .transitions
                    .iter()
                    .filter(|transition| (&transition.from, &transition.to) == (from, to))
                    .map(|transition| transition.event.as_str())
                    .collect();
                if !events.is_empty() {
                    text.push_str(&format!("    {from} --> {to}: {}\n", events.join(", ")));
                }
            }
        }
        text.push_str("```\n");
        text
    }

    fn table(&self) -> String {
        let mut text = "| from | event | to |\n| --- | --- | --- |\n".to_owned();
        for Transition { from, event, to } in &self.transitions {
            text.push_str(&format!("| `{from}` | `{event}` | `{to}` |\n"));
        }
        text
    }

    fn summary(&self) -> String {
        let pairs = self.states.len() * self.events.len();
        let legal = self.transitions.len();
        format!(
            "{} states, {} events: {legal} of {pairs} pairs are allowed, and the other {} are \
             errors that name both sides.\n",
            self.states.len(),
            self.events.len(),
            pairs - legal,
        )
    }
}

fn task_machine() -> Machine {
    let states = chain(task_state_after);
    let events = chain(task_event_after);
    let mut transitions = Vec::new();
    for state in &states {
        for event in &events {
            if let Ok(next) = next_task(state, event.clone()) {
                transitions.push(Transition {
                    from: task_label(state).to_owned(),
                    event: event.name().to_owned(),
                    to: task_label(&next).to_owned(),
                });
            }
        }
    }
    Machine {
        initial: "todo",
        states: states
            .iter()
            .map(|state| task_label(state).to_owned())
            .collect(),
        events: events.iter().map(|event| event.name().to_owned()).collect(),
        transitions,
    }
}

fn run_machine() -> Machine {
    let endings: Vec<RunState> = chain(outcome_after).into_iter().map(ended).collect();
    let states: Vec<RunState> = [RunState::Starting, RunState::Running]
        .into_iter()
        .chain(endings.clone())
        .collect();
    let mut events = vec![RunEvent::Spawned];
    events.extend(endings.into_iter().filter_map(|state| match state {
        RunState::Ended(ending) => Some(RunEvent::Ended(ending)),
        RunState::Starting | RunState::Running => None,
    }));
    let mut transitions = Vec::new();
    for state in &states {
        for event in &events {
            if let Ok(next) = next_run(state, event.clone()) {
                transitions.push(Transition {
                    from: run_label(state),
                    event: run_event_label(event),
                    to: run_label(&next),
                });
            }
        }
    }
    Machine {
        initial: "starting",
        states: states.iter().map(run_label).collect(),
        events: events.iter().map(run_event_label).collect(),
        transitions,
    }
}

/// Follows `after` from nothing to the last value. The matches below are exhaustive, so that a new
/// variant in core does not compile here until it has its place in the chain.
fn chain<T>(after: fn(Option<&T>) -> Option<T>) -> Vec<T> {
    let mut values: Vec<T> = Vec::new();
    while let Some(value) = after(values.last()) {
        values.push(value);
    }
    values
}

fn task_state_after(state: Option<&TaskState>) -> Option<TaskState> {
    use TaskState as S;
    Some(match state {
        None => S::Todo { hold: None },
        Some(S::Todo { hold: None }) => S::Todo { hold: Some(hold()) },
        Some(S::Todo { hold: Some(_) }) => S::InProgress { run: run_id() },
        Some(S::InProgress { .. }) => S::Retrying { hold: hold() },
        Some(S::Retrying { .. }) => S::Review(Review::Person),
        Some(S::Review(Review::Person)) => S::Review(Review::Landing),
        Some(S::Review(Review::Landing)) => S::Review(Review::Blocked {
            message: String::new(),
            files: Vec::new(),
        }),
        Some(S::Review(Review::Blocked { .. })) => S::Review(Review::Lost { failure: failure() }),
        Some(S::Review(Review::Lost { .. })) => S::Done,
        Some(S::Done) => S::Failed { failure: failure() },
        Some(S::Failed { .. }) => S::Cancelled { failure: failure() },
        Some(S::Cancelled { .. }) => return None,
    })
}

fn task_event_after(event: Option<&TaskEvent>) -> Option<TaskEvent> {
    use TaskEvent as E;
    Some(match event {
        None => E::Started(run_id()),
        Some(E::Started(_)) => E::Succeeded,
        Some(E::Succeeded) => E::Failing(hold()),
        Some(E::Failing(_)) => E::Limited(hold()),
        Some(E::Limited(_)) => E::Interrupted,
        Some(E::Interrupted) => E::Lost(failure()),
        Some(E::Lost(_)) => E::GaveUp(failure()),
        Some(E::GaveUp(_)) => E::HoldPassed,
        Some(E::HoldPassed) => E::Cancelled(failure()),
        Some(E::Cancelled(_)) => E::RetryAsked,
        Some(E::RetryAsked) => E::Resumed,
        Some(E::Resumed) => E::Approved,
        Some(E::Approved) => E::Landed,
        Some(E::Landed) => E::LandingBlocked {
            message: String::new(),
            files: Vec::new(),
        },
        Some(E::LandingBlocked { .. }) => E::Rejected,
        Some(E::Rejected) => return None,
    })
}

fn outcome_after(outcome: Option<&Outcome>) -> Option<Outcome> {
    use Outcome as O;
    Some(match outcome {
        None => O::Completed,
        Some(O::Completed) => O::Failed(failure()),
        Some(O::Failed(_)) => O::Limited {
            failure: failure(),
            until: None,
        },
        Some(O::Limited { .. }) => O::TimedOut(failure()),
        Some(O::TimedOut(_)) => O::Cancelled(failure()),
        Some(O::Cancelled(_)) => O::NotStarted(failure()),
        Some(O::NotStarted(_)) => O::Lost(failure()),
        Some(O::Lost(_)) => return None,
    })
}

/// The name of a state with what distinguishes it in the table.
const fn task_label(state: &TaskState) -> &'static str {
    match state {
        TaskState::Todo { hold: None } => "todo",
        TaskState::Todo { hold: Some(_) } => "todo_held",
        TaskState::InProgress { .. } => "in_progress",
        TaskState::Retrying { .. } => "retrying",
        TaskState::Review(Review::Person) => "review",
        TaskState::Review(Review::Landing) => "review_landing",
        TaskState::Review(Review::Blocked { .. }) => "review_blocked",
        TaskState::Review(Review::Lost { .. }) => "review_lost",
        TaskState::Done => "done",
        TaskState::Failed { .. } => "failed",
        TaskState::Cancelled { .. } => "cancelled",
    }
}

fn run_label(state: &RunState) -> String {
    match state {
        RunState::Starting => "starting".to_owned(),
        RunState::Running => "running".to_owned(),
        RunState::Ended(ending) => ending.outcome.status().as_str().to_owned(),
    }
}

fn run_event_label(event: &RunEvent) -> String {
    match event {
        RunEvent::Spawned => event.name().to_owned(),
        RunEvent::Ended(ending) => format!("{} {}", event.name(), ending.outcome.status()),
    }
}

fn run_id() -> RunId {
    RunId::from_entropy(0)
}

fn failure() -> Failure {
    Failure {
        code: FailureCode::AgentError,
        message: String::new(),
        evidence: String::new(),
    }
}

fn hold() -> Hold {
    Hold {
        until: Timestamp(0),
        failure: failure(),
    }
}

fn ended(outcome: Outcome) -> RunState {
    RunState::Ended(Box::new(Ending {
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
        finished_at: Timestamp(0),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use orch_core::run::RunStatus;
    use orch_core::task::TaskStatus;
    use std::collections::BTreeSet;

    const EMPTY: &str = "<!-- task: generated by cargo xtask lifecycle -->\n<!-- task: end -->\n\
                         <!-- run: generated by cargo xtask lifecycle -->\n<!-- run: end -->\n";

    #[test]
    fn every_status_is_shown() {
        let shown: BTreeSet<&str> = chain(task_state_after)
            .iter()
            .map(|s| s.status().as_str())
            .collect();
        let known = TaskStatus::ALL
            .iter()
            .map(|status| status.as_str())
            .collect();
        assert_eq!(shown, known);
        let shown: BTreeSet<String> = run_machine().states.into_iter().collect();
        let known = RunStatus::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(shown, known);
    }

    #[test]
    fn a_terminal_run_has_no_way_out() {
        let machine = run_machine();
        let froms: BTreeSet<&str> = machine
            .transitions
            .iter()
            .map(|t| t.from.as_str())
            .collect();
        assert_eq!(froms, BTreeSet::from(["running", "starting"]));
    }

    #[test]
    fn the_page_is_in_step_once_it_is_generated() {
        let fresh = regenerate(EMPTY).unwrap();
        assert_eq!(regenerate(&fresh).unwrap(), fresh);
        assert_eq!(in_step(&Tree::of(&[(PAGE, &fresh)])), []);
    }

    #[test]
    fn a_changed_row_or_marker_is_noticed() {
        let fresh = regenerate(EMPTY).unwrap();
        let changed = fresh.replacen("| `todo` | `started` |", "| `done` | `started` |", 1);
        assert_ne!(changed, fresh);
        for page in [changed.as_str(), EMPTY, "# Lifecycle\n"] {
            assert_eq!(in_step(&Tree::of(&[(PAGE, page)])).len(), 1, "{page}");
        }
        assert_eq!(in_step(&Tree::of(&[])).len(), 1);
    }
}
