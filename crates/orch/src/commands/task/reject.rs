//! `orch task reject`

use orch_api::types::Rejection;

use super::{about, find, named, text, told};
use crate::args::TaskReject;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;

/// Sends the work of a task back.
pub fn run(context: &Context, args: &TaskReject) -> Result<Ending> {
    let reason = text::given(&args.reason, "reason")?;
    let client = context.client()?;
    let task = find(&client, &args.task)?;
    let changed = client
        .reject_task(&task.id, &Rejection { reason })
        .map_err(|error| about(error.into(), &task))?;
    let task = changed.task.as_ref().unwrap_or(&task);
    let sentence = format!("Sent {} back; its next attempt is told why", named(task));
    told(&context.printer, &changed, &task.id, &sentence)?;
    Ok(Ending::Done)
}
