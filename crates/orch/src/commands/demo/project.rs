//! The stage of the demo: a directory that vanishes, a git project in it, agents and tasks.

use std::path::{Path, PathBuf};

use orch_api::client::Client;
use orch_api::types::NewTask;
use orch_daemon::LogSink;
use orch_daemon::config::{self, AgentFields};
use orch_daemon::project::Project;

use crate::error::{Kind, Result, UserError};
use crate::scratch::{Scratch, git, make, repository, write};

/// The agents: name, script, runs at once.
const AGENTS: [(&str, &str, u32); 4] = [
    ("builder", include_str!("agents/builder.sh"), 3),
    ("flaky", include_str!("agents/flaky.sh"), 1),
    ("leaky", include_str!("agents/leaky.sh"), 1),
    ("sleepy", include_str!("agents/sleepy.sh"), 1),
];

/// What differs from the usual, so that all of it takes seconds.
const SETTINGS: [(&str, &str); 6] = [
    ("project.max_agents", "6"),
    ("defaults.review", "auto"),
    ("retry.base", "200ms"),
    ("limits.leak_grace", "200ms"),
    ("limits.stop_grace", "1s"),
    // It writes little and is gone in a minute: it is shown on a nearly full disk, too.
    ("limits.free_space", "0B"),
];

/// How long the agent that hangs may hang, milliseconds.
const HANG_MS: u64 = 1_000;

/// The stage. It vanishes with this value unless it is kept.
pub struct Stage {
    /// Where everything is.
    pub directory: PathBuf,
    /// The project in it.
    pub project: Project,
    _scratch: Scratch,
}

impl Stage {
    /// Builds the stage.
    ///
    /// # Errors
    /// No git, or no place.
    pub fn build(keep: bool) -> Result<Self> {
        let scratch = Scratch::make("orch-demo", keep)?;
        let directory = scratch.directory.clone();
        let root = directory.join("project");
        make(&root)?;
        make(&directory.join("meeting"))?;
        write(&root.join("README.md"), "A project of orch demo.\n")?;
        for (name, script, _) in AGENTS {
            write(&directory.join(format!("{name}.sh")), script)?;
        }
        repository(&root, "orch demo")?;
        let project = configured(&root, &directory)?;
        git(&root, &["add", "--all"])?;
        git(&root, &["commit", "--quiet", "--message=Start of the demo"])?;
        Ok(Self {
            directory,
            project,
            _scratch: scratch,
        })
    }

    /// Queues the tasks.
    ///
    /// # Errors
    /// orch refused one.
    pub fn queue(&self) -> Result<()> {
        let client = orch_daemon::connect(&self.project, &LogSink::silent())?;
        let plan = add(&client, task("Plan the release", "builder", &[]))?;
        let after_plan = [plan.as_str()];
        let mut parts = Vec::new();
        for part in ["Build the parser", "Build the printer", "Build the tests"] {
            let mut part = task(part, "builder", &after_plan);
            part.description = "Work together with the other two.".to_owned();
            parts.push(add(&client, part)?);
        }
        parts.push(add(
            &client,
            task("Write the changelog", "flaky", &after_plan),
        )?);
        parts.push(add(
            &client,
            task("Start the preview", "leaky", &after_plan),
        )?);
        let mut hanging = task("Ask for the weather", "sleepy", &[]);
        hanging.max_attempts = Some(1);
        hanging.timeout_ms = Some(HANG_MS);
        let hanging = add(&client, hanging)?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let mut last = task("Put the release together", "builder", &parts);
        last.after_any = vec![hanging];
        add(&client, last)?;
        Ok(())
    }

    /// The files on the branch that work lands on.
    ///
    /// # Errors
    /// git could not tell.
    pub fn landed_files(&self) -> Result<Vec<String>> {
        let text = git(
            &self.project.root,
            &["ls-tree", "-r", "--name-only", "main"],
        )?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

fn task(title: &str, agent: &str, depends_on: &[&str]) -> NewTask {
    NewTask {
        title: title.to_owned(),
        agent: Some(agent.to_owned()),
        depends_on: depends_on.iter().map(|id| (*id).to_owned()).collect(),
        ..NewTask::default()
    }
}

fn add(client: &Client, new: NewTask) -> Result<String> {
    let changed = client.add_task(&new)?;
    let missing = || UserError::new(Kind::Internal, "protocol", "a task was added and not shown");
    changed.task.map(|task| task.id).ok_or_else(missing)
}

fn configured(root: &Path, directory: &Path) -> Result<Project> {
    let adapters = orch_daemon::adapters();
    let project = config::init(root, Some("demo"), Some("main"))?.project;
    for (key, value) in SETTINGS {
        config::set(&project, key, value, &adapters)?;
    }
    for (name, _, at_once) in AGENTS {
        let place = directory.display().to_string();
        let fields = AgentFields {
            adapter: Some("shell".to_owned()),
            command: Some(format!("sh \"$DEMO_DIR/{name}.sh\"")),
            max_parallel: Some(at_once),
            env: [("DEMO_DIR".to_owned(), Some(place))].into(),
            ..AgentFields::default()
        };
        let name = name.parse().map_err(|_| {
            UserError::new(
                Kind::Internal,
                "internal",
                "an agent of the demo has no name",
            )
        })?;
        config::add_agent(&project, &name, &fields, &adapters)?;
    }
    Ok(project)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_scripts_are_shell() {
        for (name, script, _) in AGENTS {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(name);
            fs::write(&path, script).unwrap();
            let checked = Command::new("sh").arg("-n").arg(&path).status().unwrap();
            assert!(checked.success(), "{name}");
        }
    }
}
