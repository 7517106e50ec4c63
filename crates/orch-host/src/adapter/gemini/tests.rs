use orch_core::outcome::Verdict;
use orch_core::run::Usage;

use super::*;
use crate::adapter::testing::{code, read, settings};
use std::path::Path;

fn mcp() -> Vec<McpServer> {
    McpServer::parse(
        r#"{"mcpServers": {"web": {"url": "http://127.0.0.1:9/mcp", "headers": {"X": "y"}},
            "files": {"command": "serve-files", "args": [], "env": {"A": "b"}}}}"#,
    )
    .unwrap()
}

#[test]
fn unattended_work_is_allowed_edits_and_commits_and_no_more() {
    let made = ADAPTER.start(&settings(), &Occasion::example()).unwrap();
    assert_eq!(
        made.argv.join(" "),
        "gemini --output-format stream-json --skip-trust --approval-mode auto_edit \
         --allowed-tools run_shell_command(git add),run_shell_command(git commit),\
         run_shell_command(git diff),run_shell_command(git log),run_shell_command(git mv),\
         run_shell_command(git rm),run_shell_command(git show),run_shell_command(git status)"
    );
    assert!(
        made.env
            .contains(&("GEMINI_CLI_NO_RELAUNCH".into(), "true".into()))
    );
    assert!(made.files.is_empty() && made.prompt_on_stdin);
}

#[test]
fn full_permission_comes_only_by_name() {
    for (permission, mode) in [
        (Permission::Ask, "default"),
        (Permission::Edits, "auto_edit"),
        (Permission::Full, "yolo"),
    ] {
        let with = AgentSettings {
            permission: Some(permission),
            ..settings()
        };
        let made = ADAPTER.start(&with, &Occasion::example()).unwrap();
        let at = made
            .argv
            .iter()
            .position(|word| word == "--approval-mode")
            .unwrap();
        assert_eq!(made.argv[at + 1], mode);
    }
    for argument in [
        "--yolo",
        "-y",
        "-dy",
        "--y",
        "--approval-mode=yolo",
        "--approvalMode=yolo",
        "--allowed-tools=x",
        "--policy=all.toml",
    ] {
        let smuggled = AgentSettings {
            args: vec![argument.into()],
            ..settings()
        };
        let error = ADAPTER.start(&smuggled, &Occasion::example()).unwrap_err();
        assert!(error.to_string().contains("set `permission"), "{error}");
    }
}

#[test]
fn what_no_option_carries_is_in_the_settings_of_a_home_of_its_own() {
    let servers = mcp();
    let occasion = Occasion {
        session: Some("8ab2"),
        mcp: &servers,
        files: Path::new("/run/agent"),
        ..Occasion::example()
    };
    let all = AgentSettings {
        model: Some("gemini-2.5-pro".into()),
        max_turns: Some(7),
        system_prompt: Some("Be brief.".into()),
        permission: Some(Permission::Full),
        ..settings()
    };
    let made = ADAPTER.start(&all, &occasion).unwrap();
    assert_eq!(
        made.argv.join(" "),
        "gemini --output-format stream-json --skip-trust --approval-mode yolo \
         --model gemini-2.5-pro --resume 8ab2"
    );
    assert_eq!(made.preamble.as_deref(), Some("Be brief."));
    assert!(
        made.env
            .contains(&("GEMINI_CLI_HOME".into(), "/run/agent".into()))
    );
    let (name, text) = &made.files[0];
    assert_eq!(*name, ".gemini/settings.json");
    let file: Value = serde_json::from_str(text).unwrap();
    assert_eq!(file["model"]["maxSessionTurns"], 7);
    assert_eq!(file["general"]["enableAutoUpdate"], false);
    assert_eq!(
        file["mcpServers"],
        json!({
            "files": { "command": "serve-files", "args": [], "env": { "A": "b" }, "trust": true },
            "web": { "httpUrl": "http://127.0.0.1:9/mcp", "headers": { "X": "y" }, "trust": true },
        })
    );
    let own = AgentSettings {
        env: [("GEMINI_CLI_HOME".to_owned(), "/home/x".to_owned())].into(),
        ..all
    };
    let error = ADAPTER.start(&own, &occasion).unwrap_err().to_string();
    assert!(error.contains("GEMINI_CLI_HOME"), "{error}");
}

#[test]
fn an_exit_status_without_a_result_is_explained() {
    let gone = "Error resuming session: No previous sessions found for this project.\n";
    let cases = [
        (41, "", "auth_failed"),
        (42, "", "bad_request"),
        (42, gone, "session_gone"),
        (53, "", "turn_limit"),
        (55, "", "agent_error"),
        (144, "", "bad_request"),
        (145, "", "auth_failed"),
        (173, "", "rate_limit"),
        (244, "", "provider_error"),
        (247, "", "overloaded"),
        (17, "", "overloaded"),
    ];
    for (status, errors, expected) in cases {
        let (code, _) = (ADAPTER.explain)(status, errors).unwrap();
        assert_eq!(code.as_str(), expected, "{status}");
    }
    for status in [0, 1, 2, 130, 143] {
        assert_eq!((ADAPTER.explain)(status, ""), None, "{status}");
    }
}

fn told(lines: &[&str]) -> crate::adapter::Summary {
    read(&ADAPTER, lines).summary()
}

const SUCCESS: &str = r#"{"type":"result","status":"success"}"#;
const SAYS: &str = r#"{"type":"message","role":"assistant","content":"Hi","delta":true}"#;

#[test]
fn a_success_after_the_program_stopped_the_work_is_none() {
    let error = |severity: &str, words: &str| {
        format!(r#"{{"type":"error","severity":"{severity}","message":"{words}"}}"#)
    };
    let found = error("warning", "Loop detected, stopping execution");
    let turns = error("error", "Maximum session turns exceeded");
    let hook = error("warning", "Agent execution blocked: no");
    let stop = r#"{"type":"tool_result","tool_id":"1","status":"error","error":{"type":"stop_execution","message":"no"}}"#;
    assert_eq!(code(&told(&[SAYS, SUCCESS]).verdict), "success");
    assert_eq!(code(&told(&[SAYS, &found, SUCCESS]).verdict), "agent_error");
    assert_eq!(code(&told(&[&found, SAYS, SUCCESS]).verdict), "agent_error");
    assert_eq!(code(&told(&[SAYS, &turns, SUCCESS]).verdict), "turn_limit");
    assert_eq!(code(&told(&[SAYS, stop, SUCCESS]).verdict), "agent_error");
    assert_eq!(code(&told(&[SAYS, &hook, SUCCESS]).verdict), "agent_error");
    // A hook may forbid to end, and then the work goes on.
    assert_eq!(code(&told(&[&hook, SAYS, SUCCESS]).verdict), "success");
    for result in [
        r#"{"type":"result"}"#,
        r#"{"type":"result","status":"done"}"#,
        r#"{"type":"result","status":"success","error":{"message":"m"}}"#,
    ] {
        assert_eq!(code(&told(&[result]).verdict), "agent_error", "{result}");
    }
    assert_eq!(told(&[SAYS]).verdict, Verdict::NoResult);
    let tool = r#"{"type":"tool_use","tool_name":"x","tool_id":"1","parameters":{}}"#;
    assert_eq!(code(&told(&[SAYS, tool, SUCCESS]).verdict), "agent_error");
}

#[test]
fn an_error_says_what_it_is_about() {
    let limit = "Please wait and try again later. To increase your limits, do";
    let cases = [
        ("FatalTurnLimitedError", "m", "turn_limit"),
        ("FatalAuthenticationError", "m", "auth_failed"),
        ("FatalToolExecutionError", "m", "agent_error"),
        (
            "unknown",
            r#"[API Error: {"error":{"code":401}}]"#,
            "auth_failed",
        ),
        (
            "unknown",
            r#"[API Error: {"error":{"code":404}}]"#,
            "model_not_found",
        ),
        (
            "unknown",
            r#"[API Error: {"error":{"code":503,"status":"UNAVAILABLE"}}]"#,
            "overloaded",
        ),
        (
            "unknown",
            r#"[API Error: {"error":{"code":400,"message":"it exceeds the maximum number of tokens allowed (1)"}}]"#,
            "context_too_long",
        ),
        (
            "unknown",
            "[API Error: words (Status: UNAUTHENTICATED)]",
            "auth_failed",
        ),
        ("unknown", "[API Error: terminated]", "connection_failed"),
        (
            "unknown",
            "[API Error: Incomplete JSON segment at the end]",
            "connection_failed",
        ),
        (
            "unknown",
            "[API Error: fake: model not found]",
            "agent_error",
        ),
        ("unknown", "code 401", "agent_error"),
        ("", "", "agent_error"),
        (
            "unknown",
            &format!("[API Error: slow down]\n{limit}"),
            "rate_limit",
        ),
        (
            "unknown",
            &format!("[API Error: You have exhausted your daily quota on this model.]\n{limit}"),
            "usage_limit",
        ),
        // What a provider prints over several lines is no such addition.
        (
            "unknown",
            "[API Error: {\"error\":{\"code\":500,\"details\":[\n]\n}}]",
            "provider_error",
        ),
    ];
    for (kind, words, expected) in cases {
        let error = json!({ "type": kind, "message": words });
        let line = json!({ "type": "result", "status": "error", "error": error }).to_string();
        assert_eq!(code(&told(&[&line]).verdict), expected, "{kind} {words}");
    }
}

#[test]
fn an_error_in_a_form_of_a_gateway_is_told_by_the_exit_status() {
    let words = r#"[API Error: {"type":"error","error":{"type":"x_error"}}]"#;
    let cases = [
        (144, "bad_request"),
        (145, "auth_failed"),
        (147, "auth_failed"),
        (148, "model_not_found"),
        (173, "rate_limit"),
        (244, "provider_error"),
        (246, "provider_error"),
        (247, "overloaded"),
        (17, "overloaded"),
    ];
    for (status, expected) in cases {
        let verdict = (ADAPTER.status_verdict)(status, words).unwrap();
        assert_eq!(code(&verdict), expected, "{status}");
    }
    let verdict = (ADAPTER.status_verdict)(145, words).unwrap();
    let Verdict::Error { message, .. } = verdict else {
        panic!("{verdict:?}");
    };
    assert!(message.starts_with(words), "{message}");
    assert!(message.ends_with("HTTP status 401"), "{message}");
    // The program's own statuses say nothing of a provider, and neither do words of its own.
    for status in [0, 1, 16, 41, 54, 130, 143, 256] {
        assert_eq!((ADAPTER.status_verdict)(status, words), None, "{status}");
    }
    assert_eq!((ADAPTER.status_verdict)(145, "Loop detected"), None);
}

#[test]
fn an_error_that_came_before_explains_a_result_without_one() {
    let error = r#"{"type":"error","severity":"error","message":"The model response was blocked due to safety settings."}"#;
    let result = r#"{"type":"result","status":"error"}"#;
    assert_eq!(code(&told(&[error, result]).verdict), "refused");
}

#[test]
fn the_final_text_is_what_was_said_after_the_last_tool() {
    let tool = r#"{"type":"tool_use","tool_name":"x","tool_id":"1","parameters":{}}"#;
    let user = r#"{"type":"message","role":"user","content":"Do it"}"#;
    let summary = told(&[user, SAYS, tool, SAYS, SAYS, SUCCESS, SAYS]);
    assert_eq!(summary.result.as_deref(), Some("HiHi"));
    let again = told(&[SAYS, SUCCESS, r#"{"type":"result","status":"error"}"#]);
    assert_eq!((again.verdict, again.warnings.len()), (Verdict::Success, 1));
}

#[test]
fn thoughts_are_output_and_zeros_say_nothing() {
    let stats = |stats: &str| {
        told(&[&format!(
            r#"{{"type":"result","status":"success","stats":{{{stats}}}}}"#
        )])
        .usage
    };
    let usage =
        stats(r#""total_tokens":100,"input_tokens":80,"output_tokens":15,"cached":30,"input":50"#);
    assert_eq!(usage.input_tokens, Some(50));
    assert_eq!(usage.output_tokens, Some(20));
    assert_eq!(
        (usage.cache_read_tokens, usage.cache_write_tokens),
        (Some(30), None)
    );
    let usage = stats(r#""input_tokens":80,"output_tokens":15,"cached":30"#);
    assert_eq!(
        (usage.input_tokens, usage.output_tokens),
        (Some(50), Some(15))
    );
    let zeros =
        stats(r#""total_tokens":0,"input_tokens":0,"output_tokens":0,"cached":0,"input":0"#);
    assert_eq!(zeros, Usage::default());
    assert_eq!(stats(""), Usage::default());
}

#[test]
fn a_refused_call_is_a_warning_and_so_is_a_tool_that_it_did_not_have() {
    let call = r#"{"type":"tool_use","tool_name":"run_shell_command","tool_id":"1","parameters":{"command":"rm x"}}"#;
    let ended = |kind: &str| {
        format!(
            r#"{{"type":"tool_result","tool_id":"1","status":"error","error":{{"type":"{kind}","message":"m"}}}}"#
        )
    };
    let summary = told(&[call, &ended("policy_violation"), SAYS, SUCCESS]);
    assert_eq!(
        summary.warnings,
        ["tool calls that were refused for want of permission: run_shell_command(rm x)"]
    );
    let summary = told(&[call, &ended("tool_not_registered"), SUCCESS]);
    assert_eq!(
        summary.warnings,
        ["it called a tool that it did not have: run_shell_command(rm x)"]
    );
    assert!(
        told(&[call, &ended("shell_execute_error"), SUCCESS])
            .warnings
            .is_empty()
    );
}
