//! Processes that stand still, do not want to end, or are too many.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use orch_field::{Project, text};

use crate::cgroup::Cgroup;
use crate::machine::{Gate, agent_of, is_alive, let_it_last, send, serve_at_gate, shim_of, until};

/// How long a process stands still: several times what any look at a run takes.
const STANDSTILL: Duration = Duration::from_secs(4);

fn project(agents: &str) -> Project {
    Project::new(&format!(
        "{agents}\n[defaults]\nworkspace = \"shared\"\nreview = \"auto\"\nmax_attempts = 1\n\
         [limits]\nstop_grace = \"300ms\"\nleak_grace = \"100ms\"\n"
    ))
}

const WAITER: &str = "[agents.waiter]\nadapter = \"shell\"\n\
                      command = 'read nothing < \"$GATE\"; echo through; exit 3'\n\
                      env = { GATE = \"$GATE\" }\nmax_parallel = 3\n";

/// Fault 17. Injected: three agents are stopped by SIGSTOP. Held: while they stand still they count
/// as running and nobody calls them lost; one that is let go ends with its own exit status, one is
/// ended by its timeout and one by a cancel, as if they were awake.
///
/// Promises 1, 2, 14.
#[test]
fn a_stopped_agent_is_not_lost_and_can_be_ended() {
    let project = project(WAITER);
    let mut gate = Gate::new(&project);
    let freed = project.add("freed", &[]);
    let timed = project.add("timed", &["--timeout", "2s"]);
    let cancelled = project.add("cancelled", &[]);
    let mut daemon = serve_at_gate(&project);
    daemon.wait_for_events("run_running", 3);
    let agents: Vec<i32> = [&freed, &timed, &cancelled]
        .map(|task| agent_of(&project, &project.last_run(task)))
        .to_vec();
    for agent in &agents {
        send(*agent, Signal::STOP);
    }
    let_it_last(STANDSTILL);
    assert_eq!(project.last_run(&freed)["status"], "running");
    assert_eq!(project.last_run(&cancelled)["status"], "running");
    let run = project.last_run(&timed);
    assert_eq!(
        (&run["status"], &run["signal"]),
        (&"timed_out".into(), &15.into()),
        "{run}"
    );

    project.ok(&["task", "cancel", &cancelled]);
    daemon.wait_for(|line| line["event"] == "task_cancelled");
    assert!(!is_alive(agents[1]) && !is_alive(agents[2]));
    gate.open(1);
    send(agents[0], Signal::CONT);
    daemon.wait_for(|line| line["event"] == "run_ended" && line["task"] == *freed);
    assert_eq!(project.last_run(&freed)["exit_code"], 3);
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 18. Injected: the supervisor is stopped by SIGSTOP, and its agent ends meanwhile. Held:
/// the run counts as running, since somebody holds its lock, and nothing is started in its place;
/// within 5 s after SIGCONT its end is recorded with the exit status.
///
/// Promises 1, 2, 11.
#[test]
fn a_stopped_supervisor_is_waited_for() {
    let project = project(WAITER);
    let mut gate = Gate::new(&project);
    let task = project.add("task", &[]);
    let mut daemon = serve_at_gate(&project);
    daemon.wait_for_events("run_running", 1);
    let run = project.last_run(&task);
    let (shim, agent) = (shim_of(&project, &run), agent_of(&project, &run));
    send(shim, Signal::STOP);
    gate.open(1);
    until("its end", || (!is_alive(agent)).then_some(()));
    let_it_last(STANDSTILL);
    assert_eq!(project.last_run(&task)["status"], "running");
    send(shim, Signal::CONT);
    let since = Instant::now();
    daemon.wait_for(|line| line["event"] == "run_ended");
    assert!(since.elapsed() < Duration::from_secs(5));
    let runs = project.json(&["runs", "--task", &task]);
    assert_eq!(runs.as_array().map(Vec::len), Some(1), "{runs}");
    assert_eq!(runs[0]["exit_code"], 3, "{runs}");
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 18. Injected: the daemon is stopped by SIGSTOP, and three agents end meanwhile. Held: a
/// second daemon is refused and told who holds the project; within 5 s after SIGCONT all ends are
/// recorded with their exit status.
///
/// Promises 1, 2, 24.
#[test]
fn a_stopped_daemon_keeps_its_place_and_catches_up() {
    let project = project(WAITER);
    let mut gate = Gate::new(&project);
    let tasks = [(); 3].map(|()| project.add("task", &[]));
    let mut daemon = serve_at_gate(&project);
    daemon.wait_for_events("run_running", 3);
    let runs = tasks.each_ref().map(|task| project.last_run(task));
    daemon.signal(Signal::STOP);
    gate.open(3);
    for run in &runs {
        let lock = fs::File::open(project.run_dir(run).join("alive.lock")).unwrap();
        lock.lock_shared().unwrap();
    }
    let since = Instant::now();
    let said = project.fails(4, &["serve"]);
    assert!(said.contains(&format!("pid {}", daemon.pid())), "{said}");
    assert!(since.elapsed() < Duration::from_secs(10));
    daemon.signal(Signal::CONT);
    let since = Instant::now();
    daemon.wait_for_events("run_ended", 3);
    assert!(since.elapsed() < Duration::from_secs(5));
    for task in &tasks {
        assert_eq!(project.last_run(task)["exit_code"], 3);
    }
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 19. Injected: an agent and its tool ignore TERM, INT and HUP, and the task is cancelled. Held:
/// `cancelled` is recorded within the grace and 2 s, and by then neither lives.
///
/// Fault 22. Injected: the same agent has left a process behind that forked twice, has a session
/// and an environment of its own and holds no descriptor. Held: `cancelled` is recorded within the
/// grace and 2 s, and by then not one of the three lives (on Linux).
///
/// Promise 14.
#[test]
fn cancelled_means_dead_whatever_the_agent_does_against_it() {
    let project = project(
        "[agents.stubborn]\nadapter = \"shell\"\nenv = { GATE = \"$GATE\" }\ncommand = '''\n\
         trap '' TERM INT HUP\n\
         setsid sh -c 'echo $$ > \"$GATE\"; while :; do sleep 600; done' &\n\
         (setsid env -i /bin/sh -c 'echo $$ > \"$1\"; exec <&- >&- 2>&-; \
          while :; do /bin/sleep 600; done' sh \"$GATE\" &)\n\
         echo $$ > \"$GATE\"\n\
         while :; do sleep 600; done\n'''\n",
    );
    let mut gate = Gate::new(&project);
    let task = project.add("task", &[]);
    let mut daemon = serve_at_gate(&project);
    let members: Vec<i32> = (0..3).map(|_| gate.line().parse().unwrap()).collect();
    assert!(members.iter().all(|member| is_alive(*member)));
    let since = Instant::now();
    project.ok(&["task", "cancel", &task]);
    daemon.wait_for(|line| line["event"] == "task_cancelled");
    assert!(
        since.elapsed() < Duration::from_millis(2_300),
        "{:?}",
        since.elapsed()
    );
    assert_eq!(
        members.iter().filter(|member| is_alive(**member)).count(),
        0
    );
    let run = project.last_run(&task);
    assert_eq!(
        (&run["status"], &run["signal"]),
        (&"cancelled".into(), &9.into()),
        "{run}"
    );
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 23. Injected: a fork bomb whose processes ignore TERM and leave their group, in a control group
/// of 512 processes, in which the daemon is, too.
/// Held: the daemon answers within a second, the task can be cancelled, and the bomb is gone soon
/// after.
///
/// Promises 14, 33.
#[test]
fn a_fork_bomb_can_be_cancelled_and_leaves_nothing() {
    let Some(group) = Cgroup::new("pids") else {
        return;
    };
    if !Path::new("/usr/bin/perl").exists() {
        return println!("skipped: there is no perl to make a fork bomb with");
    }
    let project = project(
        "[agents.bomb]\nadapter = \"shell\"\n\
         command = '''exec perl -e '$SIG{TERM} = \"IGNORE\"; \
         while () { my $child = fork() // select(undef, undef, undef, 0.05); \
         setpgrp if $child eq \"0\" }''''\n",
    );
    let mut daemon = project.serve(&[]);
    group.add_tree(daemon.pid());
    group.set("pids.max", 512);
    let quiet = group.members();
    let task = project.add("task", &[]);
    daemon.wait_for_events("run_running", 1);
    until("a full group", || (group.members() > 500).then_some(()));
    let client = project.client();
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let since = Instant::now();
        client.status().unwrap();
        slowest = slowest.max(since.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    client.cancel_task(&task).unwrap();
    daemon.wait_for(|line| line["event"] == "task_cancelled");
    // Threads of the daemon count as well, and it may have taken more of them.
    until("what is left", || {
        (group.members() < quiet + 16).then_some(())
    });
    let run = project.last_run(&task);
    assert_eq!(text(&run, "status"), "cancelled", "{run}");
    assert_eq!(daemon.drain(), Some(0));
}
