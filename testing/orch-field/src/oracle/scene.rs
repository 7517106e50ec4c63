//! Everything the oracle looks at, gathered once: rows by SQL of its own, the run directories, the
//! process table, the repository and the private ledger.
//!
//! Must not use any code of orch: a reader that shared its mistakes would not see them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::ledger::{Accounts, Ledger, uptime_ms};
use super::processes;
use crate::Project;

/// One row of a table: column to value.
#[derive(Debug, Clone, Default)]
pub struct Row(pub BTreeMap<String, Cell>);

impl Row {
    /// A text; empty if there is none.
    pub fn text(&self, column: &str) -> &str {
        match self.0.get(column) {
            Some(Cell::Text(text)) => text,
            _ => "",
        }
    }

    /// A number, if there is one.
    pub fn number(&self, column: &str) -> Option<i64> {
        match self.0.get(column) {
            Some(Cell::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    /// Whether there is no value.
    pub fn is_null(&self, column: &str) -> bool {
        matches!(self.0.get(column), Some(Cell::Null) | None)
    }
}

/// What lies in the directory of a run.
#[derive(Debug, Clone, Default)]
pub struct RunFiles {
    /// Whether there is a directory.
    pub present: bool,
    /// Whether the launch gate was passed.
    pub started: bool,
    /// Whether a living process holds the shim's lock.
    pub locked: bool,
    /// `exit.json`.
    pub exit: Option<Value>,
    /// `run.json`.
    pub run_json: Option<Value>,
    /// `events.jsonl`.
    pub events: Vec<u8>,
    /// `out.log`.
    pub out: Vec<u8>,
    /// `err.log`.
    pub err: Vec<u8>,
}

/// A process that carries the marker of a run of the project.
#[derive(Debug, Clone)]
pub struct Left {
    /// Its run.
    pub run: String,
    /// What it is, for a person.
    pub what: String,
    /// Its process.
    pub pid: i32,
    /// When that started, clock ticks since boot.
    pub start_time: u64,
}

/// A file an agent left in its worktree, and where it was found.
#[derive(Debug, Clone)]
pub struct Work {
    /// The run.
    pub run: String,
    /// The file.
    pub name: String,
    /// Whether the run's commit holds it as that run wrote it.
    pub in_commit: bool,
    /// Whether that commit can be reached from a ref.
    pub reachable: bool,
    /// Whether it is on the target branch.
    pub on_target: bool,
}

/// Everything there is to look at.
#[derive(Debug, Clone, Default)]
pub struct Scene {
    /// What SQLite says of the file.
    pub integrity: Vec<String>,
    /// All tasks.
    pub tasks: Vec<Row>,
    /// All runs, oldest first.
    pub runs: Vec<Row>,
    /// All dependencies.
    pub dependencies: Vec<Row>,
    /// All facts, in their order.
    pub events: Vec<Row>,
    /// Tasks by status as the database counts them.
    pub counts: Vec<Row>,
    /// The directories of the runs.
    pub files: BTreeMap<String, RunFiles>,
    /// The private accounts.
    pub ledger: Accounts,
    /// Processes that are still there.
    pub left: Vec<Left>,
    /// What agents made.
    pub work: Vec<Work>,
    /// Milliseconds since 1970 at the boot, to compare the two clocks.
    pub boot_ms: i64,
}

impl Scene {
    /// Looks at everything.
    pub fn of(project: &Project, ledger: &Ledger) -> Self {
        let state = project.root().join(".orch");
        let mut scene = Self {
            ledger: ledger.read(),
            boot_ms: boot_ms(),
            ..Self::default()
        };
        scene.read_database(&state.join("orch.db"));
        for run in &scene.runs {
            let id = run.text("id").to_owned();
            let files = read_files(&state.join("runs").join(&id));
            scene.files.insert(id, files);
        }
        scene.left = processes::marked()
            .into_iter()
            .filter(|process| scene.files.contains_key(&process.run))
            .collect();
        scene.read_work(project);
        scene
    }

    /// The rows alone; `None` while they cannot be read.
    pub fn rows_of(project: &Project) -> Option<Self> {
        let path = project.root().join(".orch/orch.db");
        let mut scene = Self::default();
        scene.read_rows(&open(&path)).ok()?;
        Some(scene)
    }

    fn read_database(&mut self, path: &Path) {
        let connection = open(path);
        // All of it as of one moment.
        connection.execute_batch("BEGIN").unwrap();
        self.read_rows(&connection).unwrap();
        let said = rows(&connection, "PRAGMA integrity_check").unwrap();
        let said = said.iter().map(|row| row.text("integrity_check"));
        self.integrity = said.map(str::to_owned).collect();
    }

    fn read_rows(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.tasks = rows(connection, "SELECT * FROM task ORDER BY seq")?;
        self.runs = rows(connection, "SELECT * FROM run ORDER BY seq")?;
        self.dependencies = rows(connection, "SELECT * FROM dependency")?;
        self.events = rows(connection, "SELECT * FROM event ORDER BY seq")?;
        self.counts = rows(connection, "SELECT * FROM task_count")?;
        Ok(())
    }

    fn read_work(&mut self, project: &Project) {
        for (run, account) in &self.ledger.runs {
            let row = self.runs.iter().find(|row| row.text("id") == run);
            let Some(row) = row.filter(|row| !row.is_null("branch")) else {
                continue;
            };
            for name in &account.work {
                self.work.push(look_for(project, row, name));
            }
        }
    }

    /// A task by id.
    pub fn task(&self, id: &str) -> Option<&Row> {
        self.tasks.iter().find(|row| row.text("id") == id)
    }

    /// The runs of a task, oldest first.
    pub fn runs_of<'a>(&'a self, task: &'a str) -> impl DoubleEndedIterator<Item = &'a Row> {
        self.runs.iter().filter(move |row| row.text("task") == task)
    }

    /// The facts of one kind about a run or task, in their order.
    pub fn facts<'a>(&'a self, kind: &'a str, id: &'a str) -> impl Iterator<Item = &'a Row> {
        let about = move |row: &&Row| row.text("run") == id || row.text("task") == id;
        let events = self.events.iter();
        events
            .filter(move |row| row.text("kind") == kind)
            .filter(about)
    }
}

/// Whether a run's row has no end.
pub fn is_live(run: &Row) -> bool {
    matches!(run.text("status"), "starting" | "running")
}

fn open(path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(path, flags).unwrap();
    let patience = std::time::Duration::from_secs(5);
    connection.busy_timeout(patience).unwrap();
    connection
}

fn rows(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare(sql)?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let read = statement.query_map([], |row| {
        let cells = names.iter().enumerate();
        let cells = cells.map(|(at, name)| Ok((name.clone(), row.get(at)?)));
        cells.collect::<rusqlite::Result<_>>().map(Row)
    });
    read?.collect()
}

fn read_files(dir: &Path) -> RunFiles {
    let read = |name: &str| fs::read(dir.join(name)).unwrap_or_default();
    let json = |name: &str| serde_json::from_slice(&read(name)).ok();
    RunFiles {
        present: dir.is_dir(),
        started: dir.join("started").exists(),
        locked: is_locked(&dir.join("alive.lock")),
        exit: json("exit.json"),
        run_json: json("run.json"),
        events: read("events.jsonl"),
        out: read("out.log"),
        err: read("err.log"),
    }
}

fn is_locked(path: &Path) -> bool {
    let Ok(file) = fs::File::open(path) else {
        return false;
    };
    matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
}

fn look_for(project: &Project, run: &Row, name: &str) -> Work {
    let (id, commit) = (run.text("id").to_owned(), run.text("commit_id"));
    let branches = || project.git(&["for-each-ref", "--contains", commit]);
    Work {
        in_commit: !commit.is_empty() && holds(project, commit, name, &id),
        reachable: !commit.is_empty() && !branches().trim().is_empty(),
        on_target: holds(project, "main", name, &id),
        run: id,
        name: name.to_owned(),
    }
}

/// Whether a commit has this file with the name of the run in it.
fn holds(project: &Project, commit: &str, name: &str, run: &str) -> bool {
    let mut git = project.clean("git");
    let output = git.args(["show", &format!("{commit}:{name}")]);
    let output = output.output().unwrap();
    output.status.success() && String::from_utf8_lossy(&output.stdout).trim() == run
}

fn boot_ms() -> i64 {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_millis() as i64 - uptime_ms()
}

/// Where a project keeps the directory of a run.
pub fn run_dir(project: &Project, run: &str) -> PathBuf {
    project.root().join(".orch/runs").join(run)
}
