//! Promises that only the whole of orch can show, each by its name.

use std::fs;

use orch_field::{Project, Served, fifo, text};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// An agent that says when it runs, waits at a gate, and ends with a code of its own.
const AGENTS: &str = "\
[agents.worker]\nadapter = \"shell\"\ncommand = '''
echo began
read nothing < \"$GATE\"
echo ended >> \"$LEDGER\"
exit 7
'''\nenv = { GATE = \"$GATE\", LEDGER = \"$LEDGER\" }\n\
[defaults]\nworkspace = \"shared\"\nreview = \"auto\"\nmax_attempts = 1\n";

/// A project with one task, whose agent has been started and waits.
struct Waiting {
    project: Project,
    task: String,
    daemon: Served,
}

impl Waiting {
    fn new() -> Self {
        let project = Project::new(AGENTS);
        fifo(&project.outside("gate"));
        let task = project.add("waits", &[]);
        let mut daemon = serve(&project);
        daemon.wait_for_events("run_running", 1);
        Self {
            project,
            task,
            daemon,
        }
    }

    /// Lets the agent go on; returns when it has written down that it ends.
    fn open_gate(&self) {
        let gate = fs::OpenOptions::new()
            .write(true)
            .open(self.project.outside("gate"));
        std::io::Write::write_all(&mut gate.unwrap(), b"go\n").unwrap();
        let ledger = self.project.outside("ledger");
        orch_field::until("the agent's end", || ledger.exists().then_some(()));
    }

    fn shim(&self) -> Pid {
        let run = self.project.last_run(&self.task);
        let started = fs::read(self.project.run_dir(&run).join("started")).unwrap();
        let started: Value = serde_json::from_slice(&started).unwrap();
        let pid = i32::try_from(started["pid"].as_i64().unwrap()).unwrap();
        Pid::from_raw(pid).unwrap()
    }
}

fn serve(project: &Project) -> Served {
    let environment = [
        ("GATE", project.outside("gate")),
        ("LEDGER", project.outside("ledger")),
    ];
    project.serve_with(&[], &environment)
}

/// Fault 4. Injected: daemon and shim are killed while the agent works, and the agent ends before
/// the next daemon starts. Held: the run is `lost`, with a reason, evidence and no exit code.
///
/// Promise 3.
#[test]
fn unknown_is_a_value() {
    let waiting = Waiting::new();
    let shim = waiting.shim();
    waiting.daemon.signal(Signal::KILL);
    kill_process(shim, Signal::KILL).unwrap();
    waiting.open_gate();

    let Waiting {
        project,
        task,
        daemon,
    } = waiting;
    drop(daemon);
    let mut next = serve(&project);
    next.wait_for_events("run_ended", 1);
    let run = project.last_run(&task);
    assert_eq!(run["status"], "lost", "{run}");
    assert!(
        run["exit_code"].is_null() && run["signal"].is_null(),
        "{run}"
    );
    assert_eq!(run["failure"]["code"], "supervisor_died", "{run}");
    assert!(!text(&run["failure"], "evidence").is_empty(), "{run}");
    assert_ne!(project.task(&task)["status"], "done");
    assert_eq!(next.drain(), Some(0));
}

/// Where there is no child subreaper nobody can fetch the status, and the run is lost.
///
/// Fault 3. Injected: the shim of a working agent is killed while the daemon lives. Held: the exit
/// code that the agent ends with later is recorded.
///
/// Promise 13.
#[cfg(target_os = "linux")]
#[test]
fn shim_kill_loses_no_exit_code() {
    let mut waiting = Waiting::new();
    kill_process(waiting.shim(), Signal::KILL).unwrap();
    waiting.open_gate();
    waiting.daemon.wait_for_events("run_ended", 1);
    let run = waiting.project.last_run(&waiting.task);
    let end = (run["status"].as_str(), run["exit_code"].as_i64());
    assert_eq!(end, (Some("failed"), Some(7)), "{run}");
    assert_eq!(waiting.daemon.drain(), Some(0));
}

/// The agent puts a directory where orch keeps its copy of the record.
///
/// Promise 6.
#[test]
fn delivery_trouble_changes_no_outcome() {
    let project = Project::new(
        "[agents.worker]\nadapter = \"shell\"\ncommand = '''
run=$(dirname \"$ORCH_PROMPT_FILE\")
until mkdir -p \"$run/run.json/in the way\" 2>/dev/null; do rm -f \"$run/run.json\"; done
echo done
'''\n[defaults]\nworkspace = \"shared\"\nreview = \"auto\"\n",
    );
    let task = project.add("in the way", &[]);
    let mut daemon = project.serve(&[]);
    daemon.wait_for_events("task_done", 1);
    let run = project.last_run(&task);
    let end = (run["status"].as_str(), run["exit_code"].as_i64());
    assert_eq!(end, (Some("completed"), Some(0)), "{run}");
    assert_eq!(run["result"], "done");
    assert!(project.run_dir(&run).join("run.json").is_dir());
    assert_eq!(daemon.drain(), Some(0));
}
