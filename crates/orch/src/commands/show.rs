//! `orch show`: a task or a run in full.

use orch_api::client::Client;
use orch_api::types::{Changes, Failure, Resolved, Run, Task};

use crate::args::Show;
use crate::context::Context;
use crate::duration;
use crate::error::{Kind, Result, UserError};
use crate::exit::Ending;
use crate::ids::Either;
use crate::printer::{Label, Printer};
use crate::untrusted::Untrusted;
use crate::view;

/// Most of a text's beginning and most of its end that a person is shown, bytes: some hundred lines
/// each. A result may have megabytes.
const SHOWN_BYTES: usize = 16 << 10;

/// Shows what the id names.
pub fn run(context: &Context, args: &Show) -> Result<Ending> {
    let client = context.client()?;
    let found = resolve(&client, &args.id)?;
    if found.kind == "run" {
        run_in_full(&context.printer, &client.run(&found.id)?)?;
    } else {
        let task = client.task(&found.id)?;
        task_in_full(&context.printer, &task, &last_warnings(&client, &task)?)?;
    }
    Ok(Ending::Done)
}

/// The one task or run that `id` names.
///
/// # Errors
/// None, or more than one.
pub fn resolve(client: &Client, id: &Either) -> Result<Resolved> {
    let mut found = Vec::new();
    let mut refusal = None;
    for prefix in &id.0 {
        match client.resolve(prefix) {
            Ok(resolved) => found.push(resolved),
            Err(error) if error.is_not_found() => refusal = Some(error.into()),
            Err(error) => return Err(error.into()),
        }
    }
    match (found.pop(), found.pop()) {
        (Some(only), None) => Ok(only),
        (Some(run), Some(task)) => {
            let message = format!("{} and {} both begin like that", task.id, run.id);
            Err(UserError::new(Kind::Conflict, "ambiguous", message)
                .hint("write it with 'tsk_' or 'run_' before it"))
        }
        (None, _) => Err(not_found(id, refusal)),
    }
}

fn not_found(id: &Either, refusal: Option<UserError>) -> UserError {
    let hint = "'orch task list' and 'orch runs' list what there is";
    match (id.0.as_slice(), refusal) {
        ([_], Some(refusal)) => refusal.hint(hint),
        (prefixes, _) => {
            let message = format!(
                "there is nothing that begins with {}",
                prefixes.join(" or ")
            );
            UserError::new(Kind::NotFound, "not_found", message).hint(hint)
        }
    }
}

/// What there is to warn of about the last run of a task.
///
/// # Errors
/// The daemon could not be asked.
pub fn last_warnings(client: &Client, task: &Task) -> Result<Vec<String>> {
    let Some(run) = &task.last_run else {
        return Ok(Vec::new());
    };
    Ok(client.run(run)?.warnings)
}

/// Shows a task, with the warnings of its last run.
///
/// # Errors
/// It could not be printed.
pub fn task_in_full(printer: &Printer, task: &Task, warnings: &[String]) -> Result<()> {
    if printer.is_json() {
        return printer.json(task);
    }
    if printer.is_quiet() {
        return printer.line(&task.id);
    }
    let mut sheet = Sheet::new(printer, &task.id, &task.status, &task.title);
    sheet.field("priority", &task.priority.to_string());
    sheet.optional("agent", task.agent.as_deref());
    sheet.list("labels", &task.labels);
    sheet.list("depends on", &task.depends_on);
    sheet.list("after", &task.after_any);
    sheet.list("scope", &task.scope);
    sheet.list("attached", &task.attachments);
    sheet.field(
        "attempts",
        &format!("{} of {}", task.attempts, task.max_attempts),
    );
    let times = [
        ("timeout", task.timeout_ms),
        ("stall timeout", task.stall_ms),
    ];
    for (name, time) in times {
        sheet.optional(name, time.map(duration::shown).as_deref());
    }
    sheet.field(
        "workspace",
        &format!("{}, review {}", task.workspace, task.review),
    );
    sheet.optional("requires", task.require.as_deref());
    sheet.optional("branch", task.branch.as_deref());
    sheet.optional("landed", task.landed.as_deref());
    sheet.optional("last run", task.last_run.as_deref());
    sheet.moment("added", Some(&task.created_at));
    sheet.moment("changed", Some(&task.updated_at));
    if let Some(wait) = &task.wait {
        sheet.field(
            "waits for",
            &format!("{} ({} acts next)", wait.message, wait.actor),
        );
        sheet.moment("until", wait.until.as_deref());
    }
    sheet.failure(task.failure.as_ref());
    sheet.warnings(warnings);
    sheet.block("description", Some(&task.description));
    sheet.block("sent back with", task.feedback.as_deref());
    sheet.block("result", task.result.as_deref());
    printer.raw(sheet.text.as_bytes())
}

fn run_in_full(printer: &Printer, run: &Run) -> Result<()> {
    if printer.is_json() {
        return printer.json(run);
    }
    if printer.is_quiet() {
        return printer.line(&run.id);
    }
    let title = format!(
        "attempt {} of {} by {}",
        run.attempt, run.task_id, run.agent
    );
    let mut sheet = Sheet::new(printer, &run.id, &run.status, &title);
    sheet.field("adapter", &run.adapter);
    sheet.optional(
        "exit",
        Some(view::exit_text(run).as_str()).filter(|it| !it.is_empty()),
    );
    sheet.moment("started", run.started_at.as_deref());
    sheet.moment("finished", run.finished_at.as_deref());
    let took = view::took(run, jiff::Timestamp::now());
    sheet.optional("took", Some(took.as_str()).filter(|it| !it.is_empty()));
    sheet.optional("used", usage(run).as_deref());
    sheet.optional("cost", view::cost(run, 4).as_deref());
    sheet.optional("session", run.session_id.as_deref());
    sheet.optional("went on with", run.resumed_session.as_deref());
    sheet.optional("branch", run.branch.as_deref());
    sheet.optional("commit", run.commit.as_deref());
    sheet.optional("changed", run.changes.map(changed).as_deref());
    sheet.field("events", &run.events.to_string());
    sheet.failure(run.failure.as_ref());
    sheet.warnings(&run.warnings);
    sheet.block("result", run.result.as_deref());
    printer.raw(sheet.text.as_bytes())
}

fn changed(changes: Changes) -> String {
    let some = |count: u64, one: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    };
    format!(
        "{}, {} of its own",
        some(changes.files, "file"),
        some(changes.commits, "commit")
    )
}

fn usage(run: &Run) -> Option<String> {
    let usage = &run.usage;
    let parts = [
        (usage.input_tokens, "in"),
        (usage.output_tokens, "out"),
        (usage.cache_read_tokens, "from cache"),
        (usage.cache_write_tokens, "to cache"),
    ];
    let said: Vec<String> = parts
        .iter()
        .filter_map(|(tokens, name)| tokens.map(|tokens| format!("{tokens} {name}")))
        .collect();
    (!said.is_empty()).then(|| format!("{} tokens", said.join(", ")))
}

/// Names and values below a heading.
struct Sheet<'a> {
    printer: &'a Printer,
    text: String,
}

impl<'a> Sheet<'a> {
    fn new(printer: &'a Printer, id: &str, status: &str, title: &str) -> Self {
        let id = printer.painted(Label::Strong, id);
        let status = view::status_text(printer, status);
        let text = format!("{id}  {status}  {}\n", Untrusted::line(title));
        Self { printer, text }
    }

    fn field(&mut self, name: &str, value: &str) {
        let name = self.printer.painted(Label::Faint, &format!("{name:>14}"));
        self.text
            .push_str(&format!("{name}  {}\n", Untrusted::line(value)));
    }

    fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    fn list(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.field(name, &values.join(", "));
        }
    }

    fn moment(&mut self, name: &str, time: Option<&str>) {
        let shown = time.map(|time| view::moment(self.printer, time));
        self.optional(name, shown.as_deref());
    }

    fn failure(&mut self, failure: Option<&Failure>) {
        if let Some(failure) = failure {
            self.field("reason", &format!("{}: {}", failure.code, failure.message));
            self.field("evidence", &failure.evidence);
        }
    }

    fn warnings(&mut self, warnings: &[String]) {
        for warning in warnings {
            self.field("warning", warning);
        }
    }

    fn block(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value.filter(|value| !value.trim().is_empty()) else {
            return;
        };
        let name = self.printer.painted(Label::Faint, &format!("{name}:"));
        self.text.push_str(&format!("\n{name}\n"));
        let (begin, left_out, end) = ends_of(value);
        self.lines(begin);
        if left_out > 0 {
            let said = format!("({left_out} bytes left out; with --json there is all of it)");
            let said = self.printer.painted(Label::Faint, &said);
            self.text.push_str(&format!("  {said}\n"));
            self.lines(end);
        }
    }

    fn lines(&mut self, text: &str) {
        for line in Untrusted::block(text).to_string().lines() {
            self.text.push_str(&format!("  {line}\n"));
        }
    }
}

/// The beginning and the end of a text that a person would not read whole, and how many bytes are
/// between them. A shorter one is all beginning.
fn ends_of(text: &str) -> (&str, usize, &str) {
    if text.len() <= 2 * SHOWN_BYTES {
        return (text, 0, "");
    }
    let (begin, end) = (
        text.floor_char_boundary(SHOWN_BYTES),
        text.ceil_char_boundary(text.len() - SHOWN_BYTES),
    );
    (&text[..begin], end - begin, &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Global;
    use crate::printer::Surroundings;
    use crate::printer::tests::printer;
    use crate::view::tests as examples;

    #[test]
    fn of_a_text_of_megabytes_both_ends_are_shown() {
        let short = "x".repeat(2 * SHOWN_BYTES);
        assert_eq!(ends_of(&short), (&*short, 0, ""));
        let long = format!("begin{}end", "\u{20ac}".repeat(1 << 20));
        let (begin, left_out, end) = ends_of(&long);
        assert!(begin.starts_with("begin\u{20ac}") && end.ends_with("\u{20ac}end"));
        assert_eq!(begin.len() + left_out + end.len(), long.len());
        assert!(begin.len() <= SHOWN_BYTES && end.len() <= SHOWN_BYTES);

        let (printer, out, _) = printer(&Global::default(), &Surroundings::default());
        let mut run = examples::run("run_1m3k9q2x4d1v", "tsk_7m3k9q2x4d1v", "completed");
        run.result = Some(long);
        run_in_full(&printer, &run).unwrap();
        let text = out.text();
        assert!(text.len() < 3 * SHOWN_BYTES && text.contains("bytes left out"));
    }

    #[test]
    fn a_task_in_full() {
        let (printer, out, _) = printer(&Global::default(), &Surroundings::default());
        let mut task = examples::task("tsk_7m3k9q2x4d1v", "review", "Fix \u{9b}31m it");
        task.require = Some("commit".to_owned());
        task.labels = vec!["tests".to_owned(), "urgent".to_owned()];
        task.wait = Some(examples::wait("approval", "person", "the work is done"));
        task.description = "Two\nlines \u{1b}]52;c;x\u{7}".to_owned();
        task.result = Some("All good.".to_owned());
        let warnings = ["one file was too large".to_owned()];
        task_in_full(&printer, &task, &warnings).unwrap();
        insta::assert_snapshot!(out.text());
    }

    #[test]
    fn a_run_in_full() {
        let (printer, out, _) = printer(&Global::default(), &Surroundings::default());
        let mut run = examples::run("run_1m3k9q2x4d1v", "tsk_7m3k9q2x4d1v", "failed");
        run.signal = Some(9);
        run.finished_at = Some("2026-01-02T03:01:31Z".to_owned());
        run.usage.input_tokens = Some(1200);
        run.usage.output_tokens = Some(34);
        run.cost_usd = Some(0.0123);
        run.cost_estimated = Some(true);
        run.changes = Some(Changes {
            files: 3,
            commits: 1,
        });
        run.session_id = Some("second".to_owned());
        run.resumed_session = Some("first".to_owned());
        run.warnings = vec!["its children were ended".to_owned()];
        run.failure = Some(Failure {
            code: "signaled".to_owned(),
            message: "ended by signal 9".to_owned(),
            evidence: "signal 9; out.log bytes 0-10".to_owned(),
        });
        run_in_full(&printer, &run).unwrap();
        insta::assert_snapshot!(out.text());
    }
}
