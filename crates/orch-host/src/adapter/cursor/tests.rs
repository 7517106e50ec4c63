use super::*;
use crate::adapter::testing::settings;
use crate::adapter::{EventType, Summary};
use orch_core::outcome::Verdict;

#[test]
fn it_is_forced_only_by_name() {
    let made = ADAPTER.start(&settings(), &Occasion::example()).unwrap();
    assert_eq!(
        made.argv.join(" "),
        "cursor-agent -p --output-format stream-json --trust"
    );
    let occasion = Occasion {
        session: Some("c1"),
        ..Occasion::example()
    };
    let full = AgentSettings {
        permission: Some(Permission::Full),
        model: Some("auto".into()),
        system_prompt: Some("Be brief.".into()),
        ..settings()
    };
    let made = ADAPTER.start(&full, &occasion).unwrap();
    assert_eq!(
        made.argv.join(" "),
        "cursor-agent -p --output-format stream-json --trust --force --model auto --resume=c1"
    );
    assert_eq!(made.preamble.as_deref(), Some("Be brief."));
    let with = AgentSettings {
        permission: Some(Permission::Edits),
        ..settings()
    };
    let error = ADAPTER.start(&with, &Occasion::example()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "agent 'ada': adapter 'cursor' has no permission \"edits\"; it has \"ask\" and \"full\""
    );
}

fn read(lines: &[&str]) -> (Vec<EventType>, Summary) {
    let mut reader = (ADAPTER.reader)();
    let events = lines.iter().flat_map(|line| reader.line(line.as_bytes()));
    let kinds = events.map(|event| event.kind).collect();
    (kinds, reader.summary())
}

const INIT: &str = r#"{"type":"system","subtype":"init","session_id":"c1","model":"auto"}"#;

#[test]
fn a_documented_run_is_understood() {
    let (kinds, summary) = read(&[
        INIT,
        r#"{"type":"assistant","message":{"role":"assistant","content":[{"type":"text","text":"Hi"}]},"session_id":"c1"}"#,
        r#"{"type":"tool_call","subtype":"started","call_id":"1","tool_call":{"shellToolCall":{"args":{"command":"ls"}}},"session_id":"c1"}"#,
        r#"{"type":"tool_call","subtype":"completed","call_id":"1","tool_call":{"shellToolCall":{"result":{}}},"session_id":"c1"}"#,
        r#"{"type":"tool_call","subtype":"started","call_id":"2","tool_call":{"writeToolCall":{"args":{"path":"a"}}},"session_id":"c1"}"#,
        r#"{"type":"result","subtype":"success","is_error":false,"result":"Done.","session_id":"c1"}"#,
    ]);
    assert_eq!(
        kinds,
        [
            EventType::Session,
            EventType::Text,
            EventType::Command,
            EventType::ToolResult,
            EventType::FileChange,
            EventType::Result,
        ]
    );
    assert_eq!(summary.verdict, Verdict::Success);
    assert_eq!(summary.result.as_deref(), Some("Done."));
    assert_eq!(summary.session_id.as_deref(), Some("c1"));
}

#[test]
fn only_a_result_that_says_so_is_a_success() {
    assert_eq!(read(&[INIT]).1.verdict, Verdict::NoResult);
    for fields in [
        r#""subtype":"success""#,
        r#""subtype":"success","is_error":true"#,
        r#""subtype":"error","is_error":false"#,
        r#""is_error":false"#,
        r#""subtype":"success","is_error":"false""#,
    ] {
        let (_, summary) = read(&[INIT, &format!(r#"{{"type":"result",{fields}}}"#)]);
        assert!(matches!(summary.verdict, Verdict::Error { .. }), "{fields}");
    }
    let both = [
        r#"{"type":"result","subtype":"success","is_error":true}"#,
        r#"{"type":"result","subtype":"success","is_error":false}"#,
    ];
    let (_, summary) = read(&both);
    assert!(matches!(summary.verdict, Verdict::Error { .. }));
    assert_eq!(summary.warnings.len(), 1);
}
