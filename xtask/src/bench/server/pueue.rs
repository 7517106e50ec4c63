//! pueue in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Plan, SOON, Server, last_number};
use crate::bench::stage::{Running, Stage};

/// A daemon and its folder.
pub struct Pueue<'a> {
    stage: &'a Stage,
    client: &'a Path,
    folder: PathBuf,
    daemon: Running<'a>,
    work: Vec<String>,
}

impl<'a> Pueue<'a> {
    /// Starts a daemon.
    ///
    /// # Errors
    /// A command failed, or the daemon did not come to answer.
    pub fn start(
        stage: &'a Stage,
        client: &'a Path,
        daemon: &Path,
        folder: &Path,
        plan: &Plan,
    ) -> Result<Self> {
        fs::create_dir(folder.join("data")).context("making a folder")?;
        fs::write(folder.join("pueue.yml"), configuration(folder)).context("configuring pueue")?;
        let mut command = stage.command(daemon, folder);
        command.arg("-c").arg(folder.join("pueue.yml"));
        let daemon = stage.spawn(command, &folder.join("daemon.log"))?;
        let pueue = Self {
            stage,
            client,
            folder: folder.to_owned(),
            daemon,
            work: plan.work.clone(),
        };
        stage.wait_for("pueue answers", SOON, Duration::from_millis(20), || {
            Ok(stage.run(pueue.command(&["status"])).ok())
        })?;
        stage.run(pueue.command(&["parallel", &plan.parallel.to_string()]))?;
        if plan.held {
            stage.run(pueue.command(&["pause"]))?;
        }
        Ok(pueue)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.stage.command(self.client, &self.folder);
        command.arg("-c").arg(self.folder.join("pueue.yml"));
        command.args(arguments);
        command
    }
}

fn configuration(folder: &Path) -> String {
    let data = folder.join("data");
    let data = data.display();
    format!(
        "shared:\n  pueue_directory: {data}\n  runtime_directory: {data}\n  use_unix_socket: true\n\
         daemon:\n  default_parallel_tasks: 1\nclient: {{}}\n"
    )
}

impl Server for Pueue<'_> {
    fn folder(&self) -> &Path {
        &self.folder
    }

    fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    fn submit(&self, after: Option<&str>) -> Command {
        let mut command = self.command(&["add", "--print-task-id"]);
        if let Some(after) = after {
            command.args(["--after", after]);
        }
        command.arg("--").args(&self.work);
        command
    }

    fn id(&self, printed: &str) -> String {
        last_number(printed)
    }

    fn release(&mut self) -> Result<()> {
        self.stage.run(self.command(&["start"])).map(drop)
    }

    fn finished(&self) -> Result<usize> {
        let printed = self.stage.run(self.command(&["status", "--json"]))?;
        ended_well(&printed)
    }

    fn look_every(&self) -> Duration {
        // Its listing costs in proportion to all it has ever run, and it works in ticks of this
        // length anyway.
        Duration::from_millis(300)
    }

    fn show(&self, _id: &str) -> Command {
        self.command(&["status", "--json"])
    }

    fn shows_end(&self, id: &str, printed: &str) -> bool {
        let status = serde_json::from_str::<Value>(printed).unwrap_or_default();
        status["tasks"][id]["status"].get("Done").is_some()
    }

    fn wait(&self, id: &str) -> Command {
        self.command(&["wait", id])
    }

    fn listings(&self) -> Vec<(&'static str, Command)> {
        vec![("status", self.command(&["status"]))]
    }
}

impl Drop for Pueue<'_> {
    fn drop(&mut self) {
        self.daemon.kill();
        self.stage.end_all();
    }
}

/// How many tasks `status --json` says have ended.
fn ended_well(printed: &str) -> Result<usize> {
    let status: Value = serde_json::from_str(printed).context("reading what pueue says")?;
    let tasks = status["tasks"]
        .as_object()
        .context("pueue lists no tasks")?;
    let mut ended = 0;
    for task in tasks.values() {
        if let Some(done) = task["status"].get("Done") {
            let result = &done["result"];
            ensure!(result == "Success", "a task of pueue ended with {result}");
            ended += 1;
        }
    }
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_tasks_are_counted_and_failed_ones_told() {
        let done = r#"{"tasks":{"0":{"status":{"Done":{"result":"Success"}}},
                       "1":{"status":{"Running":{}}},"2":{"status":{"Queued":{}}}}}"#;
        assert_eq!(ended_well(done).unwrap(), 1);
        let failed = done.replace("\"Success\"", "{\"Failed\":1}");
        assert!(ended_well(&failed).is_err());
        assert!(ended_well("{}").is_err());
    }
}
