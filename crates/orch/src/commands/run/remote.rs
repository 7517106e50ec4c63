//! Watching a daemon do the work until nothing of it moves any more.
//!
//! The daemon may die meanwhile. Agents go on, and so does the watching with the next daemon; it
//! never takes what nobody does for done.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use orch_api::client::{Client, TaskQuery};
use orch_api::types::{Event, Status, Task};
use orch_daemon::End;

use super::progress::Progress;
use super::{Job, tell_states, tell_tasks};
use crate::commands::serve;
use crate::context::Context;
use crate::error::{Kind, Result, UserError};
use crate::exit::Ending;
use crate::follow::{Follower, News};

/// How long nothing must happen before it is looked whether anything is left to wait for.
const SETTLED_AFTER: Duration = Duration::from_millis(300);
/// Most tasks looked at to see whether anything moves.
const LOOK_AT_MOST: u32 = 10_000;
/// How long is waited for the next daemon. A service manager has started one long before.
const NEXT_DAEMON: Duration = Duration::from_secs(30);

/// How the watching ended.
pub enum Watched {
    /// The work has come to rest.
    Over(Ending),
    /// The daemon died and no other came: somebody else has to do what is left.
    Left,
}

/// Watches until the tasks that are wanted, or all, have come to rest. The daemon that serves has
/// just said `status`.
///
/// # Errors
/// The daemon was ended before they had, or orch could not be asked.
pub(super) fn run(context: &Context, status: &Status, job: &mut Job) -> Result<Watched> {
    let mut follower = Follower::having_heard(context, status);
    let mut progress = Progress::new(&context.printer);
    progress.seen = std::mem::take(&mut job.seen);
    let wanted = job.wanted.as_deref();
    progress.seen.extend(wanted.into_iter().flatten().cloned());
    let mut watch = Watch {
        context,
        wanted,
        progress,
        begun: false,
        news: false,
        told_until: None,
        told_any: false,
        alone_since: None,
    };
    let mut stop = None;
    follower.events(&mut job.after, SETTLED_AFTER, &mut |client, news| {
        stop = watch.tell(client, news)?;
        Ok(match stop {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        })
    })?;
    match stop {
        Some(Stop::Settled(end)) => watch.finish(&mut follower, &end).map(Watched::Over),
        Some(Stop::Ended) => Err(left()),
        Some(Stop::Died) | None => {
            job.seen = watch.progress.seen;
            Ok(Watched::Left)
        }
    }
}

/// Why nothing more is watched.
enum Stop {
    Settled(End),
    /// The daemon was ended, and no other came.
    Ended,
    /// It died, and no other came.
    Died,
}

struct Watch<'a> {
    context: &'a Context,
    wanted: Option<&'a [String]>,
    progress: Progress<'a>,
    /// Whether it was looked already whether all is settled from the start.
    begun: bool,
    /// Whether something happened since it was looked whether all is settled.
    news: bool,
    /// The last event before it was seen that all is settled.
    told_until: Option<u64>,
    /// Whether anything happened at all.
    told_any: bool,
    alone_since: Option<Instant>,
}

impl Watch<'_> {
    fn tell(&mut self, client: &Client, news: News<'_>) -> Result<Option<Stop>> {
        if !matches!(news, News::Alone | News::Event(_)) {
            self.alone_since = None;
        }
        match news {
            News::Event(event) => return self.event(client, event),
            // What happened before is told first.
            News::Served if std::mem::replace(&mut self.begun, true) => {
                self.news = true;
                return Ok(None);
            }
            News::Served => return self.settled(client),
            News::Quiet => {}
            News::Alone => return self.alone(client),
        }
        if std::mem::take(&mut self.news) {
            return self.settled(client);
        }
        Ok(None)
    }

    fn event(&mut self, client: &Client, event: &Event) -> Result<Option<Stop>> {
        (self.news, self.told_any) = (true, true);
        let is_wanted = self.wanted.map(|ids| is_about(event, ids));
        if is_wanted.unwrap_or(true) {
            self.progress.tell(client, event)?;
        }
        let is_last = self.told_until.is_some_and(|last| event.seq >= last);
        if is_wanted != Some(true) && !is_last {
            return Ok(None);
        }
        match self.settled_and_told(client, event.seq) {
            // The event is told; the next who answers is asked again.
            Err(error) if error.kind == Kind::Unreachable => Ok(None),
            settled => settled,
        }
    }

    /// What became of the work, once all is told that happened until it was seen to be settled:
    /// several facts are recorded together.
    fn settled_and_told(&mut self, client: &Client, told: u64) -> Result<Option<Stop>> {
        let settled = self.settled(client)?;
        if settled.is_none() {
            self.told_until = None;
            return Ok(None);
        }
        let last = match self.told_until {
            Some(last) => last,
            None => client.status()?.last_event,
        };
        self.told_until = Some(last);
        Ok(settled.filter(|_| told >= last))
    }

    /// Nobody serves, as far as this process could find out by itself.
    fn alone(&mut self, client: &Client) -> Result<Option<Stop>> {
        if let Some(settled) = self.settled(client)? {
            return Ok(Some(settled));
        }
        let since = *self.alone_since.get_or_insert_with(Instant::now);
        if since.elapsed() < NEXT_DAEMON {
            return Ok(None);
        }
        let died = orch_daemon::died(&self.context.project()?);
        Ok(Some(if died { Stop::Died } else { Stop::Ended }))
    }

    fn settled(&self, client: &Client) -> Result<Option<Stop>> {
        Ok(settled(client, self.wanted, &self.progress)?.map(Stop::Settled))
    }

    fn finish(&self, follower: &mut Follower<'_>, end: &End) -> Result<Ending> {
        loop {
            let (client, _) = follower.client()?;
            match self.tell_end(&client) {
                Ok(()) => return serve::told(&self.context.printer, end),
                Err(error) => follower.lost(error)?,
            }
        }
    }

    fn tell_end(&self, client: &Client) -> Result<()> {
        let printer = &self.context.printer;
        if !self.told_any {
            // Nothing has happened that could be told.
            tell_states(printer, client, self.wanted.unwrap_or_default())?;
        }
        if printer.is_json() || printer.is_quiet() {
            tell_tasks(printer, client, &self.progress.seen)?;
        }
        Ok(())
    }
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
    if tasks.iter().any(is_unserved) {
        return Ok(None);
    }
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

/// Whether a task waits for nothing but a daemon.
fn is_unserved(task: &Task) -> bool {
    task.wait
        .as_ref()
        .is_some_and(|wait| wait.code == "not_served")
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
