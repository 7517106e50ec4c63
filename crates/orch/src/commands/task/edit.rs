//! `orch task edit`

use orch_api::types::EditTask;

use super::{find, labels, named, text, told, with_agent_hint};
use crate::args::{RequireInstead, TaskEdit, word};
use crate::context::Context;
use crate::error::{Result, UserError};
use crate::exit::Ending;

/// Changes a task that waits.
pub fn run(context: &Context, args: &TaskEdit) -> Result<Ending> {
    let edit = edit(args)?;
    if edit == EditTask::default() {
        return Err(
            UserError::usage("nothing_to_change", "nothing was said to change")
                .hint("'orch task edit --help' lists what can be changed"),
        );
    }
    let client = context.client()?;
    let task = find(&client, &args.task)?;
    let changed = client
        .edit_task(&task.id, &edit)
        .map_err(|error| with_agent_hint(&client, args.agent.as_deref(), error.into()))?;
    let task = changed.task.as_ref().unwrap_or(&task);
    let sentence = format!("Changed {}", named(task));
    told(&context.printer, &changed, &task.id, &sentence)?;
    Ok(Ending::Done)
}

fn edit(args: &TaskEdit) -> Result<EditTask> {
    let none = || args.no_dependencies.then(Vec::new);
    Ok(EditTask {
        title: args.title.clone(),
        description: text::description(args.description.as_deref(), args.file.as_deref())?,
        priority: args.priority,
        agent: args.agent.clone(),
        labels: args.labels.as_deref().map(labels),
        depends_on: args.depends_on.clone().or_else(none),
        after_any: args.after_any.clone().or_else(none),
        max_attempts: args.max_attempts,
        timeout_ms: args.timeout,
        require: args.require.map(required),
    })
}

/// As it crosses the wire: the empty text leaves it to the agent.
fn required(instead: RequireInstead) -> String {
    match instead {
        RequireInstead::Agent => String::new(),
        other => word(other),
    }
}
