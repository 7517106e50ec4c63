//! `orch task cancel`

use super::{each, named, unchanged};
use crate::args::TaskIds;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;

/// Stops tasks for good.
pub fn run(context: &Context, args: &TaskIds) -> Result<Ending> {
    each(
        context,
        args,
        &|client, id| client.cancel_task(id),
        &|_, changed, task| match changed.change.as_str() {
            "stopping" => format!("Stopping {}; its work so far is kept", named(task)),
            _ if unchanged(changed) => format!("{} was cancelled already", named(task)),
            _ => format!("Cancelled {}", named(task)),
        },
    )
}
