//! What an agent would be told about a task now.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use orch_api::types as api;
use orch_core::schedule;
use orch_core::task::{Task, WorkspaceMode};
use orch_host::adapter::{self, Occasion};
use orch_host::prompt::PromptInput;
use serde::Deserialize;

use super::failure::Failed;
use super::tasks::{Id, checked_id, checked_query, find};
use crate::brief::{self, Past};
use crate::config::{AgentEntry, Loaded};
use crate::log::chain;
use crate::shared::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PromptQuery {
    /// The agent that is to be told; the one that would take it, unless given.
    agent: Option<String>,
}

pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    id: Id,
    query: Result<Query<PromptQuery>, QueryRejection>,
) -> Result<Json<api::Prompt>, Failed> {
    let id = find(&shared, &checked_id(id)?)?;
    let wanted = checked_query(query)?.agent;
    let task = shared.read(|reader| reader.task(&id))?;
    let task = task.ok_or_else(|| Failed::not_found("task", id.as_str()))?;
    let config = shared.config();
    let agent = agent_for(&config, &task, wanted.as_deref())?;
    Ok(Json(prompt(&shared, &config, &task, agent)?))
}

fn agent_for<'a>(
    config: &'a Loaded,
    task: &Task,
    wanted: Option<&str>,
) -> Result<&'a AgentEntry, Failed> {
    let named = wanted.or(task.agent.as_ref().map(orch_core::AgentName::as_str));
    let eligible = schedule::eligible(&config.core, &task.lane());
    let name = named.or(eligible.first().map(orch_core::AgentName::as_str));
    let Some(name) = name else {
        let message = "no agent can take this task, so there is nobody to tell it to";
        return Err(Failed::new(StatusCode::CONFLICT, "no_agent", message).hint(
            "'orch why' says what is missing; '--agent NAME' shows what NAME would be told",
        ));
    };
    let mut agents = config.agents.iter();
    agents
        .find(|agent| agent.name.as_str() == name)
        .ok_or_else(|| Failed::not_found("agent", name))
}

fn prompt(
    shared: &Shared,
    config: &Loaded,
    task: &Task,
    agent: &AgentEntry,
) -> Result<api::Prompt, Failed> {
    let project = &shared.project;
    let templates = brief::templates(project, config).map_err(|error| wrong(&error))?;
    let settings = agent.settings();
    let adapter = adapter::find(&agent.adapter)
        .ok_or_else(|| Failed::not_found("adapter", &agent.adapter))?;
    let directory = directory_of(shared, task);
    let occasion = Occasion {
        directory: &directory,
        ..Occasion::example()
    };
    let invocation = adapter
        .start(&settings, &occasion)
        .map_err(|error| wrong(&error))?;
    let branch = (task.workspace == WorkspaceMode::Worktree).then(|| task.branch());
    let past = Past::of(shared, task, None);
    let input = past.tell(PromptInput {
        preamble: invocation.preamble.as_deref(),
        role: agent.role.as_deref(),
        ..PromptInput::new(task, agent.name.as_str(), &directory, branch.as_deref())
    });
    let resumes = input.resumes;
    let text = templates.render(&input).map_err(|error| wrong(&error))?;
    let beside = settings
        .system_prompt
        .filter(|_| invocation.preamble.is_none());
    Ok(api::Prompt {
        task_id: task.id.to_string(),
        agent: agent.name.to_string(),
        adapter: agent.adapter.clone(),
        directory: directory.display().to_string(),
        resumes,
        system_prompt: beside.filter(|text| !text.trim().is_empty()),
        prompt: text,
    })
}

fn wrong(error: &(dyn std::error::Error + 'static)) -> Failed {
    Failed::new(StatusCode::CONFLICT, "config", chain(error))
        .hint("'orch doctor' lists what is wrong with the configuration")
}

fn directory_of(shared: &Shared, task: &Task) -> PathBuf {
    match task.workspace {
        WorkspaceMode::Worktree => shared.project.worktrees().join(task.id.as_str()),
        WorkspaceMode::Shared => shared.project.root.clone(),
    }
}
