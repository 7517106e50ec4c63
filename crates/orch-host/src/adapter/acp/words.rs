//! Events of such an agent in words for people. Nothing is decided here.

use serde_json::Value;

use crate::adapter::EventType;

/// An event's data in words.
pub(super) fn describe(kind: EventType, data: &Value) -> Option<String> {
    match kind {
        EventType::Thinking if data.get("entries").is_some() => plan(data),
        EventType::Text | EventType::Thinking => text(data, "text"),
        EventType::Command => command(data).or_else(|| text(data, "title")),
        EventType::ToolCall => text(data, "title").or_else(|| text(data, "kind")),
        EventType::FileChange => file_change(data),
        EventType::ToolResult => tool_result(data),
        EventType::Question => question(data),
        EventType::Session => Some(format!(
            "{} {}",
            text(data, "agent").unwrap_or_else(|| "agent".to_owned()),
            text(data, "id")?
        )),
        EventType::Result => result(data),
        EventType::Error | EventType::Limit => error(data),
        EventType::Raw => text(data, "text"),
        EventType::Usage => None,
    }
}

fn text(data: &Value, name: &str) -> Option<String> {
    data.get(name)?.as_str().map(str::to_owned)
}

fn command(data: &Value) -> Option<String> {
    let input = data.get("rawInput")?;
    let words = |words: &Vec<Value>| {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        words.join(" ")
    };
    text(input, "command").or_else(|| Some(words(input.get("command")?.as_array()?)))
}

fn plan(data: &Value) -> Option<String> {
    let line = |entry: &Value| {
        let mark = match entry.get("status").and_then(Value::as_str) {
            Some("completed") => "x",
            Some("in_progress") => ">",
            _ => " ",
        };
        Some(format!("[{mark}] {}", text(entry, "content")?))
    };
    let lines: Vec<String> = data
        .get("entries")?
        .as_array()?
        .iter()
        .filter_map(line)
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn file_change(data: &Value) -> Option<String> {
    let paths = |name: &str| -> Vec<String> {
        let entries = data.get(name).and_then(Value::as_array);
        let entries = entries.into_iter().flatten();
        entries.filter_map(|entry| text(entry, "path")).collect()
    };
    let mut paths = [paths("locations"), paths("content")].concat();
    paths.dedup();
    match (text(data, "title"), paths.is_empty()) {
        (Some(title), _) if paths.iter().any(|path| title.contains(path)) => Some(title),
        (Some(title), false) => Some(format!("{title} {}", paths.join(" "))),
        (None, false) => Some(paths.join(" ")),
        (title, true) => title,
    }
}

fn tool_result(data: &Value) -> Option<String> {
    let texts = |blocks: &Value| -> Vec<String> {
        let blocks = blocks.as_array().into_iter().flatten();
        blocks
            .filter_map(|block| text(block.get("content")?, "text"))
            .collect()
    };
    let said = data
        .get("content")
        .map(texts)
        .unwrap_or_default()
        .join("\n");
    let raw = || text(data, "rawOutput").or_else(|| text(data.get("rawOutput")?, "output"));
    let said = Some(said)
        .filter(|said| !said.is_empty())
        .or_else(raw)
        .or_else(|| text(data, "title"));
    match data.get("status").and_then(Value::as_str) {
        Some("failed") => Some(format!("error: {}", said.unwrap_or_default())),
        _ => said,
    }
}

/// What the agent asked, or how that was answered.
fn question(data: &Value) -> Option<String> {
    match data.get("allowed").and_then(Value::as_bool) {
        Some(true) => Some(format!("allowed once: {}", text(data, "title")?)),
        Some(false) => Some(format!(
            "refused: {} ({})",
            text(data, "title")?,
            text(data, "why").or_else(|| text(data, "answer"))?
        )),
        None => Some(format!(
            "may it: {}?",
            text(data.get("toolCall")?, "title")?
        )),
    }
}

fn result(data: &Value) -> Option<String> {
    text(data, "stop_reason")
        .or_else(|| text(data, "message"))
        .or_else(|| error(data.get("error")?))
        .or_else(|| text(data, "how"))
}

fn error(data: &Value) -> Option<String> {
    text(data, "message")
}
