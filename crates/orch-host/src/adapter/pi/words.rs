//! Pi's events in words for people. Nothing is decided here.

use serde_json::Value;

use crate::adapter::EventType;
use crate::adapter::lines::said;

/// An event's data in words.
pub(super) fn describe(kind: EventType, data: &Value) -> Option<String> {
    match kind {
        EventType::Text => said(data, &["text"]),
        EventType::Thinking => said(data, &["thinking"]),
        EventType::Command => said(data, &["args", "command"]),
        EventType::FileChange => {
            let file = said(data, &["args", "path"]).unwrap_or_default();
            Some(format!("{} {file}", said(data, &["toolName"])?))
        }
        EventType::ToolCall | EventType::Question => Some(format!(
            "{} {}",
            said(data, &["toolName"])?,
            data.get("args")?
        )),
        EventType::ToolResult => tool_result(data),
        EventType::Session => said(data, &["id"]),
        EventType::Error | EventType::Limit => said(data, &["errorMessage"])
            .or_else(|| said(data, &["finalError"]))
            .or_else(|| said(data, &["stopReason"])),
        EventType::Raw => said(data, &["text"]),
        EventType::Usage | EventType::Result => None,
    }
}

fn tool_result(data: &Value) -> Option<String> {
    let parts = data.get("result")?.get("content")?.as_array()?;
    let texts: Vec<&str> = parts
        .iter()
        .filter_map(|part| part.get("text")?.as_str())
        .collect();
    let text = texts.join("\n");
    match data.get("isError").and_then(Value::as_bool) {
        Some(true) => Some(format!("error: {text}")),
        _ => Some(text),
    }
}
