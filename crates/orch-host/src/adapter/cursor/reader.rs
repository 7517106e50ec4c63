//! Reads the stream of `cursor-agent -p --output-format stream-json`.
//!
//! What decides, as its documentation says: a run that ends well ends with one `result` line, and
//! the first counts. It is a success only if `is_error` is `false` and `subtype` names no error. A
//! run that fails may end without any such line.

use orch_core::outcome::Verdict;
use orch_core::run::{FailureCode, Usage};
use serde_json::value::RawValue;

use crate::adapter::ending::{Ending, FirstEnding};
use crate::adapter::json::{Fields, Object};
use crate::adapter::lines::{Notes, Protocol, event, message, session};
use crate::adapter::{AgentEvent, EventType, Summary};

#[derive(Default)]
pub(in crate::adapter) struct Cursor {
    session: Option<String>,
    ending: FirstEnding,
}

impl Protocol for Cursor {
    fn object(&mut self, object: &Object<'_>, notes: &mut Notes) -> Vec<AgentEvent> {
        let fields = &object.fields;
        let kind = fields.text("type").unwrap_or_default();
        if self.session.is_none() {
            self.session = session(fields, "session_id");
        }
        let kind = match kind.as_ref() {
            "system" if fields.text("subtype").as_deref() == Some("init") => EventType::Session,
            "assistant" => return blocks(object),
            "thinking" => EventType::Thinking,
            "tool_call" => tool(fields),
            "result" => {
                let text = fields.text("result").filter(|text| !text.is_empty());
                let text = text.map(String::from);
                let ending = Ending {
                    verdict: verdict(fields, text.as_deref()),
                    result: text,
                    usage: Usage::default(),
                };
                match self.ending.take(ending, notes) {
                    true => EventType::Result,
                    false => EventType::Raw,
                }
            }
            _ => EventType::Raw,
        };
        vec![event(kind, object.raw)]
    }

    fn terminal_seen(&self) -> bool {
        self.ending.is_there()
    }

    fn summary(&self) -> Summary {
        self.ending.summary(self.session.clone())
    }
}

fn verdict(fields: &Fields<'_>, words: Option<&str>) -> Verdict {
    let subtype = fields.text("subtype").unwrap_or_default();
    if fields.read("is_error") == Some(false) && subtype == "success" {
        return Verdict::Success;
    }
    Verdict::Error {
        code: FailureCode::AgentError,
        message: message(words, &format!("its result says '{subtype}' and not why")),
    }
}

/// One event for each part of a message that is a text; the whole line if there is none.
fn blocks(object: &Object<'_>) -> Vec<AgentEvent> {
    let given = object.fields.object("message");
    let parts: Vec<&RawValue> = given
        .and_then(|given| given.read("content"))
        .unwrap_or_default();
    if parts.is_empty() {
        return vec![event(EventType::Raw, object.raw)];
    }
    let is_text = |part: &RawValue| {
        let fields: Result<Fields<'_>, _> = serde_json::from_str(part.get());
        fields.is_ok_and(|fields| fields.text("type").as_deref() == Some("text"))
    };
    let kind = |part: &RawValue| match is_text(part) {
        true => EventType::Text,
        false => EventType::Raw,
    };
    parts
        .into_iter()
        .map(|part| event(kind(part), part))
        .collect()
}

/// A call says what it is by the name of the one field of `tool_call`.
fn tool(fields: &Fields<'_>) -> EventType {
    if fields.text("subtype").as_deref() != Some("started") {
        return EventType::ToolResult;
    }
    let call = fields.object("tool_call");
    let is = |name| call.as_ref().is_some_and(|call| call.raw(name).is_some());
    if is("shellToolCall") {
        EventType::Command
    } else if is("writeToolCall") || is("editToolCall") || is("deleteToolCall") {
        EventType::FileChange
    } else {
        EventType::ToolCall
    }
}
