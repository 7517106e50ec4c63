//! Processes that cannot be had, cannot be ended, stand still or are not what they seem.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use orch_field::{Project, Served, text};

use crate::cgroup::{Cgroup, children_of};
use crate::machine::{Gate, cpu_ticks, let_it_last, serve_at_gate};

/// Agents that wait at a gate; short graces, so that nobody waits for them in vain.
const WAITERS: &str = "\
[agents.waiter]\nadapter = \"shell\"\ncommand = 'read nothing < \"$GATE\"; echo through'\n\
env = { GATE = \"$GATE\" }\nmax_parallel = 50\n\
[defaults]\nworkspace = \"shared\"\nreview = \"auto\"\nmax_attempts = 1\n\
[retry]\nbase = \"1s\"\nmax = \"2s\"\n\
[limits]\nstop_grace = \"300ms\"\nleak_grace = \"100ms\"\n";

fn limit_descriptors(daemon: &Served, most: u64) {
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap());
    let limit = Rlimit {
        current: Some(most),
        ..getrlimit(Resource::Nofile)
    };
    prlimit(pid, Resource::Nofile, limit).unwrap();
}

/// Fault 13. Injected: forty agents run, and the daemon may open no descriptor any more while all
/// of them end at once and a hundred clients hold a connection open. Held: the daemon does not
/// spin, and every end is recorded with its exit status as soon as clients let go of what they
/// hold; nothing is lost and nothing is started twice.
///
/// Promises 1, 2.
#[test]
fn forty_ends_at_once_are_recorded_by_a_daemon_without_descriptors() {
    let project = Project::new(WAITERS);
    let mut gate = Gate::new(&project);
    let tasks: Vec<String> = (0..40)
        .map(|n| project.add(&format!("task {n}"), &[]))
        .collect();
    let mut daemon = serve_at_gate(&project);
    daemon.wait_for_events("run_running", 40);
    limit_descriptors(&daemon, 64);
    let socket = project.root().join(".orch/orch.sock");
    let clients: Vec<UnixStream> = (0..100)
        .map_while(|_| UnixStream::connect(&socket).ok())
        .collect();
    assert!(clients.len() > 50);
    let before = cpu_ticks(daemon.pid());
    gate.open(40);
    let_it_last(Duration::from_secs(3));
    let spent = cpu_ticks(daemon.pid()) - before;
    assert!(spent < 150, "{spent} ticks of 300: it spins");
    drop(clients);

    daemon.wait_for_events("task_done", 40);
    for task in &tasks {
        let runs = project.json(&["runs", "--task", task]);
        assert_eq!(runs.as_array().map(Vec::len), Some(1), "{runs}");
        assert_eq!(runs[0]["exit_code"], 0, "{runs}");
        assert_eq!(runs[0]["result"], "through", "{runs}");
    }
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 13. Injected: the daemon may open no descriptor at all for three seconds, and a task comes
/// in on a connection that it has. Held: it answers, it says what it lacks, it does not spin, no
/// attempt is used up, and the task is done once there are descriptors again.
///
/// Promises 10, 18, 19.
#[test]
fn a_start_without_descriptors_is_put_off_and_costs_no_attempt() {
    let project = Project::new(WAITERS);
    let mut gate = Gate::new(&project);
    let mut daemon = serve_at_gate(&project);
    let socket = UnixStream::connect(project.root().join(".orch/orch.sock")).unwrap();
    let mut lines = BufReader::new(socket);
    assert!(ask(&mut lines, "GET /v1/status", "").contains("test"));
    let fewer = lowest_free_descriptor(&daemon);
    limit_descriptors(&daemon, fewer);
    let added = ask(&mut lines, "POST /v1/tasks", r#"{"title":"one"}"#);
    let before = cpu_ticks(daemon.pid());
    let said = daemon.wait_for(|line| line["event"] == "trouble" && line["level"] == "warn");
    assert!(
        text(&said, "message").contains("Too many open files"),
        "{said}"
    );
    let_it_last(Duration::from_secs(3));
    let spent = cpu_ticks(daemon.pid()) - before;
    assert!(spent < 150, "{spent} ticks of 300: it spins");
    assert!(ask(&mut lines, "GET /v1/status", "").contains("test"));
    limit_descriptors(&daemon, 1_024);
    gate.open(1);
    let done = daemon.wait_for(|line| line["event"] == "task_done");
    assert!(added.contains(text(&done, "task")), "{added}");
    assert_eq!(project.task(text(&done, "task"))["attempts"], 1);
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 13. Injected: a limit of 22 descriptors for the daemon, from its start. Held: it refuses to
/// serve, with exit code 7, how many there are, how many it takes and how to raise the limit; no run
/// is recorded.
#[test]
fn a_daemon_that_could_open_nothing_does_not_begin_to_serve() {
    let project = Project::new(WAITERS);
    let task = project.add("waits", &[]);
    let output = project
        .clean("/bin/sh")
        .args(["-c", "ulimit -n 22; exec \"$0\" serve", project.binary()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{said}");
    for words in ["22", "64", "ulimit -n"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(project.task(&task)["attempts"], 0);
    assert_eq!(project.json(&["runs"]).as_array().map(Vec::len), Some(0));
}

/// Fault 13. Injected: the daemon may open no descriptor more when twelve tasks come in, ever. Held:
/// starts are tried less and less often and one at a time, no attempt is used up, the log is not
/// flooded, and the daemon ends when it is told to, leaving no run `starting` and no process.
///
/// Promises 1, 18, 19.
#[test]
fn a_daemon_without_descriptors_tries_seldom_and_ends_when_told_to() {
    const TASKS: usize = 12;
    let project = Project::new(WAITERS);
    let _gate = Gate::new(&project);
    let mut daemon = serve_at_gate(&project);
    let socket = UnixStream::connect(project.root().join(".orch/orch.sock")).unwrap();
    let mut lines = BufReader::new(socket);
    assert!(ask(&mut lines, "GET /v1/status", "").contains("test"));
    // Lower than the numbers that the daemon gives back now and then.
    limit_descriptors(&daemon, 8);
    for number in 0..TASKS {
        let body = format!(r#"{{"title":"task {number}"}}"#);
        ask(&mut lines, "POST /v1/tasks", &body);
    }
    daemon.wait_for(|line| line["event"] == "starts_paced");
    let said = ask(&mut lines, "GET /v1/tasks", "");
    assert!(said.contains("\"resources\""), "{said}");
    assert!(ask(&mut lines, "GET /v1/status", "").contains("left for a start"));
    let_it_last(Duration::from_secs(8));
    drop(lines);
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for(|line| line["event"] == "draining");
    daemon.signal(rustix::process::Signal::TERM);
    let seen = daemon.ended_having_seen();
    let tried = count(&seen, "run_starting");
    // All that were there at first, then one after 1 s, 2 s and 4 s.
    assert!(tried <= TASKS + 4, "{tried} starts");
    assert!(count(&seen, "trouble") <= 6 * TASKS, "{seen:?}");
    let runs = project.json(&["runs", "--limit", "1000"]);
    let is_over = |run: &serde_json::Value| run["status"] == "not_started";
    assert!(runs.as_array().unwrap().iter().all(is_over), "{runs}");
    let tasks = project.json(&["task", "list"]);
    let unused = |task: &serde_json::Value| task["attempts"] == 0;
    assert!(tasks.as_array().unwrap().iter().all(unused), "{tasks}");
}

fn count(seen: &[serde_json::Value], event: &str) -> usize {
    seen.iter().filter(|line| line["event"] == event).count()
}

/// A request on a connection that stays open; the body of the answer.
fn ask(connection: &mut BufReader<UnixStream>, line: &str, body: &str) -> String {
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: orch\r\nOrch-Api-Version: 1\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    connection.get_mut().write_all(request.as_bytes()).unwrap();
    let mut length = 0;
    loop {
        let mut header = String::new();
        connection.read_line(&mut header).unwrap();
        match header.trim_end().to_ascii_lowercase().split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().unwrap(),
            _ if header.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut answer = vec![0; length];
    connection.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn lowest_free_descriptor(daemon: &Served) -> u64 {
    let entries = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    let open: BTreeSet<u64> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    (0..).find(|number| !open.contains(number)).unwrap()
}

/// Fault 14. Injected: a control group in which not one process more may be made, when the daemon
/// is to start agents, one in the shared directory and one in a worktree. Held: the runs that are
/// tried are `not_started(no_resources)` naming EAGAIN, they are put off and not tried in a loop, no
/// attempt is used up, and both tasks are done once processes can be had again.
///
/// Promise 19.
#[test]
fn a_start_without_processes_is_put_off_and_costs_no_attempt() {
    let Some(group) = Cgroup::new("pids") else {
        return;
    };
    let project = Project::new(WAITERS);
    let mut gate = Gate::new(&project);
    let mut daemon = serve_at_gate(&project);
    group.add_tree(daemon.pid());
    // Less than there are: none more, also when one of the daemon's threads ends.
    group.set("pids.max", 1);
    let shared = project.add("shared", &[]);
    let worktree = project.add("worktree", &["--workspace", "worktree"]);
    // Threads of the daemon count, too: those it has must be enough.
    for _ in 0..4 {
        let said = daemon.wait_for(|line| line["event"] == "task_retrying");
        let message = text(&said, "message");
        assert!(message.contains("no_resources"), "{said}");
    }
    group.set("pids.max", "max");
    gate.open(2);
    daemon.wait_for_events("task_done", 2);
    let mut failed = 0;
    for task in [&shared, &worktree] {
        assert_eq!(project.task(task)["attempts"], 1);
        let runs = project.json(&["runs", "--task", task]);
        let runs = runs.as_array().unwrap();
        assert_eq!(runs[0]["status"], "completed", "{runs:?}");
        for run in &runs[1..] {
            let evidence = text(&run["failure"], "evidence");
            assert!(evidence.contains("EAGAIN"), "{evidence}");
            failed += 1;
        }
    }
    assert!((4..10).contains(&failed), "{failed}");
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 14. Injected: a control group in which the supervisor still fits and its agent does not.
/// Held: the run is `not_started(no_resources)` naming EAGAIN and the command, no attempt is used
/// up, and the task is done once processes can be had again.
///
/// Promises 2, 19.
#[test]
fn an_agent_that_does_not_fit_beside_its_supervisor_is_put_off() {
    let Some(group) = Cgroup::new("pids") else {
        return;
    };
    let project = Project::new(WAITERS);
    let mut gate = Gate::new(&project);
    // What makes supervisors is there when one run is over.
    let warm = project.add("warm", &[]);
    let mut daemon = serve_at_gate(&project);
    gate.open(1);
    daemon.wait_for(|line| line["event"] == "task_done" && line["task"] == *warm);
    group.add(maker_of_supervisors(&daemon));
    group.set("pids.max", 2);
    let task = project.add("task", &[]);
    let said = daemon.wait_for(|line| line["event"] == "task_retrying");
    assert!(text(&said, "message").contains("no_resources"), "{said}");
    let failure = &project.last_run(&task)["failure"];
    assert!(text(failure, "evidence").contains("EAGAIN"), "{failure}");
    group.set("pids.max", "max");
    gate.open(1);
    daemon.wait_for(|line| line["event"] == "task_done" && line["task"] == *task);
    assert_eq!(project.task(&task)["attempts"], 1);
    assert_eq!(daemon.drain(), Some(0));
}

/// The process that the daemon's supervisors are copies of.
fn maker_of_supervisors(daemon: &Served) -> u32 {
    let is_it = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"__shims")
    };
    children_of(daemon.pid()).into_iter().find(is_it).unwrap()
}
