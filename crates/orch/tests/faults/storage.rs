//! Disks that are full.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use orch_field::{Project, Served, fifo, text};
use serde_json::Value;

use crate::disk::{SmallDisk, own_mounts};

/// Agents that note their beginning, wait at a gate, and note their end. Gate and ledger are
/// outside the project, on a disk that works.
const GATED: &str = "\
[agents.worker]\nadapter = \"shell\"\ncommand = '''
echo \"start $ORCH_RUN_ID\" >> \"$LEDGER\"
echo began
read nothing < \"$GATE\"
echo ended
echo \"end $ORCH_RUN_ID\" >> \"$LEDGER\"
exit 0
'''\nmax_parallel = 50\nenv = { GATE = \"$GATE\", LEDGER = \"$LEDGER\" }\n\
[defaults]\nworkspace = \"shared\"\nreview = \"auto\"\n[retry]\nbase = \"100ms\"\nmax = \"200ms\"\n";

/// The gate and the ledger of [`GATED`] agents.
pub struct Outside {
    directory: tempfile::TempDir,
}

impl Outside {
    pub fn new() -> Self {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        fifo(&directory.path().join("gate"));
        Self { directory }
    }

    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("GATE", self.directory.path().join("gate")),
            ("LEDGER", self.ledger_path()),
        ]
    }

    fn ledger_path(&self) -> PathBuf {
        self.directory.path().join("ledger")
    }

    pub fn ledger(&self) -> String {
        fs::read_to_string(self.ledger_path()).unwrap_or_default()
    }

    /// Lets agents through for as long as the answer is held.
    pub fn open_gate(&self, count: usize) -> File {
        let mut gate = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.directory.path().join("gate"))
            .unwrap();
        gate.write_all("go\n".repeat(count).as_bytes()).unwrap();
        gate
    }

    /// Waits until so many agents have done all they do.
    pub fn wait_for_ends(&self, count: usize) {
        while self.ledger().matches("end ").count() < count {
            std::thread::yield_now();
        }
    }
}

/// Waits until the supervisor of this run has let go of it, having left its record.
pub fn wait_for_record(project: &Project, run: &Value) {
    let lock = File::open(project.run_dir(run).join("alive.lock")).unwrap();
    lock.lock().unwrap();
    assert!(project.run_dir(run).join("exit.json").exists());
}

/// Adds tasks with large descriptions until one is refused; the ids of those that were not, and
/// what was said of the one that was.
fn add_until_refused(project: &Project, more: &[&str]) -> (Vec<String>, String) {
    let large = "x".repeat(60 << 10);
    let mut acknowledged = Vec::new();
    loop {
        let mut arguments = vec!["task", "add", "large", "--quiet", "-d", &large];
        arguments.extend(more);
        let output = project.output(&arguments);
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(7), "{output:?}");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return (acknowledged, said);
        }
        let id = String::from_utf8(output.stdout).unwrap();
        acknowledged.push(id.trim().to_owned());
    }
}

fn ids(project: &Project) -> Vec<String> {
    let tasks = project.json(&["task", "list", "--limit", "10000"]);
    let tasks = tasks.as_array().unwrap().iter();
    tasks.map(|task| text(task, "id").to_owned()).collect()
}

fn assert_all_kept(project: &Project, acknowledged: &[String]) {
    let mut kept = ids(project);
    let mut acknowledged = acknowledged.to_vec();
    kept.sort_unstable();
    acknowledged.sort_unstable();
    assert_eq!(
        kept, acknowledged,
        "what was acknowledged, and nothing else"
    );
}

fn running(project: &Project, served: &mut Served, count: usize) -> (Vec<String>, Vec<Value>) {
    let tasks: Vec<String> = (0..count)
        .map(|n| project.add(&format!("task {n}"), &[]))
        .collect();
    served.wait_for_events("run_running", count);
    let runs = tasks.iter().map(|task| project.last_run(task)).collect();
    (tasks, runs)
}

/// Fault 9. Injected: the disk of the whole project is filled to its last byte while three agents
/// work, and they end on it. Held: what was acknowledged before is kept and nothing else is there;
/// a command that cannot be recorded says so and ends with 7; rows can be read; the ends are on
/// disk at once, in space that was set aside, and are recorded without a restart when there is
/// room again.
///
/// Promises 7, 22, 23.
#[test]
fn a_full_disk_loses_neither_an_end_nor_an_acknowledged_task() {
    if !own_mounts("storage::a_full_disk_loses_neither_an_end_nor_an_acknowledged_task") {
        return;
    }
    let (disk, outside) = (SmallDisk::new(64), Outside::new());
    let project = disk.project(GATED);
    let mut served = project.serve_with(&[], &outside.environment());
    let (tasks, runs) = running(&project, &mut served, 3);
    let filler = disk.fill(0);
    let (added, said) = add_until_refused(&project, &["--label", "large"]);
    assert!(said.contains("disk is full"), "{said}");

    let _gate = outside.open_gate(100);
    outside.wait_for_ends(3);
    runs.iter().for_each(|run| wait_for_record(&project, run));
    for task in &added {
        let task = project.task(task);
        assert_eq!(task["status"], "todo", "{task}");
        assert_eq!(task["wait"]["code"], "disk", "{task}");
    }

    drop(filler);
    served.wait_for_events("task_done", tasks.len() + added.len());
    let all: Vec<String> = tasks.iter().chain(&added).cloned().collect();
    assert_all_kept(&project, &all);
    for run in &runs {
        let run = project.json(&["show", text(run, "id")]);
        assert_eq!(
            (&run["status"], &run["exit_code"]),
            (&"completed".into(), &0.into())
        );
        assert_eq!(run["result"], "began\nended");
    }
    assert_eq!(outside.ledger().matches("start ").count(), all.len());
    assert_eq!(served.drain(), Some(0));
}
