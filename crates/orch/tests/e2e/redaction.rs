//! Secrets that agents were given, in everything that goes out.

use std::fs;
use std::process::Output;

use orch_field::{Project, lossy, text};

const CANARY: &str = "canary-7f3a-secret/\"value";

const AGENT: &str = "[agents.worker]\nadapter = \"shell\"\n\
    command = 'echo \"it is $GIVEN\"; echo \"and $GIVEN\" >&2; exit $CODE'\n\
    env = { GIVEN = \"$VAULT\", CODE = \"$CODE\" }\n";

fn with_secret(project: &Project, code: &str, arguments: &[&str]) -> Output {
    let mut command = project.orch(arguments);
    command.env("VAULT", CANARY).env("CODE", code);
    command.output().unwrap()
}

/// An agent that prints a secret it was given: no output shows it but those that are asked for
/// byte for byte, and what is stored is as it was written.
#[test]
fn a_secret_an_agent_prints_is_shown_nowhere() {
    let project = Project::new(AGENT);
    let task = project.add(&format!("use {CANARY}"), &["-d", CANARY]);
    let served = with_secret(
        &project,
        "0",
        &["serve", "--once", "--verbose", "--log-format", "json"],
    );
    assert!(served.status.success(), "{}", lossy(&served.stderr));
    let run = project.last_run(&task);
    let id = text(&run, "id");
    let commands: [&[&str]; 14] = [
        &["show", id],
        &["show", id, "--json"],
        &["show", &task],
        &["task", "show", &task, "--json"],
        &["task", "list", "--json"],
        &["task", "prompt", &task],
        &["runs", "--json"],
        &["logs", id],
        &["logs", id, "--json"],
        &["events", "--json"],
        &["status", "--json"],
        &["why", &task],
        &["why", &task, "--json"],
        &["agent", "list", "--json"],
    ];
    let escaped = serde_json::Value::from(CANARY).to_string();
    let escaped = escaped.trim_matches('"');
    let mut redactions = 0;
    for command in commands {
        let output = with_secret(&project, "0", command);
        let said = lossy(&[output.stdout, output.stderr].concat());
        assert!(
            !said.contains(CANARY) && !said.contains(escaped),
            "{command:?}: {said}"
        );
        redactions += said.matches("[redacted]").count();
    }
    assert!(redactions >= 10, "{redactions}");
    let said = lossy(&[served.stdout, served.stderr].concat());
    assert!(!said.contains(CANARY) && !said.contains(escaped), "{said}");

    let raw = with_secret(&project, "0", &["logs", id, "--raw"]);
    assert_eq!(lossy(&raw.stdout), format!("it is {CANARY}\n"));
    let stored = fs::read_to_string(project.run_dir(&run).join("out.log")).unwrap();
    assert_eq!(stored, format!("it is {CANARY}\n"));
}

/// An agent whose own words of failure quote a secret: no line of a command that works shows it,
/// neither while it goes on nor when it says at its end what has failed, and no title does.
#[test]
fn a_secret_in_the_words_of_a_failure_is_shown_by_no_command_that_works() {
    let agent = "[adapters.tiny]\ncommand = [\"sh\", \"-c\", \
        'cat > /dev/null; printf %s \"$ANSWER\"']\noutput = \"jsonl\"\n\
        success = \"status=ok\"\nerror = \"reason\"\n\
        [agents.worker]\nadapter = \"tiny\"\nenv = { GIVEN = \"$VAULT\", ANSWER = \"$ANSWER\" }\n";
    let reason = format!("429 from the provider for key {CANARY}");
    let answer = serde_json::json!({"status": "bad", "reason": reason}).to_string();
    let commands: [&[&str]; 4] = [
        &["run", "--all"],
        &["serve", "--once", "--log-format", "text"],
        &["serve", "--once", "--log-format", "json", "--verbose"],
        &["run", "--all", "--json"],
    ];
    for command in commands {
        let project = Project::new(agent);
        let title = format!("use {CANARY}");
        let task = project.add(&title, &["--max-attempts", "1"]);
        let mut orch = project.orch(command);
        let ended = orch.env("VAULT", CANARY).env("ANSWER", &answer).output();
        let ended = ended.unwrap();
        let said = lossy(&[ended.stdout, ended.stderr].concat());
        assert_eq!(ended.status.code(), Some(1), "{command:?}: {said}");
        let escaped = serde_json::Value::from(CANARY).to_string();
        let escaped = escaped.trim_matches('"');
        assert!(
            !said.contains(CANARY) && !said.contains(escaped),
            "{command:?}: {said}"
        );
        assert!(
            said.contains("429 from the provider"),
            "{command:?}: {said}"
        );
        assert!(said.contains("[redacted]"), "{command:?}: {said}");
        let run = project.last_run(&task);
        let message = text(&run["failure"], "message");
        assert!(message.contains(CANARY), "stored as it was said: {message}");
    }
}
