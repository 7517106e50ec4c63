//! Disks that are full.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use orch_field::{Project, Served, fifo, text};
use serde_json::Value;

use crate::disk::{SmallDisk, own_mounts};

/// Agents that note their beginning, wait at a gate, and note their end. Gate and ledger are
/// outside the project, on a disk that works.
pub const GATED: &str = "\
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
        let directory = tempfile::tempdir().unwrap();
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
        orch_field::until_said("end ", count, || self.ledger());
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

pub fn ids(project: &Project) -> Vec<String> {
    let tasks = project.json(&["task", "list", "--limit", "10000"]);
    let tasks = tasks.as_array().unwrap().iter();
    tasks.map(|task| text(task, "id").to_owned()).collect()
}

pub fn assert_all_kept(project: &Project, acknowledged: &[String]) {
    let mut kept = ids(project);
    let mut acknowledged = acknowledged.to_vec();
    kept.sort_unstable();
    acknowledged.sort_unstable();
    assert_eq!(
        kept, acknowledged,
        "what was acknowledged, and nothing else"
    );
}

pub fn running(project: &Project, served: &mut Served, count: usize) -> (Vec<String>, Vec<Value>) {
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
fn disk_full_loses_nothing() {
    if !own_mounts("storage::disk_full_loses_nothing") {
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

/// Fault 9. Injected: an agent has said four MiB, and when it ends the disk has no room for that
/// any more, so that the database takes the whole transaction back in the middle of it. Held: the
/// log, `orch why` and a command whose request is in the same transaction name the full disk; the
/// command ends with 7; the end is recorded with all of it when there is room.
///
/// Promises 22, 23.
#[test]
fn a_full_disk_is_named_also_where_it_takes_back_a_transaction_half_way() {
    let name = "storage::a_full_disk_is_named_also_where_it_takes_back_a_transaction_half_way";
    if !own_mounts(name) {
        return;
    }
    let (disk, outside) = (SmallDisk::new(64), Outside::new());
    let agents = GATED.replace(
        "read nothing",
        "yes $(printf %0999d 0) | head -c 5000000; echo; echo that was it\nread nothing",
    );
    assert_ne!(agents, GATED);
    let project = disk.project(&agents);
    let mut served = project.serve_with(&[], &outside.environment());
    let (tasks, runs) = running(&project, &mut served, 1);
    let events = project.run_dir(&runs[0]).join("events.jsonl");
    orch_field::until_said("that was it", 1, || {
        fs::read_to_string(&events).unwrap_or_default()
    });
    let filler = disk.fill(1 << 20);
    let _gate = outside.open_gate(100);
    let of_database = |line: &Value| text(line, "message").starts_with("recording: ");
    let said = served.wait_for(|line| line["event"] == "trouble" && of_database(line));
    assert!(text(&said, "message").contains("disk is full"), "{said}");
    let why = project.task(&tasks[0]);
    assert_eq!(why["wait"]["code"], "disk", "{why}");
    assert_eq!(why["wait"]["actor"], "person", "{why}");
    let refused = project.fails(7, &["task", "add", "another"]);
    assert!(refused.contains("disk is full"), "{refused}");

    drop(filler);
    served.wait_for_events("task_done", 1);
    let run = project.json(&["show", text(&runs[0], "id")]);
    assert!(text(&run, "result").len() > 4_000_000);
    assert_eq!(served.drain(), Some(0));
}

/// Fault 9. Injected: the disk is filled until less is free than must be for a start. Held: tasks
/// can be added and say that they wait for room on the disk; status and doctor say how much there
/// is; nothing is started, and what runs goes on; all of it is started, without a restart, when
/// there is room again.
///
/// Promise 23.
#[test]
fn nothing_is_started_on_a_nearly_full_disk() {
    if !own_mounts("storage::nothing_is_started_on_a_nearly_full_disk") {
        return;
    }
    let (disk, outside) = (SmallDisk::new(64), Outside::new());
    let project = disk.project(GATED);
    let mut served = project.serve_with(&[], &outside.environment());
    running(&project, &mut served, 1);
    let filler = disk.fill(2 << 20);
    served.wait_for(|line| line["event"] == "disk_low");
    let waiting = project.add("waits for room", &[]);
    let why = project.task(&waiting);
    let wait = (text(&why["wait"], "code"), text(&why["wait"], "actor"));
    assert_eq!(wait, ("disk", "person"));
    let paused = project.json(&["status"]);
    assert!(text(&paused, "paused").contains("3MiB must be"), "{paused}");
    let doctor = String::from_utf8(project.output(&["doctor"]).stdout).unwrap();
    assert!(doctor.contains("nothing is started"), "{doctor}");

    let _gate = outside.open_gate(10);
    served.wait_for_events("task_done", 1);
    assert_eq!(project.task(&waiting)["status"], "todo");
    drop(filler);
    served.wait_for(|line| line["event"] == "disk_ok");
    served.wait_for_events("task_done", 1);
    assert_eq!(project.json(&["status"])["paused"], Value::Null);
    assert_eq!(served.drain(), Some(0));
}

/// Fault 9. Injected: twenty times the disk is filled, each time with four KiB more left over, so
/// that a commit meets its end at another byte; every fifth time the daemon is killed on it. Held:
/// each time exactly the acknowledged tasks are there, and the next task can be added as soon as
/// there is room.
///
/// Promises 22, 23.
#[test]
fn a_disk_that_fills_up_at_any_commit_loses_nothing() {
    if !own_mounts("storage::a_disk_that_fills_up_at_any_commit_loses_nothing") {
        return;
    }
    let disk = SmallDisk::new(48);
    let project = disk.project("");
    let mut served = project.serve(&[]);
    let mut acknowledged = Vec::new();
    for round in 0..20 {
        let filler = disk.fill(round * 4096);
        let (added, said) = add_until_refused(&project, &[]);
        assert!(said.contains("disk is full"), "{said}");
        acknowledged.extend(added);
        if round % 5 == 4 {
            served.signal(rustix::process::Signal::KILL);
            drop(filler);
            drop(served);
            served = project.serve(&[]);
        } else {
            drop(filler);
        }
        acknowledged.push(project.add("there is room", &[]));
        assert_all_kept(&project, &acknowledged);
    }
    assert_eq!(served.drain(), Some(0));
}

const PRINTER: &str = "[agents.worker]\nadapter = \"shell\"\ncommand = '''
if yes 'a line of output that is quite long' 2>/dev/null; then exit 0; else exit 3; fi
'''\n[defaults]\nworkspace = \"shared\"\nmax_attempts = 1\n";

/// Fault 8. Injected: an agent prints until the disk is full. Held: its output is on disk up to
/// the last byte that found room, its end is recorded as it was, with its own exit code, and its
/// events are whole; nothing else is started meanwhile, and work goes on without a restart.
///
/// Promises 20, 21, 23.
#[test]
fn an_agent_that_fills_the_disk_with_its_output_ends_as_it_ended() {
    if !own_mounts("storage::an_agent_that_fills_the_disk_with_its_output_ends_as_it_ended") {
        return;
    }
    let disk = SmallDisk::new(64);
    let project = disk.project(PRINTER);
    let filler = disk.fill(12 << 20);
    let mut served = project.serve(&[]);
    let task = project.add("prints", &[]);
    served.wait_for(|line| line["event"] == "disk_low");
    wait_for_record(&project, &project.last_run(&task));
    let printed = fs::read(project.run_dir(&project.last_run(&task)).join("out.log")).unwrap();
    drop(filler);
    served.wait_for_events("run_ended", 1);

    let run = project.last_run(&task);
    assert_eq!(outcome(&run), ("failed", Some(3)), "{run}");
    let dir = project.run_dir(&run);
    assert_eq!(fs::read(dir.join("out.log")).unwrap(), printed);
    let line = b"a line of output that is quite long\n";
    assert!(printed.len() > 1 << 20, "{}", printed.len());
    let whole = printed.len() / line.len() * line.len();
    assert!(
        printed[..whole]
            .chunks(line.len())
            .all(|chunk| chunk == line)
    );
    let events = fs::read_to_string(dir.join("events.jsonl")).unwrap();
    for (at, event) in events.lines().enumerate() {
        let event: Value = serde_json::from_str(event).unwrap();
        assert_eq!(event["seq"], at + 1);
    }
    assert_eq!(served.drain(), Some(0));
}

/// Fault 10. Injected: no file of the daemon, and of what it starts, may grow beyond 256 KiB, and
/// an agent prints more than that. Held: the agent is ended by the signal SIGXFSZ as it would be
/// anywhere; the supervisor and the daemon live on and record that; a task that cannot be recorded
/// is refused with the reason, and the next is taken when files may grow again.
///
/// Promise 23.
#[cfg(target_os = "linux")]
#[test]
fn a_limit_on_the_size_of_files_ends_agents_and_not_orch() {
    const SIGXFSZ: i32 = 25;
    let agents = "[agents.worker]\nadapter = \"shell\"\ncommand = \"yes\"\n\
                  [defaults]\nworkspace = \"shared\"\nmax_attempts = 1\n";
    let project = Project::new(agents);
    let mut served = project.serve(&[]);
    limit_files(&served, Some(256 << 10));
    let task = project.add("prints", &[]);
    served.wait_for_events("run_running", 1);
    let run = project.last_run(&task);
    wait_for_record(&project, &run);
    let (added, said) = add_until_refused(&project, &["--label", "x", "--depends-on", &task]);
    assert!(said.contains("refused to write"), "{said}");
    assert_eq!(project.json(&["status"])["service"], "serving");

    limit_files(&served, None);
    served.wait_for_events("run_ended", 1);
    let run = project.last_run(&task);
    assert_eq!(run["signal"], SIGXFSZ, "{run}");
    assert_eq!(run["status"], "failed");
    let mut all = added;
    all.push(task);
    all.push(project.add("files may grow again", &[]));
    assert_all_kept(&project, &all);
    drop(served);
}

#[cfg(target_os = "linux")]
fn limit_files(served: &Served, bytes: Option<u64>) {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let pid = Pid::from_raw(i32::try_from(served.pid()).unwrap());
    let maximum = getrlimit(Resource::Fsize).maximum;
    let current = bytes.or(maximum);
    prlimit(pid, Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

/// The status of a run and its exit code.
pub fn outcome(run: &Value) -> (&str, Option<i64>) {
    (text(run, "status"), run["exit_code"].as_i64())
}
