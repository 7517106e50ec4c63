//! Codex's events in words for people. Nothing is decided here.

use serde_json::Value;

use crate::adapter::EventType;

/// An event's data in words.
pub(super) fn describe(kind: EventType, data: &Value) -> Option<String> {
    match kind {
        EventType::Text | EventType::Thinking => text(data, "text"),
        EventType::Command => text(data, "command"),
        EventType::FileChange => changes(data),
        EventType::ToolCall => called(data),
        EventType::ToolResult => answer(data),
        EventType::Session => text(data, "thread_id"),
        EventType::Result => failure(data).or_else(|| Some("the turn is complete".to_owned())),
        EventType::Error | EventType::Limit => text(data, "message"),
        EventType::Raw => text(data, "text"),
        EventType::Question | EventType::Usage => None,
    }
}

fn text(data: &Value, name: &str) -> Option<String> {
    data.get(name)?.as_str().map(str::to_owned)
}

fn failure(data: &Value) -> Option<String> {
    text(data.get("error")?, "message")
}

fn changes(data: &Value) -> Option<String> {
    let changes = data.get("changes")?.as_array()?;
    let lines = changes.iter().filter_map(|change| {
        let path = text(change, "path")?;
        Some(format!("{} {path}", text(change, "kind")?))
    });
    Some(lines.collect::<Vec<_>>().join(", "))
}

fn called(data: &Value) -> Option<String> {
    if let Some(query) = text(data, "query") {
        return Some(format!("web search: {query}"));
    }
    let (server, tool) = (text(data, "server")?, text(data, "tool")?);
    Some(format!("{server}.{tool} {}", data.get("arguments")?))
}

fn answer(data: &Value) -> Option<String> {
    if let Some(output) = text(data, "aggregated_output") {
        return Some(match data.get("exit_code").and_then(Value::as_i64) {
            None | Some(0) => output,
            Some(code) => format!("exit status {code}: {output}"),
        });
    }
    if let Some(error) = failure(data) {
        return Some(format!("error: {error}"));
    }
    let blocks = data.get("result")?.get("content")?.as_array()?;
    let texts = blocks.iter().filter_map(|block| text(block, "text"));
    Some(texts.collect::<Vec<_>>().join("\n"))
}
