//! The process that makes shims: whose children they are, what they are called, and what its own
//! death, silence or refusal changes.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use orch_core::run::Exit;
use orch_host::supervise::{LaunchError, Launcher, SHIMS_COMMAND, Standing, spawn_owned};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::{Signal, kill_process};

use crate::bench::{Bench, is_alive, pid, program, wait_for_end};
use crate::inheritance::careless;

crate::tests![
    a_shim_is_a_child_of_who_launched_it_and_says_which_run_it_has,
    a_shim_is_small,
    a_server_that_was_killed_is_replaced_and_its_runs_go_on,
    a_server_that_does_not_answer_is_replaced,
    a_refused_shim_is_an_error_and_nothing_more,
    a_server_ends_with_who_started_it,
];

/// Names the server of one test among those of the tests beside it.
const NAME: &str = "ORCH_TEST_SERVER";

/// A launcher of its own, and the way to find its server.
struct Own {
    launcher: Launcher,
    name: String,
}

impl Own {
    fn new(bench: &Bench) -> Self {
        let name = format!("{NAME}={}", bench.run);
        let program = careless(bench, &format!("export {name}"));
        Self {
            launcher: Launcher::new(program),
            name,
        }
    }

    fn server(&self) -> i32 {
        let found = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let path = entry.unwrap().path();
            let environment = fs::read(path.join("environ")).unwrap_or_default();
            let mut entries = environment.split(|byte| *byte == 0);
            let named = entries.any(|entry| entry == self.name.as_bytes());
            let is_server = named && words(&path.join("cmdline")).get(1)? == SHIMS_COMMAND;
            is_server.then(|| path.file_name()?.to_str()?.parse().ok())?
        });
        let found: Vec<i32> = found.collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found[0]
    }
}

fn words(path: &std::path::Path) -> Vec<String> {
    let line = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&line);
    let words = text.trim_end_matches('\0').split('\0');
    words.map(str::to_owned).collect()
}

fn status(process: i32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().to_owned()
}

fn a_shim_is_a_child_of_who_launched_it_and_says_which_run_it_has() {
    let bench = Bench::new();
    bench.launch(&bench.shell("exec sleep 600"));
    bench.started();
    let shim = bench.shim_pid();
    assert_eq!(status(shim, "PPid:"), std::process::id().to_string());
    assert_eq!(status(shim, "Name:"), "orch-shim");
    let directory = bench.dir.path().to_str().unwrap();
    let line = words(&PathBuf::from(format!("/proc/{shim}/cmdline")));
    assert_eq!(line, ["orch", "__shim", directory]);
    kill_process(pid(bench.agent_pid()), Signal::KILL).unwrap();
    bench.ended();
}

/// What a shim has for itself; the rest it shares with the server and with every other shim.
fn a_shim_is_small() {
    let bench = Bench::new();
    bench.launch(&bench.shell("exec sleep 600"));
    bench.started();
    let path = format!("/proc/{}/smaps_rollup", bench.shim_pid());
    let text = fs::read_to_string(path).unwrap();
    let own = text.lines().find_map(|line| {
        let number = line.strip_prefix("Private_Dirty:")?.split_whitespace();
        number.into_iter().next()?.parse::<u64>().ok()
    });
    assert!(own.unwrap() <= 2048, "{text}");
    kill_process(pid(bench.agent_pid()), Signal::KILL).unwrap();
    bench.ended();
}

/// Fault 3. Injected: the process that makes shims is killed while a run is at work, and before
/// the next launch. Held: the run at work notices nothing, the next launch starts its agent once.
fn a_server_that_was_killed_is_replaced_and_its_runs_go_on() {
    let (first, second) = (Bench::new(), Bench::new());
    let own = Own::new(&first);
    let spec = first.shell("mkfifo go; echo start >> ledger; read line < go; exit 4");
    own.launcher.launch(&first.dir, &spec).unwrap();
    first.started();
    let killed = own.server();
    kill_process(pid(killed), Signal::KILL).unwrap();
    wait_for_end(killed);

    let spec = second.shell("echo start >> ledger; exit 5");
    own.launcher.launch(&second.dir, &spec).unwrap();
    second.ended();
    assert_eq!(second.record().exit, Exit::Code(5));
    assert_ne!(own.server(), killed);
    fs::write(first.path("go"), "on\n").unwrap();
    first.ended();
    assert_eq!(first.record().exit, Exit::Code(4));
    for bench in [first, second] {
        assert_eq!(fs::read(bench.path("ledger")).unwrap(), b"start\n");
    }
}

/// Fault 18. Injected: the process that makes shims is stopped with SIGSTOP. Held: it is replaced
/// after seconds, and the agent is started once.
fn a_server_that_does_not_answer_is_replaced() {
    let bench = Bench::new();
    let own = Own::new(&bench);
    own.launcher
        .launch(&bench.dir, &bench.shell("exit 3"))
        .unwrap();
    bench.ended();
    let stopped = own.server();
    kill_process(pid(stopped), Signal::STOP).unwrap();

    let next = Bench::new();
    let spec = next.shell("echo start >> ledger; exit 6");
    own.launcher.launch(&next.dir, &spec).unwrap();
    next.ended();
    assert_eq!(next.record().exit, Exit::Code(6));
    assert!(!is_alive(stopped));
    assert_eq!(fs::read(next.path("ledger")).unwrap(), b"start\n");
}

/// Fault 14. Injected: the answer to a launch is that the kernel has no process left (EAGAIN). Held: the launch says
/// so, nothing was started, and the same run can be launched when there is room again.
fn a_refused_shim_is_an_error_and_nothing_more() {
    let bench = Bench::new();
    let refusing = careless(
        &bench,
        &format!("exec {} __role refusing", program().display()),
    );
    let spec = bench.shell("exit 3");
    let launcher = Launcher::new(refusing);
    // The second is asked of the same server: a refusal is an answer.
    for _ in 0..2 {
        let error = launcher.launch(&bench.dir, &spec).unwrap_err();
        let LaunchError::Spawn { source, .. } = error else {
            panic!("{error}");
        };
        let errno = rustix::io::Errno::from_io_error(&source);
        assert_eq!(errno, Some(rustix::io::Errno::AGAIN), "{source}");
    }
    assert_eq!(bench.inspect(), Standing::Fresh);
    assert_eq!(bench.run(&spec).exit, Exit::Code(3));
}

/// Plays the server of a machine that is full, from which no process can be had.
pub fn refuse() {
    let refusal = (-rustix::io::Errno::AGAIN.raw_os_error()).to_ne_bytes();
    let socket = rustix::stdio::stdin();
    while let Ok((1.., _)) = recv(socket, &mut [0; 4096], RecvFlags::empty()) {
        send(socket, &refusal, SendFlags::empty()).unwrap();
    }
}

/// Fault 1. Injected: the daemon ends without a word. Held: the process that makes shims ends, too,
/// and keeps nothing open that somebody waits for.
fn a_server_ends_with_who_started_it() {
    let bench = Bench::new();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut launcher = Command::new(program());
    launcher
        .args(["__role".as_ref(), "server".as_ref(), bench.temporary.path()])
        .stdin(Stdio::piped())
        .stdout(std::os::fd::OwnedFd::from(theirs));
    let mut launched = spawn_owned(&mut launcher).unwrap();
    // It holds the other end, too.
    drop(launcher);
    let mut number = [0; 4];
    ours.read_exact(&mut number).unwrap();
    let server = i32::from_ne_bytes(number);
    assert!(is_alive(server));
    launched.child().kill().unwrap();
    launched.wait().unwrap();
    wait_for_end(server);
    // Nobody holds the other end: not the server, and not what it made.
    assert_eq!(ours.read(&mut number).unwrap(), 0);
}

/// Launches, tells the id of its server, and waits to be killed.
pub fn serve() {
    let bench = Bench::new();
    let own = Own::new(&bench);
    let spec = bench.shell("exec sleep 600");
    own.launcher.launch(&bench.dir, &spec).unwrap();
    bench.started();
    // Left to itself the agent would outlive the test; and who is told the number kills this process.
    kill_process(pid(bench.agent_pid()), Signal::KILL).unwrap();
    rustix::io::write(rustix::stdio::stdout(), &own.server().to_ne_bytes()).unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}
