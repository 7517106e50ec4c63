//! A run directory with a listener, and the steps every test takes.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::LazyLock;

use orch_core::run::{Exit, Failure, FailureCode};
use orch_core::{RunId, TaskId};
use orch_host::run_dir::RunDir;
use orch_host::supervise::{
    ExitRecord, Launcher, Limits, News, NewsListener, SHIM_COMMAND, Spec, Standing, StopSent,
    StopSignal, What, inspect, present_boot, spawn_owned, stop,
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

pub const ATTEMPT: u32 = 1;

/// A run directory of its own with somebody who listens.
pub struct Bench {
    pub temporary: tempfile::TempDir,
    pub listener: NewsListener,
    pub run: RunId,
    pub dir: RunDir,
}

impl Bench {
    pub fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        // A marker of its own: tests look for processes by it.
        let entropy = std::collections::hash_map::RandomState::new();
        let run = RunId::from_entropy(std::hash::BuildHasher::hash_one(&entropy, temporary.path()));
        let dir = RunDir::new(&temporary.path().join("runs"), &run);
        dir.create().unwrap();
        Self {
            listener: NewsListener::bind(&temporary.path().join("news")).unwrap(),
            temporary,
            run,
            dir,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    /// A command with short graces and no other limit.
    pub fn command(&self, argv: &[&str]) -> Spec {
        Spec {
            run: self.run.clone(),
            task: TaskId::from_entropy(7),
            attempt: ATTEMPT,
            argv: argv.iter().map(OsString::from).collect(),
            env: vec![("PATH".into(), std::env::var_os("PATH").unwrap())],
            cwd: self.temporary.path().to_owned(),
            stdin: None,
            limits: Limits {
                stop_grace_ms: 200,
                leak_grace_ms: 100,
                ..Limits::default()
            },
            stop_signal: StopSignal::Terminate,
            news: self.path("news"),
            boot: present_boot(),
        }
    }

    pub fn shell(&self, script: &str) -> Spec {
        self.command(&["/bin/sh", "-c", script])
    }

    pub fn launch(&self, spec: &Spec) {
        static LAUNCHER: LazyLock<Launcher> = LazyLock::new(|| Launcher::new(program()));
        LAUNCHER.launch(&self.dir, spec).unwrap();
    }

    pub fn started(&self) {
        self.expect(What::Started);
    }

    pub fn expect(&self, what: What) {
        let run = self.run.clone();
        assert_eq!(self.listener.recv().unwrap(), Some(News { run, what }));
    }

    /// Waits until the record is said to be there; `Started` may or may not come before it.
    pub fn ended(&self) {
        while self.listener.recv().unwrap().unwrap().what != What::Ended {}
    }

    pub fn inspect(&self) -> Standing {
        inspect(&self.dir, &self.run, ATTEMPT, present_boot().as_deref()).unwrap()
    }

    pub fn run(&self, spec: &Spec) -> ExitRecord {
        self.launch(spec);
        self.ended();
        self.record()
    }

    pub fn record(&self) -> ExitRecord {
        match self.inspect() {
            Standing::Ended(record) => record,
            other => panic!("{other:?}; {}", self.shim_log()),
        }
    }

    /// Runs something that must not start.
    pub fn refusal(&self, spec: &Spec) -> Failure {
        self.launch(spec);
        self.expect(What::Ended);
        match self.inspect() {
            Standing::NotStarted(failure) => {
                assert!(!failure.evidence.is_empty());
                failure
            }
            other => panic!("{other:?}; {}", self.shim_log()),
        }
    }

    pub fn out(&self) -> Vec<u8> {
        std::fs::read(self.dir.out_log()).unwrap()
    }

    pub fn out_lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.out()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    pub fn shim_log(&self) -> String {
        std::fs::read_to_string(self.dir.shim_log()).unwrap_or_default()
    }

    pub fn shim_pid(&self) -> i32 {
        number(&self.dir.started(), "pid")
    }

    pub fn agent_pid(&self) -> i32 {
        number(&self.dir.pid_record(), "pid")
    }

    /// Kills the shim and waits until its lock has fallen.
    pub fn kill_shim(&self) {
        kill_process(pid(self.shim_pid()), Signal::KILL).unwrap();
        self.wait_for_lock();
    }

    /// Blocks until no shim holds the run.
    pub fn wait_for_lock(&self) {
        File::open(self.dir.alive_lock())
            .unwrap()
            .lock_shared()
            .unwrap();
    }

    /// A pipe with a name, for an agent to say something through.
    pub fn fifo(&self) -> Fifo {
        let path = self.path("fifo");
        let mode = rustix::fs::Mode::RWXU;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
        // Open for both, so that opening waits for nobody and the end never comes.
        let file = File::options().read(true).write(true).open(&path).unwrap();
        Fifo {
            lines: BufReader::new(file),
        }
    }
}

/// A test that fails leaves nothing running, and waits for no grace.
impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() && matches!(stop(&self.dir), Ok(StopSent::Shim)) {
            let _ = kill_process(pid(self.shim_pid()), Signal::KILL);
            self.wait_for_lock();
            let _ = stop(&self.dir);
        }
    }
}

/// What an agent says through a named pipe.
pub struct Fifo {
    lines: BufReader<File>,
}

impl Fifo {
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

/// This binary, as a shim.
pub fn program() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// How this command ends. The tests beside this one look for orphans meanwhile, and a child without
/// an owner is one: its status would be theirs.
pub fn status_of(command: &mut Command) -> ExitStatus {
    spawn_owned(command).unwrap().wait().unwrap()
}

/// A shim for this run, to its end, started without the process that makes them.
pub fn shim_of(dir: &RunDir) -> ExitStatus {
    let mut shim = Command::new(program());
    shim.arg(SHIM_COMMAND).arg(dir.path());
    status_of(shim.stdin(Stdio::null()).stderr(Stdio::null()))
}

pub fn pid(raw: i32) -> Pid {
    Pid::from_raw(raw).unwrap()
}

fn number(path: &Path, field: &str) -> i32 {
    let value: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    i32::try_from(value[field].as_i64().unwrap()).unwrap()
}

/// Whether a process runs; one that nobody has waited for yet does not.
pub fn is_alive(raw: i32) -> bool {
    test_kill_process(pid(raw)).is_ok()
        && std::fs::read_to_string(format!("/proc/{raw}/stat"))
            .is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

/// Waits until a process of somebody else has ended; the system gives an event for that.
pub fn wait_for_end(raw: i32) {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{PidfdFlags, pidfd_open};
    let Ok(fd) = pidfd_open(pid(raw), PidfdFlags::empty()) else {
        return;
    };
    while poll(&mut [PollFd::new(&fd, PollFlags::IN)], None).is_err() {}
}

#[track_caller]
pub fn assert_lost(standing: &Standing, code: FailureCode) {
    match standing {
        Standing::Lost(failure) => {
            assert_eq!(failure.code, code, "{failure:?}");
            assert!(!failure.evidence.is_empty());
        }
        other => panic!("expected lost({code}), found {other:?}"),
    }
}

pub const fn signal(number: i32) -> Exit {
    Exit::Signal {
        number,
        core: false,
    }
}
