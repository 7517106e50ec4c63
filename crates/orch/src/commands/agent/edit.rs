//! `orch agent edit`

use orch_daemon::config::{self, AgentFields};

use super::{checked, fields, known, mcp, told};
use crate::args::AgentEdit;
use crate::context::Context;
use crate::error::{Result, UserError};
use crate::exit::Ending;

/// Changes an agent.
pub fn run(context: &Context, args: &AgentEdit) -> Result<Ending> {
    let name = checked(&args.name)?;
    let fields = AgentFields {
        adapter: args.adapter.clone(),
        ..fields(&args.settings)
    };
    if fields == AgentFields::default() {
        return Err(
            UserError::usage("nothing_to_change", "nothing was said to change")
                .hint("'orch agent edit --help' lists what can be changed"),
        );
    }
    let project = context.project()?;
    let fields = AgentFields {
        mcp: mcp::named(context, &project, args.settings.mcp.as_deref())?,
        ..fields
    };
    config::edit_agent(&project, &name, &fields, &known())?;
    let text = format!("Changed agent {name}");
    told(context, &project, name.as_str(), "changed", &text)?;
    Ok(Ending::Done)
}
