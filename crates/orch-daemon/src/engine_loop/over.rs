//! When the loop is over, and what is to be said then.

use orch_core::TaskId;
use orch_core::run::FailureCode;
use orch_core::task::{Hold, Task, TaskStatus};
use orch_core::wait::{self, Service};
use orch_store::{Reader, TaskFilter};

use super::{Duty, EngineLoop};
use crate::wake::{End, Ending};

/// Most tasks named when a `--once` run ends.
const NAMED_AT_END: usize = 50;
/// Most tasks that are looked at to find one that goes on by itself.
const HELD: usize = 10_000;

impl EngineLoop {
    /// Whether there is nothing left to wait for.
    pub(super) fn is_over(&mut self, at_rest: bool) -> bool {
        if self.broken.is_some() {
            return true;
        }
        let all_recorded = self.unrecorded.is_empty() && !self.owing;
        let still = at_rest && self.host.is_idle() && all_recorded;
        match (self.ending, &self.duty) {
            (Some(Ending::Leave), _) => true,
            (Some(Ending::Close), _) => self.host.is_idle() && self.landing_waiters.is_empty(),
            (Some(Ending::Drain | Ending::StopAgents), _) => still,
            (None, Duty::Serve | Duty::Answer) => false,
            // What is only put off is still to come.
            (None, Duty::Once | Duty::Only(_)) if self.held_back => false,
            (None, Duty::Once) => still && (self.next_due.is_none() || self.waits_for_people()),
            (None, Duty::Only(tasks)) => {
                still && tasks.iter().all(|id| !may_wake(self.reader.as_mut(), id))
            }
        }
    }

    /// What is to be said when everything is over. It quotes agents and titles, so secrets are
    /// taken out of it as out of everything else that goes out.
    pub(super) fn end(&mut self) -> End {
        let End { failed, stuck } = self.end_as_it_is();
        let redactor = self.shared.redactor();
        let clean = |lines: Vec<String>| {
            let lines = lines.iter().map(|line| redactor.text(line).into_owned());
            lines.collect()
        };
        End {
            failed: clean(failed),
            stuck: clean(stuck),
        }
    }

    fn end_as_it_is(&mut self) -> End {
        if let Some(broken) = self.broken.take() {
            return End::broken(&broken);
        }
        match (&self.duty, self.ending) {
            (Duty::Once, None) => {
                let failed = self.in_status(TaskStatus::Failed);
                let mut stuck = self.in_status(TaskStatus::Todo);
                stuck.extend(self.in_status(TaskStatus::Retrying));
                self.tell(failed, stuck)
            }
            (Duty::Only(ids), None) => {
                let ids = ids.clone();
                let tasks: Vec<Task> = ids
                    .iter()
                    .filter_map(|id| self.reader.task(id).ok().flatten())
                    .collect();
                let of = |status| -> Vec<Task> {
                    tasks
                        .iter()
                        .filter(|task| task.status() == status)
                        .cloned()
                        .collect()
                };
                let mut failed = of(TaskStatus::Failed);
                failed.extend(of(TaskStatus::Cancelled));
                let mut stuck = of(TaskStatus::Todo);
                stuck.extend(of(TaskStatus::Retrying));
                self.tell(failed, stuck)
            }
            _ => End::default(),
        }
    }

    /// Whether whatever would be tried again by itself lacks a person's consent: it may be due, but
    /// nothing comes of it before somebody has looked.
    fn waits_for_people(&mut self) -> bool {
        let mut held = Vec::new();
        for status in [TaskStatus::Retrying, TaskStatus::Todo] {
            let filter = TaskFilter {
                statuses: vec![status],
                limit: HELD,
                ..TaskFilter::default()
            };
            held.extend(self.reader.tasks(&filter).unwrap_or_default());
        }
        if held.len() >= HELD {
            return false;
        }
        let mut held = held.iter().filter_map(|task| task.state.hold());
        held.all(lacks_consent)
    }

    fn in_status(&mut self, status: TaskStatus) -> Vec<Task> {
        let filter = TaskFilter {
            statuses: vec![status],
            limit: NAMED_AT_END,
            ..TaskFilter::default()
        };
        self.reader.tasks(&filter).unwrap_or_default()
    }

    fn tell(&mut self, failed: Vec<Task>, stuck: Vec<Task>) -> End {
        let config = self.shared.config();
        let failed = failed.iter().map(|task| {
            let why = task
                .state
                .failure()
                .map_or("", |failure| failure.message.as_str());
            format!("{} {}: {}: {why}", task.id, task.title, task.status())
        });
        let failed: Vec<String> = failed.collect();
        let stuck = stuck
            .iter()
            .map(|task| {
                let service = match self.shared.shortage() {
                    Some(_) => Service::NoSpace,
                    None => Service::Serving,
                };
                let ledger = self.reader.ledger();
                let wait = wait::explain(ledger, task, &config.core, &[], service)
                    .ok()
                    .flatten();
                let why = wait.map_or_else(String::new, |wait| wait.message);
                format!("{} {}: {why}", task.id, task.title)
            })
            .collect();
        End { failed, stuck }
    }
}

/// Whether only the clock keeps this task from going on.
fn may_wake(reader: &mut dyn Reader, id: &TaskId) -> bool {
    let task = reader.task(id).ok().flatten();
    task.is_some_and(|task| {
        let hold = task.state.hold();
        task.unmet == 0 && hold.is_some_and(|hold| !lacks_consent(hold))
    })
}

fn lacks_consent(hold: &Hold) -> bool {
    hold.failure.code == FailureCode::NeedsConsent
}
