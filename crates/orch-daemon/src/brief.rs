//! What an agent is told about a task, and what it is given: gathered from the rows, the
//! configuration and the files that it names. Used for a run that starts and for whoever asks what
//! would be sent.

use std::io::Read;
use std::path::Path;

use orch_core::run::{Ending, Run};
use orch_core::session;
use orch_core::task::{Task, TaskStatus};
use orch_host::adapter::McpServer;
use orch_host::prompt::{Dependency, PromptInput, TEMPLATE_BYTES, TemplateError, Templates};

use crate::config::{AgentEntry, Loaded, PromptFiles};
use crate::project::Project;
use crate::shared::Shared;

/// Largest file of MCP servers, bytes.
const MCP_BYTES: usize = 1 << 20;

/// Why what an agent is given cannot be put together. It stands in a file of the user.
#[derive(Debug, thiserror::Error)]
pub enum BriefError {
    /// A file that the configuration names cannot be read.
    #[error("`{key}` of orch.toml names {path}, which cannot be used: {why}")]
    File {
        /// The key that names it.
        key: String,
        /// The path as it is written.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A template is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// The templates that the configuration names, checked.
///
/// # Errors
/// A file cannot be read, or is no template.
pub fn templates(project: &Project, config: &Loaded) -> Result<Templates, BriefError> {
    if config.prompt == PromptFiles::default() {
        return Ok(Templates::default());
    }
    let read = |key: &str, path: &Option<String>| {
        let path = path.as_deref();
        path.map(|path| template(project, key, path)).transpose()
    };
    let system = read("prompt.system", &config.prompt.system)?;
    let task = read("prompt.task", &config.prompt.task)?;
    Ok(Templates::new(system, task)?)
}

/// The MCP servers that an agent is given.
///
/// # Errors
/// The file cannot be read, or names no servers.
pub fn mcp_servers(project: &Project, agent: &AgentEntry) -> Result<Vec<McpServer>, BriefError> {
    let Some(path) = &agent.mcp else {
        return Ok(Vec::new());
    };
    let key = format!("agents.{}.mcp", agent.name);
    let text = file(project, &key, path, MCP_BYTES)?;
    McpServer::parse(&text).map_err(|error| BriefError::File {
        key,
        path: path.clone(),
        why: error.to_string(),
    })
}

/// The text of a template: of a file in the repository, so that it is what its history says it was,
/// and what a repository of somebody else's sends to a provider is nothing but its own.
fn template(project: &Project, key: &str, path: &str) -> Result<String, BriefError> {
    let wrong = |why: String| BriefError::File {
        key: key.to_owned(),
        path: path.to_owned(),
        why,
    };
    let real = |path: &Path| {
        path.canonicalize()
            .map_err(|error| wrong(error.to_string()))
    };
    if !real(&project.root.join(path))?.starts_with(real(&project.root)?) {
        return Err(wrong("it lies outside of the repository".to_owned()));
    }
    file(project, key, path, TEMPLATE_BYTES)
}

/// The text of a file that the configuration names: from the user's own checkout, where no agent
/// can change it.
fn file(project: &Project, key: &str, path: &str, most: usize) -> Result<String, BriefError> {
    read_at_most(&project.root.join(path), most).map_err(|why| BriefError::File {
        key: key.to_owned(),
        path: path.to_owned(),
        why,
    })
}

fn read_at_most(path: &Path, most: usize) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Err("it is not a regular file".to_owned());
    }
    let mut text = String::new();
    let mut part = file.take(most as u64 + 1);
    part.read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    match text.len() > most {
        true => Err(format!("it is larger than {most} bytes")),
        false => Ok(text),
    }
}

/// How many earlier runs of a task are looked at: as many in a row as nobody waits for.
const RUNS_BEFORE: usize = 20;

/// What happened before a run, as far as its agent is told.
#[derive(Debug, Default)]
pub(crate) struct Past {
    runs: Vec<Run>,
    dependencies: Vec<Dependency>,
}

impl Past {
    /// The past of `task`, before the run `of` if there is one already.
    pub(crate) fn of(shared: &Shared, task: &Task, of: Option<&Run>) -> Self {
        let past = shared.read(|reader| {
            let mut dependencies = Vec::new();
            for it in reader.dependencies(&task.id)? {
                let done = match it.status {
                    TaskStatus::Done => reader.task(&it.dependency.on)?,
                    _ => None,
                };
                dependencies.extend(done.and_then(finished));
            }
            let mut runs = match of.is_some_and(|run| run.attempt <= 1) {
                true => Vec::new(),
                false => reader.runs(&orch_store::RunFilter {
                    task: Some(task.id.clone()),
                    limit: RUNS_BEFORE,
                    ..Default::default()
                })?,
            };
            runs.retain(|other| of.is_none_or(|run| other.attempt < run.attempt));
            Ok::<_, orch_store::StoreError>(Self { runs, dependencies })
        });
        // An agent that is told less than could be told can do its work all the same.
        past.unwrap_or_default()
    }

    /// The runs of the same task before this one, the newest first; the latest of them where
    /// there are many.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// How the last run ended in which an agent worked.
    fn last(&self) -> Option<&Ending> {
        let did_nothing = |run: &&Run| {
            let failure = run.ending().and_then(|ending| ending.outcome.failure());
            failure.is_some_and(|failure| session::was_gone(run, failure.code))
        };
        self.runs.iter().find(|run| !did_nothing(run))?.ending()
    }

    /// The same past as part of what a prompt is made of.
    pub(crate) fn tell<'a>(&'a self, input: PromptInput<'a>) -> PromptInput<'a> {
        PromptInput {
            previous_failure: self.last().and_then(|ending| ending.outcome.failure()),
            previous_result: self.last().and_then(|ending| ending.result.as_deref()),
            dependencies: &self.dependencies,
            ..input
        }
    }
}

fn finished(task: Task) -> Option<Dependency> {
    Some(Dependency {
        id: task.id.to_string(),
        title: task.title,
        result: task.result.filter(|result| !result.trim().is_empty())?,
    })
}
