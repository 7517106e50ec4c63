//! `orch rescue drop`

use orch_api::types::GivenUp;

use super::tell_given_up;
use crate::args::RescueIds;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;

/// Gives things up for good; the first that cannot be ends it.
pub fn run(context: &Context, args: &RescueIds) -> Result<Ending> {
    let client = context.client()?;
    let mut all = Vec::new();
    for id in &args.ids {
        all.extend(client.drop_rescue(id)?.given_up);
    }
    tell_given_up(&context.printer, &GivenUp { given_up: all })?;
    Ok(Ending::Done)
}
