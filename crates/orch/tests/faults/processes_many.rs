//! Very much at once, and bytes of every kind.

use std::fs;

use orch_field::{Project, text};

use crate::machine::Gate;

/// Fault 47. Injected: a hundred agents that end in the same instant. Held: every end is recorded
/// with its exit status, every task is done, nothing was started twice and no slot is held.
///
/// Promises 1, 2, 7, 18.
#[test]
fn a_hundred_ends_in_one_instant_are_recorded() {
    let project = Project::new(
        "[agents.waiter]\nadapter = \"shell\"\nenv = { GATE = \"$GATE\" }\n\
         command = 'read nothing < \"$GATE\"'\nmax_parallel = 100\n\
         [defaults]\nworkspace = \"shared\"\nreview = \"auto\"\nmax_attempts = 1\n",
    );
    let mut gate = Gate::new(&project);
    for number in 0..100 {
        project.add(&format!("task {number}"), &[]);
    }
    let path = [("GATE", project.outside("gate"))];
    let mut daemon = project.serve_with(&["--max-agents", "100"], &path);
    daemon.wait_for_events("run_running", 100);
    gate.open(100);
    daemon.wait_for_events("task_done", 100);
    let runs = project.json(&["runs", "--limit", "1000"]);
    let runs = runs.as_array().unwrap();
    assert_eq!(runs.len(), 100);
    assert!(
        runs.iter()
            .all(|run| run["exit_code"] == 0 && run["status"] == "completed")
    );
    let status = project.json(&["status"]);
    assert_eq!(status["runs"].as_array().map(Vec::len), Some(0), "{status}");
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 26. Injected: an agent writes NUL, invalid UTF-8, a lone surrogate as bytes and as an
/// escape, CR LF, and half a character at the very end. Held: `out.log` has every byte, and
/// `events.jsonl`, the run, its log and the listing are valid UTF-8 and valid JSON.
///
/// Promises 20, 21.
#[test]
fn bytes_that_are_no_text_are_kept_and_the_json_stays_valid() {
    const BYTES: &[u8] =
        b"a\0b\r\n\xff\xfe\n\xed\xa0\x80\n{\"text\":\"\\ud800\"}\n\x1b[2J\nhalf \xe2\x82";
    let project = Project::new(
        "[agents.shell]\nadapter = \"shell\"\ncommand = 'cat \"$BYTES\"'\n\
         env = { BYTES = \"$BYTES\" }\n\
         [defaults]\nworkspace = \"shared\"\nreview = \"auto\"\nmax_attempts = 1\n",
    );
    fs::write(project.outside("bytes"), BYTES).unwrap();
    let task = project.add("bytes", &["--agent", "shell"]);
    let mut daemon = project.serve_with(&[], &[("BYTES", project.outside("bytes"))]);
    daemon.wait_for(|line| line["event"] == "task_done");
    let run = project.last_run(&task);
    let dir = project.run_dir(&run);
    assert_eq!(fs::read(dir.join("out.log")).unwrap(), BYTES);
    let events = fs::read_to_string(dir.join("events.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 6, "{events}");
    for (at, line) in lines.iter().enumerate() {
        assert_eq!(line["seq"], at + 1);
    }
    // What a script reads is JSON, and what a person reads is not a command to his terminal.
    assert!(!text(&run, "result").is_empty());
    project.json(&["task", "list"]);
    let shown = project.output(&["logs", text(&run, "id")]);
    assert!(
        shown.status.success() && !shown.stdout.contains(&0x1b),
        "{shown:?}"
    );
    let raw = project.output(&["logs", "--raw", text(&run, "id")]);
    assert_eq!(raw.stdout, BYTES);
    assert_eq!(daemon.drain(), Some(0));
}
