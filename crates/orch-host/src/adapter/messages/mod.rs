//! Messages as Anthropic's API has them, which Claude Code and its relatives print: content
//! blocks, and the tool calls that were refused.
//!
//! This part must not know how a run ends.

pub(super) mod words;

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::json::{Fields, Object};
use super::lines::{Refusals, call, event};
use super::{AgentEvent, EventType};

/// What a call of a tool is about, by the tool's name.
pub(super) type ToolKind = fn(&str) -> EventType;

/// The events of an `assistant` line: one per content block, its data the block.
pub(super) fn assistant(object: &Object<'_>, tool: ToolKind) -> Vec<AgentEvent> {
    blocks(object, |block| assistant_block(block, tool))
}

/// The events of a `user` line, which are what tools answered.
pub(super) fn user(object: &Object<'_>) -> Vec<AgentEvent> {
    blocks(object, user_block)
}

/// One event per content block, its data the block; the whole line if it has none.
fn blocks(object: &Object<'_>, kind: impl Fn(&Fields<'_>) -> EventType) -> Vec<AgentEvent> {
    let content = content(object);
    if content.is_empty() {
        return vec![event(EventType::Raw, object.raw)];
    }
    let kind_of =
        |raw: &RawValue| serde_json::from_str(raw.get()).map_or(EventType::Raw, |f| kind(&f));
    content
        .into_iter()
        .map(|raw| event(kind_of(raw), raw))
        .collect()
}

/// The content blocks of a line.
fn content<'a>(object: &Object<'a>) -> Vec<&'a RawValue> {
    let message = object.fields.object("message");
    message
        .and_then(|message| message.read("content"))
        .unwrap_or_default()
}

fn assistant_block(block: &Fields<'_>, tool: ToolKind) -> EventType {
    match block.text("type").as_deref() {
        Some("text") => EventType::Text,
        Some("thinking" | "redacted_thinking") => EventType::Thinking,
        Some("tool_use") => tool(&block.text("name").unwrap_or_default()),
        Some("server_tool_use" | "mcp_tool_use") => EventType::ToolCall,
        Some(kind) if kind.ends_with("_tool_result") => EventType::ToolResult,
        _ => EventType::Raw,
    }
}

fn user_block(block: &Fields<'_>) -> EventType {
    match block.text("type").as_deref() {
        Some("tool_result") => EventType::ToolResult,
        _ => EventType::Raw,
    }
}

/// The texts of a line's `text` blocks, one after the other; `None` if there is no such block.
pub(super) fn text(object: &Object<'_>) -> Option<String> {
    let texts = content(object).into_iter().filter_map(|raw| {
        let block: Fields<'_> = serde_json::from_str(raw.get()).ok()?;
        let is_text = block.text("type").as_deref() == Some("text");
        is_text.then(|| block.text("text").unwrap_or_default().into_owned())
    });
    texts.reduce(|all, next| all + &next)
}

/// Which tool calls were refused, each with what a rule that allows it would name.
pub(super) fn denials(fields: &Fields<'_>) -> Option<String> {
    let denials: Vec<Fields<'_>> = fields.read("permission_denials")?;
    let mut refused = Refusals::default();
    for denial in &denials {
        let tool = denial.text("tool_name").unwrap_or(Cow::Borrowed("?"));
        refused.add(call(&tool, denial.object("tool_input").as_ref()));
    }
    refused.warning()
}
