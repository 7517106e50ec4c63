//! The project as a whole: status, ids, configuration.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use orch_api::types as api;
use orch_core::request::{Answer, Request};
use orch_core::run::Run;
use orch_core::task::TaskStatus;
use orch_core::wait::{Actor, Service};
use orch_core::{RunId, TaskId};
use orch_store::Reader;
use serde_json::{Value, json};

use super::ask;
use super::failure::Failed;
use super::tasks::{Id, ambiguous, checked_id, checked_prefix, hindrance, views};
use crate::config::{AgentEntry, Loaded};
use crate::convert;
use crate::shared::Shared;
use crate::wake::Wake;

/// Most tasks named as needing a person.
const NEEDS_YOU: usize = 20;
/// Most candidates named when a prefix is ambiguous.
const CANDIDATES: usize = 10;

pub(super) async fn daemon() -> Json<Value> {
    Json(json!({
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
        "api_version": orch_api::API_VERSION,
    }))
}

pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Result<Json<api::Status>, Failed> {
    Ok(Json(shared.read(|reader| summary(&shared, reader))?))
}

pub(super) async fn reload(State(shared): State<Arc<Shared>>) -> Result<Json<api::Status>, Failed> {
    let (reply, done) = tokio::sync::oneshot::channel();
    shared
        .wakes
        .send(Wake::Reload(Some(reply)))
        .map_err(|_| Failed::ending())?;
    done.await.map_err(|_| Failed::ending())?;
    status(State(shared)).await
}

/// A person has agreed to what agents' programs read; what waited for that goes on.
pub(super) async fn agreed(
    State(shared): State<Arc<Shared>>,
) -> Result<Json<api::Released>, Failed> {
    let answer = ask(&shared, Request::Agreed).await?;
    let tasks = match answer {
        Answer::Released(tasks) => tasks,
        _ => 0,
    };
    Ok(Json(api::Released { tasks }))
}

fn summary(shared: &Shared, reader: &mut dyn Reader) -> Result<api::Status, Failed> {
    let config = shared.config();
    let live = reader.live_runs()?;
    let counts = reader.counts()?;
    let count = |status: TaskStatus| counts.get(&status).copied().unwrap_or(0);
    let needs_you = reader.needing_person(NEEDS_YOU)?;
    let mut needs_you = views(shared, reader, &needs_you)?;
    needs_you.extend(hindered(shared, reader, &live)?);
    Ok(api::Status {
        project: config.name.clone(),
        target: config.target.clone(),
        service: service_word(shared.service()).to_owned(),
        pid: shared.follows.then(std::process::id),
        max_agents: config.core.max_agents,
        tasks: api::Counts {
            todo: count(TaskStatus::Todo),
            in_progress: count(TaskStatus::InProgress),
            retrying: count(TaskStatus::Retrying),
            review: count(TaskStatus::Review),
            done: count(TaskStatus::Done),
            failed: count(TaskStatus::Failed),
            cancelled: count(TaskStatus::Cancelled),
        },
        agents: agents(&config, &live),
        runs: live.iter().map(convert::run).collect(),
        needs_you,
        last_event: reader.last_event()?,
        config_error: shared.config_error(),
        paused: shared.paused(),
    })
}

/// The tasks whose run stands still, or has ended and cannot be recorded, before a person does
/// something.
fn hindered(
    shared: &Shared,
    reader: &mut dyn Reader,
    live: &[Run],
) -> Result<Vec<api::Task>, Failed> {
    let needs_person = |run: &&Run| {
        let wait = hindrance(shared, run);
        wait.is_some_and(|wait| wait.actor == Actor::Person)
    };
    let mut tasks = Vec::new();
    for run in live.iter().filter(needs_person).take(NEEDS_YOU) {
        tasks.extend(reader.task(&run.task)?);
    }
    views(shared, reader, &tasks)
}

fn agents(config: &Loaded, live: &[Run]) -> Vec<api::Agent> {
    let runs_of = |entry: &AgentEntry| {
        let runs = live.iter().filter(|run| run.agent == entry.name);
        runs.map(|run| run.id.to_string()).collect()
    };
    let agent = |entry: &AgentEntry| api::Agent {
        name: entry.name.to_string(),
        adapter: entry.adapter.clone(),
        model: entry.model.clone(),
        role: entry.role.clone(),
        command: entry.command.clone(),
        labels: entry.labels.iter().cloned().collect(),
        max_parallel: entry.max_parallel,
        enabled: entry.enabled,
        runs: runs_of(entry),
    };
    config.agents.iter().map(agent).collect()
}

const fn service_word(service: Service) -> &'static str {
    match service {
        Service::Serving | Service::NoSpace | Service::NoResources => "serving",
        Service::Draining => "draining",
        Service::Stopped => "stopped",
    }
}

/// What a prefix stands for: a task or a run.
pub(super) async fn resolve(
    State(shared): State<Arc<Shared>>,
    prefix: Id,
) -> Result<Json<Value>, Failed> {
    let prefix = checked_id(prefix)?;
    let kind = if prefix.starts_with(RunId::PREFIX) {
        checked_prefix::<RunId>(&prefix, RunId::PREFIX).map(drop)?;
        "run"
    } else {
        checked_prefix::<TaskId>(&prefix, TaskId::PREFIX).map(drop)?;
        "task"
    };
    let (tasks, runs) = shared.read(|reader| {
        let tasks = reader.task_ids_with_prefix(&prefix, CANDIDATES)?;
        Ok::<_, Failed>((tasks, reader.run_ids_with_prefix(&prefix, CANDIDATES)?))
    })?;
    let mut found: Vec<(&str, String)> = Vec::new();
    found.extend(tasks.iter().map(|id| ("task", id.to_string())));
    found.extend(runs.iter().map(|id| ("run", id.to_string())));
    match found.as_slice() {
        [(kind, id)] => Ok(Json(json!({ "kind": kind, "id": id }))),
        [] => Err(Failed::not_found(kind, &prefix)),
        several => Err(ambiguous(
            &prefix,
            several.iter().map(|(_, id)| id.as_str()),
        )),
    }
}
