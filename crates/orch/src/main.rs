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
mod person;
mod printer;
mod scratch;
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
use orch_host::{acp, supervise};

fn main() {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let code = match shim(&arguments) {
        Some(code) => code,
        None => i32::from(command_line(arguments)),
    };
    std::process::exit(code);
}

/// The subcommands that are not for people: the process that owns one run's agent, the one that
/// makes these, and the one that speaks with an agent that must be spoken to. They live as long as
/// their agent and there is one per run, so they get by without anything that a person's command
/// line needs.
fn shim(arguments: &[OsString]) -> Option<i32> {
    let command = arguments.get(1)?;
    #[cfg(target_os = "linux")]
    if command == OsStr::new(supervise::SHIMS_COMMAND) {
        return Some(supervise::shims_main());
    }
    if command == OsStr::new(acp::ACP_COMMAND) {
        return Some(acp::acp_main(&arguments[2..]));
    }
    let directory = arguments.get(2)?;
    (command == OsStr::new(supervise::SHIM_COMMAND))
        .then(|| supervise::shim_main(Path::new(directory)))
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
