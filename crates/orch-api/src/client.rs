//! The typed client: one blocking method per route, over the daemon's unix socket or straight
//! into a service of the same process.
//!
//! This module must not know which of the two it talks to beyond the first function, nor what a
//! task means. It owns a small runtime of its own, so that callers need none.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

use crate::types::{
    AgentEvent, ApiError, Changed, Daemon, EditTask, ErrorBody, Event, GivenUp, NewTask, Prompt,
    PruneRescues, Rejection, Released, Rescue, RescueContents, Resolved, RestoreRescue, Restored,
    Resumption, Run, Status, Task, Why,
};
use crate::{API_VERSION, VERSION_HEADER};

/// Longest an answer may take to begin. A daemon that is silent for longer is not there.
const ANSWER_SECONDS_MAX: u64 = 60;
/// How often it is looked whether whoever is to answer stands still.
const LOOK: Duration = Duration::from_millis(500);
/// So many looks in a row must find it standing still: a moment is no news.
const LOOKS: u32 = 4;
/// How long a connection that was made beforehand is used for a request.
const FRESH: Duration = Duration::from_secs(1);
/// Largest answer that is read whole, bytes.
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// Longest line of a stream, bytes. A run's event carries at most one line of its agent.
const LINE_BYTES_MAX: usize = 256 << 20;

/// Any error a body or connection may end with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer, whoever gave it.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

type Local = BoxCloneSyncService<Request<Full<Bytes>>, Response<ResponseBody>, Infallible>;

/// Why a request brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// orch understood and said no.
    #[error("{error}")]
    Api {
        /// What it said.
        error: Box<ApiError>,
        /// The HTTP status it said it with.
        status: u16,
    },
    /// Nobody answered.
    #[error("no answer from the daemon at {at}")]
    Unreachable {
        /// The socket, or `this process`.
        at: String,
        /// What the system said.
        #[source]
        source: BoxError,
    },
    /// Something was to be changed, the request was sent, and no answer came.
    #[error("no answer from {at}: whether it was done is not known")]
    Unanswered {
        /// The socket, or `this process`.
        at: String,
        /// What the system said.
        #[source]
        source: BoxError,
    },
    /// The daemon is there and stands still: a signal has stopped it.
    #[error("the daemon (pid {pid}) is stopped by a signal and answers nobody{}", unknown(*.changes))]
    Stopped {
        /// Which process it is.
        pid: i32,
        /// Whether something was to be changed, which may be done when it goes on.
        changes: bool,
    },
    /// The daemon speaks another version of this interface.
    #[error("this orch speaks API version {ours}, the daemon speaks {theirs}")]
    Version {
        /// Our version.
        ours: u32,
        /// What the daemon said.
        theirs: String,
    },
    /// This process was to answer by itself and could not.
    #[error("this cannot be read")]
    Unread {
        /// What the system said.
        #[source]
        source: BoxError,
    },
    /// The answer was not understood.
    #[error("{what}")]
    Protocol {
        /// Which answer, and what about it.
        what: String,
        /// The deeper reason, if there is one.
        #[source]
        source: Option<BoxError>,
    },
}

impl ClientError {
    /// The stable word of the error orch answered with, if it was one.
    #[must_use]
    pub fn api_code(&self) -> Option<&str> {
        match self {
            Self::Api { error, .. } => Some(&error.code),
            _ => None,
        }
    }

    /// Whether orch answered that there is no such thing.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { status: 404, .. })
    }
}

/// The result of asking.
pub type Result<T> = std::result::Result<T, ClientError>;

enum Transport {
    Socket {
        path: PathBuf,
        /// A connection that is there already, and since when.
        open: Mutex<Option<(StdStream, Instant)>>,
        /// Tells of a process whether it is stopped by a signal.
        is_stopped: Option<fn(i32) -> bool>,
    },
    Local(Local),
}

struct Inner {
    runtime: Runtime,
    transport: Transport,
}

/// A client. Cheap to clone; every method blocks its caller until the answer is there.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("at", &self.at()).finish()
    }
}

/// Which tasks to list. Empty and `None` do not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskQuery {
    /// Any of these statuses.
    pub status: Vec<String>,
    /// With this label.
    pub label: Option<String>,
    /// That ask for this agent.
    pub agent: Option<String>,
    /// At most so many, the newest.
    pub limit: Option<u32>,
    /// Only those that arrived before this one: the last of the page before.
    pub before: Option<String>,
}

/// Which runs to list. `None` does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunQuery {
    /// Of this task.
    pub task: Option<String>,
    /// By this agent.
    pub agent: Option<String>,
    /// At most so many, the newest.
    pub limit: Option<u32>,
    /// Only those that came before this one: the last of the page before.
    pub before: Option<String>,
}

/// Which part of a log to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamQuery {
    /// Only what comes after this number.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: Option<u32>,
    /// Only what is not older than this moment, RFC 3339.
    pub since: Option<String>,
    /// Whether to wait for what is still to come.
    pub follow: bool,
}

impl Client {
    /// A client of the daemon behind `socket`. Nothing is connected yet.
    ///
    /// # Errors
    /// The system gave no descriptors for a runtime.
    pub fn unix(socket: &Path) -> std::io::Result<Self> {
        Self::over(Transport::Socket {
            path: socket.to_owned(),
            open: Mutex::default(),
            is_stopped: None,
        })
    }

    /// The same where somebody has just connected to it, to see whether anybody listens: the first
    /// request goes over that connection. `is_stopped` says of a process whether it is stopped by a
    /// signal: nobody waits for an answer of one that is.
    ///
    /// # Errors
    /// The system gave no descriptors for a runtime.
    pub fn connected(
        socket: &Path,
        stream: StdStream,
        is_stopped: fn(i32) -> bool,
    ) -> std::io::Result<Self> {
        Self::over(Transport::Socket {
            path: socket.to_owned(),
            open: Mutex::new(Some((stream, Instant::now()))),
            is_stopped: Some(is_stopped),
        })
    }

    /// A client of `service` in this process: an `axum::Router` fits.
    ///
    /// # Errors
    /// The system gave no descriptors for a runtime.
    pub fn local<S, B>(service: S) -> std::io::Result<Self>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let boxed = service.map_response(|response: Response<B>| response.map(boxed_body));
        Self::over(Transport::Local(BoxCloneSyncService::new(boxed)))
    }

    fn over(transport: Transport) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let inner = Arc::new(Inner { runtime, transport });
        Ok(Self { inner })
    }

    /// The project at a glance.
    ///
    /// # Errors
    /// See [`ClientError`]; so for every method below.
    pub fn status(&self) -> Result<Status> {
        self.get("/v1/status")
    }

    /// Tasks, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn tasks(&self, query: &TaskQuery) -> Result<Vec<Task>> {
        let mut path = PathAndQuery::new("/v1/tasks");
        let status = (!query.status.is_empty()).then(|| query.status.join(","));
        path.add("status", status.as_deref());
        path.add("label", query.label.as_deref());
        path.add("agent", query.agent.as_deref());
        path.add_number("limit", query.limit.map(u64::from));
        path.add("before", query.before.as_deref());
        self.get(&path.text)
    }

    /// Adds a task.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn add_task(&self, task: &NewTask) -> Result<Changed> {
        self.ask(Method::POST, "/v1/tasks", Some(task))
    }

    /// One task, by id or unique prefix.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn task(&self, id: &str) -> Result<Task> {
        self.get(&task_path(id, ""))
    }

    /// Changes a task.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn edit_task(&self, id: &str, edit: &EditTask) -> Result<Changed> {
        self.ask(Method::PATCH, &task_path(id, ""), Some(edit))
    }

    /// Removes a task.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn delete_task(&self, id: &str) -> Result<Changed> {
        self.ask::<(), _>(Method::DELETE, &task_path(id, ""), None)
    }

    /// Stops a task for good.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn cancel_task(&self, id: &str) -> Result<Changed> {
        self.act(id, "/cancel")
    }

    /// Gives a task a fresh set of attempts.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn retry_task(&self, id: &str) -> Result<Changed> {
        self.act(id, "/retry")
    }

    /// Finds the work of a task good.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn approve_task(&self, id: &str) -> Result<Changed> {
        self.act(id, "/approve")
    }

    /// Sends a task back with the reason.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn reject_task(&self, id: &str, rejection: &Rejection) -> Result<Changed> {
        self.ask(Method::POST, &task_path(id, "/reject"), Some(rejection))
    }

    /// Sends a task that was ended, or is in review, back to its agent with a message. The agent
    /// goes on with its session where it can.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn resume_task(&self, id: &str, resumption: &Resumption) -> Result<Changed> {
        self.ask(Method::POST, &task_path(id, "/resume"), Some(resumption))
    }

    /// Why a task does not move.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn why(&self, id: &str) -> Result<Why> {
        self.get(&task_path(id, "/why"))
    }

    /// What an agent would be told about a task now: the agent of this name, or the one that would
    /// take it.
    ///
    /// # Errors
    /// Nobody could be asked, there is no such task, nobody could take it, or the configuration
    /// is wrong.
    pub fn task_prompt(&self, id: &str, agent: Option<&str>) -> Result<Prompt> {
        let mut path = PathAndQuery::new(&task_path(id, "/prompt"));
        path.add("agent", agent);
        self.get(&path.text)
    }

    /// Runs, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn runs(&self, query: &RunQuery) -> Result<Vec<Run>> {
        let mut path = PathAndQuery::new("/v1/runs");
        path.add("task", query.task.as_deref());
        path.add("agent", query.agent.as_deref());
        path.add_number("limit", query.limit.map(u64::from));
        path.add("before", query.before.as_deref());
        self.get(&path.text)
    }

    /// One run, by id or unique prefix.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn run(&self, id: &str) -> Result<Run> {
        self.get(&format!("/v1/runs/{}", encoded(id)))
    }

    /// What the agent of a run did, as a stream of [`AgentEvent`] lines.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn run_events(&self, id: &str, query: &StreamQuery) -> Result<Lines> {
        let path = format!("/v1/runs/{}/events", encoded(id));
        self.stream(&query.onto(&path)).map(Lines::new)
    }

    /// What a run wrote, byte for byte, without the first `skip` bytes; `stream` is `out` or `err`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn run_log(&self, id: &str, stream: &str, skip: u64, follow: bool) -> Result<Chunks> {
        let mut path = PathAndQuery::new(&format!("/v1/runs/{}/log", encoded(id)));
        path.add("stream", Some(stream));
        path.add_number("skip", (skip > 0).then_some(skip));
        path.add("follow", follow.then_some("true"));
        self.stream(&path.text)
    }

    /// Facts in the order they were recorded, as a stream of [`Event`] lines.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn events(&self, query: &StreamQuery) -> Result<Lines> {
        self.stream(&query.onto("/v1/events")).map(Lines::new)
    }

    /// The one task or run whose id begins with `prefix`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn resolve(&self, prefix: &str) -> Result<Resolved> {
        self.get(&format!("/v1/resolve/{}", encoded(prefix)))
    }

    /// Everything that orch removed and still keeps, oldest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn rescues(&self) -> Result<Vec<Rescue>> {
        self.get("/v1/rescue")
    }

    /// What is in one of them.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn rescue(&self, id: &str) -> Result<RescueContents> {
        self.get(&rescue_path(id, ""))
    }

    /// Gives one back.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn restore_rescue(&self, id: &str, how: &RestoreRescue) -> Result<Restored> {
        self.ask(Method::POST, &rescue_path(id, "/restore"), Some(how))
    }

    /// Gives one up for good.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn drop_rescue(&self, id: &str) -> Result<GivenUp> {
        self.ask::<(), _>(Method::DELETE, &rescue_path(id, ""), None)
    }

    /// Gives up what is old.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn prune_rescues(&self, which: &PruneRescues) -> Result<GivenUp> {
        self.ask(Method::POST, "/v1/rescue/prune", Some(which))
    }

    /// Has the configuration read again now.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn reload(&self) -> Result<Status> {
        self.ask::<(), _>(Method::POST, "/v1/reload", None)
    }

    /// Tells that a person has agreed to what agents' programs read, so that what waited for that
    /// goes on now.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn agreed(&self) -> Result<Released> {
        self.ask::<(), _>(Method::POST, "/v1/agreed", None)
    }

    /// Who serves.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn daemon(&self) -> Result<Daemon> {
        self.get("/v1/daemon")
    }

    /// Hands every line of the stream at `path` to `each` until it breaks or the stream ends.
    /// `each` may use this client.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn lines(&self, path: &str, mut each: impl FnMut(&[u8]) -> ControlFlow<()>) -> Result<()> {
        let mut lines = Lines::new(self.stream(path)?);
        while let Next::Item(line) = lines.next(None)? {
            if each(&line).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn act(&self, id: &str, verb: &str) -> Result<Changed> {
        self.ask::<(), _>(Method::POST, &task_path(id, verb), None)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask::<(), T>(Method::GET, path, None)
    }

    fn ask<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<T> {
        let changes = changes(&method);
        let request = self.request(method, path, body)?;
        self.inner.runtime.block_on(async {
            let response = self.send(request).await?;
            let status = response.status();
            let body = self.whole(changes, response.into_body()).await?;
            if status.is_success() {
                parsed(path, &body)
            } else {
                Err(refused(path, status, &body))
            }
        })
    }

    /// Opens the stream at `path`.
    ///
    /// # Errors
    /// See [`ClientError`].
    fn stream(&self, path: &str) -> Result<Chunks> {
        let request = self.request::<()>(Method::GET, path, None)?;
        self.inner.runtime.block_on(async {
            let response = self.send(request).await?;
            let status = response.status();
            if status.is_success() {
                let (client, body) = (self.clone(), response.into_body());
                return Ok(Chunks { client, body });
            }
            let body = self.whole(false, response.into_body()).await?;
            Err(refused(path, status, &body))
        })
    }

    fn request<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Request<Full<Bytes>>> {
        let mut builder = Request::builder()
            .method(&method)
            .uri(path)
            .header(HOST, "orch")
            .header(VERSION_HEADER, API_VERSION);
        // A mutation without a body says so with an empty object, so that every one is JSON.
        let bytes = match body {
            Some(body) => serde_json::to_vec(body),
            None if method == Method::POST => Ok(b"{}".to_vec()),
            None => Ok(Vec::new()),
        }
        .map_err(|error| protocol(format!("the request to {path} is not JSON"), error))?;
        if !bytes.is_empty() {
            builder = builder.header(CONTENT_TYPE, "application/json");
        }
        builder
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|error| protocol(format!("{path} is not a path"), error))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<ResponseBody>> {
        let limit = Duration::from_secs(ANSWER_SECONDS_MAX);
        let changes = changes(request.method());
        let answer = async {
            match &self.inner.transport {
                Transport::Socket {
                    path,
                    open,
                    is_stopped,
                } => {
                    let connected = connect(path, fresh(open)).await;
                    let (mut sender, peer) = connected.map_err(|it| self.unreachable(it))?;
                    let stands_still = || peer.filter(|pid| is_stopped.is_some_and(|it| it(*pid)));
                    let response = unless_stopped(sender.send_request(request), stands_still).await;
                    response
                        .map_err(|pid| ClientError::Stopped { pid, changes })?
                        .map(|response| response.map(boxed_body))
                        // Cancelled means that it was not sent.
                        .map_err(|error| self.broken(changes && !error.is_canceled(), error))
                }
                Transport::Local(service) => {
                    let answer = service.clone().oneshot(request).await;
                    answer.map_err(|never| match never {})
                }
            }
        };
        let response = match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer?,
            Err(elapsed) => return Err(self.broken(changes, elapsed)),
        };
        self.check_version(&response)?;
        Ok(response)
    }

    fn check_version(&self, response: &Response<ResponseBody>) -> Result<()> {
        let theirs = match response.headers().get(VERSION_HEADER) {
            Some(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
            // Inside one process there is only one version.
            None if matches!(self.inner.transport, Transport::Local(_)) => return Ok(()),
            None => "none".to_owned(),
        };
        if theirs == API_VERSION.to_string() {
            Ok(())
        } else {
            let ours = API_VERSION;
            Err(ClientError::Version { ours, theirs })
        }
    }

    async fn whole(&self, changes: bool, body: ResponseBody) -> Result<Bytes> {
        let limited = Limited::new(body, ANSWER_BYTES_MAX);
        match limited.collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(source) => Err(self.broken(changes, source)),
        }
    }

    /// An exchange that broke off once the request was under way.
    fn broken(&self, changes: bool, source: impl Into<BoxError>) -> ClientError {
        let source = source.into();
        if changes {
            let at = self.at();
            ClientError::Unanswered { at, source }
        } else {
            self.unreachable(source)
        }
    }

    /// Nothing came, or no more. In one process that is no question of reaching anybody.
    fn unreachable(&self, source: BoxError) -> ClientError {
        match &self.inner.transport {
            Transport::Socket { .. } => ClientError::Unreachable {
                at: self.at(),
                source,
            },
            Transport::Local(_) => ClientError::Unread { source },
        }
    }

    fn at(&self) -> String {
        match &self.inner.transport {
            Transport::Socket { path, .. } => path.display().to_string(),
            Transport::Local(_) => "this process".to_owned(),
        }
    }
}

/// One thing a stream gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<T> {
    /// What came.
    Item(T),
    /// Nothing came within the time given.
    Quiet,
    /// The stream is over.
    End,
}

/// A stream of bytes.
pub struct Chunks {
    client: Client,
    body: ResponseBody,
}

impl Chunks {
    /// The next bytes; waits at most `patience`, or for ever without one.
    ///
    /// # Errors
    /// The stream broke off.
    pub fn next(&mut self, patience: Option<Duration>) -> Result<Next<Bytes>> {
        let body = &mut self.body;
        let frame = self.client.inner.runtime.block_on(async {
            match patience {
                None => Ok(body.frame().await),
                Some(patience) => tokio::time::timeout(patience, body.frame()).await,
            }
        });
        match frame {
            Err(_elapsed) => Ok(Next::Quiet),
            Ok(None) => Ok(Next::End),
            Ok(Some(Err(source))) => Err(self.client.unreachable(source)),
            Ok(Some(Ok(frame))) => Ok(Next::Item(frame.into_data().unwrap_or_default())),
        }
    }
}

/// A stream of lines.
pub struct Lines {
    chunks: Chunks,
    buffer: Vec<u8>,
    /// How much of `buffer` is known to hold no end of line.
    searched: usize,
}

impl Lines {
    const fn new(chunks: Chunks) -> Self {
        Self {
            chunks,
            buffer: Vec::new(),
            searched: 0,
        }
    }

    /// The next line without its end; waits at most `patience`, or for ever without one.
    ///
    /// # Errors
    /// The stream broke off, or the line is longer than anything orch sends.
    pub fn next(&mut self, patience: Option<Duration>) -> Result<Next<Vec<u8>>> {
        loop {
            if let Some(line) = self.buffered() {
                return Ok(Next::Item(line));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                let what = format!("a line is longer than {LINE_BYTES_MAX} bytes");
                return Err(ClientError::Protocol { what, source: None });
            }
            match self.chunks.next(patience)? {
                Next::Item(chunk) => self.buffer.extend_from_slice(&chunk),
                Next::Quiet => return Ok(Next::Quiet),
                Next::End if self.buffer.is_empty() => return Ok(Next::End),
                Next::End => {
                    self.searched = 0;
                    return Ok(Next::Item(std::mem::take(&mut self.buffer)));
                }
            }
        }
    }

    /// The next line as what it stands for.
    ///
    /// # Errors
    /// As [`Lines::next`], or the line is not what was expected.
    pub fn next_as<T: DeserializeOwned>(&mut self, patience: Option<Duration>) -> Result<Next<T>> {
        Ok(match self.next(patience)? {
            Next::Item(line) => Next::Item(parsed("the stream", &line)?),
            Next::Quiet => Next::Quiet,
            Next::End => Next::End,
        })
    }

    /// The next event of a run.
    ///
    /// # Errors
    /// As [`Lines::next_as`].
    pub fn next_agent_event(&mut self, patience: Option<Duration>) -> Result<Next<AgentEvent>> {
        self.next_as(patience)
    }

    /// The next fact.
    ///
    /// # Errors
    /// As [`Lines::next_as`].
    pub fn next_event(&mut self, patience: Option<Duration>) -> Result<Next<Event>> {
        self.next_as(patience)
    }

    fn buffered(&mut self) -> Option<Vec<u8>> {
        let found = self.buffer[self.searched..]
            .iter()
            .position(|&byte| byte == b'\n');
        let Some(at) = found else {
            self.searched = self.buffer.len();
            return None;
        };
        let rest = self.buffer.split_off(self.searched + at + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.pop();
        self.searched = 0;
        Some(line)
    }
}

fn boxed_body<B>(body: B) -> ResponseBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// Whether a request of this method changes something.
fn changes(method: &Method) -> bool {
    *method != Method::GET
}

/// The connection that is there already, unless it has waited so long that who listens may have
/// given it up.
fn fresh(open: &Mutex<Option<(StdStream, Instant)>>) -> Option<StdStream> {
    let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
    let (stream, since) = open.take()?;
    (since.elapsed() < FRESH).then_some(stream)
}

/// Waits for an answer, but not of one that stands still each time it is looked at.
async fn unless_stopped<T>(
    answer: impl Future<Output = T>,
    stands_still: impl Fn() -> Option<i32>,
) -> std::result::Result<T, i32> {
    let mut answer = pin!(answer);
    let mut looks = 0;
    loop {
        if let Ok(answer) = tokio::time::timeout(LOOK, &mut answer).await {
            return Ok(answer);
        }
        match stands_still() {
            Some(pid) if looks + 1 >= LOOKS => return Err(pid),
            Some(_) => looks += 1,
            None => looks = 0,
        }
    }
}

/// What is to be said besides of a request that is not answered.
const fn unknown(changes: bool) -> &'static str {
    match changes {
        true => "; whether this is done when it goes on is not known",
        false => "",
    }
}

/// Connects; also says which process listens, where the system tells.
async fn connect(
    path: &Path,
    open: Option<StdStream>,
) -> std::result::Result<(SendRequest<Full<Bytes>>, Option<i32>), BoxError> {
    let stream = match open {
        Some(open) => {
            open.set_nonblocking(true)?;
            UnixStream::from_std(open)?
        }
        None => UnixStream::connect(path).await?,
    };
    let peer = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // The connection works whenever the caller waits for something; what it could not deliver,
    // the body or the answer reports.
    tokio::spawn(connection);
    Ok((sender, peer))
}

fn parsed<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body)
        .map_err(|error| protocol(format!("the answer of {path} was not understood"), error))
}

fn refused(path: &str, status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => ClientError::Api {
            error: Box::new(body.error),
            status: status.as_u16(),
        },
        Err(error) => protocol(format!("{path} answered {status} without a reason"), error),
    }
}

fn protocol(what: String, source: impl Into<BoxError>) -> ClientError {
    let source = Some(source.into());
    ClientError::Protocol { what, source }
}

fn rescue_path(id: &str, verb: &str) -> String {
    format!("/v1/rescue/{}{verb}", encoded(id))
}

fn task_path(id: &str, verb: &str) -> String {
    format!("/v1/tasks/{}{verb}", encoded(id))
}

/// `text` as one segment of a path or one value of a query: everything but letters, digits and
/// `-_~` is percent-encoded, the dot too, so that no text can climb out of its place.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

struct PathAndQuery {
    text: String,
    separator: char,
}

impl PathAndQuery {
    fn new(path: &str) -> Self {
        Self {
            text: path.to_owned(),
            separator: '?',
        }
    }

    fn add(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text.push(self.separator);
            self.text.push_str(name);
            self.text.push('=');
            self.text.push_str(&encoded(value));
            self.separator = '&';
        }
    }

    fn add_number(&mut self, name: &str, value: Option<u64>) {
        self.add(name, value.map(|value| value.to_string()).as_deref());
    }
}

impl StreamQuery {
    fn onto(&self, path: &str) -> String {
        let mut path = PathAndQuery::new(path);
        path.add_number("after", self.after);
        path.add_number("limit", self.limit.map(u64::from));
        path.add("since", self.since.as_deref());
        path.add("follow", self.follow.then_some("true"));
        path.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::service_fn;

    /// A service that answers every request with what `answer` makes of its method, path and body.
    fn client(
        answer: impl Fn(&str, &str, &str) -> Response<Full<Bytes>> + Clone + Send + Sync + 'static,
    ) -> Client {
        Client::local(service_fn(move |request: Request<Full<Bytes>>| {
            let answer = answer.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.expect("a full body").to_bytes();
                let body = String::from_utf8(body.to_vec()).expect("JSON is UTF-8");
                let path = head.uri.to_string();
                Ok::<_, Infallible>(answer(head.method.as_str(), &path, &body))
            }
        }))
        .expect("a runtime")
    }

    fn reply(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
        Response::builder()
            .status(status)
            .body(Full::new(body.into()))
            .expect("a response")
    }

    #[test]
    fn what_orch_refuses_arrives_with_its_words() {
        let client = client(|_, _, _| {
            reply(
                404,
                r#"{"error":{"code":"not_found","message":"there is no task tsk_x"}}"#,
            )
        });
        let error = client.task("tsk_x").expect_err("refused");
        assert!(error.is_not_found());
        assert_eq!(error.api_code(), Some("not_found"));
        assert_eq!(error.to_string(), "there is no task tsk_x");
    }

    #[test]
    fn an_answer_nobody_understands_is_said() {
        let client = client(|_, _, _| reply(200, "<html>"));
        let error = client.status().expect_err("not JSON");
        assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
    }

    #[test]
    fn no_text_climbs_out_of_its_segment() {
        let client = client(|_, path, _| {
            let path = path.to_owned();
            let body = serde_json::json!({"error": {"code": "seen", "message": path}});
            reply(404, body.to_string())
        });
        let error = client.task("../../etc/passwd?x=1#").expect_err("refused");
        assert_eq!(
            error.to_string(),
            "/v1/tasks/%2E%2E%2F%2E%2E%2Fetc%2Fpasswd%3Fx%3D1%23"
        );
        let query = TaskQuery {
            label: Some("a&b=c".to_owned()),
            limit: Some(3),
            ..TaskQuery::default()
        };
        let error = client.tasks(&query).expect_err("refused");
        assert_eq!(error.to_string(), "/v1/tasks?label=a%26b%3Dc&limit=3");
    }

    #[test]
    fn a_mutation_is_always_json() {
        let client = client(|method, path, body| {
            let message = format!("{method} {path} {body}");
            let body = serde_json::json!({"error": {"code": "seen", "message": message}});
            reply(409, body.to_string())
        });
        let error = client.cancel_task("tsk_1").expect_err("refused");
        assert_eq!(error.to_string(), "POST /v1/tasks/tsk_1/cancel {}");
        let reason = "no".to_owned();
        let message = "more".to_owned();
        let error = client.resume_task("tsk_1", &Resumption { message });
        assert_eq!(
            error.expect_err("refused").to_string(),
            r#"POST /v1/tasks/tsk_1/resume {"message":"more"}"#
        );
        let error = client.reject_task("tsk_1", &Rejection { reason });
        assert_eq!(
            error.expect_err("refused").to_string(),
            r#"POST /v1/tasks/tsk_1/reject {"reason":"no"}"#
        );
    }

    #[test]
    fn lines_are_whole_and_may_ask_in_between() {
        let client = client(|_, path, _| match path {
            "/v1/daemon" => reply(200, r#"{"pid":1,"version":"0","api_version":1}"#),
            _ => reply(200, "one\n\ntwo\nunfinished"),
        });
        let mut seen = Vec::new();
        client
            .lines("/v1/events", |line| {
                assert_eq!(client.daemon().expect("an answer").pid, Some(1));
                seen.push(String::from_utf8(line.to_vec()).expect("text"));
                ControlFlow::Continue(())
            })
            .expect("lines");
        assert_eq!(seen, ["one", "", "two", "unfinished"]);
    }

    #[test]
    fn nobody_behind_the_socket_is_unreachable() {
        let client = Client::unix(Path::new("/nonexistent/orch.sock")).expect("a runtime");
        let error = client.status().expect_err("nobody there");
        assert!(
            matches!(error, ClientError::Unreachable { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("/nonexistent/orch.sock"));
    }

    #[test]
    fn the_first_request_goes_over_the_connection_that_is_there() {
        let (ours, mut theirs) = StdStream::pair().expect("a pair");
        let server = std::thread::spawn(move || {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                std::io::Read::read_exact(&mut theirs, &mut byte).expect("a request");
                asked.extend(byte);
            }
            let body = r#"{"pid":1,"version":"0","api_version":1}"#;
            let head = format!(
                "{VERSION_HEADER}: {API_VERSION}\r\ncontent-length: {}",
                body.len()
            );
            let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}");
            std::io::Write::write_all(&mut theirs, answer.as_bytes()).expect("a listener");
        });
        let nowhere = Path::new("/nonexistent/orch.sock");
        let client = Client::connected(nowhere, ours, |_| false).expect("a runtime");
        assert_eq!(client.daemon().expect("an answer").pid, Some(1));
        server.join().expect("a server");
        let error = client.daemon().expect_err("it is used up");
        assert!(
            matches!(error, ClientError::Unreachable { .. }),
            "{error:?}"
        );
    }

    #[test]
    fn who_stands_still_is_not_waited_for() {
        let (ours, _theirs) = StdStream::pair().expect("a pair");
        let nowhere = Path::new("/nonexistent/orch.sock");
        let client = Client::connected(nowhere, ours, |_| true).expect("a runtime");
        let error = client.add_task(&NewTask::default());
        match error.expect_err("nobody answers") {
            // Both ends of a pair belong to whoever made it.
            ClientError::Stopped { pid, changes } => {
                assert_eq!(pid.unsigned_abs(), std::process::id());
                assert!(changes);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Whoever is behind the socket hangs up when it has read something, without an answer.
    fn who_hangs_up(socket: &Path) -> Client {
        let listener = std::os::unix::net::UnixListener::bind(socket).expect("a socket");
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = std::io::Read::read(&mut stream, &mut [0; 16]);
            }
        });
        Client::unix(socket).expect("a runtime")
    }

    /// Promise 34.
    #[test]
    fn printed_means_committed() {
        let home = tempfile::tempdir().expect("a directory");
        let client = who_hangs_up(&home.path().join("s"));
        let asked = client.status().expect_err("no answer");
        assert!(
            matches!(asked, ClientError::Unreachable { .. }),
            "{asked:?}"
        );
        let changed = client.cancel_task("tsk_1").expect_err("no answer");
        assert!(
            matches!(changed, ClientError::Unanswered { .. }),
            "{changed:?}"
        );
        assert!(
            changed
                .to_string()
                .ends_with("whether it was done is not known")
        );
    }

    #[test]
    fn another_version_is_named_with_both_numbers() {
        let client = client(|_, _, _| {
            let mut response = reply(200, "{}");
            let other = hyper::header::HeaderValue::from_static("99");
            response.headers_mut().insert(VERSION_HEADER, other);
            response
        });
        let error = client.status().expect_err("another version");
        assert_eq!(
            error.to_string(),
            "this orch speaks API version 1, the daemon speaks 99"
        );
    }
}
