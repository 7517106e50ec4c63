//! Reads the stream of `codex exec --json`.
//!
//! What decides, as measured with version 0.169.0:
//!
//! * A run is one turn, and a turn ends with `turn.completed` or `turn.failed`. The first of them
//!   counts. `error` lines are notices ("Reconnecting... 2/5 (…)") and decide nothing; an item of
//!   type `error` is a warning.
//! * The stream has no codes. What went wrong is a sentence of the program itself in
//!   `turn.failed`, which the model cannot write. The known ones are recognised by how they begin;
//!   any other is an error without a code of its own.
//! * The final text is the last `agent_message` before the end of the turn.
//! * `turn.completed` says what the whole thread used, with the runs before this one that were
//!   continued. After a failure nothing says it, so it is unknown.
//! * A usage limit says when to try again ("at 4:01 PM"), in the local time of a day it does not
//!   name. That is no time that can be relied on, so there is none.

use std::collections::BTreeSet;

use orch_core::outcome::Verdict;
use orch_core::run::{FailureCode, Usage};

use crate::adapter::ending::{Ending, FirstEnding};
use crate::adapter::json::{Fields, Object};
use crate::adapter::lines::{self, Notes, Protocol, Refusals, call, event};
use crate::adapter::status::{Trouble, leading_status};
use crate::adapter::{AgentEvent, EventType, Summary};

/// Most items that are remembered as begun. More than a model runs at once, by far.
const OPEN_ITEMS: usize = 1_000;

#[derive(Default)]
pub(super) struct Codex {
    thread: Option<String>,
    ending: FirstEnding,
    last_message: Option<String>,
    /// Items that began and did not end, by their ids.
    open: BTreeSet<String>,
    refused: Refusals,
}

impl Protocol for Codex {
    fn object(&mut self, object: &Object<'_>, notes: &mut Notes) -> Vec<AgentEvent> {
        let fields = &object.fields;
        match fields.text("type").as_deref() {
            Some("thread.started") => {
                self.thread = self
                    .thread
                    .take()
                    .or_else(|| lines::session(fields, "thread_id"));
                vec![event(EventType::Session, object.raw)]
            }
            Some("item.started") => self.item(object, Phase::Started),
            Some("item.completed") => self.item(object, Phase::Completed),
            Some("turn.completed") => self.completed(object, notes),
            Some("turn.failed") => self.failed(object, notes),
            Some("error") => vec![notice(object)],
            _ => vec![event(EventType::Raw, object.raw)],
        }
    }

    fn terminal_seen(&self) -> bool {
        self.ending.is_there()
    }

    fn summary(&self) -> Summary {
        let mut summary = self.ending.summary(self.thread.clone());
        summary.warnings.extend(self.refused.warning());
        summary
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Started,
    Completed,
}

impl Codex {
    /// Something the model said or did; the event's data is the item.
    fn item(&mut self, object: &Object<'_>, phase: Phase) -> Vec<AgentEvent> {
        let (raw, item) = (object.fields.raw("item"), object.fields.object("item"));
        let (Some(raw), Some(item)) = (raw, item) else {
            return vec![event(EventType::Raw, object.raw)];
        };
        let id = item.text("id").unwrap_or_default().into_owned();
        let was_open = self.open.remove(&id);
        if phase == Phase::Started && self.open.len() < OPEN_ITEMS {
            self.open.insert(id);
        }
        if !self.ending.is_there() {
            self.remember(&item, phase);
        }
        vec![event(kind(&item, phase, was_open), raw)]
    }

    fn remember(&mut self, item: &Fields<'_>, phase: Phase) {
        if phase == Phase::Started {
            return;
        }
        if item.text("type").as_deref() == Some("agent_message") {
            self.last_message = item.text("text").map(|text| text.into_owned());
        }
        if is_refused(item) {
            let tool = item.text("tool").or_else(|| item.text("type"));
            self.refused
                .add(call(&tool.unwrap_or_default(), Some(item)));
        }
    }

    fn completed(&mut self, object: &Object<'_>, notes: &mut Notes) -> Vec<AgentEvent> {
        let usage = match self.ending.is_there() {
            true => Usage::default(),
            false => usage(&object.fields, notes),
        };
        let used = object
            .fields
            .raw("usage")
            .map(|raw| event(EventType::Usage, raw));
        let ending = self.ending_with(Verdict::Success, usage);
        self.end(object, ending, used, notes)
    }

    fn failed(&mut self, object: &Object<'_>, notes: &mut Notes) -> Vec<AgentEvent> {
        let error = object.fields.object("error");
        let message = error.and_then(|error| error.text("message"));
        let message = message.unwrap_or_default();
        let words = lines::message(Some(&message), "the turn failed, and nothing says why");
        let verdict = trouble(&message).verdict(words);
        let ending = self.ending_with(verdict, Usage::default());
        self.end(object, ending, None, notes)
    }

    fn ending_with(&self, verdict: Verdict, usage: Usage) -> Ending {
        Ending {
            verdict,
            result: self.last_message.clone(),
            usage,
        }
    }

    fn end(
        &mut self,
        object: &Object<'_>,
        ending: Ending,
        used: Option<AgentEvent>,
        notes: &mut Notes,
    ) -> Vec<AgentEvent> {
        match self.ending.take(ending, notes) {
            false => vec![event(EventType::Raw, object.raw)],
            true => used
                .into_iter()
                .chain([event(EventType::Result, object.raw)])
                .collect(),
        }
    }
}

/// What an item is about. What takes time begins with one line and ends with another, which is
/// its answer; what is shown only when it is done is told as if it had just begun.
fn kind(item: &Fields<'_>, phase: Phase, was_open: bool) -> EventType {
    let is_answer = phase == Phase::Completed && was_open;
    let begun = match item.text("type").as_deref() {
        Some("command_execution") => EventType::Command,
        Some("file_change") => EventType::FileChange,
        Some("mcp_tool_call" | "web_search" | "collab_tool_call" | "custom_tool_call") => {
            EventType::ToolCall
        }
        Some("agent_message") if phase == Phase::Completed => return EventType::Text,
        Some("reasoning") if phase == Phase::Completed => return EventType::Thinking,
        Some("error") => return EventType::Error,
        _ => return EventType::Raw,
    };
    match is_answer {
        true => EventType::ToolResult,
        false => begun,
    }
}

/// Whether a call was not made for want of permission. What the sandbox stops is a failed command
/// like any other.
fn is_refused(item: &Fields<'_>) -> bool {
    let error = item.object("error");
    let error = error.and_then(|error| error.text("message"));
    let asks = |text: &str| text.starts_with("MCP tool call requires approval");
    item.text("status").as_deref() == Some("declined") || error.is_some_and(|text| asks(&text))
}

/// A line that says what is wrong at the moment.
fn notice(object: &Object<'_>) -> AgentEvent {
    let message = object.fields.text("message").unwrap_or_default();
    let inner = message
        .split_once(" (")
        .map_or(message.as_ref(), |(head, inner)| {
            match head.starts_with("Reconnecting...") {
                true => inner,
                false => message.as_ref(),
            }
        });
    let kind = match trouble(inner).is_limit() {
        true => EventType::Limit,
        false => EventType::Error,
    };
    event(kind, object.raw)
}

/// The program's own sentences, by how they begin.
const SENTENCES: &[(&str, FailureCode)] = &[
    ("You've hit your usage limit", FailureCode::UsageLimit),
    ("Quota exceeded.", FailureCode::UsageLimit),
    (
        "To use Codex with your ChatGPT plan, upgrade",
        FailureCode::AuthFailed,
    ),
    (
        "Codex ran out of room in the model's context window",
        FailureCode::ContextTooLong,
    ),
    (
        "Incomplete response returned, reason: max_output_tokens",
        FailureCode::AnswerCut,
    ),
    (
        "Incomplete response returned, reason: content_filter",
        FailureCode::Refused,
    ),
    ("Incomplete response returned", FailureCode::ProviderError),
    ("Selected model is at capacity", FailureCode::Overloaded),
    (
        "We're currently experiencing high demand",
        FailureCode::Overloaded,
    ),
    ("Connection failed: ", FailureCode::ConnectionFailed),
    ("error sending request", FailureCode::ConnectionFailed),
    ("Missing environment variable: ", FailureCode::AuthFailed),
];

/// What a failed turn's message means.
fn trouble(message: &str) -> Trouble {
    // The program writes some apostrophes as `’`.
    let message = message.replace('\u{2019}', "'");
    let cut = message.strip_prefix("stream disconnected before completion: ");
    let words = cut.unwrap_or(&message);
    let known = SENTENCES.iter().find(|(start, _)| words.starts_with(start));
    let by_code = |code| Trouble {
        code: Some(code),
        until: None,
    };
    match (known, status(words)) {
        (Some((_, code)), _) => by_code(*code),
        (None, Some((status, words))) => Trouble::of(Some(status), Some(words), None),
        (None, None) if cut.is_some() => by_code(FailureCode::ConnectionFailed),
        // The body with which a provider refused the request, as it came.
        (None, None) if serde_json::from_str::<Fields<'_>>(words.trim()).is_ok() => {
            Trouble::of(Some(400), Some(words), None)
        }
        (None, None) => Trouble::default(),
    }
}

/// The status in `unexpected status 401 Unauthorized: WORDS` and in `exceeded retry limit, last
/// status: 429 Too Many Requests`.
fn status(message: &str) -> Option<(u64, &str)> {
    let heads = ["unexpected status ", "exceeded retry limit, last status: "];
    let rest = heads.iter().find_map(|head| message.strip_prefix(head))?;
    let (status, rest) = leading_status(rest)?;
    Some((status, rest.split_once(": ").map_or("", |(_, words)| words)))
}

/// What the thread used. `input_tokens` includes what came from and went to the cache.
fn usage(fields: &Fields<'_>, notes: &mut Notes) -> Usage {
    let usage = fields.object("usage");
    let mut tokens = |name: &str| lines::tokens(usage.as_ref()?, name, notes);
    let (input, output) = (tokens("input_tokens"), tokens("output_tokens"));
    let read = tokens("cached_input_tokens");
    let write = tokens("cache_write_input_tokens");
    let cached = read.unwrap_or(0).saturating_add(write.unwrap_or(0));
    Usage {
        input_tokens: input.and_then(|input| input.checked_sub(cached)),
        output_tokens: output,
        cache_read_tokens: read,
        cache_write_tokens: write,
        cost_usd: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_of_the_program_mean_what_they_mean_only_at_the_beginning() {
        let url = "url: http://127.0.0.1/v1/responses";
        let body = |code: &str| format!(r#"{{"error": {{"message": "no", "code": "{code}"}}}}"#);
        let cases = [
            (
                format!("unexpected status 401 Unauthorized: no, {url}"),
                FailureCode::AuthFailed,
            ),
            (
                "unexpected status 529 <unknown status code>: x".into(),
                FailureCode::Overloaded,
            ),
            (
                "unexpected status 500 Internal Server Error: x".into(),
                FailureCode::ProviderError,
            ),
            (
                "exceeded retry limit, last status: 429 Too Many Requests".into(),
                FailureCode::RateLimit,
            ),
            (
                "You’ve hit your usage limit. Try again".into(),
                FailureCode::UsageLimit,
            ),
            (
                "You've hit your usage limit.".into(),
                FailureCode::UsageLimit,
            ),
            (
                "stream disconnected before completion: Incomplete response returned, \
                 reason: content_filter"
                    .into(),
                FailureCode::Refused,
            ),
            (
                "stream disconnected before completion: x".into(),
                FailureCode::ConnectionFailed,
            ),
            (body("model_not_found"), FailureCode::ModelNotFound),
            (body("context_length_exceeded"), FailureCode::ContextTooLong),
            (body("other"), FailureCode::BadRequest),
            (
                r#"{"detail": "not supported"}"#.into(),
                FailureCode::BadRequest,
            ),
            (
                "it said: unexpected status 401 Unauthorized: x".into(),
                FailureCode::AgentError,
            ),
            (
                "unexpected status 4x1 Unauthorized: x".into(),
                FailureCode::AgentError,
            ),
            (
                "I think You've hit your usage limit.".into(),
                FailureCode::AgentError,
            ),
            (String::new(), FailureCode::AgentError),
        ];
        for (message, code) in cases {
            let told = trouble(&message).code.unwrap_or(FailureCode::AgentError);
            assert_eq!(told, code, "{message}");
        }
    }
}
