//! `orch run`: have tasks done and watch until they are. A daemon that serves does the work; if
//! none does, this command is one that ends. So it is if the daemon dies and no other comes.

mod progress;
mod remote;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use orch_api::client::{Client, Next, StreamQuery};
use orch_api::types::Status;
use orch_daemon::project::Project;
use orch_daemon::{Daemon, End, LogLine, LogSink, Options};

use super::serve;
use crate::args::Run;
use crate::context::Context;
use crate::error::{Kind, Result, UserError};
use crate::exit::Ending;
use crate::follow;
use crate::printer::Printer;
use crate::untrusted::Untrusted;
use progress::Progress;

/// How long to wait for news before looking whether the daemon has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often to try again when the project was taken in between.
const TRIES: u32 = 3;
/// What is said when the daemon that was watched died and no other came.
const TAKEN_OVER: &str = "the daemon died and no other came; this command does the work now, and \
                          Ctrl-C lets agents at work finish";

/// Has tasks done.
pub fn run(context: &Context, args: &Run) -> Result<Ending> {
    let project = context.project()?;
    let (client, mut status) = first_look(context, &project)?;
    let mut job = Job {
        wanted: (!args.all)
            .then(|| whole_ids(&client, &args.tasks))
            .transpose()?,
        max_agents: args.max_agents,
        after: status.last_event,
        seen: BTreeSet::new(),
    };
    // The lock must be free before a daemon of this process can take it.
    drop(client);
    let mut tries = 1;
    loop {
        if follow::is_served(&status) {
            told_about_slots(context, args)?;
            match remote::run(context, &status, &mut job)? {
                remote::Watched::Over(ending) => return Ok(ending),
                remote::Watched::Left => context.printer.warn(TAKEN_OVER),
            }
        }
        match own(context, &project, &job) {
            Err(error) if error.kind == Kind::Conflict && tries < TRIES => tries += 1,
            done => return done,
        }
        (_, status) = first_look(context, &project)?;
    }
}

/// What is to be done, and how far it has been watched.
struct Job {
    /// The whole ids of the tasks; `None` for all.
    wanted: Option<Vec<String>>,
    max_agents: Option<u32>,
    /// The number of the last event that was told.
    after: u64,
    /// The tasks something happened to.
    seen: BTreeSet<String>,
}

fn first_look(context: &Context, project: &Project) -> Result<(Client, Status)> {
    let client = context.client_of(project)?;
    let status = client.status()?;
    Ok((client, status))
}

fn told_about_slots(context: &Context, args: &Run) -> Result<()> {
    if args.max_agents.is_some() {
        let text = "a daemon serves this project already; its own number of slots holds";
        context.printer.warn(text);
    }
    context
        .printer
        .talk("A daemon serves this project; watching it. Ctrl-C only ends the watching.")
}

/// The whole ids behind what was typed, so that what is watched is what was meant now.
fn whole_ids(client: &Client, prefixes: &[String]) -> Result<Vec<String>> {
    prefixes
        .iter()
        .map(|prefix| super::task::find(client, prefix).map(|task| task.id))
        .collect()
}

/// Does the work in this process.
fn own(context: &Context, project: &Project, job: &Job) -> Result<Ending> {
    let options = Options {
        once: true,
        only: job.wanted.clone(),
        max_agents: job.max_agents,
        signals: true,
        stop_at_once: false,
        verbose: false,
    };
    let (mut seen, end) = work(&context.printer, project, options, job.after)?;
    seen.extend(job.seen.iter().cloned());
    let ids = job.wanted.iter().flatten().cloned();
    let resting: Vec<String> = ids.filter(|id| seen.insert(id.clone())).collect();
    let client = context.client()?;
    tell_states(&context.printer, &client, &resting)?;
    if context.printer.is_json() || context.printer.is_quiet() {
        tell_tasks(&context.printer, &client, &seen)?;
    }
    if end == End::default() && is_left(&client, job.wanted.as_deref())? {
        return Err(interrupted());
    }
    serve::told(&context.printer, &end)
}

/// Whether there is work that was not come to. A daemon that ends by itself says so; one that a
/// signal ends says nothing.
fn is_left(client: &Client, wanted: Option<&[String]>) -> Result<bool> {
    let Some(ids) = wanted else {
        let tasks = client.status()?.tasks;
        return Ok(tasks.todo + tasks.in_progress + tasks.retrying > 0);
    };
    for id in ids {
        match client.task(id) {
            Ok(task) if matches!(task.status.as_str(), "todo" | "in_progress" | "retrying") => {
                return Ok(true);
            }
            Ok(_) => {}
            // Deleted in the meantime.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

fn interrupted() -> UserError {
    UserError::new(
        Kind::TryLater,
        "interrupted",
        "it was ended before the work was done",
    )
    .hint("nothing is lost: 'orch run' or 'orch serve' goes on where it was")
}

/// Runs a daemon in this process, shows what happens after event number `after`, and returns the
/// tasks something happened to and the end.
///
/// # Errors
/// The daemon could not start or broke down, or nothing could be shown.
pub fn work(
    printer: &Arc<Printer>,
    project: &Project,
    options: Options,
    after: u64,
) -> Result<(BTreeSet<String>, End)> {
    let daemon = Daemon::start(project, options, troubles(printer))?;
    let client = daemon.client()?;
    let (sender, ended) = channel();
    std::thread::spawn(move || {
        // Whoever waits for it may have failed in the meantime.
        let _ = sender.send(daemon.wait());
    });
    let mut progress = Progress::new(printer);
    match watch(&client, after, &mut progress, &ended) {
        Ok(end) => Ok((progress.seen, end)),
        // What cannot be shown must not keep the work from coming to its end.
        Err(error) => match ended.recv() {
            Ok(_) => Err(error),
            Err(_) => Err(vanished()),
        },
    }
}

/// Shows what happens until the daemon has ended and everything is shown.
fn watch(
    client: &Client,
    after: u64,
    progress: &mut Progress<'_>,
    ended: &Receiver<End>,
) -> Result<End> {
    let query = StreamQuery {
        after: Some(after),
        follow: true,
        ..StreamQuery::default()
    };
    let mut lines = client.events(&query)?;
    let mut end = None;
    loop {
        match lines.next_event(Some(LOOK_EVERY)) {
            Ok(Next::Item(event)) => progress.tell(client, &event)?,
            // Nothing came for a while after the end: everything is shown.
            Ok(Next::Quiet | Next::End) | Err(_) => match end.take() {
                Some(end) => return Ok(end),
                None => end = looked(ended)?,
            },
        }
    }
}

fn looked(ended: &Receiver<End>) -> Result<Option<End>> {
    match ended.recv_timeout(LOOK_EVERY) {
        Ok(end) => Ok(Some(end)),
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => Ok(None),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => Err(vanished()),
    }
}

fn vanished() -> UserError {
    UserError::new(
        Kind::Internal,
        "internal",
        "the daemon of this command broke down",
    )
    .hint("nothing is lost: 'orch run' or 'orch serve' goes on where it was")
}

/// What a daemon has to say beside the facts that are shown anyway.
fn troubles(printer: &Arc<Printer>) -> LogSink {
    let printer = Arc::clone(printer);
    LogSink::new(move |lines| lines.iter().for_each(|line| tell_trouble(&printer, line)))
}

fn tell_trouble(printer: &Printer, line: &LogLine) {
    let of_itself = line.task.is_none() && line.run.is_none();
    let message = line.message.as_deref().unwrap_or_default();
    let text = format!("{}: {message}", line.event);
    match line.level {
        "error" | "warn" if of_itself => printer.warn(&text),
        _ if line.event == "draining" => {
            // Talk that nobody hears is no error.
            let _ = printer.talk(Untrusted::line(&text));
        }
        _ => {}
    }
}

/// How the tasks stand to which nothing happened.
fn tell_states(printer: &Printer, client: &Client, ids: &[String]) -> Result<()> {
    for id in ids {
        match client.task(id) {
            Ok(task) => progress::tell_state(printer, &task)?,
            // Deleted in the meantime.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The tasks this was about, for programs.
fn tell_tasks(printer: &Printer, client: &Client, seen: &BTreeSet<String>) -> Result<()> {
    if printer.is_quiet() && !printer.is_json() {
        return seen.iter().try_for_each(|id| printer.line(id));
    }
    let mut tasks = Vec::new();
    for id in seen {
        match client.task(id) {
            Ok(task) => tasks.push(task),
            // Deleted in the meantime.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    if printer.is_json() {
        printer.json(&tasks)?;
    }
    Ok(())
}
