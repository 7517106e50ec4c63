//! `orch task list`

use jiff::Timestamp;
use orch_api::client::TaskQuery;
use orch_api::types::Task;

use crate::args::{TaskList, word};
use crate::commands::agent;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::view;

/// Lists tasks.
pub fn run(context: &Context, args: &TaskList) -> Result<Ending> {
    let printer = &context.printer;
    let limit = view::listing_limit(printer, args.limit);
    let client = context.client()?;
    let tasks = view::paged(limit, |rows, last: Option<&Task>| {
        Ok(client.tasks(&TaskQuery {
            status: args.status.iter().map(|status| word(*status)).collect(),
            label: args.label.clone(),
            agent: args.agent.clone(),
            limit: Some(rows),
            before: last.map(|task| task.id.clone()),
        })?)
    })?;
    if tasks.is_empty() {
        agent::must_be_known(&client, args.agent.as_deref())?;
    }
    if printer.is_json() {
        printer.json(&tasks)?;
    } else if printer.is_quiet() {
        tasks.iter().try_for_each(|task| printer.line(&task.id))?;
    } else if tasks.is_empty() {
        printer.talk("No tasks.")?;
    } else {
        printer.table(&view::tasks(printer, &tasks, Timestamp::now()))?;
    }
    view::tell_if_cut(printer, tasks.len(), limit, args.limit)?;
    Ok(Ending::Done)
}
