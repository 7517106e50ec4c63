//! Processes that stand still, do not want to end, or are too many.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use orch_field::{Project, text};

use crate::cgroup::Cgroup;
use crate::machine::{
    Gate, agent_of, is_alive, is_stopped, let_it_last, send, serve_at_gate, shim_of, until,
};

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
/// as running, nobody calls them lost, and `orch why` and `orch status` say that they were stopped;
/// one that is let go ends with its own exit status, one is ended by its timeout and one by a cancel,
/// as if they were awake.
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
    let mend = format!("'kill -CONT {}' lets it go on", agents[0]);
    let why = project.ok(&["why", &freed]);
    assert!(
        why.contains(&mend) && why.contains("A person acts next"),
        "{why}"
    );
    let status = project.ok(&["status"]);
    assert!(status.contains(&mend), "{status}");
    let run = project.last_run(&timed);
    assert_eq!(
        (&run["status"], &run["signal"]),
        (&"timed_out".into(), &15.into()),
        "{run}"
    );

    project.ok(&["task", "cancel", &cancelled]);
    daemon.wait_for(|line| line["event"] == "task_cancelled");
    assert!(!is_alive(agents[1]) && !is_alive(agents[2]));
    send(agents[0], Signal::CONT);
    until("nobody calls it stopped any more", || {
        let why = project.ok(&["why", &freed]);
        why.contains("An agent acts next").then_some(())
    });
    gate.open(1);
    daemon.wait_for(|line| line["event"] == "run_ended" && line["task"] == *freed);
    assert_eq!(project.last_run(&freed)["exit_code"], 3);
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 18. Injected: the supervisor is stopped by SIGSTOP, and its agent ends some time later. Held:
/// while the agent works the run counts as running and nobody touches the supervisor; when the agent
/// has ended the daemon lets it go on, says so, and the end is recorded with its exit status.
/// Nothing is started in its place.
///
/// Promises 1, 2, 11.
#[test]
fn a_stopped_supervisor_is_let_go_on_when_its_agent_has_ended() {
    let project = project(WAITER);
    let mut gate = Gate::new(&project);
    let task = project.add("task", &[]);
    let mut daemon = serve_at_gate(&project);
    daemon.wait_for_events("run_running", 1);
    let run = project.last_run(&task);
    let (shim, agent) = (shim_of(&project, &run), agent_of(&project, &run));
    send(shim, Signal::STOP);
    let_it_last(STANDSTILL);
    assert_eq!(project.last_run(&task)["status"], "running");
    assert!(is_stopped(shim));
    gate.open(1);
    until("its end", || (!is_alive(agent)).then_some(()));
    let since = Instant::now();
    daemon.wait_for(says_that_it_was_stopped);
    daemon.wait_for(|line| line["event"] == "run_ended");
    assert!(since.elapsed() < Duration::from_secs(10));
    let runs = project.json(&["runs", "--task", &task]);
    assert_eq!(runs.as_array().map(Vec::len), Some(1), "{runs}");
    assert_eq!(runs[0]["exit_code"], 3, "{runs}");
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 18. Injected: two supervisors are stopped by SIGSTOP; the task of one is cancelled, and the
/// agent of the other passes its time limit. Held: `orch why` and the log say that the supervisor
/// was stopped by a signal; it is let go on, and the runs end as `cancelled` and `timed_out` with
/// nothing of them alive.
///
/// Promise 14.
#[test]
fn a_stopped_supervisor_keeps_nobody_from_a_cancel_or_a_limit() {
    let project = project(WAITER);
    let _gate = Gate::new(&project);
    let cancelled = project.add("cancelled", &[]);
    let timed = project.add("timed", &["--timeout", "2s"]);
    let mut daemon = serve_at_gate(&project);
    daemon.wait_for_events("run_running", 2);
    let runs = [&cancelled, &timed].map(|task| project.last_run(task));
    let agents = runs.each_ref().map(|run| agent_of(&project, run));
    for run in &runs {
        send(shim_of(&project, run), Signal::STOP);
    }
    project.ok(&["task", "cancel", &cancelled]);
    daemon.wait_for(says_that_it_was_stopped);
    daemon.wait_for_events("run_ended", 2);
    let ends = [&cancelled, &timed].map(|task| text(&project.last_run(task), "status").to_owned());
    assert_eq!(ends, ["cancelled", "timed_out"]);
    assert!(agents.iter().all(|agent| !is_alive(*agent)));
    let told = daemon
        .seen
        .iter()
        .filter(|line| says_that_it_was_stopped(line));
    let told: BTreeSet<&str> = told.map(|line| text(line, "run")).collect();
    assert_eq!(told, runs.iter().map(|run| text(run, "id")).collect());
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 18. Injected: the supervisor is stopped by SIGSTOP again as soon as it goes on, for as long
/// as it lives, and its task is cancelled. Held: `orch why` says what is the matter, the daemon ends
/// the supervisor and then the agent itself, and the run is recorded with the signal that ended it.
///
/// Promises 2, 13, 14.
#[test]
fn a_supervisor_that_is_stopped_again_and_again_is_ended() {
    let project = project(WAITER);
    let _gate = Gate::new(&project);
    let task = project.add("task", &["--timeout", "1s"]);
    let mut daemon = serve_at_gate(&project);
    daemon.wait_for_events("run_running", 1);
    let run = project.last_run(&task);
    let (shim, agent) = (shim_of(&project, &run), agent_of(&project, &run));
    send(shim, Signal::STOP);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            until("the end of the supervisor", || {
                // It is the daemon's child and may be gone.
                let _ = kill_process(Pid::from_raw(shim).unwrap(), Signal::STOP);
                (!is_alive(shim)).then_some(())
            });
        });
        let why = until("a reason", || {
            let wait = &project.task(&task)["wait"];
            let why = wait["message"].as_str()?.to_owned();
            why.contains("stopped by a signal").then_some(why)
        });
        assert!(why.contains(&shim.to_string()), "{why}");
    });
    daemon.wait_for(|line| line["event"] == "run_ended");
    let run = project.last_run(&task);
    assert_eq!(run["status"], "timed_out", "{run}");
    assert!(!is_alive(agent));
    assert_eq!(daemon.drain(), Some(0));
}

fn says_that_it_was_stopped(line: &Value) -> bool {
    let message = line["message"].as_str().unwrap_or_default();
    line["event"] == "trouble" && message.contains("stopped by a signal")
}

/// Fault 18. Injected: a daemon that waits for its agents to finish is stopped by SIGSTOP, three agents
/// end meanwhile, and before it goes on it is told to stop them. Held: the runs have ended with their
/// own exit status and are not called stopped: nothing had been asked of them when they ended.
///
/// Promises 1, 2.
#[test]
fn what_ended_while_the_daemon_stood_still_was_not_stopped_by_it() {
    let project = project(WAITER);
    let mut gate = Gate::new(&project);
    let tasks = [(); 3].map(|()| project.add("task", &[]));
    let mut daemon = serve_at_gate(&project);
    daemon.wait_for_events("run_running", 3);
    let runs = tasks.each_ref().map(|task| project.last_run(task));
    daemon.signal(Signal::TERM);
    daemon.wait_for(|line| line["event"] == "draining");
    daemon.signal(Signal::STOP);
    gate.open(3);
    for run in &runs {
        let record = project.run_dir(run).join("exit.json");
        until("its record", || record.exists().then_some(()));
    }
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::CONT);
    daemon.ended();
    for task in &tasks {
        let run = project.last_run(task);
        assert_eq!(run["failure"]["code"], "exit_nonzero", "{run}");
        assert_eq!(run["exit_code"], 3, "{run}");
    }
}

/// Fault 18. Injected: the daemon is stopped by SIGSTOP, and three agents end meanwhile. Held: a
/// second daemon is refused and told who holds the project; commands end within seconds with exit
/// code 5, say that the daemon is stopped and how it is let go on, and, where something was to be
/// changed, that nobody knows whether it will be; `orch doctor` says the same and does not say that
/// nobody serves; within 5 s after SIGCONT all ends are recorded with their exit status.
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
    let go_on = format!("'kill -CONT {}'", daemon.pid());
    assert!(said.contains(&go_on), "{said}");
    assert!(!said.contains("it answers"), "{said}");
    assert!(since.elapsed() < Duration::from_secs(10));
    let asked = project.fails(5, &["status"]);
    // Should it be added after all, it waits for one that fails.
    let changing = project.fails(5, &["task", "add", "x", "--depends-on", &tasks[0]]);
    for said in [&asked, &changing] {
        assert!(said.contains("is stopped by a signal"), "{said}");
        assert!(said.contains(&go_on), "{said}");
    }
    assert!(changing.contains("not known"), "{changing}");
    let doctor = project.output(&["doctor"]);
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    assert!(doctor.contains(&go_on), "{doctor}");
    assert!(!doctor.contains("no daemon serves"), "{doctor}");
    assert!(since.elapsed() < Duration::from_secs(40));
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

/// Fault 22. Injected: the supervisor of an agent is killed that has left a process behind which forked
/// twice, has a session and an empty environment of its own and holds no descriptor. Held: the end of
/// the agent is recorded with its exit status, and the run's warnings name the process, which is not
/// ended, since nobody can tell whose it is.
///
/// Promises 2, 13, 16.
#[test]
fn what_nobody_can_assign_is_named_and_not_ended() {
    let project = project(
        "[agents.daemonizer]\nadapter = \"shell\"\nenv = { GATE = \"$GATE\" }\ncommand = '''\n\
         (setsid env -i /bin/sh -c 'echo $$ > \"$1\"; exec /bin/sleep 600 <&- >&- 2>&-' \
          sh \"$GATE.left\" &)\n\
         read nothing < \"$GATE\"; exit 3\n'''\n",
    );
    let mut gate = Gate::new(&project);
    let left = project.outside("gate.left");
    orch_field::fifo(&left);
    let task = project.add("task", &[]);
    let mut daemon = serve_at_gate(&project);
    let left: i32 = fs::read_to_string(&left).unwrap().trim().parse().unwrap();
    daemon.wait_for_events("run_running", 1);
    let run = project.last_run(&task);
    agent_of(&project, &run);
    send(shim_of(&project, &run), Signal::KILL);
    gate.open(1);
    daemon.wait_for(|line| line["event"] == "run_ended");
    let run = project.last_run(&task);
    let lives = is_alive(left);
    send(left, Signal::KILL);
    assert!(lives, "it was ended");
    assert_eq!(run["exit_code"], 3, "{run}");
    let warnings = run["warnings"].to_string();
    assert!(warnings.contains(&format!("pid {left}")), "{warnings}");
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
