//! The command line of orch.
//!
//! This crate must not know how a task is decided, stored or run: it turns words into requests
//! and answers into text. Everything it prints goes through [`printer::Printer`].

mod args;
mod commands;
mod context;
mod duration;
mod error;
mod exit;
mod follow;
mod ids;
mod json;
mod printer;
mod suggest;
mod table;
mod untrusted;
mod usage;
mod view;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use context::Context;
use error::UserError;
use exit::Ending;

/// The subcommand that owns one run's agent process. Not for people.
const SHIM: &str = "__shim";

fn main() {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // The shim lives as long as its agent and there is one per run: it gets by without anything
    // that a person's command line needs.
    if let [_, command, directory] = arguments.as_slice()
        && command == OsStr::new(SHIM)
    {
        std::process::exit(orch_host::supervise::shim_main(Path::new(directory)));
    }
    std::process::exit(i32::from(command_line(arguments)));
}

fn command_line(arguments: Vec<OsString>) -> u8 {
    let parsed = match usage::parse(arguments) {
        Ok(parsed) => parsed,
        Err(ended) => return ended.finish(),
    };
    let context = Context::new(&parsed.global);
    let result = match &parsed.command {
        Some(command) => commands::run(&context, command),
        None => commands::welcome::run(&context),
    };
    finish(&context, result)
}

fn finish(context: &Context, result: Result<Ending, UserError>) -> u8 {
    match result {
        Ok(ending) => ending.code(),
        Err(error) => {
            if error.kind != error::Kind::ClosedOutput {
                context.printer.error(&error);
            }
            exit::of(error.kind)
        }
    }
}
