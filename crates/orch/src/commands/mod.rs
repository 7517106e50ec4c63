//! One file per command. A command turns its arguments into requests and the answers into text;
//! it must not decide anything that the daemon decides.

mod agent;
mod completions;
mod config;
mod demo;
mod doctor;
mod events;
mod init;
mod logs;
mod rescue;
mod run;
mod runs;
mod serve;
mod service;
mod show;
mod status;
mod task;
pub mod welcome;
mod why;

use crate::args::Command;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;

/// Runs a command.
///
/// # Errors
/// What a person is told.
pub fn run(context: &Context, command: &Command) -> Result<Ending> {
    match command {
        Command::Init(args) => init::run(context, args),
        Command::Agent(args) => agent::run(context, args),
        Command::Task(args) => task::run(context, args),
        Command::Run(args) => run::run(context, args),
        Command::Serve(args) => serve::run(context, args),
        Command::Runs(args) => runs::run(context, args),
        Command::Show(args) => show::run(context, args),
        Command::Logs(args) => logs::run(context, args),
        Command::Status(args) => status::run(context, args),
        Command::Why(args) => why::run(context, args),
        Command::Events(args) => events::run(context, args),
        Command::Rescue(args) => rescue::run(context, args),
        Command::Config(args) => config::run(context, args),
        Command::Doctor(args) => doctor::run(context, args),
        Command::Service(args) => service::run(context, args),
        Command::Demo(args) => demo::run(context, args),
        Command::Completions(args) => completions::run(context, args),
    }
}
