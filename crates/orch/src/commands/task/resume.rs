//! `orch task resume`

use orch_api::types::Resumption;

use super::{about, find, named, text, told};
use crate::args::TaskResume;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;

/// Sends a task that was ended, or is in review, back to its agent with a message.
pub fn run(context: &Context, args: &TaskResume) -> Result<Ending> {
    let message = text::given(&args.message, "message")?;
    let client = context.client()?;
    let task = find(&client, &args.task)?;
    let changed = client
        .resume_task(&task.id, &Resumption { message })
        .map_err(|error| about(error.into(), &task))?;
    let task = changed.task.as_ref().unwrap_or(&task);
    let sentence = format!("Sent {} back to its agent with your message", named(task));
    told(&context.printer, &changed, &task.id, &sentence)?;
    Ok(Ending::Done)
}
