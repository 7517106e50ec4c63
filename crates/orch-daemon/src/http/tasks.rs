//! Tasks: what the wire says becomes a request to the engine, and its answer becomes JSON.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use orch_api::types as api;
use orch_core::TaskId;
use orch_core::id::BadId;
use orch_core::request::{Answer, NewTask, Request, TaskEdit};
use orch_core::run::Run;
use orch_core::task::{Dependency, DependencyKind, Priority, Task, TaskState};
use orch_core::wait::{self, Actor, Wait, WaitCode};
use orch_host::run_dir::RunDir;
use orch_host::supervise;
use orch_store::{Reader, TaskFilter};
use serde::Deserialize;

use super::failure::Failed;
use super::{ask, body};
use crate::convert;
use crate::shared::Shared;

/// Rows in a listing that does not say.
pub(super) const PAGE: usize = 100;
/// Most rows in a listing.
pub(super) const PAGE_MOST: usize = 10_000;

/// A segment of the path, or why it is none.
pub(super) type Id = Result<Path<String>, PathRejection>;

/// A task with what it waits for.
pub(super) fn view(
    shared: &Shared,
    reader: &mut dyn Reader,
    task: &Task,
) -> Result<api::Task, Failed> {
    let live = reader.live_runs()?;
    view_beside(shared, reader, task, &live)
}

/// Many tasks with what they wait for; what they share is read once.
pub(super) fn views(
    shared: &Shared,
    reader: &mut dyn Reader,
    tasks: &[Task],
) -> Result<Vec<api::Task>, Failed> {
    let live = reader.live_runs()?;
    tasks
        .iter()
        .map(|task| view_beside(shared, reader, task, &live))
        .collect()
}

fn view_beside(
    shared: &Shared,
    reader: &mut dyn Reader,
    task: &Task,
    live: &[Run],
) -> Result<api::Task, Failed> {
    let dependencies = reader.dependencies(&task.id)?;
    let config = shared.config();
    let wait = wait::explain(reader.ledger(), task, &config.core, live, shared.service())?;
    // What the daemon knows of a run at this moment says more than that an agent works on it.
    let now = match &task.state {
        TaskState::InProgress { run } => {
            let run = live.iter().find(|live| &live.id == run);
            run.and_then(|run| hindrance(shared, run))
        }
        _ => None,
    };
    Ok(convert::task(task, &dependencies, now.or(wait).as_ref()))
}

/// What a live run waits for at this moment, if not for its agent alone: what was noted, or that
/// its agent stands still.
pub(super) fn hindrance(shared: &Shared, run: &Run) -> Option<Wait> {
    let noted = shared.hindrance(&run.id);
    if noted.is_some() || run.stop.is_some() {
        return noted;
    }
    let dir = RunDir::new(&shared.project.runs(), &run.id);
    // What cannot be looked at is not said.
    let pid = supervise::stopped_agent(&dir).ok().flatten()?;
    Some(Wait {
        code: WaitCode::Agent,
        message: format!(
            "{} works on it in {}, but a signal has stopped its process: 'kill -CONT {pid}' lets \
             it go on, 'orch task cancel {}' ends it",
            run.agent, run.id, run.task
        ),
        actor: Actor::Person,
        until: None,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    status: Option<String>,
    label: Option<String>,
    agent: Option<String>,
    limit: Option<usize>,
    /// The id of the last task of the page before.
    before: Option<String>,
}

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Vec<api::Task>>, Failed> {
    let query = checked_query(query)?;
    let before = query.before.as_deref();
    let before = before.map(|id| seq_of(&shared, id)).transpose()?;
    let filter = TaskFilter {
        before_seq: before,
        ..filter(query)?
    };
    let tasks = shared.read(|reader| {
        let tasks = reader.tasks(&filter)?;
        views(&shared, reader, &tasks)
    })?;
    Ok(Json(tasks))
}

/// When a task arrived. A page that would begin behind a task that is gone is refused: it cannot
/// be told from the end of the list.
fn seq_of(shared: &Shared, prefix: &str) -> Result<u64, Failed> {
    let id = find(shared, prefix)?;
    let task = shared.read(|reader| reader.task(&id))?;
    task.map(|task| task.seq)
        .ok_or_else(|| Failed::not_found("task", id.as_str()))
}

fn filter(query: ListQuery) -> Result<TaskFilter, Failed> {
    let statuses = query.status.as_deref().unwrap_or_default();
    let statuses = statuses
        .split(',')
        .filter(|word| !word.is_empty())
        .map(|word| {
            word.trim()
                .parse()
                .map_err(|error: orch_core::text::UnknownWord| word_error("status", &error))
        });
    let agent = query.agent.map(|name| name.parse()).transpose();
    Ok(TaskFilter {
        statuses: statuses.collect::<Result<_, _>>()?,
        label: query.label,
        agent: agent.map_err(|error: orch_core::id::BadAgentName| {
            Failed::field("agent", "bad_agent_name", error.to_string())
        })?,
        limit: checked_limit(query.limit)?,
        ..TaskFilter::default()
    })
}

/// How many rows; refused rather than cut.
pub(super) fn checked_limit(limit: Option<usize>) -> Result<usize, Failed> {
    match limit.unwrap_or(PAGE) {
        limit @ 1..=PAGE_MOST => Ok(limit),
        limit => Err(
            Failed::field("limit", "out_of_range", "the limit is out of range")
                .limit(format!("1 to {PAGE_MOST}"), limit),
        ),
    }
}

pub(super) fn checked_query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Failed> {
    match query {
        Ok(Query(query)) => Ok(query),
        Err(error) => {
            let message = error.body_text();
            Err(Failed::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad_query",
                message,
            ))
        }
    }
}

pub(super) fn checked_id(id: Id) -> Result<String, Failed> {
    id.map(|Path(id)| id).map_err(|_| {
        Failed::new(
            StatusCode::BAD_REQUEST,
            "bad_id",
            "the id in the path is not UTF-8",
        )
    })
}

fn word_error(field: &str, error: &orch_core::text::UnknownWord) -> Failed {
    Failed::field(field, "unknown_word", error.to_string())
        .limit(error.known.join(", "), &error.given)
}

/// An id in full, or a text that an id of this kind may begin with. Anything else is refused: a
/// text that is too short to say what it means could be the beginning of the only task there is.
pub(super) fn checked_prefix<T>(text: &str, kind: &str) -> Result<Result<T, BadId>, Failed>
where
    T: std::str::FromStr<Err = BadId>,
{
    let parsed = text.parse::<T>();
    match &parsed {
        Err(bad) if !may_begin(text, kind) => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            Err(Failed::new(status, "bad_id", bad.to_string()))
        }
        _ => Ok(parsed),
    }
}

fn may_begin(text: &str, kind: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.strip_prefix(kind)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(allowed))
}

/// The task a person means by an id or the beginning of one.
pub(super) fn find(shared: &Shared, prefix: &str) -> Result<TaskId, Failed> {
    if let Ok(id) = checked_prefix(prefix, TaskId::PREFIX)? {
        return Ok(id);
    }
    let found = shared.read(|reader| reader.task_ids_with_prefix(prefix, 10))?;
    match found.as_slice() {
        [id] => Ok(id.clone()),
        [] => Err(Failed::not_found("task", prefix)),
        several => Err(ambiguous(prefix, several.iter().map(TaskId::as_str))),
    }
}

pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    id: Id,
) -> Result<Json<api::Task>, Failed> {
    let id = find(&shared, &checked_id(id)?)?;
    let task = shared.read(|reader| match reader.task(&id)? {
        Some(task) => view(&shared, reader, &task).map(Some),
        None => Ok(None),
    })?;
    task.map(Json)
        .ok_or_else(|| Failed::not_found("task", id.as_str()))
}

pub(super) async fn why(
    State(shared): State<Arc<Shared>>,
    id: Id,
) -> Result<Json<api::Why>, Failed> {
    let id = find(&shared, &checked_id(id)?)?;
    let why = shared.read(|reader| match reader.task(&id)? {
        Some(task) => explain(&shared, reader, &task).map(Some),
        None => Ok(None),
    })?;
    why.map(Json)
        .ok_or_else(|| Failed::not_found("task", id.as_str()))
}

fn explain(shared: &Shared, reader: &mut dyn Reader, task: &Task) -> Result<api::Why, Failed> {
    let run = match &task.last_run {
        Some(run) => reader.run(run)?,
        None => None,
    };
    let mut dependencies = Vec::new();
    for it in reader.dependencies(&task.id)? {
        let other = reader.task(&it.dependency.on)?;
        dependencies.push(api::WhyDependency {
            id: it.dependency.on.to_string(),
            title: other.map_or_else(String::new, |other| other.title),
            status: it.status.to_string(),
            kind: it.dependency.kind.to_string(),
            met: it.dependency.kind.is_met_by(it.status),
        });
    }
    Ok(api::Why {
        task: view(shared, reader, task)?,
        run: run.as_ref().map(convert::run),
        dependencies,
    })
}

pub(super) async fn add(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    bytes: body::Raw,
) -> Result<(StatusCode, Json<api::Changed>), Failed> {
    let new = new_task(&shared, body::read(&headers, bytes)?)?;
    let changed = change(&shared, Request::Add(Box::new(new))).await?;
    Ok((StatusCode::CREATED, changed))
}

pub(super) async fn edit(
    State(shared): State<Arc<Shared>>,
    id: Id,
    headers: HeaderMap,
    bytes: body::Raw,
) -> Result<Json<api::Changed>, Failed> {
    let task = find(&shared, &checked_id(id)?)?;
    let edit = task_edit(&shared, body::read(&headers, bytes)?)?;
    change(
        &shared,
        Request::Edit {
            task,
            edit: Box::new(edit),
        },
    )
    .await
}

pub(super) async fn cancel(
    State(shared): State<Arc<Shared>>,
    id: Id,
) -> Result<Json<api::Changed>, Failed> {
    change_one(&shared, id, |task| Request::Cancel { task }).await
}

pub(super) async fn retry(
    State(shared): State<Arc<Shared>>,
    id: Id,
) -> Result<Json<api::Changed>, Failed> {
    change_one(&shared, id, |task| Request::Retry { task }).await
}

pub(super) async fn approve(
    State(shared): State<Arc<Shared>>,
    id: Id,
) -> Result<Json<api::Changed>, Failed> {
    change_one(&shared, id, |task| Request::Approve { task }).await
}

pub(super) async fn reject(
    State(shared): State<Arc<Shared>>,
    id: Id,
    headers: HeaderMap,
    bytes: body::Raw,
) -> Result<Json<api::Changed>, Failed> {
    let task = find(&shared, &checked_id(id)?)?;
    let api::Rejection { reason } = body::read(&headers, bytes)?;
    change(&shared, Request::Reject { task, reason }).await
}

pub(super) async fn resume(
    State(shared): State<Arc<Shared>>,
    id: Id,
    headers: HeaderMap,
    bytes: body::Raw,
) -> Result<Json<api::Changed>, Failed> {
    let task = find(&shared, &checked_id(id)?)?;
    let api::Resumption { message } = body::read(&headers, bytes)?;
    change(&shared, Request::Resume { task, message }).await
}

pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    id: Id,
) -> Result<Json<api::Changed>, Failed> {
    change_one(&shared, id, |task| Request::Delete { task }).await
}

/// What a request that needs nothing but its task comes to.
async fn change_one(
    shared: &Shared,
    id: Id,
    request: impl FnOnce(TaskId) -> Request,
) -> Result<Json<api::Changed>, Failed> {
    let task = find(shared, &checked_id(id)?)?;
    change(shared, request(task)).await
}

async fn change(shared: &Shared, request: Request) -> Result<Json<api::Changed>, Failed> {
    let (change, task) = match ask(shared, request).await? {
        Answer::Task(task) | Answer::Landing(task) => ("done", Some(task)),
        Answer::Unchanged(task) => ("unchanged", Some(task)),
        Answer::Stopping(task) => ("stopping", Some(task)),
        Answer::Deleted(_) => ("deleted", None),
        Answer::Released(_) => ("done", None),
    };
    let task = match task {
        Some(task) => Some(shared.read(|reader| view(shared, reader, &task))?),
        None => None,
    };
    Ok(Json(api::Changed {
        change: change.to_owned(),
        task,
    }))
}

fn new_task(shared: &Shared, new: api::NewTask) -> Result<NewTask, Failed> {
    let mut dependencies = dependencies(shared, &new.depends_on, DependencyKind::Succeeded)?;
    dependencies.extend(self::dependencies(
        shared,
        &new.after_any,
        DependencyKind::Ended,
    )?);
    dependencies.sort();
    dependencies.dedup();
    Ok(NewTask {
        title: new.title,
        description: new.description,
        priority: new.priority.map(priority).transpose()?,
        agent: new.agent.map(|name| agent(&name)).transpose()?,
        labels: new.labels.into_iter().collect(),
        scope: new.scope,
        attachments: new.attachments,
        dependencies,
        workspace: word("workspace", new.workspace.as_deref())?,
        review: word("review", new.review.as_deref())?,
        on_lost: word("on_lost", new.on_lost.as_deref())?,
        require: word("require", new.require.as_deref())?,
        max_attempts: new.max_attempts,
        timeout_ms: new.timeout_ms,
        stall_ms: new.stall_ms,
    })
}

fn task_edit(shared: &Shared, edit: api::EditTask) -> Result<TaskEdit, Failed> {
    let dependencies = match (&edit.depends_on, &edit.after_any) {
        (None, None) => None,
        (succeeded, ended) => {
            let succeeded = succeeded.as_deref().unwrap_or_default();
            let mut all = dependencies(shared, succeeded, DependencyKind::Succeeded)?;
            let ended = ended.as_deref().unwrap_or_default();
            all.extend(dependencies(shared, ended, DependencyKind::Ended)?);
            all.sort();
            all.dedup();
            Some(all)
        }
    };
    let agent = match edit.agent.as_deref() {
        None => None,
        Some("") => Some(None),
        Some(name) => Some(Some(agent(name)?)),
    };
    let require = match edit.require.as_deref() {
        None => None,
        Some("") => Some(None),
        some => Some(word("require", some)?),
    };
    Ok(TaskEdit {
        title: edit.title,
        description: edit.description,
        priority: edit.priority.map(priority).transpose()?,
        agent,
        labels: edit.labels.map(|labels| labels.into_iter().collect()),
        dependencies,
        max_attempts: edit.max_attempts,
        timeout_ms: edit.timeout_ms,
        require,
    })
}

fn dependencies(
    shared: &Shared,
    prefixes: &[String],
    kind: DependencyKind,
) -> Result<Vec<Dependency>, Failed> {
    prefixes
        .iter()
        .map(|prefix| {
            Ok(Dependency {
                on: find(shared, prefix)?,
                kind,
            })
        })
        .collect()
}

fn priority(number: u8) -> Result<Priority, Failed> {
    Priority::new(number).ok_or_else(|| {
        Failed::field(
            "priority",
            "out_of_range",
            "the priority must be from 1 (urgent) to 4",
        )
        .limit("1 to 4", number)
    })
}

/// What helps who named an agent that cannot be.
pub(super) const AGENTS: &str = "'orch agent list' lists the agents there are";

fn agent(name: &str) -> Result<orch_core::AgentName, Failed> {
    name.parse().map_err(|error: orch_core::id::BadAgentName| {
        Failed::field("agent", "bad_agent_name", error.to_string()).hint(AGENTS)
    })
}

fn word<T>(field: &str, word: Option<&str>) -> Result<Option<T>, Failed>
where
    T: std::str::FromStr<Err = orch_core::text::UnknownWord>,
{
    word.map(str::parse)
        .transpose()
        .map_err(|error| word_error(field, &error))
}

/// A beginning that several ids have.
pub(super) fn ambiguous<'a>(prefix: &str, candidates: impl Iterator<Item = &'a str>) -> Failed {
    let candidates: Vec<&str> = candidates.collect();
    let message = format!("'{prefix}' could be {} things", candidates.len());
    Failed::new(StatusCode::CONFLICT, "ambiguous", message)
        .hint(format!("one of: {}", candidates.join(", ")))
}
