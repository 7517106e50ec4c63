//! What is made of a run directory whose files are torn, forged or of another time.

use std::os::unix::fs::symlink;

use orch_core::run::{Exit, FailureCode};
use orch_host::run_dir::RunDir;
use orch_host::supervise::{Standing, inspect};
use rustix::process::{Signal, kill_process};

use crate::bench::{ATTEMPT, Bench, assert_lost, pid};

crate::tests![
    a_record_that_cannot_be_trusted_is_moved_aside,
    a_valid_record_of_a_living_agent_is_not_believed,
    a_corrupt_record_of_a_living_agent_does_not_end_it,
    another_boot_is_a_restart,
    a_run_of_another_boot_is_lost_whatever_its_files_say,
    a_gate_without_an_agent_is_a_launch_that_failed,
    a_gate_with_output_is_not,
    a_missing_directory_is_named,
    another_attempt_is_another_run,
];

/// A run that ended, and its shim has left.
fn over() -> Bench {
    let bench = Bench::new();
    bench.run(&bench.shell("echo done; exit 3"));
    bench.wait_for_lock();
    bench
}

fn a_record_that_cannot_be_trusted_is_moved_aside() {
    type Spoil = fn(&Bench);
    let table: [(&str, Spoil); 9] = [
        ("empty", |bench| {
            std::fs::write(bench.dir.exit_record(), b"").unwrap();
        }),
        ("torn", |bench| {
            let bytes = std::fs::read(bench.dir.exit_record()).unwrap();
            std::fs::write(bench.dir.exit_record(), &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("zeros", |bench| {
            std::fs::write(bench.dir.exit_record(), [0; 4096]).unwrap();
        }),
        ("changed", |bench| {
            let text = std::fs::read_to_string(bench.dir.exit_record()).unwrap();
            let changed = text.replace("{\"code\":3}", "{\"code\":0}");
            assert_ne!(text, changed);
            std::fs::write(bench.dir.exit_record(), changed).unwrap();
        }),
        ("of another run", |bench| {
            std::fs::copy(over().dir.exit_record(), bench.dir.exit_record()).unwrap();
        }),
        ("link", |bench| {
            let target = bench.path("target");
            std::fs::rename(bench.dir.exit_record(), &target).unwrap();
            symlink(&target, bench.dir.exit_record()).unwrap();
        }),
        ("pipe", |bench| {
            std::fs::remove_file(bench.dir.exit_record()).unwrap();
            let kind = rustix::fs::FileType::Fifo;
            let mode = rustix::fs::Mode::RWXU;
            let path = bench.dir.exit_record();
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
        }),
        ("a gigabyte", |bench| {
            let file = std::fs::File::create(bench.dir.exit_record()).unwrap();
            file.set_len(1 << 30).unwrap();
        }),
        ("directory", |bench| {
            std::fs::remove_file(bench.dir.exit_record()).unwrap();
            std::fs::create_dir_all(bench.dir.exit_record().join("full")).unwrap();
        }),
    ];
    for (name, spoil) in table {
        let bench = over();
        spoil(&bench);
        let first = bench.inspect();
        assert_lost(&first, FailureCode::RecordCorrupt);
        let aside = bench.dir.path().join("exit.json.corrupt");
        assert!(aside.symlink_metadata().is_ok(), "{name}");
        assert!(
            bench.dir.exit_record().symlink_metadata().is_err(),
            "{name}"
        );
        // The same verdict for a daemon that died before it had written the first one down.
        assert_lost(&bench.inspect(), FailureCode::RecordCorrupt);
    }
}

fn a_valid_record_of_a_living_agent_is_not_believed() {
    let bench = over();
    let forged = std::fs::read(bench.dir.exit_record()).unwrap();
    for entry in std::fs::read_dir(bench.dir.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    bench.launch(&bench.shell("exec sleep 600"));
    bench.started();
    std::fs::write(bench.dir.exit_record(), forged).unwrap();
    assert!(matches!(bench.inspect(), Standing::Running { .. }));
    kill_process(pid(bench.agent_pid()), Signal::TERM).unwrap();
    bench.ended();
    assert_eq!(bench.record().exit, crate::bench::signal(15));
}

fn a_corrupt_record_of_a_living_agent_does_not_end_it() {
    let bench = Bench::new();
    bench.launch(&bench.shell("exec sleep 600"));
    bench.started();
    std::fs::write(bench.dir.exit_record(), b"{}").unwrap();
    assert!(matches!(bench.inspect(), Standing::Running { .. }));
    bench.kill_shim();
    assert!(matches!(bench.inspect(), Standing::Unsupervised { .. }));
    kill_process(pid(bench.agent_pid()), Signal::KILL).unwrap();
    crate::bench::wait_for_end(bench.agent_pid());
    assert_lost(&bench.inspect(), FailureCode::RecordCorrupt);
}

fn another_boot_is_a_restart() {
    let bench = over();
    std::fs::remove_file(bench.dir.exit_record()).unwrap();
    for path in [bench.dir.started(), bench.dir.pid_record()] {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["boot_id"] = "another".into();
        // Even if the same id is taken again.
        value["pid"] = std::process::id().into();
        std::fs::write(&path, value.to_string()).unwrap();
    }
    assert_lost(&bench.inspect(), FailureCode::HostRebooted);
}

/// Fault 30. Injected: the machine was restarted, and of the files of a launch any may be missing, or
/// be there as if nothing had happened. Held: the run is lost, is never started again, and a record
/// that was written is believed all the same.
///
/// Promises 3, 10.
fn a_run_of_another_boot_is_lost_whatever_its_files_say() {
    type Spoil = fn(&Bench);
    let remove: [(&str, Spoil); 5] = [
        ("nothing", |_| ()),
        ("the gate", |bench| {
            std::fs::remove_file(bench.dir.started()).unwrap()
        }),
        ("the agent", |bench| {
            std::fs::remove_file(bench.dir.pid_record()).unwrap()
        }),
        ("every file", |bench| {
            std::fs::remove_dir_all(bench.dir.path()).unwrap();
            bench.dir.create().unwrap();
        }),
        ("the directory", |bench| {
            std::fs::remove_dir_all(bench.dir.path()).unwrap()
        }),
    ];
    let before = |bench: &Bench| inspect(&bench.dir, &bench.run, ATTEMPT, Some("before")).unwrap();
    for (what, spoil) in remove {
        let bench = over();
        assert!(matches!(before(&bench), Standing::Ended(_)), "{what}");
        std::fs::remove_file(bench.dir.exit_record()).unwrap();
        spoil(&bench);
        assert_lost(&before(&bench), FailureCode::HostRebooted);
    }
}

fn a_gate_without_an_agent_is_a_launch_that_failed() {
    for gate in [
        "",
        "{\"pid\":1",
        "{\"pid\":1,\"start_time\":1,\"boot_id\":\"x\"}",
    ] {
        let bench = Bench::new();
        let this_boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        std::fs::write(bench.dir.started(), gate.replace('x', this_boot.trim())).unwrap();
        match bench.inspect() {
            Standing::NotStarted(failure) => {
                assert_eq!(failure.code, FailureCode::SupervisorDiedAtLaunch);
            }
            other => panic!("{gate}: {other:?}"),
        }
    }
}

fn a_gate_with_output_is_not() {
    let bench = Bench::new();
    std::fs::write(bench.dir.started(), "").unwrap();
    std::fs::write(bench.dir.out_log(), "worked").unwrap();
    assert_lost(&bench.inspect(), FailureCode::SupervisorDied);
}

fn a_missing_directory_is_named() {
    let bench = Bench::new();
    std::fs::remove_dir_all(bench.dir.path()).unwrap();
    assert_lost(&bench.inspect(), FailureCode::RecordMissing);
}

fn another_attempt_is_another_run() {
    let bench = over();
    assert_eq!(bench.record().exit, Exit::Code(3));
    let dir = RunDir::at(bench.dir.path());
    let other = inspect(&dir, &bench.run, ATTEMPT + 1, None).unwrap();
    assert_lost(&other, FailureCode::RecordCorrupt);
}
