//! A wall clock that is set while agents work and tasks wait.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use orch_field::{Project, Served};
use rustix::process::Signal;

use crate::machine::{Gate, let_it_last};

/// Moves the wall clock of whoever loads it by as many seconds as `ORCH_TEST_CLOCK` holds at the
/// moment. The other clocks stay as they are: orch asks the kernel for these, past any library.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *now) {
    long told = syscall(SYS_clock_gettime, id, now);
    const char *path = getenv("ORCH_TEST_CLOCK");
    if (told == 0 && id == CLOCK_REALTIME && path) {
        char text[32] = {0};
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) now->tv_sec += atoll(text);
            close(file);
        }
    }
    return (int)told;
}
"#;

const HOUR: i64 = 3_600;
const TEN_YEARS: i64 = 10 * 365 * 24 * HOUR;

/// A wall clock that a test can set.
struct WallClock {
    library: PathBuf,
    file: PathBuf,
}

impl WallClock {
    fn new(project: &Project) -> Option<Self> {
        let source = project.outside("clock.c");
        let library = project.outside("clock.so");
        std::fs::write(&source, CLOCK).unwrap();
        let arguments = ["-shared", "-fPIC", "-O1", "-o"];
        let made = Command::new("cc")
            .args(arguments)
            .args([&library, &source])
            .status();
        if !cfg!(target_os = "linux") || !made.is_ok_and(|status| status.success()) {
            println!("skipped: there is no C compiler to make a clock with");
            return None;
        }
        let clock = Self {
            library,
            file: project.outside("clock"),
        };
        clock.set(0);
        Some(clock)
    }

    /// Puts it this many seconds ahead of the true time.
    fn set(&self, seconds: i64) {
        // Renamed into place: nobody reads half a number.
        let next = self.file.with_extension("next");
        std::fs::write(&next, seconds.to_string()).unwrap();
        std::fs::rename(next, &self.file).unwrap();
    }

    fn serve(&self, project: &Project) -> Served {
        let environment = [
            ("GATE", project.outside("gate")),
            ("LD_PRELOAD", self.library.clone()),
            ("ORCH_TEST_CLOCK", self.file.clone()),
        ];
        project.serve_with(&[], &environment)
    }
}

const AGENTS: &str = "\
[agents.waiter]\nadapter = \"shell\"\ncommand = 'read nothing < \"$GATE\"; exit 3'\n\
env = { GATE = \"$GATE\" }\nmax_parallel = 3\n\
[agents.failing]\nadapter = \"shell\"\ncommand = 'exit 1'\nmax_parallel = 3\n\
[defaults]\nworkspace = \"shared\"\nreview = \"auto\"\n[retry]\nbase = \"3s\"\nmax = \"3s\"\n";

/// Fault 28. Injected: the wall clock is put an hour ahead, an hour back, ten years ahead and ten
/// years back while agents with a timeout and a stall timeout of half an hour work. Held: none of
/// them is timed out, their ends are recorded with their exit status, and the events have their
/// order.
///
/// Promises 2, 20, 31.
#[test]
fn clock_jumps_change_nothing() {
    let project = Project::new(AGENTS);
    let mut gate = Gate::new(&project);
    let Some(clock) = WallClock::new(&project) else {
        return;
    };
    let limits = [
        "--agent",
        "waiter",
        "--timeout",
        "30m",
        "--stall-timeout",
        "30m",
    ];
    let limits = [&limits[..], &["--max-attempts", "1"]].concat();
    let tasks = [(); 3].map(|()| project.add("task", &limits));
    let mut daemon = clock.serve(&project);
    daemon.wait_for_events("run_running", 3);
    for jump in [HOUR, -HOUR, TEN_YEARS, -TEN_YEARS] {
        clock.set(jump);
        let_it_last(Duration::from_millis(1_500));
    }
    for task in &tasks {
        assert_eq!(project.last_run(task)["status"], "running");
    }
    gate.open(3);
    daemon.wait_for_events("task_failed", 3);
    for task in &tasks {
        let run = project.last_run(task);
        assert_eq!(run["failure"]["code"], "exit_nonzero", "{run}");
        assert_eq!(run["exit_code"], 3, "{run}");
    }
    assert_eq!(daemon.drain(), Some(0));
    assert_events_in_order(&project);
}

fn assert_events_in_order(project: &Project) {
    let events = project.json(&["events"]);
    let events = events.as_array().unwrap().iter();
    let seen: Vec<u64> = events.map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(seen.len() > 10);
    assert!(
        seen.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "{seen:?}"
    );
}

/// Fault 29. Injected: of what a machine that slept for eight hours shows when it wakes, that the wall
/// clock is eight hours on and the clock of time awake is not. Held: no run is timed out or called
/// stalled because of the night, and its end is recorded with its exit status. (A machine is not
/// really put to sleep, which would move the clock of time since boot, too; that is done by hand
/// before a release.)
///
/// Promise 31.
#[test]
fn a_night_in_which_the_machine_slept_times_nobody_out() {
    let project = Project::new(AGENTS);
    let mut gate = Gate::new(&project);
    let Some(clock) = WallClock::new(&project) else {
        return;
    };
    let limits = [
        "--agent",
        "waiter",
        "--timeout",
        "1h",
        "--stall-timeout",
        "1h",
    ];
    let task = project.add("task", &[&limits[..], &["--max-attempts", "1"]].concat());
    let mut daemon = clock.serve(&project);
    daemon.wait_for_events("run_running", 1);
    clock.set(8 * HOUR);
    let_it_last(Duration::from_secs(3));
    assert_eq!(project.last_run(&task)["status"], "running");
    gate.open(1);
    daemon.wait_for_events("task_failed", 1);
    assert_eq!(project.last_run(&task)["exit_code"], 3);
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 28. Injected: the wall clock is put an hour back, then ten years back, then ten years ahead
/// while a task waits three seconds to be tried again. Held: it is tried again after its wait,
/// neither at once nor an hour later.
///
/// Promises 19, 31.
#[test]
fn a_retry_comes_after_its_wait_whatever_the_wall_clock_does() {
    let project = Project::new(AGENTS);
    let Some(clock) = WallClock::new(&project) else {
        return;
    };
    for (number, jump) in [-HOUR, -TEN_YEARS, TEN_YEARS].into_iter().enumerate() {
        clock.set(0);
        let mut daemon = clock.serve(&project);
        let title = format!("task {number}");
        let task = project.add(&title, &["--agent", "failing", "--max-attempts", "2"]);
        daemon.wait_for(|line| line["event"] == "task_retrying");
        let since = Instant::now();
        clock.set(jump);
        daemon.wait_for(|line| line["event"] == "task_failed" && line["task"] == *task);
        let waited = since.elapsed();
        let wait = Duration::from_secs(2)..Duration::from_secs(20);
        assert!(wait.contains(&waited), "{jump} s: waited {waited:?}");
        assert_eq!(daemon.drain(), Some(0));
    }
}

/// Fault 28. Injected: while a task waits three seconds to be tried again the daemon is killed, the
/// wall clock is put an hour back, then ten years ahead, and a new daemon is started. Held: the task
/// is tried again after its wait, neither at once nor an hour later.
///
/// Promises 19, 31.
#[test]
fn a_new_daemon_goes_on_by_the_clock_of_the_one_before() {
    let project = Project::new(AGENTS);
    let Some(clock) = WallClock::new(&project) else {
        return;
    };
    for (number, jump) in [-HOUR, TEN_YEARS].into_iter().enumerate() {
        clock.set(0);
        let mut daemon = clock.serve(&project);
        let title = format!("task {number}");
        let task = project.add(&title, &["--agent", "failing", "--max-attempts", "2"]);
        daemon.wait_for(|line| line["event"] == "task_retrying");
        let since = Instant::now();
        daemon.signal(Signal::KILL);
        drop(daemon);
        clock.set(jump);
        let mut daemon = clock.serve(&project);
        daemon.wait_for(|line| line["event"] == "task_failed" && line["task"] == *task);
        let waited = since.elapsed();
        let wait = Duration::from_secs(2)..Duration::from_secs(20);
        assert!(wait.contains(&waited), "{jump} s: waited {waited:?}");
        assert_eq!(daemon.drain(), Some(0));
    }
}
