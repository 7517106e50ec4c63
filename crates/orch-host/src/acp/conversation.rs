//! What is asked of the agent, in which order, and how it ended.
//!
//! This part must not know how messages travel.

use std::time::Duration;

use orch_core::run::{Exit, Failure};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::link::{Ask, Link, fields};
use super::log::exit_json;
use super::settings::Settings;
use crate::adapter::json::Fields;
use crate::adapter::{McpServer, McpTransport, Permission};

/// The version of the protocol that is spoken here.
const PROTOCOL: u64 = 1;
/// How long an agent may take for each step before the prompt. Some are downloaded first, and
/// some start servers of their own.
const STEP: Duration = Duration::from_secs(180);
/// Largest answer or error that is repeated in the last line, bytes.
const REPEATED_BYTES: usize = 64 << 10;
/// What an agent says when nobody is logged in.
const AUTH_REQUIRED: i64 = -32000;

/// Modes in which an agent asks nothing, as the known ones call them.
const FULL_MODES: [&str; 3] = ["bypassPermissions", "yolo", "full-access"];
/// The mode in which an agent asks.
const ASKING_MODE: &str = "default";

/// How a conversation ended.
pub(super) enum Ending {
    /// The prompt was answered.
    Answered(Box<RawValue>),
    /// Something was answered with an error.
    Failed {
        during: &'static str,
        error: Box<RawValue>,
    },
    /// The answer was none that JSON-RPC knows.
    Malformed(&'static str),
    /// The process ended first.
    Died { during: &'static str, exit: Exit },
    /// It closed its output and stayed.
    Closed(&'static str),
    /// It took too long.
    Silent { during: &'static str, seconds: u64 },
    /// A message was too long to be held.
    TooLong {
        during: &'static str,
        limit: usize,
        beginning: String,
    },
    /// It asks and does not read what it is answered.
    Deaf,
    /// It speaks another version of the protocol.
    Version(String),
    /// It cannot do what the settings ask for.
    Unable(String),
    /// The session that was to be continued is not there.
    SessionGone(String),
    /// It was asked to stop, and did not say that it had.
    Stopped(&'static str),
    /// It could not be started.
    NotStarted(Failure),
    /// This side failed.
    Broken(std::io::Error),
}

impl Ending {
    /// Whether the agent has answered the prompt.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::Answered(_))
    }

    /// Whether its process ended in the middle of the conversation.
    pub(super) fn is_death(&self) -> bool {
        matches!(self, Self::Died { .. })
    }

    /// How it ended, as it is written down; without `whole`, what the agent said is left out
    /// except for why it stopped.
    pub(super) fn to_json(&self, whole: bool) -> Value {
        let repeated = |raw: &RawValue| match whole && raw.get().len() <= REPEATED_BYTES {
            true => serde_json::from_str(raw.get()).unwrap_or(Value::Null),
            false => Value::Null,
        };
        match self {
            Self::Answered(answer) => json!({
                "how": "answered",
                "stop_reason": fields(answer).text("stopReason"),
                "answer": repeated(answer),
            }),
            Self::Failed { during, error } => json!({
                "how": "failed",
                "during": during,
                "code": fields(error).read::<i64>("code"),
                "error": repeated(error),
            }),
            Self::Malformed(during) => json!({ "how": "malformed", "during": during }),
            Self::Died { during, exit } => {
                json!({ "how": "died", "during": during, "exit": exit_json(*exit) })
            }
            Self::Closed(during) => json!({ "how": "closed", "during": during }),
            Self::Silent { during, seconds } => {
                json!({ "how": "silent", "during": during, "seconds": seconds })
            }
            Self::TooLong {
                during,
                limit,
                beginning,
            } => {
                json!({ "how": "too_long", "during": during, "limit": limit, "beginning": beginning })
            }
            Self::Deaf => json!({ "how": "deaf" }),
            Self::Version(given) => json!({ "how": "version", "given": given }),
            Self::Unable(what) => json!({ "how": "unable", "message": what }),
            Self::SessionGone(why) => json!({ "how": "session_gone", "message": why }),
            Self::Stopped(during) => json!({ "how": "stopped", "during": during }),
            Self::NotStarted(failure) => json!({
                "how": "not_started",
                "code": failure.code.as_str(),
                "message": failure.message,
                "evidence": failure.evidence,
            }),
            Self::Broken(error) => json!({ "how": "broken", "message": error.to_string() }),
        }
    }
}

/// Leads the conversation to its end.
pub(super) fn lead(link: &mut Link, settings: &Settings, prompt: String) -> Ending {
    steps(link, settings, prompt).unwrap_or_else(|ending| ending)
}

fn steps(link: &mut Link, settings: &Settings, prompt: String) -> Result<Ending, Ending> {
    let hello = link.ask(step("initialize"), &introduction())?;
    let agent = Agent::read(&fields(&hello))?;
    link.rules().know(agent.name.as_deref());
    let opened = open(link, settings, &agent)?;
    let note = json!({
        "id": opened.id,
        "loaded": settings.session.is_some(),
        "agent": agent.name,
        "version": agent.version,
    });
    link.log().own("session", &note).map_err(Ending::Broken)?;
    adjust(link, settings, &opened)?;
    link.log()
        .own("prompt", &json!({}))
        .map_err(Ending::Broken)?;
    let params = json!({
        "sessionId": opened.id,
        "prompt": [{ "type": "text", "text": prompt }],
    });
    let ask = Ask {
        method: "session/prompt",
        limit: None,
        cancel: Some("session/cancel"),
    };
    link.ask(ask, &params).map(Ending::Answered)
}

/// A step before the prompt.
const fn step(method: &'static str) -> Ask {
    Ask {
        method,
        limit: Some(STEP),
        cancel: None,
    }
}

/// Nothing is offered: agents read and write files and run commands themselves, in their own
/// way, and nobody watches an editor here.
fn introduction() -> Value {
    json!({
        "protocolVersion": PROTOCOL,
        "clientCapabilities": {
            "fs": { "readTextFile": false, "writeTextFile": false },
            "terminal": false,
        },
        "clientInfo": { "name": "orch", "title": "orch", "version": env!("CARGO_PKG_VERSION") },
    })
}

/// What the agent says about itself.
struct Agent {
    name: Option<String>,
    version: Option<String>,
    loads: bool,
    resumes: bool,
    http: bool,
}

impl Agent {
    fn read(hello: &Fields<'_>) -> Result<Self, Ending> {
        if hello.read("protocolVersion") != Some(PROTOCOL) {
            let given = hello.raw("protocolVersion").map_or("none", RawValue::get);
            return Err(Ending::Version(orch_core::text::excerpt(given, 40)));
        }
        let can = hello.object("agentCapabilities").unwrap_or_default();
        let info = hello.object("agentInfo").unwrap_or_default();
        let within = |name: &str| can.object(name).unwrap_or_default();
        let text = |name: &str| {
            let text = info.text(name)?;
            Some(orch_core::text::excerpt(&text, 100))
        };
        Ok(Self {
            name: text("name"),
            version: text("version"),
            loads: can.read("loadSession") == Some(true),
            resumes: within("sessionCapabilities").object("resume").is_some(),
            http: within("mcpCapabilities").read("http") == Some(true),
        })
    }
}

/// A session, and what was said about it.
struct Opened {
    id: String,
    answer: Box<RawValue>,
}

fn open(link: &mut Link, settings: &Settings, agent: &Agent) -> Result<Opened, Ending> {
    let servers = settings.servers().map_err(Ending::Broken)?;
    let mut params = json!({
        "cwd": link.rules().worktree().to_string_lossy(),
        "mcpServers": passed_on(&servers, agent)?,
    });
    let Some(session) = &settings.session else {
        let answer = link.ask(step("session/new"), &params)?;
        let id = fields(&answer)
            .text("sessionId")
            .map(std::borrow::Cow::into_owned);
        let id = id.ok_or(Ending::Malformed("session/new"))?;
        return Ok(Opened { id, answer });
    };
    params["sessionId"] = session.as_str().into();
    // To resume is to load without hearing everything again.
    let method = match (agent.resumes, agent.loads) {
        (true, _) => "session/resume",
        (false, true) => "session/load",
        (false, false) => {
            let text = "the agent cannot go on with an earlier session";
            return Err(Ending::SessionGone(text.to_owned()));
        }
    };
    let answer = link.ask(step(method), &params).map_err(gone)?;
    Ok(Opened {
        id: session.clone(),
        answer,
    })
}

/// What it means that a session could not be loaded.
fn gone(ending: Ending) -> Ending {
    match &ending {
        Ending::Failed { error, .. } if fields(error).read("code") != Some(AUTH_REQUIRED) => {
            let message = fields(error).text("message").unwrap_or_default();
            Ending::SessionGone(orch_core::text::excerpt(&message, 2_000))
        }
        _ => ending,
    }
}

/// The servers in the protocol's form.
fn passed_on(servers: &[McpServer], agent: &Agent) -> Result<Vec<Value>, Ending> {
    let pairs = |map: &std::collections::BTreeMap<String, String>| -> Vec<Value> {
        map.iter()
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect()
    };
    let in_form = |server: &McpServer| match &server.transport {
        McpTransport::Stdio { command, args, env } => Ok(json!({
            "name": server.name, "command": command, "args": args, "env": pairs(env),
        })),
        McpTransport::Http { url, headers } if agent.http => Ok(json!({
            "type": "http", "name": server.name, "url": url, "headers": pairs(headers),
        })),
        McpTransport::Http { .. } => Err(Ending::Unable(format!(
            "the agent cannot use MCP server '{}': it reaches none by HTTP",
            server.name
        ))),
    };
    servers.iter().map(in_form).collect()
}

/// Sets the mode and the model that the settings ask for.
fn adjust(link: &mut Link, settings: &Settings, opened: &Opened) -> Result<(), Ending> {
    let answer = fields(&opened.answer);
    if let Some(mode) = mode_for(settings.permission, &answer) {
        let params = json!({ "sessionId": opened.id, "modeId": mode });
        link.ask(step("session/set_mode"), &params)?;
    }
    let Some(model) = &settings.model else {
        return Ok(());
    };
    let (method, params) = setting_of(model, &opened.id, &answer)?;
    link.ask(step(method), &params).map(drop)
}

/// The mode to set: one without questions where everything is allowed, and out of such a mode
/// where it is not. What the agent's own configuration says is not touched with `ask`.
fn mode_for(permission: Permission, opened: &Fields<'_>) -> Option<String> {
    let modes = opened.object("modes")?;
    let current = modes.text("currentModeId").unwrap_or_default();
    let available: Vec<Fields<'_>> = modes.read("availableModes")?;
    let has = |wanted: &&str| {
        let is_it = |mode: &Fields<'_>| mode.text("id").as_deref() == Some(*wanted);
        available.iter().any(is_it)
    };
    let wanted = match permission {
        Permission::Ask => None,
        Permission::Edits => Some(ASKING_MODE).filter(|_| FULL_MODES.contains(&current.as_ref())),
        Permission::Full => FULL_MODES.into_iter().find(has),
    };
    let wanted = wanted.filter(has)?;
    (wanted != current).then(|| wanted.to_owned())
}

/// How this agent is told which model to use.
fn setting_of(
    model: &str,
    session: &str,
    opened: &Fields<'_>,
) -> Result<(&'static str, Value), Ending> {
    let options: Vec<Fields<'_>> = opened.read("configOptions").unwrap_or_default();
    let is_model = |option: &&Fields<'_>| option.text("category").as_deref() == Some("model");
    if let Some(option) = options.iter().find(is_model)
        && let Some(id) = option.text("id")
    {
        let params = json!({ "sessionId": session, "configId": id, "value": model });
        return Ok(("session/set_config_option", params));
    }
    if opened.object("models").is_some() {
        let params = json!({ "sessionId": session, "modelId": model });
        return Ok(("session/set_model", params));
    }
    Err(Ending::Unable(
        "the agent offers no choice of a model: put it into `command` or `args`".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(current: &str, ids: &[&str]) -> Box<RawValue> {
        let modes: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
        crate::adapter::json::raw(
            &json!({ "modes": { "currentModeId": current, "availableModes": modes } }),
        )
    }

    #[test]
    fn a_mode_without_questions_is_only_for_full_permission() {
        let mode = |permission, current: &str, ids: &[&str]| {
            mode_for(permission, &fields(&opened(current, ids)))
        };
        let gemini = ["default", "autoEdit", "yolo"];
        assert_eq!(
            mode(Permission::Full, "default", &gemini).as_deref(),
            Some("yolo")
        );
        assert_eq!(mode(Permission::Full, "yolo", &gemini), None);
        assert_eq!(mode(Permission::Full, "a", &["a", "b"]), None);
        assert_eq!(mode(Permission::Edits, "default", &gemini), None);
        assert_eq!(mode(Permission::Edits, "autoEdit", &gemini), None);
        assert_eq!(
            mode(Permission::Edits, "yolo", &gemini).as_deref(),
            Some("default")
        );
        assert_eq!(mode(Permission::Edits, "yolo", &["yolo"]), None);
        assert_eq!(mode(Permission::Ask, "yolo", &gemini), None);
        assert_eq!(mode_for(Permission::Full, &Fields::default()), None);
    }

    #[test]
    fn a_model_is_set_in_the_way_the_agent_offers() {
        let ask = |answer: Value| {
            let answer = crate::adapter::json::raw(&answer);
            setting_of("m", "s", &fields(&answer))
                .map(|(method, params)| (method, params.to_string()))
        };
        let (method, params) = ask(json!({ "configOptions": [
            { "id": "x", "category": "mode" }, { "id": "y", "category": "model" },
        ] }))
        .unwrap_or_else(|_| panic!("a model can be set"));
        assert_eq!(method, "session/set_config_option");
        assert_eq!(params, r#"{"configId":"y","sessionId":"s","value":"m"}"#);
        let (method, _) =
            ask(json!({ "models": {} })).unwrap_or_else(|_| panic!("a model can be set"));
        assert_eq!(method, "session/set_model");
        assert!(matches!(ask(json!({})), Err(Ending::Unable(_))));
    }
}
