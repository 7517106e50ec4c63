//! `orch agent test`: a tiny real task in a throw-away repository, through the same code as any
//! task, and what it showed about the agent.

mod judge;
mod stage;

use std::path::{Path, PathBuf};

use orch_daemon::config::{self, AgentEntry};
use orch_daemon::doctor::{Check, Verdict};
use orch_daemon::kinds::Adapter;
use orch_daemon::program;
use orch_daemon::project::Project;
use serde_json::json;

use super::{known, show};
use crate::args::AgentTest;
use crate::commands::doctor::{self, Shown};
use crate::context::Context;
use crate::error::{Kind, Result, UserError};
use crate::exit::Ending;
use crate::printer::Printer;
use judge::Seen;
use stage::Stage;

/// What every check here is good for.
const WORKS: &str = "the agent can be given work";

/// Tries an agent out.
pub fn run(context: &Context, args: &AgentTest) -> Result<Ending> {
    let project = context.project()?;
    let agents = config::agents(&project, &known())?;
    let agent = show::find(&args.name, &agents)?;
    let adapter = agent.kind().ok_or_else(|| {
        let message = format!("this version has no adapter '{}'", agent.adapter);
        UserError::new(Kind::NotFound, "not_found", message)
    })?;
    let printer = &context.printer;
    let mut checks = program_checks(agent, adapter, &project)?;
    printer.talk(format!(
        "Agent {} does a tiny task in a throw-away repository. It costs a few tokens.",
        agent.name
    ))?;
    let stage = Stage::build(&project, agent)?;
    let seen = stage.play(printer, args.timeout)?;
    checks.extend(judge::judge(adapter, agent, &seen));
    tell(printer, agent, &checks, &seen)?;
    ending(&checks, &seen)
}

fn check(name: &str, verdict: Verdict, detail: impl Into<String>) -> Check {
    Check::new(name, WORKS, verdict, detail)
}

/// Where its program is, and which version it says it is.
///
/// # Errors
/// There is no such program.
fn program_checks(agent: &AgentEntry, adapter: &Adapter, project: &Project) -> Result<Vec<Check>> {
    let of_own = agent.own.as_ref().and_then(|own| own.command.first());
    let usual = of_own.map(String::as_str).or(adapter.program);
    let command = agent.command.as_deref().or(usual).unwrap_or_default();
    let plain = match usual {
        Some(_) => Some(command),
        None => orch_daemon::plain_program(command),
    };
    let Some(plain) = plain else {
        let detail = format!("a shell runs: {command}");
        return Ok(vec![check("program", Verdict::Ok, detail)]);
    };
    let path = program::find(plain, &project.root).ok_or_else(|| {
        if plain.contains('/') && project.root.join(plain).is_file() {
            let message = format!("'{plain}' is not executable");
            let hint = format!("chmod +x {plain}, and commit it");
            return UserError::new(Kind::Unreachable, "agent_unreachable", message).hint(hint);
        }
        let message = match plain.contains('/') {
            true => format!("there is no program '{plain}'"),
            false => format!("there is no program '{plain}' in PATH"),
        };
        let hint = format!(
            "install it, or: orch agent edit {} --command PATH",
            agent.name
        );
        UserError::new(Kind::Unreachable, "agent_unreachable", message).hint(hint)
    })?;
    let shown = path.display().to_string();
    let mut checks = vec![check("program", Verdict::Ok, shown)];
    checks.extend(version_check(&path, agent, adapter));
    Ok(checks)
}

fn version_check(path: &Path, agent: &AgentEntry, adapter: &Adapter) -> Option<Check> {
    let own = agent.own.as_ref().map(|own| own.version.iter());
    let arguments: Vec<&str> = match own {
        Some(own) => own.map(String::as_str).collect(),
        None => adapter.capabilities.version.to_vec(),
    };
    if arguments.is_empty() {
        return None;
    }
    let said = program::version(path, &arguments, program::VERSION_TIME);
    let tested = adapter.capabilities.tested;
    Some(doctor::version_of("version", WORKS, &said, tested))
}

fn tell(printer: &Printer, agent: &AgentEntry, checks: &[Check], seen: &Seen) -> Result<()> {
    if !printer.is_json() {
        return doctor::tell(printer, checks);
    }
    let shown: Vec<Shown<'_>> = checks.iter().map(Shown::of).collect();
    printer.json(&json!({
        "name": agent.name.as_str(),
        "adapter": agent.adapter,
        "ok": !has_problem(checks),
        "checks": shown,
        "run": seen.run,
    }))
}

fn has_problem(checks: &[Check]) -> bool {
    checks.iter().any(|it| it.verdict == Verdict::Problem)
}

/// A limit is not the agent's fault: it has an exit code of its own.
fn ending(checks: &[Check], seen: &Seen) -> Result<Ending> {
    if let Some(failure) = seen
        .run
        .failure
        .as_ref()
        .filter(|_| seen.run.status == "limited")
    {
        let until = seen.until.as_deref();
        let until = until.map_or_else(String::new, |until| format!("; it is lifted at {until}"));
        let message = format!("a limit stopped the test: {}{until}", failure.message);
        return Err(UserError::new(Kind::Limit, "limited", message));
    }
    Ok(match has_problem(checks) {
        true => Ending::WorkFailed,
        false => Ending::Done,
    })
}

/// A path that holds from everywhere, for one that counts from the top of `root`.
fn absolute(root: &Path, path: &str) -> PathBuf {
    root.join(path)
}
