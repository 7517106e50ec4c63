//! The daemon is killed; its agents are not, and nothing is lost.

use std::fs;

use orch_field::{Project, fifo, text, until};

const AGENTS: &str = "\
[agents.worker]\nadapter = \"shell\"\ncommand = '''
echo \"start $ORCH_RUN_ID\" >> \"$LEDGER\"
echo began
read nothing < \"$GATE\"
echo ended
echo \"end $ORCH_RUN_ID\" >> \"$LEDGER\"
exit 0
'''\nmax_parallel = 3\nenv = { GATE = \"$GATE\", LEDGER = \"$LEDGER\" }\n\
[defaults]\nworkspace = \"shared\"\nreview = \"auto\"\n";

/// Promise 12.
#[test]
fn daemon_kill_loses_nothing() {
    let project = Project::new(AGENTS);
    fifo(&project.outside("gate"));
    let environment = [
        ("GATE", project.outside("gate")),
        ("LEDGER", project.outside("ledger")),
    ];
    let tasks: Vec<String> = (0..3)
        .map(|n| project.add(&format!("task {n}"), &[]))
        .collect();
    let mut first = project.serve_with(&[], &environment);
    first.wait_for_events("run_running", 3);
    first.signal(rustix::process::Signal::KILL);
    drop(first);

    let status = project.json(&["status"]);
    assert_eq!(status["service"], "stopped");
    assert_eq!(
        status["runs"].as_array().map(Vec::len),
        Some(3),
        "they still run: {status}"
    );

    let mut second = project.serve_with(&[], &environment);
    open_gate(&project);
    second.wait_for_events("task_done", 3);
    assert_eq!(second.drain(), Some(0));
    check_recorded(&project, &tasks);
}

#[test]
fn ends_that_nobody_saw_are_found_by_the_next_command() {
    let project = Project::new(AGENTS);
    fifo(&project.outside("gate"));
    let environment = [
        ("GATE", project.outside("gate")),
        ("LEDGER", project.outside("ledger")),
    ];
    let tasks: Vec<String> = (0..3)
        .map(|n| project.add(&format!("task {n}"), &[]))
        .collect();
    let mut first = project.serve_with(&[], &environment);
    first.wait_for_events("run_running", 3);
    let runs: Vec<_> = tasks.iter().map(|task| project.last_run(task)).collect();
    first.signal(rustix::process::Signal::KILL);
    drop(first);

    open_gate(&project);
    for run in &runs {
        // The supervisor holds this lock until the end is recorded on disk.
        let lock = fs::File::open(project.run_dir(run).join("alive.lock")).unwrap();
        lock.lock().unwrap();
    }
    for task in &tasks {
        assert_eq!(project.task(task)["status"], "done");
    }
    check_recorded(&project, &tasks);
}

fn open_gate(project: &Project) {
    open_gate_for(project, 3);
}

fn open_gate_for(project: &Project, count: usize) {
    // Held open for all of them: each reads one line.
    let gate = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(project.outside("gate"))
        .unwrap();
    std::io::Write::write_all(&mut &gate, "go\n".repeat(count).as_bytes()).unwrap();
    // Closed only when every agent has read: the ledger says so.
    orch_field::until_said("end ", count, || {
        fs::read_to_string(project.outside("ledger")).unwrap()
    });
}

fn check_recorded(project: &Project, tasks: &[String]) {
    let ledger = fs::read_to_string(project.outside("ledger")).unwrap();
    for task in tasks {
        assert_eq!(project.task(task)["status"], "done");
        let runs = project.json(&["runs", "--task", task]);
        assert_eq!(
            runs.as_array().map(Vec::len),
            Some(1),
            "started once: {runs}"
        );
        let run = &runs[0];
        assert_eq!(
            (run["status"].as_str(), run["exit_code"].as_i64()),
            (Some("completed"), Some(0))
        );
        assert_eq!(run["result"], "began\nended");
        for word in ["start", "end"] {
            let line = format!("{word} {}", text(run, "id"));
            assert_eq!(ledger.matches(&line).count(), 1, "{ledger}");
        }
    }
}

/// Fault 1. Injected: the daemon is killed while an agent that was cancelled tidies up, and a new one is
/// started. Held: the agent has its whole grace and ends by itself, though the new daemon asks again.
#[test]
fn a_new_daemon_leaves_an_agent_that_is_being_stopped_its_grace() {
    let agents = "\
[agents.tidy]\nadapter = \"shell\"\ncommand = '''
trap 'echo heard >> \"$LEDGER\"; until [ -e \"$GO\" ]; do sleep 0.05; done; sleep 0.5; \
echo tidied >> \"$LEDGER\"; exit 8' TERM
while :; do sleep 0.05; done
'''\nenv = { GO = \"$GO\", LEDGER = \"$LEDGER\" }\n\
[agents.quick]\nadapter = \"shell\"\ncommand = \"true\"\n\
[limits]\nstop_grace = \"10m\"\n\
[defaults]\nworkspace = \"shared\"\nreview = \"auto\"\n";
    let project = Project::new(agents);
    let ledger = project.outside("ledger");
    let environment = [("GO", project.outside("go")), ("LEDGER", ledger.clone())];
    let task = project.add("tidies up", &["--agent", "tidy"]);
    let mut first = project.serve_with(&[], &environment);
    first.wait_for_events("run_running", 1);
    project.ok(&["task", "cancel", &task]);
    orch_field::until_said("heard", 1, || {
        fs::read_to_string(&ledger).unwrap_or_default()
    });
    first.signal(rustix::process::Signal::KILL);
    drop(first);

    // What the new daemon has to do again comes before what it starts.
    let mut second = project.serve_with(&[], &environment);
    project.add("quick", &["--agent", "quick"]);
    second.wait_for_events("task_done", 1);
    fs::write(project.outside("go"), "").unwrap();
    assert_eq!(second.drain(), Some(0));
    let run = project.last_run(&task);
    let outcome = (run["status"].as_str(), run["exit_code"].as_i64());
    assert_eq!(outcome, (Some("cancelled"), Some(8)), "{run}");
    assert!(fs::read_to_string(&ledger).unwrap().contains("tidied"));
}

/// Where there is no child subreaper nobody can fetch the status, and the run is lost.
#[cfg(target_os = "linux")]
#[test]
fn an_agent_without_a_supervisor_still_has_its_limits() {
    let project = Project::new(AGENTS);
    fifo(&project.outside("gate"));
    let environment = [
        ("GATE", project.outside("gate")),
        ("LEDGER", project.outside("ledger")),
    ];
    let task = project.add("stuck", &["--timeout", "3s", "--max-attempts", "1"]);
    let mut daemon = project.serve_with(&[], &environment);
    daemon.wait_for_events("run_running", 1);
    kill_supervisor(&project.last_run(&task));
    daemon.wait_for_events("run_ended", 1);

    let run = project.last_run(&task);
    let outcome = (run["status"].as_str(), run["signal"].as_i64());
    assert_eq!(outcome, (Some("timed_out"), Some(9)), "{run}");
    let warnings = run["warnings"].to_string();
    assert!(warnings.contains("the supervisor died"), "{run}");
    assert_eq!(daemon.drain(), Some(0));
}

#[cfg(target_os = "linux")]
fn kill_supervisor(run: &serde_json::Value) {
    // Its command line names the run's directory; the agent's does not.
    let id = text(run, "id");
    let supervisor = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .find(|pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            line.contains("__shim") && line.contains(id)
        });
    kill(supervisor.unwrap());
}

#[cfg(target_os = "linux")]
fn kill(process: i32) {
    let pid = rustix::process::Pid::from_raw(process).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Fault 36. Injected: daemon, supervisor and agent are killed, and every file of the run is removed
/// from its directory. Held: the run that was recorded as running is lost and not begun once more.
///
/// Promises 3, 10.
#[cfg(target_os = "linux")]
#[test]
fn a_running_run_whose_files_are_gone_is_not_started_again() {
    let project = Project::new(AGENTS);
    fifo(&project.outside("gate"));
    let environment = [
        ("GATE", project.outside("gate")),
        ("LEDGER", project.outside("ledger")),
    ];
    let task = project.add("emptied", &["--max-attempts", "1"]);
    let mut first = project.serve_with(&[], &environment);
    first.wait_for_events("run_running", 1);
    let run = project.last_run(&task);
    let directory = project.run_dir(&run);
    let agent = fs::read(directory.join("pid.json")).unwrap();
    let agent: serde_json::Value = serde_json::from_slice(&agent).unwrap();
    first.signal(rustix::process::Signal::KILL);
    drop(first);
    kill_supervisor(&run);
    kill(i32::try_from(agent["pid"].as_i64().unwrap()).unwrap());
    for file in fs::read_dir(&directory).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }

    let mut second = project.serve_with(&[], &environment);
    second.wait_for_events("run_ended", 1);
    let lost = project.last_run(&task);
    assert_eq!(
        (&lost["id"], &lost["status"]),
        (&run["id"], &"lost".into()),
        "{lost}"
    );
    assert_eq!(lost["failure"]["code"], "record_missing", "{lost}");
    let ledger = fs::read_to_string(project.outside("ledger")).unwrap();
    assert_eq!(ledger.matches("start ").count(), 1, "{ledger}");
    assert_eq!(second.drain(), Some(0));
}

/// Where there is no process table to search, the run is lost at once.
///
/// Fault 36. Injected: the directory of a run is removed while its agent works. Held: that is said
/// at once; no other attempt starts while the agent lives; then the run is lost, with the reason
/// that its record is missing and no exit code.
///
/// Promises 3, 5, 11.
#[cfg(target_os = "linux")]
#[test]
fn an_agent_whose_directory_is_removed_keeps_the_next_attempt_waiting() {
    let project = Project::new(AGENTS);
    fifo(&project.outside("gate"));
    let environment = [
        ("GATE", project.outside("gate")),
        ("LEDGER", project.outside("ledger")),
    ];
    let task = project.add("removed", &["--max-attempts", "1"]);
    let mut daemon = project.serve_with(&[], &environment);
    daemon.wait_for_events("run_running", 1);
    let run = project.last_run(&task);
    // It has printed, and that has been read: its transcript was open, and is to be opened again.
    until("its events", || has_events(&project, &run).then_some(()));
    fs::remove_dir_all(project.run_dir(&run)).unwrap();
    let removed = daemon.wait_for(|line| line["message"].to_string().contains("was removed while"));
    assert_eq!(removed["run"], run["id"]);
    assert_eq!(project.last_run(&task)["status"], "running");
    let ledger = || fs::read_to_string(project.outside("ledger")).unwrap();
    assert_eq!(ledger().matches("start ").count(), 1);

    open_gate_for(&project, 1);
    daemon.wait_for_events("run_ended", 1);
    let lost = project.last_run(&task);
    assert_eq!(lost["id"], run["id"]);
    assert_eq!(lost["status"], "lost", "{lost}");
    assert_eq!(lost["failure"]["code"], "record_missing", "{lost}");
    let warnings = lost["warnings"].to_string();
    assert!(warnings.contains("what it wrote is gone"), "{lost}");
    assert_eq!(daemon.drain(), Some(0));

    fn has_events(project: &Project, run: &serde_json::Value) -> bool {
        fs::metadata(project.run_dir(run).join("events.jsonl")).is_ok_and(|file| file.len() > 0)
    }
}

/// Fault 36. Injected: the whole state directory is removed while a daemon serves it. Held: the
/// daemon names it and ends with a code that is not 0; its agent goes on.
///
/// Promise 25.
#[test]
fn a_daemon_whose_state_is_removed_says_so_and_leaves_its_agents_alone() {
    let project = Project::new(AGENTS);
    fifo(&project.outside("gate"));
    let environment = [
        ("GATE", project.outside("gate")),
        ("LEDGER", project.outside("ledger")),
    ];
    project.add("goes on", &[]);
    let mut daemon = project.serve_with(&[], &environment);
    daemon.wait_for_events("run_running", 1);
    // What the daemon or the shim is only just writing keeps its directory from going; there is no
    // event for that.
    until("an empty directory", || {
        let removed = fs::remove_dir_all(project.root().join(".orch"));
        let error = removed.err().map(|error| error.kind());
        assert!(matches!(
            error,
            None | Some(std::io::ErrorKind::DirectoryNotEmpty)
        ));
        error.is_none().then_some(())
    });
    let said = daemon.wait_for(|line| line["event"] == "state_lost");
    assert!(text(&said, "message").contains("removed or replaced"));
    let code = daemon.ended();
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
    // The agent still waits at the gate, and goes through it.
    open_gate_for(&project, 1);
}
