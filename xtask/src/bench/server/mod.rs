//! What is compared: daemons that take commands and run so many of them at once. One trait for
//! orch, pueue and task-spooler, so that every measure treats them alike.

mod orch;
mod pueue;
mod spooler;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::stage::Stage;

pub use orch::{AGENT, Orch, prepare};

/// How long anything may take that is expected to happen at once.
pub const SOON: Duration = Duration::from_secs(30);

/// Which daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This project.
    Orch,
    /// <https://github.com/Nukesor/pueue>
    Pueue,
    /// <https://vicerveza.homeunix.net/~viric/soft/ts/>
    Spooler,
}

impl Kind {
    /// What it is called in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Orch => "orch",
            Self::Pueue => "pueue",
            Self::Spooler => "task-spooler",
        }
    }
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The release build of orch.
    pub orch: PathBuf,
    /// The release build of this program, for its parts.
    pub own: PathBuf,
    /// pueue's client and daemon, if they are installed.
    pub pueue: Option<(PathBuf, PathBuf)>,
    /// task-spooler, if it is installed.
    pub spooler: Option<PathBuf>,
    /// make, if it is installed.
    pub make: Option<PathBuf>,
}

impl Programs {
    /// The daemons that can be measured here, orch first.
    pub fn kinds(&self) -> Vec<Kind> {
        let pueue = self.pueue.is_some().then_some(Kind::Pueue);
        let spooler = self.spooler.is_some().then_some(Kind::Spooler);
        [Some(Kind::Orch), spooler, pueue]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// What a daemon is started for.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The command of every task.
    pub work: Vec<String>,
    /// How many run at once.
    pub parallel: usize,
    /// Whether nothing starts before [`Server::release`].
    pub held: bool,
    /// As what orch reads the output of the command: the name of an adapter.
    pub adapter: &'static str,
}

impl Plan {
    /// A plan; words of a command are separated by spaces.
    pub fn new(work: &str, parallel: usize, held: bool) -> Self {
        Self {
            work: work.split(' ').map(str::to_owned).collect(),
            parallel,
            held,
            adapter: "shell",
        }
    }

    /// The same with another adapter.
    #[must_use]
    pub const fn read_as(mut self, adapter: &'static str) -> Self {
        self.adapter = adapter;
        self
    }
}

/// A daemon at work. Dropping it ends it and everything it started.
pub trait Server {
    /// Its process.
    fn pid(&self) -> u32;

    /// Where it keeps everything.
    fn folder(&self) -> &Path;

    /// Most tasks that it holds; more would block whoever submits them.
    fn most(&self) -> usize {
        usize::MAX
    }

    /// The command that submits one task; it prints something with the task's id.
    fn submit(&self, after: Option<&str>) -> Command;

    /// The id in what [`Server::submit`] printed.
    fn id(&self, printed: &str) -> String;

    /// Lets held tasks start.
    ///
    /// # Errors
    /// It refused.
    fn release(&mut self) -> Result<()>;

    /// How many tasks have ended well.
    ///
    /// # Errors
    /// It did not answer, or a task failed.
    fn finished(&self) -> Result<usize>;

    /// How long to wait between two calls of [`Server::finished`], which may be dear.
    fn look_every(&self) -> Duration;

    /// The command that shows one task.
    fn show(&self, id: &str) -> Command;

    /// Whether what [`Server::show`] printed says that the task is over.
    fn shows_end(&self, id: &str, printed: &str) -> bool;

    /// The command that returns when the task is over.
    fn wait(&self, id: &str) -> Command;

    /// The commands that list what there is, with their names.
    fn listings(&self) -> Vec<(&'static str, Command)>;
}

/// Starts a daemon.
///
/// # Errors
/// It is not installed, or did not start.
pub fn start<'a>(
    kind: Kind,
    stage: &'a Stage,
    programs: &'a Programs,
    plan: &Plan,
) -> Result<Box<dyn Server + 'a>> {
    let folder = stage.folder(kind.name())?;
    match kind {
        Kind::Orch => {
            let orch = Orch::start(stage, &programs.orch, &folder, plan)?;
            Ok(Box::new(orch))
        }
        Kind::Pueue => {
            let (client, daemon) = programs.pueue.as_ref().context("pueue is not installed")?;
            let pueue = pueue::Pueue::start(stage, client, daemon, &folder, plan)?;
            Ok(Box::new(pueue))
        }
        Kind::Spooler => {
            let program = programs.spooler.as_ref();
            let program = program.context("task-spooler is not installed")?;
            let spooler = spooler::Spooler::start(stage, program, &folder, plan)?;
            Ok(Box::new(spooler))
        }
    }
}

/// The first program of this name in `folders`.
pub fn find_program(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let candidates = folders.iter().map(|folder| folder.join(name));
    candidates.into_iter().find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// The last number in a text.
fn last_number(text: &str) -> String {
    let mut numbers = text.split(|character: char| !character.is_ascii_digit());
    let last = numbers.rfind(|number| !number.is_empty());
    last.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_last_number_of_what_is_said() {
        assert_eq!(last_number("New task 3 added (id 17).\n"), "17");
        assert_eq!(last_number("none\n"), "");
    }

    #[test]
    fn programs_are_found_in_order() {
        let folders = ["/nowhere", "/bin"].map(PathBuf::from);
        assert_eq!(find_program("sh", &folders), Some("/bin/sh".into()));
        assert_eq!(find_program("no-such-program", &folders), None);
        assert_eq!(find_program(".", &folders), None);
    }

    #[test]
    fn only_what_is_installed_is_measured() {
        let mut programs = Programs {
            orch: PathBuf::new(),
            own: PathBuf::new(),
            pueue: None,
            spooler: Some(PathBuf::new()),
            make: None,
        };
        assert_eq!(programs.kinds(), [Kind::Orch, Kind::Spooler]);
        programs.pueue = Some((PathBuf::new(), PathBuf::new()));
        assert_eq!(programs.kinds().len(), 3);
    }
}
