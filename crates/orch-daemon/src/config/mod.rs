//! `orch.toml`: what the user decided about this project.
//!
//! Reading gives a whole that was found right, or every problem with its line and column.
//! Changing keeps the user's comments and order, happens under a lock so that commands that run
//! at the same time lose nothing, and never leaves a file behind that would not load.
//!
//! This module must not know that there are tasks, runs and a database. Whether an agent's
//! settings make a command line, its adapter says; which adapters may be used is told by the
//! caller.

mod edit;
mod environment;
mod error;
mod file;
mod json_schema;
mod model;
mod read;
pub mod schema;
mod settings;
mod suggest;
mod template;
#[cfg(test)]
mod tests;
mod text;
pub mod units;
mod value;

use std::path::Path;

pub use edit::{
    AgentFields, Initialised, add_agent, edit_agent, init, remove_agent, set, set_enabled, unset,
};
pub use error::{ConfigError, Fault, Problem};
pub use json_schema::json_schema;
pub use model::{AgentEntry, Cleanup, Loaded, PromptFiles, RunLimits, SourceStamp};
pub use settings::{Setting, get, settings};
pub use suggest::did_you_mean;

use crate::project::Project;

/// Reads the configuration. `adapters` are the kinds of agents there are.
///
/// # Errors
/// `not_initialised` without a file, `config` with every problem if there is one, `not_allowed`
/// for anything but a regular file, `internal` when the disk said no.
pub fn load(project: &Project, adapters: &[&str]) -> Result<Loaded, ConfigError> {
    let source = file::read(project)?;
    let tree = read::read(&source.text, adapters)?;
    Ok(loaded(project, &tree, source.stamp))
}

/// Which state the file is in now, to find out whether it must be read again.
///
/// # Errors
/// `not_initialised` without a file, `internal` when the disk said no.
pub fn stamp(project: &Project) -> Result<SourceStamp, ConfigError> {
    match project.config.metadata() {
        Ok(metadata) => Ok(SourceStamp::from(&metadata)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(crate::project::ProjectError::NotInitialised(project.root.clone()).into())
        }
        Err(error) => Err(ConfigError::io("look at", &project.config)(error)),
    }
}

/// The agents in full, in the order of the file.
///
/// # Errors
/// As [`load`].
pub fn agents(project: &Project, adapters: &[&str]) -> Result<Vec<AgentEntry>, ConfigError> {
    load(project, adapters).map(|loaded| loaded.agents)
}

fn loaded(project: &Project, tree: &read::Tree, source_stamp: SourceStamp) -> Loaded {
    Loaded {
        name: tree.name().unwrap_or_else(|| name_of(&project.root)),
        target: tree.target(),
        core: tree.core(),
        agents: tree.entries(),
        limits: tree.limits(),
        cleanup: tree.cleanup(),
        prompt: tree.prompt(),
        source_stamp,
    }
}

/// What a project is called that says no name.
fn name_of(root: &Path) -> String {
    let visible = |c: &char| !c.is_control() && !orch_core::text::is_invisible(*c);
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    match name.chars().filter(visible).collect::<String>().trim() {
        "" => "project".to_owned(),
        name => orch_core::text::excerpt(name, 60),
    }
}

/// What a text says, for tests of what is made from it.
#[cfg(test)]
pub(crate) fn parsed(text: &str) -> Loaded {
    let place = tempfile::tempdir().expect("a temporary directory");
    let project = Project::at(place.path()).expect("a project");
    std::fs::write(&project.config, text).expect("a file");
    load(&project, &crate::adapters()).expect("a configuration")
}
