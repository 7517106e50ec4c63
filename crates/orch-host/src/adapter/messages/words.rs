//! Such events in words for people. Nothing is decided here.

use serde_json::Value;

use crate::adapter::EventType;

/// An event's data in words.
pub(in crate::adapter) fn describe(kind: EventType, data: &Value) -> Option<String> {
    match kind {
        EventType::Text => text(data, "text"),
        EventType::Thinking => text(data, "thinking"),
        EventType::Command => text(data.get("input")?, "command"),
        EventType::FileChange => Some(format!("{} {}", text(data, "name")?, file(data)?)),
        EventType::ToolCall | EventType::Question => {
            Some(format!("{} {}", text(data, "name")?, data.get("input")?))
        }
        EventType::ToolResult => tool_result(data),
        EventType::Session => Some(format!(
            "{} {}",
            text(data, "model")?,
            text(data, "session_id")?
        )),
        EventType::Result => result(data),
        EventType::Error | EventType::Limit => trouble(data),
        EventType::Raw => text(data, "text"),
        EventType::Usage => None,
    }
}

fn text(data: &Value, name: &str) -> Option<String> {
    data.get(name)?.as_str().map(str::to_owned)
}

fn file(data: &Value) -> Option<String> {
    let input = data.get("input")?;
    text(input, "file_path").or_else(|| text(input, "notebook_path"))
}

fn tool_result(data: &Value) -> Option<String> {
    let said = joined(data.get("content")?)?;
    match data.get("is_error").and_then(Value::as_bool) {
        Some(true) => Some(format!("error: {said}")),
        _ => Some(said),
    }
}

/// A content that is a text, or blocks of which some are.
fn joined(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(blocks) => {
            let texts: Vec<String> = blocks
                .iter()
                .filter_map(|block| text(block, "text"))
                .collect();
            (!texts.is_empty()).then(|| texts.join("\n"))
        }
        _ => None,
    }
}

fn result(data: &Value) -> Option<String> {
    let errors = || {
        let errors = data.get("errors")?.as_array()?;
        let errors: Vec<&str> = errors.iter().filter_map(Value::as_str).collect();
        Some(errors.join("; "))
    };
    let error = || text(data.get("error")?, "message");
    text(data, "result")
        .or_else(errors)
        .or_else(error)
        .or_else(|| text(data, "subtype"))
}

/// A failed call, a retry, or news about a limit.
fn trouble(data: &Value) -> Option<String> {
    if let Some(info) = data.get("rate_limit_info") {
        let kind = text(info, "rateLimitType").unwrap_or_default();
        return Some(format!("{kind} limit: {}", text(info, "status")?));
    }
    if let Some(message) = data.get("message") {
        return joined(message.get("content")?);
    }
    let error = text(data, "error").or_else(|| text(data, "subtype"))?;
    match (data.get("attempt"), data.get("max_retries")) {
        (Some(attempt), Some(most)) => Some(format!("{error}, retry {attempt} of {most}")),
        _ => Some(error),
    }
}
