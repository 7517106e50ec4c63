//! `orch agent list`

use orch_api::types::Agent;

use super::in_force;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::printer::{Label, Printer};
use crate::table::{Cell, Table};
use crate::view;

/// Lists agents.
pub fn run(context: &Context) -> Result<Ending> {
    let printer = &context.printer;
    let agents = in_force(context)?;
    if printer.is_json() {
        printer.json(&agents)?;
    } else if printer.is_quiet() {
        agents
            .iter()
            .try_for_each(|agent| printer.line(&agent.name))?;
    } else if agents.is_empty() {
        printer.talk("No agents.")?;
        printer.hint("'orch agent add coder --adapter claude' adds one")?;
    } else {
        printer.table(&table(printer, &agents))?;
    }
    Ok(Ending::Done)
}

/// A listing of agents.
#[must_use]
pub fn table(printer: &Printer, agents: &[Agent]) -> Table {
    let headings = [
        "AGENT", "ADAPTER", "MODEL", "STATE", "AT ONCE", "ROLE", "LABELS", "RUNS",
    ];
    let mut table = Table::new(&headings).giving_way("RUNS");
    for agent in agents {
        table.row(vec![
            Cell::new(&agent.name),
            agent.adapter.as_str().into(),
            view::optional(agent.model.as_deref()),
            state(printer, agent),
            agent.max_parallel.to_string().into(),
            view::optional(agent.role.as_deref()),
            agent.labels.join(",").into(),
            agent.runs.join(",").into(),
        ]);
    }
    table
}

fn state(printer: &Printer, agent: &Agent) -> Cell {
    if !agent.runs.is_empty() {
        view::status_cell(printer, "running")
    } else if agent.enabled {
        Cell::new("free")
    } else {
        Cell::new("disabled").label(Label::Faint)
    }
}
