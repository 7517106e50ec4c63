//! `orch agent disable`

use orch_daemon::config;

use super::{checked, known, told};
use crate::args::AgentName;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;

/// Gives an agent no more work.
pub fn run(context: &Context, args: &AgentName) -> Result<Ending> {
    let name = checked(&args.name)?;
    let project = context.project()?;
    config::set_enabled(&project, &name, false, &known())?;
    let text = format!("Agent {name} is given no more work; what it works on goes on to its end");
    told(context, &project, name.as_str(), "disabled", &text)?;
    Ok(Ending::Done)
}
