//! A throw-away project and the means to run `orch` in it.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use orch_api::client::Client;
use serde_json::Value;
use tempfile::TempDir;

use crate::wait::{patience, waited_in_vain};

/// Lines of the log that are shown then.
const SHOWN: usize = 40;

/// A git repository with an orch project in it, gone when dropped.
pub struct Project {
    dir: TempDir,
    binary: PathBuf,
}

impl Project {
    /// A project whose agents are given by `agents`, TOML of the `[agents]` table, for the `orch`
    /// that cargo built for the test that asks.
    pub fn new(agents: &str) -> Self {
        Self::with_binary(tested_binary(), agents)
    }

    /// The same below this directory, a disk of its own: how much of it must stay free is what a
    /// user has who said nothing of it.
    pub fn new_in(place: &Path, agents: &str) -> Self {
        let dir = tempfile::tempdir_in(place).unwrap();
        let project = Self::with_repository(dir, tested_binary());
        project.ok(&["init", "--name", "test"]);
        project.write_configuration(&in_project(agents));
        project
    }

    /// The same for any `orch`.
    pub fn with_binary(binary: PathBuf, agents: &str) -> Self {
        Self::bare_with_binary(binary).with_agents(agents)
    }

    fn with_agents(self, agents: &str) -> Self {
        let project = self;
        project.ok(&["init", "--name", "test"]);
        project.configure(&in_project(agents));
        project
    }

    /// Replaces `orch.toml`. How full the disk of the test's machine is says nothing of what is
    /// tested, so nothing is put off for it.
    pub fn configure(&self, text: &str) {
        self.write_configuration(&on_any_disk(text));
    }

    fn write_configuration(&self, text: &str) {
        fs::write(self.root().join("orch.toml"), text).unwrap();
    }

    /// Keeps everything where it is; the directory.
    pub fn keep(self) -> PathBuf {
        self.dir.keep()
    }

    /// A git repository with one commit and no orch project.
    pub fn bare() -> Self {
        Self::bare_with_binary(tested_binary())
    }

    fn bare_with_binary(binary: PathBuf) -> Self {
        Self::with_repository(tempfile::tempdir().unwrap(), binary)
    }

    fn with_repository(dir: TempDir, binary: PathBuf) -> Self {
        let project = Self { dir, binary };
        fs::create_dir(project.root()).unwrap();
        fs::create_dir(project.home()).unwrap();
        project.git(&["init", "--quiet", "--initial-branch=main"]);
        project.git(&["config", "user.name", "Tester"]);
        project.git(&["config", "user.email", "tester@example.invalid"]);
        fs::write(project.root().join("readme.txt"), "hello\n").unwrap();
        project.git(&["add", "."]);
        project.git(&["commit", "--quiet", "--message=first"]);
        project
    }

    /// The repository.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// A place outside the repository.
    pub fn outside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn home(&self) -> PathBuf {
        self.outside("home")
    }

    /// The directory of a run.
    pub fn run_dir(&self, run: &Value) -> PathBuf {
        self.root().join(".orch/runs").join(text(run, "id"))
    }

    /// Git in the repository, which must succeed; what it printed.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = self.clean("git").args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            lossy(&output.stderr)
        );
        lossy(&output.stdout)
    }

    /// The `orch` under test.
    pub fn binary(&self) -> &str {
        self.binary.to_str().expect("cargo's paths are UTF-8")
    }

    /// Any program in the repository, with nothing of the test's own environment.
    pub fn clean(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .stdin(Stdio::null());
        command
    }

    /// `orch` with these arguments, not yet started.
    pub fn orch(&self, arguments: &[&str]) -> Command {
        let mut command = self.clean(&self.binary);
        command.args(arguments);
        command
    }

    /// `orch`, however it ends.
    pub fn output(&self, arguments: &[&str]) -> Output {
        self.orch(arguments).output().unwrap()
    }

    /// `orch`, which must succeed; what it printed, without the line end.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let (out, err) = (lossy(&output.stdout), lossy(&output.stderr));
        assert!(
            output.status.success(),
            "orch {arguments:?}: {:?}\n{out}{err}",
            output.status
        );
        out.trim_end().to_owned()
    }

    /// `orch --json`, which must succeed; what it printed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        serde_json::from_str(&self.ok(&all)).unwrap()
    }

    /// `orch`, which must end with this code; what it said on stderr.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let (out, err) = (lossy(&output.stdout), lossy(&output.stderr));
        assert_eq!(
            output.status.code(),
            Some(code),
            "orch {arguments:?}\n{out}{err}"
        );
        err
    }

    /// Adds a task; its id.
    pub fn add(&self, title: &str, more: &[&str]) -> String {
        let mut arguments = vec!["task", "add", title, "--quiet"];
        arguments.extend(more);
        self.ok(&arguments)
    }

    /// A task by id.
    pub fn task(&self, id: &str) -> Value {
        self.json(&["task", "show", id])
    }

    /// The last run of a task.
    pub fn last_run(&self, task: &str) -> Value {
        let runs = self.json(&["runs", "--task", task]);
        runs.as_array()
            .and_then(|runs| runs.first())
            .expect("a run")
            .clone()
    }

    /// A client of the daemon that serves this project.
    pub fn client(&self) -> Client {
        Client::unix(&self.root().join(".orch/orch.sock")).unwrap()
    }

    /// A daemon in the background.
    pub fn serve(&self, more: &[&str]) -> Served {
        self.serve_with(more, &[])
    }

    /// A daemon in the background with more in its environment.
    pub fn serve_with(&self, more: &[&str], environment: &[(&str, PathBuf)]) -> Served {
        self.try_serve_with(more, environment)
            .expect("the daemon ended without serving")
    }

    /// The same; `None` if it ends before it says that it serves.
    pub fn try_serve_with(&self, more: &[&str], environment: &[(&str, PathBuf)]) -> Option<Served> {
        let mut arguments = vec!["serve", "--log-format", "json"];
        arguments.extend(more);
        let mut child = self
            .orch(&arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (said, lines) = channel();
        std::thread::spawn(move || {
            // Whoever listened no more needs no more.
            let _ = BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| said.send(line));
        });
        let mut served = Served {
            child,
            lines,
            seen: Vec::new(),
        };
        while served.next()?["event"] != "serving" {}
        Some(served)
    }
}

/// The `orch` under test. Cargo says where it is to the integration tests of its package.
/// These agents in a project that is called as its tests expect. In place of what `init` writes:
/// a table may stand in a file only once.
fn in_project(agents: &str) -> String {
    format!("[project]\nname = \"test\"\ntarget = \"main\"\n{agents}")
}

/// This configuration with work started on a disk that is nearly full, unless it says otherwise.
fn on_any_disk(text: &str) -> String {
    const FLOOR: &str = "[limits]\nfree_space = \"0B\"\n";
    if text.contains("free_space") {
        return text.to_owned();
    }
    match text.split_once("[limits]\n") {
        Some((before, after)) => format!("{before}{FLOOR}{after}"),
        None => format!("{text}\n{FLOOR}"),
    }
}

fn tested_binary() -> PathBuf {
    std::env::var_os("CARGO_BIN_EXE_orch")
        .expect("only integration tests of the package 'orch' have a binary to test")
        .into()
}

/// A daemon, ended when dropped.
pub struct Served {
    child: Child,
    lines: Receiver<String>,
    /// Every line so far.
    pub seen: Vec<Value>,
}

impl Served {
    /// The daemon's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads the log until a line of interest comes.
    ///
    /// # Panics
    /// The daemon ended, or said nothing for minutes.
    #[track_caller]
    pub fn wait_for(&mut self, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        loop {
            let line = self.next().expect("the daemon ended without saying it");
            if wanted(&line) {
                return line;
            }
        }
    }

    /// Reads the log until this event has been said `count` times.
    #[track_caller]
    pub fn wait_for_events(&mut self, event: &str, count: usize) {
        for _ in 0..count {
            self.wait_for(|line| line["event"] == event);
        }
    }

    /// The next line; `None` when the daemon has ended.
    #[track_caller]
    fn next(&mut self) -> Option<Value> {
        let patience = patience();
        let text = match self.lines.recv_timeout(patience) {
            Ok(text) => text,
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => self.give_up(patience),
        };
        let line: Value = serde_json::from_str(&text).unwrap();
        self.seen.push(line.clone());
        Some(line)
    }

    /// Says what was seen last. What was waited for is where the test was.
    #[track_caller]
    fn give_up(&self, patience: Duration) -> ! {
        waited_in_vain();
        let last = self.seen.len().saturating_sub(SHOWN);
        let lines: Vec<String> = self.seen[last..].iter().map(Value::to_string).collect();
        panic!(
            "the daemon (pid {}) said nothing for {patience:?}; its last words:\n{}",
            self.child.id(),
            lines.join("\n")
        );
    }

    /// Sends a signal by number to the daemon alone.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Drains the daemon and waits until it has ended; its exit code.
    pub fn drain(self) -> Option<i32> {
        self.signal(rustix::process::Signal::TERM);
        self.ended()
    }

    /// Waits until the daemon has ended by itself; its exit code.
    pub fn ended(mut self) -> Option<i32> {
        while self.next().is_some() {}
        self.child.wait().unwrap().code()
    }

    /// The same, for a daemon that must end well; every line it said.
    pub fn ended_having_seen(mut self) -> Vec<Value> {
        while self.next().is_some() {}
        assert!(self.child.wait().unwrap().success());
        std::mem::take(&mut self.seen)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Ended already in the good case; never left behind in the bad one.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A field that is a text.
pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text '{field}' in {value}"))
}

/// Bytes as text for messages.
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Makes a FIFO.
pub fn fifo(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
}
