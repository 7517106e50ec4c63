use orch_core::outcome::Verdict;
use orch_core::run::Usage;
use serde_json::json;

use super::*;
use crate::adapter::testing::{code, read, settings};
use std::path::Path;

#[test]
fn without_full_permission_it_has_no_shell() {
    let made = ADAPTER.start(&settings(), &Occasion::example()).unwrap();
    assert_eq!(
        made.argv.join(" "),
        "pi --mode json --print --tools read,edit,write,grep,find,ls"
    );
    assert!(made.prompt_on_stdin && made.files.is_empty());
    let full = AgentSettings {
        permission: Some(Permission::Full),
        ..settings()
    };
    let made = ADAPTER.start(&full, &Occasion::example()).unwrap();
    assert_eq!(made.argv.join(" "), "pi --mode json --print");
    let ask = AgentSettings {
        permission: Some(Permission::Ask),
        ..settings()
    };
    let error = ADAPTER.start(&ask, &Occasion::example()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "agent 'ada': adapter 'pi' has no permission \"ask\"; it has \"edits\" and \"full\""
    );
}

#[test]
fn settings_become_options_and_the_system_prompt_a_file() {
    let occasion = Occasion {
        session: Some("01a2"),
        files: Path::new("/run/agent"),
        ..Occasion::example()
    };
    let all = AgentSettings {
        model: Some("anthropic/opus".into()),
        effort: Some("high".into()),
        system_prompt: Some("-x".into()),
        permission: Some(Permission::Full),
        ..settings()
    };
    let made = ADAPTER.start(&all, &occasion).unwrap();
    assert_eq!(
        made.argv.join(" "),
        "pi --mode json --print --model anthropic/opus --thinking high \
         --append-system-prompt /run/agent/system-prompt.md --session 01a2"
    );
    assert_eq!(made.files, [("system-prompt.md", "-x".to_owned())]);
    let key = AgentSettings {
        args: vec!["--api-key=x".into()],
        ..settings()
    };
    let error = ADAPTER.start(&key, &occasion).unwrap_err().to_string();
    assert!(
        error.contains("--api-key") && error.contains("'ada'"),
        "{error}"
    );
}

fn told(lines: &[String]) -> crate::adapter::Summary {
    let reader = read(&ADAPTER, lines);
    assert!(!reader.terminal_seen());
    reader.summary()
}

/// A turn with one message of the assistant, at this time and with this many tokens of input.
fn turn(time: u64, input: u64, reason: &str, error: Option<&str>) -> Vec<String> {
    let text = json!([{ "type": "text", "text": reason }]);
    let mut message = json!({
        "role": "assistant", "content": text, "stopReason": reason, "timestamp": time,
        "usage": {
            "input": input, "output": 2 * input, "cacheRead": 0, "cacheWrite": 0,
            "totalTokens": 3 * input, "cost": { "total": 0 },
        },
    });
    if let Some(error) = error {
        message["errorMessage"] = error.into();
    }
    [
        json!({ "type": "turn_start" }),
        json!({ "type": "message_end", "message": message }),
        json!({ "type": "turn_end", "message": message }),
    ]
    .map(|line| line.to_string())
    .to_vec()
}

#[test]
fn the_last_message_decides() {
    let cases = [
        ("stop", "by exit status"),
        ("toolUse", "no result"),
        ("length", "answer_cut"),
        ("aborted", "agent_error"),
        ("error", "agent_error"),
        ("", "agent_error"),
    ];
    for (reason, expected) in cases {
        let summary = told(&[turn(1, 5, "stop", None), turn(2, 5, reason, None)].concat());
        assert_eq!(code(&summary.verdict), expected, "{reason}");
    }
    let mut begun = turn(1, 5, "stop", None);
    begun.push(r#"{"type":"turn_start"}"#.to_owned());
    assert_eq!(told(&begun).verdict, Verdict::NoResult);
    assert_eq!(told(&[]).verdict, Verdict::NoResult);
}

#[test]
fn an_error_says_what_it_is_about() {
    let cases = [
        ("401 fake: invalid API key", "auth_failed"),
        ("403 no", "auth_failed"),
        ("404 no", "model_not_found"),
        ("400 no", "bad_request"),
        ("429 slow down", "rate_limit"),
        ("429 You exceeded your current quota, pay", "usage_limit"),
        ("500 no", "provider_error"),
        ("529 no", "overloaded"),
        (
            r#"529 {"type":"error","error":{"type":"overloaded_error"}}"#,
            "overloaded",
        ),
        (
            r#"400 {"error":{"code":"context_length_exceeded"}}"#,
            "context_too_long",
        ),
        (
            r#"{"error":{"code":503,"status":"UNAVAILABLE"}}"#,
            "overloaded",
        ),
        ("Connection error.", "connection_failed"),
        ("terminated", "connection_failed"),
        ("Provider finish_reason: content_filter", "refused"),
        ("No API key for provider: openai", "auth_failed"),
        ("the key 401 is bad", "agent_error"),
    ];
    for (words, expected) in cases {
        let summary = told(&turn(1, 0, "error", Some(words)));
        assert_eq!(code(&summary.verdict), expected, "{words}");
    }
}

#[test]
fn an_error_that_was_tried_again_is_not_the_end() {
    let retry = r#"{"type":"auto_retry_start","attempt":1,"errorMessage":"529 no"}"#.to_owned();
    let failed = turn(1, 0, "error", Some("529 no"));
    let healed = [
        failed.clone(),
        vec![retry.clone()],
        turn(2, 5, "stop", None),
    ]
    .concat();
    assert_eq!(told(&healed).verdict, Verdict::ByExitStatus);
    let waiting = [failed, vec![retry]].concat();
    assert_eq!(code(&told(&waiting).verdict), "overloaded");
}

#[test]
fn a_conversation_that_stayed_too_long_failed() {
    let shorten = |reason: &str| format!(r#"{{"type":"compaction_start","reason":"{reason}"}}"#);
    let with = |reason: &str, last: &str| {
        let failed = turn(1, 5, last, Some("400 too many tokens"));
        told(&[failed, vec![shorten(reason)]].concat())
    };
    assert_eq!(code(&with("overflow", "error").verdict), "context_too_long");
    // A provider may cut in silence what is too long.
    assert_eq!(code(&with("overflow", "stop").verdict), "context_too_long");
    assert_eq!(code(&with("threshold", "stop").verdict), "by exit status");
    let healed = [vec![shorten("overflow")], turn(2, 5, "stop", None)].concat();
    assert_eq!(told(&healed).verdict, Verdict::ByExitStatus);
    let other = [
        vec![shorten("overflow")],
        turn(2, 0, "error", Some("401 no")),
    ]
    .concat();
    assert_eq!(code(&told(&other).verdict), "auth_failed");
}

#[test]
fn what_each_turn_used_is_added_and_zeros_say_nothing() {
    let turns = [
        turn(1, 5, "toolUse", None),
        turn(2, 0, "error", Some("500 no")),
        turn(3, 7, "stop", None),
        turn(3, 7, "stop", None),
    ];
    let usage = told(&turns.concat()).usage;
    assert_eq!(
        (usage.input_tokens, usage.output_tokens),
        (Some(12), Some(24))
    );
    assert_eq!(
        usage.cost_usd, None,
        "a cost of 0 is what it says without a price"
    );
    let failed = told(&turn(1, 0, "error", Some("500 no")));
    assert_eq!(failed.usage, Usage::default());
}

#[test]
fn an_answer_with_nothing_in_it_is_none() {
    let end = |message: serde_json::Value| {
        told(&[json!({ "type": "message_end", "message": message }).to_string()])
    };
    let nothing = end(
        json!({ "role": "assistant", "content": [], "stopReason": "stop",
        "usage": { "totalTokens": 0 } }),
    );
    assert_eq!(code(&nothing.verdict), "connection_failed");
    let silent = end(
        json!({ "role": "assistant", "content": [], "stopReason": "stop",
        "usage": { "totalTokens": 9 } }),
    );
    assert_eq!(silent.verdict, Verdict::ByExitStatus);
    assert_eq!(silent.warnings, ["the last answer of the model was empty"]);
}

#[test]
fn lines_that_repeat_are_dropped_without_being_read() {
    let mut reader = (ADAPTER.reader)();
    // Not even JSON: nobody looks beyond its beginning.
    assert!(
        reader
            .line(br#"{"type":"message_update","message":{"#)
            .is_empty()
    );
    assert!(
        reader
            .line(br#"{"type":"agent_end","messages":[]}"#)
            .is_empty()
    );
    assert!(reader.summary().warnings.is_empty());
}
