//! `orch agent adapters`: the kinds of agents, what each can do, and what orch can tell about it.

use orch_daemon::kinds::{self, Adapter, Counting, DOCUMENTED, LimitSignal};
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::printer::{Label, Printer};
use crate::table::{Cell, Table};

/// What stands for a version where no version was run.
pub const NOT_RUN: &str = "not run";

/// Lists the kinds of agents.
pub fn run(context: &Context) -> Result<Ending> {
    let printer = &context.printer;
    if printer.is_json() {
        let mut all: Vec<Value> = kinds::all().iter().map(object).collect();
        all.extend(
            DOCUMENTED.iter().map(
                |it| json!({ "name": it.name, "adapter": false, "tested": null, "how": it.how }),
            ),
        );
        printer.json(&all)?;
    } else if printer.is_quiet() {
        let mut names = kinds::all().iter().map(|adapter| adapter.name);
        names.try_for_each(|name| printer.line(name))?;
    } else {
        sheet(printer)?;
    }
    Ok(Ending::Done)
}

fn object(adapter: &Adapter) -> Value {
    let can = &adapter.capabilities;
    let permissions: Vec<&str> = can.permissions.iter().map(|it| it.as_str()).collect();
    json!({
        "name": adapter.name,
        "adapter": true,
        "description": adapter.description,
        "program": adapter.program,
        "tested": can.tested,
        "result": adapter.has_result_event,
        "usage": can.usage.as_str(),
        "cost": can.cost,
        "resume": can.resume,
        "limits": can.limits.as_str(),
        "mcp": can.mcp,
        "effort": can.effort,
        "max_turns": can.max_turns,
        "permissions": permissions,
        "endings": can.endings,
    })
}

fn sheet(printer: &Printer) -> Result<()> {
    printer.table(&table(kinds::all()))?;
    printer.line("\nHow well their endings can be told apart:")?;
    for adapter in kinds::all() {
        let name = printer.painted(Label::Strong, adapter.name);
        printer.line(format!("  {name}: {}", adapter.capabilities.endings))?;
    }
    printer.line("\nNot run here, known from their documentation only:")?;
    for adapter in kinds::all() {
        if adapter.capabilities.tested.is_none() && adapter.program.is_some() {
            let name = printer.painted(Label::Strong, adapter.name);
            printer.line(format!("  {name}: --adapter {}", adapter.name))?;
        }
    }
    for it in DOCUMENTED {
        let name = printer.painted(Label::Strong, it.name);
        printer.line(format!("  {name}: {}", it.how))?;
    }
    Ok(())
}

fn table(adapters: &[Adapter]) -> Table {
    let headings = [
        "ADAPTER",
        "RESULT",
        "USAGE",
        "COST",
        "RESUME",
        "LIMITS",
        "MCP",
        "EFFORT",
        "TURNS",
        "PERMISSIONS",
        "TESTED",
    ];
    let mut table = Table::new(&headings);
    for adapter in adapters {
        let can = &adapter.capabilities;
        let permissions: Vec<&str> = can.permissions.iter().map(|it| it.as_str()).collect();
        table.row(vec![
            Cell::new(adapter.name),
            yes(adapter.has_result_event),
            Cell::new(match can.usage {
                Counting::Nothing => "-",
                Counting::PerRun => "per run",
                Counting::PerSession => "per session",
            }),
            yes(can.cost),
            yes(can.resume),
            Cell::new(match can.limits {
                LimitSignal::Nothing => "-",
                LimitSignal::Status => "that",
                LimitSignal::ResetTime => "that and until",
            }),
            yes(can.mcp),
            yes(can.effort),
            yes(can.max_turns),
            Cell::from(match permissions.is_empty() {
                true => "-".to_owned(),
                false => permissions.join(" "),
            }),
            Cell::new(match (can.tested, adapter.program) {
                (Some(version), _) => version,
                (None, Some(_)) => NOT_RUN,
                (None, None) => "-",
            }),
        ]);
    }
    table
}

fn yes(can: bool) -> Cell {
    Cell::new(if can { "yes" } else { "-" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every adapter, so that a new one cannot be forgotten in what `--adapter` and the table say.
    #[test]
    fn every_kind_is_listed_with_what_it_can() {
        let text = table(kinds::all()).separated();
        for adapter in kinds::all() {
            let row = text.lines().find(|row| row.starts_with(adapter.name));
            assert!(row.is_some(), "{} is missing: {text}", adapter.name);
            let object = object(adapter);
            assert_eq!(object["tested"].as_str(), adapter.capabilities.tested);
            assert!(!adapter.capabilities.endings.is_empty(), "{}", adapter.name);
        }
        let claude = text.lines().find(|row| row.starts_with("claude")).unwrap();
        let columns: Vec<&str> = claude.split('\t').collect();
        assert_eq!((columns[1], columns[3]), ("yes", "yes"), "{claude}");
        assert!(columns[9].contains("edits"), "{claude}");
    }

    #[test]
    fn what_was_never_run_says_how_it_could_be() {
        for it in DOCUMENTED {
            assert!(kinds::find(it.name).is_none(), "{} has an adapter", it.name);
            assert!(it.how.contains("adapter"), "{}", it.how);
        }
    }
}
