//! Run directories that earlier versions wrote, as this one reads them. The files are as a shim of
//! then left them, and never change.

use std::fs;

use orch_core::run::{Exit, FailureCode};
use orch_core::{RunId, Timestamp};
use orch_host::run_dir::RunDir;
use orch_host::supervise::{Source, Standing, inspect};

use crate::bench::{assert_lost, shim_of};

crate::tests![
    the_record_of_an_earlier_shim_is_read,
    a_refusal_of_an_earlier_shim_is_read,
    an_earlier_shim_at_work_is_recognised,
    an_earlier_run_without_a_boot_in_its_row_is_judged_by_its_files,
    the_spec_of_an_earlier_daemon_is_followed,
];

/// Version 1 of every file.
const VERSION_1: [(&str, &str); 5] = [
    (
        "spec.json",
        include_str!("../../fixtures/records-1/spec.json"),
    ),
    ("started", include_str!("../../fixtures/records-1/started")),
    (
        "pid.json",
        include_str!("../../fixtures/records-1/pid.json"),
    ),
    (
        "exit.json",
        include_str!("../../fixtures/records-1/exit.json"),
    ),
    (
        "not-started.json",
        include_str!("../../fixtures/records-1/not-started.json"),
    ),
];
/// The run they are of, and the one of the refusal.
const RUN: &str = "run_azj3qtm4df22";
/// A run of which no test beside starts a shim.
const UNTOUCHED: &str = "run_azj3qtm4df20";
const REFUSED: &str = "run_2v3576b1as20";
const ATTEMPT: u32 = 2;
/// When its agent was started.
const STARTED_AT: Timestamp = Timestamp(1_795_380_640_222);

/// A run directory with some of the files, under these names.
struct Earlier {
    _temporary: tempfile::TempDir,
    run: RunId,
    dir: RunDir,
}

impl Earlier {
    fn new(run: &str, files: &[(&str, &str)]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let run: RunId = run.parse().unwrap();
        let dir = RunDir::new(temporary.path(), &run);
        dir.create().unwrap();
        for (fixture, name) in files {
            let (_, text) = VERSION_1.iter().find(|(file, _)| file == fixture).unwrap();
            fs::write(dir.path().join(name), text).unwrap();
        }
        Self {
            _temporary: temporary,
            run,
            dir,
        }
    }

    /// Rows of then named no boot.
    fn inspect(&self) -> Standing {
        inspect(&self.dir, &self.run, ATTEMPT, None).unwrap()
    }
}

/// Fault 45. Injected: the daemon is replaced by a newer one while a run of the earlier version is at
/// work, and its shim, which is still the earlier one, records the end. Held: the end is read as it
/// was written.
///
/// Promise 12.
fn the_record_of_an_earlier_shim_is_read() {
    let files = ["spec.json", "started", "pid.json", "exit.json"].map(|name| (name, name));
    let earlier = Earlier::new(RUN, &files);
    let Standing::Ended(record) = earlier.inspect() else {
        panic!("{:?}", earlier.inspect());
    };
    assert_eq!(record.exit, Exit::Code(3));
    assert_eq!((record.run, record.attempt), (earlier.run, ATTEMPT));
    assert_eq!(record.started_at, STARTED_AT);
    assert_eq!(record.finished_at, Timestamp(1_795_380_640_242));
    assert_eq!((record.out_bytes, record.err_bytes), (Some(5), Some(7)));
    assert_eq!((record.active_ms, record.cpu_ms), (Some(20), Some(0)));
    assert_eq!(record.source, Source::Shim);
    assert!(record.warnings.is_empty() && record.leaked.is_empty());
}

fn a_refusal_of_an_earlier_shim_is_read() {
    let earlier = Earlier::new(REFUSED, &[("not-started.json", "exit.json")]);
    match earlier.inspect() {
        Standing::NotStarted(failure) => {
            assert_eq!(failure.code, FailureCode::CommandNotFound);
            assert_eq!(
                failure.message,
                "the command 'no-such-command' was not found"
            );
            assert_eq!(failure.evidence, "not in PATH /usr/bin:/bin");
        }
        other => panic!("{other:?}"),
    }
}

/// Fault 45. Injected: the daemon is replaced by a newer one while an earlier shim watches its agent.
/// Held: the run is known to be at work, and since when; it does not look like one to be started.
///
/// Promises 11, 12.
fn an_earlier_shim_at_work_is_recognised() {
    let files = ["spec.json", "started", "pid.json"].map(|name| (name, name));
    let earlier = Earlier::new(RUN, &files);
    let lock = fs::File::create(earlier.dir.alive_lock()).unwrap();
    lock.try_lock().unwrap();
    let started_at = STARTED_AT;
    assert_eq!(earlier.inspect(), Standing::Running { started_at });
}

/// Fault 45. Injected: the machine is restarted, and the daemon that comes up is a newer one, whose
/// rows of then name no boot. Held: the files, which were flushed then, tell of the restart; a run
/// that had not passed its gate is started as it would have been.
///
/// Promise 10.
fn an_earlier_run_without_a_boot_in_its_row_is_judged_by_its_files() {
    for files in [&["started", "pid.json"][..], &["started"]] {
        let files: Vec<_> = files.iter().map(|name| (*name, *name)).collect();
        let earlier = Earlier::new(RUN, &files);
        assert_lost(&earlier.inspect(), FailureCode::HostRebooted);
    }
    let earlier = Earlier::new(UNTOUCHED, &[("spec.json", "spec.json")]);
    assert_eq!(earlier.inspect(), Standing::Fresh);
}

/// Fault 45. Injected: an earlier daemon wrote down what to start and was killed; a newer one starts
/// the shim. Held: the agent is started as was written.
///
/// Promise 12.
fn the_spec_of_an_earlier_daemon_is_followed() {
    let earlier = Earlier::new(RUN, &[("spec.json", "spec.json")]);
    assert!(shim_of(&earlier.dir).success());
    let Standing::Ended(record) = earlier.inspect() else {
        panic!("{:?}", earlier.inspect());
    };
    assert_eq!(record.exit, Exit::Code(3));
    assert_eq!(fs::read(earlier.dir.out_log()).unwrap(), b"said\n");
    assert_eq!(fs::read(earlier.dir.err_log()).unwrap(), b"warned\n");
}
