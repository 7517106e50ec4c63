//! `orch task show`

use super::find;
use crate::args::TaskId;
use crate::commands::show::{last_warnings, task_in_full};
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;

/// Shows a task in full.
pub fn run(context: &Context, args: &TaskId) -> Result<Ending> {
    let client = context.client()?;
    let task = find(&client, &args.task)?;
    task_in_full(&context.printer, &task, &last_warnings(&client, &task)?)?;
    Ok(Ending::Done)
}
