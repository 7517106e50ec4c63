//! `orch runs`: runs, newest first.

use jiff::Timestamp;
use orch_api::client::RunQuery;
use orch_api::types::Run;

use super::agent;
use crate::args::Runs;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::view;

/// Lists runs.
pub fn run(context: &Context, args: &Runs) -> Result<Ending> {
    let printer = &context.printer;
    let limit = view::listing_limit(printer, args.limit);
    let client = context.client()?;
    let runs = view::paged(limit, |rows, last: Option<&Run>| {
        Ok(client.runs(&RunQuery {
            task: args.task.clone(),
            agent: args.agent.clone(),
            limit: Some(rows),
            before: last.map(|run| run.id.clone()),
        })?)
    })?;
    if runs.is_empty() {
        agent::must_be_known(&client, args.agent.as_deref())?;
    }
    if printer.is_json() {
        printer.json(&runs)?;
    } else if printer.is_quiet() {
        runs.iter().try_for_each(|run| printer.line(&run.id))?;
    } else if runs.is_empty() {
        printer.talk("No runs.")?;
    } else {
        printer.table(&view::runs(printer, &runs, Timestamp::now()))?;
    }
    view::tell_if_cut(printer, runs.len(), limit, args.limit)?;
    Ok(Ending::Done)
}
