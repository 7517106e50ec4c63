//! From what the tiny task showed to what a person should know. Pure.

use orch_api::types::Run;
use orch_daemon::config::AgentEntry;
use orch_daemon::doctor::{Check, Verdict};
use orch_daemon::kinds::{Adapter, Counting};

use super::check;
use crate::untrusted::Untrusted;

/// The file the agent is asked for.
pub const ASKED_FILE: &str = "orch-test.txt";
/// The message it is asked to commit it with.
pub const ASKED_MESSAGE: &str = "orch agent test";
/// Most files that are named of those that it was not asked for.
const NAMED: usize = 3;

/// What came of the task.
pub struct Seen {
    /// Its run as orch recorded it.
    pub run: Run,
    /// The file is there with what it should say.
    pub wrote: bool,
    /// What else it changed, by name.
    pub others: Vec<String>,
    /// The agent committed it itself.
    pub committed: bool,
    /// When the task could go on, RFC 3339, if it waits for something until then.
    pub until: Option<String>,
}

/// Judges everything, in the order in which a person would mend it.
pub fn judge(adapter: &Adapter, agent: &AgentEntry, seen: &Seen) -> Vec<Check> {
    let mut checks = vec![login(agent, seen), result(seen)];
    // Nothing more can be expected of one that did not come to its work.
    if seen.run.status == "completed" {
        checks.push(usage(adapter, seen));
        checks.extend(session(adapter, seen));
        checks.push(work(agent, seen));
    }
    let warnings = seen.run.warnings.iter();
    checks.extend(warnings.map(|it| check("warning", Verdict::Warning, it.as_str()).mend(LOOK)));
    checks.extend(duration(seen));
    checks
}

const LOOK: &str = "it is only told; if tools were refused, see `permission` and `args`";

fn login(agent: &AgentEntry, seen: &Seen) -> Check {
    let code = seen.run.failure.as_ref().map(|it| it.code.as_str());
    match code {
        Some("auth_failed") => {
            let detail = "its provider does not accept its key or login";
            check("login", Verdict::Problem, detail).mend(format!(
                "log in with its own program, or: orch agent edit {} --env NAME_OF_THE_KEY",
                agent.name
            ))
        }
        None if agent.adapter == "shell" => check("login", Verdict::Ok, "it needs none"),
        None if agent.own.is_some() => {
            let detail = "its definition does not tell whether it has one";
            check("login", Verdict::Ok, detail)
        }
        None => check("login", Verdict::Ok, "its provider answered"),
        Some(_) => {
            let detail = "cannot be told: it did not come so far";
            check("login", Verdict::Warning, detail).mend("mend what is told below, and try again")
        }
    }
}

fn result(seen: &Seen) -> Check {
    match &seen.run.failure {
        None => check(
            "result",
            Verdict::Ok,
            format!("the run {}", seen.run.status),
        ),
        Some(failure) => {
            let detail = format!(
                "{} ({}): {}",
                seen.run.status, failure.code, failure.message
            );
            check("result", Verdict::Problem, detail).mend(mend(&failure.code))
        }
    }
}

/// What mends a failure, by its code.
fn mend(code: &str) -> &'static str {
    match code {
        "auth_failed" => "see login",
        "model_not_found" => "orch agent edit NAME --model MODEL, with a model of your account",
        "command_not_found" | "not_executable" => {
            "orch agent edit NAME --command PATH, or --env VARIABLE=VALUE if that is what it names"
        }
        "timeout" => {
            "orch agent test NAME --timeout 15m, and see whether its provider can be reached"
        }
        "connection_failed" => "see whether its provider can be reached from here",
        "rate_limit" | "usage_limit" => "wait until the limit is lifted",
        "overloaded" | "provider_error" => "try again later",
        "no_result" => "start its program by hand and see what it says",
        "turn_limit" => "orch agent edit NAME --max-turns N",
        _ => "see what it says; 'orch agent show NAME' lists its settings",
    }
}

fn usage(adapter: &Adapter, seen: &Seen) -> Check {
    let usage = &seen.run.usage;
    let shown = |count: Option<u64>| count.map_or_else(|| "?".to_owned(), |it| it.to_string());
    let said = usage.input_tokens.is_some() || usage.output_tokens.is_some();
    match (said, adapter.capabilities.usage) {
        (true, _) => {
            let (read, written) = (shown(usage.input_tokens), shown(usage.output_tokens));
            let detail = format!("{read} tokens read, {written} written");
            check("usage", Verdict::Ok, detail)
        }
        (false, Counting::Nothing) => check(
            "usage",
            Verdict::Ok,
            "this kind of agent does not say what it uses",
        ),
        (false, _) => check("usage", Verdict::Warning, "it did not say what it used")
            .mend("use a version that orch was run with"),
    }
}

fn session(adapter: &Adapter, seen: &Seen) -> Option<Check> {
    match (&seen.run.session_id, adapter.capabilities.resume) {
        (_, false) => None,
        (Some(id), true) => Some(check("session", Verdict::Ok, id.as_str())),
        (None, true) => Some(
            check(
                "session",
                Verdict::Warning,
                "it named none, so nothing can be resumed",
            )
            .mend("use a version that orch was run with"),
        ),
    }
}

/// Whether it could write and commit, as far as its permission lets it.
fn work(agent: &AgentEntry, seen: &Seen) -> Check {
    let permission = agent.permission.as_deref();
    let level = permission.map_or_else(
        || "with the usual permission".to_owned(),
        |level| format!("with permission \"{level}\""),
    );
    let name = &agent.name;
    match (seen.wrote, seen.committed) {
        (true, true) => check(
            "work",
            Verdict::Ok,
            format!("it wrote and committed {level}"),
        ),
        (true, false) => check(
            "work",
            Verdict::Warning,
            format!("it wrote and left the commit to orch {level}"),
        )
        .mend("nothing needs to be done: orch commits what is left"),
        (false, _) if agent.adapter == "shell" => check(
            "work",
            Verdict::Ok,
            "a command of its own does not follow the test's words",
        ),
        (false, _) if permission == Some("ask") => check(
            "work",
            Verdict::Warning,
            "it wrote nothing, as permission \"ask\" usually means",
        )
        .mend(format!("orch agent edit {name} --permission edits")),
        (false, _) if !seen.others.is_empty() => {
            let others = named(&seen.others);
            let detail =
                format!("it did not do what it was asked for; it changed {others} {level}");
            let mend =
                format!("see that its program reads what it is asked: 'orch agent show {name}'");
            check("work", Verdict::Problem, detail).mend(mend)
        }
        (false, _) => {
            let detail = format!("it says success and wrote nothing {level}");
            check("work", Verdict::Problem, detail).mend(more_permission(agent))
        }
    }
}

/// The first few names, and how many more there are.
fn named(names: &[String]) -> String {
    let shown = names
        .iter()
        .take(NAMED)
        .map(|name| Untrusted::line(name).to_string());
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What may let an agent write that wrote nothing: the next level of permission, if its kind has
/// one. Without a level of its own it may edit.
fn more_permission(agent: &AgentEntry) -> String {
    let known = agent.kind().map(|kind| kind.capabilities.permissions);
    let mut known = known.unwrap_or_default().iter().map(|it| it.as_str());
    match agent.permission.as_deref() {
        None | Some("edits") if known.any(|it| it == "full") => {
            format!(
                "orch agent edit {} --permission full, if it must be",
                agent.name
            )
        }
        _ => "see what it says when its program is started by hand".to_owned(),
    }
}

fn duration(seen: &Seen) -> Option<Check> {
    let moment = |text: &Option<String>| text.as_deref()?.parse::<jiff::Timestamp>().ok();
    let (from, to) = (
        moment(&seen.run.started_at)?,
        moment(&seen.run.finished_at)?,
    );
    let seconds = to.duration_since(from).as_secs_f64();
    let cost = match seen.run.cost_usd {
        Some(cost) => format!(", ${cost:.4}"),
        None => ", cost not told".to_owned(),
    };
    Some(check(
        "duration",
        Verdict::Ok,
        format!("{seconds:.1} s{cost}"),
    ))
}
