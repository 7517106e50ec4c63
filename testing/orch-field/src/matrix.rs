//! The crash matrix: a small day's work, in which daemon, shim or both die at one exact instant.
//!
//! Each cell is a project of its own. A first daemon starts two runs and is killed; a second one,
//! built with failpoints, takes them up, is given more tasks and dies, or loses its shims, at the
//! cell's point; a third one without failpoints brings everything to rest. Then the oracle looks.
//! This module must not know what the points mean: it is given their names.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Write;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::oracle::{self, Expect, Ledger, PRELUDE};
use crate::{Project, Served, fifo, text};

/// How long a daemon may take to bring everything to rest. Far above what a busy machine needs.
const REST: Duration = Duration::from_secs(90);

/// What must hold when everything is at rest. How promptly ends are recorded is measured
/// elsewhere, on a machine that does not play a dozen cells at once.
const EXPECT: Expect = Expect {
    settled: true,
    max_agents: 4,
    settle_ms: 60_000,
    start_ms: 60_000,
    grace_ms: 2_000,
};

/// Who dies, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// SIGKILL for the daemon.
    Daemon,
    /// SIGKILL for the shim that is there, or for every shim when the daemon is.
    Shim,
    /// Both.
    Both,
    /// A panic in whoever is there.
    Panic,
}

impl Victim {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Daemon, Self::Shim, Self::Both, Self::Panic];

    const fn action(self) -> &'static str {
        match self {
            Self::Daemon => "kill:daemon",
            Self::Shim => "kill:shim",
            Self::Both => "kill:daemon+shim",
            Self::Panic => "panic",
        }
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Daemon => "daemon",
            Self::Shim => "shim",
            Self::Both => "both",
            Self::Panic => "panic",
        })
    }
}

/// One instant and what happens at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The name of the point.
    pub point: String,
    /// Who dies.
    pub victim: Victim,
    /// The how manyth time that the point is reached, from 1.
    pub times: usize,
}

/// What came of a cell.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The cell.
    pub cell: Cell,
    /// Whether the point was reached so often.
    pub reached: bool,
    /// How the runs ended, in words.
    pub recovered: String,
    /// What should not be.
    pub violations: Vec<String>,
}

impl Drop for Day {
    /// Leaves no process behind, whatever became of the cell: everything that was started for it
    /// has the gate in its environment.
    fn drop(&mut self) {
        let gate = format!("GATE={}", self.project.outside("gate").display());
        for pid in oracle::pids() {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let mut entries = environment.split(|byte| *byte == 0);
            if entries.any(|entry| entry == gate.as_bytes())
                && let Some((_, _, start_time)) = oracle::stat(pid)
            {
                oracle::signal(pid, start_time, Signal::KILL);
            }
        }
    }
}

/// How often each point is reached when nothing goes wrong.
pub fn baseline(binary: &Path, point: &str) -> BTreeMap<String, usize> {
    let day = Day::new(binary);
    let _ = day.live(point, None);
    day.reached()
}

/// Plays cells on `threads` threads; `each` hears of every outcome as it comes.
pub fn play(
    binary: &Path,
    cells: &[Cell],
    threads: usize,
    each: impl Fn(&Outcome) + Sync,
) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let played = catch_unwind(|| play_one(binary, cell));
                    let outcome = played.unwrap_or_else(|panic| fallen_over(cell, panic.as_ref()));
                    each(&outcome);
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

/// What the oracle cannot know: that a run was not started because the daemon panicked over it.
fn is_known(cell: &Cell, check: &str) -> bool {
    check == "not started is true" && cell.victim == Victim::Panic
}

/// Plays one cell.
///
/// Fault 2. Injected: SIGKILL to the daemon at each of the points that `orch_host::failpoint`
/// lists, around every write, rename, spawn and commit of a run's start and end. Held: after the
/// next start everything comes to rest, no status is wrong, no agent ran twice for one attempt,
/// no byte and no work is missing.
///
/// Fault 3. Injected: SIGKILL to the shim at each of its points, and to every shim at each point
/// of the daemon. Held: the same; while the daemon lives no end is `lost`, at no instant of the
/// shim's life.
///
/// Fault 4. Injected: SIGKILL to daemon and shim together, at each point. Held: the same.
///
/// Fault 48. Injected: a panic at each point, in every thread of the daemon that has one and in the
/// shim. Held: the process ends, or the work is done again; no run is left in between.
///
/// Promises 3, 7, 9, 10, 11, 12, 17, 18, 20, 21, 22.
pub fn play_one(binary: &Path, cell: &Cell) -> Outcome {
    let day = Day::new(binary);
    let mut violations = Vec::new();
    if let Err(stuck) = day.live(&cell.point, Some(cell)) {
        violations.push(stuck);
    }
    let found = oracle::check(&day.project, &day.ledger, &EXPECT);
    let found = found.iter().filter(|it| !is_known(cell, it.check));
    violations.extend(found.map(ToString::to_string));
    let times = day.reached().get(&cell.point).copied().unwrap_or(0);
    Outcome {
        cell: cell.clone(),
        reached: times >= cell.times,
        recovered: day.recovered(),
        violations,
    }
}

/// A cell that could not be played to its end, with what stood in the way.
fn fallen_over(cell: &Cell, panic: &(dyn std::any::Any + Send)) -> Outcome {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
    Outcome {
        cell: cell.clone(),
        reached: false,
        recovered: String::new(),
        violations: vec![format!("not played: {}", words.unwrap_or("a panic"))],
    }
}

/// What every agent does: it keeps its account, waits at the gate, prints, and leaves work in a
/// worktree, also work that is on no branch.
const AGENT: &str = r#"
begin
read nothing < "$GATE"
words="$LEDGER/../words/$ORCH_RUN_ID"
for n in 1 2 3; do echo "line $n of $ORCH_RUN_ID"; done > "$words"
put "$words"
case "$PWD" in
*/.orch/worktrees/*)
  echo staged > gone.txt; git add gone.txt; rm gone.txt
  work "made-$ORCH_RUN_ID.txt";;
esac
finish 0
"#;

/// How many times the gate may be passed: every task's attempts, and some.
const PASSES: usize = 64;

/// Tasks of the first daemon, then of the second: title, and what else is said of it.
const EARLY: [(&str, &[&str]); 2] = [
    ("early shared", &["--workspace", "shared"]),
    ("early apart", &["--workspace", "worktree"]),
];
const LATE: [(&str, &[&str]); 2] = [
    ("late shared", &["--workspace", "shared"]),
    ("late apart", &["--workspace", "worktree"]),
];
/// The last task, which depends on the last of the others.
const LAST: &str = "last";

/// One project and its day.
struct Day {
    project: Project,
    ledger: Ledger,
}

impl Day {
    fn new(binary: &Path) -> Self {
        let agents = format!(
            "[defaults]\nreview = \"auto\"\n[retry]\nbase = \"100ms\"\nmax = \"1s\"\n\
             [agents.worker]\nadapter = \"shell\"\nmax_parallel = 4\n\
             env = {{ GATE = \"$GATE\", LEDGER = \"$LEDGER\" }}\n\
             command = '''{PRELUDE}{AGENT}'''\n"
        );
        let project = Project::with_binary(binary.to_owned(), &agents);
        fifo(&project.outside("gate"));
        fs::create_dir(project.outside("words")).unwrap();
        let ledger = Ledger::new(project.outside("ledger"));
        Self { project, ledger }
    }

    fn log(&self) -> PathBuf {
        self.project.outside("points")
    }

    /// From the first daemon to rest. `Err` says what did not come to rest.
    fn live(&self, point: &str, cell: Option<&Cell>) -> Result<(), String> {
        for (title, options) in EARLY {
            self.add(title, options);
        }
        let mut first = self.serve(&[], &[]);
        first.wait_for_events("run_running", EARLY.len());
        self.ledger.daemon_killed();
        first.signal(Signal::KILL);
        drop(first);

        let mut armed = vec![("ORCH_FAILPOINT_LOG", self.log())];
        if let Some(cell) = cell {
            let plan = format!("{}={}@{}", cell.point, cell.victim.action(), cell.times);
            armed.push(("ORCH_FAILPOINT", plan.into()));
        }
        // Only a daemon that does not end by itself can be asked to drain.
        let drains = point.starts_with("daemon.drain");
        let mode: &[&str] = if drains { &[] } else { &["--once"] };
        let second = self.try_serve(mode, &armed);
        self.add_late();
        let gate = self.open_gate();
        if let Some(second) = second {
            if drains {
                second.signal(Signal::TERM);
            }
            self.rest(second, "the daemon with failpoints")?;
        }
        self.note_deaths();
        let third = self.serve(&["--once"], &[]);
        let rested = self.rest(third, "the last daemon");
        drop(gate);
        rested
    }

    fn serve(&self, mode: &[&str], armed: &[(&str, PathBuf)]) -> Served {
        self.try_serve(mode, armed)
            .expect("a daemon without failpoints says that it serves")
    }

    /// A daemon, unless it died before it said that it serves.
    fn try_serve(&self, mode: &[&str], armed: &[(&str, PathBuf)]) -> Option<Served> {
        let mut environment = vec![
            ("GATE", self.project.outside("gate")),
            ("LEDGER", self.ledger.dir().to_owned()),
        ];
        environment.extend(armed.iter().cloned());
        self.ledger.daemon_started();
        self.project.try_serve_with(mode, &environment)
    }

    fn add(&self, title: &str, options: &[&str]) -> String {
        let id = self.project.add(title, options);
        self.ledger.acknowledged(&id);
        id
    }

    /// Adds the later tasks, whoever dies meanwhile: what was not acknowledged may be there or not.
    fn add_late(&self) {
        let ids: Vec<String> = LATE
            .iter()
            .map(|(title, options)| self.add_once(title, options))
            .collect();
        let after = ids.last().expect("there are later tasks");
        self.add_once(LAST, &["--depends-on", after]);
    }

    fn add_once(&self, title: &str, options: &[&str]) -> String {
        let mut arguments = vec!["task", "add", title, "--quiet"];
        arguments.extend(options);
        crate::until(&format!("an answer to adding '{title}'"), || {
            let output = self.project.output(&arguments);
            let said = crate::lossy(&output.stdout).trim().to_owned();
            if output.status.success() {
                self.ledger.acknowledged(&said);
                return Some(said);
            }
            self.find(title)
        })
    }

    /// The task of this title, as whoever answers now knows it.
    fn find(&self, title: &str) -> Option<String> {
        let tasks = crate::until("a listing of the tasks", || {
            let output = self.project.output(&["task", "list", "--json"]);
            // A daemon that is just dying may have taken the question with it.
            let listed = || serde_json::from_slice::<Value>(&output.stdout).unwrap();
            output.status.success().then(listed)
        });
        let tasks = tasks.as_array()?.iter();
        let mut ids = tasks
            .filter(|task| task["title"] == title)
            .map(|task| text(task, "id").to_owned());
        ids.next()
    }

    /// Lets everybody through the gate for as long as the result lives.
    fn open_gate(&self) -> fs::File {
        let mut options = fs::OpenOptions::new();
        let gate = options.read(true).write(true);
        let mut gate = gate.open(self.project.outside("gate")).unwrap();
        gate.write_all("go\n".repeat(PASSES).as_bytes()).unwrap();
        gate
    }

    /// Waits until a daemon has ended, and ends one that does not come to rest.
    fn rest(&self, daemon: Served, who: &str) -> Result<(), String> {
        let pid = Pid::from_raw(daemon.pid().cast_signed()).expect("a child has an id");
        let (ended, end) = channel::<()>();
        let watch = std::thread::spawn(move || {
            let stuck = end.recv_timeout(REST) == Err(RecvTimeoutError::Timeout);
            if stuck {
                let _ = kill_process(pid, Signal::KILL);
            }
            stuck
        });
        let _ = daemon.ended();
        drop(ended);
        match watch.join() {
            Ok(false) => Ok(()),
            _ => Err(format!(
                "{who} did not come to rest within {REST:?}: {}",
                self.recovered()
            )),
        }
    }

    /// Writes down who was made to die, as the points named them.
    fn note_deaths(&self) {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        for (_, died) in text.lines().filter_map(|line| line.split_once(" dies ")) {
            match died {
                "runs" => self.ledger.daemon_killed(),
                run => self.ledger.shim_killed(run),
            }
        }
    }

    /// How often each point was reached.
    fn reached(&self) -> BTreeMap<String, usize> {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let mut reached = BTreeMap::new();
        for line in text.lines() {
            let (_, point) = line.split_once(' ').unwrap_or_default();
            *reached.entry(point.to_owned()).or_insert(0) += 1;
        }
        reached
    }

    /// How the runs ended: `5 completed, 1 lost(supervisor_died)`.
    fn recovered(&self) -> String {
        let output = self.project.output(&["runs", "--json"]);
        let runs: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let mut ends = BTreeMap::new();
        for run in runs.as_array().into_iter().flatten() {
            let status = run["status"].as_str().unwrap_or("?");
            let end = match run["failure"]["code"].as_str() {
                Some(code) => format!("{status}({code})"),
                None => status.to_owned(),
            };
            *ends.entry(end).or_insert(0) += 1;
        }
        let ends = ends.iter().map(|(end, count)| format!("{count} {end}"));
        ends.collect::<Vec<_>>().join(", ")
    }
}
