//! `orch agent`: what is said about kinds of agents, and trying one out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use orch_field::{Project, lossy, text};
use serde_json::Value;

/// Writes a program that speaks like Claude Code, does what the test asks for if `works`, and
/// otherwise says that its key is not accepted.
fn claude(project: &Project, works: bool) -> PathBuf {
    let said = match works {
        true => concat!(
            "word=$(sed -n 's/^ *\\(orch [0-9]*\\)$/\\1/p' | head -n 1)\n",
            "echo \"$word\" > orch-test.txt\n",
            "git add orch-test.txt && git commit -q -m 'orch agent test'\n",
            "echo '{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"done\",",
            "\"session_id\":\"s1\",\"total_cost_usd\":0.01,",
            "\"usage\":{\"input_tokens\":7,\"output_tokens\":3}}'\n"
        ),
        false => concat!(
            "cat > /dev/null\n",
            "echo '{\"type\":\"assistant\",\"error\":\"authentication_failed\",\"message\":",
            "{\"role\":\"assistant\",\"model\":\"<synthetic>\",\"content\":[{\"type\":\"text\",",
            "\"text\":\"Invalid API key\"}]},\"session_id\":\"s1\"}'\n",
            "echo '{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":true,",
            "\"api_error_status\":401,\"result\":\"Invalid API key\",\"session_id\":\"s1\"}'\nexit 1\n"
        ),
    };
    let path = project.outside("claude");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && echo '2.1.300 (Claude Code)' && exit\n{said}"
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn with_claude(works: bool) -> Project {
    let project = Project::new("");
    let path = claude(&project, works);
    let command = path.to_str().unwrap();
    project.ok(&[
        "agent",
        "add",
        "ada",
        "--adapter",
        "claude",
        "--command",
        command,
    ]);
    project
}

fn tested(project: &Project, name: &str) -> (Value, Option<i32>, String) {
    fs::create_dir_all(project.outside("tmp")).unwrap();
    let mut command = project.orch(&["agent", "test", name, "--json"]);
    let output = command
        .env("TMPDIR", project.outside("tmp"))
        .output()
        .unwrap();
    let said = lossy(&output.stderr);
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    (answer, output.status.code(), said)
}

fn check<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let mut checks = answer["checks"].as_array().unwrap().iter();
    checks.find(|it| it["name"] == name).unwrap_or(&Value::Null)
}

/// One signal is enough to end a test: the agent has its grace, and nothing of it is left.
#[test]
fn one_signal_ends_a_test_and_its_agent() {
    use std::io::{BufRead, BufReader};
    let project = Project::new("");
    let ledger = project.outside("ledger");
    let command = "echo began >> $LEDGER; trap 'echo tidied >> $LEDGER; exit 3' TERM; \
                   while :; do sleep 0.05; done";
    let project_of = [
        "agent",
        "add",
        "slow",
        "--adapter",
        "shell",
        "--command",
        command,
    ];
    project.ok(&project_of);
    project.ok(&["agent", "edit", "slow", "--env", "LEDGER"]);
    fs::create_dir_all(project.outside("tmp")).unwrap();
    let mut test = project
        .orch(&["agent", "test", "slow"])
        .env("TMPDIR", project.outside("tmp"))
        .env("LEDGER", &ledger)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    orch_field::until_said("began", 1, || {
        fs::read_to_string(&ledger).unwrap_or_default()
    });
    let pid = rustix::process::Pid::from_child(&test);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let said: Vec<String> = BufReader::new(test.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .collect();
    assert_eq!(test.wait().unwrap().code(), Some(75), "{said:?}");
    let said = said.join("\n");
    assert!(said.contains("Stopping the agent"), "{said}");
    assert!(
        said.contains("the test was stopped, and its agent with it"),
        "{said}"
    );
    assert!(fs::read_to_string(&ledger).unwrap().contains("tidied"));
    let left = fs::read_dir(project.outside("tmp")).unwrap().count();
    assert_eq!(left, 0, "nothing is left");
}

#[test]
fn an_agent_that_works_is_found_to_work_and_leaves_nothing_behind() {
    let project = with_claude(true);
    let before = project.git(&["for-each-ref"]);
    let (answer, code, said) = tested(&project, "ada");
    assert_eq!(
        (code, answer["ok"].as_bool()),
        (Some(0), Some(true)),
        "{answer}"
    );
    assert!(said.contains("costs a few tokens"), "{said}");
    for name in [
        "program", "version", "login", "result", "usage", "work", "duration",
    ] {
        assert_eq!(check(&answer, name)["status"], "ok", "{name}: {answer}");
    }
    assert!(
        text(check(&answer, "work"), "detail").contains("committed"),
        "{answer}"
    );
    assert!(
        text(check(&answer, "version"), "detail").contains("2.1.300"),
        "{answer}"
    );
    assert_eq!(answer["run"]["cost_usd"], 0.01);
    assert_eq!(project.git(&["for-each-ref"]), before);
    assert_eq!(project.json(&["task", "list"]), Value::Array(Vec::new()));
    let left: Vec<_> = fs::read_dir(project.outside("tmp"))
        .unwrap()
        .flatten()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_key_that_is_not_accepted_is_told_with_its_mend() {
    let project = with_claude(false);
    let (answer, code, _) = tested(&project, "ada");
    assert_eq!(
        (code, answer["ok"].as_bool()),
        (Some(1), Some(false)),
        "{answer}"
    );
    let result = check(&answer, "result");
    assert_eq!(result["status"], "problem", "{answer}");
    assert!(result["hint"].is_string(), "{answer}");
}

#[test]
fn a_program_that_is_not_there_cannot_be_reached() {
    let project = Project::new("");
    let arguments = [
        "agent",
        "add",
        "ada",
        "--adapter",
        "claude",
        "--command",
        "no-such-program",
    ];
    project.ok(&arguments);
    let said = project.fails(5, &["agent", "test", "ada"]);
    assert!(
        said.contains("no-such-program") && said.contains("--command"),
        "{said}"
    );
    let said = project.fails(3, &["agent", "test", "ad"]);
    assert!(said.contains("ada"), "{said}");
}

#[test]
fn a_command_is_tried_out_too() {
    let project = Project::new("[agents.worker]\nadapter = \"shell\"\ncommand = 'echo hello'\n");
    let (answer, code, _) = tested(&project, "worker");
    assert_eq!(
        (code, answer["run"]["result"].as_str()),
        (Some(0), Some("hello")),
        "{answer}"
    );
}

#[test]
fn kinds_of_agents_are_listed_with_what_was_only_read_about() {
    let project = Project::new("");
    let kinds = project.json(&["agent", "adapters"]);
    let kind = |name: &str| {
        let mut all = kinds.as_array().unwrap().iter();
        all.find(|it| it["name"] == name)
            .cloned()
            .unwrap_or_default()
    };
    assert_eq!(kind("claude")["result"], true);
    assert_eq!(kind("shell")["permissions"], Value::Array(Vec::new()));
    assert!(text(&kind("goose"), "how").contains("acp"), "{kinds}");
    let shown = project.ok(&["agent", "adapters"]);
    assert!(
        shown.contains("claude") && shown.contains("goose"),
        "{shown}"
    );
}

#[test]
fn a_variable_named_alone_refers_to_the_callers() {
    let project = Project::new("");
    let add = [
        "agent",
        "add",
        "ada",
        "--adapter",
        "claude",
        "--env",
        "ANTHROPIC_API_KEY",
    ];
    project.ok(&add);
    let shown = project.json(&["agent", "show", "ada"]);
    assert_eq!(shown["env"]["ANTHROPIC_API_KEY"], "$ANTHROPIC_API_KEY");
    let said = project.fails(2, &["agent", "edit", "ada", "--env", "=x"]);
    assert!(said.contains("KEY=VALUE"), "{said}");
}

#[test]
fn a_file_of_mcp_servers_is_checked_before_it_is_written_down() {
    let project = Project::new("");
    fs::write(
        project.root().join("tools.json"),
        "{\"mcpServers\": {\"a\": {}}}",
    )
    .unwrap();
    let add = |name: &str, file: &str| {
        project.fails(
            2,
            &[
                "agent",
                "add",
                name,
                "--adapter",
                "shell",
                "--command",
                "true",
                "--mcp",
                file,
            ],
        )
    };
    let said = add("ada", "tools.json");
    assert!(said.contains("'a' needs either"), "{said}");
    let servers = "{\"mcpServers\": {\"a\": {\"command\": \"x\"}}}";
    fs::write(project.root().join("tools.json"), servers).unwrap();
    let said = add("ada", "tools.json");
    assert!(
        said.contains("no setting `mcp`") || said.contains("'mcp'"),
        "{said}"
    );
    assert_eq!(project.json(&["agent", "list"]), Value::Array(Vec::new()));
}

/// A limit that would hold for hours: the test of an agent ends at once and says so, with the time
/// at which it is lifted.
#[test]
fn a_limit_ends_the_test_of_an_agent_at_once() {
    let project = with_claude(true);
    let path = project.outside("claude");
    let limited = concat!(
        "#!/bin/sh\n[ \"$1\" = --version ] && echo '2.1.300 (Claude Code)' && exit\n",
        "cat > /dev/null\n",
        "echo '{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":true,",
        "\"api_error_status\":429,\"result\":\"You have hit your session limit\",",
        "\"session_id\":\"s1\"}'\nexit 1\n"
    );
    fs::write(&path, limited).unwrap();
    let said = project.fails(7, &["agent", "test", "ada"]);
    assert!(said.contains("a limit stopped the test"), "{said}");
    assert!(said.contains("it is lifted at 2"), "{said}");
}
