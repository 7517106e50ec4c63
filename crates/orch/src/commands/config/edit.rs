//! `orch config edit`

use std::process::Command;

use orch_daemon::config;
use orch_daemon::project::Project;

use crate::commands::agent::take_over;
use crate::context::Context;
use crate::error::{Kind, Result, UserError};
use crate::exit::Ending;

/// Opens `orch.toml` in the editor and checks it afterwards.
pub fn run(context: &Context) -> Result<Ending> {
    let project = context.project()?;
    let editor = ["VISUAL", "EDITOR"]
        .into_iter()
        .find_map(|name| {
            std::env::var(name)
                .ok()
                .filter(|value| !value.trim().is_empty())
        })
        .unwrap_or_else(|| "vi".to_owned());
    open(&editor, &project)?;
    config::load(&project, &orch_daemon::adapters()).map_err(|error| {
        UserError::from(error)
            .hint("'orch config edit' opens it again; until then the old one holds")
    })?;
    take_over(context, &project);
    context.printer.talk("orch.toml is fine")?;
    Ok(Ending::Done)
}

/// The editor is a command with arguments, as in `code --wait`; no shell reads it.
fn open(editor: &str, project: &Project) -> Result<()> {
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    // tidy: the user's editor belongs to the terminal, which only this crate knows.
    let status = Command::new(program)
        .args(words)
        .arg(&project.config)
        .status()
        .map_err(|error| {
            let message = format!("cannot start the editor '{program}'");
            UserError::new(Kind::Unreachable, "editor", message)
                .caused_by(&error)
                .hint("set EDITOR to the command of your editor")
        })?;
    if status.success() {
        return Ok(());
    }
    let message = format!("the editor '{program}' ended with {status}; orch.toml was not checked");
    Err(UserError::new(Kind::Internal, "editor", message))
}
