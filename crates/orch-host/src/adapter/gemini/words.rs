//! Gemini CLI's events in words for people. Nothing is decided here.

use serde_json::Value;

use crate::adapter::EventType;
use crate::adapter::lines::said;

/// An event's data in words.
pub(super) fn describe(kind: EventType, data: &Value) -> Option<String> {
    match kind {
        EventType::Text => said(data, &["content"]),
        EventType::Command => said(data, &["parameters", "command"]),
        EventType::FileChange => {
            let file = said(data, &["parameters", "file_path"]).unwrap_or_default();
            Some(format!("{} {file}", said(data, &["tool_name"])?))
        }
        EventType::ToolCall | EventType::Question => Some(format!(
            "{} {}",
            said(data, &["tool_name"])?,
            data.get("parameters")?
        )),
        EventType::ToolResult => match said(data, &["error", "message"]) {
            Some(error) => Some(format!("error: {error}")),
            None => said(data, &["output"]),
        },
        EventType::Session => Some(format!(
            "{} {}",
            said(data, &["model"])?,
            said(data, &["session_id"])?
        )),
        EventType::Result => said(data, &["error", "message"]).or_else(|| said(data, &["status"])),
        EventType::Error | EventType::Limit => said(data, &["message"]),
        EventType::Raw => said(data, &["text"]).or_else(|| said(data, &["content"])),
        EventType::Thinking | EventType::Usage => None,
    }
}
