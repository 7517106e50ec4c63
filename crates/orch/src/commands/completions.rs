//! `orch completions`: a script that completes command lines.

use clap::CommandFactory;

use crate::args::{Cli, Completions};
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;

/// Prints the script.
pub fn run(context: &Context, args: &Completions) -> Result<Ending> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "orch", &mut script);
    context.printer.raw(&script)?;
    Ok(Ending::Done)
}
