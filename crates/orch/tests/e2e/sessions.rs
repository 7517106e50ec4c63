//! What a run goes on with, what it changed, and why it failed: with real processes and real git.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use orch_field::{Project, text};

/// The first event of a session as Claude Code prints it.
const INIT: &str = r#"{"type":"system","subtype":"init","session_id":"s1","model":"m"}"#;
/// A result event of it.
const SUCCESS: &str = r#"{"type":"result","subtype":"success","is_error":false,"result":"all good","session_id":"s1","usage":{"input_tokens":1000000,"output_tokens":100000}}"#;
const FAILURE: &str = r#"{"type":"result","subtype":"success","is_error":true,"result":"it broke","session_id":"s1"}"#;

/// A project with one agent, `worker`, that is this script in the place of Claude Code.
fn project(script: &str, more: &str) -> Project {
    project_of("claude", script, more)
}

/// The same with the script in the place of this adapter's program.
fn project_of(adapter: &str, script: &str, more: &str) -> Project {
    let project = Project::new("");
    let program = project.outside("agent.sh");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    project.configure(&format!(
        "[project]\nname = \"test\"\ntarget = \"main\"\n\
         [defaults]\nmax_attempts = 2\n[retry]\nbase = \"100ms\"\nmax = \"100ms\"\n\
         [agents.worker]\nadapter = \"{adapter}\"\ncommand = {:?}\n{more}",
        program.to_str().unwrap()
    ));
    project
}

/// The runs of a task, oldest first.
fn runs(project: &Project, task: &str) -> Vec<Value> {
    let mut runs = project.json(&["runs", "--task", task]);
    let mut runs: Vec<Value> = runs.as_array_mut().unwrap().drain(..).collect();
    runs.reverse();
    runs
}

fn says(line: &str) -> String {
    format!("cat <<'END'\n{INIT}\n{line}\nEND\n")
}

/// Says what it was started with; fails unless it goes on with a session.
fn fails_at_first() -> String {
    format!(
        "case \"$*\" in *s1*) echo work > made.txt; git add made.txt; git commit -qm made; {}\n;; \
         *) {}\n;; esac",
        says(SUCCESS),
        says(FAILURE)
    )
}

#[test]
fn the_next_attempt_goes_on_with_the_session_of_the_one_before() {
    let project = project(&fails_at_first(), "");
    let task = project.add("make it", &[]);
    project.ok(&["serve", "--once"]);
    let runs = runs(&project, &task);
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[0]["status"], "failed");
    assert_eq!(runs[0]["resumed_session"], Value::Null);
    assert_eq!(runs[1]["status"], "completed", "{}", runs[1]);
    assert_eq!(runs[1]["resumed_session"], "s1");
    assert_eq!(runs[1]["changes"], json!({"files": 1, "commits": 1}));

    let said = project.ok(&["task", "resume", &task, "-m", "and the docs"]);
    assert!(said.is_empty() || said.contains(&task), "{said}");
    project.ok(&["serve", "--once"]);
    let last = project.last_run(&task);
    assert_eq!(
        (&last["attempt"], &last["resumed_session"]),
        (&json!(3), &json!("s1"))
    );
    let prompt = fs::read_to_string(project.run_dir(&last).join("prompt.md")).unwrap();
    assert!(prompt.contains("and the docs"), "{prompt}");
}

/// As Gemini CLI does where a gateway refuses its first call in words of its own: the session it
/// named is empty, and to go on with it fails.
#[test]
fn a_session_in_which_nothing_was_said_is_not_gone_on_with() {
    let script = r#"case "$*" in *--resume*)
    echo "Error resuming session: No previous sessions found for this project." >&2; exit 42;; esac
cat <<'END'
{"type":"init","session_id":"s1","model":"m"}
{"type":"message","role":"user","content":"Do it"}
{"type":"result","status":"error","error":{"type":"unknown","message":"[API Error: {\"what\":\"no\"}]"}}
END
exit 244"#;
    let project = project_of("gemini", script, "");
    let task = project.add("make it", &[]);
    project.fails(1, &["serve", "--once"]);
    let runs = runs(&project, &task);
    let codes: Vec<&str> = runs
        .iter()
        .map(|run| text(&run["failure"], "code"))
        .collect();
    assert_eq!(codes, ["provider_error", "provider_error"], "{runs:?}");
    let message = text(&runs[0]["failure"], "message");
    assert!(message.ends_with("HTTP status 500"), "{message}");
    assert_eq!(runs[1]["resumed_session"], Value::Null);
}

#[test]
fn a_session_of_another_directory_is_left_without_using_up_an_attempt() {
    let project = project(&format!("echo work > made.txt\n{}", says(SUCCESS)), "");
    let task = project.add("make it", &[]);
    project.ok(&["serve", "--once"]);
    let first = project.last_run(&task);
    let spec = project.run_dir(&first).join("spec.json");
    let text = fs::read_to_string(&spec).unwrap();
    let root = project.root().display().to_string();
    fs::write(&spec, text.replace(&root, "/elsewhere")).unwrap();
    project.ok(&["task", "reject", &task, "-r", "again"]);
    project.ok(&["serve", "--once"]);
    let runs = runs(&project, &task);
    assert_eq!(runs.len(), 3);
    assert_eq!(runs[1]["failure"]["code"], "session_gone");
    assert_eq!(runs[1]["status"], "not_started");
    assert_eq!(runs[2]["resumed_session"], Value::Null);
    assert_eq!(runs[2]["status"], "completed");
    assert_eq!(project.task(&task)["attempts"], 1);
}

/// Promise 5.
#[test]
fn an_empty_success_is_said_and_where_a_commit_is_required_it_is_a_failure() {
    let project = project(&says(SUCCESS), "");
    let free = project.add("free", &[]);
    let bound = project.add("bound", &["--require", "commit", "--max-attempts", "1"]);
    project.fails(1, &["serve", "--once"]);
    let run = project.last_run(&free);
    assert_eq!(run["status"], "completed");
    assert_eq!(run["changes"], json!({"files": 0, "commits": 0}));
    let warnings = run["warnings"].to_string();
    assert!(warnings.contains("changed no file"), "{warnings}");
    let run = project.last_run(&bound);
    assert_eq!(run["failure"]["code"], "no_changes", "{run}");
    let evidence = text(&run["failure"], "evidence");
    assert!(evidence.contains("require = commit"), "{evidence}");
    let said = project.ok(&["show", text(&run, "id")]);
    assert!(said.contains("0 files, 0 commits of its own"), "{said}");
}

#[test]
fn what_orch_commits_for_an_agent_is_a_change_and_no_commit_of_its_own() {
    let project = project(&format!("echo work > made.txt\n{}", says(SUCCESS)), "");
    let bound = project.add("bound", &["--require", "commit", "--max-attempts", "1"]);
    let free = project.add("free", &["--require", "changes"]);
    project.fails(1, &["serve", "--once"]);
    assert_eq!(project.last_run(&bound)["failure"]["code"], "no_changes");
    let run = project.last_run(&free);
    assert_eq!(run["status"], "completed");
    assert_eq!(run["changes"], json!({"files": 1, "commits": 0}));
}

#[test]
fn what_a_task_requires_is_changed_and_left_to_its_agent_again() {
    let project = project(&says(SUCCESS), "require = \"commit\"\n");
    let task = project.add("made", &["--require", "commit", "--max-attempts", "1"]);
    let required = || project.task(&task)["require"].clone();
    project.ok(&["task", "edit", &task, "--require", "changes"]);
    assert_eq!(required(), "changes");
    project.ok(&["task", "edit", &task, "--require", "agent"]);
    assert_eq!(required(), Value::Null);
    project.ok(&["task", "edit", &task, "--require", "nothing"]);
    assert_eq!(required(), "nothing");
    project.ok(&["serve", "--once"]);
    assert_eq!(project.last_run(&task)["status"], "completed");
}

#[test]
fn nothing_is_required_of_work_that_nobody_can_attribute() {
    let project = project(&says(SUCCESS), "");
    let more = ["--require", "commit", "--workspace", "shared"];
    let said = project.fails(2, &[&["task", "add", "x"][..], &more].concat());
    assert!(said.contains("whose change is whose"), "{said}");
}

#[test]
fn an_agent_can_commit_without_the_users_own_configuration() {
    let script = format!(
        "export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null HOME=/nowhere\n\
         git config --unset user.name; git config --unset user.email\n\
         echo work > made.txt; git add made.txt; git commit -qm made || exit 9\n{}",
        says(SUCCESS)
    );
    let project = project(&script, "");
    project.git(&["config", "user.name", "Ann Example"]);
    project.git(&["config", "user.email", "ann@example.org"]);
    let task = project.add("make it", &["--require", "commit"]);
    project.ok(&["serve", "--once"]);
    let run = project.last_run(&task);
    assert_eq!(run["status"], "completed", "{run}");
    let author = project.git(&["log", "-1", "--format=%an <%ae> %cn", text(&run, "commit")]);
    assert_eq!(author.trim(), "Ann Example <ann@example.org> Ann Example");
}

#[test]
fn a_failure_without_a_result_says_what_was_printed_last() {
    let script = "echo starting >&2; printf '\\033[31mno such model\\033[0m\\n' >&2; exit 3";
    let project = project(script, "");
    let task = project.add("make it", &["--max-attempts", "1"]);
    project.fails(1, &["serve", "--once"]);
    let run = project.last_run(&task);
    assert_eq!(run["failure"]["code"], "no_result");
    let evidence = text(&run["failure"], "evidence");
    assert!(evidence.contains("no such model"), "{evidence}");
    assert!(!evidence.contains('\u{1b}'), "{evidence}");
}

#[test]
fn tokens_without_a_cost_are_priced_and_the_price_is_marked() {
    let more = "model = \"my-model\"\n[prices.\"my-*\"]\ninput = 2.0\noutput = 10\n";
    let project = project(&format!("echo work > made.txt\n{}", says(SUCCESS)), more);
    let task = project.add("make it", &[]);
    project.ok(&["serve", "--once"]);
    let run = project.last_run(&task);
    assert_eq!(
        (&run["cost_usd"], &run["cost_estimated"]),
        (&json!(3.0), &json!(true))
    );
    let listed = project.ok(&["runs"]);
    assert!(listed.contains("~$3.00"), "{listed}");
}
