//! Bad input gets a clear answer and changes nothing.
//!
//! The kinds of bad input are numbered. Each number is shown here, shown by a test lower down, or
//! about something that does not exist yet; `every_kind_is_accounted_for` sees that none is
//! forgotten.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use orch_api::client::TaskQuery;
use orch_api::types::Task;
use serde_json::Value;

use orch_field::{Project, Served, fifo, lossy, text};

/// Numbers, and the test that shows them.
type Shown = (&'static [u32], fn());

/// The numbers shown in this file, each with the test that shows it.
const HERE: &[Shown] = &[
    (
        &[
            1, 2, 6, 14, 15, 18, 20, 30, 32, 33, 34, 35, 37, 38, 41, 42, 43,
        ],
        what_is_typed,
    ),
    (
        &[7, 8, 9, 10, 11, 12, 13, 39, 44, 45, 51, 52, 53, 56, 68],
        no_input_is_a_crash,
    ),
    (&[3, 4], a_title_is_never_a_command),
    (&[5], escapes_are_stored_and_shown_as_text),
    (&[16], an_ambiguous_beginning_lists_what_it_could_be),
    (&[22, 23], init_says_what_is_wrong_with_the_repository),
    (&[28], a_state_directory_that_others_can_reach_is_refused),
    (&[29], no_home_is_no_obstacle),
    (&[31], a_long_prompt_goes_through_a_file),
    (&[63, 64], a_daemon_keeps_the_configuration_it_understood),
    (&[65], bad_state_is_never_start_empty),
    (&[67], output_that_nobody_reads_is_no_error),
    (&[70], only_a_stale_socket_of_ours_is_replaced),
];

/// The numbers shown by a test of a part: its file, from the root of the workspace, and its name.
const BELOW: &[(u32, &str, &str)] = &[
    (
        21,
        "crates/orch-host/tests/workspace/prepare.rs",
        "a_branch_that_is_checked_out_elsewhere_names_its_holder",
    ),
    (
        25,
        "crates/orch-host/tests/workspace/prepare.rs",
        "what_is_not_ours_is_named_and_not_touched",
    ),
    (
        26,
        "crates/orch-host/tests/workspace/prepare.rs",
        "odd_paths_work_from_end_to_end",
    ),
    (
        27,
        "crates/orch-daemon/src/project/filesystem.rs",
        "the_type_of_a_mount_is_found_by_its_device",
    ),
    (
        40,
        "testing/orch-sim/tests/all/engine_attempts.rs",
        "a_lost_run_is_retried_where_that_is_safe_and_else_shown_to_a_person",
    ),
    (
        48,
        "crates/orch-host/tests/adapter_claude.rs",
        "what_is_not_one_json_object_is_raw_and_never_a_failure",
    ),
    (
        49,
        "crates/orch-host/tests/adapter_claude.rs",
        "the_first_result_of_the_own_session_counts",
    ),
    (
        50,
        "crates/orch-host/tests/adapter_claude.rs",
        "numbers_that_cannot_be_are_left_out_with_a_note",
    ),
    (
        69,
        "crates/orch-daemon/src/project/sockets.rs",
        "a_long_path_moves_to_a_short_directory_where_a_socket_can_be_bound",
    ),
];

/// The numbers about something that does not exist yet, and what that is.
const NOT_YET: &[(u32, &str)] = &[
    (17, "files are named by path and not uploaded"),
    (19, "import"),
    (24, "cloning a repository"),
    (36, "schedules"),
    (46, "the interface that agents report to"),
    (47, "the interface that agents report to"),
    (54, "WebSocket"),
    (55, "HTTP over TCP: on the unix socket there is no origin"),
    (57, "tokens: the socket checks who connects"),
    (58, "webhooks"),
    (59, "webhooks"),
    (60, "MCP"),
    (61, "MCP"),
    (62, "messages between agents"),
    (66, "PostgreSQL"),
];

#[test]
fn every_kind_is_accounted_for() {
    let here = HERE.iter().flat_map(|(numbers, _)| numbers.iter().copied());
    let mut all: Vec<u32> = here
        .chain(BELOW.iter().map(|row| row.0))
        .chain(NOT_YET.iter().map(|row| row.0))
        .collect();
    all.sort_unstable();
    assert_eq!(all, (1..=70).collect::<Vec<_>>(), "each exactly once");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (number, file, name) in BELOW {
        let source = fs::read_to_string(root.join(file)).unwrap();
        assert!(source.contains(&format!("fn {name}()")), "{number}: {name}");
    }
    let shown = |test: fn()| {
        let row = HERE.iter().find(|row| std::ptr::fn_addr_eq(row.1, test));
        row.unwrap().0.iter().copied().collect::<BTreeSet<u32>>()
    };
    let typed: BTreeSet<u32> = TYPED.iter().map(|row| row.0).collect();
    assert_eq!(shown(what_is_typed), typed);
    let sent: BTreeSet<u32> = sent().iter().map(|row| row.number).collect();
    assert!(shown(no_input_is_a_crash).is_subset(&sent), "{sent:?}");
}

/// A daemon at work, with a task in each state that matters.
struct Bench {
    // Ended first: a test that fails leaves no agent behind.
    gate: Gate,
    served: Served,
    project: Project,
    names: Vec<(&'static str, String)>,
}

/// What the agent at work waits for.
struct Gate(PathBuf);

impl Drop for Gate {
    fn drop(&mut self) {
        // Opened both ways a FIFO waits for nobody.
        let gate = fs::OpenOptions::new().read(true).write(true).open(&self.0);
        let _ = gate.and_then(|mut gate| gate.write_all(b"go\n"));
    }
}

const AGENTS: &str = "\
[agents.quick]\nadapter = \"shell\"\ncommand = \"echo done\"\n\
[agents.gated]\nadapter = \"shell\"\ncommand = 'read nothing < \"$GATE\"'\n\
max_parallel = 2\nenv = { GATE = \"$GATE\" }\n\
[agents.off]\nadapter = \"shell\"\ncommand = \"true\"\nenabled = false\n\
[defaults]\nworkspace = \"shared\"\nreview = \"auto\"\n";

impl Bench {
    fn new() -> Self {
        let project = Project::new(AGENTS);
        fifo(&project.outside("gate"));
        let waiting = project.add("waiting", &["--agent", "off"]);
        let next = project.add("next", &["--agent", "off", "--depends-on", &waiting]);
        let cancelled = project.add("cancelled", &["--agent", "off"]);
        project.ok(&["task", "cancel", &cancelled]);
        let finished = project.add("finished", &["--agent", "quick"]);
        let live = project.add("live", &["--agent", "gated"]);
        let mut served = project.serve_with(&[], &[("GATE", project.outside("gate"))]);
        let (mut done, mut running) = (false, false);
        served.wait_for(|line| {
            done |= line["event"] == "task_done";
            running |= line["event"] == "run_running" && line["task"] == live.as_str();
            done && running
        });
        let run = text(&project.last_run(&finished), "id").to_owned();
        let root = project.root().display().to_string();
        let names = vec![
            ("{waiting}", waiting),
            ("{next}", next),
            ("{cancelled}", cancelled),
            ("{finished}", finished),
            ("{live}", live),
            ("{run}", run),
            ("{root}", root),
        ];
        Self {
            gate: Gate(project.outside("gate")),
            served,
            project,
            names,
        }
    }

    fn filled_in(&self, text: &str) -> String {
        self.names
            .iter()
            .fold(text.to_owned(), |text, (name, value)| {
                text.replace(name, value)
            })
    }

    /// What no bad input may change: the tasks and the configuration.
    fn state(&self) -> (Vec<Task>, String) {
        let tasks = self.project.client().tasks(&TaskQuery::default()).unwrap();
        let config = fs::read_to_string(self.project.root().join("orch.toml")).unwrap();
        (tasks, config)
    }

    /// Lets the agent at work go on: its work must not have been lost on the way.
    fn finish(mut self) {
        let live = self.filled_in("{live}");
        fs::write(&self.gate.0, "go\n").unwrap();
        self.served
            .wait_for(|line| line["event"] == "task_done" && line["task"] == live.as_str());
        assert_eq!(self.served.drain(), Some(0));
    }
}

/// Number, arguments, exit code, and what must be said.
type Typed = (u32, &'static [&'static str], i32, &'static [&'static str]);

#[rustfmt::skip]
const TYPED: &[Typed] = &[
    (1, &["task", "add", ""], 2, &["the title is empty"]),
    (1, &["task", "add", "   "], 2, &["the title is empty"]),
    (1, &["task", "add", "\u{200b}\u{feff}"], 2, &["the title is empty"]),
    (2, &["task", "add", LONG], 2, &["600 bytes", "at most 512"]),
    (6, &["agent", "add", "a\u{202e}b", "--adapter", "shell", "--command", "true"], 2, &["a\\u{202e}b", "not an agent name"]),
    (6, &["agent", "add", "\u{441}laude", "--adapter", "shell", "--command", "true"], 2, &["not an agent name"]),
    (6, &["task", "add", "x", "--label", "a\u{202e}b"], 2, &["label", "U+202E"]),
    (6, &["config", "set", "project.target", "ma\u{202e}in"], 2, &["target"]),
    (14, &["task", "show", "../../etc/passwd"], 2, &["an id looks like"]),
    (14, &["task", "show", "/etc/passwd"], 2, &["an id looks like"]),
    (14, &["task", "delete", "%2e%2e%2f"], 2, &["an id looks like"]),
    (14, &["show", ""], 2, &["an id looks like"]),
    (14, &["logs", "."], 2, &["an id looks like"]),
    (14, &["task", "add", "x", "--depends-on", "tsk_"], 2, &["an id looks like"]),
    (15, &["task", "show", "tsk_000000000000"], 3, &["there is no task 'tsk_000000000000'"]),
    (15, &["task", "cancel", "tsk_000000000000"], 3, &["there is no task 'tsk_000000000000'"]),
    (15, &["show", "run_000000000000"], 3, &["there is no run 'run_000000000000'"]),
    (15, &["logs", "run_000000000000"], 3, &["there is no run 'run_000000000000'"]),
    (15, &["why", "tsk_000000000000"], 3, &["there is no task 'tsk_000000000000'"]),
    (18, &["task", "add", "x", "--attach", "{root}"], 2, &["is a directory, not a regular file"]),
    (18, &["task", "add", "x", "--attach", "/dev/null"], 2, &["not a regular file"]),
    (18, &["task", "add", "x", "--attach", "{root}/../gate"], 2, &["not a regular file"]),
    (18, &["task", "add", "x", "--attach", "{root}/../link"], 2, &["is a symbolic link"]),
    (18, &["task", "add", "x", "--file", "{root}/../gate"], 2, &["not a regular file"]),
    (18, &["task", "add", "x", "--attach", "missing.txt"], 3, &["cannot read missing.txt"]),
    (20, &["config", "set", "project.target", "a..b"], 2, &["a..b", "name of a branch"]),
    (20, &["config", "set", "project.target", "x.lock"], 2, &["x.lock", "name of a branch"]),
    (20, &["config", "set", "project.target", "@{"], 2, &["@{", "name of a branch"]),
    (20, &["config", "set", "project.target", "a b"], 2, &["a b", "name of a branch"]),
    (20, &["config", "set", "project.target", "refs/heads/x"], 2, &["refs/heads/x", "name of a branch"]),
    (20, &["config", "set", "project.target", "HEAD"], 2, &["HEAD", "name of a branch"]),
    (20, &["init", "--target=-x"], 2, &["-x", "name of a branch"]),
    (20, &["config", "set", "project.target", "a;$(id)`id`|x"], 2, &["a;$(id)", "name of a branch"]),
    (30, &["agent", "add", "x", "--adapter", "shell", "--command", ""], 2, &["command"]),
    (30, &["agent", "add", "x", "--adapter", "claud"], 2, &["did you mean 'claude'?"]),
    (32, &["agent", "edit", "quick", "--env", "=x"], 2, &["env"]),
    (32, &["agent", "edit", "quick", "--env", "A B=x"], 2, &["A B"]),
    (32, &["agent", "edit", "quick", "--env", "LD_PRELOAD=x"], 2, &["LD_PRELOAD"]),
    (32, &["agent", "edit", "quick", "--env", "GIT_DIR=x"], 2, &["GIT_DIR"]),
    (32, &["agent", "edit", "quick", "--env", "ORCH_RUN_ID=x"], 2, &["ORCH_RUN_ID"]),
    (33, &["config", "set", "agents.quick.cwd", "/"], 3, &["there is no key"]),
    (34, &["task", "add", "x", "--timeout", "0"], 2, &["--timeout", "90s", "2h"]),
    (34, &["task", "add", "x", "--timeout", "0s"], 2, &["timeout"]),
    (34, &["task", "add", "x", "--timeout", "-1"], 2, &["--timeout", "90s", "2h"]),
    (34, &["task", "add", "x", "--timeout", "1e12"], 2, &["--timeout", "90s", "2h"]),
    (34, &["task", "add", "x", "--timeout", "5 parsecs"], 2, &["--timeout", "90s", "2h"]),
    (34, &["task", "edit", "{waiting}", "--timeout", "999999d"], 2, &["timeout"]),
    (34, &["config", "set", "defaults.timeout", "5 parsecs"], 2, &["timeout", "90s"]),
    (35, &["task", "add", "x", "--max-attempts", "0"], 2, &["from 1 to 100"]),
    (35, &["task", "add", "x", "--max-attempts", "1000000000"], 2, &["from 1 to 100"]),
    (35, &["task", "add", "x", "--max-attempts=-1"], 2, &["--max-attempts"]),
    (35, &["task", "add", "x", "-p", "9"], 2, &["from 1 to 4"]),
    (35, &["config", "set", "project.max_agents", "0"], 2, &["from 1 to 1000"]),
    (35, &["config", "set", "project.max_agents", "100000"], 2, &["from 1 to 1000"]),
    (35, &["serve", "--max-agents", "0"], 2, &["from 1 to 1000"]),
    (37, &["logs", "--since", "2026-01-31T09:00:00"], 2, &["2026-01-31T09:00:00Z"]),
    (37, &["logs", "--since", "0000-00-00T00:00:00Z"], 2, &["2026-01-31T09:00:00Z"]),
    (38, &["task", "edit", "{waiting}", "--depends-on", "{waiting}"], 2, &["cycle: {waiting} → {waiting}"]),
    (38, &["task", "edit", "{waiting}", "--depends-on", "{next}"], 2, &["cycle: {waiting} → {next} → {waiting}"]),
    (38, &["task", "add", "x", "--depends-on", "tsk_000000000000"], 3, &["there is no task", "tsk_000000000000"]),
    (41, &["task", "cancel", "{cancelled}"], 0, &["cancelled"]),
    (41, &["task", "cancel", "{finished}"], 4, &["done"]),
    (41, &["task", "retry", "{live}"], 4, &["in progress"]),
    (41, &["task", "retry", "{finished}"], 4, &["done"]),
    (42, &["task", "delete", "{live}"], 4, &["in progress", "cancel it first"]),
    (42, &["task", "delete", "{waiting}"], 4, &["needed by {next}"]),
    (43, &["task", "edit", "{live}", "-p", "1"], 4, &["in progress"]),
    (43, &["task", "edit", "{finished}", "--title", "y"], 4, &["done"]),
];

/// 600 bytes.
const LONG: &str = match std::str::from_utf8(&[b'x'; 600]) {
    Ok(text) => text,
    Err(_) => "",
};

#[test]
fn what_is_typed() {
    let bench = Bench::new();
    symlink(
        bench.project.root().join("readme.txt"),
        bench.project.outside("link"),
    )
    .unwrap();
    let mut before = bench.state();
    let mut wrong = Vec::new();
    for (number, arguments, code, says) in TYPED {
        let filled: Vec<String> = arguments.iter().map(|it| bench.filled_in(it)).collect();
        let borrowed: Vec<&str> = filled.iter().map(String::as_str).collect();
        let output = bench.project.output(&borrowed);
        let said = lossy(&output.stderr);
        let shape = *code == 0 || said.starts_with("error: ");
        let words = says.iter().all(|it| said.contains(&bench.filled_in(it)));
        if output.status.code() != Some(*code) || !shape || !words || said.contains('\u{202e}') {
            wrong.push(format!(
                "{number} {filled:?}: {:?}, not {code}, {says:?}\n{said}",
                output.status
            ));
        }
        let after = bench.state();
        if after != before {
            wrong.push(format!("{number} {filled:?} changed something"));
            before = after;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    bench.finish();
}

/// Something sent to the daemon's socket, and what must come back.
struct Sent {
    number: u32,
    start: String,
    headers: Vec<String>,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
    says: &'static [&'static str],
}

fn get(
    number: u32,
    path: &str,
    status: u16,
    code: &'static str,
    says: &'static [&'static str],
) -> Sent {
    Sent {
        number,
        start: format!("GET {path}"),
        headers: Vec::new(),
        body: Vec::new(),
        status,
        code,
        says,
    }
}

fn post(
    number: u32,
    body: impl Into<Vec<u8>>,
    status: u16,
    code: &'static str,
    says: &'static [&'static str],
) -> Sent {
    let body = body.into();
    Sent {
        start: "POST /v1/tasks".to_owned(),
        headers: vec![
            "content-type: application/json".to_owned(),
            format!("content-length: {}", body.len()),
        ],
        body,
        ..get(number, "", status, code, says)
    }
}

impl Sent {
    fn to(mut self, start: &str) -> Self {
        self.start = start.to_owned();
        self
    }

    fn with(mut self, header: impl Into<String>) -> Self {
        self.headers.push(header.into());
        self
    }

    fn without_headers(mut self) -> Self {
        self.headers.clear();
        self
    }

    fn wire(&self, bench: &Bench) -> Vec<u8> {
        let mut head = format!(
            "{} HTTP/1.1\r\nhost: orch\r\nconnection: close\r\n",
            bench.filled_in(&self.start)
        );
        for header in &self.headers {
            head.push_str(&bench.filled_in(header));
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        let body = match std::str::from_utf8(&self.body) {
            Ok(text) => bench.filled_in(text).into_bytes(),
            Err(_) => self.body.clone(),
        };
        [head.into_bytes(), body].concat()
    }
}

#[rustfmt::skip]
fn sent() -> Vec<Sent> {
    let five_megabytes = format!(r#"{{"title":"{}"}}"#, "x".repeat(5_000_000));
    let many: Vec<String> = (0..5_001).map(|n| format!("\"tsk_{n:012}\"")).collect();
    let many = format!(r#"{{"title":"x","depends_on":[{}]}}"#, many.join(","));
    vec![
        post(1, r#"{"title":" \u200b "}"#, 422, "title_empty", &["title"]),
        post(2, five_megabytes.clone(), 413, "too_large", &["4194304"]),
        post(2, format!(r#"{{"title":"{LONG}"}}"#), 422, "title_too_long", &["512 bytes", "600 bytes"]),
        post(7, r#"{"title":"a\u0000b"}"#, 422, "nul_byte", &["title"]),
        post(7, r#"{"title":"x","description":"a\u0000b"}"#, 422, "nul_byte", &["description"]),
        post(7, r#"{"title":"x","attachments":["/a\u0000b"]}"#, 422, "nul_byte", &["attachment"]),
        post(7, r#"{"title":"x","scope":["a\u0000b"]}"#, 422, "nul_byte", &["scope"]),
        post(7, r#"{"title":"x","scope":["src/**","../x"]}"#, 422, "bad_scope", &["scope '../x'", "repository"]),
        post(7, r#"{"title":"x","scope":["/etc/passwd"]}"#, 422, "bad_scope", &["/etc/passwd", "top of the repository"]),
        post(7, r#"{"title":"x","scope":["["]}"#, 422, "bad_scope", &["is no pattern"]),
        post(8, *b"{\"title\":\"ab\xff\"}", 400, "not_utf8", &["byte 12"]),
        post(8, r#"{"title":"\ud800"}"#, 400, "not_json", &["hex escape"]),
        post(9, "[".repeat(10_000), 422, "bad_body", &["invalid type: sequence"]),
        post(9, format!(r#"{{"title":{}"#, "[".repeat(10_000)), 422, "bad_body", &["invalid type: sequence"]),
        post(10, r#"{"title":"a","title":"b"}"#, 422, "bad_body", &["duplicate field `title`"]),
        post(10, r#"{"title":"x","priority":NaN}"#, 400, "not_json", &["column"]),
        post(10, r#"{"title":"x","priority":1e999}"#, 400, "not_json", &["out of range"]),
        post(10, r#"{"title":"x","max_attempts":9223372036854775808}"#, 422, "bad_body", &["9223372036854775808"]),
        post(11, r#"{"titel":"x"}"#, 422, "bad_body", &["unknown field `titel`", "`title`"]),
        post(11, r#"{"title":"x","workspace":"worktre"}"#, 422, "unknown_word", &["worktre", "worktree"]),
        post(12, r#"{"title":"x"}"#, 415, "not_json", &["application/json"]).without_headers().with("content-length: 13"),
        post(12, r#"{"title":"x"}"#, 415, "not_json", &["text/plain"]).without_headers().with("content-length: 13").with("content-type: text/plain"),
        post(13, format!("5b8d80\r\n{}\r\n0\r\n\r\n", "x".repeat(6_000_000)), 413, "too_large", &["4194304"])
            .without_headers().with("content-type: application/json").with("transfer-encoding: chunked"),
        post(13, *b"\x1f\x8b\x08\0\0\0\0\0", 400, "not_utf8", &["byte 1"]).with("content-encoding: gzip"),
        get(14, "/v1/tasks/..%2f..%2fetc%2fpasswd", 422, "bad_id", &["one looks like"]),
        get(14, "/v1/tasks/%25", 422, "bad_id", &["one looks like"]),
        get(14, "/v1/tasks/tsk_", 422, "bad_id", &["one looks like"]),
        get(14, "/v1/tasks/t", 422, "bad_id", &["one looks like"]).to("DELETE /v1/tasks/t"),
        get(14, "/v1/tasks/", 404, "not_found", &[]),
        get(14, "/v1/resolve/%2e%2e%2f", 422, "bad_id", &["one looks like"]),
        post(14, r#"{"title":"x","depends_on":[""]}"#, 422, "bad_id", &["one looks like"]),
        get(14, "/v1/runs/..%2f{run}/log", 422, "bad_id", &["one looks like"]),
        get(15, "/v1/runs/run_000000000000", 404, "not_found", &["no run"]),
        get(37, "/v1/runs/{run}/events?since=2026-01-31T09:00:00", 422, "bad_time", &["2026-11-22T17:00:00Z"]),
        post(39, many, 422, "too_many", &["5000", "5001"]),
        post(44, r#"{"priority":1}"#, 412, "unsupported_header", &["if-match"]).to("PATCH /v1/tasks/{waiting}").with("if-match: \"7\""),
        post(45, r#"{"title":"x"}"#, 422, "unsupported_header", &["idempotency-key"]).with("idempotency-key: k"),
        get(51, "/v1/tasks?limit=-1", 422, "bad_query", &["limit"]),
        get(51, "/v1/tasks?limit=1000000000", 422, "out_of_range", &["1 to 10000"]),
        get(51, "/v1/tasks?before=garbage", 422, "bad_id", &["garbage"]),
        get(51, "/v1/tasks?sort=id;DROP%20TABLE", 422, "bad_query", &["sort"]),
        get(51, "/v1/tasks?status=sleeping", 422, "unknown_word", &["sleeping", "todo"]),
        get(52, "/v1/events?after=garbage", 422, "bad_query", &["after"]),
        get(52, "/v1/events?after=999999999", 200, "", &[]),
        get(53, "/v1/runs/{run}/log", 200, "", &["done"]).with("range: bytes=99999-"),
        get(53, "/v1/runs/{run}/log", 200, "", &["done"]).with("range: bytes=-1,-2,-3"),
        get(56, "//", 404, "not_found", &[]),
        get(56, "/%00", 404, "not_found", &[]),
        get(56, "/v1/tasks/%00", 422, "bad_id", &[]),
        get(56, "/v1/../admin", 404, "not_found", &[]),
        get(56, "", 405, "method_not_allowed", &["TRACE"]).to("TRACE /v1/tasks"),
        get(68, "/v1/tasks", 400, "version_mismatch", &["99"]).with("orch-api-version: 99"),
    ]
}

/// Promise 33.
#[test]
fn no_input_is_a_crash() {
    let bench = Bench::new();
    let mut before = bench.state();
    let mut wrong = Vec::new();
    for sent in sent() {
        let (status, answer) = exchange(&bench, &sent.wire(&bench));
        let error: Value = serde_json::from_str(&answer).unwrap_or_default();
        let coded = sent.code.is_empty() || error["error"]["code"] == sent.code;
        let words = sent.says.iter().all(|word| answer.contains(word));
        if status != sent.status || !coded || !words {
            let (number, start, answer) = (sent.number, &sent.start, excerpt(&answer));
            wrong.push(format!(
                "{number} {start}: {status} {answer}\n  not {} {} {:?}",
                sent.status, sent.code, sent.says
            ));
        }
        let after = bench.state();
        if after != before {
            wrong.push(format!("{} {} changed something", sent.number, sent.start));
            before = after;
        }
    }
    let (status, _) = exchange(&bench, &headers(200));
    assert_eq!(status, 431, "too many headers");
    // Of so many the connection may be closed before the answer is read; the daemon lives on.
    exchange(&bench, &headers(10_000));
    assert_eq!(bench.state(), before);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    bench.finish();
}

fn excerpt(text: &str) -> String {
    text.chars().take(300).collect()
}

fn headers(count: u32) -> Vec<u8> {
    let mut wire = b"GET /v1/tasks HTTP/1.1\r\nhost: orch\r\n".to_vec();
    for number in 0..count {
        wire.extend(format!("x-{number}: {number}\r\n").into_bytes());
    }
    wire.extend(b"\r\n");
    wire
}

/// Sends bytes and reads the answer to its end: status and body.
fn exchange(bench: &Bench, wire: &[u8]) -> (u16, String) {
    let mut socket = UnixStream::connect(bench.project.root().join(".orch/orch.sock")).unwrap();
    let patience = Some(Duration::from_secs(5));
    socket.set_read_timeout(patience).unwrap();
    socket.set_write_timeout(patience).unwrap();
    // A body that is refused may not be read to its end.
    let _ = socket.write_all(wire);
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    let answer = lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    (status.unwrap_or(0), body.to_owned())
}

/// A project with one agent that prints its prompt.
fn with_cat() -> Project {
    Project::new("[agents.cat]\nadapter = \"shell\"\ncommand = \"cat\"\nmax_parallel = 4\n")
}

#[test]
fn a_title_is_never_a_command() {
    let project = with_cat();
    let titles = [
        "; touch owned",
        "$(touch owned)",
        "`touch owned`",
        "--upload-pack=touch owned",
        "-x",
    ];
    let tasks = titles.map(|title| project.ok(&["task", "add", "--quiet", "--", title]));
    project.ok(&["serve", "--once"]);
    for (title, task) in titles.iter().zip(&tasks) {
        let shown = project.task(task);
        assert_eq!(
            (text(&shown, "title"), text(&shown, "status")),
            (*title, "review")
        );
        let branch = text(&shown, "branch");
        assert!(branch.starts_with(&format!("orch/{task}-")), "{branch}");
        let worktree = project.root().join(".orch/worktrees").join(task);
        assert!(!worktree.join("owned").exists(), "{title}");
    }
    assert!(!project.root().join("owned").exists());
}

#[test]
fn escapes_are_stored_and_shown_as_text() {
    let project = with_cat();
    let title = "a\u{1b}[2J\u{1b}]52;c;eA==\u{7}\u{1b}]8;;http://x\u{1b}\\b\u{9b}1m\u{202e}c";
    let task = project.add(title, &[]);
    assert_eq!(project.task(&task)["title"], title);
    for arguments in [
        &["task", "list"][..],
        &["task", "show", &task],
        &["why", &task],
        &["status"],
        &["events"],
    ] {
        let output = project.output(arguments);
        let said = lossy(&output.stdout) + &lossy(&output.stderr);
        let raw = said
            .chars()
            .find(|&c| c != '\n' && c != '\t' && c.is_control() || c == '\u{202e}');
        assert_eq!(raw, None, "{arguments:?}: {said:?}");
    }
    let listed = project.ok(&["task", "list"]);
    assert!(
        listed.contains(r"\x1b[2J") && listed.contains(r"\u{202e}"),
        "{listed}"
    );
}

#[test]
fn an_ambiguous_beginning_lists_what_it_could_be() {
    let bench = Bench::new();
    let client = bench.project.client();
    // There are 32 characters an id can begin with, so two of 40 ids begin with the same one.
    for number in 0..40 {
        let title = format!("task {number}");
        let agent = Some("off".to_owned());
        client
            .add_task(&orch_api::types::NewTask {
                title,
                agent,
                ..Default::default()
            })
            .unwrap();
    }
    let (tasks, _) = bench.state();
    let mut seen: std::collections::BTreeMap<&str, Vec<&str>> = std::collections::BTreeMap::new();
    for task in &tasks {
        seen.entry(&task.id[..5]).or_default().push(&task.id);
    }
    let (prefix, ids) = seen.iter().find(|(_, ids)| ids.len() > 1).unwrap();
    for verb in ["show", "cancel", "delete"] {
        let said = bench.project.fails(4, &["task", verb, prefix]);
        assert!(ids.iter().all(|id| said.contains(id)), "{said}");
    }
    assert_eq!(bench.state().0, tasks);
    drop(client);
    bench.finish();
}

#[test]
fn init_says_what_is_wrong_with_the_repository() {
    let project = Project::bare();
    project.git(&["tag", "release"]);
    let root = project.root();
    for target in ["missing", "release"] {
        let said = project.fails(4, &["init", "--target", target]);
        assert!(said.contains(&format!("no branch '{target}'")), "{said}");
        assert!(!root.join("orch.toml").exists() && !root.join(".orch").exists());
    }
    let [plain, bare, unborn, shallow] =
        ["plain", "bare", "unborn", "shallow"].map(|it| project.outside(it));
    let place = |path: &Path| path.display().to_string();
    fs::create_dir(&plain).unwrap();
    project.git(&["init", "--quiet", "--bare", &place(&bare)]);
    project.git(&["init", "--quiet", &place(&unborn)]);
    let from = format!("file://{}", place(&root));
    project.git(&["clone", "--quiet", "--depth", "1", &from, &place(&shallow)]);
    for (path, code, says) in [
        (&plain, 3, "is not in a git repository"),
        (&bare, 3, "is a bare git repository"),
        (&unborn, 3, "has no commits yet"),
    ] {
        let said = project.fails(code, &["init", "-C", &place(path)]);
        assert!(said.starts_with("error: ") && said.contains(says), "{said}");
        assert!(!path.join("orch.toml").exists() && !path.join(".orch").exists());
    }
    project.ok(&["init", "-C", &place(&shallow)]);
}

#[test]
fn a_state_directory_that_others_can_reach_is_refused() {
    let project = with_cat();
    let task = project.add("kept", &[]);
    let state = project.root().join(".orch");
    for mode in [0o777, 0o750] {
        fs::set_permissions(&state, fs::Permissions::from_mode(mode)).unwrap();
        for arguments in [&["task", "list"][..], &["serve", "--once"]] {
            let said = project.fails(6, arguments);
            assert!(
                said.contains("open to other users") && said.contains("chmod 700"),
                "{said}"
            );
        }
    }
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    let elsewhere = project.outside("elsewhere");
    fs::rename(&state, &elsewhere).unwrap();
    symlink(&elsewhere, &state).unwrap();
    let said = project.fails(6, &["task", "list"]);
    assert!(said.contains("is a symbolic link"), "{said}");
    fs::remove_file(&state).unwrap();
    fs::rename(&elsewhere, &state).unwrap();
    assert_eq!(project.task(&task)["title"], "kept");
}

#[test]
fn no_home_is_no_obstacle() {
    let project = with_cat();
    for home in [None, Some("/nonexistent"), Some("/a b")] {
        let mut command = project.orch(&["status"]);
        command.env_remove("HOME");
        if let Some(home) = home {
            command.env("HOME", home);
        }
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{home:?}: {}",
            lossy(&output.stderr)
        );
    }
}

#[test]
fn a_long_prompt_goes_through_a_file() {
    let project = with_cat();
    let (fits, too_long) = (project.outside("fits"), project.outside("too_long"));
    fs::write(&fits, "y".repeat(1 << 20)).unwrap();
    fs::write(&too_long, "y".repeat((1 << 20) + 1)).unwrap();
    let task = project.add("long", &["--file", fits.to_str().unwrap()]);
    let said = project.fails(
        7,
        &[
            "task",
            "add",
            "longer",
            "--file",
            too_long.to_str().unwrap(),
        ],
    );
    assert!(said.contains("1048576 bytes"), "{said}");
    let command = "x".repeat(70_000);
    let said = project.fails(2, &["agent", "edit", "cat", "--command", &command]);
    assert!(said.contains("70000 bytes"), "{said}");
    project.ok(&["serve", "--once"]);
    let run = project.last_run(&task);
    assert_eq!(run["status"], "completed");
    assert!(text(&run, "result").contains(&"y".repeat(1 << 20)));
}

#[test]
fn a_daemon_keeps_the_configuration_it_understood() {
    let bench = Bench::new();
    let (tasks, good) = bench.state();
    let path = bench.project.root().join("orch.toml");
    let client = bench.project.client();
    for (wrong, place) in [
        ("[project]\nmax_agent = 4\n", "orch.toml:2:1"),
        ("[project]\nmax_agents = \"4\"\n", "orch.toml:2:14"),
        ("[project]\n[project]\n", "orch.toml:2:2"),
        ("include = \"orch.toml\"\n", "orch.toml:1:1"),
        ("[project\n", "orch.toml:1:"),
    ] {
        fs::write(&path, wrong).unwrap();
        let status = client.reload().unwrap();
        let error = status.config_error.unwrap();
        assert!(error.contains(place), "{error}");
        assert_eq!(status.agents.len(), 3, "the old one is in force");
        let said = bench.project.fails(2, &["agent", "show", "quick"]);
        assert!(said.contains(place), "{said}");
    }
    let fewer = format!(
        "\u{feff}{}",
        good.replace("target = \"main\"", "max_agents = 1")
    )
    .replace("max_parallel = 2", "enabled = false");
    fs::write(&path, fewer).unwrap();
    let status = client.reload().unwrap();
    assert_eq!((status.config_error, status.max_agents), (None, 1));
    assert_eq!(
        status.runs.len(),
        1,
        "what runs goes on although its agent is disabled"
    );
    assert_eq!(bench.state().0.len(), tasks.len());
    drop(client);
    bench.finish();
}

/// Promise 25.
#[test]
fn bad_state_is_never_start_empty() {
    for (bytes, says) in [
        (&b"hello"[..], "not an orch database"),
        (b"", "the file is empty"),
    ] {
        let project = with_cat();
        let database = project.root().join(".orch/orch.db");
        fs::write(&database, bytes).unwrap();
        for arguments in [
            &["task", "list"][..],
            &["serve", "--once"],
            &["task", "add", "x"],
        ] {
            let said = project.fails(1, arguments);
            assert!(said.contains("orch.db") && said.contains(says), "{said}");
        }
        assert_eq!(fs::read(&database).unwrap(), bytes);
    }
}

#[test]
fn output_that_nobody_reads_is_no_error() {
    let project = with_cat();
    project.add("one", &[]);
    for arguments in [
        &["task", "list"][..],
        &["task", "list", "--json"],
        &["--help"],
        &["events"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = project.orch(arguments).stdout(writer).output().unwrap();
        assert_eq!(
            (output.status.code(), lossy(&output.stderr)),
            (Some(0), String::new()),
            "{arguments:?}"
        );
        let full = fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = project.orch(arguments).stdout(full).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(7),
            "{arguments:?}: {}",
            lossy(&output.stderr)
        );
        for environment in [("TERM", "dumb"), ("NO_COLOR", "1"), ("COLUMNS", "0")] {
            let output = project
                .orch(arguments)
                .env(environment.0, environment.1)
                .output()
                .unwrap();
            assert!(
                output.status.success() && !output.stdout.contains(&0x1b),
                "{arguments:?}"
            );
        }
    }
}

#[test]
fn only_a_stale_socket_of_ours_is_replaced() {
    let project = with_cat();
    let task = project.add("kept", &[]);
    let socket = project.root().join(".orch/orch.sock");
    fs::write(&socket, "mine").unwrap();
    let said = project.fails(4, &["serve", "--once"]);
    assert!(
        said.contains("orch.sock") && said.contains("not a socket"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&socket).unwrap(), "mine");
    assert_eq!(project.task(&task)["title"], "kept");
    fs::remove_file(&socket).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    assert_eq!(project.task(&task)["title"], "kept");
    project.ok(&["serve", "--once"]);
    assert_eq!(project.task(&task)["status"], "review");
    assert!(!socket.exists());
}

/// Whoever reads a refusal knows what it is about and what to do: which of several tasks, which agent, which
/// file, and none of them blames a daemon that nobody asked.
#[test]
fn refusals_name_what_they_are_about() {
    let project = Project::new(
        "[agents.worker]\nadapter = \"shell\"\ncommand = \"echo hi\"\n\
         [defaults]\nworkspace = \"shared\"\n",
    );
    let [done, other] = ["first", "second"].map(|title| project.add(title, &[]));
    project.ok(&["run", &done]);

    let said = project.fails(4, &["task", "approve", &done, &other]);
    assert!(
        said.contains(&format!("{other} (second): a task that is todo")),
        "{said}"
    );
    assert!(said.contains(&format!("'orch why {other}'")), "{said}");
    let said = project.fails(4, &["task", "approve", &done, &other, "--json"]);
    assert!(said.contains(&other), "{said}");

    let unknown: [&[&str]; 6] = [
        &["task", "add", "x", "--agent", "worke"],
        &["task", "edit", &other, "--agent", "worke"],
        &["task", "assign", &other, "worke"],
        &["task", "list", "--agent", "worke"],
        &["runs", "--agent", "worke"],
        &["logs", "--agent", "worke"],
    ];
    for command in unknown {
        let said = project.fails(3, command);
        assert!(
            said.contains("did you mean 'worker'?"),
            "{command:?}: {said}"
        );
    }
    for command in [
        &["logs", "--raw", "--json"],
        &["logs", "--stderr", "--json"],
    ] {
        let said = project.fails(2, command);
        assert!(said.contains("cannot be given together"), "{said}");
    }
    let said = project.fails(2, &["task", "add", "x", "--timeout", "50ms"]);
    assert!(said.contains("from 100ms to 30d, not 50ms"), "{said}");

    let run = project.last_run(&done);
    let log = project.run_dir(&run).join("out.log");
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    let said = project.fails(4, &["logs", "--raw", text(&run, "id")]);
    assert!(said.contains("out.log is no regular file"), "{said}");
    assert!(!said.contains("daemon"), "{said}");
}
