//! Output is complete: what the agent wrote is what is on disk, and its events have no gap.

use std::fs;
use std::io::{BufRead, BufReader};

use serde_json::Value;

use orch_field::{Project, fifo, text};

const ADD: &[&str] = &["--workspace", "shared"];

/// Writes what it writes into a file of its own as well.
const TWICE: &str = r#"
i=0
while [ $i -lt 3000 ]; do
  printf 'line %d \033[31m\377\n' $i
  i=$((i + 1))
done | tee "$COPY"
printf 'no end of line' | tee -a "$COPY"
"#;

fn project(script: &str) -> Project {
    Project::new(&format!(
        "[agents.writer]\nadapter = \"shell\"\ncommand = '''{script}'''\n\
         env = {{ COPY = \"$COPY\", GATE = \"$GATE\" }}\n"
    ))
}

fn once(project: &Project) {
    let mut serve = project.orch(&["serve", "--once"]);
    serve
        .env("COPY", project.outside("copy"))
        .env("GATE", project.outside("gate"));
    assert!(serve.output().unwrap().status.success());
}

/// Promise 21.
#[test]
fn log_bytes_are_kept() {
    let project = project(TWICE);
    let task = project.add("write a lot", ADD);
    once(&project);
    let dir = project.run_dir(&project.last_run(&task));
    let written = fs::read(project.outside("copy")).unwrap();
    assert_eq!(fs::read(dir.join("out.log")).unwrap(), written);
    let raw = project
        .orch(&["logs", "--task", &task, "--raw"])
        .output()
        .unwrap()
        .stdout;
    assert_eq!(raw, written, "and --raw gives the same");
}

/// Promise 20.
#[test]
fn events_are_gapless() {
    let project = project(TWICE);
    let task = project.add("write a lot", ADD);
    once(&project);
    let run = project.last_run(&task);
    let events = events(&project, &run);
    let numbers: Vec<u64> = events
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    assert_eq!(run["events"].as_u64(), Some(events.len() as u64));
}

fn events(project: &Project, run: &Value) -> Vec<Value> {
    let file = fs::File::open(project.run_dir(run).join("events.jsonl")).unwrap();
    let lines = BufReader::new(file).lines();
    lines
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect()
}

#[test]
fn events_can_be_followed_while_the_agent_works() {
    let project = project("echo first; read nothing <\"$GATE\"; echo second");
    fifo(&project.outside("gate"));
    let task = project.add("talk", ADD);
    let environment = [
        ("GATE", project.outside("gate")),
        ("COPY", project.outside("copy")),
    ];
    let mut daemon = project.serve_with(&[], &environment);
    let started = daemon.wait_for(|line| line["event"] == "run_running");
    let mut logs = project
        .orch(&["logs", text(&started, "run"), "--follow", "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(logs.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("first"), "{first}");
    assert_eq!(
        project.task(&task)["status"],
        "in_progress",
        "it still works"
    );
    fs::write(project.outside("gate"), "go\n").unwrap();
    let second = lines.next().unwrap().unwrap();
    assert!(second.contains("second"), "{second}");
    while lines.next().is_some() {}
    assert!(
        logs.wait().unwrap().success(),
        "following ends with the run"
    );
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 27. Injected: titles, descriptions and output of agents that clear the screen, write
/// to the clipboard, begin with a C1 control or turn the direction of the text.
/// Held: seven commands print none of them; what they print is text and orch's own colours.
#[test]
fn no_escape_sequence_reaches_the_terminal() {
    let project = project("printf 'evil \\033[2J \\033]52;c;aGk=\\007 \\302\\233 text\\n'");
    let title = "title \u{1b}[2J \u{202e} end";
    let task = project.add(title, ADD);
    once(&project);
    let run = project.last_run(&task);
    let commands: [&[&str]; 7] = [
        &["task", "list", "--color", "always"],
        &["task", "show", &task, "--color", "always"],
        &["show", text(&run, "id"), "--color", "always"],
        &["logs", "--task", &task, "--color", "always"],
        &["why", &task, "--color", "always"],
        &["status", "--color", "always"],
        &["events", "--color", "always"],
    ];
    for command in commands {
        let output = project.output(command);
        for bytes in [&output.stdout, &output.stderr] {
            let text = String::from_utf8(bytes.clone()).unwrap();
            check_harmless(&text, command);
        }
    }
    let json = project.task(&task);
    assert_eq!(json["title"], title, "JSON keeps what was given");
}

/// Nothing but our own colours: `ESC [ digits and ; m`.
fn check_harmless(text: &str, command: &[&str]) {
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        let sequence = &rest[at + 1..];
        let end = sequence.find('m').unwrap_or(sequence.len().min(1));
        let is_colour = sequence.starts_with('[')
            && sequence[1..end]
                .chars()
                .all(|c| c.is_ascii_digit() || c == ';');
        assert!(
            is_colour,
            "{command:?}: {:?}",
            &sequence[..sequence.len().min(20)]
        );
        rest = &sequence[end..];
    }
    let bad = text.chars().find(|&c| {
        (c.is_control() && !matches!(c, '\n' | '\t' | '\u{1b}'))
            || ('\u{202a}'..='\u{202e}').contains(&c)
    });
    assert_eq!(bad, None, "{command:?}: {text:?}");
}
