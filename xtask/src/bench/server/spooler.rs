//! task-spooler with a socket of its own. Its server leaves the process that started it; as an
//! orphan it becomes a child of the benchmark.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Plan, SOON, Server, last_number};
use crate::bench::procfs;
use crate::bench::stage::Stage;

/// Most jobs it holds. At 994 it stops taking more and whoever submits one blocks.
const MOST: usize = 900;

/// A server and its folder.
pub struct Spooler<'a> {
    stage: &'a Stage,
    program: &'a Path,
    folder: PathBuf,
    pid: u32,
    work: Vec<String>,
    parallel: usize,
    /// What keeps the job alive that holds the others back; it is not a task.
    holder: Option<File>,
    /// Jobs that are not tasks.
    extra: usize,
}

impl<'a> Spooler<'a> {
    /// Starts a server.
    ///
    /// # Errors
    /// A command failed.
    pub fn start(stage: &'a Stage, program: &'a Path, folder: &Path, plan: &Plan) -> Result<Self> {
        fs::create_dir(folder.join("out")).context("making a folder")?;
        let mut spooler = Self {
            stage,
            program,
            folder: folder.to_owned(),
            pid: 0,
            work: plan.work.clone(),
            parallel: plan.parallel,
            holder: None,
            extra: 0,
        };
        stage.run(spooler.command(&["-S", "1"]))?;
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let own = std::process::id();
        spooler.pid = stage
            .wait_for("task-spooler is there", SOON, Duration::ZERO, || {
                let below = procfs::descendants(own).into_iter();
                let mut orphans = below.filter(|child| child.parent == own && !child.zombie);
                Ok(orphans.find(|child| child.name == name))
            })?
            .pid;
        if plan.held {
            spooler.hold()?;
        } else {
            spooler.widen()?;
        }
        Ok(spooler)
    }

    /// Fills the only slot with a job that ends when a pipe is closed.
    fn hold(&mut self) -> Result<()> {
        let pipe = self.folder.join("go");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).context("making a pipe")?;
        let mut hold = self.command(&["-n", "/bin/cat"]);
        hold.arg(&pipe);
        self.stage.run(hold)?;
        self.extra = 1;
        // Open at both ends, so that this neither waits nor fails whenever the job comes.
        let both = OpenOptions::new().read(true).write(true).open(&pipe);
        self.holder = Some(both.context("opening a pipe")?);
        Ok(())
    }

    fn widen(&self) -> Result<()> {
        let slots = self.parallel.to_string();
        self.stage.run(self.command(&["-S", &slots])).map(drop)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.stage.command(self.program, &self.folder);
        command
            .env("TS_SOCKET", self.folder.join("socket"))
            .env("TMPDIR", self.folder.join("out"))
            .env("TS_MAXFINISHED", "300000")
            .args(arguments);
        command
    }
}

impl Server for Spooler<'_> {
    fn folder(&self) -> &Path {
        &self.folder
    }

    fn pid(&self) -> u32 {
        self.pid
    }

    fn most(&self) -> usize {
        MOST
    }

    fn submit(&self, after: Option<&str>) -> Command {
        let mut command = self.command(&[]);
        if let Some(after) = after {
            command.args(["-D", after]);
        }
        command.args(&self.work);
        command
    }

    fn id(&self, printed: &str) -> String {
        last_number(printed)
    }

    fn release(&mut self) -> Result<()> {
        self.widen()?;
        self.holder = None;
        Ok(())
    }

    fn finished(&self) -> Result<usize> {
        let ended = ended_well(&self.stage.run(self.command(&[]))?)?;
        Ok(ended.saturating_sub(self.extra))
    }

    fn look_every(&self) -> Duration {
        Duration::from_millis(50)
    }

    fn show(&self, id: &str) -> Command {
        self.command(&["-s", id])
    }

    fn shows_end(&self, _id: &str, printed: &str) -> bool {
        printed.trim() == "finished"
    }

    fn wait(&self, id: &str) -> Command {
        self.command(&["-w", id])
    }

    fn listings(&self) -> Vec<(&'static str, Command)> {
        vec![("list", self.command(&[]))]
    }
}

impl Drop for Spooler<'_> {
    fn drop(&mut self) {
        self.stage.end_all();
    }
}

/// How many jobs its listing says have ended: id, state, output, exit status.
fn ended_well(listing: &str) -> Result<usize> {
    let mut ended = 0;
    for line in listing.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        if columns.get(1) == Some(&"finished") {
            let status = columns.get(3).copied().unwrap_or("nothing");
            ensure!(status == "0", "a job of task-spooler ended with {status}");
            ended += 1;
        }
    }
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_jobs_are_counted_and_failed_ones_told() {
        let listing = "ID   State      Output       E-Level  Times(r/u/s)   Command [run=1/1]\n\
                       0    finished   /o/a         0        0.00/0.00/0.00 /bin/true\n\
                       1    running    /o/b                                 /bin/true\n\
                       2    queued     (file)                               /bin/true\n";
        assert_eq!(ended_well(listing).unwrap(), 1);
        assert!(ended_well(&listing.replace("a         0 ", "a         1 ")).is_err());
    }
}
