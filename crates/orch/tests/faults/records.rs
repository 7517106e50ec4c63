//! What lies in the directory of a run, forged, torn, or gone.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use orch_field::{Project, fifo, text};
use rustix::process::Signal;
use serde_json::Value;

use crate::skipped;
use crate::storage::{GATED, Outside, outcome, running, wait_for_record};

/// Longer than any record may be.
const SPARSE_BYTES: u64 = 1 << 30;

/// Puts something else in the place of a file.
type Forge = fn(&Path);

fn torn(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn empty(path: &Path) {
    fs::write(path, "").unwrap();
}

fn zeros(path: &Path) {
    let length = fs::metadata(path).unwrap().len();
    fs::write(path, vec![0; usize::try_from(length).unwrap()]).unwrap();
}

fn not_text(path: &Path) {
    fs::write(path, [0xff, 0xfe, b'{']).unwrap();
}

/// Well formed, with another exit code than the one its checksum was made for.
fn forged_code(path: &Path) {
    let record = fs::read_to_string(path).unwrap();
    let forged = record.replace("\"code\":0", "\"code\":1");
    let forged = forged.replace("\"Code\":0", "\"Code\":1");
    let forged = match forged == record {
        true => record.replacen("\"attempt\":1", "\"attempt\":2", 1),
        false => forged,
    };
    assert_ne!(forged, record, "{record}");
    fs::write(path, forged).unwrap();
}

fn forged_checksum(path: &Path) {
    let mut record: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    record["crc32"] = 1.into();
    fs::write(path, record.to_string()).unwrap();
}

/// A valid record, of another run.
fn of_another_run(path: &Path) {
    let runs = path.parent().unwrap().parent().unwrap();
    let others = fs::read_dir(runs).unwrap().map(|run| run.unwrap().path());
    let mut others = others.filter(|other| other != path.parent().unwrap());
    let other = others
        .find(|other| other.join("exit.json").is_file())
        .unwrap();
    fs::copy(other.join("exit.json"), path).unwrap();
}

fn link(path: &Path) {
    let aside = path.with_extension("real");
    fs::rename(path, &aside).unwrap();
    symlink(aside, path).unwrap();
}

fn pipe(path: &Path) {
    let _ = fs::remove_file(path);
    fifo(path);
}

fn directory(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

fn gigabyte(path: &Path) {
    let _ = fs::remove_file(path);
    File::create(path).unwrap().set_len(SPARSE_BYTES).unwrap();
}

/// Runs that end while nobody serves, and what was done to a file of each before the next daemon.
fn tampered(project: &Project, outside: &Outside, forgeries: &[(&str, Forge)]) -> Vec<Value> {
    let mut served = project.serve_with(&[], &outside.environment());
    let (_, runs) = running(project, &mut served, forgeries.len());
    served.signal(Signal::KILL);
    drop(served);
    let _gate = outside.open_gate(runs.len());
    outside.wait_for_ends(runs.len());
    runs.iter().for_each(|run| wait_for_record(project, run));
    for (run, (file, forge)) in runs.iter().zip(forgeries) {
        forge(&project.run_dir(run).join(file));
    }
    runs
}

/// Fault 35. Injected: the record of an end is torn, empty, zeroed, no text, changed, of another
/// run, with a forged checksum, a symbolic link, a FIFO, a directory and a gigabyte long. Held:
/// the daemon waits for none and reads none whole; each is moved aside and named as evidence; the
/// run is lost with that reason, and no exit code is made up for it.
///
/// Promises 3, 5, 25.
#[test]
fn a_record_that_cannot_be_trusted_is_kept_aside_and_named() {
    let forgeries: [(&str, Forge); 11] = [
        ("exit.json", of_another_run),
        ("exit.json", torn),
        ("exit.json", empty),
        ("exit.json", zeros),
        ("exit.json", not_text),
        ("exit.json", forged_code),
        ("exit.json", forged_checksum),
        ("exit.json", link),
        ("exit.json", pipe),
        ("exit.json", directory),
        ("exit.json", gigabyte),
    ];
    let agents = format!("max_agents = 20\n{GATED}");
    let (project, outside) = (Project::new(&agents), Outside::new());
    let runs = tampered(&project, &outside, &forgeries);
    let mut served = project.serve_with(&[], &outside.environment());
    served.wait_for_events("run_ended", runs.len());
    for run in &runs {
        let run = project.json(&["show", text(run, "id")]);
        assert_eq!(outcome(&run), ("lost", None), "{run}");
        let aside = project.run_dir(&run).join("exit.json.corrupt");
        assert!(aside.symlink_metadata().is_ok(), "{}", aside.display());
        assert_eq!(run["failure"]["code"], "record_corrupt", "{run}");
        let evidence = text(&run["failure"], "evidence");
        assert!(evidence.contains(aside.to_str().unwrap()), "{evidence}");
    }
    assert_eq!(served.drain(), Some(0));
}

/// Fault 35. Injected: beside a record that is whole, every other file of the run is a FIFO, a
/// gigabyte long or torn when the daemon starts. Held: the daemon waits for none and reads no more
/// of one than it could have written; each end is recorded as it was; the output of a run that is
/// not a file is said to be none, and asking for it stops nobody.
///
/// Promises 1, 25, 33.
#[test]
fn no_other_file_of_a_run_keeps_it_from_ending() {
    let forgeries: [(&str, Forge); 14] = [
        ("started", pipe),
        ("started", gigabyte),
        ("started", torn),
        ("pid.json", pipe),
        ("pid.json", gigabyte),
        ("pid.json", torn),
        ("spec.json", pipe),
        ("spec.json", gigabyte),
        ("run.json", pipe),
        ("run.json", gigabyte),
        ("run.json.new", pipe),
        ("events.jsonl", pipe),
        ("events.jsonl", torn),
        ("out.log", pipe),
    ];
    let agents = format!("max_agents = 20\n{GATED}");
    let (project, outside) = (Project::new(&agents), Outside::new());
    let runs = tampered(&project, &outside, &forgeries);
    let mut served = project.serve_with(&[], &outside.environment());
    served.wait_for_events("run_ended", runs.len());
    for (run, (file, _)) in runs.iter().zip(forgeries) {
        let run = project.json(&["show", text(run, "id")]);
        let told = format!("{file}: {run}");
        assert_eq!(outcome(&run), ("completed", Some(0)), "{told}");
        let logs = project.output(&["logs", text(&run, "id"), "--raw"]);
        assert_eq!(logs.status.success(), file != "out.log", "{file}: {logs:?}");
    }
    assert_eq!(project.json(&["status"])["service"], "serving");
    assert_eq!(served.drain(), Some(0));
}

/// Failure instant 15 and fault 34. Injected: the database is put back from an older copy while
/// an agent works of whose run that copy knows nothing. Held: nothing is started beside such an
/// agent, and its directory is named; when it has ended, the daemon serves, names the run as
/// unknown, and leaves its record where it is.
///
/// Promises 11, 25.
#[test]
fn runs_that_an_older_database_does_not_know_are_named_and_kept() {
    let (project, outside) = (Project::new(GATED), Outside::new());
    project.add("known", &[]);
    let state = project.root().join(".orch");
    let copy = fs::read(state.join("orch.db")).unwrap();
    let mut served = project.serve_with(&[], &outside.environment());
    served.wait_for_events("run_running", 1);
    let runs = project.json(&["runs"]);
    let run = runs[0].clone();
    served.signal(Signal::KILL);
    drop(served);
    for log in ["orch.db-wal", "orch.db-shm"] {
        let _ = fs::remove_file(state.join(log));
    }
    fs::write(state.join("orch.db"), copy).unwrap();

    let said = project.fails(4, &["serve"]);
    assert!(said.contains(text(&run, "id")), "{said}");
    let _gate = outside.open_gate(10);
    outside.wait_for_ends(1);
    wait_for_record(&project, &run);
    let mut served = project.serve_with(&[], &outside.environment());
    let unknown = served
        .seen
        .iter()
        .find(|line| line["event"] == "unknown_runs");
    assert!(unknown.unwrap().to_string().contains(text(&run, "id")));
    assert!(project.run_dir(&run).join("exit.json").exists());
    served.wait_for_events("task_done", 1);
    assert_eq!(served.drain(), Some(0));
}

/// A directory in which nothing can be made, removed or replaced, not even by root, until dropped.
struct Immutable(std::path::PathBuf);

impl Immutable {
    /// `None` where there is no such thing.
    fn new(directory: &Path) -> Option<Self> {
        let made = Self(directory.to_owned());
        made.change("+i").then_some(made)
    }

    fn change(&self, how: &str) -> bool {
        let mut command = std::process::Command::new("chattr");
        let changed = command.arg(how).arg(&self.0).output();
        changed.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        self.change("-i");
    }
}

/// Fault 36. Injected: the directory of a run is made immutable while its agent works, so that
/// nothing can be made or replaced in it, and the agent ends. Held: the run counts as running, but
/// the log, `orch why` and status say that its agent has ended and which directory cannot be
/// written, and so they do after a cancel; when it can be written again the end is recorded as it
/// was.
///
/// Promises 1, 2.
#[test]
fn a_run_directory_that_cannot_be_written_is_named() {
    let (project, outside) = (Project::new(GATED), Outside::new());
    let mut served = project.serve_with(&[], &outside.environment());
    let (tasks, runs) = running(&project, &mut served, 1);
    let directory = project.run_dir(&runs[0]);
    let immutable = Immutable::new(&directory);
    let _gate = outside.open_gate(1);
    let Some(immutable) = immutable else {
        served.wait_for_events("run_ended", 1);
        assert_eq!(served.drain(), Some(0));
        return skipped("nothing can be made immutable here (chattr +i)");
    };
    let told = |line: &Value| text(line, "message").contains("cannot be written down");
    let said = served.wait_for(|line| line["event"] == "trouble" && told(line));
    let wait = project.task(&tasks[0])["wait"].clone();
    let needs = project.json(&["status"])["needs_you"].to_string();
    project.ok(&["task", "cancel", &tasks[0]]);
    let cancelled = project.task(&tasks[0])["wait"].clone();
    drop(immutable);
    for words in [&said, &wait, &cancelled] {
        let words = text(words, "message");
        assert!(words.contains(directory.to_str().unwrap()), "{words}");
    }
    assert_eq!(
        (&wait["actor"], &cancelled["actor"]),
        (&"person".into(), &"person".into())
    );
    assert!(needs.contains(&tasks[0]), "{needs}");
    served.wait_for_events("run_ended", 1);
    assert_eq!(project.last_run(&tasks[0])["exit_code"], 0);
    assert_eq!(served.drain(), Some(0));
}
