//! The server: a thread for each connection, and what was seen.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::conversation::Conversation;
use crate::http::{Connection, Request};
use crate::protocol::{self, Protocol, Sent};
use crate::script::{self, Answer, Reply, Script};

/// Most requests that are remembered for a label; more are only counted.
const REMEMBERED: usize = 1000;

/// A request that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The protocol it came by.
    pub protocol: &'static str,
    /// The model it asked for.
    pub model: String,
    /// How many answers with tool calls the model had given before.
    pub step: usize,
    /// The tools that were offered; none means a side errand.
    pub tools: Vec<String>,
    /// Everything that was said to the model, in one text.
    pub asked: String,
    /// Whether a key came along.
    pub has_key: bool,
}

#[derive(Default)]
struct Log {
    /// How often the agent at work was answered.
    answered: u64,
    seen: Vec<Seen>,
}

struct Shared {
    labels: Mutex<BTreeMap<String, Log>>,
    /// What the ids of this server begin with, so that a later server says others.
    prefix: String,
    ids: Mutex<u64>,
    over: AtomicBool,
}

/// A running server. It ends when dropped; conversations that hang then go on until the agent
/// leaves or the process ends.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// Listens on this port of the loopback interface, on a free one for 0.
    ///
    /// # Errors
    /// The port cannot be had.
    pub fn start(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let shared = Arc::new(Shared {
            labels: Mutex::default(),
            prefix: format!("{:x}", now.map_or(0, |now| now.as_millis())),
            ids: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let server = Self {
            address: listener.local_addr()?,
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || accept(&listener, &shared));
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// The base of a provider's API for an agent that is to play this scenario under this label.
    /// Labels and scenarios are as [`script`] says.
    #[must_use]
    pub fn base(&self, scenario: &str, label: &str) -> String {
        let label = script::encode(label);
        format!("http://{}/s/{scenario}@{label}", self.address)
    }

    /// The requests to a model that arrived for a label, oldest first.
    #[must_use]
    pub fn seen(&self, label: &str) -> Vec<Seen> {
        let labels = lock(&self.shared.labels);
        labels
            .get(label)
            .map_or_else(Vec::new, |log| log.seen.clone())
    }

    /// Waits until the server ends, which it does not do by itself.
    pub fn wait(&self) -> ! {
        loop {
            std::thread::park();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        // Wakes the thread that waits for connections; if that fails, there is none.
        drop(TcpStream::connect(self.address));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.over.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // An agent that leaves in the middle is no trouble of ours.
            let _ = converse(stream, &shared);
        });
    }
}

fn converse(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut connection = Connection::new(stream)?;
    while let Some(request) = connection.request()? {
        if !shared.answer(&mut connection, &request)? {
            connection.cut();
            break;
        }
    }
    Ok(())
}

fn problem(text: &str) -> Value {
    json!({"error": {"message": format!("scripted model: {text}")}})
}

/// What a path names: the script, and the path of the provider's API.
fn route(path: &str) -> Result<(Script, &str), String> {
    let rest = path
        .strip_prefix("/s/")
        .ok_or("the path must begin with /s/SCENARIO")?;
    let (part, rest) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let script = Script::parse(part).map_err(|error| error.to_string())?;
    Ok((script, rest))
}

impl Shared {
    /// Answers one request; whether the connection may live on.
    fn answer(&self, connection: &mut Connection, request: &Request) -> io::Result<bool> {
        if request.method == "HEAD" {
            connection.nothing()?;
            return Ok(true);
        }
        if request.header("upgrade").is_some() {
            connection.json(426, &[], &problem("only HTTP is spoken here"))?;
            return Ok(true);
        }
        let (script, path) = match route(&request.path) {
            Ok(found) => found,
            Err(text) => {
                connection.json(404, &[], &problem(&text))?;
                return Ok(true);
            }
        };
        let spoken = protocol::of_path(path).filter(|_| request.method == "POST");
        match spoken {
            None if path.contains("/models") => connection.json(200, &[], &models())?,
            None => connection.json(404, &[], &problem("there is nothing here"))?,
            Some((_, true)) => {
                let count = script::tokens::INPUT;
                let body = json!({"input_tokens": count, "totalTokens": count});
                connection.json(200, &[], &body)?;
            }
            Some((protocol, false)) => {
                return self.converse(connection, request, &script, protocol, path);
            }
        }
        Ok(true)
    }

    fn converse(
        &self,
        connection: &mut Connection,
        request: &Request,
        script: &Script,
        protocol: &'static Protocol,
        path: &str,
    ) -> io::Result<bool> {
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            let encoding = request.header("content-encoding").unwrap_or("none");
            let text = format!("the body is no JSON; its encoding is {encoding}");
            connection.json(415, &[], &problem(&text))?;
            return Ok(true);
        };
        let mut conversation = (protocol.read)(&body);
        in_path(path, &mut conversation);
        let count = self.note(script, protocol, &conversation, request);
        let is_errand = conversation.tools.is_empty();
        let reply = match script.reply(&conversation, count) {
            Reply::Answer(_) if is_errand => Reply::Answer(script::errand(&conversation)),
            reply => reply,
        };
        match reply {
            Reply::Answer(answer) => self.say(connection, protocol, &conversation, &answer, false),
            Reply::Cut => {
                let answer = Answer::text(script::FINAL);
                self.say(connection, protocol, &conversation, &answer, true)
            }
            Reply::Silence => {
                connection.wait_until_left();
                Ok(false)
            }
            Reply::Failure(failure) => {
                let (mut headers, body) = (protocol.refuse)(&failure);
                let pause = failure.retry_after.map(|seconds| seconds.to_string());
                headers.extend(pause.map(|seconds| ("retry-after", seconds)));
                connection.json(failure.status, &headers, &body)?;
                Ok(true)
            }
        }
    }

    /// Notes a request; how many this makes for its label, side errands not counted.
    fn note(
        &self,
        script: &Script,
        protocol: &Protocol,
        conversation: &Conversation,
        request: &Request,
    ) -> u64 {
        let keys = ["authorization", "x-api-key", "x-goog-api-key"];
        let seen = Seen {
            protocol: protocol.name,
            model: conversation.model.clone(),
            step: conversation.step(),
            tools: conversation
                .tools
                .iter()
                .map(|tool| tool.name.clone())
                .collect(),
            asked: conversation.asked(),
            has_key: keys.iter().any(|key| request.header(key).is_some()),
        };
        let mut labels = lock(&self.labels);
        let log = labels.entry(script.label.clone()).or_default();
        if !seen.tools.is_empty() {
            log.answered += 1;
        }
        if log.seen.len() < REMEMBERED {
            log.seen.push(seen);
        }
        log.answered
    }

    fn say(
        &self,
        connection: &mut Connection,
        protocol: &Protocol,
        conversation: &Conversation,
        answer: &Answer,
        is_cut: bool,
    ) -> io::Result<bool> {
        let id = self.next_id();
        let sent = Sent {
            answer,
            id: &id,
            model: &conversation.model,
        };
        if !conversation.streams {
            if !is_cut {
                connection.json(200, &[], &(protocol.whole)(&sent))?;
            }
            return Ok(!is_cut);
        }
        let events = (protocol.stream)(&sent);
        let until = if is_cut {
            events.len() / 2
        } else {
            events.len()
        };
        connection.begin_events()?;
        for event in &events[..until] {
            connection.event(event.name.as_deref(), &event.data)?;
        }
        if !is_cut {
            connection.end_events()?;
        }
        Ok(!is_cut)
    }

    fn next_id(&self) -> String {
        let mut ids = lock(&self.ids);
        *ids += 1;
        format!("{}x{:04}", self.prefix, *ids)
    }
}

/// Takes from the path what Gemini says there and the others say in the body.
fn in_path(path: &str, conversation: &mut Conversation) {
    let Some((model, verb)) = path.rsplit_once(':') else {
        return;
    };
    let model = model.rsplit('/').next().unwrap_or_default();
    model.clone_into(&mut conversation.model);
    conversation.streams = verb.starts_with("stream");
}

fn models() -> Value {
    let model = json!({
        "id": "scripted", "object": "model", "type": "model", "created": 0,
        "created_at": "2025-01-01T00:00:00Z", "display_name": "scripted", "owned_by": "scripted",
    });
    json!({"object": "list", "data": [model], "has_more": false,
        "models": [{"name": "models/scripted"}]})
}

#[cfg(test)]
mod tests;
