//! `orch agent add`

use orch_daemon::config::{self, AgentFields};
use orch_daemon::consent;

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
    let loaded = config::add_agent(&project, &name, &fields, &known())?;
    let text = format!("Added agent {name}");
    told(context, &project, name.as_str(), "added", &text)?;
    context.printer.hint(
        "'orch agent test NAME' tries it out; 'orch task add TITLE' gives it something to do",
    )?;
    // Whoever adds an agent should not learn of it from the first task that does not start.
    let contents = consent::survey(&project, &loaded.agents).unwrap_or_default();
    if contents.iter().any(|it| !it.is_trusted) {
        context.printer.hint(
            "the repository has configuration that its program would read by itself: \
             'orch agent trust' shows it and asks",
        )?;
    }
    Ok(Ending::Done)
}
