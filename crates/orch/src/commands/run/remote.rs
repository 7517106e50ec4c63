//! Watching a daemon do the work until nothing of it moves any more.

use orch_api::client::{Client, Next, StreamQuery, TaskQuery};
use orch_api::types::{Event, Task};
use orch_daemon::End;
use std::time::Duration;

use super::progress::Progress;
use super::{tell_states, tell_tasks};
use crate::commands::serve;
use crate::context::Context;
use crate::error::{Kind, Result, UserError};
use crate::exit::Ending;

/// How long nothing must happen before it is looked whether anything is left to wait for.
const SETTLED_AFTER: Duration = Duration::from_millis(300);
/// Most tasks looked at to see whether anything moves.
const LOOK_AT_MOST: u32 = 10_000;

/// Watches until the tasks in `wanted`, or all, have come to rest.
pub fn run(
    context: &Context,
    client: &Client,
    wanted: Option<&[String]>,
    after: u64,
) -> Result<Ending> {
    let mut progress = Progress::new(&context.printer);
    progress
        .seen
        .extend(wanted.unwrap_or_default().iter().cloned());
    let query = StreamQuery {
        after: Some(after),
        follow: true,
        ..StreamQuery::default()
    };
    let mut lines = client.events(&query)?;
    let mut end = settled(client, wanted, &progress)?;
    if end.is_some() {
        // Nothing will happen that could be told.
        tell_states(&context.printer, client, wanted.unwrap_or_default())?;
    }
    let mut news = false;
    while end.is_none() {
        match lines.next_event(Some(SETTLED_AFTER))? {
            Next::Item(event) => {
                news = true;
                if wanted.is_none_or(|ids| is_about(&event, ids)) {
                    progress.tell(client, &event)?;
                }
                if wanted.is_some_and(|ids| is_about(&event, ids)) {
                    end = settled(client, wanted, &progress)?;
                }
            }
            Next::Quiet if news => {
                news = false;
                end = settled(client, wanted, &progress)?;
            }
            Next::Quiet => {}
            Next::End => return Err(left()),
        }
    }
    if context.printer.is_json() || context.printer.is_quiet() {
        tell_tasks(&context.printer, client, &progress.seen)?;
    }
    serve::told(&context.printer, &end.unwrap_or_default())
}

fn is_about(event: &Event, ids: &[String]) -> bool {
    event.task.as_ref().is_some_and(|task| ids.contains(task))
}

fn left() -> UserError {
    UserError::new(
        Kind::TryLater,
        "daemon_ended",
        "the daemon ended before the work did",
    )
    .hint("nothing is lost: 'orch run' or 'orch serve' goes on where it was")
}

/// What became of the work, if none of it moves any more.
fn settled(
    client: &Client,
    wanted: Option<&[String]>,
    progress: &Progress<'_>,
) -> Result<Option<End>> {
    let tasks = match wanted {
        None if project_moves(client)? => return Ok(None),
        None => touched_or_waiting(client, progress)?,
        Some(ids) => ids
            .iter()
            .map(|id| Ok(client.task(id)?))
            .collect::<Result<_>>()?,
    };
    if wanted.is_some() {
        let waits_for_tasks = tasks.iter().any(|task| actor(task) == Some("task"));
        if tasks.iter().any(moves) || waits_for_tasks && project_moves(client)? {
            return Ok(None);
        }
    }
    let mut end = End::default();
    for task in &tasks {
        judge(task, &mut end);
    }
    Ok(Some(end))
}

/// The tasks that something happened to, and those that still wait.
fn touched_or_waiting(client: &Client, progress: &Progress<'_>) -> Result<Vec<Task>> {
    let mut tasks = open(client)?;
    for id in &progress.seen {
        if tasks.iter().any(|task| &task.id == id) {
            continue;
        }
        match client.task(id) {
            Ok(task) => tasks.push(task),
            // Deleted in the meantime.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(tasks)
}

fn open(client: &Client) -> Result<Vec<Task>> {
    let status = ["todo", "review", "retrying", "in_progress"].map(str::to_owned);
    Ok(client.tasks(&TaskQuery {
        status: status.to_vec(),
        limit: Some(LOOK_AT_MOST),
        ..TaskQuery::default()
    })?)
}

/// Whether anything in the project moves without a person.
fn project_moves(client: &Client) -> Result<bool> {
    let counts = client.status()?.tasks;
    if counts.in_progress + counts.retrying > 0 {
        return Ok(true);
    }
    if counts.todo + counts.review == 0 {
        return Ok(false);
    }
    Ok(open(client)?.iter().any(moves))
}

fn actor(task: &Task) -> Option<&str> {
    task.wait.as_ref().map(|wait| wait.actor.as_str())
}

/// Whether the next actor is one that acts by itself. A task that waits for another moves only
/// if that one does, which is then found moving.
fn moves(task: &Task) -> bool {
    matches!(actor(task), Some("agent" | "orch" | "timer"))
}

/// Files a task that does not move under failed, stuck, or neither.
fn judge(task: &Task, end: &mut End) {
    let line = |why: &str| format!("{} {}: {why}", task.id, task.title);
    match (task.status.as_str(), &task.wait, &task.failure) {
        ("done", ..) => {}
        (_, Some(wait), _) if wait.code == "approval" => {}
        (_, Some(wait), _) => end.stuck.push(line(&wait.message)),
        (_, None, Some(failure)) => end.failed.push(line(&failure.message)),
        (status, None, None) => end.failed.push(line(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{task, wait};
    use orch_api::types::Failure;

    #[test]
    fn what_rests_is_good_failed_or_stuck() {
        let waiting = |code: &str, actor: &str| Task {
            wait: Some(wait(code, actor, "why")),
            ..task("tsk_1", "todo", "T")
        };
        let failed = Task {
            failure: Some(Failure {
                code: "timeout".to_owned(),
                message: "too long".to_owned(),
                evidence: "90 s".to_owned(),
            }),
            ..task("tsk_2", "failed", "F")
        };
        let mut end = End::default();
        let tasks = [
            task("tsk_3", "done", "D"),
            waiting("approval", "person"),
            waiting("no_agent", "person"),
            waiting("dependency", "task"),
            failed,
        ];
        tasks.iter().for_each(|task| judge(task, &mut end));
        assert_eq!(end.failed, ["tsk_2 F: too long"]);
        assert_eq!(end.stuck, ["tsk_1 T: why", "tsk_1 T: why"]);
        assert!(moves(&waiting("turn", "orch")) && !moves(&waiting("dependency", "task")));
    }
}
