//! `orch task`: one file per verb.

mod add;
mod approve;
mod assign;
mod cancel;
mod delete;
mod edit;
mod list;
mod prompt;
mod reject;
mod resume;
mod retry;
mod show;
mod text;

use orch_api::client::Client;
use orch_api::types::{Changed, Task as ApiTask};
use serde::Serialize;

use crate::args::{Task, TaskIds};
use crate::context::Context;
use crate::error::{Kind, Result, UserError};
use crate::exit::Ending;
use crate::person;
use crate::printer::Printer;
use crate::suggest;
use crate::untrusted::Untrusted;

/// Runs a verb.
pub fn run(context: &Context, command: &Task) -> Result<Ending> {
    // The words of who reviews.
    if matches!(
        command,
        Task::Approve(_) | Task::Reject(_) | Task::Resume(_)
    ) {
        person::required()?;
    }
    match command {
        Task::Add(args) => add::run(context, args),
        Task::List(args) => list::run(context, args),
        Task::Show(args) => show::run(context, args),
        Task::Prompt(args) => prompt::run(context, args),
        Task::Edit(args) => edit::run(context, args),
        Task::Assign(args) => assign::run(context, args),
        Task::Cancel(args) => cancel::run(context, args),
        Task::Retry(args) => retry::run(context, args),
        Task::Approve(args) => approve::run(context, args),
        Task::Reject(args) => reject::run(context, args),
        Task::Resume(args) => resume::run(context, args),
        Task::Delete(args) => delete::run(context, args),
    }
}

/// Says that a task was changed: a sentence to a person, the whole answer to a program, the id
/// when quiet.
fn told(printer: &Printer, changed: &Changed, id: &str, sentence: &str) -> Result<()> {
    if printer.is_json() {
        printer.json(&Told::of(changed, id))
    } else if printer.is_quiet() {
        printer.line(id)
    } else {
        printer.talk(sentence)
    }
}

/// A change as a program sees it: the task as any listing shows it, and what happened to it.
#[derive(Serialize)]
struct Told<'a> {
    change: &'a str,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum What<'a> {
    Task(&'a ApiTask),
    Gone { id: &'a str },
}

impl<'a> Told<'a> {
    fn of(changed: &'a Changed, id: &'a str) -> Self {
        let what = changed.task.as_ref().map_or(What::Gone { id }, What::Task);
        let change = &changed.change;
        Self { change, what }
    }
}

/// A task with its title, for a sentence.
fn named(task: &ApiTask) -> String {
    format!("{} ({})", task.id, Untrusted::line(&task.title))
}

/// Does the same to each of the tasks named; the first that cannot be done ends it.
fn each(
    context: &Context,
    args: &TaskIds,
    act: &dyn Fn(&Client, &str) -> orch_api::client::Result<Changed>,
    sentence: &dyn Fn(&Client, &Changed, &ApiTask) -> String,
) -> Result<Ending> {
    let printer = &context.printer;
    let client = context.client()?;
    let mut all = Vec::new();
    for id in &args.tasks {
        let before = find(&client, id)?;
        let changed = match act(&client, &before.id) {
            Ok(changed) => changed,
            Err(error) => {
                tell_all(printer, &all)?;
                return Err(about(error.into(), &before));
            }
        };
        let after = changed.task.as_ref().unwrap_or(&before);
        if printer.is_json() && args.tasks.len() > 1 {
            all.push((changed, before.id));
        } else {
            let sentence = sentence(&client, &changed, after);
            told(printer, &changed, &after.id, &sentence)?;
        }
    }
    tell_all(printer, &all)?;
    Ok(Ending::Done)
}

/// What was done to several, for a program; also if the next could not be done.
fn tell_all(printer: &Printer, all: &[(Changed, String)]) -> Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let all: Vec<_> = all
        .iter()
        .map(|(changed, id)| Told::of(changed, id))
        .collect();
    printer.json(&all)
}

/// What could not be done to a task, with its name and what can be done instead.
fn about(mut error: UserError, task: &ApiTask) -> UserError {
    if error.kind != Kind::Conflict {
        return error;
    }
    let id = &task.id;
    if !error.message.contains(id.as_str()) {
        error.message = format!("{}: {}", named(task), error.message);
    }
    error.hint(match task.status.as_str() {
        "failed" | "cancelled" => {
            format!("'orch task retry {id}' gives it a fresh set of attempts")
        }
        "done" => format!("'orch task resume {id} -m MESSAGE' has its agent go on"),
        _ => format!("'orch why {id}' says how it stands and who acts next"),
    })
}

/// The task of this id or prefix; if there is none, the one that was probably meant is named.
pub fn find(client: &Client, id: &str) -> Result<ApiTask> {
    let error = match client.task(id) {
        Ok(task) => return Ok(task),
        Err(error) if !error.is_not_found() => return Err(error.into()),
        Err(error) => UserError::from(error),
    };
    let tasks = client.tasks(&orch_api::client::TaskQuery {
        limit: Some(SUGGEST_AMONG),
        ..Default::default()
    })?;
    let ids = tasks.iter().map(|task| task.id.as_str());
    Err(match suggest::nearest(id, ids) {
        Some(meant) => error.hint(format!("did you mean {meant}?")),
        None => error.hint("'orch task list' lists the tasks there are"),
    })
}

/// How many of the newest tasks may have been meant by a mistyped id.
const SUGGEST_AMONG: u32 = 200;

/// Names the agent that was probably meant where there is none of that name.
fn with_agent_hint(client: &Client, agent: Option<&str>, mut error: UserError) -> UserError {
    let Some(agent) = agent.filter(|_| is_about_agent(&error)) else {
        return error;
    };
    if error.code == "no_such_agent" {
        // As for everything else that is not there.
        error.kind = Kind::NotFound;
    }
    let Ok(status) = client.status() else {
        return error;
    };
    match suggest::nearest(agent, status.agents.iter().map(|it| it.name.as_str())) {
        Some(meant) => {
            error.details.hint = Some(format!("did you mean '{meant}'?"));
            error
        }
        None => error.hint("'orch agent list' lists the agents there are"),
    }
}

fn is_about_agent(error: &UserError) -> bool {
    let refused = matches!(error.kind, Kind::NotFound | Kind::Usage);
    refused && (error.code.contains("agent") || error.message.contains("agent"))
}

/// Labels without the empty ones, which only say "none".
fn labels(given: &[String]) -> Vec<String> {
    given
        .iter()
        .filter(|label| !label.is_empty())
        .cloned()
        .collect()
}

/// How a change is named where it changed nothing.
fn unchanged(changed: &Changed) -> bool {
    changed.change == "unchanged"
}
