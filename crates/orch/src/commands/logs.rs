//! `orch logs`: what agents did and said, or the bytes they wrote.

mod said;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use orch_api::client::{Client, Next, RunQuery, StreamQuery};
use orch_api::types::{AgentEvent, Event, Run, Task};

use crate::args::Logs;
use crate::commands::agent;
use crate::context::Context;
use crate::duration;
use crate::error::{Result, UserError};
use crate::exit::Ending;
use crate::follow::{Follower, News};
use crate::ids;
use crate::printer::{Label, Printer};
use crate::untrusted::Untrusted;

/// How long a follower sits through silence; then it is told that there was nothing.
const PATIENCE: Duration = Duration::from_secs(60);
/// What orch calls it when the words of a run were removed.
const GONE: &str = "output_gone";
/// Most runs of a task or agent that are read.
const RUNS_MOST: u32 = 10_000;

/// Prints logs.
pub fn run(context: &Context, args: &Logs) -> Result<Ending> {
    check_together(context, args)?;
    let args = &meant(args);
    let since = args.since.as_deref().map(since).transpose()?;
    let mut reading = Reading::new(&context.printer, args, since);
    if args.follow {
        follow(context, args, &mut reading)?;
        return reading.finish();
    }
    let client = context.client()?;
    let runs = chosen(&client, args)?;
    if runs.is_empty() {
        agent::must_be_known(&client, args.agent.as_deref())?;
        context.printer.talk("No runs.")?;
    }
    for run in &runs {
        reading.read(&client, run)?;
    }
    reading.finish()
}

/// Reads on until nothing more is to come, whoever serves.
fn follow(context: &Context, args: &Logs, reading: &mut Reading<'_>) -> Result<()> {
    let mut follower = Follower::new(context);
    loop {
        match look(&mut follower, args, reading) {
            Ok(None) => return Ok(()),
            Ok(Some(mut after)) => {
                follower.events(&mut after, PATIENCE, &mut |_, news| Ok(worth(&news, args)))?;
            }
            Err(error) => follower.lost(error)?,
        }
    }
}

/// Reads what there is now, of runs that go on to their end. If more is to come, the number of the
/// event after which it does.
fn look(
    follower: &mut Follower<'_>,
    args: &Logs,
    reading: &mut Reading<'_>,
) -> Result<Option<u64>> {
    // Its number is that of before the runs are listed, so that one that starts in between is not
    // missed.
    let (client, status) = follower.client()?;
    let runs = chosen(&client, args)?;
    if runs.is_empty() {
        agent::must_be_known(&client, args.agent.as_deref())?;
    }
    for run in &runs {
        reading.read(&client, run)?;
    }
    Ok(is_more_to_come(&client, args, &runs)?.then_some(status.last_event))
}

/// Bytes as they are cannot be JSON.
fn check_together(context: &Context, args: &Logs) -> Result<()> {
    let option = match (args.raw, args.stderr) {
        (true, _) => "--raw",
        (_, true) => "--stderr",
        _ => return Ok(()),
    };
    match context.printer.is_json() {
        false => Ok(()),
        true => Err(UserError::usage(
            "conflicting_arguments",
            format!("{option} and --json cannot be given together"),
        )
        .hint(format!(
            "{option} prints bytes as they are; --json alone prints events"
        ))),
    }
}

/// A task in the place of a run is the same as `--task`.
fn meant(args: &Logs) -> Logs {
    let mut meant = args.clone();
    meant.task = meant
        .task
        .or_else(|| meant.run.take_if(|id| ids::is_task(id)));
    meant
}

/// Reads a moment: how long ago, or when.
fn since(text: &str) -> Result<String> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment.to_string());
    }
    let millis = duration::milliseconds(text).map_err(|problem| {
        UserError::usage("bad_time", format!("'{text}' is not a time: {problem}"))
            .hint("'--since 1h' or '--since 2026-01-31T09:00:00Z'")
    })?;
    let ago = SignedDuration::from_millis(i64::try_from(millis).unwrap_or(i64::MAX));
    let moment = Timestamp::now()
        .checked_sub(ago)
        .unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(moment.to_string())
}

/// The runs to read, oldest first.
fn chosen(client: &Client, args: &Logs) -> Result<Vec<Run>> {
    if let Some(run) = &args.run {
        return Ok(vec![client.run(run)?]);
    }
    let newest_only = args.task.is_none() && args.agent.is_none();
    let mut runs = client.runs(&RunQuery {
        task: args.task.clone(),
        agent: args.agent.clone(),
        limit: Some(if newest_only { 1 } else { RUNS_MOST }),
        before: None,
    })?;
    runs.reverse();
    Ok(runs)
}

/// Whether a follower should go on waiting.
fn is_more_to_come(client: &Client, args: &Logs, runs: &[Run]) -> Result<bool> {
    if let Some(task) = &args.task {
        return Ok(is_moving(&client.task(task)?));
    }
    if args.agent.is_some() || runs.is_empty() {
        return Ok(true);
    }
    for run in runs {
        match client.run(&run.id) {
            Ok(run) if run.noticed_at.is_none() => return Ok(true),
            Ok(_) => {}
            // Deleted in the meantime.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

fn is_moving(task: &Task) -> bool {
    task.wait
        .as_ref()
        .is_some_and(|wait| wait.actor != "person" || wait.code == "not_served")
}

/// Stops waiting when something happened that a follower of these logs may want to read.
fn worth(news: &News<'_>, args: &Logs) -> ControlFlow<()> {
    match news {
        // What was cut off goes on.
        News::Served => ControlFlow::Break(()),
        News::Event(event) if is_wanted(event, args) => ControlFlow::Break(()),
        News::Event(_) | News::Quiet | News::Alone => ControlFlow::Continue(()),
    }
}

fn is_wanted(event: &Event, args: &Logs) -> bool {
    let same = |given: &Option<String>, found: &Option<String>| {
        given.as_deref().is_none_or(|given| {
            found
                .as_deref()
                .is_some_and(|found| found.starts_with(given))
        })
    };
    same(&args.task, &event.task) && same(&args.agent, &event.agent) && same(&args.run, &event.run)
}

/// How far a run has been read.
#[derive(Default)]
struct Place {
    /// The number of its last event, or how many bytes.
    read: u64,
    text: Text,
}

/// What has been read of each run so far.
struct Reading<'a> {
    printer: &'a Printer,
    args: &'a Logs,
    since: Option<String>,
    places: BTreeMap<String, Place>,
    all: Vec<AgentEvent>,
}

impl<'a> Reading<'a> {
    const fn new(printer: &'a Printer, args: &'a Logs, since: Option<String>) -> Self {
        Self {
            printer,
            args,
            since,
            places: BTreeMap::new(),
            all: Vec::new(),
        }
    }

    /// Reads what is new of a run, to its end if following. Should that break off, what was read
    /// is not read again.
    fn read(&mut self, client: &Client, run: &Run) -> Result<()> {
        let known = self.places.remove(&run.id);
        if known.is_none() {
            self.rests()?;
            self.heading(run)?;
        }
        let mut place = known.unwrap_or_default();
        let read = if self.args.raw || self.args.stderr {
            self.bytes(client, run, &mut place)
        } else {
            self.events(client, run, &mut place)
        };
        self.places.insert(run.id.clone(), place);
        match read {
            // Of several, those that are there are shown.
            Err(error) if error.code == GONE && self.args.run.is_none() => {
                self.printer.warn(&error.message);
                Ok(())
            }
            read => read,
        }
    }

    fn heading(&self, run: &Run) -> Result<()> {
        let several = self.args.task.is_some() || self.args.agent.is_some();
        if !several || self.printer.is_json() || self.args.raw || self.args.stderr {
            return Ok(());
        }
        let agent = Untrusted::line(&run.agent);
        let text = format!("{} of {} by {agent}, {}", run.id, run.task_id, run.status);
        self.printer
            .line(self.printer.painted(Label::Strong, &text))
    }

    fn events(&mut self, client: &Client, run: &Run, place: &mut Place) -> Result<()> {
        let query = StreamQuery {
            after: (place.read > 0).then_some(place.read),
            since: self.since.clone(),
            follow: self.args.follow,
            limit: None,
        };
        let mut lines = client.run_events(&run.id, &query)?;
        while let Next::Item(event) = lines.next_agent_event(None)? {
            place.read = event.seq;
            match (self.printer.is_json(), self.args.follow) {
                (true, true) => self.printer.json_line(&event)?,
                (true, false) => self.all.push(event),
                (false, _) => said::print(self.printer, &run.adapter, &event)?,
            }
        }
        Ok(())
    }

    fn bytes(&self, client: &Client, run: &Run, place: &mut Place) -> Result<()> {
        let stream = if self.args.stderr { "err" } else { "out" };
        let mut chunks = client.run_log(&run.id, stream, place.read, self.args.follow)?;
        while let Next::Item(chunk) = chunks.next(None)? {
            place.read += chunk.len() as u64;
            if self.printer.is_terminal() {
                // Byte for byte is for files and pipes; a terminal would obey them.
                self.printer.raw(place.text.shown(&chunk).as_bytes())?;
            } else {
                self.printer.raw(&chunk)?;
            }
        }
        Ok(())
    }

    /// Shows what ended within a character.
    fn rests(&mut self) -> Result<()> {
        for place in self.places.values_mut() {
            let rest = std::mem::take(&mut place.text).rest();
            self.printer.raw(rest.as_bytes())?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Ending> {
        self.rests()?;
        if self.printer.is_json() && !self.args.follow && !self.args.raw && !self.args.stderr {
            self.printer.json(&self.all)?;
        }
        Ok(Ending::Done)
    }
}

/// Bytes that arrive in pieces, as text: a piece may end within a character.
#[derive(Default)]
struct Text {
    pending: Vec<u8>,
}

impl Text {
    fn shown(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let end = whole_characters(&self.pending);
        let rest = self.pending.split_off(end);
        let whole = std::mem::replace(&mut self.pending, rest);
        Untrusted::block(&String::from_utf8_lossy(&whole)).to_string()
    }

    fn rest(self) -> String {
        Untrusted::block(&String::from_utf8_lossy(&self.pending)).to_string()
    }
}

/// How many bytes there are before a last character that may still be going on, or before a `\r`
/// whose `\n` may still come.
fn whole_characters(bytes: &[u8]) -> usize {
    if bytes.last() == Some(&b'\r') {
        return bytes.len() - 1;
    }
    let longest = bytes.len().min(4);
    for back in 1..=longest {
        let at = bytes.len() - back;
        if let Err(error) = std::str::from_utf8(&bytes[at..])
            && error.error_len().is_none()
            && error.valid_up_to() == 0
        {
            return at;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_put_together_before_they_are_shown() {
        let whole = "aß\r\n日本\u{1b}[2J🙂z".as_bytes();
        let expected = "aß\n日本\\x1b[2J🙂z";
        for cut in 0..whole.len() {
            let mut text = Text::default();
            let shown = text.shown(&whole[..cut]) + &text.shown(&whole[cut..]) + &text.rest();
            assert_eq!(shown, expected, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_not_text_is_shown_as_that() {
        let mut text = Text::default();
        assert_eq!(
            text.shown(b"a\xffb\xe6") + &text.rest(),
            "a\u{fffd}b\u{fffd}"
        );
    }

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        assert_eq!(
            since("2026-01-31T09:00:00Z").unwrap(),
            "2026-01-31T09:00:00Z"
        );
        let moment: Timestamp = since("1h").unwrap().parse().unwrap();
        let ago = Timestamp::now().duration_since(moment).as_secs();
        assert!((3_600..3_700).contains(&ago), "{ago}");
        let error = since("yesterday").expect_err("not a time");
        assert_eq!(
            (error.code.as_str(), error.details.hint.is_some()),
            ("bad_time", true)
        );
    }
}
