//! `OpenCode`'s events in words for people. Nothing is decided here.

use serde_json::Value;

use crate::adapter::EventType;
use crate::adapter::lines::said;

/// An event's data in words.
pub(super) fn describe(kind: EventType, data: &Value) -> Option<String> {
    match kind {
        EventType::Text | EventType::Thinking => said(data, &["text"]),
        EventType::Command => said(data, &["input", "command"]),
        EventType::FileChange => {
            let file = said(data, &["input", "filePath"]).unwrap_or_default();
            Some(format!("{} {file}", said(data, &["tool"])?))
        }
        EventType::ToolCall | EventType::Question => {
            Some(format!("{} {}", said(data, &["tool"])?, data.get("input")?))
        }
        EventType::ToolResult => match said(data, &["state", "error"]) {
            Some(error) => Some(format!("error: {error}")),
            None => said(data, &["state", "output"]),
        },
        EventType::Session => said(data, &["sessionID"]),
        EventType::Error | EventType::Limit => {
            said(data, &["data", "message"]).or_else(|| said(data, &["name"]))
        }
        EventType::Raw => said(data, &["text"]),
        EventType::Usage | EventType::Result => None,
    }
}
