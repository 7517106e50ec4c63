//! `orch doctor`: is everything here that orch needs?

use std::path::Path;
use std::process::Command;

use orch_api::client::{Client, ClientError, RunQuery};
use orch_daemon::brief;
use orch_daemon::config::{self, AgentEntry};
use orch_daemon::consent;
use orch_daemon::doctor::{self, Check, Verdict};
use orch_daemon::kinds::{self, Adapter};
use orch_daemon::program;
use orch_daemon::project::Project;
use serde::Serialize;

use crate::args::Doctor;
use crate::context::Context;
use crate::error::{Result, UserError};
use crate::exit::Ending;
use crate::printer::{Label, Printer};
use crate::untrusted::Untrusted;
use crate::view;

/// The oldest git whose merge-tree orch can use.
const GIT_LEAST: (u32, u32) = (2, 38);

/// The check of who answers.
const DAEMON: &str = "daemon and database";
/// Most runs whose directories are looked for.
const RUNS_MOST: u32 = 10_000;

/// What every check here is good for that `orch_daemon::doctor` does not make.
const WORKS: &str = "orch can work here";
/// What agreeing to configuration is good for.
const CONSENT: &str = "what is in the repository runs nothing that nobody agreed to";

/// One thing that was looked at, as a program sees it.
#[derive(Serialize)]
pub struct Shown<'a> {
    name: &'a str,
    /// `ok`, `warning` or `problem`.
    status: &'static str,
    detail: &'a str,
    promise: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl<'a> Shown<'a> {
    /// A check as a program sees it.
    pub fn of(check: &'a Check) -> Self {
        Self {
            name: &check.name,
            status: check.verdict.as_str(),
            detail: &check.detail,
            promise: check.promise,
            hint: check.mend.as_deref(),
        }
    }
}

fn check(name: &str, verdict: Verdict, detail: impl Into<String>) -> Check {
    Check::new(name, WORKS, verdict, detail)
}

fn failed(name: &str, error: UserError) -> Check {
    let mut parts = vec![error.message];
    parts.extend(error.details.causes);
    let check = check(name, Verdict::Problem, parts.join(": "));
    match error.details.hint {
        Some(hint) => check.mend(hint),
        None => check.mend("mend what is named, and ask again: orch doctor"),
    }
}

/// Looks at everything.
pub fn run(context: &Context, args: &Doctor) -> Result<Ending> {
    let mut checks = vec![git()];
    checks.extend(programs());
    match context.project() {
        Err(error) => checks.push(failed("project", error)),
        Ok(project) => {
            let root = project.root.display().to_string();
            checks.push(check("project", Verdict::Ok, root));
            let answer = daemon(context, &project);
            checks.push(answer.check);
            let mut facts = doctor::gather(&project, answer.pid, args.deep);
            facts.gone = answer.gone;
            checks.extend(doctor::judge(&facts));
            checks.extend(agents(&project, answer.pid.is_some()));
            checks.extend(files(&project));
            checks.extend(agreed(&project));
        }
    }
    tell(&context.printer, &checks)?;
    let problem = checks.iter().any(|it| it.verdict == Verdict::Problem);
    Ok(if problem {
        Ending::WorkFailed
    } else {
        Ending::Done
    })
}

/// Says what was found.
///
/// # Errors
/// The output cannot be written.
pub fn tell(printer: &Printer, checks: &[Check]) -> Result<()> {
    if printer.is_json() {
        let shown: Vec<_> = checks.iter().map(Shown::of).collect();
        return printer.json(&serde_json::json!({ "checks": shown }));
    }
    for check in checks {
        let (status, label) = match check.verdict {
            Verdict::Ok => ("done", Label::Good),
            Verdict::Warning => ("review", Label::Attention),
            Verdict::Problem => ("failed", Label::Bad),
        };
        let sign = printer.painted(label, view::sign(printer, status));
        // What is wrong with orch.toml may be several things, each a line.
        let detail = Untrusted::block(&check.detail).to_string();
        let detail = detail.replace('\n', "\n    ");
        printer.line(format!("{sign} {}: {detail}", Untrusted::line(&check.name)))?;
        if check.verdict != Verdict::Ok {
            printer.line(format!("    at stake: {}", check.promise))?;
        }
        if let Some(mend) = &check.mend {
            printer.line(format!("    mend: {}", Untrusted::line(mend)))?;
        }
    }
    Ok(())
}

fn git() -> Check {
    let install = format!("install git {}.{} or newer", GIT_LEAST.0, GIT_LEAST.1);
    // tidy: it asks what the user's own shell would find, not what the wrapper uses.
    let output = match Command::new("git").arg("--version").output() {
        Ok(output) => output,
        Err(error) => {
            let detail = format!("cannot be started: {error}");
            return check("git", Verdict::Problem, detail).mend(install);
        }
    };
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match version(&said) {
        Some(found) if found >= GIT_LEAST => check("git", Verdict::Ok, said),
        Some(_) => check("git", Verdict::Problem, format!("{said} is too old")).mend(install),
        None => check("git", Verdict::Warning, format!("says '{said}'")).mend(install),
    }
}

/// What a program says about its version, beside the newest one that orch was run with.
pub fn version_of(
    name: &str,
    promise: &'static str,
    said: &std::result::Result<String, String>,
    tested: Option<&str>,
) -> Check {
    let check = |verdict, detail: String| Check::new(name, promise, verdict, detail);
    let run_with = tested.map_or_else(
        || "orch was not run with any version".to_owned(),
        |tested| format!("the newest orch was run with is {tested}"),
    );
    let said = match said {
        Ok(said) => said,
        Err(why) => {
            return check(
                Verdict::Warning,
                format!("cannot be told: {why}; {run_with}"),
            )
            .mend("start it by hand and see what it says");
        }
    };
    let detail = format!("{said}; {run_with}");
    let major = |text: &str| program::numbers(text).map(|numbers| numbers[0]);
    let (have, known) = (program::numbers(said), tested.and_then(program::numbers));
    match (have, known) {
        (Some(have), Some(known)) if major(said) != tested.and_then(major) => {
            let mend = match have > known {
                true => "see what changed in it; 'orch agent test NAME' tries it out",
                false => "install a newer version of it",
            };
            check(Verdict::Warning, detail).mend(mend)
        }
        (Some(have), Some(known)) if have < known => {
            check(Verdict::Warning, detail).mend("install a newer version of it")
        }
        _ => check(Verdict::Ok, detail),
    }
}

/// The first two numbers of the first word that has them.
fn version(said: &str) -> Option<(u32, u32)> {
    said.split_whitespace().find_map(|word| {
        let mut numbers = word.split('.').map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
            _ => None,
        }
    })
}

/// What whoever answers says.
struct Answer {
    check: Check,
    /// Which process the daemon is, if one serves.
    pid: Option<u32>,
    /// Runs that are known and whose directories are gone.
    gone: Vec<String>,
}

/// Whether the database opens and somebody answers: a daemon, or this process for itself.
fn daemon(context: &Context, project: &Project) -> Answer {
    let client = match context.client_of(project) {
        Ok(client) => client,
        Err(error) => {
            return Answer {
                check: failed(DAEMON, error),
                pid: None,
                gone: Vec::new(),
            };
        }
    };
    let (check, pid) = service(&client);
    // What cannot be listed is told by the check before.
    let gone = gone(&client, project).unwrap_or_default();
    Answer { check, pid, gone }
}

/// The newest runs that are known and whose directories are not there, though they were started.
fn gone(client: &Client, project: &Project) -> Result<Vec<String>> {
    let runs = client.runs(&RunQuery {
        limit: Some(RUNS_MOST),
        ..RunQuery::default()
    })?;
    let started = runs.into_iter().filter(|run| run.started_at.is_some());
    let is_gone = |id: &str| matches!(project.runs().join(id).try_exists(), Ok(false));
    Ok(started.map(|run| run.id).filter(|id| is_gone(id)).collect())
}

fn service(client: &Client) -> (Check, Option<u32>) {
    let name = DAEMON;
    let status = match client.status() {
        Ok(status) => status,
        Err(error) => {
            let pid = match &error {
                ClientError::Stopped { pid, .. } => u32::try_from(*pid).ok(),
                _ => None,
            };
            let silent = matches!(error, ClientError::Unreachable { .. });
            let failed = failed(name, error.into());
            return match silent {
                // Not to ask here again, as everywhere else.
                true => (failed.mend("look at what its 'orch serve' says"), pid),
                false => (failed, pid),
            };
        }
    };
    if let Some(error) = status.config_error {
        let detail = format!("orch.toml is not in force: {error}");
        let check = check(name, Verdict::Problem, detail).mend("orch config edit");
        return (check, status.pid);
    }
    let detail = match (status.service.as_str(), status.pid) {
        ("stopped", _) => "no daemon serves; the database opens".to_owned(),
        (service, Some(pid)) => format!("{service} by pid {pid}"),
        (service, None) => service.to_owned(),
    };
    (check(name, Verdict::Ok, detail), status.pid)
}

fn agents(project: &Project, is_served: bool) -> Vec<Check> {
    let agents = match config::agents(project, &orch_daemon::adapters()) {
        Ok(agents) => agents,
        Err(error) => return vec![failed("orch.toml", error.into())],
    };
    if agents.is_empty() {
        let check = check("agents", Verdict::Warning, "there are none");
        return vec![check.mend("orch agent add coder --adapter claude")];
    }
    let judged = |it: &AgentEntry| match agent(it, &project.root) {
        found if found.verdict == Verdict::Ok && it.enabled => variables(it, is_served, found),
        found => found,
    };
    agents.iter().map(judged).collect()
}

/// What was `found` of an agent, unless variables are not set here that it is to be given. A daemon
/// may have been started elsewhere, where they are.
fn variables(agent: &AgentEntry, is_served: bool, found: Check) -> Check {
    let unset = orch_daemon::unset_variables(&agent.env, |name| std::env::var_os(name).is_some());
    let Some((first, reference)) = unset.first() else {
        return found;
    };
    let all: Vec<String> = unset
        .iter()
        .map(|(name, reference)| format!("{name} = \"${reference}\""))
        .collect();
    let (verdict, rest) = match is_served {
        true => (
            Verdict::Warning,
            "; whether it is where 'orch serve' was started cannot be told from here",
        ),
        false => (Verdict::Problem, ""),
    };
    let env = all.join(", ");
    let detail = format!("`env` refers to what is not set here: {env}{rest}");
    Check::new(found.name, WORKS, verdict, detail).mend(format!(
        "export {reference} where you start orch, or: orch agent edit {} --env {first}=VALUE",
        agent.name
    ))
}

/// Whether what the configuration names can be used. Nothing is said of a project that names
/// nothing.
fn files(project: &Project) -> Vec<Check> {
    let Ok(config) = config::load(project, &orch_daemon::adapters()) else {
        return Vec::new();
    };
    let mut checks = Vec::new();
    if config.prompt != config::PromptFiles::default() {
        let read = brief::templates(project, &config);
        checks.push(file(
            "prompt templates",
            read.map(|_| "they can be used".to_owned()),
        ));
    }
    for agent in config.agents.iter().filter(|agent| agent.mcp.is_some()) {
        let name = format!("MCP servers of {}", agent.name);
        let read = brief::mcp_servers(project, agent);
        checks.push(file(
            &name,
            read.map(|servers| format!("{} are named", servers.len())),
        ));
    }
    checks
}

/// Whether agents' programs would read what nobody has agreed to. Nothing is said where there is
/// nothing to read.
fn agreed(project: &Project) -> Option<Check> {
    let agents = config::agents(project, &orch_daemon::adapters()).ok()?;
    let name = "agreed configuration";
    let contents = match consent::survey(project, &agents) {
        Ok(contents) if contents.is_empty() => return None,
        Ok(contents) => contents,
        Err(error) => {
            let check = Check::new(name, CONSENT, Verdict::Warning, error.to_string());
            return Some(check.mend("see that it can be read, and 'orch agent trust --list'"));
        }
    };
    let unknown: Vec<String> = contents
        .iter()
        .filter(|it| !it.is_trusted)
        .map(|it| it.found.path.clone())
        .collect();
    Some(match unknown.is_empty() {
        true => {
            let detail = {
                let files = u64::try_from(contents.len()).unwrap_or(u64::MAX);
                format!("{}, all agreed to", view::count(files, "file"))
            };
            Check::new(name, CONSENT, Verdict::Ok, detail)
        }
        false => {
            let detail = format!("nobody has agreed to {}", unknown.join(", "));
            Check::new(name, CONSENT, Verdict::Warning, detail)
                .mend("look at it, then: orch agent trust")
        }
    })
}

/// The programs of all kinds of agents that are installed here, each with its version. They are
/// asked at the same time: some take seconds to start.
fn programs() -> Vec<Check> {
    let kinds = kinds::all().iter();
    let named: Vec<(&Adapter, &str)> = kinds
        .filter_map(|adapter| Some((adapter, adapter.program?)))
        .collect();
    let checks: Vec<Option<Check>> = std::thread::scope(|scope| {
        let asked: Vec<_> = named
            .iter()
            .map(|(adapter, named)| scope.spawn(|| installed(adapter, named)))
            .collect();
        let answers = asked.into_iter().map(|it| it.join().ok().flatten());
        answers.collect()
    });
    let missing = named
        .iter()
        .zip(&checks)
        .filter(|(_, check)| check.is_none());
    let missing: Vec<&str> = missing.map(|((_, named), _)| *named).collect();
    let mut checks: Vec<Check> = checks.into_iter().flatten().collect();
    if !missing.is_empty() {
        let detail = format!("not installed: {}", missing.join(", "));
        checks.push(check("other agent programs", Verdict::Ok, detail));
    }
    checks
}

fn installed(adapter: &Adapter, named: &str) -> Option<Check> {
    let path = program::find(named, Path::new("/"))?;
    let can = &adapter.capabilities;
    let name = format!("program {named}");
    if can.version.is_empty() {
        return Some(check(&name, Verdict::Ok, path.display().to_string()));
    }
    let said = program::version(&path, can.version, program::VERSION_TIME);
    Some(version_of(&name, WORKS, &said, can.tested))
}

fn file(name: &str, read: std::result::Result<String, brief::BriefError>) -> Check {
    match read {
        Ok(detail) => check(name, Verdict::Ok, detail),
        Err(error) => check(name, Verdict::Problem, error.to_string())
            .mend("mend the file, or take its name out of orch.toml"),
    }
}

fn agent(agent: &AgentEntry, root: &Path) -> Check {
    let name = format!("agent {}", agent.name);
    if !agent.enabled {
        return check(&name, Verdict::Ok, "disabled");
    }
    let of_own = agent.own.as_ref().and_then(|own| own.command.first());
    let usual = of_own.map_or_else(
        || kinds::find(&agent.adapter).and_then(|kind| kind.program),
        |program| Some(program.as_str()),
    );
    let command = agent.command.as_deref().or(usual).unwrap_or(&agent.adapter);
    // Without a usual program the command is a whole line, of which a shell may read more.
    let named = match usual {
        Some(_) => Some(command),
        None => orch_daemon::plain_program(command),
    };
    command_of(agent.name.as_str(), &agent.adapter, command, named, root)
}

/// Whether the program of an agent's command is there, where that can be told.
fn command_of(
    agent: &str,
    adapter: &str,
    command: &str,
    named: Option<&str>,
    root: &Path,
) -> Check {
    let name = format!("agent {agent}");
    let Some(program) = named else {
        return check(&name, Verdict::Ok, format!("a shell runs: {command}"));
    };
    match program::find(program, root) {
        Some(path) => check(&name, Verdict::Ok, path.display().to_string()),
        None if adapter == "shell" => check(
            &name,
            Verdict::Warning,
            format!("no program '{program}' in PATH"),
        )
        .mend(format!(
            "install it, or: orch agent edit {agent} --command COMMAND"
        )),
        None => check(
            &name,
            Verdict::Problem,
            format!("no program '{program}' in PATH"),
        )
        .mend(format!(
            "install it, or: orch agent edit {agent} --command PATH"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_git_says() {
        assert_eq!(version("git version 2.39.5"), Some((2, 39)));
        assert_eq!(version("git version 2.39.5 (Apple Git-154)"), Some((2, 39)));
        assert_eq!(version("git version 3.1-rc0.windows"), None);
        assert_eq!(version("nonsense"), None);
    }

    #[test]
    fn a_version_is_judged_by_the_newest_that_was_run() {
        let judged = |said: &str, tested| version_of("x", WORKS, &Ok(said.to_owned()), tested);
        let verdict = |said: &str| judged(said, Some("2.1.197")).verdict;
        assert_eq!(verdict("2.1.197 (Claude Code)"), Verdict::Ok);
        assert_eq!(verdict("2.4.0"), Verdict::Ok, "newer of the same major");
        assert_eq!(verdict("2.1.3"), Verdict::Warning);
        assert_eq!(verdict("3.0.0"), Verdict::Warning);
        assert_eq!(verdict("1.9.0"), Verdict::Warning);
        assert!(
            judged("1.9.0", Some("2.1"))
                .mend
                .unwrap()
                .contains("install")
        );
        assert!(judged("3.0.0", Some("2.1")).mend.unwrap().contains("test"));
        assert_eq!(judged("1.0", None).verdict, Verdict::Ok);
        let silent = version_of("x", WORKS, &Err("said nothing".to_owned()), Some("1.0"));
        assert_eq!(silent.verdict, Verdict::Warning);
    }

    #[test]
    fn only_a_plain_command_can_lack_its_program() {
        let status = |adapter: &str, command: &str| {
            let named = match adapter {
                "shell" => orch_daemon::plain_program(command),
                _ => Some(command),
            };
            command_of("a", adapter, command, named, Path::new("/")).verdict
        };
        for command in [
            "cd src && make",
            "if true; then x; fi",
            ": ready",
            "A=1 x",
            "x | y",
        ] {
            assert_eq!(status("shell", command), Verdict::Ok, "{command}");
        }
        assert_eq!(
            status("shell", "no-such-program-anywhere --fast"),
            Verdict::Warning
        );
        assert_eq!(
            status("claude", "no-such-program-anywhere"),
            Verdict::Problem
        );
    }
}
