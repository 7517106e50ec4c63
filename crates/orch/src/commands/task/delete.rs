//! `orch task delete`

use super::{each, named};
use crate::args::TaskIds;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;

/// Forgets tasks.
pub fn run(context: &Context, args: &TaskIds) -> Result<Ending> {
    each(
        context,
        args,
        &|client, id| client.delete_task(id),
        &|_, task| format!("Deleted {}; what its agents did stays in git", named(task)),
    )
}
