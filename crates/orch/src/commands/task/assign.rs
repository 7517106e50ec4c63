//! `orch task assign`

use orch_api::types::EditTask;

use super::{find, named, told, with_agent_hint};
use crate::args::TaskAssign;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::untrusted::Untrusted;

/// Gives a task to one agent, or back to any.
pub fn run(context: &Context, args: &TaskAssign) -> Result<Ending> {
    let client = context.client()?;
    let task = find(&client, &args.task)?;
    let agent = args.agent.as_deref().filter(|_| !args.any);
    let edit = EditTask {
        agent: Some(agent.unwrap_or_default().to_owned()),
        ..EditTask::default()
    };
    let changed = client
        .edit_task(&task.id, &edit)
        .map_err(|error| with_agent_hint(&client, agent, error.into()))?;
    let task = changed.task.as_ref().unwrap_or(&task);
    let sentence = match agent {
        Some(agent) => format!("{} is for {}", named(task), Untrusted::line(agent)),
        None => format!("{} is for any agent that fits", named(task)),
    };
    told(&context.printer, &changed, &task.id, &sentence)?;
    Ok(Ending::Done)
}
