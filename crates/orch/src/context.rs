//! What a command works with: where it prints, and the project it is about.

use std::path::PathBuf;
use std::sync::Arc;

use orch_api::client::Client;
use orch_daemon::LogSink;
use orch_daemon::project::Project;

use crate::args::Global;
use crate::error::{Result, UserError};
use crate::printer::Printer;

/// What a command works with.
pub struct Context {
    /// Where it prints.
    pub printer: Arc<Printer>,
    directory: Option<PathBuf>,
}

impl Context {
    /// The context of a command line.
    #[must_use]
    pub fn new(global: &Global) -> Self {
        Self {
            printer: Arc::new(Printer::standard(global)),
            directory: global.project.clone(),
        }
    }

    /// The directory the command is about.
    ///
    /// # Errors
    /// It does not exist.
    pub fn directory(&self) -> Result<PathBuf> {
        match &self.directory {
            None => std::env::current_dir()
                .map_err(|error| UserError::io("cannot tell the current directory", &error)),
            Some(given) => {
                let what = format!("there is no directory {}", given.display());
                let found = given.canonicalize();
                found.map_err(|error| UserError::io(&what, &error))
            }
        }
    }

    /// The project that directory is in.
    ///
    /// # Errors
    /// There is none.
    pub fn project(&self) -> Result<Project> {
        Ok(Project::find(&self.directory()?)?)
    }

    /// A client of that project: of its daemon, or of this process if none serves.
    ///
    /// # Errors
    /// There is no project, or it cannot be opened.
    pub fn client(&self) -> Result<Client> {
        self.client_of(&self.project()?)
    }

    /// The same for a project that was found already. Facts that are missing are told at once:
    /// whoever opens the database next finds nothing wrong with it any more.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn client_of(&self, project: &Project) -> Result<Client> {
        let printer = Arc::clone(&self.printer);
        let log = LogSink::new(move |lines| {
            for line in lines.iter().filter(|line| line.level == "error") {
                printer.warn(line.message.as_deref().unwrap_or(&line.event));
            }
        });
        Ok(orch_daemon::connect(project, &log)?)
    }
}
