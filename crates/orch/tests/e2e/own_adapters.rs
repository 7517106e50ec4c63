//! A kind of agent that the user defines: the worked example of the page about it, as it stands there.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use orch_field::{Project, text};

const PAGE: &str = include_str!("../../../../docs/own-adapters.md");

fn block(kind: &str) -> &'static str {
    let begin = format!("```{kind}\n");
    PAGE.split(&begin)
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap()
}

fn project(script: &str) -> Project {
    let project = Project::new(block("toml"));
    let program = project.root().join("tiny-agent");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    project.git(&["add", "tiny-agent"]);
    project.git(&["commit", "-q", "-m", "tiny agent"]);
    project
}

#[test]
fn the_worked_example_works() {
    let project = project(block("sh"));
    let task = project.add("Say hello", &[]);
    project.ok(&["run", "--all"]);
    let run = project.last_run(&task);
    assert_eq!(
        (text(&run, "status"), text(&run, "result")),
        ("completed", "All done."),
        "{run}"
    );
    assert_eq!(
        (text(&run, "adapter"), text(&run, "session_id")),
        ("tiny", "s-42")
    );
    assert_eq!(run["usage"]["input_tokens"], 812);
    assert_eq!(
        (&run["usage"]["output_tokens"], &run["cost_usd"]),
        (&44.into(), &0.0031.into())
    );
    let listed = project.ok(&["runs"]);
    assert!(listed.contains("<$0.01"), "{listed}");
    let logs = project.ok(&["logs", text(&run, "id")]);
    assert!(logs.contains("I look at the files."), "{logs}");

    // It does not do what the test asks for, and that is told.
    let tested = project.output(&["agent", "test", "tim"]);
    let said = orch_field::lossy(&tested.stdout);
    assert_eq!(tested.status.code(), Some(1), "{said}");
    assert!(said.contains("tiny-agent 1.2.3"), "{said}");
    let words = "it did not do what it was asked for; it changed tiny.txt";
    assert!(said.contains(words), "{said}");
    assert!(!said.contains("--permission"), "it may write: {said}");
    let kinds = project.json(&["agent", "adapters"]).to_string();
    assert!(kinds.contains("\"tiny\""), "{kinds}");
}

/// A change of the definition does not change how a run is read that was started before.
#[test]
fn a_run_is_read_by_the_definition_it_was_started_with() {
    let project =
        project(&block("sh").replace("cat > /dev/null", "cat > /dev/null; read go < \"$GATE\""));
    let gate = project.outside("gate");
    orch_field::fifo(&gate);
    let path = gate.to_str().unwrap();
    project.ok(&["config", "set", "agents.tim.env.GATE", path]);
    let task = project.add("Say hello", &[]);
    let mut served = project.serve(&[]);
    served.wait_for_events("run_running", 1);
    project.ok(&[
        "config",
        "set",
        "adapters.tiny.success",
        "status=something else",
    ]);
    project.ok(&["config", "set", "adapters.tiny.result", "type"]);
    served.signal(rustix::process::Signal::KILL);
    served.ended();
    let mut served = project.serve(&[]);
    fs::write(&gate, "go\n").unwrap();
    served.wait_for_events("run_ended", 1);
    let run = project.last_run(&task);
    assert_eq!(
        (text(&run, "status"), text(&run, "result")),
        ("completed", "All done."),
        "{run}"
    );
    served.drain();
}

#[test]
fn an_error_of_its_own_is_told_in_its_words() {
    let script = "#!/bin/sh\ncat > /dev/null\n\
        echo '{\"type\": \"end\", \"status\": \"failed\", \"reason\": \"no credit left\"}'\n";
    let project = project(script);
    let task = project.add("Say hello", &["--max-attempts", "1"]);
    project.fails(1, &["run", "--all"]);
    let run = project.last_run(&task);
    assert_eq!(
        (text(&run, "status"), &run["exit_code"]),
        ("failed", &0.into()),
        "{run}"
    );
    assert!(
        text(&run["failure"], "message").contains("no credit left"),
        "{run}"
    );
}

#[test]
fn a_limit_of_its_provider_costs_no_attempt_and_is_waited_for() {
    let line = PAGE.lines().find(|line| line.contains("retry_at\": "));
    let line = line.unwrap().replace("1795435200", "4102444800");
    let script = format!("#!/bin/sh\ncat > /dev/null\necho '{line}'\n");
    let project = project(&script);
    let task = project.add("Say hello", &[]);
    let mut served = project.serve(&[]);
    served.wait_for_events("run_ended", 1);
    let run = project.last_run(&task);
    assert_eq!(
        (text(&run, "status"), text(&run["failure"], "code")),
        ("limited", "rate_limit"),
        "{run}"
    );
    let message = text(&run["failure"], "message");
    assert!(message.contains("too many requests"), "{message}");
    let shown = project.task(&task);
    assert_eq!(
        (text(&shown, "status"), &shown["attempts"]),
        ("todo", &0.into()),
        "{shown}"
    );
    let wait = &shown["wait"];
    assert_eq!(text(wait, "code"), "limit", "{shown}");
    assert!(text(wait, "until").starts_with("2100-01-01"), "{shown}");
    assert_eq!(served.drain(), Some(0));
}

/// The worked example goes on with its session: with an argument of its own, and said to do so.
#[test]
fn the_next_run_goes_on_with_the_session_as_the_definition_says() {
    let project = project(block("sh"));
    let task = project.add("Say hello", &[]);
    project.ok(&["run", "--all"]);
    let argv = |run: &serde_json::Value| {
        let spec = fs::read_to_string(project.run_dir(run).join("spec.json")).unwrap();
        let spec: serde_json::Value = serde_json::from_str(&spec).unwrap();
        spec["argv"].to_string()
    };
    let first = project.last_run(&task);
    assert!(!argv(&first).contains("--session"), "{}", argv(&first));

    project.ok(&["task", "resume", &task, "-m", "and in French"]);
    project.ok(&["run", "--all"]);
    let second = project.last_run(&task);
    assert_ne!(first["id"], second["id"]);
    let started = argv(&second);
    assert!(started.contains(r#""--session","s-42""#), "{started}");
    assert_eq!(text(&second, "resumed_session"), "s-42");
    let shown = project.ok(&["show", text(&second, "id")]);
    assert!(shown.contains("went on with"), "{shown}");
}

#[test]
fn a_program_that_is_not_executable_is_called_that() {
    let project = project(block("sh"));
    let program = project.root().join("tiny-agent");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
    let said = project.fails(5, &["agent", "test", "tim"]);
    assert!(said.contains("'./tiny-agent' is not executable"), "{said}");
    assert!(said.contains("chmod +x ./tiny-agent"), "{said}");
    fs::remove_file(&program).unwrap();
    let said = project.fails(5, &["agent", "test", "tim"]);
    assert!(said.contains("no program './tiny-agent'"), "{said}");
    assert!(!said.contains("in PATH"), "{said}");
}
