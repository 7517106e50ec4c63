//! orch in a throw-away project. Tasks share one directory and are approved by their success, so
//! that what is measured is orch and not git. Everything durable is as durable as it always is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use orch_api::client::Client;
use orch_api::types::{Counts, NewTask, Status};

use super::{Plan, SOON, Server};
use crate::bench::stage::{Running, Stage};

/// The one agent of the project.
pub const AGENT: &str = "bench";

/// How long a daemon without work may take to end when asked.
const GOODBYE: Duration = Duration::from_secs(10);

/// A daemon and its project.
pub struct Orch<'a> {
    stage: &'a Stage,
    program: &'a Path,
    folder: PathBuf,
    client: Client,
    daemon: Running<'a>,
}

impl<'a> Orch<'a> {
    /// Makes a project in `folder` and serves it.
    ///
    /// # Errors
    /// A command failed, or the daemon did not come to serve.
    pub fn start(stage: &'a Stage, program: &'a Path, folder: &Path, plan: &Plan) -> Result<Self> {
        prepare(stage, program, folder, plan)?;
        Self::serve(stage, program, folder)
    }

    /// Serves the project in `folder`.
    ///
    /// # Errors
    /// The daemon did not come to serve.
    pub fn serve(stage: &'a Stage, program: &'a Path, folder: &Path) -> Result<Self> {
        let mut command = stage.command(program, folder);
        command.args(["serve", "--log-format", "json"]);
        let daemon = stage.spawn(command, &folder.join("serve.log"))?;
        let client = Client::unix(&socket(folder)).context("making a client")?;
        let pause = Duration::from_millis(5);
        stage.wait_for("orch serves", SOON, pause, || {
            let status = client.status().ok();
            Ok(status.filter(|status| status.service == "serving"))
        })?;
        Ok(Self {
            stage,
            program,
            folder: folder.to_owned(),
            client,
            daemon,
        })
    }

    /// Adds tasks over the socket, without a process for each.
    ///
    /// # Errors
    /// One was refused.
    pub fn add(&self, count: usize) -> Result<()> {
        for number in 0..count {
            let task = NewTask {
                title: format!("task {number}"),
                ..NewTask::default()
            };
            self.client.add_task(&task).context("adding a task")?;
        }
        Ok(())
    }

    /// The project at a glance.
    ///
    /// # Errors
    /// The daemon did not answer.
    pub fn status(&self) -> Result<Status> {
        self.client.status().context("asking orch how it stands")
    }

    /// How many tasks are done.
    ///
    /// # Errors
    /// The daemon did not answer, or a task failed.
    pub fn done(&self) -> Result<usize> {
        let counts = self.status()?.tasks;
        ensure!(none_failed(&counts), "tasks of orch failed: {counts:?}");
        usize::try_from(counts.done).context("counting tasks")
    }

    /// Lets no more tasks start.
    ///
    /// # Errors
    /// The command failed.
    pub fn hold(&self) -> Result<()> {
        self.stage
            .run(self.command(&["agent", "disable", AGENT]))
            .map(drop)
    }

    /// Ends the daemon as a user would, so that the project can be served again.
    pub fn leave(mut self) {
        self.daemon.ask_to_end(GOODBYE);
    }

    /// A command in the project.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.stage.command(self.program, &self.folder);
        command.args(arguments);
        command
    }
}

const fn none_failed(counts: &Counts) -> bool {
    counts.failed + counts.cancelled + counts.retrying == 0
}

/// Makes a git repository and an orch project in `folder`.
///
/// # Errors
/// A command failed.
pub fn prepare(stage: &Stage, program: &Path, folder: &Path, plan: &Plan) -> Result<()> {
    let git = |arguments: &[&str]| {
        let mut command = stage.command(Path::new("git"), folder);
        command.args(["-c", "user.name=bench", "-c", "user.email=bench@localhost"]);
        command.args(arguments);
        stage.run(command)
    };
    git(&["init", "--quiet", "--initial-branch=main"])?;
    git(&["commit", "--quiet", "--allow-empty", "--message=begin"])?;
    fs::write(folder.join("orch.toml"), configuration(plan)).context("writing orch.toml")?;
    let mut init = stage.command(program, folder);
    init.arg("init");
    stage.run(init).map(drop)
}

fn configuration(plan: &Plan) -> String {
    let Plan {
        work,
        parallel,
        held,
        adapter,
    } = plan;
    format!(
        "[project]\n\
         name = \"bench\"\n\
         target = \"main\"\n\
         max_agents = {parallel}\n\
         [defaults]\n\
         workspace = \"shared\"\n\
         review = \"auto\"\n\
         [agents.{AGENT}]\n\
         adapter = \"{adapter}\"\n\
         command = \"{}\"\n\
         max_parallel = {parallel}\n\
         enabled = {}\n",
        work.join(" "),
        !held,
    )
}

/// The socket of the project in `folder`. Where its usual path is too long for the system, orch
/// has put it elsewhere, and the benchmark cannot be run from so deep a folder.
fn socket(folder: &Path) -> PathBuf {
    folder.join(".orch").join("orch.sock")
}

impl Server for Orch<'_> {
    fn folder(&self) -> &Path {
        &self.folder
    }

    fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    fn submit(&self, after: Option<&str>) -> Command {
        let mut command = self.command(&["task", "add", "a task", "--quiet"]);
        if let Some(after) = after {
            command.args(["--depends-on", after]);
        }
        command
    }

    fn id(&self, printed: &str) -> String {
        printed.trim().to_owned()
    }

    fn release(&mut self) -> Result<()> {
        self.stage
            .run(self.command(&["agent", "enable", AGENT]))
            .map(drop)
    }

    fn finished(&self) -> Result<usize> {
        self.done()
    }

    fn look_every(&self) -> Duration {
        Duration::from_millis(20)
    }

    fn show(&self, id: &str) -> Command {
        self.command(&["task", "show", id, "--json"])
    }

    fn shows_end(&self, _id: &str, printed: &str) -> bool {
        let task = serde_json::from_str::<orch_api::types::Task>(printed);
        task.is_ok_and(|task| task.status == "done")
    }

    fn wait(&self, id: &str) -> Command {
        self.command(&["run", id])
    }

    fn listings(&self) -> Vec<(&'static str, Command)> {
        let list = self.command(&["task", "list", "--limit", "100"]);
        vec![
            ("task list -n 100", list),
            ("status", self.command(&["status"])),
        ]
    }
}

impl Drop for Orch<'_> {
    fn drop(&mut self) {
        self.daemon.kill();
        self.stage.end_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_toml_and_says_what_is_planned() {
        let text = configuration(&Plan::new("/bin/sleep 60", 64, true));
        let table: toml::Table = text.parse().unwrap();
        let agent = &table["agents"][AGENT];
        assert_eq!(agent["command"].as_str(), Some("/bin/sleep 60"));
        assert_eq!(agent["max_parallel"].as_integer(), Some(64));
        assert_eq!(agent["enabled"].as_bool(), Some(false));
        assert_eq!(table["project"]["max_agents"].as_integer(), Some(64));
    }
}
