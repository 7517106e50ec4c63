//! `orch task retry`

use super::{each, named, unchanged};
use crate::args::TaskIds;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;

/// Gives tasks a fresh set of attempts.
pub fn run(context: &Context, args: &TaskIds) -> Result<Ending> {
    each(
        context,
        args,
        &|client, id| client.retry_task(id),
        &|_, changed, task| match unchanged(changed) {
            true => format!("{} waits for its turn already", named(task)),
            false => format!("{} gets {} more", named(task), attempts(task.max_attempts)),
        },
    )
}

fn attempts(count: u32) -> String {
    match count {
        1 => "1 attempt".to_owned(),
        _ => format!("{count} attempts"),
    }
}
