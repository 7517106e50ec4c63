//! `orch agent trust`: agree to the configuration of the repository that agents' programs read by
//! themselves and that can run code.

use std::io::{IsTerminal, Write};

use orch_daemon::config;
use orch_daemon::consent::{self, Content};
use orch_daemon::project::Project;
use serde_json::{Value, json};

use super::known;
use crate::args::AgentTrust;
use crate::context::Context;
use crate::error::{Kind, Result, UserError};
use crate::exit::Ending;
use crate::person;
use crate::printer::{Label, Printer};
use crate::table::{Cell, Table};

/// Shows what is there and, if it is agreed to, notes that.
pub fn run(context: &Context, args: &AgentTrust) -> Result<Ending> {
    let project = context.project()?;
    let agents = config::agents(&project, &known())?;
    let contents = consent::survey(&project, &agents).map_err(failed)?;
    let (trusted, unknown): (Vec<Content>, Vec<Content>) =
        contents.iter().cloned().partition(|it| it.is_trusted);
    let printer = &context.printer;
    let agreed = !args.list && !unknown.is_empty();
    let mut released = 0;
    if agreed {
        person::required()?;
        if !args.yes {
            show(printer, &unknown)?;
            ask(unknown.len())?;
        }
        consent::agree(&project, &unknown).map_err(failed)?;
        released = tell(context, &project);
    }
    if printer.is_json() {
        let files: Vec<Value> = contents.iter().map(|it| object(it, agreed)).collect();
        let count = if agreed { unknown.len() } else { 0 };
        printer.json(&json!({ "files": files, "agreed": count, "released": released }))?;
    } else if args.list {
        show(printer, &contents)?;
    } else {
        said(printer, trusted.len(), unknown.len(), released)?;
    }
    Ok(Ending::Done)
}

/// Has the tasks that waited for it go on; how many. What was agreed to stands whether or not
/// somebody could be told: they go on with their timers then.
fn tell(context: &Context, project: &Project) -> u64 {
    let client = context.client_of(project);
    match client.and_then(|client| Ok(client.agreed()?)) {
        Ok(released) => released.tasks,
        Err(error) => {
            context.printer.warn(&format!(
                "tasks that waited for this are tried again later and not now: {}",
                error.message
            ));
            0
        }
    }
}

fn failed(error: consent::SurveyError) -> UserError {
    let message = "the repository's configuration of agents cannot be looked at";
    UserError::new(Kind::Internal, "consent", message).caused_by(&error)
}

fn object(content: &Content, agreed: bool) -> Value {
    let places: Vec<String> = content
        .places
        .iter()
        .map(|it| it.display().to_string())
        .collect();
    json!({
        "path": content.found.path,
        "digest": content.found.digest,
        "adapters": content.adapters,
        "places": places,
        "trusted": content.is_trusted || agreed,
    })
}

fn show(printer: &Printer, contents: &[Content]) -> Result<()> {
    if printer.is_json() || printer.is_quiet() {
        return Ok(());
    }
    let mut table = Table::new(&["FILE", "TRUSTED", "READ BY", "CONTENT", "IN"]).giving_way("IN");
    for content in contents {
        let adapters: Vec<&str> = content.adapters.iter().map(String::as_str).collect();
        let place = content.places.first().map(|it| it.display().to_string());
        let trusted = match content.is_trusted {
            true => Cell::new("yes"),
            false => Cell::new("no").label(Label::Attention),
        };
        table.row(vec![
            Cell::new(&content.found.path),
            trusted,
            adapters.join(",").into(),
            Cell::from(content.found.digest.chars().take(12).collect::<String>()),
            Cell::from(place.unwrap_or_default()),
        ]);
    }
    match contents.is_empty() {
        true => printer.talk("Nothing here is read by an agent's program by itself."),
        false => printer.table(&table),
    }
}

/// Asks the person at the terminal.
fn ask(count: usize) -> Result<()> {
    let refused = |message: &str| {
        UserError::new(Kind::NotAllowed, "not_agreed", message)
            .hint("look at the files, then 'orch agent trust --yes'")
    };
    if !std::io::stdin().is_terminal() {
        return Err(refused("nobody is there to be asked"));
    }
    let mut err = std::io::stderr();
    let these = match count {
        1 => "this file".to_owned(),
        count => format!("these {count} files"),
    };
    let question = format!("Programs of agents may run code because of {these}. Agree? [y/N] ");
    err.write_all(question.as_bytes())
        .map_err(|error| UserError::output(&error))?;
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|error| UserError::io("cannot read the answer", &error))?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(refused("it was not agreed to")),
    }
}

fn said(printer: &Printer, trusted: usize, agreed: usize, released: u64) -> Result<()> {
    match (trusted, agreed) {
        (0, 0) => printer.talk("Nothing here is read by an agent's program by itself."),
        (_, 0) => printer.talk("Everything here is agreed to already."),
        (_, agreed) => {
            printer.talk(match agreed {
                1 => "Agreed to 1 file as it is now.".to_owned(),
                agreed => format!("Agreed to {agreed} files as they are now."),
            })?;
            match released {
                0 => Ok(()),
                1 => printer.talk("A task that waited for this goes on."),
                tasks => printer.talk(format!("{tasks} tasks that waited for this go on.")),
            }
        }
    }
}
