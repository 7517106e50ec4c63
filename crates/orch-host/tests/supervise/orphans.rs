//! What is known of an agent whose shim was killed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use orch_core::run::{Exit, FailureCode};
use orch_host::supervise::{
    Source, Standing, StopSent, become_subreaper, reap_orphans, spawn_owned, stop,
};
use rustix::process::{Signal, kill_process};

use crate::bench::{Bench, assert_lost, is_alive, pid, program, wait_for_end};

crate::tests![
    an_agent_without_a_shim_is_unsupervised_and_then_lost,
    a_subreaper_learns_the_end_of_an_agent_without_a_shim,
    an_agent_is_found_by_its_marker_when_its_shim_died_at_once,
    an_end_that_the_shim_saw_is_known_though_it_died_before_it_recorded_it,
    an_agent_is_known_by_the_number_its_shim_could_not_give_a_name,
    what_an_agent_left_behind_is_not_taken_for_it_when_its_shim_died_at_once,
    a_shim_killed_at_any_moment_of_a_launch_is_not_misjudged,
    a_run_whose_directory_is_gone_is_not_lost_while_it_lives,
    a_run_whose_directory_is_gone_can_be_stopped_and_leaves_nothing,
    a_run_whose_directory_was_emptied_is_not_fresh_while_it_lives,
    an_agent_that_is_just_executing_is_not_fresh_when_its_directory_was_emptied,
];

/// Promises 3, 11.
fn an_agent_without_a_shim_is_unsupervised_and_then_lost() {
    let bench = Bench::new();
    bench.launch(&bench.shell("echo working; exec sleep 600"));
    bench.started();
    let Standing::Running { started_at } = bench.inspect() else {
        panic!("{:?}", bench.inspect());
    };
    let agent = bench.agent_pid();
    bench.kill_shim();
    let unsupervised = Standing::Unsupervised {
        pid: agent,
        started_at: Some(started_at),
    };
    assert_eq!(bench.inspect(), unsupervised);
    // Not started a second time while the first may still be at work.
    bench.launch(&bench.shell("echo twice >> ledger"));
    assert_eq!(bench.inspect(), unsupervised);

    kill_process(pid(agent), Signal::KILL).unwrap();
    wait_for_end(agent);
    assert_lost(&bench.inspect(), FailureCode::SupervisorDied);
    assert!(!bench.path("ledger").exists());
}

fn an_agent_is_found_by_its_marker_when_its_shim_died_at_once() {
    let bench = Bench::new();
    bench.launch(&bench.shell("exec sleep 600"));
    bench.started();
    let agent = bench.agent_pid();
    bench.kill_shim();
    forget_agent(&bench);
    let by_marker = Standing::Unsupervised {
        pid: agent,
        started_at: None,
    };
    assert_eq!(bench.inspect(), by_marker);
    kill_process(pid(agent), Signal::KILL).unwrap();
    wait_for_end(agent);
    // It printed nothing and nobody wrote its number down; it ran all the same.
    assert_lost(&bench.inspect(), FailureCode::SupervisorDied);
}

/// Leaves what a shim leaves that dies right after it started the agent.
fn forget_agent(bench: &Bench) {
    std::fs::remove_file(bench.dir.pid_record()).unwrap();
    std::fs::write(bench.dir.path().join("pid.temporary"), "").unwrap();
}

fn an_agent_is_known_by_the_number_its_shim_could_not_give_a_name() {
    let bench = Bench::new();
    bench.launch(&bench.shell("exec sleep 600"));
    bench.started();
    let agent = bench.agent_pid();
    bench.kill_shim();
    let unfinished = bench.dir.path().join("pid.temporary");
    std::fs::rename(bench.dir.pid_record(), unfinished).unwrap();
    let standing = bench.inspect();
    let known =
        matches!(standing, Standing::Unsupervised { pid, started_at: Some(_) } if pid == agent);
    assert!(known, "{standing:?}");
    kill_process(pid(agent), Signal::KILL).unwrap();
    wait_for_end(agent);
    assert_lost(&bench.inspect(), FailureCode::SupervisorDied);
}

/// Promises 2, 13.
fn an_end_that_the_shim_saw_is_known_though_it_died_before_it_recorded_it() {
    let bench = Bench::new();
    let mut spec = bench.shell("sleep 600 & exit 7");
    // Long enough for the shim to be killed in.
    spec.limits.leak_grace_ms = 600_000;
    bench.launch(&spec);
    bench.started();
    let agent = bench.agent_pid();
    wait_for_end(agent);
    // The shim is woken by the end; it leaves word before it does anything else.
    let reserve = bench.dir.path().join("exit.reserve");
    let give_up = Instant::now() + Duration::from_secs(60);
    while std::fs::read(&reserve).unwrap().first() != Some(&b'{') {
        assert!(Instant::now() < give_up, "the shim left no word");
        std::thread::yield_now();
    }
    bench.kill_shim();
    let Standing::Ended(record) = bench.inspect() else {
        panic!("{:?}", bench.inspect());
    };
    assert_eq!(
        (record.exit, record.source),
        (Exit::Code(7), Source::Daemon)
    );
    assert_ne!(stop(&bench.dir).unwrap(), StopSent::Nothing);
}

/// Promise 3.
fn what_an_agent_left_behind_is_not_taken_for_it_when_its_shim_died_at_once() {
    let bench = Bench::new();
    let mut fifo = bench.fifo();
    let script = "sleep 600 & setsid sh -c 'echo $$ > fifo; exec sleep 600' & exec sleep 600";
    bench.launch(&bench.shell(script));
    bench.started();
    let left: i32 = fifo.line().parse().unwrap();
    let agent = bench.agent_pid();
    bench.kill_shim();
    forget_agent(&bench);
    kill_process(pid(agent), Signal::KILL).unwrap();
    wait_for_end(agent);
    assert!(is_alive(left));
    assert_lost(&bench.inspect(), FailureCode::SupervisorDied);
    assert_ne!(stop(&bench.dir).unwrap(), StopSent::Nothing);
}

fn a_shim_killed_at_any_moment_of_a_launch_is_not_misjudged() {
    for round in 0..60_u32 {
        let bench = Bench::new();
        bench.launch(&bench.shell("echo start >> ledger; exec sleep 600"));
        // The gate is the first thing that names the shim; there is no event for it.
        let shim = loop {
            let text = std::fs::read(bench.dir.started()).unwrap_or_default();
            if let Ok(gate) = serde_json::from_slice::<serde_json::Value>(&text) {
                break gate["pid"].as_i64().unwrap();
            }
        };
        let until = Instant::now() + Duration::from_micros(u64::from(round) * 40);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        kill_process(pid(i32::try_from(shim).unwrap()), Signal::KILL).unwrap();
        bench.wait_for_lock();
        match bench.inspect() {
            // Nothing runs and nothing will: another attempt may start.
            Standing::NotStarted(failure) => {
                assert_eq!(failure.code, FailureCode::SupervisorDiedAtLaunch);
                assert!(!bench.path("ledger").exists(), "round {round}");
                assert_eq!(stop(&bench.dir).unwrap(), StopSent::Nothing);
            }
            Standing::Unsupervised { .. } => {
                assert_ne!(stop(&bench.dir).unwrap(), StopSent::Nothing);
            }
            // It died between saying that it starts the agent and starting it.
            Standing::Lost(failure) => {
                assert_eq!(failure.code, FailureCode::SupervisorDied);
                assert_eq!(stop(&bench.dir).unwrap(), StopSent::Nothing);
            }
            other => panic!("round {round}: {other:?}"),
        }
    }
}

/// Launches an agent that has executed all it will: it is known by its marker from here on.
fn launch_settled(bench: &Bench) {
    let mut fifo = bench.fifo();
    bench.launch(&bench.shell("mkfifo never; echo settled > fifo; read line < never"));
    bench.started();
    assert_eq!(fifo.line(), "settled");
}

fn a_run_whose_directory_is_gone_is_not_lost_while_it_lives() {
    let bench = Bench::new();
    launch_settled(&bench);
    let (shim, agent) = (bench.shim_pid(), bench.agent_pid());
    std::fs::remove_dir_all(bench.dir.path()).unwrap();
    let by_marker = Standing::Unsupervised {
        pid: agent,
        started_at: None,
    };
    assert_eq!(bench.inspect(), by_marker);

    kill_process(pid(agent), Signal::KILL).unwrap();
    wait_for_end(shim);
    assert_lost(&bench.inspect(), FailureCode::RecordMissing);
}

fn a_run_whose_directory_is_gone_can_be_stopped_and_leaves_nothing() {
    let bench = Bench::new();
    let mut fifo = bench.fifo();
    // One that kept the marker and one that did not; the agent itself cleared it, too.
    let script = "setsid sh -c 'echo $$ > fifo; exec sleep 600' & \
        exec env -i /bin/sh -c 'echo $$ > fifo; exec /bin/sleep 600'";
    bench.launch(&bench.shell(script));
    bench.started();
    let shim = bench.shim_pid();
    let both = [fifo.line(), fifo.line()].map(|line| line.parse::<i32>().unwrap());
    std::fs::remove_dir_all(bench.dir.path()).unwrap();

    let killed = StopSent::Killed {
        processes: 3,
        survivors: 0,
    };
    assert_eq!(stop(&bench.dir).unwrap(), killed);
    for process in [shim, both[0], both[1]] {
        assert!(!is_alive(process), "{process}");
    }
    assert_lost(&bench.inspect(), FailureCode::RecordMissing);
    assert_eq!(stop(&bench.dir).unwrap(), StopSent::Nothing);
}

fn a_run_whose_directory_was_emptied_is_not_fresh_while_it_lives() {
    let bench = Bench::new();
    launch_settled(&bench);
    let agent = bench.agent_pid();
    std::fs::remove_dir_all(bench.dir.path()).unwrap();
    bench.dir.create().unwrap();
    assert!(matches!(bench.inspect(), Standing::Unsupervised { pid, .. } if pid == agent));
    stop(&bench.dir).unwrap();
    assert!(!is_alive(agent));
}

fn an_agent_that_is_just_executing_is_not_fresh_when_its_directory_was_emptied() {
    let bench = Bench::new();
    // Executes itself for ever: at many moments it shows no environment.
    std::fs::write(bench.path("again"), "exec /bin/sh again").unwrap();
    bench.launch(&bench.shell("exec /bin/sh again"));
    bench.started();
    std::fs::remove_dir_all(bench.dir.path()).unwrap();
    bench.dir.create().unwrap();
    for _ in 0..200 {
        let standing = bench.inspect();
        assert_ne!(standing, Standing::Fresh);
    }
    stop(&bench.dir).unwrap();
}

/// Promises 2, 13.
fn a_subreaper_learns_the_end_of_an_agent_without_a_shim() {
    let bench = Bench::new();
    // A process of its own: the tests beside this one must keep their own children.
    let mut subreaper = Command::new(program());
    subreaper
        .args([
            "__role".as_ref(),
            "subreaper".as_ref(),
            bench.temporary.path(),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = spawn_owned(&mut subreaper).unwrap();
    let output = output.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Plays a daemon that is a subreaper and outlives the shim.
pub fn subreaper(_temporary: &Path) {
    become_subreaper().unwrap();
    let bench = Bench::new();
    let mut fifo = bench.fifo();
    // Children of the daemon's own, one that has ended and one that has not.
    let mut ended = spawn_owned(Command::new("sh").args(["-c", "exit 6"])).unwrap();
    wait_for_end(i32::try_from(ended.child().id()).unwrap());
    let mut lasting = spawn_owned(Command::new("sleep").arg("600")).unwrap();

    let script = "setsid sh -c 'echo $$ > fifo; exec sleep 600' & read line < go; exit 7";
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bench.path("go"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    bench.launch(&bench.shell(script));
    bench.started();
    let tool: i32 = fifo.line().parse().unwrap();
    let agent = bench.agent_pid();
    bench.kill_shim();
    assert!(matches!(bench.inspect(), Standing::Unsupervised { .. }));
    std::fs::write(bench.path("go"), "on\n").unwrap();
    wait_for_end(agent);

    let record = bench.record();
    assert_eq!(
        (record.exit, record.source),
        (Exit::Code(7), Source::Daemon)
    );
    // The same answer again, and the tool that was left behind can still be ended.
    assert_eq!(bench.record(), record);
    stop(&bench.dir).unwrap();
    wait_for_end(tool);
    an_agent_that_nobody_wrote_down_is_known_by_its_session();
    // Whatever was fetched, the daemon's own children were not.
    reap_orphans().unwrap();
    assert_eq!(ended.wait().unwrap().code(), Some(6));
    lasting.child().kill().unwrap();
    assert!(!lasting.wait().unwrap().success());
    no_zombie_is_left();
}

/// The shim was killed between making the agent and writing down which process that is.
fn an_agent_that_nobody_wrote_down_is_known_by_its_session() {
    for leads_a_group in [false, true] {
        let bench = Bench::new();
        let mut fifo = bench.fifo();
        // Another leader of a group in the same session, which ends first and in another way.
        let other = match leads_a_group {
            true => "read line < first; set -m; sh -c 'exit 3' & ",
            false => "",
        };
        let script = format!("echo $$ > fifo; {other}read line < go; exit 7");
        let mode = rustix::fs::Mode::RWXU;
        for gate in ["first", "go"] {
            rustix::fs::mkfifoat(rustix::fs::CWD, bench.path(gate), mode).unwrap();
        }
        bench.launch(&bench.shell(&script));
        bench.started();
        let agent: i32 = fifo.line().parse().unwrap();
        bench.kill_shim();
        forget_agent(&bench);
        let by_marker = Standing::Unsupervised {
            pid: agent,
            started_at: None,
        };
        assert_eq!(bench.inspect(), by_marker);
        if leads_a_group {
            std::fs::write(bench.path("first"), "on\n").unwrap();
        }
        std::fs::write(bench.path("go"), "on\n").unwrap();
        wait_for_end(agent);
        let record = bench.record();
        assert_eq!(
            (record.exit, record.source),
            (Exit::Code(7), Source::Daemon)
        );
        assert_eq!(bench.record(), record);
    }
}

fn no_zombie_is_left() {
    let this = std::process::id().to_string();
    reap_orphans().unwrap();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path().join("stat");
        let stat = std::fs::read_to_string(path).unwrap_or_default();
        if let Some((_, rest)) = stat.rsplit_once(") ") {
            let fields: Vec<&str> = rest.split(' ').collect();
            assert!(fields[0] != "Z" || fields[1] != this, "{stat}");
        }
    }
}
