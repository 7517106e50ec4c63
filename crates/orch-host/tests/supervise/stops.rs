//! How an agent is made to end.

use std::process::{Child, Command};

use orch_core::outcome::Enforced;
use orch_core::run::Exit;
use orch_host::supervise::{Standing, StopSent, StopSignal, stop};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use crate::bench::{Bench, assert_lost, is_alive, pid, signal, wait_for_end};

crate::tests![
    a_timeout_ends_it,
    a_stall_ends_it_and_output_puts_that_off,
    too_much_output_ends_it,
    an_agent_that_ignores_the_request_is_killed_with_its_tree,
    a_stop_is_a_request,
    an_agent_may_be_interrupted_instead_of_terminated,
    a_tree_of_more_processes_than_descriptors_is_killed,
    a_repeated_stop_leaves_the_agent_its_grace,
    a_repeated_stop_does_not_put_the_end_off,
    a_stopped_process_can_be_stopped,
    signals_that_are_not_a_stop_do_not_end_a_shim,
    a_stop_reaches_a_tree_without_a_shim,
    never_signal_a_stranger,
    stopping_what_is_over_does_nothing,
];

fn a_timeout_ends_it() {
    let bench = Bench::new();
    let mut spec = bench.shell("echo $$; exec sleep 600");
    spec.limits.timeout_ms = Some(150);
    let record = bench.run(&spec);
    assert_eq!(record.enforced, Some(Enforced::Timeout { limit_ms: 150 }));
    assert_eq!(record.exit, signal(15));
    assert!(!record.stopped);
    assert!(record.active_ms.unwrap() >= 150);
}

fn a_stall_ends_it_and_output_puts_that_off() {
    let bench = Bench::new();
    let script = "for i in 1 2 3 4 5 6 7 8; do echo $i >&2; sleep 0.1; done; exec sleep 600";
    let mut spec = bench.shell(script);
    spec.limits.stall_ms = Some(500);
    let record = bench.run(&spec);
    assert_eq!(record.enforced, Some(Enforced::Stall { limit_ms: 500 }));
    assert!(record.active_ms.unwrap() >= 1_200, "{record:?}");
    assert_eq!(record.err_bytes, Some(16));
}

fn too_much_output_ends_it() {
    let bench = Bench::new();
    let mut spec = bench.command(&["yes"]);
    spec.limits.output_bytes = Some(100_000);
    let record = bench.run(&spec);
    let limit_bytes = 100_000;
    assert_eq!(record.enforced, Some(Enforced::Output { limit_bytes }));
    assert_eq!(record.exit, signal(15));
    assert!(record.out_bytes > Some(limit_bytes));
    assert_eq!(record.out_bytes, Some(bench.out().len() as u64));
}

/// Fault 19. Injected: an agent and its tool, in a session of its own, that ignore TERM, INT and HUP.
/// Held: both are dead within two seconds after the grace.
///
/// Promise 14.
fn an_agent_that_ignores_the_request_is_killed_with_its_tree() {
    let bench = Bench::new();
    let mut fifo = bench.fifo();
    let script = "trap '' TERM INT HUP; \
                  setsid sh -c 'echo $$ > fifo; while :; do sleep 600; done' & \
                  echo $$ > fifo; while :; do sleep 600; done";
    let mut spec = bench.shell(script);
    spec.limits.timeout_ms = Some(100);
    bench.launch(&spec);
    let members = [fifo.line(), fifo.line()].map(|line| line.parse::<i32>().unwrap());
    bench.ended();
    let record = bench.record();
    assert_eq!(record.exit, signal(9));
    let limit = spec.limits.timeout_ms.unwrap() + spec.limits.stop_grace_ms + 2_000;
    assert!(record.active_ms.unwrap() < limit, "{record:?}");
    assert!(matches!(record.enforced, Some(Enforced::Timeout { .. })));
    assert!(members.into_iter().all(|member| !is_alive(member)));
}

fn a_stop_is_a_request() {
    let bench = Bench::new();
    let mut fifo = bench.fifo();
    let script = "trap 'exit 8' TERM; echo ready > fifo; while :; do sleep 0.05; done";
    let mut spec = bench.shell(script);
    spec.limits.stop_grace_ms = 600_000;
    bench.launch(&spec);
    fifo.line();
    bench.started();
    assert_eq!(stop(&bench.dir).unwrap(), StopSent::Shim);
    bench.ended();
    let record = bench.record();
    assert_eq!((record.exit, record.stopped), (Exit::Code(8), true));
    assert_eq!(record.enforced, None);
}

fn an_agent_may_be_interrupted_instead_of_terminated() {
    let bench = Bench::new();
    let mut fifo = bench.fifo();
    let script = "trap 'exit 8' TERM; trap 'exit 9' INT; echo ready > fifo; \
                  while :; do sleep 0.05; done";
    let mut spec = bench.shell(script);
    spec.limits.stop_grace_ms = 600_000;
    spec.stop_signal = StopSignal::Interrupt;
    bench.launch(&spec);
    fifo.line();
    bench.started();
    stop(&bench.dir).unwrap();
    bench.ended();
    assert_eq!(bench.record().exit, Exit::Code(9));
}

/// Fault 13. Injected: the supervisor may open 32 descriptors and its agent has a hundred children
/// that ignore TERM, each with a session of its own. Held: a stop kills every one of them.
///
/// Promise 14.
fn a_tree_of_more_processes_than_descriptors_is_killed() {
    let bench = Bench::new();
    let mut fifo = bench.fifo();
    let script = "trap '' TERM; i=0; while [ $i -lt 100 ]; do i=$((i + 1)); \
                  setsid sh -c 'echo $$ > fifo; exec sleep 600' & done; \
                  while :; do sleep 600; done";
    bench.launch(&bench.shell(script));
    let children: Vec<i32> = (0..100).map(|_| fifo.line().parse().unwrap()).collect();
    bench.started();
    let limit = Rlimit {
        current: Some(32),
        ..getrlimit(Resource::Nofile)
    };
    prlimit(Some(pid(bench.shim_pid())), Resource::Nofile, limit).unwrap();
    assert_eq!(stop(&bench.dir).unwrap(), StopSent::Shim);
    bench.ended();
    assert_eq!(bench.record().exit, signal(9));
    assert_eq!(children.iter().filter(|it| is_alive(**it)).count(), 0);
}

/// A daemon that was started meanwhile asks again, because it cannot know what the one before did.
fn a_repeated_stop_leaves_the_agent_its_grace() {
    let bench = Bench::new();
    let mut fifo = bench.fifo();
    let script = "trap 'echo heard > fifo; sleep 0.5; exit 8' TERM; echo ready > fifo; \
                  while :; do sleep 0.05; done";
    let mut spec = bench.shell(script);
    spec.limits.stop_grace_ms = 600_000;
    bench.launch(&spec);
    assert_eq!(fifo.line(), "ready");
    bench.started();
    stop(&bench.dir).unwrap();
    assert_eq!(fifo.line(), "heard");
    assert_eq!(stop(&bench.dir).unwrap(), StopSent::Shim);
    bench.ended();
    let record = bench.record();
    assert_eq!((record.exit, record.stopped), (Exit::Code(8), true));
}

fn a_repeated_stop_does_not_put_the_end_off() {
    let bench = Bench::new();
    let mut fifo = bench.fifo();
    let script = "trap 'echo heard > fifo' TERM; echo ready > fifo; while :; do sleep 0.05; done";
    let mut spec = bench.shell(script);
    spec.limits.stop_grace_ms = 300;
    bench.launch(&spec);
    assert_eq!(fifo.line(), "ready");
    bench.started();
    stop(&bench.dir).unwrap();
    assert_eq!(fifo.line(), "heard");
    stop(&bench.dir).unwrap();
    bench.ended();
    let record = bench.record();
    assert_eq!((record.exit, record.stopped), (signal(9), true));
}

/// Fault 17. Injected: the agent is stopped by SIGSTOP and then asked to end. Held: it is woken for
/// the request and ends.
///
/// Promise 14.
fn a_stopped_process_can_be_stopped() {
    let bench = Bench::new();
    let mut fifo = bench.fifo();
    let mut spec = bench.shell("echo ready > fifo; kill -STOP $$; sleep 600");
    spec.limits.stop_grace_ms = 600_000;
    bench.launch(&spec);
    fifo.line();
    bench.started();
    stop(&bench.dir).unwrap();
    bench.ended();
    assert_eq!(bench.record().exit, signal(15));
}

fn signals_that_are_not_a_stop_do_not_end_a_shim() {
    let bench = Bench::new();
    bench.launch(&bench.shell("read line < go; exit 2"));
    // The agent may not have got so far, but then it fails in the same way: with code 2.
    bench.started();
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::XFSZ] {
        kill_process(pid(bench.shim_pid()), signal).unwrap();
    }
    bench.ended();
    let record = bench.record();
    assert_eq!((record.exit, record.stopped), (Exit::Code(2), false));
}

fn a_stop_reaches_a_tree_without_a_shim() {
    let bench = Bench::new();
    let mut fifo = bench.fifo();
    // The tool's parent ends, so that only its marker tells whose it is.
    let script =
        "sh -c 'setsid sh -c \"echo \\$\\$ > fifo; exec sleep 600\" & exit'; exec sleep 600";
    bench.launch(&bench.shell(script));
    bench.started();
    let tool: i32 = fifo.line().parse().unwrap();
    bench.kill_shim();
    let agent = bench.agent_pid();
    assert!(matches!(bench.inspect(), Standing::Unsupervised { .. }));
    match stop(&bench.dir).unwrap() {
        StopSent::Killed {
            processes,
            survivors: 0,
        } => assert!(processes >= 2, "{processes}"),
        other => panic!("{other:?}"),
    }
    assert!(!is_alive(agent) && !is_alive(tool));
    assert_lost(
        &bench.inspect(),
        orch_core::run::FailureCode::SupervisorDied,
    );
}

/// Promise 16.
fn never_signal_a_stranger() {
    let bench = Bench::new();
    bench.launch(&bench.shell("exec sleep 600"));
    bench.started();
    let agent = bench.agent_pid();
    bench.kill_shim();
    kill_process(pid(agent), Signal::KILL).unwrap();
    wait_for_end(agent);

    // The id comes back, as it does after 32,768 forks: another process, another start. On a
    // machine this quick the two may have started in one tick of the clock, so that is changed.
    let mut stranger = Stranger(Command::new("sleep").arg("600").spawn().unwrap());
    let text = std::fs::read(bench.dir.pid_record()).unwrap();
    let mut reused: serde_json::Value = serde_json::from_slice(&text).unwrap();
    reused["pid"] = stranger.0.id().into();
    reused["start_time"] = (reused["start_time"].as_u64().unwrap() - 100).into();
    std::fs::write(bench.dir.pid_record(), reused.to_string()).unwrap();

    assert_lost(
        &bench.inspect(),
        orch_core::run::FailureCode::SupervisorDied,
    );
    assert_eq!(stop(&bench.dir).unwrap(), StopSent::Nothing);
    assert_eq!(stranger.0.try_wait().unwrap(), None);
}

/// A process of this test, ended with it however it ends.
struct Stranger(Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn stopping_what_is_over_does_nothing() {
    let bench = Bench::new();
    assert_eq!(stop(&bench.dir).unwrap(), StopSent::Nothing);
    bench.run(&bench.shell("true"));
    bench.wait_for_lock();
    assert_eq!(stop(&bench.dir).unwrap(), StopSent::Nothing);
}
