use orch_core::outcome::Verdict;

use super::*;
use crate::adapter::testing::{code, read, settings};
use std::path::Path;

const ALWAYS: &str = "copilot --output-format json --no-ask-user --no-auto-update --no-color \
    --no-remote-export --disable-client-telemetry --usage-output-file /run/agent/usage.json";

fn occasion(servers: &[McpServer]) -> Occasion<'_> {
    Occasion {
        mcp: servers,
        files: Path::new("/run/agent"),
        ..Occasion::example()
    }
}

#[test]
fn unattended_work_is_allowed_edits_and_commits_and_no_more() {
    let made = ADAPTER.start(&settings(), &occasion(&[])).unwrap();
    assert_eq!(
        made.argv.join(" "),
        format!(
            "{ALWAYS} --allow-tool=write --allow-tool=shell(git add:*) \
             --allow-tool=shell(git commit:*) --allow-tool=shell(git mv:*) \
             --allow-tool=shell(git rm:*)"
        )
    );
    assert!(made.prompt_on_stdin && made.files.is_empty());
}

#[test]
fn full_permission_comes_only_by_name() {
    let with = |permission| AgentSettings {
        permission: Some(permission),
        ..settings()
    };
    let made = ADAPTER
        .start(&with(Permission::Full), &occasion(&[]))
        .unwrap();
    assert_eq!(made.argv.join(" "), format!("{ALWAYS} --allow-all"));
    let made = ADAPTER
        .start(&with(Permission::Ask), &occasion(&[]))
        .unwrap();
    assert_eq!(made.argv.join(" "), ALWAYS);
    let smuggled = [
        AgentSettings {
            args: vec!["--yolo".into()],
            ..settings()
        },
        AgentSettings {
            args: vec!["--allow-all-paths".into()],
            ..settings()
        },
        AgentSettings {
            args: vec!["--allow-tool".into(), "shell".into()],
            ..settings()
        },
        AgentSettings {
            env: [("COPILOT_ALLOW_ALL".to_owned(), "true".to_owned())].into(),
            ..settings()
        },
    ];
    for settings in smuggled {
        let error = ADAPTER.start(&settings, &occasion(&[])).unwrap_err();
        assert!(error.to_string().contains("set `permission"), "{error}");
    }
    assert!(ADAPTER.never_inherits.contains(&"COPILOT_ALLOW_ALL"));
}

#[test]
fn settings_become_options_and_servers_a_file() {
    let servers = McpServer::parse(
        r#"{"mcpServers": {"web": {"url": "http://127.0.0.1:9/mcp", "headers": {"X": "y"}},
            "files": {"command": "serve-files", "args": ["."], "env": {"A": "b"}}}}"#,
    )
    .unwrap();
    let occasion = Occasion {
        session: Some("8ab2"),
        ..occasion(&servers)
    };
    let all = AgentSettings {
        model: Some("gpt".into()),
        effort: Some("high".into()),
        system_prompt: Some("Be brief.".into()),
        permission: Some(Permission::Full),
        ..settings()
    };
    let made = ADAPTER.start(&all, &occasion).unwrap();
    assert_eq!(
        made.argv.join(" "),
        format!(
            "{ALWAYS} --allow-all --model gpt --reasoning-effort high \
             --additional-mcp-config=@/run/agent/mcp.json --resume=8ab2"
        )
    );
    assert_eq!(made.preamble.as_deref(), Some("Be brief."));
    let (name, text) = &made.files[0];
    assert_eq!(*name, "mcp.json");
    assert_eq!(
        serde_json::from_str::<Value>(text).unwrap(),
        json!({ "mcpServers": {
            "files": {
                "type": "local", "command": "serve-files", "args": ["."], "env": { "A": "b" },
                "tools": ["*"],
            },
            "web": {
                "type": "http", "url": "http://127.0.0.1:9/mcp", "headers": { "X": "y" },
                "tools": ["*"],
            },
        }})
    );
    // Their tools are asked about unless they are named.
    let edits = AgentSettings {
        permission: None,
        ..all
    };
    let made = ADAPTER.start(&edits, &occasion).unwrap();
    assert!(made.argv.contains(&"--allow-tool=files".to_owned()));
}

#[test]
fn the_usage_file_is_summed_over_models_and_says_nothing_if_it_has_none() {
    let used = |input: u64| {
        json!({ "usage": { "inputTokens": input, "outputTokens": 44, "cacheReadTokens": 222,
            "cacheWriteTokens": 33, "reasoningTokens": 5 } })
    };
    let file = json!({ "modelMetrics": { "a": used(1366), "b": used(2000) } }).to_string();
    let usage = (ADAPTER.usage_file.unwrap())(&file).unwrap();
    assert_eq!(
        [
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens
        ],
        [Some(1111 + 1745), Some(88), Some(444), Some(66)]
    );
    assert_eq!(usage.cost_usd, None);
    for nothing in [
        r#"{"modelMetrics":{}}"#,
        "{}",
        "",
        "[",
        r#"{"modelMetrics":{"a":{}}}"#,
    ] {
        assert_eq!((ADAPTER.usage_file.unwrap())(nothing), None, "{nothing}");
    }
    // More from the cache than was read at all cannot be.
    let odd = json!({ "modelMetrics": { "a": used(1) } }).to_string();
    let usage = (ADAPTER.usage_file.unwrap())(&odd).unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (None, Some(44)));
}

fn told(lines: &[&str]) -> crate::adapter::Summary {
    read(&ADAPTER, lines).summary()
}

const GOOD: &str = r#"{"type":"result","sessionId":"s","exitCode":0}"#;
const BAD: &str = r#"{"type":"result","sessionId":"s","exitCode":1}"#;
const SAYS: &str = r#"{"type":"assistant.message","data":{"content":"Done."}}"#;

#[test]
fn an_exit_status_of_0_in_the_result_is_not_enough() {
    assert_eq!(told(&[SAYS, GOOD]).verdict, Verdict::Success);
    assert_eq!(code(&told(&[SAYS, BAD]).verdict), "agent_error");
    assert_eq!(told(&[SAYS]).verdict, Verdict::NoResult);
    for interrupted in [
        r#"{"type":"abort","data":{"reason":"user_abort"}}"#,
        r#"{"type":"agent.interrupted","data":{},"ephemeral":true}"#,
        r#"{"type":"assistant.idle","data":{"aborted":true},"ephemeral":true}"#,
    ] {
        assert_eq!(
            code(&told(&[interrupted, SAYS, GOOD]).verdict),
            "agent_error"
        );
    }
    let error = r#"{"type":"session.error","data":{"errorType":"query","message":"m"}}"#;
    assert_eq!(code(&told(&[SAYS, error, GOOD]).verdict), "agent_error");
    for odd in [
        r#"{"type":"result"}"#,
        r#"{"type":"result","exitCode":"0"}"#,
        r#"{"type":"result","exitCode":null}"#,
    ] {
        assert_eq!(code(&told(&[SAYS, odd]).verdict), "agent_error", "{odd}");
    }
    let calls = r#"{"type":"assistant.message","data":{"content":"I call","toolRequests":[{}]}}"#;
    assert_eq!(code(&told(&[SAYS, calls, GOOD]).verdict), "agent_error");
    assert_eq!(code(&told(&[GOOD]).verdict), "agent_error");
    let idle = r#"{"type":"assistant.idle","data":{},"ephemeral":true}"#;
    assert_eq!(told(&[SAYS, idle, GOOD, BAD]).verdict, Verdict::Success);
}

#[test]
fn an_error_says_what_it_is_about() {
    let error = |fields: &str| format!(r#"{{"type":"session.error","data":{{{fields}}}}}"#);
    let call = |fields: &str| format!(r#"{{"type":"model.call_failure","data":{{{fields}}}}}"#);
    let cases = [
        ("", r#""errorType":"authentication""#, "auth_failed"),
        ("", r#""errorType":"rate_limit""#, "rate_limit"),
        ("", r#""errorType":"quota""#, "usage_limit"),
        ("", r#""errorType":"context_limit""#, "context_too_long"),
        ("", r#""errorType":"query""#, "agent_error"),
        ("", r#""errorType":"query","statusCode":529"#, "overloaded"),
        (
            r#""failureKind":"transport""#,
            r#""errorType":"query""#,
            "connection_failed",
        ),
        (
            r#""statusCode":404"#,
            r#""errorType":"query""#,
            "model_not_found",
        ),
        (
            r#""statusCode":400,"errorMessage":"{\"code\":\"context_length_exceeded\"}""#,
            r#""errorType":"query","statusCode":400"#,
            "context_too_long",
        ),
        (
            r#""failureKind":"api","errorMessage":"{\"code\":\"overloaded\"}""#,
            r#""errorType":"query""#,
            "overloaded",
        ),
    ];
    for (failed, said, expected) in cases {
        let summary = told(&[&call(failed), &error(said), BAD]);
        assert_eq!(code(&summary.verdict), expected, "{failed} {said}");
    }
    let limit =
        r#""statusCode":429,"errorMessage":"{\"type\":\"usage_limit_reached\",\"resets_at\":90}""#;
    let summary = told(&[
        &call(limit),
        &error(r#""errorType":"rate_limit","message":"m""#),
        BAD,
    ]);
    let expected = Verdict::Limited {
        code: orch_core::run::FailureCode::UsageLimit,
        message: "m".to_owned(),
        until: Some(orch_core::Timestamp(90_000)),
    };
    assert_eq!(summary.verdict, expected);
    // A call that failed and was answered when it was tried again explains nothing.
    let summary = told(&[&call(limit), SAYS, &error(r#""errorType":"query""#), BAD]);
    assert_eq!(code(&summary.verdict), "agent_error");
}

#[test]
fn the_final_text_is_the_last_of_the_agent_itself() {
    let inner = r#"{"type":"assistant.message","agentId":"a","data":{"content":"inner"}}"#;
    let summary = told(&[SAYS, inner, GOOD]);
    assert_eq!(summary.result.as_deref(), Some("Done."));
    assert_eq!(summary.session_id.as_deref(), Some("s"));
    assert_eq!(summary.usage, orch_core::run::Usage::default());
}
