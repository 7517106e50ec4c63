//! `orch task approve`

use super::{each, named, unchanged};
use crate::args::TaskIds;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;

/// Finds the work of tasks good and lands it.
pub fn run(context: &Context, args: &TaskIds) -> Result<Ending> {
    each(
        context,
        args,
        &|client, id| client.approve_task(id),
        &|changed, task| match task.status.as_str() {
            _ if unchanged(changed) => format!("{} is done already", named(task)),
            "done" => format!("Approved {}; its work has landed", named(task)),
            _ => format!("Approved {}; its work is being landed", named(task)),
        },
    )
}
