//! Configuration of the repository that agents' programs read by themselves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

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

/// A project in which nothing is tried again by itself within the time of a test.
fn waiting() -> (Project, String) {
    let project = project("true");
    project.ok(&["config", "set", "retry.max", "20d"]);
    project.ok(&["config", "set", "retry.base", "20d"]);
    commit(&project, ".claude/settings.json", "{\"hooks\": {}}");
    let task = project.add("work", &["--review", "auto"]);
    (project, task)
}

/// What waits for a person goes on when the person has acted, and not when a timer runs out.
#[test]
fn what_waits_for_consent_starts_when_it_is_given() {
    let (project, task) = waiting();
    let mut served = project.serve(&[]);
    served.wait_for_events("run_ended", 1);
    assert_eq!(text(&project.task(&task)["wait"], "code"), "consent");
    let said = project.json(&["agent", "trust", "--yes"]);
    assert_eq!(
        (&said["agreed"], &said["released"]),
        (&1.into(), &1.into()),
        "{said}"
    );
    served.wait_for_events("task_done", 1);
    assert_eq!(project.task(&task)["attempts"], 1);
    assert_eq!(served.drain(), Some(0));
}

#[test]
fn consent_without_a_daemon_is_there_for_the_next_one() {
    let (project, task) = waiting();
    serve(&project);
    let failed = project.add("other work", &["--agent", "ada", "--depends-on", &task]);
    let output = project.output(&["agent", "trust", "--yes"]);
    let said = orch_field::lossy(&output.stderr);
    assert!(
        said.contains("A task that waited for this goes on"),
        "{said}"
    );
    serve(&project);
    assert_eq!(text(&project.task(&task), "status"), "done");
    assert_eq!(text(&project.last_run(&failed), "status"), "completed");
}

/// A git that stops once in the middle of a look at the files: it says so in the first FIFO and
/// goes on when something comes through the second.
fn git_that_stops(project: &Project) -> (PathBuf, [PathBuf; 2]) {
    let directory = project.outside("bin");
    fs::create_dir(&directory).unwrap();
    let [looks, goes_on] = ["looks", "goes-on"].map(|name| project.outside(name));
    orch_field::fifo(&looks);
    orch_field::fifo(&goes_on);
    let path = std::env::var_os("PATH").unwrap();
    let real = std::env::split_paths(&path).map(|place| place.join("git"));
    let real = real.into_iter().find(|git| git.is_file()).unwrap();
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *hash-object*)\n\
         if mkdir {0}/once 2>/dev/null; then echo now > {1}; read word < {2}; fi;;\nesac\n\
         exec {3} \"$@\"\n",
        directory.display(),
        looks.display(),
        goes_on.display(),
        real.display()
    );
    fs::write(directory.join("git"), script).unwrap();
    fs::set_permissions(directory.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
    let all = std::iter::once(directory).chain(std::env::split_paths(&path));
    (std::env::join_paths(all).unwrap().into(), [looks, goes_on])
}

/// Consent that crosses the look of a start is not missed, although nobody waited for it when it
/// was told.
#[test]
fn consent_that_comes_in_the_middle_of_a_start_is_looked_for_again() {
    let (project, task) = waiting();
    let (path, [looks, goes_on]) = git_that_stops(&project);
    let mut served = project.serve_with(&[], &[("PATH", path)]);
    assert_eq!(fs::read_to_string(looks).unwrap(), "now\n");
    // Of another content, so that the look itself finds that it was not meant.
    let trusted = project.root().join(".orch/trusted");
    fs::write(trusted, "{\"path\":\"x\",\"digest\":\"0\"}\n").unwrap();
    fs::write(goes_on, "go\n").unwrap();
    served.wait_for_events("run_ended", 2);
    assert_eq!(text(&project.task(&task)["wait"], "code"), "consent");
    assert_eq!(served.drain(), Some(0));
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
