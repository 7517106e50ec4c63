//! `orch agent enable`

use orch_daemon::config;

use super::{checked, known, told};
use crate::args::AgentName;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;

/// Gives an agent work again.
pub fn run(context: &Context, args: &AgentName) -> Result<Ending> {
    let name = checked(&args.name)?;
    let project = context.project()?;
    config::set_enabled(&project, &name, true, &known())?;
    let text = format!("Agent {name} is given work");
    told(context, &project, name.as_str(), "enabled", &text)?;
    Ok(Ending::Done)
}
