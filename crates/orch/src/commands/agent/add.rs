//! `orch agent add`

use orch_daemon::config::{self, AgentFields};

use super::{adapters, checked, fields, told};
use crate::args::AgentAdd;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;

/// Adds an agent.
pub fn run(context: &Context, args: &AgentAdd) -> Result<Ending> {
    let name = checked(&args.name)?;
    let fields = AgentFields {
        adapter: Some(args.adapter.clone()),
        enabled: args.disabled.then_some(false),
        ..fields(&args.settings)
    };
    let project = context.project()?;
    config::add_agent(&project, &name, &fields, &adapters())?;
    let text = format!("Added agent {name}");
    told(context, &project, name.as_str(), "added", &text)?;
    context
        .printer
        .hint("'orch task add TITLE' gives it something to do")?;
    Ok(Ending::Done)
}
