//! How an agent can end by itself, or not come to be.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use orch_core::run::{Exit, FailureCode};
use orch_host::supervise::{Source, Standing, What};

use crate::bench::{Bench, is_alive, signal, status_of};

crate::tests![
    a_success_is_recorded,
    an_exit_code_is_kept,
    a_signal_is_kept,
    what_the_agent_wrote_is_kept_byte_for_byte,
    closed_output_does_not_look_like_an_end,
    leaks_do_not_delay,
    a_daemon_that_left_its_session_and_its_output_is_found,
    a_child_that_leaves_in_time_is_no_leak,
    standard_input_is_the_file_or_empty,
    a_command_that_is_not_there,
    a_command_that_cannot_be_executed,
    a_program_that_is_being_written_is_named,
    an_argument_too_long_is_named,
    a_missing_directory_is_not_a_missing_command,
    a_file_in_the_place_of_the_record_does_not_stop_it,
    a_directory_that_is_removed_while_the_agent_runs,
    a_directory_that_is_moved_while_the_agent_runs,
];

fn a_success_is_recorded() {
    let bench = Bench::new();
    assert_eq!(bench.inspect(), Standing::Fresh);
    bench.launch(&bench.shell("echo hello; echo trouble >&2"));
    bench.expect(What::Started);
    bench.expect(What::Ended);
    let record = bench.record();
    assert_eq!(record.exit, Exit::Code(0));
    assert_eq!((record.out_bytes, record.err_bytes), (Some(6), Some(8)));
    assert_eq!((record.enforced, record.stopped), (None, false));
    assert_eq!(record.source, Source::Shim);
    assert!(record.leaked.is_empty() && record.warnings.is_empty());
    assert!(record.finished_at >= record.started_at);
    assert_eq!(bench.out(), b"hello\n");
    // The same answer, however often and late it is asked.
    bench.wait_for_lock();
    assert_eq!(bench.record(), record);
}

/// Promise 2.
fn an_exit_code_is_kept() {
    for code in [1, 3, 127, 255] {
        let bench = Bench::new();
        let record = bench.run(&bench.shell(&format!("exit {code}")));
        assert_eq!(record.exit, Exit::Code(code));
    }
}

/// Fault 5. Injected: the agent's process is ended by SIGKILL, SIGTERM and SIGUSR1 that orch did not
/// send. Held: the record has the signal's number exactly as the kernel told it, not 128 and
/// something.
///
/// Promise 2.
fn a_signal_is_kept() {
    for number in [9, 15, 10] {
        let bench = Bench::new();
        let record = bench.run(&bench.shell(&format!("kill -{number} $$")));
        assert_eq!(record.exit, signal(number));
        assert!(!record.stopped);
    }
}

/// Fault 26. Injected: NUL, invalid UTF-8, CR LF, escapes, no newline and half a character at the
/// end. Held: every byte is in the log in its order, and the record counts them.
///
/// Promise 21.
fn what_the_agent_wrote_is_kept_byte_for_byte() {
    let bench = Bench::new();
    let script = r"printf 'a\000b\377\r\n\033[2J'; printf 'no newline' ; printf '\303' >&2";
    let record = bench.run(&bench.shell(script));
    assert_eq!(bench.out(), b"a\0b\xff\r\n\x1b[2Jno newline");
    assert_eq!(std::fs::read(bench.dir.err_log()).unwrap(), b"\xc3");
    assert_eq!((record.out_bytes, record.err_bytes), (Some(20), Some(1)));
}

/// Fault 21. Injected: the agent closes its standard output and error and works on. Held: it counts
/// as running until its process ends, and then its own exit status is recorded.
///
/// Promises 1, 2.
fn closed_output_does_not_look_like_an_end() {
    let bench = Bench::new();
    let mut fifo = bench.fifo();
    // The agent goes on only after a line that nobody but this test writes.
    bench.launch(
        &bench.shell("exec >&- 2>&-; mkfifo go; echo closed > fifo; read line < go; exit 5"),
    );
    bench.started();
    assert_eq!(fifo.line(), "closed");
    assert!(matches!(bench.inspect(), Standing::Running { .. }));
    std::fs::write(bench.path("go"), b"on\n").unwrap();
    bench.expect(What::Ended);
    assert_eq!(bench.record().exit, Exit::Code(5));
}

/// Fault 20. Injected: a grandchild in the background holds the agent's output for ten minutes. Held:
/// the end is recorded after the grace for what is left behind, with the agent's own exit status; the
/// grandchild is named in the record and killed.
///
/// Promises 1, 15.
fn leaks_do_not_delay() {
    let bench = Bench::new();
    let started = Instant::now();
    let record = bench.run(&bench.shell("sleep 600 & echo $!; exit 0"));
    assert!(started.elapsed() < Duration::from_secs(60));
    assert_eq!(record.exit, Exit::Code(0));
    let child: i32 = bench.out_lines()[0].parse().unwrap();
    assert_eq!(record.leaked_count, 1);
    assert_eq!(record.leaked[0].pid, child);
    assert_eq!(record.leaked[0].name, "sleep");
    assert!(!record.leaked[0].alive);
    assert!(!is_alive(child));
}

/// Fault 22. Injected: the agent leaves a process behind that forked twice, has a session of its own
/// and holds no descriptor. Held: it is found, named in the record and killed (on Linux).
///
/// Promise 15.
fn a_daemon_that_left_its_session_and_its_output_is_found() {
    let bench = Bench::new();
    let mut fifo = bench.fifo();
    let script = "setsid sh -c 'sh -c \"echo \\$\\$ > fifo; exec <&- >&- 2>&-; exec sleep 600\" & \
                  exit' & wait; exit 4";
    bench.launch(&bench.shell(script));
    let daemon: i32 = fifo.line().parse().unwrap();
    bench.ended();
    let record = bench.record();
    assert_eq!(record.exit, Exit::Code(4));
    assert!(record.leaked.iter().any(|leaked| leaked.pid == daemon));
    assert!(!is_alive(daemon));
}

fn a_child_that_leaves_in_time_is_no_leak() {
    let bench = Bench::new();
    let mut spec = bench.shell("setsid sleep 0.05 & exit 0");
    spec.limits.leak_grace_ms = 600_000;
    let record = bench.run(&spec);
    assert_eq!((record.exit, record.leaked_count), (Exit::Code(0), 0));
}

fn standard_input_is_the_file_or_empty() {
    let bench = Bench::new();
    std::fs::write(bench.path("prompt"), b"do\0it").unwrap();
    let mut spec = bench.command(&["cat"]);
    spec.stdin = Some(bench.path("prompt"));
    assert_eq!(bench.run(&spec).exit, Exit::Code(0));
    assert_eq!(bench.out(), b"do\0it");

    let without = Bench::new();
    assert_eq!(without.run(&without.command(&["cat"])).exit, Exit::Code(0));
    assert_eq!(without.out(), b"");

    let missing = Bench::new();
    let mut spec = missing.command(&["cat"]);
    spec.stdin = Some(missing.path("absent"));
    assert_eq!(missing.refusal(&spec).code, FailureCode::SpawnFailed);
}

/// Fault 15. Injected: commands that do not exist (ENOENT), also an empty one. Held: the run is
/// `not_started(command_not_found)` and names the path.
///
/// Promise 5.
fn a_command_that_is_not_there() {
    for argv in [
        &["orch-no-such-command"][..],
        &["./absent"],
        &["/no/such/file"],
        &[""],
        &[],
    ] {
        let bench = Bench::new();
        let failure = bench.refusal(&bench.command(argv));
        assert_eq!(failure.code, FailureCode::CommandNotFound, "{failure:?}");
    }
}

/// Fault 15. Injected: a file that may not be executed, a directory (both EACCES), a text without an
/// interpreter line (ENOEXEC) and one whose interpreter does not exist (ENOENT). Held: the run is
/// `not_started(not_executable)` and names the path and the error of the system.
///
/// Promise 5.
fn a_command_that_cannot_be_executed() {
    let cases = [
        ("printf '#!/bin/sh\n' > file", "EACCES", "not executable"),
        ("mkdir file", "EACCES", "directory"),
        (
            "echo exit 0 > file; chmod +x file",
            "ENOEXEC",
            "no interpreter line",
        ),
        (
            "printf '#!/no/such/shell\n' > file; chmod +x file",
            "ENOENT",
            "interpreter does not",
        ),
    ];
    for (make, errno, words) in cases {
        let bench = Bench::new();
        // Made by another process: one that this process had open for writing while another
        // test starts something would be refused as busy.
        let made = status_of(
            std::process::Command::new("sh")
                .args(["-c", make])
                .current_dir(bench.temporary.path()),
        );
        assert!(made.success());
        let failure = bench.refusal(&bench.command(&["./file"]));
        assert_eq!(failure.code, FailureCode::NotExecutable, "{failure:?}");
        assert!(failure.evidence.contains(errno), "{failure:?}");
        assert!(failure.message.contains(words), "{failure:?}");
    }
}

/// Fault 15. Injected: a program that is open for writing (ETXTBSY). Held: the run is
/// `not_started(spawn_failed)` and names the path and the error of the system.
///
/// Promise 5.
fn a_program_that_is_being_written_is_named() {
    let bench = Bench::new();
    let program = bench.path("program");
    std::fs::copy("/bin/true", &program).unwrap();
    let writing = std::fs::File::options().append(true).open(&program);
    let failure = bench.refusal(&bench.command(&["./program"]));
    drop(writing.unwrap());
    assert_eq!(failure.code, FailureCode::SpawnFailed);
    assert!(failure.evidence.contains("ETXTBSY"), "{failure:?}");
    assert!(failure.evidence.contains("program"), "{failure:?}");
}

/// Fault 15. Injected: an argument of 3 MiB (E2BIG). Held: the run is `not_started(spawn_failed)` and
/// names the error of the system.
///
/// Promise 5.
fn an_argument_too_long_is_named() {
    let bench = Bench::new();
    let mut spec = bench.command(&["true"]);
    spec.argv.push(OsString::from("x".repeat(3 << 20)));
    let failure = bench.refusal(&spec);
    assert_eq!(failure.code, FailureCode::SpawnFailed);
    assert!(failure.evidence.contains("E2BIG"), "{failure:?}");
}

fn a_missing_directory_is_not_a_missing_command() {
    let bench = Bench::new();
    let mut spec = bench.shell("true");
    spec.cwd = bench.path("absent");
    let failure = bench.refusal(&spec);
    assert_eq!(failure.code, FailureCode::WorkspaceFailed);
    assert!(failure.evidence.contains("absent"), "{failure:?}");
}

fn a_file_in_the_place_of_the_record_does_not_stop_it() {
    let bench = Bench::new();
    let place = bench.dir.exit_record();
    let record = bench.run(&bench.shell(&format!("mkdir -p {}/full; exit 6", place.display())));
    assert_eq!(record.exit, Exit::Code(6));

    let forged = Bench::new();
    let place = forged.dir.exit_record();
    let record = forged.run(&forged.shell(&format!("echo '{{}}' > {}; exit 7", place.display())));
    assert_eq!(record.exit, Exit::Code(7));
}

fn a_directory_that_is_removed_while_the_agent_runs() {
    let bench = Bench::new();
    let mut fifo = bench.fifo();
    bench.launch(&bench.shell("echo $$ > fifo; sleep 600"));
    bench.started();
    fifo.line();
    let (shim, agent) = (bench.shim_pid(), bench.agent_pid());
    let lock = std::fs::File::open(bench.dir.alive_lock()).unwrap();
    std::fs::remove_dir_all(bench.dir.path()).unwrap();
    assert!(matches!(bench.inspect(), Standing::Unsupervised { .. }));
    rustix::process::kill_process(crate::bench::pid(agent), rustix::process::Signal::KILL).unwrap();
    bench.ended();
    lock.lock_shared().unwrap();
    crate::bench::wait_for_end(shim);
    assert!(!is_alive(agent));
    crate::bench::assert_lost(&bench.inspect(), FailureCode::RecordMissing);
}

fn a_directory_that_is_moved_while_the_agent_runs() {
    let mut bench = Bench::new();
    bench.launch(&bench.shell("sleep 600"));
    bench.started();
    let elsewhere = bench.path("elsewhere");
    std::fs::rename(bench.dir.path(), &elsewhere).unwrap();
    let agent = number_of_agent(&elsewhere);
    rustix::process::kill_process(crate::bench::pid(agent), rustix::process::Signal::KILL).unwrap();
    bench.ended();
    bench.dir = orch_host::run_dir::RunDir::at(&elsewhere);
    assert_eq!(bench.record().exit, signal(9));
}

fn number_of_agent(dir: &std::path::Path) -> i32 {
    let text = std::fs::read(dir.join("pid.json")).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    i32::try_from(value["pid"].as_i64().unwrap()).unwrap()
}
