//! Runs: rows, what agents said, and the bytes they wrote.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use orch_api::types as api;
use orch_core::RunId;
use orch_core::run::Run;
use orch_host::run_dir::RunDir;
use orch_store::RunFilter;
use serde::Deserialize;

use super::events::{Source, follow};
use super::failure::Failed;
use super::tasks::{
    AGENTS, Id, ambiguous, checked_id, checked_limit, checked_prefix, checked_query,
    find as find_task,
};
use crate::careful;
use crate::convert;
use crate::shared::Shared;

/// Most bytes read from a log at once.
const CHUNK: usize = 256 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    task: Option<String>,
    agent: Option<String>,
    limit: Option<usize>,
    /// The id of the last run of the page before.
    before: Option<String>,
}

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Vec<api::Run>>, Failed> {
    let query = checked_query(query)?;
    let agent = query.agent.map(|name| name.parse()).transpose();
    let filter = RunFilter {
        task: query
            .task
            .map(|prefix| find_task(&shared, &prefix))
            .transpose()?,
        agent: agent.map_err(|error: orch_core::id::BadAgentName| {
            Failed::field("agent", "bad_agent_name", error.to_string()).hint(AGENTS)
        })?,
        limit: checked_limit(query.limit)?,
        before: query
            .before
            .map(|prefix| existing(&shared, &prefix).map(|run| run.id))
            .transpose()?,
    };
    let runs = shared.read(|reader| reader.runs(&filter))?;
    Ok(Json(runs.iter().map(convert::run).collect()))
}

pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    id: Id,
) -> Result<Json<api::Run>, Failed> {
    let id = find(&shared, &checked_id(id)?)?;
    let run = shared.read(|reader| reader.run(&id))?;
    run.map(|run| Json(convert::run(&run)))
        .ok_or_else(|| Failed::not_found("run", id.as_str()))
}

/// The run a person means by an id or the beginning of one.
fn find(shared: &Shared, prefix: &str) -> Result<RunId, Failed> {
    if let Ok(id) = checked_prefix(prefix, RunId::PREFIX)? {
        return Ok(id);
    }
    let found = shared.read(|reader| reader.run_ids_with_prefix(prefix, 10))?;
    match found.as_slice() {
        [id] => Ok(id.clone()),
        [] => Err(Failed::not_found("run", prefix)),
        several => Err(ambiguous(prefix, several.iter().map(RunId::as_str))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    after: Option<u64>,
    since: Option<String>,
    follow: Option<bool>,
}

/// The lines of `events.jsonl`, from a number or a time on.
pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    id: Id,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, Failed> {
    let run = existing(&shared, &checked_id(id)?)?;
    let query = checked_query(query)?;
    let since = query.since.as_deref().map(moment).transpose()?;
    let dir = RunDir::new(&shared.project.runs(), &run.id);
    must_be_there(&run, &dir, &dir.events())?;
    let lines = Lines {
        file: Growing::from(dir.events(), 0),
        rest: Vec::new(),
        after: query.after.unwrap_or(0),
        since,
    };
    let source = Output {
        shared: Arc::clone(&shared),
        run: run.id,
        part: lines,
    };
    Ok(stream(
        "application/x-ndjson",
        follow(&shared, source, query.follow.unwrap_or(false)),
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    stream: Option<String>,
    /// How many bytes not to read: whoever was cut off has them.
    skip: Option<u64>,
    follow: Option<bool>,
}

/// The bytes the agent wrote, as they are.
pub(super) async fn log(
    State(shared): State<Arc<Shared>>,
    id: Id,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Response, Failed> {
    let run = existing(&shared, &checked_id(id)?)?;
    let query = checked_query(query)?;
    let dir = RunDir::new(&shared.project.runs(), &run.id);
    let path = match query.stream.as_deref() {
        None | Some("out") => dir.out_log(),
        Some("err") => dir.err_log(),
        Some(other) => {
            let message = format!("the stream is 'out' or 'err', not '{other}'");
            return Err(Failed::field("stream", "unknown_word", message));
        }
    };
    must_be_there(&run, &dir, &path)?;
    let source = Output {
        shared: Arc::clone(&shared),
        run: run.id,
        part: Growing::from(path, query.skip.unwrap_or(0)),
    };
    Ok(stream(
        "application/octet-stream",
        follow(&shared, source, query.follow.unwrap_or(false)),
    ))
}

fn existing(shared: &Shared, prefix: &str) -> Result<Run, Failed> {
    let id = find(shared, prefix)?;
    shared
        .read(|reader| reader.run(&id))?
        .ok_or_else(|| Failed::not_found("run", id.as_str()))
}

/// An agent that said nothing and one whose words are gone must not look alike.
fn must_be_there(run: &Run, dir: &RunDir, file: &Path) -> Result<(), Failed> {
    let is_gone = |path: &Path| matches!(path.try_exists(), Ok(false));
    let is_made = match run.status().is_final() {
        true => run.started_at.is_some(),
        // Its files are being made, but not its directory any more.
        false => run.started_at.is_some() && is_gone(dir.path()),
    };
    if file.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        let message = format!(
            "what {} wrote cannot be read: {} is no regular file",
            run.id,
            file.display()
        );
        return Err(
            Failed::new(StatusCode::CONFLICT, "not_a_file", message).hint(format!(
                "look at it and move it away; 'orch show {}' says what is recorded",
                run.id
            )),
        );
    }
    if !is_made || !is_gone(file) {
        return Ok(());
    }
    let message = format!(
        "what {} wrote is gone: {} was removed",
        run.id,
        file.display()
    );
    Err(
        Failed::new(StatusCode::NOT_FOUND, "output_gone", message).hint(format!(
            "'orch show {}' says what is recorded of it",
            run.id
        )),
    )
}

fn moment(text: &str) -> Result<jiff::Timestamp, Failed> {
    text.parse().map_err(|_| {
        let message = format!("'{text}' is not a time; one looks like 2026-11-22T17:00:00Z");
        Failed::field("since", "bad_time", message)
    })
}

fn stream(kind: &'static str, body: Body) -> Response {
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

/// A part of what a run wrote that can be read on and on.
pub(super) trait Part: Send + 'static {
    /// The next bytes; empty when there are none now.
    fn next(&mut self) -> io::Result<Vec<u8>>;
}

/// What a run writes, until it has ended and everything is read.
struct Output<P> {
    shared: Arc<Shared>,
    run: RunId,
    part: P,
}

impl<P: Part> Source for Output<P> {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        // Asked before reading: what is written before the end is then certainly read.
        let ended = self.has_ended();
        let bytes = self.part.next()?;
        match (bytes.is_empty(), ended) {
            (true, true) => Ok(None),
            _ => Ok(Some(Bytes::from(bytes))),
        }
    }

    fn news(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.output()
    }
}

impl<P> Output<P> {
    fn has_ended(&self) -> bool {
        let run = self.shared.read(|reader| reader.run(&self.run));
        !run.is_ok_and(|run| run.is_some_and(|run| !run.status().is_final()))
    }
}

/// A file that is appended to and may not exist yet.
struct Growing {
    path: PathBuf,
    at: u64,
}

impl Growing {
    const fn from(path: PathBuf, at: u64) -> Self {
        Self { path, at }
    }
}

impl Part for Growing {
    fn next(&mut self) -> io::Result<Vec<u8>> {
        // The run directory is an agent's to change: a FIFO here would stop every answer.
        let mut file = match careful::open_regular(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = vec![0; CHUNK];
        let count = file.read(&mut bytes)?;
        bytes.truncate(count);
        self.at += count as u64;
        Ok(bytes)
    }
}

/// Whole lines of `events.jsonl` that are new enough.
struct Lines {
    file: Growing,
    rest: Vec<u8>,
    after: u64,
    since: Option<jiff::Timestamp>,
}

impl Part for Lines {
    fn next(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let bytes = self.file.next()?;
            if bytes.is_empty() {
                return Ok(Vec::new());
            }
            self.rest.extend_from_slice(&bytes);
            let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
                continue;
            };
            let rest = self.rest.split_off(end + 1);
            let whole = std::mem::replace(&mut self.rest, rest);
            let wanted: Vec<u8> = whole
                .split_inclusive(|byte| *byte == b'\n')
                .filter(|line| self.wants(line))
                .flatten()
                .copied()
                .collect();
            if !wanted.is_empty() {
                return Ok(wanted);
            }
        }
    }
}

/// As much of an event as the filter looks at.
#[derive(Deserialize)]
struct Head {
    seq: u64,
    time: String,
}

impl Lines {
    fn wants(&self, line: &[u8]) -> bool {
        if self.after == 0 && self.since.is_none() {
            return true;
        }
        let Ok(head) = serde_json::from_slice::<Head>(line) else {
            return true;
        };
        let young = self.since.is_none_or(|since| {
            head.time
                .parse::<jiff::Timestamp>()
                .is_ok_and(|time| time >= since)
        });
        head.seq > self.after && young
    }
}
