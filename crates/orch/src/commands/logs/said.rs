//! One event of an agent in words. The data is what the agent said, verbatim; what is not
//! recognised is shown as it is.

use orch_api::types::AgentEvent;
use serde_json::Value;

use crate::error::Result;
use crate::printer::{Label, Printer};
use crate::untrusted::Untrusted;
use crate::view;

/// Prints an event.
pub fn print(printer: &Printer, event: &AgentEvent) -> Result<()> {
    let Some(words) = words(&event.data) else {
        return Ok(());
    };
    let time = printer.painted(Label::Faint, &view::time_of_day(printer, &event.time));
    let kind = Untrusted::line(&event.kind).to_string();
    let kind = printer.painted(label(&event.kind), &format!("{kind:11}"));
    let words = Untrusted::block(words.trim_end()).to_string();
    // Further lines begin below the first one.
    let words = words.replace('\n', &format!("\n{:21}", ""));
    printer.line(format!("{time} {kind} {words}"))
}

fn label(kind: &str) -> Label {
    match kind {
        "error" => Label::Bad,
        "limit" | "question" => Label::Attention,
        "result" => Label::Good,
        "text" => Label::Plain,
        _ => Label::Faint,
    }
}

/// What the data says, for people; `None` if it is nothing.
fn words(data: &Value) -> Option<String> {
    let text = match data {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        Value::Object(_) => object_words(data).unwrap_or_else(|| data.to_string()),
        other => other.to_string(),
    };
    (!text.trim().is_empty()).then_some(text)
}

/// Output that is not in the event, because there is so much of it.
fn place_words(data: &Value) -> Option<String> {
    let lines = &data["lines"];
    if let (Some(count), Some(length)) = (lines["count"].as_u64(), lines["length"].as_u64()) {
        return Some(format!("… {count} lines, {length} bytes; --raw shows them"));
    }
    let length = data["oversize_line"]["length"].as_u64()?;
    Some(format!("… a line of {length} bytes; --raw shows it"))
}

fn object_words(data: &Value) -> Option<String> {
    if let Some(words) = place_words(data) {
        return Some(words);
    }
    let input = &data["input"];
    if let Some(name) = data["name"].as_str().filter(|_| !input.is_null()) {
        let about = ["command", "file_path", "notebook_path", "path", "pattern"]
            .iter()
            .find_map(|key| input[*key].as_str().map(str::to_owned));
        return Some(format!(
            "{name} {}",
            about.unwrap_or_else(|| input.to_string())
        ));
    }
    if let Some(model) = data["model"].as_str() {
        let session = data["session_id"].as_str().unwrap_or_default();
        return Some(format!("{model} {session}"));
    }
    ["text", "thinking", "result", "message", "error", "content"]
        .iter()
        .find_map(|key| joined(&data[*key]))
}

/// A text, or the texts among blocks.
fn joined(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(blocks) => {
            let texts: Vec<&str> = blocks
                .iter()
                .filter_map(|block| block["text"].as_str())
                .collect();
            (!texts.is_empty()).then(|| texts.join("\n"))
        }
        Value::Object(_) => object_words(content),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Global;
    use crate::printer::Surroundings;
    use crate::printer::tests::printer;
    use serde_json::json;

    #[test]
    fn what_agents_say_is_shown_in_words_and_harmless() {
        let (printer, out, _) = printer(&Global::default(), &Surroundings::default());
        let said = [
            ("session", json!({"model": "m-1", "session_id": "s"})),
            ("text", json!({"text": "two\nlines \u{1b}]0;x\u{7}"})),
            (
                "command",
                json!({"name": "Bash", "input": {"command": "ls -l"}}),
            ),
            ("tool_call", json!({"name": "Ask", "input": {"q": 1}})),
            (
                "tool_result",
                json!({"content": [{"type": "text", "text": "ok"}]}),
            ),
            ("usage", json!({"input": 3})),
            ("text", json!({"text": ""})),
            ("result", json!("All done.")),
            (
                "raw",
                json!({"lines": {"offset": 7, "length": 65_536, "count": 32_768}}),
            ),
            (
                "raw",
                json!({"oversize_line": {"offset": 7, "length": 9_000_000}}),
            ),
        ];
        for (seq, (kind, data)) in (1..).zip(said) {
            let event = AgentEvent {
                seq,
                time: "2026-01-02T03:04:05Z".to_owned(),
                kind: kind.to_owned(),
                data,
            };
            print(&printer, &event).unwrap();
        }
        insta::assert_snapshot!(out.text());
    }
}
