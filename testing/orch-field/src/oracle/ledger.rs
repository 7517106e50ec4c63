//! The private ledger: what agents and whoever injects faults wrote down where orch cannot see it.
//!
//! One file per run, written by the agent itself with the functions of [`PRELUDE`], and files of
//! the harness beside them: which faults it injected and which tasks it was told are kept. Each
//! note is written before the deed it tells of, so a deed without a note cannot be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Shell functions with which an agent keeps its account. It needs `LEDGER`, the directory, in its
/// environment. `begin` comes first; `put FILE` and `put_err FILE` print a file; `work NAME` leaves
/// a file in the working directory; `said WORD` tells what the result event says; `finish CODE`
/// and `die SIGNAL` end it.
pub const PRELUDE: &str = r#"
book="$LEDGER/$ORCH_RUN_ID"
note() { echo "$*" >> "$book"; }
clock() { read boot idle < /proc/uptime; }
parent() { read _ _ _ above _ < /proc/$$/stat; read parent < "/proc/$above/comm"; }
begin() { read stat < /proc/$$/stat; set -- $stat; shift 21; clock
  note "start $ORCH_TASK_ID $ORCH_ATTEMPT $$ $1 $boot"; }
put() { note "out $1"; cat "$1"; note wrote_out; }
put_err() { note "err $1"; cat "$1" >&2; note wrote_err; }
work() { echo "$ORCH_RUN_ID" > "$1"; note "work $1"; }
said() { note "said $1"; }
finish() { parent; clock; note "end $1 $boot $parent"; exit "$1"; }
die() { parent; clock; note "die $1 $boot $parent"; kill "-$1" $$; }
"#;

/// A directory of private accounts.
#[derive(Debug, Clone)]
pub struct Ledger {
    dir: PathBuf,
}

impl Ledger {
    /// The ledger in `dir`, which is made if it is not there.
    pub fn new(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).unwrap();
        Self { dir }
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// To be called when a daemon is started.
    pub fn daemon_started(&self) {
        self.note("daemon", &format!("started {}", uptime_ms()));
    }

    /// To be called before a daemon is killed, or is made to die.
    pub fn daemon_killed(&self) {
        self.note("daemon", &format!("killed {}", uptime_ms()));
    }

    /// To be called before the shim of a run is killed, or is made to die.
    pub fn shim_killed(&self, run: &str) {
        let text = format!("shim_killed {}", uptime_ms());
        self.note(&format!("{run}.faults"), &text);
    }

    /// To be called before a signal is sent to an agent's process.
    pub fn agent_signalled(&self, run: &str, signal: i32) {
        let text = format!("signalled {signal} {}", uptime_ms());
        self.note(&format!("{run}.faults"), &text);
    }

    /// To be called after processes of a run, or the daemon (`None`), were stopped for a while:
    /// what was due meanwhile may come later by that much.
    pub fn paused(&self, run: Option<&str>, for_ms: u64) {
        let name = run.map_or("daemon".to_owned(), |run| format!("{run}.faults"));
        self.note(&name, &format!("paused {for_ms} {}", uptime_ms()));
    }

    /// To be called when orch has said that it keeps a task.
    pub fn acknowledged(&self, task: &str) {
        self.note("acknowledged", task);
    }

    fn note(&self, name: &str, text: &str) {
        let mut options = fs::OpenOptions::new();
        let path = self.dir.join(name);
        let mut file = options.append(true).create(true).open(path).unwrap();
        file.write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    /// Everything that was written down.
    pub fn read(&self) -> Accounts {
        let mut accounts = Accounts::default();
        for entry in fs::read_dir(&self.dir).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let text = fs::read_to_string(self.dir.join(&name)).unwrap();
            match (name.as_str(), name.strip_suffix(".faults")) {
                ("daemon", _) => accounts.daemon = daemon_notes(&text),
                ("acknowledged", _) => {
                    accounts.acknowledged = text.lines().map(str::to_owned).collect();
                }
                (_, Some(run)) => accounts.of(run).faults = fault_notes(&text),
                (run, None) if run.starts_with("run_") => accounts.of(run).read_agent(&text),
                _ => {}
            }
        }
        accounts
    }
}

/// All accounts.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    /// By run.
    pub runs: BTreeMap<String, Account>,
    /// What was done to the daemon, in order.
    pub daemon: Vec<DaemonNote>,
    /// Tasks that orch said it keeps.
    pub acknowledged: BTreeSet<String>,
}

impl Accounts {
    fn of(&mut self, run: &str) -> &mut Account {
        self.runs.entry(run.to_owned()).or_default()
    }

    /// Moments at which a daemon was killed, milliseconds since boot.
    pub fn daemon_kills(&self) -> impl Iterator<Item = i64> {
        self.daemon.iter().filter_map(|note| match note {
            DaemonNote::Killed(at) => Some(*at),
            _ => None,
        })
    }
}

/// What was done to the daemon; times in milliseconds since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonNote {
    /// One was started.
    Started(i64),
    /// It was killed.
    Killed(i64),
    /// It was stopped for so many milliseconds, until then.
    Paused {
        /// How long.
        for_ms: i64,
        /// Until when.
        until: i64,
    },
}

/// What one run's agent did by its own account.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Each time the agent was started for this run.
    pub starts: Vec<Start>,
    /// What it meant to print: files, in order.
    pub out: Stream,
    /// The same for standard error.
    pub err: Stream,
    /// Files it left in its working directory.
    pub work: Vec<String>,
    /// What its result event says: `success`, `error`.
    pub said: Option<String>,
    /// How it was about to end.
    pub end: Option<AgentEnd>,
    /// What was done to it.
    pub faults: RunFaults,
}

/// The beginning of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The task it was told.
    pub task: String,
    /// The attempt it was told.
    pub attempt: u32,
    /// Its process.
    pub pid: i32,
    /// When that started, clock ticks since boot.
    pub start_time: u64,
    /// When it wrote this, milliseconds since boot.
    pub at: i64,
}

/// What an agent printed by its own account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// The files it began to print, in order.
    pub files: Vec<PathBuf>,
    /// How many of them it finished.
    pub finished: usize,
}

impl Stream {
    /// Everything it began to print, and how many bytes of that it finished.
    pub fn bytes(&self) -> (Vec<u8>, usize) {
        let mut all = Vec::new();
        let mut finished = 0;
        for (index, file) in self.files.iter().enumerate() {
            all.extend(fs::read(file).unwrap());
            if index < self.finished {
                finished = all.len();
            }
        }
        (all, finished)
    }
}

/// How an agent was about to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentEnd {
    /// The exit code or the signal.
    pub how: Ending,
    /// When, milliseconds since boot.
    pub at: i64,
    /// What the parent was called that it had then, and that alone can fetch its status.
    pub parent: String,
}

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// What was done to a run from outside; times in milliseconds since boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFaults {
    /// When its shim was killed.
    pub shim_killed: Vec<i64>,
    /// Signals to its agent, and when.
    pub signalled: Vec<(i32, i64)>,
    /// How long something of it was stopped, milliseconds.
    pub paused_ms: i64,
}

impl Account {
    fn read_agent(&mut self, text: &str) {
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["start", task, attempt, pid, start_time, at] => self.starts.push(Start {
                    task: (*task).to_owned(),
                    attempt: attempt.parse().unwrap(),
                    pid: pid.parse().unwrap(),
                    start_time: start_time.parse().unwrap(),
                    at: milliseconds(at),
                }),
                ["out", file] => self.out.files.push(file.into()),
                ["err", file] => self.err.files.push(file.into()),
                ["wrote_out"] => self.out.finished = self.out.files.len(),
                ["wrote_err"] => self.err.finished = self.err.files.len(),
                ["work", name] => self.work.push((*name).to_owned()),
                ["said", word] => self.said = Some((*word).to_owned()),
                ["end", code, at, parent @ ..] => {
                    self.end(Ending::Code(code.parse().unwrap()), at, parent);
                }
                ["die", signal, at, parent @ ..] => {
                    self.end(Ending::Signal(signal.parse().unwrap()), at, parent);
                }
                _ => panic!("a line of the ledger that nobody writes: {line:?}"),
            }
        }
    }

    fn end(&mut self, how: Ending, at: &str, parent: &[&str]) {
        self.end = Some(AgentEnd {
            how,
            at: milliseconds(at),
            parent: parent.join(" "),
        });
    }

    /// When it was over at the latest by this account, milliseconds since boot.
    pub fn ended_at(&self) -> Option<i64> {
        let killed = self.faults.signalled.iter();
        let killed = killed.filter(|(signal, _)| *signal == KILL);
        let killed = killed.map(|(_, at)| *at).max();
        self.end.as_ref().map(|end| end.at).max(killed)
    }
}

/// The signal that cannot be refused.
const KILL: i32 = 9;

fn daemon_notes(text: &str) -> Vec<DaemonNote> {
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["started", at] => DaemonNote::Started(at.parse().unwrap()),
                ["killed", at] => DaemonNote::Killed(at.parse().unwrap()),
                ["paused", for_ms, until] => DaemonNote::Paused {
                    for_ms: for_ms.parse().unwrap(),
                    until: until.parse().unwrap(),
                },
                _ => panic!("a line of the ledger that nobody writes: {line:?}"),
            }
        })
        .collect()
}

fn fault_notes(text: &str) -> RunFaults {
    let mut faults = RunFaults::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["shim_killed", at] => faults.shim_killed.push(at.parse().unwrap()),
            ["signalled", signal, at] => faults
                .signalled
                .push((signal.parse().unwrap(), at.parse().unwrap())),
            ["paused", for_ms, _] => faults.paused_ms += for_ms.parse::<i64>().unwrap(),
            _ => panic!("a line of the ledger that nobody writes: {line:?}"),
        }
    }
    faults
}

/// `1234.56` seconds as milliseconds.
fn milliseconds(seconds: &str) -> i64 {
    (seconds.parse::<f64>().unwrap() * 1000.0).round() as i64
}

/// Milliseconds since boot by the clock that agents read too.
pub fn uptime_ms() -> i64 {
    let text = fs::read_to_string("/proc/uptime").unwrap();
    milliseconds(text.split(' ').next().unwrap())
}
