//! Disks that fail, forget or take their time.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use orch_api::client::TaskQuery;
use orch_field::{Project, text, until};
use serde_json::Value;

use crate::disk::Faults;
use crate::storage::{GATED, Outside, assert_all_kept, ids, outcome, running, wait_for_record};

fn environment(faults: &Faults, outside: &Outside) -> Vec<(&'static str, PathBuf)> {
    let mut environment = outside.environment();
    environment.extend(faults.environment());
    environment
}

/// Fault 11. Injected: making the record of an end durable fails, once for one supervisor, and
/// for as long as it takes for another. Held: no supervisor leaves without its record; each tries
/// again with a new file, and holds its lock meanwhile, so that the run counts as running; `orch
/// why` says that the agent has ended and what cannot be written; both ends are recorded as they
/// were as soon as the disk takes them.
///
/// Promises 1, 22.
#[test]
fn a_record_that_cannot_be_made_durable_is_written_again() {
    let (project, outside) = (Project::new(GATED), Outside::new());
    let Some(faults) = Faults::new(&project) else {
        return;
    };
    let mut served = project.serve_with(&[], &environment(&faults, &outside));
    let (tasks, runs) = running(&project, &mut served, 2);
    let of = |run: &Value, fault: &str| format!("sync {fault} {}/exit.\n", text(run, "id"));
    faults.set(&(of(&runs[0], "eio-once") + &of(&runs[1], "eio")));
    let _gate = outside.open_gate(2);
    served.wait_for_events("run_ended", 1);
    assert_eq!(project.last_run(&tasks[0])["status"], "completed");
    let second = format!("{}/exit.", text(&runs[1], "id"));
    // It has failed and been tried again.
    until("two failures", || (faults.hits(&second) >= 2).then_some(()));
    assert_eq!(project.last_run(&tasks[1])["status"], "running");
    let why = until("a reason", || {
        let wait = &project.task(&tasks[1])["wait"];
        (wait["actor"] == "person").then(|| text(wait, "message").to_owned())
    });
    assert!(
        why.contains("cannot write exit.json") && why.contains("shim.log"),
        "{why}"
    );

    faults.set("");
    served.wait_for_events("run_ended", 1);
    wait_for_record(&project, &runs[1]);
    let run = project.last_run(&tasks[1]);
    assert_eq!(outcome(&run), ("completed", Some(0)), "{run}");
    let note = fs::read_to_string(project.run_dir(&run).join("shim.log")).unwrap();
    assert!(note.contains("trying again"), "{note}");
    assert_eq!(served.drain(), Some(0));
}

/// Fault 11. Injected: a flush of the database fails while a task is added and two agents work;
/// they end while nobody serves. Held: the daemon does not flush again what may be lost, says so,
/// and ends with a code that is not 0; agents go on; the next daemon reads what is on the disk,
/// and nothing that was acknowledged is missing. While the disk still fails, it refuses to serve.
///
/// Fault 40. Injected: the commit of a task is on the disk and its answer is an error. Held:
/// whoever added it is told that nobody knows whether it is recorded; what is found at the next
/// start is whole.
///
/// Promises 7, 9, 12, 22, 34.
#[test]
fn a_database_that_cannot_be_flushed_is_not_written_any_more() {
    let (project, outside) = (Project::new(GATED), Outside::new());
    let Some(faults) = Faults::new(&project) else {
        return;
    };
    let environment = environment(&faults, &outside);
    let mut served = project.serve_with(&[], &environment);
    let (tasks, runs) = running(&project, &mut served, 2);
    faults.set("sync eio orch.db");
    let said = project.fails(1, &["task", "add", "in doubt"]);
    assert!(
        said.contains("not known whether this was recorded"),
        "{said}"
    );
    let code = served.ended();
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
    assert_eq!(faults.hits("orch.db"), 1, "flushed once and never again");

    let _gate = outside.open_gate(2);
    outside.wait_for_ends(2);
    runs.iter().for_each(|run| wait_for_record(&project, run));
    let mut refused = project.orch(&["serve"]);
    let refused = refused.envs(environment.clone()).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("the disk failed"), "{said}");

    faults.set("");
    let mut served = project.serve_with(&[], &environment);
    served.wait_for_events("task_done", 2);
    // Whether it is there was not known, and nobody said that it was not.
    let in_doubt = |id: &String| text(&project.task(id), "title") == "in doubt";
    let mut all = tasks;
    all.extend(ids(&project).into_iter().filter(in_doubt));
    assert_all_kept(&project, &all);
    for run in &runs {
        let run = project.json(&["show", text(run, "id")]);
        assert_eq!(outcome(&run), ("completed", Some(0)), "{run}");
    }
    drop(served);
}

/// Fault 12. Injected: while ten agents print, every 19th write into a run's directory does half
/// of what was asked for, every 7th write of the database is interrupted, and every 23rd read of
/// output fails. Held: every byte and every event is there once and in order, and every end is
/// recorded as it was.
///
/// Promises 20, 21.
#[test]
fn short_writes_interruptions_and_failed_reads_change_nothing() {
    const LINES: usize = 3000;
    let agents = format!(
        "max_agents = 10\n[agents.worker]\nadapter = \"shell\"\nmax_parallel = 10\n\
         command = \"seq 1 {LINES}\"\n[defaults]\nworkspace = \"shared\"\nreview = \"auto\"\n"
    );
    let project = Project::new(&agents);
    let Some(faults) = Faults::new(&project) else {
        return;
    };
    faults.set(
        "write short-every:7 .orch/runs/\nwrite eintr-every:3 orch.db\n\
         read eio-every:5 out.log\n",
    );
    let mut served = project.serve_with(&[], &faults.environment());
    let tasks: Vec<String> = (0..10)
        .map(|n| project.add(&format!("task {n}"), &[]))
        .collect();
    served.wait_for_events("task_done", tasks.len());
    for fault in ["Short", "Interrupted", "Io"] {
        assert!(faults.hits(fault) > 0, "{fault} was injected");
    }
    let expected: String = (1..=LINES).map(|n| format!("{n}\n")).collect();
    for task in &tasks {
        let run = project.last_run(task);
        assert_eq!(outcome(&run), ("completed", Some(0)), "{run}");
        let dir = project.run_dir(&run);
        assert_eq!(fs::read_to_string(dir.join("out.log")).unwrap(), expected);
        assert_eq!(words(&dir.join("events.jsonl")), expected);
    }
    assert_eq!(served.drain(), Some(0));
}

/// What the agent said according to its events, which are numbered without a gap.
fn words(events: &std::path::Path) -> String {
    let events = fs::read_to_string(events).unwrap();
    let mut words = String::new();
    for (at, event) in events.lines().enumerate() {
        let event: Value = serde_json::from_str(event).unwrap();
        assert_eq!(event["seq"], at + 1);
        if event["type"] == "text" {
            words.push_str(text(&event["data"], "text"));
            words.push('\n');
        }
    }
    words
}

/// Fault 42. Injected: each flush of the database takes two seconds. Held: rows are read while a
/// flush is under way, without waiting for it; a run that works one second and may take five is
/// not timed out for it; what is added is shown when it is durable and not before.
///
/// Promise 22.
#[test]
fn a_slow_disk_delays_no_reader_and_times_nobody_out() {
    let agents = "[agents.worker]\nadapter = \"shell\"\ncommand = \"sleep 1\"\n\
                  [defaults]\nworkspace = \"shared\"\nreview = \"auto\"\n";
    let project = Project::new(agents);
    let Some(faults) = Faults::new(&project) else {
        return;
    };
    let mut served = project.serve_with(&[], &faults.environment());
    faults.set("sync slow:2000 orch.db");
    let mut adding = project
        .orch(&["task", "add", "slow", "--timeout", "5s"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("a slow flush", || (faults.hits("Slow") > 0).then_some(()));
    let tasks = project.client().tasks(&TaskQuery::default()).unwrap();
    assert!(tasks.is_empty(), "nothing is shown before it is durable");
    assert_eq!(project.client().status().unwrap().service, "serving");
    let ended = adding.try_wait().unwrap();
    assert!(ended.is_none(), "the flush was still under way");
    assert!(adding.wait().unwrap().success());
    served.wait_for_events("task_done", 1);
    let task = ids(&project).pop().unwrap();
    assert_eq!(project.last_run(&task)["status"], "completed");
    assert_eq!(served.drain(), Some(0));
}
