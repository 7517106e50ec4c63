//! `orch demo`: orch's whole way with scripted agents, in a throw-away project, and a check that
//! what it recorded is what happened.

mod checks;
mod project;

use jiff::Timestamp;
use orch_api::client::{RunQuery, TaskQuery};
use orch_api::types::{Run, Task};
use orch_daemon::{LogSink, Options};
use serde_json::json;

use super::run::work;
use crate::args::Demo;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::printer::{Label, Printer};
use crate::untrusted::Untrusted;
use crate::view;
use checks::{Check, Evidence};
use project::Stage;

/// Runs the demo.
pub fn run(context: &Context, args: &Demo) -> Result<Ending> {
    let printer = &context.printer;
    let stage = Stage::build(args.keep)?;
    let place = stage.directory.display().to_string();
    let place = Untrusted::line(&place).to_string();
    printer.talk(format!(
        "A throw-away project with four scripted agents: {place}"
    ))?;
    stage.queue()?;
    printer.talk("Eight tasks are queued. One agent fails once, one hangs, three end together, one leaves a child behind.\n")?;
    let options = Options {
        once: true,
        signals: true,
        ..Options::default()
    };
    work(printer, &stage.project, options, 0)?;

    let client = orch_daemon::connect(&stage.project, &LogSink::silent())?;
    let mut tasks = client.tasks(&TaskQuery::default())?;
    let mut runs = client.runs(&RunQuery::default())?;
    drop(client);
    tasks.reverse();
    runs.reverse();
    let evidence = Evidence::gather(&stage, tasks, runs)?;
    let checks = checks::all(&evidence);
    tell(printer, &evidence.tasks, &evidence.runs, &checks)?;
    if args.keep {
        printer.talk(format!("\nThe project is in {place}/project"))?;
    }
    let agree = checks.iter().all(|check| check.ok);
    Ok(if agree {
        Ending::Done
    } else {
        Ending::WorkFailed
    })
}

fn tell(printer: &Printer, tasks: &[Task], runs: &[Run], checks: &[Check]) -> Result<()> {
    if printer.is_json() {
        return printer.json(&json!({ "tasks": tasks, "runs": runs, "checks": checks }));
    }
    if printer.is_quiet() {
        return Ok(());
    }
    let now = Timestamp::now();
    printer.line("")?;
    printer.table(&view::tasks(printer, tasks, now))?;
    printer.line("")?;
    printer.table(&view::runs(printer, runs, now))?;
    printer.line("")?;
    for check in checks {
        let (status, label) = match check.ok {
            true => ("done", Label::Good),
            false => ("failed", Label::Bad),
        };
        let sign = printer.painted(label, view::sign(printer, status));
        printer.line(format!("{sign} {}", check.name))?;
        for problem in &check.problems {
            printer.line(format!("    {}", Untrusted::line(problem)))?;
        }
    }
    let bad = checks.iter().filter(|check| !check.ok).count();
    printer.line(match bad {
        0 => "\nRecords, logs and the agents' own ledger agree.".to_owned(),
        _ => format!(
            "\nThey do not agree: {bad} of {} checks failed.",
            checks.len()
        ),
    })
}
