//! The test orch was born for: agents that end in the same instant are all recorded.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use orch_api::types::NewTask;
use serde_json::Value;

use orch_field::{Project, fifo, text};

/// An agent that says when it is there, waits for the gate and succeeds, leaving a child
/// behind that holds its output.
const AGENT: &str = r#"
exec 3<"$GATE"
echo here >"$READY"
read nothing <&3
exec 3<&-
sleep 1 &
echo finished
"#;

/// The two FIFOs through which a test and its agents meet.
struct Gate {
    gate: File,
    ready: BufReader<File>,
}

impl Gate {
    fn new(dir: &Path) -> Self {
        let (gate, ready) = (dir.join("gate"), dir.join("ready"));
        fifo(&gate);
        fifo(&ready);
        // Opened for both, so that neither side blocks and no reader meets an early end.
        let open = |path| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(path)
                .unwrap()
        };
        Self {
            gate: open(gate),
            ready: BufReader::new(open(ready)),
        }
    }

    /// Waits until `count` agents stand at the gate, then lets all of them through at once.
    fn release(&mut self, count: usize) {
        for _ in 0..count {
            let mut line = String::new();
            self.ready.read_line(&mut line).unwrap();
            assert_eq!(line, "here\n");
        }
        self.gate.write_all("\n".repeat(count).as_bytes()).unwrap();
    }
}

/// What a supervisor says about one agent it ran: run status, task status, exit code, result.
type Said = (String, String, Option<i64>, Option<String>);

fn all_well(said: &[Said]) -> Result<(), String> {
    let good = |said: &&Said| {
        said.0 == "completed"
            && said.1 == "done"
            && said.2 == Some(0)
            && said.3.as_deref() == Some("finished")
    };
    match said.iter().find(|said| !good(said)) {
        Some(bad) => Err(format!("{bad:?}, one of {}", said.len())),
        None => Ok(()),
    }
}

fn rounds(rounds: usize, together: usize) -> Vec<Said> {
    let count = together.to_string();
    let project = Project::new(&format!(
        "[agents.worker]\nadapter = \"shell\"\ncommand = '''{AGENT}'''\n\
         max_parallel = {together}\n\
         env = {{ GATE = \"{gate}\", READY = \"{ready}\" }}\n\
         [limits]\nleak_grace = \"10ms\"\n",
        gate = "$GATE",
        ready = "$READY",
    ));
    let mut gate = Gate::new(&project.outside(""));
    let mut daemon = project.serve_with(
        &["--max-agents", &count],
        &[
            ("GATE", project.outside("gate")),
            ("READY", project.outside("ready")),
        ],
    );
    let client = project.client();
    for number in 0..rounds * together {
        let task = NewTask {
            title: format!("round {number}"),
            workspace: Some("shared".to_owned()),
            review: Some("auto".to_owned()),
            ..NewTask::default()
        };
        client.add_task(&task).unwrap();
    }
    for _ in 0..rounds {
        gate.release(together);
    }
    daemon.wait_for_events("task_done", rounds * together);
    assert_eq!(daemon.drain(), Some(0));
    said_by_orch(&project)
}

fn said_by_orch(project: &Project) -> Vec<Said> {
    let tasks = project.json(&["task", "list", "--limit", "10000"]);
    let status: BTreeMap<&str, &Value> = tasks
        .as_array()
        .unwrap()
        .iter()
        .map(|task| (text(task, "id"), task))
        .collect();
    let runs = project.json(&["runs", "--limit", "10000"]);
    let runs = runs.as_array().unwrap();
    assert_eq!(runs.len(), status.len(), "one run per task");
    runs.iter()
        .map(|run| {
            let task = status[text(run, "task_id")];
            (
                text(run, "status").to_owned(),
                text(task, "status").to_owned(),
                run["exit_code"].as_i64(),
                run["result"].as_str().map(str::to_owned),
            )
        })
        .collect()
}

/// Promises 1, 2, 7, 15.
#[test]
fn three_parallel_successes_are_recorded() {
    all_well(&rounds(1_000, 3)).unwrap();
}

/// Promises 1, 2, 7, 18.
#[test]
fn sixty_four_parallel_successes_are_recorded() {
    all_well(&rounds(20, 64)).unwrap();
}

/// The predecessor's way, kept so that the test above is known to be able to fail: a run ends when
/// its output ends, and its task is written down apart from it.
fn naive_round(together: usize, dir: &Path) -> Vec<Said> {
    let mut gate = Gate::new(dir);
    let mut agents: Vec<_> = (0..together)
        .map(|_| {
            Command::new("sh")
                .args(["-c", AGENT])
                .env("GATE", dir.join("gate"))
                .env("READY", dir.join("ready"))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    gate.release(together);
    let said = |agent: &mut std::process::Child| {
        let code = agent.wait().unwrap().code().map(i64::from);
        let output = read_until_eof_or_held(agent.stdout.take().unwrap());
        let (run, result) = match output {
            Some(text) => ("completed", Some(text)),
            None => ("running", None),
        };
        // The task's own sweeper sees a dead process and no finished run.
        let task = if result.is_some() { "done" } else { "failed" };
        (
            run.to_owned(),
            task.to_owned(),
            code.filter(|_| result.is_some()),
            result,
        )
    };
    agents.iter_mut().map(said).collect()
}

/// The whole output, or `None` when somebody else still holds the pipe: waiting for its end would
/// take as long as that somebody lives.
fn read_until_eof_or_held(mut pipe: std::process::ChildStdout) -> Option<String> {
    rustix::fs::fcntl_setfl(&pipe, rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut text = String::new();
    pipe.read_to_string(&mut text)
        .ok()
        .map(|_| text.trim().to_owned())
}

#[test]
fn the_naive_way_is_caught() {
    let dir = tempfile::tempdir().unwrap();
    assert!(all_well(&naive_round(3, dir.path())).is_err());
}
