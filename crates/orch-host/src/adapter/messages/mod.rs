//! Messages as Anthropic's API has them, which Claude Code and its relatives print: content
//! blocks, and the tool calls that were refused.
//!
//! This part must not know how a run ends.

pub(super) mod words;

use std::borrow::Cow;

use orch_core::text::excerpt;
use serde_json::value::RawValue;

use super::json::{Fields, Object};
use super::stream::event;
use super::{AgentEvent, EventType};

/// Most refused tool calls that are named.
const DENIALS: usize = 10;
/// Most of a refused command or path that is shown, characters.
const DENIAL_CHARS: usize = 80;

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

/// Which tool calls were refused, each with what a rule that allows it would name: the command
/// or the file.
pub(super) fn denials(fields: &Fields<'_>) -> Option<String> {
    let denials: Vec<Fields<'_>> = fields.read("permission_denials")?;
    refusals(denials.iter().map(denial))
}

/// In words, which calls were refused.
pub(super) fn refusals(calls: impl Iterator<Item = String>) -> Option<String> {
    let mut counts = std::collections::BTreeMap::new();
    for call in calls {
        *counts.entry(call).or_insert(0_u64) += 1;
    }
    let calls: Vec<String> = counts
        .iter()
        .take(DENIALS)
        .map(|(call, n)| match n {
            1 => call.clone(),
            n => format!("{call} {n}×"),
        })
        .collect();
    let more = counts.len().saturating_sub(DENIALS);
    let and_more = match more {
        0 => String::new(),
        _ => format!(", and {more} more"),
    };
    (!calls.is_empty()).then(|| {
        format!(
            "tool calls that were refused for want of permission: {}{and_more}",
            calls.join(", ")
        )
    })
}

fn denial(denial: &Fields<'_>) -> String {
    let tool = denial.text("tool_name").unwrap_or(Cow::Borrowed("?"));
    let input = denial.object("tool_input");
    let names = ["command", "file_path", "notebook_path", "url"];
    let what = input.and_then(|input| names.iter().find_map(|name| input.text(name)));
    call(&tool, what.as_deref())
}

/// A tool call in one short line.
pub(super) fn call(tool: &str, what: Option<&str>) -> String {
    let tool = excerpt(tool, 60);
    match what {
        None => tool,
        Some(what) => format!("{tool}({})", excerpt(&one_line(what), DENIAL_CHARS)),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
