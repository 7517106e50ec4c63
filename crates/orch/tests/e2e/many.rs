//! Many commands at once, beside a daemon and without one: nothing is lost, nobody is told that a
//! database is locked.

use std::collections::BTreeSet;
use std::thread;

use serde_json::Value;

use orch_field::{Project, lossy, text};

const CLIS: usize = 50;

/// An agent that needs no time, and one that nobody can use up.
const AGENTS: &str = "[agents.quick]\nadapter = \"shell\"\ncommand = \"true\"\nmax_parallel = 4\n";

/// What one of the fifty does.
fn command(project: &Project, number: usize) -> Vec<String> {
    let title = format!("task {number}");
    let words: &[&str] = match number % 5 {
        0 | 1 => &["task", "add", &title, "--workspace", "shared", "--quiet"],
        2 => &["task", "list", "--json"],
        3 => &[
            "task",
            "add",
            &title,
            "--workspace",
            "shared",
            "--priority",
            "1",
            "--quiet",
        ],
        _ => &["status", "--json"],
    };
    let _ = project;
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn at_once(project: &Project, commands: Vec<Vec<String>>) -> Vec<String> {
    thread::scope(|scope| {
        let running: Vec<_> = commands
            .into_iter()
            .map(|words| {
                scope.spawn(move || {
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    let output = project.output(&words);
                    let said = lossy(&output.stderr);
                    assert!(!said.contains("locked"), "{words:?}: {said}");
                    assert!(
                        output.status.success(),
                        "{words:?}: {:?} {said}",
                        output.status
                    );
                    lossy(&output.stdout).trim().to_owned()
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

fn fifty_commands_at_once(project: &Project) {
    let commands: Vec<_> = (0..CLIS).map(|number| command(project, number)).collect();
    let said = at_once(project, commands);
    let added: BTreeSet<&str> = said
        .iter()
        .map(String::as_str)
        .filter(|said| said.starts_with("tsk_"))
        .collect();
    assert_eq!(added.len(), CLIS / 5 * 3, "every add has its own id");
    let stored = ids(&project.json(&["task", "list", "--limit", "1000"]));
    assert_eq!(
        stored,
        added.iter().map(|id| (*id).to_owned()).collect(),
        "nothing lost, nothing twice"
    );

    let cancels = stored
        .iter()
        .map(|id| ["task", "cancel", id].map(str::to_owned).to_vec());
    at_once(project, cancels.collect());
}

fn ids(tasks: &Value) -> BTreeSet<String> {
    tasks
        .as_array()
        .unwrap()
        .iter()
        .map(|task| text(task, "id").to_owned())
        .collect()
}

#[test]
fn fifty_commands_at_once_without_a_daemon() {
    let project = Project::new(AGENTS);
    fifty_commands_at_once(&project);
    for task in project
        .json(&["task", "list", "--limit", "1000"])
        .as_array()
        .unwrap()
    {
        assert_eq!(task["status"], "cancelled", "{task}");
    }
}

#[test]
fn fifty_commands_at_once_beside_a_daemon() {
    // Nothing can start, so that every cancel meets a task that waits.
    let project = Project::new("");
    let daemon = project.serve(&[]);
    fifty_commands_at_once(&project);
    for task in project
        .json(&["task", "list", "--limit", "1000"])
        .as_array()
        .unwrap()
    {
        assert_eq!(task["status"], "cancelled", "{task}");
    }
    assert_eq!(daemon.drain(), Some(0));
}

#[test]
fn fifty_agents_added_at_once_are_all_there() {
    let project = Project::new("");
    let commands = (0..CLIS).map(|number| {
        let name = format!("agent-{number}");
        [
            "agent",
            "add",
            &name,
            "--adapter",
            "shell",
            "--command",
            "true",
        ]
        .map(str::to_owned)
        .to_vec()
    });
    at_once(&project, commands.collect());
    let agents = project.json(&["agent", "list"]);
    assert_eq!(agents.as_array().map(Vec::len), Some(CLIS));
}

/// Promise 24.
#[test]
fn one_daemon_per_state_directory() {
    let project = Project::new(AGENTS);
    let first = project.serve(&[]);
    let said = project.fails(4, &["serve"]);
    assert!(said.contains(&format!("pid {}", first.pid())), "{said}");
    assert_eq!(first.drain(), Some(0));
}
