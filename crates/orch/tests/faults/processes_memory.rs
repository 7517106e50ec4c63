//! Memory that runs out, for the agent, its supervisor or the daemon.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use orch_field::{Project, text};

use crate::cgroup::Cgroup;
use crate::machine::{Gate, agent_of, is_alive, send, serve_at_gate, shim_of, until};

/// Takes memory until it is told that there is none; and one that waits.
const AGENTS: &str = "\
[agents.hog]\nadapter = \"shell\"\nmax_parallel = 2\n\
command = 'echo began; exec dd if=/dev/zero of=/dev/null bs=600M count=1000'\n\
[agents.waiter]\nadapter = \"shell\"\ncommand = 'read nothing < \"$GATE\"; exit 3'\n\
env = { GATE = \"$GATE\" }\nmax_parallel = 3\n\
[defaults]\nworkspace = \"shared\"\nreview = \"auto\"\nmax_attempts = 1\n";

/// Enough for the daemon and a few shims, not for what the hog wants, bytes.
const MEMORY: u64 = 300 << 20;

fn score(pid: i32) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    text.trim().parse().unwrap()
}

/// Fault 16. Injected: an agent takes more memory than the control group has in which it runs
/// together with its supervisor, the daemon and another agent. Held: the kernel takes the one that
/// took the memory and nobody else, because agents are made the likelier victims; its run is
/// `failed(signaled)` with signal 9 and says `oom_killed`; the others go on.
///
/// Promises 2, 5.
#[test]
fn an_agent_that_takes_all_memory_is_the_one_that_goes_and_is_told_why() {
    let Some(group) = Cgroup::new("memory") else {
        return;
    };
    let project = Project::new(AGENTS);
    let mut gate = Gate::new(&project);
    let mut daemon = serve_at_gate(&project);
    group.set("memory.limit_in_bytes", MEMORY);
    group.add_tree(daemon.pid());
    let waiter = project.add("wait", &["--agent", "waiter"]);
    daemon.wait_for_events("run_running", 1);
    let run = project.last_run(&waiter);
    let own = i32::try_from(daemon.pid()).unwrap();
    let (shim, agent) = (shim_of(&project, &run), agent_of(&project, &run));
    assert_eq!(score(shim), score(own));
    assert_eq!(score(agent), (score(own) + 500).min(1_000));

    let hog = project.add("take", &["--agent", "hog"]);
    daemon.wait_for(|line| line["event"] == "task_failed");
    let run = project.last_run(&hog);
    assert_eq!(
        (&run["status"], &run["signal"]),
        (&"failed".into(), &9.into()),
        "{run}"
    );
    assert_eq!(run["failure"]["code"], "signaled", "{run}");
    assert!(
        text(&run["failure"], "evidence").contains("oom_killed"),
        "{run}"
    );
    gate.open(1);
    daemon.wait_for(|line| line["event"] == "run_ended" && line["task"] == *waiter);
    let run = project.last_run(&waiter);
    assert_eq!(run["exit_code"], 3, "{run}");
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 5. Injected: SIGKILL to an agent by somebody else, while there is memory enough. Held: its run is `failed(signaled)` with signal 9, and want of memory is not claimed.
///
/// Promises 2, 5.
#[test]
fn a_kill_by_somebody_else_is_not_called_want_of_memory() {
    let project = Project::new(AGENTS);
    let _gate = Gate::new(&project);
    let task = project.add("wait", &["--agent", "waiter"]);
    let mut daemon = serve_at_gate(&project);
    daemon.wait_for_events("run_running", 1);
    send(agent_of(&project, &project.last_run(&task)), Signal::KILL);
    daemon.wait_for(|line| line["event"] == "task_failed");
    let run = project.last_run(&task);
    assert_eq!(
        (&run["status"], &run["signal"]),
        (&"failed".into(), &9.into()),
        "{run}"
    );
    assert_eq!(run["failure"]["code"], "signaled", "{run}");
    assert!(!run.to_string().contains("oom_killed"), "{run}");
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 16. Injected: the kernel takes the supervisor when memory runs out in its control group.
/// Held: the daemon, who becomes the agent's parent, records its exit status (on Linux).
///
/// Promises 2, 13.
#[test]
fn a_supervisor_that_the_kernel_takes_loses_no_exit_status() {
    let Some(group) = Cgroup::new("memory") else {
        return;
    };
    let project = Project::new(AGENTS);
    let mut gate = Gate::new(&project);
    let task = project.add("wait", &["--agent", "waiter"]);
    let mut daemon = serve_at_gate(&project);
    daemon.wait_for_events("run_running", 1);
    let shim = shim_of(&project, &project.last_run(&task));
    take(&group, shim);
    gate.open(1);
    daemon.wait_for(|line| line["event"] == "run_ended");
    let run = project.last_run(&task);
    assert_eq!(run["exit_code"], 3, "{run}");
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 16. Injected: the kernel takes the daemon when memory runs out in its control group. Held:
/// three agents go on, and the next daemon records their ends with their exit status.
///
/// Promises 1, 2, 12.
#[test]
fn a_daemon_that_the_kernel_takes_loses_no_run() {
    let Some(group) = Cgroup::new("memory") else {
        return;
    };
    let project = Project::new(AGENTS);
    let mut gate = Gate::new(&project);
    let tasks = [(); 3].map(|()| project.add("wait", &["--agent", "waiter"]));
    let mut daemon = serve_at_gate(&project);
    daemon.wait_for_events("run_running", 3);
    take(&group, i32::try_from(daemon.pid()).unwrap());
    assert_eq!(daemon.ended(), None);
    let mut daemon = serve_at_gate(&project);
    gate.open(3);
    daemon.wait_for_events("run_ended", 3);
    for task in &tasks {
        let runs = project.json(&["runs", "--task", task]);
        assert_eq!(runs.as_array().map(Vec::len), Some(1), "{runs}");
        assert_eq!(runs[0]["exit_code"], 3, "{runs}");
    }
    assert_eq!(daemon.drain(), Some(0));
}

/// Has the kernel take a process: it is made the likeliest victim in a group whose memory others use
/// up, none of whom has more than a part of it. A supervisor is so small that a single one that
/// fills the group would be the better victim.
fn take(group: &Cgroup, pid: i32) {
    group.set("memory.limit_in_bytes", 50 << 20);
    group.set("cgroup.procs", pid);
    std::fs::write(format!("/proc/{pid}/oom_score_adj"), "1000").unwrap();
    let hog = "dd if=/dev/zero bs=10M count=1 | sleep 1000";
    let mut hogs = Command::new("sh")
        .args([
            "-c",
            &format!("read go; for n in 1 2 3 4 5 6 7 8; do {hog} & done; wait"),
        ])
        .process_group(0)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    group.set("cgroup.procs", hogs.id());
    hogs.stdin.take().unwrap().write_all(b"go\n").unwrap();
    until("its end", || (!is_alive(pid)).then_some(()));
    kill_process_group(Pid::from_child(&hogs), Signal::KILL).unwrap();
    hogs.wait().unwrap();
    assert!(!group.read("memory.oom_control").contains("oom_kill 0\n"));
}
