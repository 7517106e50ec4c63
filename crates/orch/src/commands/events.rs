//! `orch events`: what happened, in the order it was recorded.

use std::ops::ControlFlow;
use std::time::Duration;

use orch_api::client::{Next, StreamQuery};
use orch_api::types::Event;

use crate::args::Events;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::follow::{Follower, News};
use crate::printer::{Label, Printer};
use crate::untrusted::Untrusted;
use crate::view;

/// Lists events, and goes on with what is still to come if asked.
pub fn run(context: &Context, args: &Events) -> Result<Ending> {
    let printer = &context.printer;
    let mut after = args.after.unwrap_or(0);
    if args.follow {
        let patience = Duration::from_secs(60);
        Follower::new(context).events(&mut after, patience, &mut |_, news| {
            if let News::Event(event) = news {
                print(printer, event)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        return Ok(Ending::Done);
    }
    let query = StreamQuery {
        after: Some(after),
        ..StreamQuery::default()
    };
    let mut lines = context.client()?.events(&query)?;
    let mut all = Vec::new();
    while let Next::Item(event) = lines.next_event(None)? {
        if printer.is_json() {
            all.push(event);
        } else {
            print(printer, &event)?;
        }
    }
    if printer.is_json() {
        printer.json(&all)?;
    }
    Ok(Ending::Done)
}

fn print(printer: &Printer, event: &Event) -> Result<()> {
    if printer.is_json() {
        printer.json_line(event)
    } else if printer.is_terminal() {
        printer.line(for_people(printer, event))
    } else {
        printer.line(for_programs(event))
    }
}

fn for_people(printer: &Printer, event: &Event) -> String {
    let time = view::moment(printer, &event.time);
    let time = printer.painted(Label::Faint, &time);
    let mut text = format!("{time}  {:20}", Untrusted::line(&event.event).to_string());
    let parts = [&event.task, &event.run, &event.agent, &event.word];
    for part in parts.into_iter().flatten() {
        text.push_str(&format!("  {}", Untrusted::line(part)));
    }
    if let Some(message) = &event.message {
        text.push_str(&format!("  {}", Untrusted::line(message)));
    }
    text
}

fn for_programs(event: &Event) -> String {
    let seq = event.seq.to_string();
    let optional = [
        &event.task,
        &event.run,
        &event.agent,
        &event.word,
        &event.message,
    ];
    let fixed = [seq.as_str(), &event.time, &event.event].into_iter();
    let optional = optional
        .into_iter()
        .map(|it| it.as_deref().unwrap_or_default());
    let fields = fixed
        .chain(optional)
        .map(|it| Untrusted::line(it).to_string());
    fields.collect::<Vec<_>>().join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_every_field_in_its_place() {
        let event = Event {
            seq: 7,
            time: "2026-01-02T03:04:05Z".to_owned(),
            event: "task_added".to_owned(),
            task: Some("tsk_1".to_owned()),
            run: None,
            agent: None,
            word: None,
            message: Some("a\ttitle".to_owned()),
        };
        assert_eq!(
            for_programs(&event),
            "7\t2026-01-02T03:04:05Z\ttask_added\ttsk_1\t\t\t\ta\\ttitle"
        );
    }
}
