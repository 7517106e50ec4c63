//! Each check is shown a project in which all is well and one thing is not.

use std::fs;
use std::path::Path;

use rusqlite::types::Value as Cell;
use serde_json::json;

use super::*;

fn row(cells: &[(&str, Cell)]) -> Row {
    let cells = cells.iter().cloned();
    Row(cells.map(|(name, cell)| (name.to_owned(), cell)).collect())
}

fn text(value: &str) -> Cell {
    Cell::Text(value.to_owned())
}

fn set(row: &mut Row, column: &str, cell: Cell) {
    row.0.insert(column.to_owned(), cell);
}

/// Two tasks: the first failed once and then did its work, the second waited for it.
fn good(dir: &Path) -> Scene {
    fs::write(dir.join("out"), "printed\n").unwrap();
    let mut scene = Scene {
        integrity: vec!["ok".to_owned()],
        dependencies: vec![row(&[
            ("task", text("t2")),
            ("needs", text("t1")),
            ("kind", text("succeeded")),
        ])],
        counts: vec![row(&[
            ("status", text("done")),
            ("number", Cell::Integer(2)),
        ])],
        boot_ms: 1_000_000,
        ..Scene::default()
    };
    scene.ledger.daemon = vec![DaemonNote::Started(10)];
    scene.ledger.acknowledged = ["t1".to_owned(), "t2".to_owned()].into();
    scene.tasks = vec![task("t1", "r2", 2), task("t2", "r3", 1)];
    add_run(&mut scene, dir, ("r1", "t1", 1), Ending::Code(7), 100);
    add_run(&mut scene, dir, ("r2", "t1", 2), Ending::Code(0), 200);
    fact(&mut scene, "task_done", "", "t1", 260);
    add_run(&mut scene, dir, ("r3", "t2", 1), Ending::Code(0), 300);
    fact(&mut scene, "task_done", "", "t2", 360);
    scene
}

fn task(id: &str, last_run: &str, runs: i64) -> Row {
    row(&[
        ("id", text(id)),
        ("status", text("done")),
        ("last_run", text(last_run)),
        ("unmet", Cell::Integer(0)),
        ("runs", Cell::Integer(runs)),
        ("attempts", Cell::Integer(runs)),
        ("max_attempts", Cell::Integer(3)),
    ])
}

/// A run from `at` to `at + 50` that was recorded 5 ms later.
fn add_run(scene: &mut Scene, dir: &Path, names: (&str, &str, i64), how: Ending, at: i64) {
    let (id, task, attempt) = names;
    let Ending::Code(code) = how else {
        panic!("only codes are needed here")
    };
    let status = if code == 0 { "completed" } else { "failed" };
    let mut run = row(&[
        ("id", text(id)),
        ("task", text(task)),
        ("adapter", text("shell")),
        ("attempt", Cell::Integer(attempt)),
        ("status", text(status)),
        ("exit_code", Cell::Integer(code.into())),
        ("finished_at", Cell::Integer(scene.boot_ms + at + 50)),
        ("events", Cell::Integer(1)),
        ("branch", text("orch/x")),
    ]);
    if code != 0 {
        for column in ["failure_code", "failure_message", "failure_evidence"] {
            set(&mut run, column, text("exit_nonzero"));
        }
    }
    let copy = json!({ "status": status, "attempt": attempt, "exit_code": code,
        "failure": { "code": if code == 0 { None } else { Some("exit_nonzero") } } });
    let files = RunFiles {
        present: true,
        started: true,
        exit: Some(json!({ "record": { "end": "ended", "exit": { "code": code } } })),
        run_json: Some(copy),
        events: b"{\"seq\":1}\n".to_vec(),
        out: b"printed\n".to_vec(),
        ..RunFiles::default()
    };
    let account = Account {
        starts: vec![Start {
            task: task.to_owned(),
            attempt: attempt as u32,
            pid: 7,
            start_time: 7,
            at,
        }],
        out: Stream {
            files: vec![dir.join("out")],
            finished: 1,
        },
        end: Some(AgentEnd {
            how,
            at: at + 50,
            parent: "orch".to_owned(),
        }),
        ..Account::default()
    };
    scene.runs.push(run);
    scene.files.insert(id.to_owned(), files);
    scene.ledger.runs.insert(id.to_owned(), account);
    scene.work.push(Work {
        run: id.to_owned(),
        name: "made".to_owned(),
        in_commit: true,
        reachable: true,
        on_target: true,
    });
    fact(scene, "run_starting", id, task, at - 5);
    fact(scene, "run_ended", id, task, at + 55);
    let end = scene.events.last_mut().unwrap();
    let word = if code == 0 { status } else { "exit_nonzero" };
    set(end, "word", text(word));
}

fn fact(scene: &mut Scene, kind: &str, run: &str, task: &str, at: i64) {
    let fact = row(&[
        ("seq", Cell::Integer(scene.events.len() as i64 + 1)),
        ("kind", text(kind)),
        ("run", text(run)),
        ("task", text(task)),
        ("time", Cell::Integer(scene.boot_ms + at)),
    ]);
    scene.events.push(fact);
}

/// What is found after one change to a project in which all is well.
fn found(change: impl FnOnce(&mut Scene)) -> Vec<&'static str> {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = good(dir.path());
    change(&mut scene);
    let expect = Expect {
        grace_ms: 0,
        max_agents: 1,
        ..Expect::default()
    };
    let violations = judge(&scene, &expect);
    let mut checks: Vec<&str> = violations.iter().map(|it| it.check).collect();
    checks.dedup();
    checks
}

#[test]
fn nothing_is_found_where_all_is_well() {
    assert_eq!(found(|_| {}), Vec::<&str>::new());
}

fn account<'a>(scene: &'a mut Scene, run: &str) -> &'a mut Account {
    scene.ledger.runs.get_mut(run).unwrap()
}

fn files<'a>(scene: &'a mut Scene, run: &str) -> &'a mut RunFiles {
    scene.files.get_mut(run).unwrap()
}

/// Makes the first run one that nobody saw the end of.
fn lose(scene: &mut Scene) {
    let run = &mut scene.runs[0];
    set(run, "status", text("lost"));
    set(run, "exit_code", Cell::Null);
    files(scene, "r1").exit = None;
    files(scene, "r1").run_json.as_mut().unwrap()["status"] = "lost".into();
    files(scene, "r1").run_json.as_mut().unwrap()["exit_code"] = serde_json::Value::Null;
}

#[test]
fn an_invented_or_folded_status_is_found() {
    let wrong = found(|scene| {
        set(&mut scene.runs[0], "exit_code", Cell::Integer(137));
        files(scene, "r1").exit = None;
        files(scene, "r1").run_json = None;
    });
    assert_eq!(wrong, ["the status is the kernel's", "the copy agrees"]);
    let contradicted = found(|scene| {
        files(scene, "r1").exit = Some(json!({ "record": { "exit": { "code": 8 } } }));
    });
    assert_eq!(contradicted, ["record and row agree"]);
    let unaccounted = found(|scene| account(scene, "r1").end = None);
    assert_eq!(unaccounted, ["the status is the kernel's"]);
}

#[test]
fn a_run_that_is_called_stopped_and_had_ended_before_is_found() {
    let stopped = |asked: i64| {
        found(|scene| {
            set(&mut scene.runs[0], "status", text("cancelled"));
            set(&mut scene.runs[0], "stop", text("interrupt"));
            let run = files(scene, "r1").run_json.as_mut().unwrap();
            run["status"] = "cancelled".into();
            fact(scene, "run_stop_asked", "r1", "t1", asked);
        })
    };
    // It ran from 100 to 150.
    assert!(stopped(5_000).contains(&"what had ended was not stopped"));
    assert!(!stopped(160).contains(&"what had ended was not stopped"));
}

#[test]
fn an_exit_code_that_nobody_lived_to_see_is_found() {
    let orphaned = found(|scene| {
        let end = account(scene, "r1").end.as_mut().unwrap();
        end.parent = "systemd".to_owned();
    });
    assert_eq!(orphaned, ["the unseen is lost"]);
    let never_began = found(|scene| account(scene, "r1").starts.clear());
    assert!(
        never_began.contains(&"the unseen is lost"),
        "{never_began:?}"
    );
}

#[test]
fn lost_without_a_dead_witness_is_found_and_with_one_is_right() {
    assert_eq!(found(lose), ["lost has a cause"]);
    let daemon_lived = found(|scene| {
        lose(scene);
        account(scene, "r1").faults.shim_killed = vec![120];
    });
    assert_eq!(daemon_lived, ["lost has a cause"]);
    let daemon_died_before = found(|scene| {
        lose(scene);
        let created = Cell::Integer(scene.boot_ms + 95);
        set(&mut scene.runs[0], "created_at", created);
        account(scene, "r1").faults.shim_killed = vec![120];
        scene.ledger.daemon.insert(0, DaemonNote::Killed(9));
    });
    assert_eq!(daemon_died_before, ["lost has a cause"]);
    let both_died = found(|scene| {
        lose(scene);
        account(scene, "r1").faults.shim_killed = vec![120];
        scene.ledger.daemon.push(DaemonNote::Killed(121));
    });
    assert_eq!(both_died, Vec::<&str>::new());
    let made_up = found(|scene| {
        lose(scene);
        account(scene, "r1").faults.shim_killed = vec![120];
        scene.ledger.daemon.push(DaemonNote::Killed(121));
        set(&mut scene.runs[0], "exit_code", Cell::Integer(7));
        files(scene, "r1").run_json.as_mut().unwrap()["exit_code"] = 7.into();
    });
    assert_eq!(made_up, ["the unknown is lost"]);
}

#[test]
fn a_failure_without_reason_and_a_success_without_proof_are_found() {
    for column in ["failure_message", "failure_evidence"] {
        let silent = found(|scene| set(&mut scene.runs[0], column, text("")));
        assert_eq!(silent, ["failure has its reason"], "{column}");
    }
    let unproven = found(|scene| set(&mut scene.runs[1], "adapter", text("claude")));
    assert_eq!(unproven, ["success has its proof"]);
}

#[test]
fn a_stale_run_is_found() {
    let stale = found(|scene| {
        set(&mut scene.runs[2], "status", text("running"));
        set(&mut scene.runs[2], "finished_at", Cell::Null);
    });
    assert!(stale.contains(&"no run is stale"), "{stale:?}");
    assert!(stale.contains(&"run and task agree"), "{stale:?}");
}

#[test]
fn a_late_end_is_found_and_a_daemon_that_came_later_is_no_lateness() {
    let late = found(|scene| {
        let at = scene.boot_ms + 350 + 2_001;
        set(&mut scene.events[6], "time", Cell::Integer(at));
    });
    assert_eq!(late, ["an end is recorded in time"]);
    let excused = found(|scene| {
        let at = scene.boot_ms + 350 + 2_001;
        set(&mut scene.events[6], "time", Cell::Integer(at));
        scene.ledger.daemon.push(DaemonNote::Started(2_300));
    });
    assert_eq!(excused, Vec::<&str>::new());
}

#[test]
fn rows_that_disagree_are_found() {
    let retried = found(|scene| {
        set(&mut scene.tasks[1], "status", text("failed"));
        let failed = [("status", text("failed")), ("number", Cell::Integer(1))];
        scene.counts.push(row(&failed));
        set(&mut scene.counts[0], "number", Cell::Integer(1));
    });
    assert_eq!(retried, ["run and task agree"]);
    let miscounted = found(|scene| set(&mut scene.tasks[0], "unmet", Cell::Integer(1)));
    assert_eq!(miscounted, ["counts agree"]);
    let two_ends = found(|scene| fact(scene, "run_ended", "r1", "t1", 400));
    assert_eq!(two_ends, ["an end is told once"]);
    let other = found(|scene| set(&mut scene.events[1], "word", text("signaled")));
    assert_eq!(other, ["an end is told once"]);
    let moving = found(|scene| {
        set(&mut scene.tasks[1], "status", text("review"));
        set(&mut scene.tasks[1], "review_wait", text("landing"));
        let review = [("status", text("review")), ("number", Cell::Integer(1))];
        scene.counts.push(row(&review));
        set(&mut scene.counts[0], "number", Cell::Integer(1));
    });
    assert_eq!(moving, ["run and task agree"]);
}

#[test]
fn a_second_start_a_twin_and_a_leftover_are_found() {
    let twice = found(|scene| {
        let start = account(scene, "r1").starts[0].clone();
        account(scene, "r1").starts.push(Start { pid: 8, ..start });
    });
    assert!(twice.contains(&"an attempt starts once"), "{twice:?}");
    let twin = found(|scene| account(scene, "r2").starts[0].at = 120);
    assert_eq!(twin, ["attempts do not overlap", "slots are kept"]);
    let left = found(|scene| {
        scene.left.push(Left {
            run: "r1".to_owned(),
            what: "42 sleep".to_owned(),
            pid: 42,
            start_time: 1,
        });
    });
    assert_eq!(left, ["nothing is left running"]);
}

#[test]
fn a_dependant_that_does_not_wait_is_found() {
    let early = found(|scene| {
        // The end of the first task is told last.
        let done = scene.events.remove(4);
        scene.events.push(done);
        for (event, seq) in scene.events.iter_mut().zip(1..) {
            set(event, "seq", Cell::Integer(seq));
        }
    });
    assert_eq!(early, ["dependants wait"]);
}

#[test]
fn attempts_that_are_miscounted_are_found() {
    let more = found(|scene| set(&mut scene.tasks[0], "max_attempts", Cell::Integer(1)));
    assert_eq!(more, ["attempts are counted"]);
    let less = found(|scene| set(&mut scene.tasks[0], "attempts", Cell::Integer(1)));
    assert_eq!(less, ["attempts are counted"]);
}

#[test]
fn a_run_that_was_started_is_not_not_started() {
    let wrong = found(|scene| {
        lose(scene);
        set(&mut scene.runs[0], "status", text("not_started"));
        files(scene, "r1").run_json.as_mut().unwrap()["status"] = "not_started".into();
        set(&mut scene.tasks[0], "attempts", Cell::Integer(1));
    });
    assert_eq!(wrong, ["not started is true"]);
}

#[test]
fn a_gap_a_torn_event_and_a_changed_byte_are_found() {
    let gap = found(|scene| set(&mut scene.events[2], "seq", Cell::Integer(9)));
    assert!(gap.contains(&"facts have no gap"), "{gap:?}");
    for events in [
        "{\"seq\":2}\n",
        "{\"seq\":1}",
        "{\"seq\":1}\n{\"seq\":2}\n",
        "torn\n",
    ] {
        let wrong = found(|scene| files(scene, "r1").events = events.into());
        assert_eq!(wrong, ["events have no gap"], "{events}");
    }
    for out in ["printed", "printeD\n", "printed\nmore", ""] {
        let wrong = found(|scene| files(scene, "r1").out = out.into());
        assert_eq!(wrong, ["output is whole"], "{out}");
    }
}

#[test]
fn a_lost_acknowledgement_and_a_damaged_file_are_found() {
    let gone = found(|scene| scene.ledger.acknowledged.extend(["t3".to_owned()]));
    assert_eq!(gone, ["what was acknowledged is kept"]);
    let damaged = found(|scene| scene.integrity = vec!["row 3 missing".to_owned()]);
    assert_eq!(damaged, ["the file is sound"]);
}

#[test]
fn work_that_is_gone_or_not_landed_is_found() {
    let gone = found(|scene| scene.work[0].reachable = false);
    assert_eq!(gone, ["work is kept"]);
    let elsewhere = found(|scene| scene.work[0].on_target = false);
    assert_eq!(elsewhere, ["done is landed"]);
}

#[test]
fn the_ledger_is_read_as_the_shell_writes_it() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::new(dir.path().join("ledger"));
    let script = format!("{PRELUDE}\nbegin\nprintf x > file\nput file\nwork made\ndie 9\n");
    let ended = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(dir.path())
        .env("LEDGER", ledger.dir())
        .env("ORCH_RUN_ID", "run_1")
        .env("ORCH_TASK_ID", "tsk_1")
        .env("ORCH_ATTEMPT", "2")
        .output()
        .unwrap();
    assert_eq!(ended.stdout, b"x");
    ledger.shim_killed("run_1");
    ledger.daemon_killed();
    let accounts = ledger.read();
    let account = &accounts.runs["run_1"];
    let start = &account.starts[0];
    assert_eq!((start.task.as_str(), start.attempt), ("tsk_1", 2));
    assert!((uptime_ms() - start.at).abs() < 60_000, "{start:?}");
    assert_eq!(account.out.finished, 1);
    assert_eq!(account.work, ["made"]);
    let end = account.end.as_ref().unwrap();
    assert_eq!(end.how, Ending::Signal(9));
    assert!(!end.parent.is_empty());
    assert_eq!(account.faults.shim_killed.len(), 1);
    assert_eq!(accounts.daemon_kills().count(), 1);
}
