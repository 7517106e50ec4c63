//! Configuration of the repository that agents' programs read by themselves.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use orch_field::{Project, text};
use serde_json::Value;

/// An agent that speaks like Claude Code, after doing what `script` says.
fn project(script: &str) -> Project {
    let project = Project::new("");
    let path = project.outside("claude");
    let said = "echo '{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"done\",\"session_id\":\"s\"}'";
    fs::write(
        &path,
        format!("#!/bin/sh\ncat > /dev/null\n{script}\n{said}\n"),
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    project.ok(&[
        "agent",
        "add",
        "ada",
        "--adapter",
        "claude",
        "--command",
        path.to_str().unwrap(),
    ]);
    project
}

fn commit(project: &Project, path: &str, content: &str) {
    let whole = project.root().join(path);
    fs::create_dir_all(whole.parent().unwrap()).unwrap();
    fs::write(whole, content).unwrap();
    project.git(&["add", path]);
    project.git(&["commit", "-q", "-m", path]);
}

fn serve(project: &Project) {
    project.output(&["serve", "--once"]);
}

/// Configuration of the repository that would run code starts nothing before somebody has agreed
/// to it, costs no attempt, and does not keep orch waiting.
#[test]
fn nothing_starts_on_configuration_that_nobody_agreed_to() {
    let project = project("true");
    commit(&project, ".claude/settings.json", "{\"hooks\": {}}");
    let task = project.add("work", &[]);
    serve(&project);
    let run = project.last_run(&task);
    assert_eq!(
        (text(&run, "status"), text(&run["failure"], "code")),
        ("not_started", "needs_consent")
    );
    let shown = project.task(&task);
    assert_eq!(
        (&shown["attempts"], text(&shown["wait"], "actor")),
        (&0.into(), "person"),
        "{shown}"
    );
    let why = project.ok(&["why", &task]);
    assert!(
        why.contains(".claude/settings.json") && why.contains("orch agent trust"),
        "{why}"
    );
    let said = project.output(&["doctor"]);
    assert!(orch_field::lossy(&said.stdout).contains("nobody has agreed to .claude/settings.json"));

    let listed = project.json(&["agent", "trust", "--list"]);
    assert_eq!(listed["files"][0]["trusted"], false, "{listed}");
    let said = project.fails(6, &["agent", "trust"]);
    assert!(said.contains("--yes"), "{said}");
    let mut of_agent = project.orch(&["agent", "trust", "--yes"]);
    let refused = of_agent.env("ORCH_RUN_ID", "run_x").output().unwrap();
    assert_eq!(refused.status.code(), Some(6));
    project.ok(&["agent", "trust", "--yes"]);
    assert_eq!(
        project.json(&["agent", "trust", "--list"])["files"][0]["trusted"],
        true
    );
    project.ok(&["task", "retry", &task]);
    serve(&project);
    assert_eq!(text(&project.task(&task), "status"), "review");

    commit(
        &project,
        ".claude/settings.json",
        "{\"hooks\": {\"Stop\": []}}",
    );
    let other = project.add("more work", &[]);
    serve(&project);
    assert_eq!(
        text(&project.last_run(&other)["failure"], "code"),
        "needs_consent"
    );
}

#[test]
fn what_an_agent_writes_for_the_next_one_is_asked_for_too() {
    let project = project("mkdir -p .claude && echo '{}' > .claude/settings.local.json");
    let task = project.add("work", &[]);
    serve(&project);
    assert_eq!(text(&project.last_run(&task), "status"), "completed");
    project.ok(&["task", "reject", &task, "-r", "again"]);
    serve(&project);
    let run = project.last_run(&task);
    assert_eq!(text(&run["failure"], "code"), "needs_consent", "{run}");
    assert!(
        text(&run["failure"], "message").contains("settings.local.json"),
        "{run}"
    );
}

/// What an agent writes for the next one is agreed to by a person, whatever environment the agent
/// gives to the command, and also if it lets go of it: who started it can be seen all the same.
#[test]
fn an_agent_cannot_agree_by_hiding_what_it_is() {
    let place = Project::new("");
    let said = place.outside("said");
    let orch = place.orch(&[]).get_program().to_owned();
    let orch = format!("'{}' -C \"$ROOT\" agent trust --yes", orch.display());
    // The second is nobody's child by the time it asks: the one that started it is gone.
    let project = project(&format!(
        "mkdir -p .claude && echo '{{}}' > .claude/settings.local.json
         ROOT=$(cd \"$(git rev-parse --git-common-dir)/..\" && pwd)
         env -u ORCH_RUN_ID -u ORCH_AGENT -u ORCH_TASK_ID {orch}
         echo $? >> '{said}'
         mkfifo \"$ROOT/.orch/told\"
         (env -i PATH=\"$PATH\" HOME=\"$HOME\" ROOT=\"$ROOT\" setsid sh -c \
           'read -r go < \"$ROOT/.orch/told\"; {asked}; echo $? > \"$ROOT/.orch/told\"' &)
         echo go > \"$ROOT/.orch/told\"
         cat \"$ROOT/.orch/told\" >> '{said}'",
        said = said.display(),
        asked = orch.replace('\'', "\""),
    ));
    let task = project.add("work", &[]);
    serve(&project);
    assert_eq!(text(&project.last_run(&task), "status"), "completed");
    assert_eq!(fs::read_to_string(&said).unwrap(), "6\n6\n");
    assert!(!project.root().join(".orch/trusted").exists());
    // A person can, with the very same command.
    assert_eq!(project.json(&["agent", "trust", "--yes"])["agreed"], 1);
}

#[test]
fn a_repository_without_such_files_notices_nothing() {
    let project = project("true");
    let task = project.add("work", &[]);
    serve(&project);
    assert_eq!(text(&project.last_run(&task), "status"), "completed");
    let listed = project.json(&["agent", "trust"]);
    assert_eq!(listed["files"], Value::Array(Vec::new()));
    assert!(!project.root().join(".orch/trusted").exists());
}
