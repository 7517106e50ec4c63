//! How a driver and its agent are made to end.

use std::time::{Duration, Instant};

use orch_core::outcome::Verdict;
use orch_core::run::{Exit, FailureCode};
use orch_host::adapter::find;
use orch_host::supervise::{ExitRecord, stop};
use rustix::process::{Pid, Signal, kill_process};

use crate::agent::LAST_WORDS;
use crate::bench::Bench;
use crate::driver::{Driven, Driver, start};

crate::tests![
    an_agent_is_told_to_stop_in_its_own_language,
    an_agent_that_does_not_stop_is_not_waited_for_for_ever,
    asked_twice_nothing_is_waited_for,
    an_agent_that_does_not_leave_is_ended_and_its_success_stays,
    a_stop_reaches_the_agent_through_the_supervisor,
    what_an_agent_leaves_behind_is_named_once,
    a_driver_that_is_killed_takes_its_agent_with_it,
];

fn player(part: &str) -> Driver {
    let program = std::env::current_exe().unwrap();
    let command = [program.to_str().unwrap(), "__agent", part];
    start(&["--permission", "edits"], &command, "Do it.")
}

fn signal(driver: &Driver, signal: Signal) {
    kill_process(Pid::from_child(&driver.child), signal).unwrap();
}

fn stopped(part: &str, with: Signal) -> Driven {
    let mut driver = player(part);
    driver.until(r#""working""#);
    signal(&driver, with);
    driver.finish()
}

/// Promise 14.
fn an_agent_is_told_to_stop_in_its_own_language() {
    for with in [Signal::TERM, Signal::INT] {
        let driven = stopped("obeys-cancel", with);
        assert_eq!(driven.failure().0, FailureCode::AgentError);
        assert!(driven.failure().1.contains("cancelled"));
        assert!(
            driven
                .lines
                .iter()
                .any(|line| line.contains("I was told to stop"))
        );
        let left = driven.own().last().unwrap().to_string();
        assert!(left.contains(r#""asked":"closed""#), "{left}");
    }
    stopped("succeeds-on-cancel", Signal::TERM).assert_success();
}

fn an_agent_that_does_not_stop_is_not_waited_for_for_ever() {
    let begun = Instant::now();
    let driven = stopped("ignores-cancel", Signal::TERM);
    assert_eq!(driven.summary.verdict, Verdict::NoResult);
    assert_eq!(driven.status.code(), Some(1));
    assert!(begun.elapsed() >= Duration::from_secs(5));
}

fn asked_twice_nothing_is_waited_for() {
    let mut driver = player("ignores-cancel");
    driver.until(r#""working""#);
    signal(&driver, Signal::TERM);
    driver.until("I was told to stop");
    signal(&driver, Signal::TERM);
    driver.until(r#""how":"stopped""#);
    assert_eq!(driver.finish().summary.verdict, Verdict::NoResult);
}

fn an_agent_that_does_not_leave_is_ended_and_its_success_stays() {
    for (part, asked) in [("stays-on-term", "terminated"), ("stays", "killed")] {
        let driven = player(part).finish();
        driven.assert_success();
        assert_eq!(driven.summary.result.as_deref(), Some(LAST_WORDS));
        assert_eq!(driven.status.code(), Some(0));
        let left = driven.own().last().unwrap().to_string();
        assert!(left.contains(asked), "{left}");
    }
}

/// What a supervisor of a driver wrote down, and what the adapter makes of it.
fn supervised(bench: &Bench, part: &str, stop_grace_ms: u64) {
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().unwrap();
    let mut spec = bench.command(&[
        program,
        "__acp",
        "--permission",
        "edits",
        "--",
        program,
        "__agent",
        part,
        "0",
    ]);
    let prompt = bench.path("prompt");
    std::fs::write(&prompt, "Do it.").unwrap();
    spec.stdin = Some(prompt);
    spec.limits.stop_grace_ms = stop_grace_ms;
    bench.launch(&spec);
}

fn verdict(bench: &Bench) -> Verdict {
    let mut reader = (find("acp").unwrap().reader)();
    for line in bench.out_lines() {
        reader.line(line.as_bytes());
    }
    reader.summary().verdict
}

fn ended(bench: &Bench) -> ExitRecord {
    bench.ended();
    bench.record()
}

/// Polled, because a file that grows is no event everywhere.
fn wait_for(bench: &Bench, text: &str) {
    while !bench.out_lines().iter().any(|line| line.contains(text)) {
        std::thread::yield_now();
    }
}

/// Promise 14.
fn a_stop_reaches_the_agent_through_the_supervisor() {
    let bench = Bench::new();
    supervised(&bench, "obeys-cancel", 60_000);
    bench.started();
    wait_for(&bench, "working");
    stop(&bench.dir).unwrap();
    let record = ended(&bench);
    assert!(record.stopped && record.leaked_count == 0, "{record:?}");
    assert_eq!(record.exit, Exit::Code(0));
    assert!(matches!(verdict(&bench), Verdict::Error { .. }));
}

fn what_an_agent_leaves_behind_is_named_once() {
    let bench = Bench::new();
    supervised(&bench, "leaves-a-child", 1_000);
    let record = ended(&bench);
    assert_eq!(record.exit, Exit::Code(7));
    let names: Vec<&str> = record.leaked.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["sleep"]);
    // An agent that had to be ended after its work is not something it left behind.
    let bench = Bench::new();
    supervised(&bench, "stays", 1_000);
    let record = ended(&bench);
    assert_eq!((record.exit, record.leaked_count), (Exit::Code(0), 0));
    assert_eq!(verdict(&bench), Verdict::Success);
}

/// The driver is killed in the middle of a turn: its agent hears nobody any more and leaves, or is
/// ended by the supervisor.
fn a_driver_that_is_killed_takes_its_agent_with_it() {
    let bench = Bench::new();
    supervised(&bench, "obeys-cancel", 1_000);
    bench.started();
    wait_for(&bench, "working");
    kill_process(Pid::from_raw(bench.agent_pid()).unwrap(), Signal::KILL).unwrap();
    let record = ended(&bench);
    assert_eq!(
        record.exit,
        Exit::Signal {
            number: 9,
            core: false
        }
    );
    assert_eq!(verdict(&bench), Verdict::NoResult);
}
