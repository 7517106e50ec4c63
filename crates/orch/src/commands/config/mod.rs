//! `orch config`: one file per verb.

mod edit;
mod get;
mod set;

use crate::args::Config;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::person;

/// Runs a verb.
pub fn run(context: &Context, command: &Config) -> Result<Ending> {
    if !matches!(command, Config::Get(_)) {
        person::required()?;
    }
    match command {
        Config::Get(args) => get::run(context, args),
        Config::Set(args) => set::run(context, args),
        Config::Edit => edit::run(context),
    }
}
