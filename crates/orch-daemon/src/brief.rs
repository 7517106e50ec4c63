//! What an agent is told about a task, and what it is given: gathered from the rows, the
//! configuration and the files that it names. Used for a run that starts and for whoever asks what
//! would be sent.

use std::io::Read;
use std::path::Path;

use orch_core::RunId;
use orch_core::run::{Failure, Run};
use orch_core::task::{Task, TaskStatus};
use orch_host::adapter::McpServer;
use orch_host::prompt::{Dependency, PromptInput, TEMPLATE_BYTES, TemplateError, Templates};

use crate::config::{AgentEntry, Loaded};
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
    let read = |key: &str, path: &Option<String>| {
        let path = path.as_deref();
        path.map(|path| file(project, key, path, TEMPLATE_BYTES))
            .transpose()
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

/// What happened before a run, as far as its agent is told.
#[derive(Debug, Default)]
pub(crate) struct Past {
    failure: Option<Failure>,
    result: Option<String>,
    dependencies: Vec<Dependency>,
}

impl Past {
    /// The past of `task`, before the run `of` if there is one already.
    pub(crate) fn of(shared: &Shared, task: &Task, of: Option<&RunId>) -> Self {
        let filter = orch_store::RunFilter {
            task: Some(task.id.clone()),
            limit: 2,
            ..Default::default()
        };
        let past = shared.read(|reader| {
            let runs = reader.runs(&filter)?;
            let previous = runs.iter().find(|run| Some(&run.id) != of);
            let mut dependencies = Vec::new();
            for it in reader.dependencies(&task.id)? {
                let done = match it.status {
                    TaskStatus::Done => reader.task(&it.dependency.on)?,
                    _ => None,
                };
                dependencies.extend(done.and_then(finished));
            }
            Ok::<_, orch_store::StoreError>(Self {
                dependencies,
                ..previous.map(Self::before).unwrap_or_default()
            })
        });
        // An agent that is told less than could be told can do its work all the same.
        past.unwrap_or_default()
    }

    fn before(run: &Run) -> Self {
        let ending = run.ending();
        Self {
            failure: ending.and_then(|it| it.outcome.failure().cloned()),
            result: ending.and_then(|it| it.result.clone()),
            dependencies: Vec::new(),
        }
    }

    /// The same past as part of what a prompt is made of.
    pub(crate) fn tell<'a>(&'a self, input: PromptInput<'a>) -> PromptInput<'a> {
        PromptInput {
            previous_failure: self.failure.as_ref(),
            previous_result: self.result.as_deref(),
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
