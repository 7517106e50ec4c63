//! The outcome rule, row by row, with real processes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use orch_field::{Project, text};

/// A result event as Claude Code prints it.
const SUCCESS: &str = r#"{"type":"result","subtype":"success","is_error":false,"result":"all good","session_id":"s1","num_turns":1,"total_cost_usd":0.5,"usage":{"input_tokens":7,"output_tokens":8,"cache_read_input_tokens":9,"cache_creation_input_tokens":10}}"#;
const INIT: &str = r#"{"type":"system","subtype":"init","session_id":"s1","model":"m"}"#;
const ERROR: &str = r#"{"type":"result","subtype":"success","is_error":true,"api_error_status":401,"result":"Failed to authenticate"}"#;

struct Row {
    name: &'static str,
    /// `claude` reads result events, `shell` goes by the exit status.
    adapter: &'static str,
    script: String,
    status: &'static str,
    code: Option<&'static str>,
    exit_code: Option<i64>,
    signal: Option<i64>,
    /// More to look at.
    check: fn(&Row, &Value, &Path),
}

fn row(
    name: &'static str,
    adapter: &'static str,
    script: impl Into<String>,
    ends: (&'static str, Option<&'static str>),
    exit: (Option<i64>, Option<i64>),
) -> Row {
    Row {
        name,
        adapter,
        script: script.into(),
        status: ends.0,
        code: ends.1,
        exit_code: exit.0,
        signal: exit.1,
        check: |_, _, _| {},
    }
}

impl Row {
    fn and(mut self, check: fn(&Row, &Value, &Path)) -> Self {
        self.check = check;
        self
    }
}

const COMPLETED: (&str, Option<&str>) = ("completed", None);
const fn failed(code: &'static str) -> (&'static str, Option<&'static str>) {
    ("failed", Some(code))
}
const fn exited(code: i64) -> (Option<i64>, Option<i64>) {
    (Some(code), None)
}
const fn killed(signal: i64) -> (Option<i64>, Option<i64>) {
    (None, Some(signal))
}

fn rows() -> Vec<Row> {
    let say = |line: &str| format!("cat <<'END'\n{line}\nEND\n");
    let (success, error) = (say(SUCCESS), say(ERROR));
    vec![
        row("success", "claude", format!("{}{success}", say(INIT)), COMPLETED, exited(0)).and(|_, run, _| {
            assert_eq!(run["result"], "all good");
            assert_eq!(run["session_id"], "s1");
            assert_eq!(run["usage"]["input_tokens"], 7);
            assert_eq!(run["cost_usd"], 0.5);
        }),
        row("error result", "claude", &error, failed("auth_failed"), exited(0)),
        row("error result, exit 1", "claude", format!("{error}exit 1"), failed("auth_failed"), exited(1)),
        row("no result, exit 0", "claude", "echo '{}'", failed("no_result"), exited(0)),
        row("no result, exit 3", "claude", "exit 3", failed("no_result"), exited(3)),
        row("signal", "claude", "kill -9 $$", failed("signaled"), killed(9)),
        row("success then exit 1", "claude", format!("{success}exit 1"), COMPLETED, exited(1)).and(
            |_, run, _| assert_eq!(run["warnings"].as_array().map(Vec::len), Some(1), "{run}"),
        ),
        row(
            "success then lingering for ever",
            "claude",
            format!("{success}exec sleep 600"),
            COMPLETED,
            killed(2),
        ),
        row("shell success", "shell", "echo done", COMPLETED, exited(0))
            .and(|_, run, _| assert_eq!(run["result"], "done")),
        row("shell exit 7", "shell", "echo no; exit 7", failed("exit_nonzero"), exited(7)),
        row("shell signal", "shell", "kill -SEGV $$", failed("signaled"), killed(11)),
        row("grandchild holding stdout", "shell", "sleep 600 & echo ok", COMPLETED, exited(0)),
        row(
            "double-forked daemon",
            "shell",
            "(setsid sleep 600 </dev/null >/dev/null 2>&1 &) ; echo ok",
            COMPLETED,
            exited(0),
        ),
        row(
            "20 MB line",
            "shell",
            "head -c 20000000 /dev/zero | tr '\\0' x; echo; echo end",
            COMPLETED,
            exited(0),
        )
        .and(|_, _, dir| {
            assert_eq!(fs::metadata(dir.join("out.log")).unwrap().len(), 20_000_005);
        }),
        row(
            "2 MB result",
            "claude",
            r#"printf '{"type":"result","subtype":"success","is_error":false,"result":"'; head -c 2000000 /dev/zero | tr '\0' y; printf '"}\n'"#,
            COMPLETED,
            exited(0),
        )
        .and(|_, run, _| assert_eq!(text(run, "result").len(), 2_000_000)),
        row(
            "invalid UTF-8 and NUL",
            "shell",
            r"printf 'a\000b\377\376c\n'; printf 'half \303'",
            COMPLETED,
            exited(0),
        )
        .and(|_, _, dir| {
            assert_eq!(fs::read(dir.join("out.log")).unwrap(), b"a\0b\xff\xfec\nhalf \xc3");
        }),
        row("no final newline", "claude", format!("printf '%s' '{SUCCESS}'"), COMPLETED, exited(0)),
        row(
            "closed stdout",
            "shell",
            "echo before; exec >&- 2>&-; exit 4",
            failed("exit_nonzero"),
            exited(4),
        ),
        row("timeout", "shell", "exec sleep 600", ("timed_out", Some("timeout")), killed(15)),
        row(
            "ignored TERM",
            "shell",
            "trap '' TERM; while :; do sleep 600; done",
            ("timed_out", Some("timeout")),
            killed(9),
        ),
        row(
            "stall",
            "stall",
            "echo start; exec sleep 600",
            ("timed_out", Some("stalled")),
            killed(15),
        ),
        row("command not found", "missing", "", ("not_started", Some("command_not_found")), (None, None)),
        row("not executable", "plain file", "", ("not_started", Some("not_executable")), (None, None)),
    ]
}

/// One agent per row, all at once, and the same check for each.
///
/// Promises 2, 3, 5, 15.
#[test]
fn every_row_of_the_outcome_rule_is_recorded() {
    let rows = rows();
    let project = Project::new(
        "[limits]\nstop_grace = \"300ms\"\nleak_grace = \"100ms\"\n[defaults]\nmax_attempts = 1\n",
    );
    let tasks: Vec<String> = rows
        .iter()
        .enumerate()
        .map(|(n, row)| add(&project, n, row))
        .collect();
    let more = ["serve", "--once", "--max-agents", "50"];
    project.fails(1, &more);
    for (row, task) in rows.iter().zip(&tasks) {
        let run = project.last_run(task);
        check(row, &run, &project.run_dir(&run));
    }
}

fn add(project: &Project, number: usize, row: &Row) -> String {
    let script = project.outside(&format!("agent-{number}.sh"));
    fs::write(&script, format!("#!/bin/sh\n{}\n", row.script)).unwrap();
    let mode = if row.name == "not executable" {
        0o644
    } else {
        0o755
    };
    fs::set_permissions(&script, fs::Permissions::from_mode(mode)).unwrap();
    let agent = format!("agent-{number}");
    let missing = project.outside("no-such-program");
    let command = if row.name == "command not found" {
        &missing
    } else {
        &script
    };
    let adapter = if row.adapter == "shell" || row.adapter == "stall" {
        "shell"
    } else {
        "claude"
    };
    let command = command.to_str().unwrap();
    project.ok(&[
        "agent",
        "add",
        &agent,
        "--adapter",
        adapter,
        "--command",
        command,
    ]);
    let mut more = vec!["--agent", &agent, "--workspace", "shared"];
    match row.name {
        "timeout" | "ignored TERM" => more.extend(["--timeout", "500ms"]),
        "stall" => more.extend(["--stall-timeout", "500ms"]),
        _ => {}
    }
    project.add(row.name, &more)
}

fn check(row: &Row, run: &Value, dir: &Path) {
    let name = row.name;
    assert_eq!(run["status"], row.status, "{name}: {run}");
    assert_eq!(run["failure"]["code"].as_str(), row.code, "{name}: {run}");
    assert_eq!(run["exit_code"].as_i64(), row.exit_code, "{name}: {run}");
    assert_eq!(run["signal"].as_i64(), row.signal, "{name}: {run}");
    if row.code.is_some() {
        assert!(
            !text(&run["failure"], "evidence").is_empty(),
            "{name}: {run}"
        );
        assert!(
            !text(&run["failure"], "message").is_empty(),
            "{name}: {run}"
        );
    }
    (row.check)(row, run, dir);
}
