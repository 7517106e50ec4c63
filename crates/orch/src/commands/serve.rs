//! `orch serve`: the daemon, in this process.

mod log;

use std::sync::Arc;

use orch_daemon::{Daemon, End, LogLine, Options};

use crate::args::{LogFormat, Serve};
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::json;
use crate::printer::{Label, Printer};
use crate::untrusted::Untrusted;
use crate::view;
use log::Log;

/// Serves until told to stop, or until nothing can move any more.
pub fn run(context: &Context, args: &Serve) -> Result<Ending> {
    let project = context.project()?;
    let options = Options {
        once: args.once,
        only: None,
        max_agents: args.max_agents,
        signals: true,
        stop_at_once: false,
        verbose: args.verbose,
    };
    let log = log(context, format(context, args));
    let started = Daemon::start(&project, options, log.sink());
    if started.is_ok() {
        orch_daemon::notify::ready();
    }
    let end = started.map(Daemon::wait);
    log.end();
    // One that serves until it is told to end has something to say only if it broke down.
    told(&context.printer, &end?)
}

fn format(context: &Context, args: &Serve) -> LogFormat {
    let printer = &context.printer;
    let by_itself = if printer.is_terminal() && !printer.is_json() {
        LogFormat::Text
    } else {
        LogFormat::Json
    };
    args.log_format.unwrap_or(by_itself)
}

fn log(context: &Context, format: LogFormat) -> Log {
    let printer = Arc::clone(&context.printer);
    Log::begin(move |lines, missed| {
        if missed > 0 {
            printer.warn(&format!("{missed} lines of the log were not read in time"));
        }
        // A daemon does not end because nobody reads its log.
        let _ = printer.raw(&rendered(&printer, format, lines));
    })
}

/// Lines of the log as they are written, all at once.
fn rendered(printer: &Printer, format: LogFormat, lines: &[LogLine]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        match format {
            // A line of texts is never refused.
            LogFormat::Json => bytes.extend(json::line(line).unwrap_or_default()),
            LogFormat::Text => bytes.extend(format!("{}\n", text(printer, line)).into_bytes()),
        }
    }
    bytes
}

/// One line of the log for a person.
fn text(printer: &Printer, line: &LogLine) -> String {
    let label = match line.level {
        "error" => Label::Bad,
        "warn" => Label::Attention,
        _ => Label::Plain,
    };
    let time = view::time_of_day(printer, &line.time);
    let level = printer.painted(label, &format!("{:5}", line.level));
    let mut text = format!("{time} {level} {}", Untrusted::line(&line.event));
    for (name, value) in [
        ("task", &line.task),
        ("run", &line.run),
        ("agent", &line.agent),
    ] {
        if let Some(value) = value {
            text.push_str(&format!(" {name}={}", Untrusted::line(value)));
        }
    }
    if let Some(message) = &line.message {
        text.push_str(&format!(": {}", Untrusted::line(message)));
    }
    text
}

/// Says what did not come to a good end.
///
/// # Errors
/// It could not be printed.
pub fn told(printer: &Printer, end: &End) -> Result<Ending> {
    for line in &end.failed {
        let sign = printer.painted_talk(Label::Bad, view::sign(printer, "failed"));
        printer.talk(format!("{sign} failed: {}", Untrusted::line(line)))?;
    }
    for line in &end.stuck {
        let sign = printer.painted_talk(Label::Attention, "!");
        printer.talk(format!("{sign} stuck: {}", Untrusted::line(line)))?;
    }
    if end.failed.is_empty() && end.stuck.is_empty() {
        Ok(Ending::Done)
    } else {
        Ok(Ending::WorkFailed)
    }
}
