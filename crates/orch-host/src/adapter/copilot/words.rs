//! Copilot's events in words for people. Nothing is decided here.

use serde_json::Value;

use crate::adapter::EventType;
use crate::adapter::lines::said;

/// An event's data in words.
pub(super) fn describe(kind: EventType, data: &Value) -> Option<String> {
    match kind {
        EventType::Text | EventType::Thinking => said(data, &["content"]),
        EventType::Command => said(data, &["arguments", "command"]),
        EventType::FileChange => {
            let file = said(data, &["arguments", "path"]).unwrap_or_default();
            Some(format!("{} {file}", said(data, &["toolName"])?))
        }
        EventType::ToolCall | EventType::Question => Some(format!(
            "{} {}",
            said(data, &["toolName"])?,
            data.get("arguments")?
        )),
        EventType::ToolResult => match said(data, &["error", "message"]) {
            Some(error) => Some(format!("error: {error}")),
            None => said(data, &["result", "content"]),
        },
        EventType::Session => said(data, &["sessionId"]),
        EventType::Result => Some(format!("exit status {}", data.get("exitCode")?)),
        EventType::Error | EventType::Limit => said(data, &["message"])
            .or_else(|| said(data, &["errorMessage"]))
            .or_else(|| said(data, &["reason"])),
        EventType::Raw => said(data, &["text"]),
        EventType::Usage => None,
    }
}
