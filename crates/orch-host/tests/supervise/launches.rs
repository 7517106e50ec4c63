//! That an agent is started once and no more, whoever asks.

use std::path::Path;
use std::process::Command;

use orch_core::run::{Exit, FailureCode};
use orch_host::run_dir::RunDir;
use orch_host::supervise::{Launcher, Standing};

use crate::bench::{Bench, assert_lost, program, shim_of, status_of};

crate::tests![
    two_shims_at_once_start_one_agent,
    a_shim_that_is_just_starting_is_never_taken_for_dead,
    launching_again_starts_nothing,
    the_gate_alone_keeps_an_attempt_from_starting,
    a_shim_without_a_spec_leaves_the_run_fresh,
    a_launcher_that_is_gone_loses_nothing,
    a_program_that_is_not_there_is_an_error_and_nothing_more,
];

fn ledger(bench: &Bench) -> Vec<String> {
    std::fs::read_to_string(bench.path("ledger"))
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn two_shims_at_once_start_one_agent() {
    for round in 0..100 {
        let bench = Bench::new();
        let spec = bench.shell("echo start >> ledger; exit 9");
        std::thread::scope(|scope| {
            scope.spawn(|| bench.launch(&spec));
            scope.spawn(|| bench.launch(&spec));
        });
        bench.ended();
        assert_eq!(bench.record().exit, Exit::Code(9));
        // Whichever shim is last has left when nobody holds or waits for the lock any more.
        bench.wait_for_lock();
        assert_eq!(
            ledger(&bench),
            ["start"],
            "round {round}: {}",
            bench.shim_log()
        );
    }
}

/// Looked at without a pause while it starts, runs and ends. The sweep looks at any moment, too.
fn a_shim_that_is_just_starting_is_never_taken_for_dead() {
    for round in 0..300 {
        let bench = Bench::new();
        bench.launch(&bench.shell("exit 9"));
        loop {
            match bench.inspect() {
                Standing::Fresh | Standing::Launching | Standing::Running { .. } => {}
                Standing::Ended(record) => break assert_eq!(record.exit, Exit::Code(9)),
                other => panic!("round {round}: {other:?}"),
            }
        }
    }
}

fn launching_again_starts_nothing() {
    let bench = Bench::new();
    let mut fifo = bench.fifo();
    let spec = bench.shell("echo start >> ledger; mkfifo go; echo ready > fifo; read l < go");
    bench.launch(&spec);
    assert_eq!(fifo.line(), "ready");
    bench.launch(&spec);
    // A shim that was started all the same finds the lock held and leaves.
    assert!(shim_of(&bench.dir).success());
    std::fs::write(bench.path("go"), "on\n").unwrap();
    bench.ended();
    bench.launch(&spec);
    assert!(shim_of(&bench.dir).success());
    assert_eq!(ledger(&bench), ["start"]);
}

fn the_gate_alone_keeps_an_attempt_from_starting() {
    let bench = Bench::new();
    let spec = bench.shell("echo start >> ledger");
    bench.run(&spec);
    bench.wait_for_lock();
    std::fs::remove_file(bench.dir.exit_record()).unwrap();
    bench.launch(&spec);
    assert!(shim_of(&bench.dir).success());
    assert_eq!(ledger(&bench), ["start"]);
    assert_lost(&bench.inspect(), FailureCode::SupervisorDied);
}

fn a_shim_without_a_spec_leaves_the_run_fresh() {
    let bench = Bench::new();
    assert!(!shim_of(&bench.dir).success());
    assert!(bench.shim_log().contains("cannot supervise"));
    assert_eq!(bench.inspect(), Standing::Fresh);
    std::fs::write(bench.dir.spec(), b"{\"version\":1").unwrap();
    assert!(!shim_of(&bench.dir).success());
    assert_eq!(bench.inspect(), Standing::Fresh);
    assert_eq!(bench.run(&bench.shell("exit 3")).exit, Exit::Code(3));
}

fn a_launcher_that_is_gone_loses_nothing() {
    let bench = Bench::new();
    let status = status_of(
        Command::new(program())
            .args([
                "__role".as_ref(),
                "launcher".as_ref(),
                bench.temporary.path(),
            ])
            .env("ORCH_TEST_RUN", bench.run.as_str()),
    );
    assert!(status.success());
    bench.started();
    std::fs::write(bench.path("go"), "on\n").unwrap();
    bench.ended();
    assert_eq!(bench.record().exit, Exit::Code(5));
}

/// Launches and ends, as a daemon that is killed does.
pub fn launch_and_leave(temporary: &Path) {
    let run = std::env::var("ORCH_TEST_RUN").unwrap().parse().unwrap();
    let bench = Bench::new();
    let mut spec = bench.shell("read line < go; exit 5");
    spec.run = run;
    spec.cwd = temporary.to_owned();
    spec.news = temporary.join("news");
    let dir = RunDir::new(&temporary.join("runs"), &spec.run);
    let mode = rustix::fs::Mode::RWXU;
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, temporary.join("go"), kind, mode, 0).unwrap();
    Launcher::new(program()).launch(&dir, &spec).unwrap();
}

fn a_program_that_is_not_there_is_an_error_and_nothing_more() {
    let bench = Bench::new();
    let spec = bench.shell("exit 3");
    let nowhere = Launcher::new("/no/such/orch".into());
    let error = nowhere.launch(&bench.dir, &spec).unwrap_err();
    assert!(error.to_string().contains("/no/such/orch"), "{error}");
    assert_eq!(bench.inspect(), Standing::Fresh);
    assert_eq!(bench.run(&spec).exit, Exit::Code(3));
}
