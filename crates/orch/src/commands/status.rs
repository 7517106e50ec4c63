//! `orch status`: the project at a glance, once or for as long as somebody looks.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use orch_api::client::Client;
use orch_api::types::{Counts, Status as Answer};

use super::agent;
use crate::args::Status;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::follow::{Follower, News};
use crate::printer::{Label, Printer};
use crate::untrusted::Untrusted;
use crate::view;

/// How often the screen is drawn at most, while much happens.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// How often times on the screen move on while nothing happens.
const MOVE_ON_EVERY: Duration = Duration::from_secs(1);

/// Shows the status.
pub fn run(context: &Context, args: &Status) -> Result<Ending> {
    if args.watch {
        watch(context)?;
    } else {
        let status = context.client()?.status()?;
        show(&context.printer, &status)?;
    }
    Ok(Ending::Done)
}

fn show(printer: &Printer, status: &Answer) -> Result<()> {
    if printer.is_json() {
        return printer.json(status);
    }
    if printer.is_quiet() {
        return status.runs.iter().try_for_each(|run| printer.line(&run.id));
    }
    printer.raw(text(printer, status, Timestamp::now()).as_bytes())
}

/// Shows the status again whenever something changes.
fn watch(context: &Context) -> Result<()> {
    let mut screen = Screen::new(&context.printer);
    let mut follower = Follower::new(context);
    let mut after = {
        let (_client, status) = follower.client()?;
        screen.draw(&status)?;
        status.last_event
    };
    follower.events(&mut after, MOVE_ON_EVERY, &mut |client, news| {
        screen.tell(client, &news)?;
        Ok(ControlFlow::Continue(()))
    })
}

/// What was drawn and when.
struct Screen<'a> {
    printer: &'a Printer,
    drawn: Instant,
    shown: String,
}

impl<'a> Screen<'a> {
    fn new(printer: &'a Printer) -> Self {
        Self {
            printer,
            drawn: Instant::now(),
            shown: String::new(),
        }
    }

    fn tell(&mut self, client: &Client, news: &News<'_>) -> Result<()> {
        if let News::Event(_) = news {
            // Many facts come at once; what is left of this moment's is drawn with it.
            let since = self.drawn.elapsed();
            if since < DRAW_EVERY {
                std::thread::sleep(DRAW_EVERY.saturating_sub(since));
            }
        }
        self.draw(&client.status()?)
    }

    fn draw(&mut self, status: &Answer) -> Result<()> {
        self.drawn = Instant::now();
        let printer = self.printer;
        let text = text(printer, status, Timestamp::now());
        if printer.is_live() {
            return printer.redraw(&text);
        }
        // Without a screen only what has changed is worth a line; ages alone are no change.
        let key = format!(
            "{} {:?} {:?}",
            status.last_event, status.service, status.paused
        );
        if self.shown == key {
            return Ok(());
        }
        self.shown = key;
        if printer.is_json() {
            printer.json_line(status)
        } else {
            printer.line(text)
        }
    }
}

/// The status for a person.
fn text(printer: &Printer, status: &Answer, now: Timestamp) -> String {
    let mut text = heading(printer, status);
    text.push_str(&format!("{}\n", counts(printer, &status.tasks)));
    if let Some(error) = &status.config_error {
        let label = printer.painted(Label::Attention, "! orch.toml is not in force:");
        let lines: Vec<String> = error
            .lines()
            .map(|it| Untrusted::line(it).to_string())
            .collect();
        text.push_str(&format!("{label} {}\n", lines.join("\n  ")));
    }
    if let Some(paused) = &status.paused {
        let label = printer.painted(Label::Attention, "! nothing is started:");
        text.push_str(&format!("{label} {}\n", Untrusted::line(paused)));
    }
    if !status.agents.is_empty() {
        let table = agent::table(printer, &status.agents);
        text.push_str(&format!("\n{}", printer.table_text(&table)));
    }
    if !status.runs.is_empty() {
        let table = view::runs(printer, &status.runs, now);
        text.push_str(&format!("\n{}", printer.table_text(&table)));
    }
    if !status.needs_you.is_empty() {
        let label = printer.painted(Label::Attention, "! needs you");
        text.push_str(&format!("\n{label}\n"));
        for task in &status.needs_you {
            let reason = task.wait.as_ref().map_or("", |wait| wait.message.as_str());
            let (title, reason) = (Untrusted::line(&task.title), Untrusted::line(reason));
            text.push_str(&format!("{}  {title}: {reason}\n", task.id));
        }
    }
    text
}

fn heading(printer: &Printer, status: &Answer) -> String {
    let name = Untrusted::line(&status.project).to_string();
    let name = printer.painted(Label::Strong, &name);
    let service = match (status.service.as_str(), status.pid) {
        ("stopped", _) => "nobody serves it ('orch serve' or 'orch run --all' does)".to_owned(),
        (service, Some(pid)) => format!("{} by pid {pid}", Untrusted::line(service)),
        (service, None) => Untrusted::line(service).to_string(),
    };
    let runs = status.runs.len();
    let slots = format!("{runs} of {} slots in use", status.max_agents);
    format!("{name}  {service}, {slots}\n")
}

fn counts(printer: &Printer, counts: &Counts) -> String {
    let all = [
        ("in_progress", counts.in_progress),
        ("todo", counts.todo),
        ("retrying", counts.retrying),
        ("review", counts.review),
        ("done", counts.done),
        ("failed", counts.failed),
        ("cancelled", counts.cancelled),
    ];
    let some: Vec<String> = all
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(status, count)| format!("{count} {}", view::status_text(printer, status)))
        .collect();
    if some.is_empty() {
        "no tasks yet".to_owned()
    } else {
        some.join("   ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Global;
    use crate::printer::tests::{printer, terminal};
    use crate::view::tests as examples;
    use orch_api::types::Agent;

    #[test]
    fn the_project_at_a_glance() {
        let global = Global {
            color: crate::args::ColorChoice::Never,
            ..Global::default()
        };
        let (printer, ..) = printer(&global, &terminal(100));
        let mut waiting = examples::task("tsk_7m3k9q2x4d1v", "review", "Fix \u{1b}[2J it");
        waiting.wait = Some(examples::wait("approval", "person", "the work is done"));
        let agent = |name: &str, runs: &[&str]| Agent {
            name: name.to_owned(),
            adapter: "claude".to_owned(),
            model: None,
            role: None,
            command: None,
            labels: Vec::new(),
            max_parallel: 1,
            enabled: runs.is_empty(),
            runs: runs.iter().map(|run| (*run).to_owned()).collect(),
        };
        let status = Answer {
            project: "shop".to_owned(),
            target: Some("main".to_owned()),
            service: "serving".to_owned(),
            pid: Some(42),
            max_agents: 4,
            tasks: Counts {
                in_progress: 1,
                review: 1,
                done: 12,
                ..Counts::default()
            },
            agents: vec![agent("coder", &["run_1m3k9q2x4d1v"]), agent("tester", &[])],
            runs: vec![examples::run(
                "run_1m3k9q2x4d1v",
                "tsk_1m3k9q2x4d1v",
                "running",
            )],
            needs_you: vec![waiting],
            last_event: 7,
            config_error: Some("line 3: no such key\nline 5: not \u{1b} text".to_owned()),
            paused: None,
        };
        insta::assert_snapshot!(text(&printer, &status, examples::now()));
    }
}
