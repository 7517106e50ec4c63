//! One event of an agent in words. The data is what the agent said, verbatim; its adapter knows
//! what that means. This part must not know any agent's fields.

use orch_api::types::AgentEvent;
use orch_daemon::kinds::{self, EventType};
use serde_json::Value;

use crate::error::Result;
use crate::printer::{Label, Printer};
use crate::untrusted::Untrusted;
use crate::view;

/// Prints an event of a run of this kind of agent.
pub fn print(printer: &Printer, adapter: &str, event: &AgentEvent) -> Result<()> {
    let Some(words) = words(adapter, event) else {
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

/// What an event says, for people; `None` if it is nothing.
fn words(adapter: &str, event: &AgentEvent) -> Option<String> {
    let kind: Option<EventType> = event.kind.parse().ok();
    let described = || kinds::describe(adapter, kind?, &event.data);
    let place = match kind {
        Some(EventType::Raw) => place_words(&event.data),
        _ => None,
    };
    let words = place.or_else(described);
    // How much was used is told by `orch show`, added up.
    let words = match kind {
        Some(EventType::Usage) => words,
        _ => words.or_else(|| named(&event.data)),
    };
    words.filter(|words| !words.trim().is_empty())
}

/// Output that is not in the event, because there is so much of it.
fn place_words(data: &Value) -> Option<String> {
    let lines = &data["lines"];
    if let (Some(count), Some(length)) = (lines["count"].as_u64(), lines["length"].as_u64()) {
        return Some({
            let (lines, bytes) = (view::count(count, "line"), view::count(length, "byte"));
            format!("… {lines}, {bytes}; --raw shows them")
        });
    }
    let length = data["oversize_line"]["length"].as_u64()?;
    Some(format!(
        "… a line of {}; --raw shows it",
        view::count(length, "byte")
    ))
}

/// What the agent calls something that its adapter has no words for, or else all of it. Nothing
/// an agent did is passed over.
fn named(data: &Value) -> Option<String> {
    let names = ["type", "subtype", "sessionUpdate", "method", "orch_acp"];
    let names = names.iter().filter_map(|name| data[*name].as_str());
    let name = names.collect::<Vec<_>>().join(" ");
    match data {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        _ if name.is_empty() => Some(data.to_string()),
        _ => Some(name),
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
            (
                "error",
                json!({"text": "not orch's words", "lines": {"length": 1, "count": 1}}),
            ),
        ];
        for (seq, (kind, data)) in (1..).zip(said) {
            let event = AgentEvent {
                seq,
                time: "2026-01-02T03:04:05Z".to_owned(),
                kind: kind.to_owned(),
                data,
            };
            print(&printer, "claude", &event).unwrap();
        }
        insta::assert_snapshot!(out.text());
    }

    const TRANSCRIPTS: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../orch-host/tests/transcripts"
    );

    /// What the log of the recorded run `ok` of this kind of agent shows.
    fn shown(kind: &str) -> String {
        let (printer, out, _) = printer(&Global::default(), &Surroundings::default());
        let lines = std::fs::read(format!("{TRANSCRIPTS}/{kind}/ok.jsonl")).unwrap();
        let mut reader = (kinds::find(kind).unwrap().reader)();
        let events = lines.split(|byte| *byte == b'\n');
        for (seq, event) in (1..).zip(events.flat_map(|line| reader.line(line))) {
            let event = AgentEvent {
                seq,
                time: "2026-01-02T03:04:05Z".to_owned(),
                kind: event.kind.to_string(),
                data: serde_json::from_str(event.data.get()).unwrap(),
            };
            print(&printer, kind, &event).unwrap();
        }
        out.text()
    }

    /// Every kind of agent reads the same: in words, and not in its JSON or by its model's name.
    #[test]
    fn the_log_of_every_kind_of_agent_reads_alike() {
        let mut kinds = 0;
        for entry in std::fs::read_dir(TRANSCRIPTS).unwrap() {
            let kind = entry.unwrap().file_name().into_string().unwrap();
            if kinds::find(&kind).is_none() {
                continue;
            }
            kinds += 1;
            let shown = shown(&kind);
            for word in ["text", "command", "tool_result"] {
                let line = shown.lines().find(|line| line.contains(word));
                let line = line.unwrap_or_else(|| panic!("{kind} has no {word}: {shown}"));
                assert!(!line.contains("model"), "{kind}: {line}");
            }
            assert!(!shown.contains(['{', '}']), "{kind}: {shown}");
            assert!(shown.contains("All done"), "{kind}: {shown}");
            insta::assert_snapshot!(kind, shown);
        }
        assert_eq!(kinds, 7);
    }

    #[test]
    fn agents_of_other_kinds_are_shown_in_words_too() {
        let acp = |kind: &str, data: Value| AgentEvent {
            seq: 1,
            time: String::new(),
            kind: kind.to_owned(),
            data,
        };
        let call = acp(
            "command",
            json!({"rawInput": {"command": "ls"}, "model": "m"}),
        );
        assert_eq!(words("acp", &call).as_deref(), Some("ls"));
        let own = acp("text", json!({"text": "hello", "model": "m"}));
        assert_eq!(words("tiny", &own).as_deref(), Some("hello"));
        let unknown = acp("raw", json!({"type": "new", "more": [1]}));
        assert_eq!(words("codex", &unknown).as_deref(), Some("new"));
        let nameless = acp("raw", json!({"more": [1]}));
        assert_eq!(words("codex", &nameless).as_deref(), Some("{\"more\":[1]}"));
    }
}
