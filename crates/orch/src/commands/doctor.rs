//! `orch doctor`: is everything here that orch needs?

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use orch_daemon::config::{self, AgentEntry};
use orch_daemon::project::Project;
use orch_daemon::space;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Result, UserError};
use crate::exit::Ending;
use crate::printer::{Label, Printer};
use crate::untrusted::Untrusted;
use crate::view;

/// The oldest git whose merge-tree orch can use.
const GIT_LEAST: (u32, u32) = (2, 38);

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: String,
    /// `ok`, `warning` or `failed`.
    status: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Check {
    fn new(name: &str, status: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            status,
            detail: detail.into(),
            hint: None,
        }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        let hint = Some(hint.into());
        Self { hint, ..self }
    }

    fn failed(name: &str, error: UserError) -> Self {
        let mut parts = vec![error.message];
        parts.extend(error.details.causes);
        let hint = error.details.hint;
        Self {
            hint,
            ..Self::new(name, "failed", parts.join(": "))
        }
    }
}

/// Looks at everything.
pub fn run(context: &Context) -> Result<Ending> {
    let mut checks = vec![git()];
    match context.project() {
        Err(error) => checks.push(Check::failed("project", error)),
        Ok(project) => {
            let root = project.root.display().to_string();
            checks.push(Check::new("project", "ok", root));
            checks.push(state_directory(&project.state));
            checks.extend(disk(&project));
            checks.push(daemon(&project));
            checks.extend(agents(&project));
        }
    }
    tell(&context.printer, &checks)?;
    let failed = checks.iter().any(|check| check.status == "failed");
    Ok(if failed {
        Ending::WorkFailed
    } else {
        Ending::Done
    })
}

fn tell(printer: &Printer, checks: &[Check]) -> Result<()> {
    if printer.is_json() {
        return printer.json(&serde_json::json!({ "checks": checks }));
    }
    for check in checks {
        let (status, label) = match check.status {
            "ok" => ("done", Label::Good),
            "warning" => ("review", Label::Attention),
            _ => ("failed", Label::Bad),
        };
        let sign = printer.painted(label, view::sign(printer, status));
        // What is wrong with orch.toml may be several things, each a line.
        let detail = Untrusted::block(&check.detail).to_string();
        let detail = detail.replace('\n', "\n    ");
        printer.line(format!("{sign} {}: {detail}", Untrusted::line(&check.name)))?;
        if let Some(hint) = &check.hint {
            printer.line(format!("    {}", Untrusted::line(hint)))?;
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
            return Check::new("git", "failed", detail).hint(install);
        }
    };
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match version(&said) {
        Some(found) if found >= GIT_LEAST => Check::new("git", "ok", said),
        Some(_) => Check::new("git", "failed", format!("{said} is too old")).hint(install),
        None => Check::new("git", "warning", format!("says '{said}'")),
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

fn state_directory(path: &Path) -> Check {
    let name = "state directory";
    let shown = path.display().to_string();
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) => {
            let detail = format!("{shown}: {error}");
            return Check::new(name, "failed", detail).hint("'orch init' makes it");
        }
    };
    let mode = found.permissions().mode() & 0o777;
    let mine = found.uid() == rustix::process::geteuid().as_raw();
    if !found.is_dir() || !mine {
        let detail = format!("{shown} is not a directory of your own");
        return Check::new(name, "failed", detail);
    }
    if mode & 0o077 != 0 {
        let detail = format!("{shown} is open to others (mode {mode:o})");
        return Check::new(name, "failed", detail).hint(format!("chmod 700 {shown}"));
    }
    Check::new(name, "ok", shown)
}

/// Whether there is room to start agents.
fn disk(project: &Project) -> Option<Check> {
    let limits = config::load(project, &orch_daemon::adapters()).ok()?.limits;
    let places = [project.state.as_path(), project.root.as_path()];
    let short = space::shortage(places, limits.free_space_bytes)?;
    let check = Check::new("disk", "failed", format!("nothing is started: {short}"));
    Some(check.hint("make room; what waits then goes on by itself"))
}

/// Whether the database opens and somebody answers: a daemon, or this process for itself.
fn daemon(project: &Project) -> Check {
    let name = "daemon and database";
    let client = match orch_daemon::connect(project) {
        Ok(client) => client,
        Err(error) => return Check::failed(name, error.into()),
    };
    let status = match client.status() {
        Ok(status) => status,
        Err(error) => return Check::failed(name, error.into()),
    };
    if let Some(error) = status.config_error {
        let detail = format!("orch.toml is not in force: {error}");
        return Check::new(name, "failed", detail).hint("'orch config edit' opens it");
    }
    match (status.service.as_str(), status.pid) {
        ("stopped", _) => Check::new(name, "ok", "no daemon serves; the database opens"),
        (service, Some(pid)) => Check::new(name, "ok", format!("{service} by pid {pid}")),
        (service, None) => Check::new(name, "ok", service),
    }
}

fn agents(project: &Project) -> Vec<Check> {
    let agents = match config::agents(project, &orch_daemon::adapters()) {
        Ok(agents) => agents,
        Err(error) => return vec![Check::failed("orch.toml", error.into())],
    };
    if agents.is_empty() {
        let check = Check::new("agents", "warning", "there are none");
        return vec![check.hint("'orch agent add coder --adapter claude' adds one")];
    }
    agents.iter().map(|it| agent(it, &project.root)).collect()
}

fn agent(agent: &AgentEntry, root: &Path) -> Check {
    let name = format!("agent {}", agent.name);
    if !agent.enabled {
        return Check::new(&name, "warning", "disabled");
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
        return Check::new(&name, "ok", format!("a shell runs: {command}"));
    };
    match found(program, root) {
        Some(path) => Check::new(&name, "ok", path.display().to_string()),
        None if adapter == "shell" => {
            Check::new(&name, "warning", format!("no program '{program}' in PATH"))
        }
        None => Check::new(&name, "failed", format!("no program '{program}' in PATH")).hint(
            format!("install it, or 'orch agent edit {agent} --command PATH'"),
        ),
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
    fn a_state_directory_open_to_others_fails_with_the_way_out() {
        let directory = tempfile::tempdir().unwrap();
        let set = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(directory.path(), mode).unwrap();
        };
        set(0o700);
        assert_eq!(state_directory(directory.path()).status, "ok");
        set(0o755);
        let check = state_directory(directory.path());
        assert_eq!(check.status, "failed");
        assert!(check.hint.unwrap().starts_with("chmod 700 "));
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
        let status =
            |adapter: &str, command: &str| command_of("a", adapter, command, Path::new("/")).status;
        for command in [
            "cd src && make",
            "if true; then x; fi",
            ": ready",
            "A=1 x",
            "x | y",
        ] {
            assert_eq!(status("shell", command), "ok", "{command}");
        }
        assert_eq!(
            status("shell", "no-such-program-anywhere --fast"),
            "warning"
        );
        assert_eq!(status("claude", "no-such-program-anywhere"), "failed");
    }
}
