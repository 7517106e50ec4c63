//! Reads the stream of `pi --mode json --print`.
//!
//! What decides, from the program's source and as measured with version 0.73.1:
//!
//! * The exit status is 0 after every failure of the provider. What counts is the last message of
//!   the assistant: `stopReason` is `stop`, `length`, `error` or `aborted`, or `toolUse` if another
//!   turn must come.
//! * No line is always the last: after `agent_end` the program may try again, or shorten the
//!   conversation and go on. So the end of the process is awaited, and a good end is a last
//!   message that says `stop` together with exit status 0. This is why the verdict is then left
//!   to the exit status.
//! * `errorMessage` begins with the HTTP status if there was one, and goes on with the provider's
//!   words or the JSON of its answer. A conversation that is too long has it shortened
//!   (`compaction_start` with the reason `overflow`); if no answer follows, it stayed too long.
//! * `message_update` lines repeat the whole message with every piece of it, twice, and are not
//!   read at all. `message_start`, `tool_execution_update` and `agent_end` repeat as well.
//! * Each turn says what it used. A message whose counts are all 0 (a failed one) says nothing. A
//!   cost of 0 is what it says for a model whose price it does not know, so 0 in all is not known.

use orch_core::outcome::Verdict;
use orch_core::run::{FailureCode, Usage};
use serde_json::value::RawValue;

use crate::adapter::json::{Fields, Object};

use crate::adapter::believed::{cost_usd, session, tokens};
use crate::adapter::calls::{EMPTY_ANSWER, add, event_of, message};
use crate::adapter::provider::{Trouble, is_connection, status_and_words};
use crate::adapter::stream::{Notes, Protocol, event};
use crate::adapter::{AgentEvent, EventType, Summary};

#[derive(Default)]
pub(in crate::adapter) struct Pi {
    session: Option<String>,
    /// The last message of the assistant, unless another turn began since.
    last: Option<Last>,
    /// The conversation was too long, and no answer came since.
    is_too_long: bool,
    usage: Usage,
    cost: f64,
    /// The message whose usage was counted last.
    counted: Option<String>,
    notes: Notes,
}

struct Last {
    reason: String,
    /// There is nothing in it, and it says that nothing was used: no answer at all.
    is_nothing: bool,
    error: Option<String>,
    text: String,
}

impl Protocol for Pi {
    const REPEATED: Option<&'static [u8]> = Some(b"{\"type\":\"message_update\"");

    fn object(&mut self, object: &Object<'_>) -> Vec<AgentEvent> {
        let fields = &object.fields;
        let kind = match fields.text("type").unwrap_or_default().as_ref() {
            "session" => {
                self.session = self.session.take().or_else(|| session(fields, "id"));
                EventType::Session
            }
            "turn_start" => {
                self.last = None;
                EventType::Raw
            }
            "message_end" => return self.said(fields, object.raw),
            "turn_end" => return self.turn(fields, object.raw),
            "tool_execution_start" => called(fields),
            "tool_execution_end" => EventType::ToolResult,
            "auto_retry_start" => kind_of_trouble(fields.text("errorMessage").as_deref()),
            "auto_retry_end" => kind_of_end(fields),
            "compaction_start" | "compaction_end" => {
                self.is_too_long |= fields.text("reason").as_deref() == Some("overflow");
                EventType::Raw
            }
            "message_start" | "message_update" | "tool_execution_update" | "agent_end" => {
                return Vec::new();
            }
            _ => EventType::Raw,
        };
        vec![event(kind, object.raw)]
    }

    fn has_ended(&self) -> bool {
        false
    }

    fn summary(&self) -> Summary {
        let text = self.last.as_ref().map(|last| last.text.clone());
        Summary {
            verdict: self.verdict(),
            result: text.filter(|text| !text.is_empty()),
            usage: Usage {
                cost_usd: Some(self.cost).filter(|cost| *cost > 0.0),
                ..self.usage
            },
            session_id: self.session.clone(),
            warnings: self
                .silence()
                .into_iter()
                .chain(self.notes.to_vec())
                .collect(),
            unread_lines: 0,
        }
    }
}

impl Pi {
    /// A note on a last answer without a word.
    fn silence(&self) -> Option<String> {
        let last = self.last.as_ref()?;
        let is_silent = last.reason == "stop" && !last.is_nothing && last.text.is_empty();
        is_silent.then(|| EMPTY_ANSWER.to_owned())
    }

    /// A message is complete: one event for each of its parts that is a text or a thought. Its
    /// tool calls have lines of their own.
    fn said(&mut self, fields: &Fields<'_>, raw: &RawValue) -> Vec<AgentEvent> {
        let Some(given) = fields.object("message") else {
            return vec![event(EventType::Raw, raw)];
        };
        match given.text("role").as_deref() {
            Some("assistant") => {}
            // The tool's own line says this.
            Some("toolResult") => return Vec::new(),
            _ => return vec![event(EventType::Raw, raw)],
        }
        let parts: Vec<&RawValue> = given.read("content").unwrap_or_default();
        let is_empty = parts.is_empty();
        let mut events = Vec::new();
        let mut texts = Vec::new();
        for part in parts {
            let Ok(fields) = serde_json::from_str::<Fields<'_>>(part.get()) else {
                continue;
            };
            match fields.text("type").as_deref() {
                Some("text") => {
                    texts.extend(fields.text("text").map(String::from));
                    events.push(event(EventType::Text, part));
                }
                Some("thinking") => events.push(event(EventType::Thinking, part)),
                _ => {}
            }
        }
        let used = given
            .object("usage")
            .and_then(|used| used.read("totalTokens"));
        let last = Last {
            is_nothing: is_empty && used.unwrap_or(0_u64) == 0,
            reason: given.text("stopReason").unwrap_or_default().into_owned(),
            error: given.text("errorMessage").map(String::from),
            text: texts.join("\n"),
        };
        if last.reason == "error" || last.reason == "aborted" {
            let failed = [
                ("stopReason", given.raw("stopReason")),
                ("errorMessage", given.raw("errorMessage")),
            ];
            events.push(event_of(kind_of_trouble(last.error.as_deref()), &failed));
        }
        self.is_too_long = false;
        self.last = Some(last);
        events
    }

    fn turn(&mut self, fields: &Fields<'_>, raw: &RawValue) -> Vec<AgentEvent> {
        let given = fields.object("message");
        let used = given.as_ref().and_then(|given| given.object("usage"));
        let (Some(given), Some(used)) = (given, used) else {
            return vec![event(EventType::Raw, raw)];
        };
        let id = given.raw("timestamp").map(|raw| raw.get().to_owned());
        if id.is_none() || id != self.counted {
            self.counted = id;
            self.count(&used);
        }
        let used = given.raw("usage");
        used.map(|raw| event(EventType::Usage, raw))
            .into_iter()
            .collect()
    }

    fn count(&mut self, used: &Fields<'_>) {
        let notes = &mut self.notes;
        let counts = ["input", "output", "cacheRead", "cacheWrite"];
        let [input, output, read, write] = counts.map(|name| tokens(used, name, notes));
        if [input, output, read, write]
            .iter()
            .flatten()
            .all(|count| *count == 0)
        {
            return;
        }
        add(&mut self.usage.input_tokens, input);
        add(&mut self.usage.output_tokens, output);
        add(&mut self.usage.cache_read_tokens, read);
        add(&mut self.usage.cache_write_tokens, write);
        let total = used.object("cost");
        let total = total.and_then(|total| cost_usd(&total, "total", &mut self.notes));
        self.cost += total.unwrap_or(0.0);
    }

    fn verdict(&self) -> Verdict {
        let error = |code, words: &str| Verdict::Error {
            code,
            message: words.to_owned(),
        };
        let words = self.last.as_ref().and_then(|last| last.error.as_deref());
        if self.is_too_long {
            let words = message(words, "the conversation is longer than the model can read");
            return error(FailureCode::ContextTooLong, &words);
        }
        let Some(last) = &self.last else {
            return Verdict::NoResult;
        };
        match last.reason.as_str() {
            "stop" if last.is_nothing => error(
                FailureCode::ConnectionFailed,
                "the provider's answer had nothing in it",
            ),
            "stop" => Verdict::ByExitStatus,
            "toolUse" => Verdict::NoResult,
            "length" => error(
                FailureCode::AnswerCut,
                "the model's answer was cut off at its longest",
            ),
            reason => {
                let words = message(words, &format!("its last message ended with '{reason}'"));
                trouble(last.error.as_deref()).verdict(words)
            }
        }
    }
}

/// What an error message is about, from the status at its head or the JSON it holds.
fn trouble(words: Option<&str>) -> Trouble {
    let Some(words) = words else {
        return Trouble::default();
    };
    let only = |code| Trouble::only(Some(code));
    if let Some(reason) = words.strip_prefix("Provider finish_reason: ") {
        return match reason {
            "content_filter" => only(FailureCode::Refused),
            _ => only(FailureCode::ProviderError),
        };
    }
    if words.starts_with("No API key for provider: ") {
        return only(FailureCode::AuthFailed);
    }
    if is_connection(words) {
        return only(FailureCode::ConnectionFailed);
    }
    match status_and_words(words) {
        Some((status, rest)) => Trouble::of(Some(status.into()), Some(rest), None),
        None => Trouble::of(None, words.starts_with('{').then_some(words), None),
    }
}

fn kind_of_trouble(words: Option<&str>) -> EventType {
    match trouble(words).is_limit() {
        true => EventType::Limit,
        false => EventType::Error,
    }
}

fn kind_of_end(fields: &Fields<'_>) -> EventType {
    match fields.read("success") {
        Some(true) => EventType::Raw,
        _ => kind_of_trouble(fields.text("finalError").as_deref()),
    }
}

fn called(fields: &Fields<'_>) -> EventType {
    match fields.text("toolName").as_deref() {
        Some("bash") => EventType::Command,
        Some("edit" | "write") => EventType::FileChange,
        _ => EventType::ToolCall,
    }
}

/// What it says on stderr when it ends before it has a session.
pub(super) fn explain(_code: i32, errors: &str) -> Option<(FailureCode, String)> {
    let starts = |head: &str| errors.lines().find(|line| line.starts_with(head));
    let (code, line) = match starts("No session found matching ") {
        Some(line) => (FailureCode::SessionGone, line),
        None => (FailureCode::AuthFailed, starts("No API key found")?),
    };
    Some((code, message(Some(line), "")))
}
