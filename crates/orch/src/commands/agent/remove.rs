//! `orch agent remove`

use orch_daemon::config;

use super::{checked, known, told};
use crate::args::AgentName;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;

/// Removes an agent. What it is working on goes on to its end.
pub fn run(context: &Context, args: &AgentName) -> Result<Ending> {
    let name = checked(&args.name)?;
    let project = context.project()?;
    config::remove_agent(&project, &name, &known())?;
    let text = format!("Removed agent {name}; a run of it that is under way goes on to its end");
    told(context, &project, name.as_str(), "removed", &text)?;
    Ok(Ending::Done)
}
