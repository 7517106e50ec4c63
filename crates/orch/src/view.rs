//! How tasks and runs look to a person: one place for signs, ages and the columns of a listing.

use jiff::Timestamp;
use orch_api::types::{Changes, Failure, Run, Task};

use crate::duration;
use crate::error::Result;
use crate::printer::{Label, Printer};
use crate::table::{Cell, Table};
use crate::untrusted::Untrusted;

/// What a status means to the eye, never by colour alone.
fn meaning(status: &str) -> (Label, &'static str, &'static str) {
    match status {
        "running" | "in_progress" | "starting" | "serving" => (Label::Busy, "●", "*"),
        "done" | "completed" => (Label::Good, "✓", "+"),
        "failed" | "timed_out" | "not_started" | "lost" => (Label::Bad, "✗", "x"),
        "review" => (Label::Attention, "!", "!"),
        "cancelled" | "stopped" => (Label::Faint, "-", "-"),
        _ => (Label::Plain, "◌", "o"),
    }
}

/// The sign of a status.
#[must_use]
pub fn sign(printer: &Printer, status: &str) -> &'static str {
    let (_, unicode, ascii) = meaning(status);
    if printer.is_unicode() { unicode } else { ascii }
}

/// A status as a table shows it.
#[must_use]
pub fn status_cell(printer: &Printer, status: &str) -> Cell {
    let (label, ..) = meaning(status);
    Cell::new(status).label(label).sign(sign(printer, status))
}

/// A status within a sentence or heading.
#[must_use]
pub fn status_text(printer: &Printer, status: &str) -> String {
    let (label, ..) = meaning(status);
    let text = format!("{} {}", sign(printer, status), Untrusted::line(status));
    printer.painted(label, &text)
}

/// A moment as data carries it, as people read it: in their zone, to the second.
#[must_use]
pub fn moment(printer: &Printer, time: &str) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => {
            let zoned = time.to_zoned(printer.zone().clone());
            zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
        }
        Err(_) => Untrusted::line(time).to_string(),
    }
}

/// The time of day of a moment.
#[must_use]
pub fn time_of_day(printer: &Printer, time: &str) -> String {
    let moment = moment(printer, time);
    moment
        .split_once(' ')
        .map_or(moment.clone(), |(_, time)| time.to_owned())
}

/// How long ago a moment was.
#[must_use]
pub fn age(time: &str, now: Timestamp) -> String {
    let Ok(time) = time.parse::<Timestamp>() else {
        return String::new();
    };
    match u64::try_from(now.duration_since(time).as_millis()) {
        Ok(millis) if millis >= 1_000 => format!("{} ago", largest_unit(millis)),
        _ => "now".to_owned(),
    }
}

fn largest_unit(millis: u64) -> String {
    let shown = duration::shown(millis);
    shown.split(' ').next().unwrap_or_default().to_owned()
}

/// How long a run took, or has taken so far.
#[must_use]
pub fn took(run: &Run, now: Timestamp) -> String {
    let moment = |text: &Option<String>| text.as_deref().and_then(|it| it.parse().ok());
    let Some(started): Option<Timestamp> = moment(&run.started_at) else {
        return String::new();
    };
    let ended = match (moment(&run.finished_at), &run.noticed_at) {
        (Some(ended), _) => ended,
        // Nobody saw the end, so nobody knows how long it took.
        (None, Some(_)) => return String::new(),
        (None, None) => now,
    };
    // Two processes note the two moments; they may be a few milliseconds apart.
    let millis = ended.duration_since(started).as_millis().max(0);
    u64::try_from(millis).map_or_else(|_| String::new(), duration::shown)
}

/// A cell for something that may be missing.
#[must_use]
pub fn optional(text: Option<&str>) -> Cell {
    text.map_or_else(Cell::empty, Cell::new)
}

/// A listing of tasks.
#[must_use]
pub fn tasks(printer: &Printer, tasks: &[Task], now: Timestamp) -> Table {
    let headings = [
        "ID",
        "STATUS",
        "PRI",
        "AGENT",
        "LABELS",
        "TRIES",
        "CHANGED",
        "TITLE",
        "WAITS FOR",
    ];
    let mut table = Table::new(&headings).giving_way("TITLE");
    for task in tasks {
        let tries = match task.attempts {
            0 => Cell::empty(),
            tries => format!("{tries}/{}", task.max_attempts).into(),
        };
        table.row(vec![
            task.id.as_str().into(),
            status_cell(printer, &task.status),
            task.priority.to_string().into(),
            optional(task.agent.as_deref()),
            task.labels.join(",").into(),
            tries,
            changed(printer, &task.updated_at, now),
            task.title.as_str().into(),
            waits_for(task),
        ]);
    }
    table
}

/// An age for a person, the moment itself for a program.
fn changed(printer: &Printer, time: &str, now: Timestamp) -> Cell {
    if printer.is_terminal() {
        Cell::from(age(time, now)).label(Label::Faint)
    } else {
        time.into()
    }
}

fn waits_for(task: &Task) -> Cell {
    match (&task.wait, &task.failure) {
        (Some(wait), _) if wait.actor == "person" => Cell::new(&wait.code).label(Label::Attention),
        (Some(wait), _) => Cell::new(&wait.code).label(Label::Faint),
        (None, Some(failure)) => Cell::new(&failure.code).label(Label::Faint),
        (None, None) => Cell::empty(),
    }
}

/// A listing of runs.
#[must_use]
pub fn runs(printer: &Printer, runs: &[Run], now: Timestamp) -> Table {
    let headings = [
        "ID", "TASK", "AGENT", "TRY", "STATUS", "EXIT", "TOOK", "COST", "FILES", "COMMITS",
        "STARTED", "REASON",
    ];
    let mut table = Table::new(&headings).giving_way("REASON");
    for run in runs {
        let counted = |count: fn(&Changes) -> u64| run.changes.as_ref().map(count);
        let files = counted(|changes| changes.files).map(|count| count.to_string());
        let commits = counted(|changes| changes.commits).map(|count| count.to_string());
        table.row(vec![
            run.id.as_str().into(),
            run.task_id.as_str().into(),
            run.agent.as_str().into(),
            run.attempt.to_string().into(),
            status_cell(printer, &run.status),
            exit_text(run).into(),
            took(run, now).into(),
            optional(cost(run, 2).as_deref()),
            optional(files.as_deref()),
            optional(commits.as_deref()),
            changed(printer, run.started_at.as_deref().unwrap_or_default(), now),
            reason(run.failure.as_ref()),
        ]);
    }
    table
}

fn reason(failure: Option<&Failure>) -> Cell {
    failure.map_or_else(Cell::empty, |failure| {
        format!("{}: {}", failure.code, failure.message).into()
    })
}

/// What a run cost with so many digits, and a `~` before an estimate.
#[must_use]
pub fn cost(run: &Run, digits: usize) -> Option<String> {
    let mark = match run.cost_estimated {
        Some(true) => "~",
        _ => "",
    };
    let smallest = 10_f64.powi(-i32::try_from(digits).unwrap_or(0));
    run.cost_usd
        .map(|cost| match cost > 0.0 && cost < smallest {
            // What was paid is never shown as nothing.
            true => format!("{mark}<${smallest:.digits$}"),
            false => format!("{mark}${cost:.digits$}"),
        })
}

/// What the kernel said about the end of a run's process; empty if nobody heard it.
#[must_use]
pub fn exit_text(run: &Run) -> String {
    match (run.exit_code, run.signal) {
        (Some(code), _) => code.to_string(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => String::new(),
    }
}

/// Rows of a listing that a person can take in.
const ROWS_FOR_PEOPLE: u32 = 100;
/// Rows of a listing for programs, and most that are asked for at once.
const ROWS_AT_ONCE: u32 = 1_000;

/// A number of things, in words: `1 file`, `3 files`.
#[must_use]
pub fn count(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

/// How many rows are listed: what was asked for, 0 for all, else as many as the reader can take in.
#[must_use]
pub fn listing_limit(printer: &Printer, given: Option<u32>) -> u32 {
    let for_people = printer.is_terminal() && !printer.is_json() && !printer.is_quiet();
    given.unwrap_or(if for_people {
        ROWS_FOR_PEOPLE
    } else {
        ROWS_AT_ONCE
    })
}

/// Asks `page` for the first rows after a row, at most so many, until there are `limit` of them (0
/// for all) or there are no more.
///
/// # Errors
/// What `page` says.
pub fn paged<T>(
    limit: u32,
    mut page: impl FnMut(u32, Option<&T>) -> Result<Vec<T>>,
) -> Result<Vec<T>> {
    let limit = if limit == 0 {
        usize::MAX
    } else {
        limit as usize
    };
    let mut rows = Vec::new();
    while rows.len() < limit {
        let wanted = ROWS_AT_ONCE.min(u32::try_from(limit - rows.len()).unwrap_or(u32::MAX));
        let more = page(wanted, rows.last())?;
        let complete = more.len() == wanted as usize;
        rows.extend(more);
        if !complete {
            break;
        }
    }
    Ok(rows)
}

/// Warns when a listing may have been cut where nobody asked for it.
///
/// # Errors
/// Never, as [`Printer::talk`].
pub fn tell_if_cut(printer: &Printer, rows: usize, limit: u32, given: Option<u32>) -> Result<()> {
    if given.is_some() || rows < limit as usize {
        return Ok(());
    }
    let text = format!("only the newest {limit} are listed; '-n 0' lists all");
    if limit == ROWS_FOR_PEOPLE {
        printer.hint(text)
    } else {
        printer.warn(&text);
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::args::Global;
    use crate::printer::tests::{printer, terminal};
    use orch_api::types::{Usage, Wait};

    /// A listing of the numbers from `rows` down to 1, and the lengths of its pages.
    fn listed(rows: u32, limit: u32) -> (usize, Vec<u32>) {
        let mut asked = Vec::new();
        let page = |wanted, last: Option<&u32>| {
            asked.push(wanted);
            let from = last.map_or(rows, |last| last - 1);
            Ok((1..=from).rev().take(wanted as usize).collect())
        };
        let found = paged(limit, page).unwrap();
        assert!(found.iter().rev().is_sorted());
        (found.len(), asked)
    }

    #[test]
    fn a_listing_is_asked_for_page_by_page_until_there_is_enough() {
        assert_eq!(listed(5, 100), (5, vec![100]));
        assert_eq!(listed(500, 100), (100, vec![100]));
        assert_eq!(listed(5_000, 1_500), (1_500, vec![1_000, 500]));
        assert_eq!(listed(2_500, 0), (2_500, vec![1_000, 1_000, 1_000]));
        assert_eq!(listed(1_000, 0), (1_000, vec![1_000, 1_000]));
    }

    pub fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    pub fn task(id: &str, status: &str, title: &str) -> Task {
        Task {
            id: id.to_owned(),
            title: title.to_owned(),
            description: String::new(),
            status: status.to_owned(),
            priority: 3,
            agent: None,
            labels: Vec::new(),
            depends_on: Vec::new(),
            after_any: Vec::new(),
            scope: Vec::new(),
            attachments: Vec::new(),
            workspace: "worktree".to_owned(),
            review: "manual".to_owned(),
            attempts: 0,
            max_attempts: 3,
            timeout_ms: Some(7_200_000),
            stall_ms: None,
            require: None,
            result: None,
            failure: None,
            wait: None,
            feedback: None,
            last_run: None,
            branch: None,
            landed: None,
            created_at: "2026-01-02T01:04:05Z".to_owned(),
            updated_at: "2026-01-02T03:01:05Z".to_owned(),
        }
    }

    pub fn run(id: &str, task: &str, status: &str) -> Run {
        Run {
            id: id.to_owned(),
            task_id: task.to_owned(),
            agent: "coder".to_owned(),
            adapter: "claude".to_owned(),
            attempt: 1,
            status: status.to_owned(),
            exit_code: None,
            signal: None,
            failure: None,
            result: None,
            usage: Usage::default(),
            cost_usd: None,
            cost_estimated: None,
            session_id: None,
            resumed_session: None,
            branch: None,
            commit: None,
            changes: None,
            warnings: Vec::new(),
            events: 0,
            created_at: "2026-01-02T03:00:00Z".to_owned(),
            started_at: Some("2026-01-02T03:00:01Z".to_owned()),
            finished_at: None,
            noticed_at: None,
        }
    }

    pub fn wait(code: &str, actor: &str, message: &str) -> Wait {
        Wait {
            code: code.to_owned(),
            message: message.to_owned(),
            actor: actor.to_owned(),
            until: None,
        }
    }

    #[test]
    fn a_listing_of_tasks_on_a_terminal() {
        let (printer, ..) = printer(&Global::default(), &terminal(72));
        let mut waiting = task(
            "tsk_7m3k9q2x4d1v",
            "todo",
            "Deploy \u{1b}[2J it all, every day",
        );
        waiting.wait = Some(wait("dependency", "task", "waits"));
        let done = task("tsk_1m3k9q2x4d1v", "done", "Short");
        let table = tasks(&printer, &[waiting, done], now());
        insta::assert_snapshot!(table.aligned(Some(72), &|_, text: &str| text.to_owned()));
    }

    #[test]
    fn a_listing_of_runs_for_a_program() {
        let (printer, ..) = printer(&Global::default(), &crate::printer::Surroundings::default());
        let mut failed = run("run_1m3k9q2x4d1v", "tsk_7m3k9q2x4d1v", "failed");
        failed.exit_code = Some(3);
        failed.finished_at = Some("2026-01-02T03:01:31Z".to_owned());
        failed.failure = Some(Failure {
            code: "exit_nonzero".to_owned(),
            message: "the command ended with 3".to_owned(),
            evidence: "exit status 3".to_owned(),
        });
        let table = runs(&printer, &[failed], now());
        assert_eq!(
            table.separated(),
            "run_1m3k9q2x4d1v\ttsk_7m3k9q2x4d1v\tcoder\t1\tfailed\t3\t1m 30s\t\t\t\t\
             2026-01-02T03:00:01Z\texit_nonzero: the command ended with 3\n"
        );
    }

    #[test]
    fn ages_are_short() {
        assert_eq!(age("2026-01-02T03:01:05Z", now()), "3m ago");
        assert_eq!(age("2026-01-02T03:04:05Z", now()), "now");
        assert_eq!(age("2027-01-02T03:04:05Z", now()), "now");
        assert_eq!(age("nonsense", now()), "");
    }
}
