//! Reads the stream of `opencode run --format json`.
//!
//! What decides, from the program's source and as measured with version 1.18.33:
//!
//! * There is no result line and no line that is always the last. A conversation is over when a
//!   step (one answer of the model) finishes with the reason `stop`, but a step can follow even
//!   then: the program may first shorten a long conversation, which is a step of its own. So the
//!   end of the process is awaited, and a good end is a last step that finished with `stop`
//!   together with exit status 0. This is why the verdict is then left to the exit status.
//! * The other reasons say why there is no good end: `length`, `content-filter`, and whatever the
//!   provider's interface made nothing of. After `tool-calls` another step must come.
//! * An `error` line makes the exit status 1, always. One error is healed by the program itself:
//!   a conversation that became too long is shortened, in one step, and then goes on. It counts
//!   as healed when two steps stopped by themselves after it.
//! * Each step says what it used; output excludes reasoning there. A step that says 0 for
//!   everything (a failed one) says nothing. A cost of 0 is what it says for a model whose price
//!   it does not know, so 0 in all is not known either.

use orch_core::Timestamp;
use orch_core::outcome::Verdict;
use orch_core::run::{FailureCode, Usage};
use serde_json::value::RawValue;

use crate::adapter::json::{Fields, Object};

use crate::adapter::believed::{cost_usd, session, tokens};
use crate::adapter::calls::{EMPTY_ANSWER, Refusals, add, call, event_of, message};
use crate::adapter::provider::{Trouble, is_connection, reset_by_headers};
use crate::adapter::stream::{Notes, Protocol, event};
use crate::adapter::{AgentEvent, EventType, Summary};

/// How the program begins what it says of a call that it refused.
const REFUSED: &[&str] = &[
    "The user rejected permission to use this specific tool call",
    "The user has specified a rule which prevents you from using this specific tool call",
];

#[derive(Default)]
pub(in crate::adapter) struct OpenCode {
    session: Option<String>,
    step: Step,
    /// What was said in the latest step.
    texts: Vec<String>,
    failure: Option<Failed>,
    usage: Usage,
    cost: f64,
    /// The step whose usage was counted last.
    counted: Option<String>,
    refusals: Refusals,
    notes: Notes,
}

/// How far the latest step is.
#[derive(Default)]
enum Step {
    /// There was none, or it goes on.
    #[default]
    Open,
    /// It finished, for this reason.
    Finished(String),
}

struct Failed {
    verdict: Verdict,
    /// Steps that stopped by themselves since, where the program can heal it.
    stops_since: Option<u8>,
}

impl Protocol for OpenCode {
    fn object(&mut self, object: &Object<'_>) -> Vec<AgentEvent> {
        let fields = &object.fields;
        let mut events = Vec::new();
        if self.session.is_none() {
            self.session = session(fields, "sessionID");
            let id = fields.raw("sessionID").filter(|_| self.session.is_some());
            events.extend(id.map(|id| event_of(EventType::Session, &[("sessionID", Some(id))])));
        }
        let part = fields.object("part").zip(fields.raw("part"));
        match (fields.text("type").as_deref(), part) {
            (Some("step_start"), _) => {
                self.step = Step::Open;
                self.texts.clear();
                events.push(event(EventType::Raw, object.raw));
            }
            (Some("step_finish"), Some((part, raw))) => {
                self.finish(&part);
                events.push(event(EventType::Usage, raw));
            }
            (Some("text"), Some((part, raw))) => {
                self.texts.extend(part.text("text").map(String::from));
                events.push(event(EventType::Text, raw));
            }
            (Some("reasoning"), Some((_, raw))) => events.push(event(EventType::Thinking, raw)),
            (Some("tool_use"), Some((part, raw))) => events.extend(self.tool(&part, raw)),
            (Some("error"), _) => events.push(self.error(object)),
            _ => events.push(event(EventType::Raw, object.raw)),
        }
        events
    }

    fn has_ended(&self) -> bool {
        false
    }

    fn summary(&self) -> Summary {
        let cost = Some(self.cost).filter(|cost| *cost > 0.0);
        let text = self.texts.join("\n");
        Summary {
            verdict: self.verdict(),
            result: (!text.is_empty()).then_some(text),
            usage: Usage {
                cost_usd: cost,
                ..self.usage
            },
            session_id: self.session.clone(),
            warnings: self.warnings(),
            unread_lines: 0,
        }
    }
}

impl OpenCode {
    fn warnings(&self) -> Vec<String> {
        let own = self.refusals.warning().into_iter().chain(self.silence());
        own.chain(self.notes.to_vec()).collect()
    }

    /// A note on a last answer without a word.
    fn silence(&self) -> Option<String> {
        let is_stop = matches!(&self.step, Step::Finished(reason) if reason == "stop");
        (is_stop && self.texts.is_empty()).then(|| EMPTY_ANSWER.to_owned())
    }

    fn finish(&mut self, part: &Fields<'_>) {
        let reason = part.text("reason").unwrap_or_default().into_owned();
        let counted = self.failure.as_mut().and_then(|it| it.stops_since.as_mut());
        if let (Some(stops), "stop") = (counted, reason.as_str()) {
            *stops = stops.saturating_add(1);
        }
        self.step = Step::Finished(reason);
        let id = part.text("id").map(String::from);
        if id.is_some() && id == self.counted {
            return;
        }
        self.counted = id;
        self.count(part);
    }

    fn count(&mut self, part: &Fields<'_>) {
        let notes = &mut self.notes;
        let Some(given) = part.object("tokens") else {
            return;
        };
        let cache = given.object("cache");
        let mut cached = |name| tokens(cache.as_ref()?, name, notes);
        let (read, write) = (cached("read"), cached("write"));
        let mut of = |name| tokens(&given, name, notes);
        let (input, mut output, reasoning) = (of("input"), of("output"), of("reasoning"));
        if output.is_some() {
            add(&mut output, reasoning);
        }
        let counts = [input, output, read, write];
        if counts.iter().flatten().all(|count| *count == 0) {
            return;
        }
        add(&mut self.usage.input_tokens, input);
        add(&mut self.usage.output_tokens, output);
        add(&mut self.usage.cache_read_tokens, read);
        add(&mut self.usage.cache_write_tokens, write);
        self.cost += cost_usd(part, "cost", &mut self.notes).unwrap_or(0.0);
    }

    /// A tool call is printed when it has ended: what was called, and what came of it.
    fn tool(&mut self, part: &Fields<'_>, raw: &RawValue) -> [AgentEvent; 2] {
        let tool = part.text("tool").unwrap_or_default();
        let state = part.object("state");
        let field = |name| state.as_ref().and_then(|state| state.raw(name));
        let kind = match tool.as_ref() {
            "bash" => EventType::Command,
            "edit" | "multiedit" | "write" | "patch" | "apply_patch" => EventType::FileChange,
            "question" => EventType::Question,
            _ => EventType::ToolCall,
        };
        let error = state.as_ref().and_then(|state| state.text("error"));
        if error.is_some_and(|error| REFUSED.iter().any(|words| error.starts_with(words))) {
            let input = state.as_ref().and_then(|state| state.object("input"));
            self.refusals.add(call(&tool, input.as_ref()));
        }
        let called = [
            ("tool", part.raw("tool")),
            ("callID", part.raw("callID")),
            ("input", field("input")),
        ];
        [event_of(kind, &called), event(EventType::ToolResult, raw)]
    }

    fn error(&mut self, object: &Object<'_>) -> AgentEvent {
        let error = object.fields.object("error");
        let name = error.as_ref().and_then(|error| error.text("name"));
        let name = name.unwrap_or_default();
        let data = error.as_ref().and_then(|error| error.object("data"));
        let words = data.as_ref().and_then(|data| data.text("message"));
        let now = object.fields.read("timestamp").map(Timestamp);
        let trouble = trouble(&name, data.as_ref(), now);
        let otherwise = match name.is_empty() {
            true => "it says that there was an error, and not which".to_owned(),
            false => format!("it says {name}"),
        };
        self.failure = Some(Failed {
            verdict: trouble.verdict(message(words.as_deref(), &otherwise)),
            stops_since: (name == "ContextOverflowError").then_some(0),
        });
        let kind = match trouble.is_limit() {
            true => EventType::Limit,
            false => EventType::Error,
        };
        event(kind, object.fields.raw("error").unwrap_or(object.raw))
    }

    fn verdict(&self) -> Verdict {
        let error = |code, words: &str| Verdict::Error {
            code,
            message: words.to_owned(),
        };
        match (&self.failure, &self.step) {
            (Some(failed), Step::Finished(reason))
                if reason == "stop" && failed.stops_since.is_some_and(|stops| stops >= 2) =>
            {
                Verdict::Success
            }
            (Some(failed), _) => failed.verdict.clone(),
            (None, Step::Open) => Verdict::NoResult,
            (None, Step::Finished(reason)) => match reason.as_str() {
                "stop" => Verdict::ByExitStatus,
                "tool-calls" => Verdict::NoResult,
                "length" => error(
                    FailureCode::AnswerCut,
                    "the model's answer was cut off at its longest",
                ),
                "content-filter" => error(
                    FailureCode::Refused,
                    "the provider's filter stopped the answer",
                ),
                reason => Verdict::Error {
                    code: FailureCode::ProviderError,
                    message: message(None, &format!("the last step ended with '{reason}'")),
                },
            },
        }
    }
}

/// What an error is about: its name, and for an error of the provider's its status, the body of
/// the answer and its headers.
fn trouble(name: &str, data: Option<&Fields<'_>>, now: Option<Timestamp>) -> Trouble {
    let only = |code| Trouble::only(Some(code));
    match name {
        "ContextOverflowError" => only(FailureCode::ContextTooLong),
        "ContentFilterError" => only(FailureCode::Refused),
        "MessageOutputLengthError" => only(FailureCode::AnswerCut),
        "ProviderAuthError" => only(FailureCode::AuthFailed),
        "ProviderModelNotFoundError" => only(FailureCode::ModelNotFound),
        // The second holds whatever has no name of its own, which may be the provider's answer.
        "APIError" | "UnknownError" => {
            data.map_or_else(Trouble::default, |data| provider_error(data, now))
        }
        _ => Trouble::default(),
    }
}

fn provider_error(data: &Fields<'_>, now: Option<Timestamp>) -> Trouble {
    let words = data.text("message").unwrap_or_default();
    let body = data.text("responseBody");
    let body = body.or_else(|| words.starts_with('{').then(|| words.clone()));
    let mut trouble = Trouble::of(data.read("statusCode"), body.as_deref(), now);
    if trouble.is_limit() && trouble.until.is_none() {
        let headers = data.object("responseHeaders");
        trouble.until = headers.and_then(|headers| reset_by_headers(&headers, now));
    }
    let is_socket = || {
        let metadata = data.object("metadata");
        metadata.is_some_and(|metadata| metadata.raw("syscall").is_some())
    };
    if trouble.code.is_none() && (is_socket() || is_connection(&words)) {
        trouble.code = Some(FailureCode::ConnectionFailed);
    }
    trouble
}

/// What it says on stderr when it ends before it has a session.
pub(super) fn explain(_code: i32, errors: &str) -> Option<(FailureCode, String)> {
    let is_gone = errors
        .lines()
        .any(|line| line.ends_with("Session not found"));
    is_gone.then(|| (FailureCode::SessionGone, "Session not found".to_owned()))
}
