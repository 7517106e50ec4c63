//! The binary as a user meets it: exit codes, streams, hostile text. Few tests, for wiring only;
//! what can be tested lower is tested there.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn orch(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orch"));
    command
        .current_dir(directory)
        .stdin(Stdio::null())
        .env_remove("ORCH_PROJECT_DIR")
        .env_remove("CLICOLOR_FORCE")
        .env_remove("FORCE_COLOR")
        .env("LC_ALL", "C.UTF-8")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    orch(directory)
        .args(arguments)
        .output()
        .expect("orch starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Runs a command that must end well; what it printed.
fn good(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    text(&output.stdout)
}

/// A git repository with a first commit, set up for orch with one shell agent.
fn project() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let git = |arguments: &[&str]| {
        let done = Command::new("git")
            .args(arguments)
            .current_dir(directory.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .expect("git starts");
        assert!(done.status.success(), "{}", text(&done.stderr));
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["config", "user.name", "Test"]);
    git(&["config", "user.email", "test@example.invalid"]);
    git(&["commit", "--quiet", "--allow-empty", "--message=first"]);
    good(directory.path(), &["init", "--name", "shop"]);
    let agent = ["agent", "add", "echo", "--adapter", "shell", "--command"];
    good(
        directory.path(),
        &[&agent[..], &["cat; printf '\\033[2J\\n'"]].concat(),
    );
    // How full the disk of the test's machine is says nothing of what is tested.
    good(
        directory.path(),
        &["config", "set", "limits.free_space", "0B"],
    );
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message=settings"]);
    directory
}

#[test]
fn wrong_use_and_missing_things_have_their_exit_codes() {
    let nowhere = tempfile::tempdir().expect("a directory");
    let project = project();
    let cases: [(&Path, &[&str], i32); 10] = [
        (nowhere.path(), &["--version"], 0),
        (nowhere.path(), &[], 0),
        (nowhere.path(), &["nonsense"], 2),
        (
            nowhere.path(),
            &["task", "add", "x", "--timeout", "5 parsecs"],
            2,
        ),
        (nowhere.path(), &["status"], 3),
        (nowhere.path(), &["init"], 3),
        (nowhere.path(), &["-C", "/nonexistent", "status"], 3),
        (project.path(), &["task", "show", "zzzzzzzzzzzz"], 3),
        (project.path(), &["task", "add", "\u{200b} "], 2),
        (
            project.path(),
            &["task", "add", "x", "--attach", "/dev/null"],
            2,
        ),
    ];
    for (directory, arguments, code) in cases {
        let output = run(directory, arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert_eq!(
            said.starts_with("error: "),
            code != 0,
            "{arguments:?}: {said}"
        );
    }
}

#[test]
fn under_json_an_error_is_one_object() {
    let nowhere = tempfile::tempdir().expect("a directory");
    for arguments in [["status", "--json"], ["nonsense", "--json"]] {
        let output = run(nowhere.path(), &arguments);
        let said: serde_json::Value = serde_json::from_slice(&output.stderr).expect("JSON");
        assert!(said["error"]["code"].is_string(), "{said}");
        assert!(said["error"]["hint"].is_string(), "{said}");
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let nowhere = tempfile::tempdir().expect("a directory");
    for arguments in [&["--help"][..], &["completions", "bash"], &[]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = orch(nowhere.path())
            .args(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .expect("orch starts");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn hostile_text_is_kept_and_never_obeyed() {
    let project = project();
    let title = "a\u{1b}[2J\u{9b}31m\u{202e}b";
    let id = good(
        project.path(),
        &["task", "add", title, "-q", "--review", "auto"],
    );
    let id = id.trim();
    let done = run(project.path(), &["run", id]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let mut shown = vec![text(&done.stderr)];
    let asked: [&[&str]; 8] = [
        &["task", "list"],
        &["task", "show", id],
        &["task", "list", "--json"],
        &["why", id],
        &["runs"],
        &["logs"],
        &["events"],
        &["status", "--json"],
    ];
    shown.extend(
        asked
            .iter()
            .map(|arguments| good(project.path(), arguments)),
    );
    for text in &shown {
        let bad = ['\u{1b}', '\u{9b}', '\u{202e}'];
        assert!(!text.contains(bad), "{text}");
    }
    assert!(
        shown[1].contains("a\\x1b[2J\\u{9b}31m\\u{202e}b"),
        "{}",
        shown[1]
    );
    assert!(shown[6].contains("\\x1b[2J"), "{}", shown[6]);
    let tasks: serde_json::Value = serde_json::from_str(&shown[3]).expect("JSON");
    assert_eq!(tasks[0]["title"], title);
    // To a pipe, raw is what the agent wrote.
    let raw = run(project.path(), &["logs", "--raw"]).stdout;
    assert!(raw.ends_with(b"\x1b[2J\n"), "{raw:?}");
}

#[test]
fn a_task_goes_its_way_by_prefix_and_quiet_gives_ids() {
    let project = project();
    let directory = project.path();
    let id = good(directory, &["task", "add", "First", "-q"]);
    let id = id.trim();
    let bare = id.trim_start_matches("tsk_");
    assert_eq!(
        good(directory, &["task", "edit", &bare[..8], "-p", "1", "-q"]).trim(),
        id
    );
    assert_eq!(
        good(directory, &["task", "assign", bare, "echo", "-q"]).trim(),
        id
    );
    assert_eq!(good(directory, &["task", "cancel", id, "-q"]).trim(), id);
    assert_eq!(good(directory, &["task", "cancel", id, "-q"]).trim(), id);
    assert_eq!(good(directory, &["task", "retry", id, "-q"]).trim(), id);
    good(directory, &["run", "--all"]);
    let shown = good(directory, &["show", bare, "--json"]);
    let task: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(
        (&task["status"], &task["priority"]),
        (&"review".into(), &1.into())
    );
    assert_eq!(
        good(directory, &["logs", id]),
        good(directory, &["logs", "--task", id])
    );
    good(directory, &["task", "reject", id, "-r", "Once more."]);
    good(directory, &["run", id]);
    let again = run(directory, &["run", id]);
    assert_eq!(again.status.code(), Some(0));
    assert!(text(&again.stderr).contains(": review, "), "{again:?}");
    let again = good(directory, &["run", id, "--json"]);
    assert!(again.contains(id), "{again}");
    good(directory, &["task", "approve", id]);
    let conflict = run(directory, &["task", "reject", id, "-r", "No."]);
    assert_eq!(
        conflict.status.code(),
        Some(4),
        "{}",
        text(&conflict.stderr)
    );
    good(directory, &["task", "delete", id]);
    assert_eq!(good(directory, &["task", "list", "--json"]).trim(), "[]");
}

#[test]
fn the_demo_agrees_with_itself_and_leaves_nothing() {
    let place = tempfile::tempdir().expect("a directory");
    let output = orch(place.path())
        .arg("demo")
        .env("TMPDIR", place.path())
        .output()
        .expect("orch starts");
    let told = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{told}{}",
        text(&output.stderr)
    );
    let left: Vec<_> = place.path().read_dir().expect("a directory").collect();
    assert!(left.is_empty(), "{left:?}");
}
