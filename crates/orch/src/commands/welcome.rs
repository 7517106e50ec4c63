//! `orch` alone: what it can do, and how things stand here.

use clap::CommandFactory;

use crate::args::Cli;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::untrusted::Untrusted;

/// Shows the short help and what to do next in this directory.
pub fn run(context: &Context) -> Result<Ending> {
    let printer = &context.printer;
    let help = Cli::command().render_help();
    let help = if printer.is_coloured() {
        help.ansi().to_string()
    } else {
        help.to_string()
    };
    printer.raw(help.as_bytes())?;
    printer.line("")?;
    printer.line(match context.project() {
        Ok(project) => {
            let root = project.root.display().to_string();
            let root = Untrusted::line(&root);
            format!("This is the project {root}: 'orch status' shows how it stands.")
        }
        Err(_) => "There is no project here yet: 'orch init' sets one up.".to_owned(),
    })?;
    Ok(Ending::Done)
}
