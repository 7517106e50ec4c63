//! Facts as lines of progress, on standard error.

use std::collections::{BTreeMap, BTreeSet};

use orch_api::client::Client;
use orch_api::types::{Event, Task};

use crate::error::Result;
use crate::printer::{Label, Printer};
use crate::untrusted::Untrusted;
use crate::view;

/// Shows what happens.
pub struct Progress<'a> {
    printer: &'a Printer,
    titles: BTreeMap<String, String>,
    /// The tasks something happened to.
    pub seen: BTreeSet<String>,
}

impl<'a> Progress<'a> {
    /// Nothing has happened yet.
    #[must_use]
    pub const fn new(printer: &'a Printer) -> Self {
        Self {
            printer,
            titles: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }

    /// Shows a fact, if it is worth a line.
    ///
    /// # Errors
    /// The daemon could not be asked for the title of a task.
    pub fn tell(&mut self, client: &Client, event: &Event) -> Result<()> {
        let Some(task) = &event.task else {
            return Ok(());
        };
        self.seen.insert(task.clone());
        let Some((sign, label, what)) = described(self.printer, event) else {
            return Ok(());
        };
        if self.printer.is_json() || self.printer.is_quiet() {
            return Ok(());
        }
        let title = self.title(client, task)?;
        let time = view::time_of_day(self.printer, &event.time);
        let time = self.printer.painted_talk(Label::Faint, &time);
        let sign = self.printer.painted_talk(label, sign);
        let title = Untrusted::line(&title);
        self.printer
            .talk(format!("{time} {sign} {task}  {title}: {what}"))
    }

    fn title(&mut self, client: &Client, task: &str) -> Result<String> {
        if let Some(title) = self.titles.get(task) {
            return Ok(title.clone());
        }
        let title = match client.task(task) {
            Ok(task) => task.title,
            Err(error) if error.is_not_found() => "deleted".to_owned(),
            Err(error) => return Err(error.into()),
        };
        self.titles.insert(task.to_owned(), title.clone());
        Ok(title)
    }
}

/// Shows how a task stands to which nothing happens.
///
/// # Errors
/// Never, as [`Printer::talk`].
pub fn tell_state(printer: &Printer, task: &Task) -> Result<()> {
    if printer.is_json() {
        return Ok(());
    }
    let sign = view::sign(printer, &task.status);
    let status = Untrusted::line(&task.status);
    let why = task.wait.as_ref().map(|wait| format!(", {}", wait.message));
    let why = why.unwrap_or_default();
    let (title, why) = (Untrusted::line(&task.title), Untrusted::line(&why));
    printer.talk(format!("{sign} {}  {title}: {status}{why}", task.id))
}

/// The sign, its meaning and the words of a fact; `None` for those that only explain others.
fn described(printer: &Printer, event: &Event) -> Option<(&'static str, Label, String)> {
    let agent = event.agent.as_deref().unwrap_or("an agent");
    let run = event.run.as_deref().unwrap_or_default();
    let message = event.message.as_deref().unwrap_or_default();
    let (status, label, what) = match event.event.as_str() {
        "run_running" => (
            "running",
            Label::Busy,
            format!("{agent} works on it in {run}"),
        ),
        "run_stop_asked" => ("todo", Label::Attention, format!("{run} is being stopped")),
        "task_retrying" => (
            "retrying",
            Label::Attention,
            format!("will be tried again: {message}"),
        ),
        "task_limited" => (
            "retrying",
            Label::Attention,
            format!("waits for a limit: {message}"),
        ),
        "task_interrupted" => (
            "retrying",
            Label::Attention,
            "put back; goes on later".to_owned(),
        ),
        "task_review" => ("review", Label::Attention, "the work is done".to_owned()),
        "task_landing_blocked" => (
            "review",
            Label::Attention,
            format!("cannot land: {message}"),
        ),
        "task_done" => ("done", Label::Good, "done".to_owned()),
        "task_failed" => ("failed", Label::Bad, format!("failed: {message}")),
        "task_cancelled" => ("cancelled", Label::Faint, "cancelled".to_owned()),
        _ => return None,
    };
    let what = Untrusted::line(&what).to_string();
    Some((view::sign(printer, status), label, what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Global;
    use crate::printer::Surroundings;
    use crate::printer::tests::printer;
    use crate::view::tests::{task, wait};

    #[test]
    fn a_task_at_rest_is_told_as_it_stands() {
        let (printer, _, err) = printer(&Global::default(), &Surroundings::default());
        let mut review = task("tsk_1", "review", "T");
        review.wait = Some(wait("approval", "person", "the work is done"));
        tell_state(&printer, &review).unwrap();
        tell_state(&printer, &task("tsk_2", "done", "D")).unwrap();
        let sign = view::sign(&printer, "done");
        assert_eq!(
            err.text(),
            format!("! tsk_1  T: review, the work is done\n{sign} tsk_2  D: done\n")
        );
    }
}
