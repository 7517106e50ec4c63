//! Cursor's events in words for people. Nothing is decided here.

use serde_json::Value;

use crate::adapter::EventType;
use crate::adapter::lines::said;

/// An event's data in words.
pub(super) fn describe(kind: EventType, data: &Value) -> Option<String> {
    match kind {
        EventType::Text | EventType::Thinking => said(data, &["text"]),
        EventType::Command => said(data, &["tool_call", "shellToolCall", "args", "command"]),
        EventType::FileChange | EventType::ToolCall | EventType::ToolResult => {
            let (name, call) = data.get("tool_call")?.as_object()?.iter().next()?;
            let what = call.get("result").or_else(|| call.get("args"))?;
            Some(format!("{} {what}", name.trim_end_matches("ToolCall")))
        }
        EventType::Session => Some(format!(
            "{} {}",
            said(data, &["model"])?,
            said(data, &["session_id"])?
        )),
        EventType::Result => said(data, &["result"]).or_else(|| said(data, &["subtype"])),
        EventType::Raw => said(data, &["text"]),
        _ => None,
    }
}
