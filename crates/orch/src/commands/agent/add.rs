//! `orch agent add`

use orch_daemon::config::{self, AgentFields};

use super::{checked, fields, known, mcp, told};
use crate::args::AgentAdd;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;

/// Adds an agent.
pub fn run(context: &Context, args: &AgentAdd) -> Result<Ending> {
    let name = checked(&args.name)?;
    let project = context.project()?;
    let fields = AgentFields {
        adapter: Some(args.adapter.clone()),
        enabled: args.disabled.then_some(false),
        mcp: mcp::named(context, &project, args.settings.mcp.as_deref())?,
        ..fields(&args.settings)
    };
    config::add_agent(&project, &name, &fields, &known())?;
    let text = format!("Added agent {name}");
    told(context, &project, name.as_str(), "added", &text)?;
    context.printer.hint(
        "'orch agent test NAME' tries it out; 'orch task add TITLE' gives it something to do",
    )?;
    Ok(Ending::Done)
}
