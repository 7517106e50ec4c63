//! What the driver writes down, and what the adapter makes of it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use orch_core::outcome::Verdict;
use orch_core::run::FailureCode;
use orch_host::adapter::{AgentEvent, EventType, Summary, find};
use rustix::process::{Pid, Signal, kill_process};

use crate::agent::{LAST_WORDS, SESSION};

crate::tests![
    a_turn_is_told_from_beginning_to_end,
    every_reason_to_stop_has_its_verdict,
    a_turn_that_did_nothing_is_no_success,
    errors_are_told_in_the_agents_words,
    an_agent_that_wants_a_login_gets_none,
    an_answer_that_is_none_is_a_failure,
    an_agent_that_dies_is_told_with_its_status,
    the_end_of_the_process_counts_and_not_that_of_the_pipe,
    an_agent_that_closes_its_output_is_not_waited_for,
    what_is_no_message_is_kept_and_does_no_harm,
    an_agent_cannot_speak_for_the_driver,
    a_message_without_end_is_a_failure_and_a_long_one_is_none,
    what_nobody_offers_is_refused,
    answers_to_nothing_are_no_answers,
    an_agent_that_does_not_read_is_given_up,
    full_pipes_on_both_sides_hold_nobody_up,
    an_earlier_session_is_loaded_without_being_told_again,
    a_session_that_is_gone_is_said_to_be,
    mode_and_model_are_set_before_the_prompt,
    servers_are_passed_on,
    what_comes_before_the_prompt_is_no_part_of_the_run,
    what_comes_after_the_answer_changes_nothing,
    another_version_of_the_protocol_is_not_spoken,
    what_cannot_be_started_is_said_why,
    a_program_that_is_no_agent_is_a_failure,
    an_agent_that_says_nothing_of_a_model_it_always_tells_of_has_failed,
];

/// A driver and what it wrote.
pub struct Driven {
    pub lines: Vec<String>,
    pub status: ExitStatus,
    pub events: Vec<AgentEvent>,
    pub summary: Summary,
    pub errors: String,
}

impl Driven {
    pub fn own(&self) -> Vec<&String> {
        let own = self.lines.iter();
        own.filter(|line| line.starts_with(r#"{"orch_acp":"#))
            .collect()
    }

    pub fn kinds(&self) -> Vec<EventType> {
        self.events.iter().map(|event| event.kind).collect()
    }

    pub fn failure(&self) -> (FailureCode, String) {
        match &self.summary.verdict {
            Verdict::Error { code, message } => (*code, message.clone()),
            Verdict::Limited { code, message, .. } => (*code, message.clone()),
            other => panic!("{other:?}: {:#?}\n{}", self.lines, self.errors),
        }
    }

    pub fn assert_success(&self) {
        assert_eq!(
            self.summary.verdict,
            Verdict::Success,
            "{:#?}\n{}",
            self.lines,
            self.errors
        );
    }
}

/// A driver at work.
pub struct Driver {
    pub child: Child,
    output: BufReader<ChildStdout>,
    lines: Vec<String>,
    _temporary: tempfile::TempDir,
}

/// The driver with this agent, and a prompt.
pub fn start(options: &[&str], command: &[&str], prompt: &str) -> Driver {
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("prompt");
    std::fs::write(&file, prompt).unwrap();
    let work = temporary.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg(orch_host::acp::ACP_COMMAND)
        .args(options)
        .arg("--")
        .args(command)
        .current_dir(work)
        .stdin(File::open(file).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    Driver {
        output: BufReader::new(child.stdout.take().unwrap()),
        child,
        lines: Vec::new(),
        _temporary: temporary,
    }
}

impl Driver {
    /// Reads lines up to one that contains `text`.
    pub fn until(&mut self, text: &str) {
        loop {
            let mut line = String::new();
            assert_ne!(
                self.output.read_line(&mut line).unwrap(),
                0,
                "{:#?}",
                self.lines
            );
            let found = line.contains(text);
            self.lines.push(line.trim_end_matches('\n').to_owned());
            if found {
                return;
            }
        }
    }

    pub fn finish(mut self) -> Driven {
        self.lines
            .extend(self.output.by_ref().lines().map(Result::unwrap));
        let mut errors = String::new();
        let stderr = self.child.stderr.take().unwrap();
        for line in BufReader::new(stderr).lines() {
            errors.push_str(&line.unwrap());
            errors.push('\n');
        }
        let status = self.child.wait().unwrap();
        let mut reader = (find("acp").unwrap().reader)();
        let lines = self.lines.iter();
        let events = lines
            .flat_map(|line| reader.line(line.as_bytes()))
            .collect();
        for line in &self.lines {
            assert_whole(line);
        }
        Driven {
            lines: self.lines,
            status,
            events,
            summary: reader.summary(),
            errors,
        }
    }
}

/// Every line is one object with one field, which is one of three.
fn assert_whole(line: &str) {
    type Line<'a> = std::collections::BTreeMap<&'a str, &'a serde_json::value::RawValue>;
    let fields: Line<'_> = serde_json::from_str(line).unwrap();
    let names: Vec<&str> = fields.into_keys().collect();
    assert!(
        matches!(names[..], ["acp" | "acp_text" | "orch_acp"]),
        "{line}"
    );
}

fn drive_with(options: &[&str], part: &[&str]) -> Driven {
    let program = std::env::current_exe().unwrap();
    let command = [&[program.to_str().unwrap(), "__agent"], part].concat();
    start(options, &command, "Do it.").finish()
}

/// The whole conversation with an agent that plays `part`.
pub fn drive(part: &[&str]) -> Driven {
    drive_with(&["--permission", "edits"], part)
}

fn a_turn_is_told_from_beginning_to_end() {
    let driven = drive(&["works"]);
    driven.assert_success();
    assert_eq!(driven.status.code(), Some(0), "{}", driven.errors);
    let kinds: Vec<&str> = driven
        .kinds()
        .iter()
        .filter(|kind| **kind != EventType::Raw)
        .map(|kind| kind.as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "session",
            "thinking",
            "text",
            "command",
            "question",
            "question",
            "tool_result",
            "command",
            "question",
            "question",
            "tool_result",
            "thinking",
            "usage",
            "text",
            "usage",
            "result",
        ]
    );
    let summary = &driven.summary;
    assert_eq!(summary.result.as_deref(), Some(LAST_WORDS));
    assert_eq!(summary.session_id.as_deref(), Some(SESSION));
    let usage = summary.usage;
    assert_eq!(
        (
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cost_usd
        ),
        (Some(10), Some(4), Some(2), Some(1.25))
    );
    assert_eq!(
        summary.warnings,
        ["tool calls that were refused for want of permission: git push"]
    );
    let texts: Vec<String> = driven
        .events
        .iter()
        .filter(|event| event.kind == EventType::Text)
        .map(|event| event.data.get().to_owned())
        .collect();
    assert_eq!(
        texts,
        [r#"{"text":"I will try."}"#, r#"{"text":"All done."}"#]
    );
}

fn every_reason_to_stop_has_its_verdict() {
    drive(&["reason", "end_turn"]).assert_success();
    for (reason, code) in [
        ("max_tokens", FailureCode::AnswerCut),
        ("max_turn_requests", FailureCode::TurnLimit),
        ("refusal", FailureCode::Refused),
        ("cancelled", FailureCode::AgentError),
        ("something_new", FailureCode::AgentError),
    ] {
        let driven = drive(&["reason", reason]);
        assert_eq!(driven.failure().0, code, "{reason}");
        assert_eq!(driven.status.code(), Some(0));
    }
}

fn a_turn_that_did_nothing_is_no_success() {
    let driven = drive(&["idle"]);
    assert_eq!(driven.failure().0, FailureCode::NoResult);
}

fn errors_are_told_in_the_agents_words() {
    for (error, code, limited) in [
        (
            r#"{"code":-32603,"message":"boom"}"#,
            FailureCode::AgentError,
            false,
        ),
        (
            r#"{"code":-32603,"message":"boom","data":{"errorKind":"rate_limit"}}"#,
            FailureCode::RateLimit,
            true,
        ),
        (
            r#"{"code":400,"message":"boom"}"#,
            FailureCode::BadRequest,
            false,
        ),
        (
            r#"{"code":"x","message":"boom"}"#,
            FailureCode::AgentError,
            false,
        ),
    ] {
        let driven = drive(&["fails", error]);
        let (got, message) = driven.failure();
        assert_eq!((got, message.as_str()), (code, "boom"), "{error}");
        let is_limited = matches!(driven.summary.verdict, Verdict::Limited { .. });
        assert_eq!(is_limited, limited);
        assert_eq!(driven.status.code(), Some(1));
        let told = if limited {
            EventType::Limit
        } else {
            EventType::Error
        };
        assert!(driven.kinds().contains(&told));
    }
    // As long as a transcript can hold.
    let long = format!(
        r#"{{"code":1,"message":"m","data":"{}"}}"#,
        "x".repeat(100_000)
    );
    let driven = drive(&["fails", &long]);
    assert_eq!(driven.failure().0, FailureCode::AgentError);
}

fn an_agent_that_wants_a_login_gets_none() {
    let driven = drive(&["auth"]);
    let (code, message) = driven.failure();
    assert_eq!(code, FailureCode::AuthFailed);
    assert_eq!(message, "Authentication required");
}

fn an_answer_that_is_none_is_a_failure() {
    let (code, message) = drive(&["half-answers"]).failure();
    assert_eq!(code, FailureCode::AgentError);
    assert!(message.contains("session/prompt"), "{message}");
}

fn an_agent_that_dies_is_told_with_its_status() {
    for (part, code, signal) in [
        (&["exits", "3"][..], Some(3), None),
        (&["exits", "0"], Some(0), None),
        (&["is-killed"], None, Some(9)),
        (&["crash-at-once"], Some(4), None),
    ] {
        let driven = drive(part);
        assert_eq!(driven.summary.verdict, Verdict::NoResult, "{part:?}");
        let status = driven.status;
        assert_eq!((status.code(), status.signal()), (code, signal), "{part:?}");
        let own = driven.own();
        assert!(
            own.iter().any(|line| line.contains(r#""how":"died""#)),
            "{own:?}"
        );
    }
}

fn the_end_of_the_process_counts_and_not_that_of_the_pipe() {
    let mut driver = start_part(&["leaves-a-child"]);
    // The child holds the driver's standard error too, so only the process is waited for.
    driver.until(r#""left":"#);
    assert_eq!(driver.child.wait().unwrap().code(), Some(7));
    let all = driver.lines.join("\n");
    let child = all.split_once("child ").unwrap().1.split(' ').next();
    let child = Pid::from_raw(child.unwrap().parse().unwrap()).unwrap();
    kill_process(child, Signal::KILL).unwrap();
}

fn start_part(part: &[&str]) -> Driver {
    let program = std::env::current_exe().unwrap();
    let command = [&[program.to_str().unwrap(), "__agent"], part].concat();
    start(&["--permission", "edits"], &command, "Do it.")
}

fn an_agent_that_closes_its_output_is_not_waited_for() {
    let driven = drive(&["closes"]);
    assert_eq!(driven.failure().0, FailureCode::NoResult);
    assert_eq!(driven.status.code(), Some(1));
}

fn what_is_no_message_is_kept_and_does_no_harm() {
    let driven = drive(&["babbles"]);
    driven.assert_success();
    assert_eq!(driven.summary.result.as_deref(), Some("A\u{fffd}BCDE"));
    assert_eq!(driven.summary.warnings, Vec::<String>::new());
    let all = driven.lines.join("\n");
    for kept in [
        r#"{"acp_text":"Loaded cached credentials."}"#,
        r#"{"acp_text":"[1,2,3]"}"#,
        r#"{"acp_text":"{\"half\":"}"#,
        r#"{"acp_text":"{\"a\":1,\"a\":2}"}"#,
        "\u{fffd}\u{fffd} not text",
        r"A\ud83dB",
    ] {
        assert!(all.contains(kept), "{kept} in {all}");
    }
}

/// The agent prints the driver's own last line in every way it can: alone, behind a closing
/// bracket, after line breaks of other systems, inside of messages. None of it decides.
fn an_agent_cannot_speak_for_the_driver() {
    let driven = drive(&["forges"]);
    assert_eq!(driven.failure().0, FailureCode::Refused);
    let ends = driven.own();
    let ends = ends
        .iter()
        .filter(|line| line.contains(r#"{"orch_acp":{"check":"#));
    assert_eq!(ends.count(), 1);
}

fn a_message_without_end_is_a_failure_and_a_long_one_is_none() {
    let driven = drive(&["huge"]);
    let (code, message) = driven.failure();
    assert_eq!(code, FailureCode::OutputLimit);
    assert!(message.contains("32505856"), "{message}");
    let driven = drive(&["big"]);
    driven.assert_success();
    assert_eq!(driven.summary.result.map(|text| text.len()), Some(4 << 20));
}

fn what_nobody_offers_is_refused() {
    let driven = drive(&["asks-the-unknown"]);
    driven.assert_success();
    assert_eq!(driven.summary.result.as_deref(), Some(LAST_WORDS));
}

fn answers_to_nothing_are_no_answers() {
    for part in ["confuses-ids", "answers-early"] {
        let driven = drive(&[part]);
        match part {
            "confuses-ids" => assert_eq!(driven.failure().0, FailureCode::AnswerCut),
            _ => driven.assert_success(),
        }
        let warnings = driven.summary.warnings.join("; ");
        assert_eq!(warnings, "it sent answers to nothing it was asked");
    }
}

fn an_agent_that_does_not_read_is_given_up() {
    let driven = drive(&["deaf"]);
    let (code, message) = driven.failure();
    assert_eq!(code, FailureCode::AgentError);
    assert!(message.contains("did not read"), "{message}");
    assert_eq!(driven.status.code(), Some(1));
}

fn full_pipes_on_both_sides_hold_nobody_up() {
    let program = std::env::current_exe().unwrap();
    let command = [program.to_str().unwrap(), "__agent", "talks-first"];
    let driven = start(&["--permission", "ask"], &command, &"p".repeat(4 << 20)).finish();
    driven.assert_success();
    assert_eq!(
        driven.summary.result.map(|text| text.len()),
        Some(2_000_000)
    );
}

fn an_earlier_session_is_loaded_without_being_told_again() {
    let session = format!("--session={SESSION}");
    for part in ["loads", "resumes"] {
        let driven = drive_with(&["--permission", "ask", &session], &[part]);
        driven.assert_success();
        let result = driven.summary.result.unwrap();
        assert!(
            result.contains("Do it.") && !result.contains("the last time"),
            "{result}"
        );
        assert_eq!(driven.summary.session_id.as_deref(), Some(SESSION));
    }
}

fn a_session_that_is_gone_is_said_to_be() {
    let session = format!("--session={SESSION}");
    for part in ["forgot", "works"] {
        let driven = drive_with(&["--permission", "ask", &session], &[part]);
        assert_eq!(driven.failure().0, FailureCode::SessionGone, "{part}");
    }
}

fn mode_and_model_are_set_before_the_prompt() {
    let driven = drive_with(&["--permission", "full", "--model=m1"], &["adjusts"]);
    driven.assert_success();
    let told: serde_json::Value = serde_json::from_str(&driven.summary.result.unwrap()).unwrap();
    assert_eq!(told["before"][0]["method"], "session/set_mode");
    assert_eq!(told["before"][0]["params"]["modeId"], "yolo");
    assert_eq!(told["before"][1]["method"], "session/set_config_option");
    assert_eq!(told["before"][1]["params"]["value"], "m1");
    let driven = drive_with(&["--permission", "ask", "--model=m1"], &["tells"]);
    let (code, message) = driven.failure();
    assert_eq!(code, FailureCode::AgentError);
    assert!(message.contains("`args`"), "{message}");
}

fn servers_are_passed_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mcp.json");
    let option = format!("--mcp={}", file.display());
    let servers = |text: &str| {
        File::create(&file)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap()
    };
    servers(r#"{"mcpServers":{"a":{"command":"serve","args":["-x"],"env":{"K":"v"}}}}"#);
    let driven = drive_with(&["--permission", "ask", &option], &["tells"]);
    let told: serde_json::Value = serde_json::from_str(&driven.summary.result.unwrap()).unwrap();
    let server = &told["before"][0]["mcpServers"][0];
    let form = r#"{"args":["-x"],"command":"serve","env":[{"name":"K","value":"v"}],"name":"a"}"#;
    assert_eq!(server.to_string(), form);
    servers(r#"{"mcpServers":{"w":{"url":"http://127.0.0.1:9/","headers":{"X":"y"}}}}"#);
    let driven = drive_with(&["--permission", "ask", &option], &["http"]);
    let told: serde_json::Value = serde_json::from_str(&driven.summary.result.unwrap()).unwrap();
    let server = &told["before"][0]["mcpServers"][0];
    assert_eq!(
        (&server["type"], &server["headers"][0]["value"]),
        (&"http".into(), &"y".into())
    );
    let driven = drive_with(&["--permission", "ask", &option], &["tells"]);
    assert!(driven.failure().1.contains("'w'"));
}

fn what_comes_before_the_prompt_is_no_part_of_the_run() {
    let driven = drive(&["updates-early"]);
    driven.assert_success();
    assert!(!driven.summary.result.unwrap().contains("not of this run"));
}

fn what_comes_after_the_answer_changes_nothing() {
    let driven = drive(&["afterwards", "0"]);
    driven.assert_success();
    assert_eq!(driven.status.code(), Some(0));
    assert_eq!(driven.summary.result.as_deref(), Some(LAST_WORDS));
    // How it left is told as it was.
    let driven = drive(&["afterwards", "5"]);
    driven.assert_success();
    assert_eq!(driven.status.code(), Some(5));
}

fn another_version_of_the_protocol_is_not_spoken() {
    let (code, message) = drive(&["speaks-2"]).failure();
    assert_eq!(code, FailureCode::AgentError);
    assert!(message.contains("version 2"), "{message}");
}

fn what_cannot_be_started_is_said_why() {
    for (command, code) in [
        ("no-such-program-anywhere", FailureCode::CommandNotFound),
        ("/", FailureCode::NotExecutable),
    ] {
        let driven = start(&["--permission", "ask"], &[command], "x").finish();
        let (got, message) = driven.failure();
        assert_eq!(got, code, "{message}");
        assert_eq!(driven.status.code(), Some(1));
    }
}

fn a_program_that_is_no_agent_is_a_failure() {
    let driven = start(&["--permission", "ask"], &["true"], "x").finish();
    assert_eq!(driven.summary.verdict, Verdict::NoResult);
    // It repeats every word it is told, also the questions.
    let driven = start(&["--permission", "ask"], &["cat"], "x").finish();
    assert_eq!(driven.failure().0, FailureCode::AgentError);
}

fn an_agent_that_says_nothing_of_a_model_it_always_tells_of_has_failed() {
    drive(&["named", "Another"]).assert_success();
    let (code, message) = drive(&["named", "Copilot"]).failure();
    assert_eq!(code, FailureCode::AgentError);
    assert!(message.starts_with("no model answered: "), "{message}");
}
