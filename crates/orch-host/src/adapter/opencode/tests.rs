use orch_core::outcome::Verdict;
use orch_core::run::Usage;

use super::*;
use crate::adapter::testing::{code, read, settings};
use std::path::Path;

fn mcp() -> Vec<McpServer> {
    McpServer::parse(
        r#"{"mcpServers": {"web": {"url": "http://127.0.0.1:9/mcp", "headers": {"X": "y"}},
            "files": {"command": "serve-files", "args": ["--root", "."], "env": {"A": "b"}}}}"#,
    )
    .unwrap()
}

fn variable<'a>(made: &'a Invocation, name: &str) -> Option<&'a str> {
    let found = made.env.iter().find(|(given, _)| given == name);
    found.map(|(_, value)| value.as_str())
}

#[test]
fn unattended_work_is_allowed_edits_and_commits_and_no_more() {
    let made = ADAPTER.start(&settings(), &Occasion::example()).unwrap();
    assert_eq!(
        made.argv.join(" "),
        "opencode run --format json --dir /repository"
    );
    let rules: Value =
        serde_json::from_str(variable(&made, "OPENCODE_PERMISSION").unwrap()).unwrap();
    assert_eq!(rules["bash"]["*"], "deny");
    assert_eq!(rules["bash"]["git commit *"], "allow");
    assert_eq!(rules["edit"], "allow");
    // The last rule that matches counts, so the general one must come first.
    assert!(EDITS.starts_with(r#"{"bash":{"*":"deny","#));
    assert!(made.prompt_on_stdin && made.files.is_empty());
    assert_eq!(variable(&made, "OPENCODE_CONFIG_CONTENT"), None);
}

#[test]
fn full_permission_comes_only_by_name() {
    let with = |permission| AgentSettings {
        permission: Some(permission),
        ..settings()
    };
    let full = ADAPTER
        .start(&with(Permission::Full), &Occasion::example())
        .unwrap();
    assert!(full.argv.contains(&"--auto".to_owned()));
    assert_eq!(variable(&full, "OPENCODE_PERMISSION"), None);
    let ask = ADAPTER
        .start(&with(Permission::Ask), &Occasion::example())
        .unwrap();
    assert!(!ask.argv.contains(&"--auto".to_owned()));
    let rules: Value =
        serde_json::from_str(variable(&ask, "OPENCODE_PERMISSION").unwrap()).unwrap();
    assert_eq!(
        (&rules["bash"], &rules["edit"]),
        (&json!("deny"), &json!("deny"))
    );
    let smuggled = [
        AgentSettings {
            args: vec!["--dangerously-skip-permissions".into()],
            ..settings()
        },
        AgentSettings {
            args: vec!["--auto".into()],
            ..settings()
        },
        AgentSettings {
            env: [("OPENCODE_PERMISSION".to_owned(), "{}".to_owned())].into(),
            ..settings()
        },
    ];
    for settings in smuggled {
        let error = ADAPTER.start(&settings, &Occasion::example()).unwrap_err();
        assert!(error.to_string().contains("set `permission"), "{error}");
    }
}

#[test]
fn settings_become_options_and_a_configuration() {
    let servers = mcp();
    let occasion = Occasion {
        session: Some("ses_1"),
        mcp: &servers,
        files: Path::new("/run/agent"),
        ..Occasion::example()
    };
    let all = AgentSettings {
        model: Some("fake/model".into()),
        effort: Some("high".into()),
        system_prompt: Some("Be brief.".into()),
        permission: Some(Permission::Full),
        args: vec!["--title".into(), "x".into()],
        ..settings()
    };
    let made = ADAPTER.start(&all, &occasion).unwrap();
    assert_eq!(
        made.argv.join(" "),
        "opencode run --format json --dir /repository --auto --model fake/model --variant high \
         --session ses_1 --title x"
    );
    assert_eq!(made.files, [("system-prompt.md", "Be brief.".to_owned())]);
    let configuration: Value =
        serde_json::from_str(variable(&made, "OPENCODE_CONFIG_CONTENT").unwrap()).unwrap();
    assert_eq!(
        configuration,
        json!({
            "instructions": ["/run/agent/system-prompt.md"],
            "mcp": {
                "files": {
                    "type": "local", "command": ["serve-files", "--root", "."],
                    "environment": { "A": "b" }, "enabled": true,
                },
                "web": {
                    "type": "remote", "url": "http://127.0.0.1:9/mcp",
                    "headers": { "X": "y" }, "enabled": true,
                },
            },
        })
    );
}

#[test]
fn a_configuration_of_the_users_own_is_left_to_the_program_to_merge() {
    let servers = mcp();
    let occasion = Occasion {
        mcp: &servers,
        ..Occasion::example()
    };
    let mut own = settings();
    own.env
        .insert("OPENCODE_CONFIG_CONTENT".into(), "$MINE".into());
    let made = ADAPTER.start(&own, &occasion).unwrap();
    assert_eq!(variable(&made, "OPENCODE_CONFIG_CONTENT"), None);
    let path = variable(&made, "OPENCODE_CONFIG").unwrap();
    let (name, text) = &made.files[0];
    assert!(
        path.ends_with(name) && text.contains("serve-files"),
        "{path} {text}"
    );
    own.env
        .insert("OPENCODE_CONFIG".into(), "/etc/mine.json".into());
    let error = ADAPTER.start(&own, &occasion).unwrap_err().to_string();
    assert!(
        error.contains("OPENCODE_CONFIG") && error.contains("'ada'"),
        "{error}"
    );
}

#[test]
fn a_setting_it_does_not_have_is_refused() {
    let turns = AgentSettings {
        max_turns: Some(3),
        ..settings()
    };
    let error = ADAPTER.start(&turns, &Occasion::example()).unwrap_err();
    assert!(error.to_string().contains("`max_turns`"), "{error}");
}

fn line(kind: &str, rest: &str) -> String {
    format!(r#"{{"type":"{kind}","timestamp":1000,"sessionID":"ses_1",{rest}}}"#)
}

fn step(reason: &str) -> [String; 2] {
    let finish = format!(
        r#""part":{{"id":"{reason}","reason":"{reason}","tokens":{{"input":3,"output":2,"reasoning":1,"cache":{{"read":5,"write":0}}}},"cost":0}}"#
    );
    [
        line("step_start", r#""part":{}"#),
        line("step_finish", &finish),
    ]
}

fn failure(name: &str, data: &str) -> String {
    line(
        "error",
        &format!(r#""error":{{"name":"{name}","data":{{{data}}}}}"#),
    )
}

fn told(lines: &[String]) -> crate::adapter::Summary {
    let reader = read(&ADAPTER, lines);
    assert!(!reader.terminal_seen());
    reader.summary()
}

#[test]
fn the_reason_of_the_last_step_decides() {
    let cases = [
        ("stop", "by exit status"),
        ("tool-calls", "no result"),
        ("length", "answer_cut"),
        ("content-filter", "refused"),
        ("unknown", "provider_error"),
        ("", "provider_error"),
    ];
    for (reason, expected) in cases {
        assert_eq!(code(&told(&step(reason)).verdict), expected, "{reason}");
        // What came before it does not.
        let later = [step("stop"), step(reason)].concat();
        assert_eq!(code(&told(&later).verdict), expected, "{reason}");
    }
    let begun = [
        step("stop").to_vec(),
        vec![line("step_start", r#""part":{}"#)],
    ]
    .concat();
    assert_eq!(told(&begun).verdict, Verdict::NoResult);
    assert_eq!(told(&[]).verdict, Verdict::NoResult);
}

#[test]
fn an_error_says_what_it_is_about() {
    let cases = [
        (
            "ContextOverflowError",
            r#""message":"m""#,
            "context_too_long",
        ),
        ("ContentFilterError", r#""message":"m""#, "refused"),
        ("MessageOutputLengthError", "", "answer_cut"),
        ("ProviderAuthError", r#""message":"m""#, "auth_failed"),
        ("MessageAbortedError", r#""message":"m""#, "agent_error"),
        ("APIError", r#""statusCode":401"#, "auth_failed"),
        ("APIError", r#""statusCode":403"#, "auth_failed"),
        ("APIError", r#""statusCode":404"#, "model_not_found"),
        ("APIError", r#""statusCode":400"#, "bad_request"),
        ("APIError", r#""statusCode":500"#, "provider_error"),
        ("APIError", r#""statusCode":529"#, "overloaded"),
        ("APIError", r#""statusCode":429"#, "rate_limit"),
        (
            "APIError",
            r#""statusCode":429,"responseBody":"{\"error\":{\"code\":\"insufficient_quota\"}}""#,
            "usage_limit",
        ),
        (
            "APIError",
            r#""message":"x","metadata":{"syscall":""}"#,
            "connection_failed",
        ),
        (
            "APIError",
            r#""message":"x","metadata":{"url":""}"#,
            "agent_error",
        ),
        (
            "UnknownError",
            r#""message":"{\"type\":\"server_error\",\"code\":\"overloaded\"}""#,
            "overloaded",
        ),
        (
            "UnknownError",
            r#""message":"JSON parsing failed: Text: x""#,
            "connection_failed",
        ),
        (
            "UnknownError",
            r#""message":"the model said 401""#,
            "agent_error",
        ),
        ("", "", "agent_error"),
    ];
    for (name, data, expected) in cases {
        let summary = told(&[failure(name, data)]);
        assert_eq!(code(&summary.verdict), expected, "{name} {data}");
    }
    let cut = told(&[line("error", r#""error":"words""#)]);
    assert_eq!(code(&cut.verdict), "agent_error");
}

#[test]
fn a_limit_is_lifted_when_the_headers_say_so() {
    let data = r#""statusCode":429,"responseHeaders":{"retry-after":"30"}"#;
    let Verdict::Limited { until, .. } = told(&[failure("APIError", data)]).verdict else {
        panic!("a limit");
    };
    assert_eq!(until.map(|until| until.0), Some(31_000));
}

#[test]
fn only_an_error_the_program_heals_is_healed_and_only_by_going_on() {
    let long = vec![failure("ContextOverflowError", "")];
    let other = vec![failure("APIError", r#""statusCode":500"#)];
    let stop = step("stop").to_vec();
    let verdict = |parts: &[&Vec<String>]| {
        let lines: Vec<String> = parts
            .iter()
            .flat_map(|lines| lines.iter().cloned())
            .collect();
        code(&told(&lines).verdict)
    };
    // The first step after it only makes the conversation shorter.
    assert_eq!(verdict(&[&long, &stop]), "context_too_long");
    assert_eq!(verdict(&[&long, &stop, &stop]), "success");
    assert_eq!(verdict(&[&long, &stop, &stop, &long]), "context_too_long");
    assert_eq!(
        verdict(&[&long, &stop, &stop, &step("length").to_vec()]),
        "context_too_long"
    );
    assert_eq!(verdict(&[&other, &stop, &stop]), "provider_error");
}

#[test]
fn what_each_step_used_is_added_and_zeros_say_nothing() {
    let nothing = r#""part":{"id":"n","reason":"stop","tokens":{"input":0,"output":0,"reasoning":0,"cache":{"read":0,"write":0}},"cost":0}"#;
    assert_eq!(
        told(&[line("step_finish", nothing)]).usage,
        Usage::default()
    );
    let twice = [step("tool-calls"), step("stop")].concat();
    let usage = told(&twice).usage;
    assert_eq!(
        (usage.input_tokens, usage.output_tokens),
        (Some(6), Some(6))
    );
    assert_eq!(
        (usage.cache_read_tokens, usage.cache_write_tokens),
        (Some(10), Some(0))
    );
    assert_eq!(
        usage.cost_usd, None,
        "a cost of 0 is what it says without a price"
    );
    // The same step again is no other step.
    let again = [step("stop"), step("stop")].concat();
    assert_eq!(told(&again).usage.input_tokens, Some(3));
}

#[test]
fn a_refused_call_is_a_warning_and_a_model_that_talks_of_one_is_not() {
    let call = |state: &str| {
        let state = format!(r#""input":{{"command":"rm x"}},{state}"#);
        line(
            "tool_use",
            &format!(r#""part":{{"tool":"bash","state":{{{state}}}}}"#),
        )
    };
    let words = "The user rejected permission to use this specific tool call.";
    let refused = told(&[call(&format!(r#""status":"error","error":"{words}""#))]);
    assert_eq!(
        refused.warnings,
        ["tool calls that were refused for want of permission: bash(rm x)"]
    );
    let talked = told(&[
        call(&format!(r#""status":"completed","output":"{words}""#)),
        line("text", &format!(r#""part":{{"text":"{words}"}}"#)),
    ]);
    assert!(talked.warnings.is_empty(), "{:?}", talked.warnings);
}
