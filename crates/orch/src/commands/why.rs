//! `orch why`: why a task is not moving, and who acts next.

use orch_api::types::Why as Answer;

use super::show;
use crate::args::Why;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::printer::{Label, Printer};
use crate::table::{Cell, Table};
use crate::untrusted::Untrusted;
use crate::view;

/// Says why.
pub fn run(context: &Context, args: &Why) -> Result<Ending> {
    let client = context.client()?;
    let found = show::resolve(&client, &args.id)?;
    let task = match found.kind.as_str() {
        "run" => client.run(&found.id)?.task_id,
        _ => found.id,
    };
    let why = client.why(&task)?;
    if context.printer.is_json() {
        context.printer.json(&why)?;
    } else {
        said(&context.printer, &why)?;
    }
    Ok(Ending::Done)
}

fn said(printer: &Printer, why: &Answer) -> Result<()> {
    let task = &why.task;
    let id = printer.painted(Label::Strong, &task.id);
    let status = view::status_text(printer, &task.status);
    printer.line(format!("{id}  {status}  {}", Untrusted::line(&task.title)))?;
    match (&task.wait, &task.failure) {
        (Some(wait), _) => {
            printer.line(Untrusted::block(&wait.message))?;
            let until = wait
                .until
                .as_deref()
                .map(|time| view::moment(printer, time));
            printer.line(next(&wait.actor, until.as_deref()))?;
        }
        (None, Some(failure)) => {
            let said = format!("It ended: {} ({})", failure.message, failure.code);
            printer.line(Untrusted::block(&said))?;
            printer.line(Untrusted::block(&format!("Seen: {}", failure.evidence)))?;
        }
        (None, None) => printer.line("It has ended; nobody needs to act.")?,
    }
    if !why.dependencies.is_empty() {
        printer.line("")?;
        printer.table(&dependencies(printer, why))?;
    }
    Ok(())
}

/// Who acts next. A person has no time by which to do so: it is when orch looks again by itself.
fn next(who: &str, until: Option<&str>) -> String {
    let name = actor(who);
    match (who, until) {
        (_, None) => format!("{name} acts next."),
        ("timer", Some(at)) => format!("{name} acts next, at {at}."),
        ("person", Some(at)) => format!("{name} acts next; orch looks again at {at}."),
        (_, Some(at)) => format!("{name} acts next, until {at}."),
    }
}

fn actor(word: &str) -> String {
    match word {
        "person" => "A person".to_owned(),
        "orch" => "orch".to_owned(),
        "agent" => "An agent".to_owned(),
        "timer" => "The clock".to_owned(),
        "task" => "Another task".to_owned(),
        other => Untrusted::line(other).to_string(),
    }
}

fn dependencies(printer: &Printer, why: &Answer) -> Table {
    let mut table = Table::new(&["NEEDS", "STATUS", "TO BE", "MET", "TITLE"]).giving_way("TITLE");
    for dependency in &why.dependencies {
        let met = if dependency.met { "yes" } else { "no" };
        let to_be = match dependency.kind.as_str() {
            "succeeded" => "done",
            _ => "ended",
        };
        table.row(vec![
            dependency.id.as_str().into(),
            view::status_cell(printer, &dependency.status),
            to_be.into(),
            Cell::new(met),
            dependency.title.as_str().into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Global;
    use crate::printer::Surroundings;
    use crate::printer::tests::printer;
    use crate::view::tests as examples;
    use orch_api::types::WhyDependency;

    #[test]
    fn a_person_is_given_no_time_and_the_clock_is() {
        let at = Some("07:06:55");
        let person = "A person acts next; orch looks again at 07:06:55.";
        assert_eq!(next("person", at), person);
        assert_eq!(next("person", None), "A person acts next.");
        assert_eq!(next("timer", at), "The clock acts next, at 07:06:55.");
    }

    #[test]
    fn a_task_that_waits_for_another() {
        let (printer, out, _) = printer(&Global::default(), &Surroundings::default());
        let mut task = examples::task("tsk_7m3k9q2x4d1v", "todo", "Deploy");
        let message = "waits for tsk_1m3k9q2x4d1v, which is retrying";
        task.wait = Some(examples::wait("dependency", "task", message));
        let needed = WhyDependency {
            id: "tsk_1m3k9q2x4d1v".to_owned(),
            title: "Build".to_owned(),
            status: "retrying".to_owned(),
            kind: "succeeded".to_owned(),
            met: false,
        };
        let why = Answer {
            task,
            run: None,
            dependencies: vec![needed],
        };
        said(&printer, &why).unwrap();
        insta::assert_snapshot!(out.text());
    }
}
