//! `orch doctor`: is everything here that orch needs?

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use orch_daemon::config::{self, AgentEntry};
use orch_daemon::doctor::{self, Check, Verdict};
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

/// What every check here is good for that `orch_daemon::doctor` does not make.
const WORKS: &str = "orch can work here";

/// One thing that was looked at, as a program sees it.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    /// `ok`, `warning` or `problem`.
    status: &'static str,
    detail: &'a str,
    promise: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
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
    match context.project() {
        Err(error) => checks.push(failed("project", error)),
        Ok(project) => {
            let root = project.root.display().to_string();
            checks.push(check("project", Verdict::Ok, root));
            let (daemon, pid) = daemon(context, &project);
            checks.push(daemon);
            let facts = doctor::gather(&project, pid, args.deep);
            checks.extend(doctor::judge(&facts));
            checks.extend(agents(&project));
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

fn tell(printer: &Printer, checks: &[Check]) -> Result<()> {
    if printer.is_json() {
        let shown = checks.iter().map(|check| Shown {
            name: &check.name,
            status: check.verdict.as_str(),
            detail: &check.detail,
            promise: check.promise,
            hint: check.mend.as_deref(),
        });
        let shown: Vec<_> = shown.collect();
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

/// Whether the database opens and somebody answers: a daemon, or this process for itself. Which
/// process the daemon is, if one serves.
fn daemon(context: &Context, project: &Project) -> (Check, Option<u32>) {
    let name = "daemon and database";
    let status = context
        .client_of(project)
        .and_then(|client| Ok(client.status()?));
    let status = match status {
        Ok(status) => status,
        Err(error) => return (failed(name, error), None),
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

fn agents(project: &Project) -> Vec<Check> {
    let agents = match config::agents(project, &orch_daemon::adapters()) {
        Ok(agents) => agents,
        Err(error) => return vec![failed("orch.toml", error.into())],
    };
    if agents.is_empty() {
        let check = check("agents", Verdict::Warning, "there are none");
        return vec![check.mend("orch agent add coder --adapter claude")];
    }
    agents.iter().map(|it| agent(it, &project.root)).collect()
}

fn agent(agent: &AgentEntry, root: &Path) -> Check {
    let name = format!("agent {}", agent.name);
    if !agent.enabled {
        return check(&name, Verdict::Ok, "disabled");
    }
    let command = agent.command.as_deref().unwrap_or(&agent.adapter);
    command_of(agent.name.as_str(), &agent.adapter, command, root)
}

/// Whether the program of an agent's command is there, where that can be told.
fn command_of(agent: &str, adapter: &str, command: &str, root: &Path) -> Check {
    let name = format!("agent {agent}");
    let program = match adapter {
        "shell" => orch_daemon::plain_program(command),
        _ => Some(command),
    };
    let Some(program) = program else {
        return check(&name, Verdict::Ok, format!("a shell runs: {command}"));
    };
    match found(program, root) {
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

/// Where a program is, as the system would find it from the top of a checkout.
fn found(program: &str, root: &Path) -> Option<PathBuf> {
    let executable = |path: &Path| {
        let found = path.metadata();
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        let path = root.join(program);
        return executable(&path).then_some(path);
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .map(|directory| directory.join(program))
        .find(|path| executable(path))
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
    fn programs_are_found_as_the_system_finds_them() {
        let root = Path::new("/bin");
        assert!(found("sh", root).is_some());
        assert!(found("/bin/sh", root).is_some());
        assert!(found("./sh", root).is_some());
        assert!(found("/etc/passwd", root).is_none());
        assert!(found("no-such-program-anywhere", root).is_none());
    }

    #[test]
    fn only_a_plain_command_can_lack_its_program() {
        let status = |adapter: &str, command: &str| {
            command_of("a", adapter, command, Path::new("/")).verdict
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
