//! `orch rescue prune`

use orch_api::types::PruneRescues;

use super::tell_given_up;
use crate::args::RescuePrune;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;

/// Gives up what is old.
pub fn run(context: &Context, args: &RescuePrune) -> Result<Ending> {
    let printer = &context.printer;
    let which = PruneRescues {
        older_than_ms: args.older_than,
    };
    let given_up = context.client()?.prune_rescues(&which)?;
    if given_up.given_up.is_empty() && !printer.is_json() && !printer.is_quiet() {
        printer.talk("Nothing is old enough to be given up.")?;
    }
    tell_given_up(printer, &given_up)?;
    Ok(Ending::Done)
}
