//! The state directory: damaged, gone, locked by others, served by others.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use orch_field::{Project, text};
use rustix::process::Signal;

use crate::disk::own_mounts;
use crate::skipped;
use crate::storage::{GATED, Outside, assert_all_kept, outcome, running, wait_for_record};

const PAGE: u64 = 4096;

fn database(project: &Project) -> PathBuf {
    project.root().join(".orch/orch.db")
}

fn log_of(project: &Project) -> PathBuf {
    project.root().join(".orch/orch.db-wal")
}

/// A project whose only run is over, served by nobody.
fn with_a_run() -> Project {
    let agents = "[agents.worker]\nadapter = \"shell\"\ncommand = \"echo done\"\n\
                  [defaults]\nworkspace = \"shared\"\nreview = \"auto\"\n";
    let project = Project::new(agents);
    project.add("was done", &[]);
    project.ok(&["run", "--all"]);
    project
}

/// Every command that needs the database is refused with these words, and nothing is made anew.
fn assert_refused(project: &Project, code: i32, words: &str) {
    for command in [&["serve"][..], &["task", "list"], &["task", "add", "new"]] {
        let said = project.fails(code, command);
        assert!(said.contains(words), "{command:?}: {said}");
        assert!(said.contains("orch.db"), "it is named: {said}");
    }
}

/// Fault 34. Injected: the database is deleted while nobody serves, and runs are still there.
/// Held: no command begins anew; each names what is gone and says what can be done. Put back, it
/// is as it was.
///
/// Promise 25.
#[test]
fn a_deleted_database_is_not_begun_anew() {
    let project = with_a_run();
    let aside = project.outside("aside");
    fs::rename(database(&project), &aside).unwrap();
    let _ = fs::remove_file(log_of(&project));
    assert_refused(&project, 4, "is gone");
    assert!(!database(&project).exists());
    fs::rename(&aside, database(&project)).unwrap();
    let tasks = project.json(&["task", "list"]);
    assert_eq!(tasks[0]["status"], "done");
}

/// Fault 34. Injected: the database is deleted while a daemon serves it. Held: the daemon says so
/// and ends with a code that is not 0; the agent at work goes on.
///
/// Promise 25.
#[test]
fn a_database_that_is_deleted_while_it_is_served_ends_the_daemon() {
    let (project, outside) = (Project::new(GATED), Outside::new());
    let mut served = project.serve_with(&[], &outside.environment());
    running(&project, &mut served, 1);
    fs::remove_file(database(&project)).unwrap();
    let said = served.wait_for(|line| line["event"] == "state_lost");
    assert!(text(&said, "message").contains("orch.db"), "{said}");
    assert!(served.ended().is_some_and(|code| code != 0));
    let _gate = outside.open_gate(1);
    outside.wait_for_ends(1);
}

/// Fault 34. Injected: the write-ahead log is removed while a daemon serves, with facts in it that
/// are nowhere else. Held: the daemon notices, says so and ends; what it had acknowledged it moves
/// into the database first, so that the next daemon has all of it, and the agents' ends.
///
/// Promises 22, 25.
#[test]
fn a_log_that_is_removed_while_it_is_served_loses_nothing() {
    let (project, outside) = (Project::new(GATED), Outside::new());
    let mut served = project.serve_with(&[], &outside.environment());
    let (tasks, runs) = running(&project, &mut served, 2);
    fs::remove_file(log_of(&project)).unwrap();
    let said = served.wait_for(|line| line["event"] == "state_lost");
    assert!(text(&said, "message").contains("orch.db-wal"), "{said}");
    assert!(served.ended().is_some_and(|code| code != 0));

    let _gate = outside.open_gate(2);
    let mut served = project.serve_with(&[], &outside.environment());
    served.wait_for_events("task_done", 2);
    assert_all_kept(&project, &tasks);
    for run in runs {
        let run = project.json(&["show", text(&run, "id")]);
        assert_eq!(outcome(&run), ("completed", Some(0)), "{run}");
    }
    assert_eq!(served.drain(), Some(0));
}

/// Fault 34. Injected: a daemon is killed and its write-ahead log is removed. Held: the next one
/// says that the last facts may be lost, and serves what is whole.
///
/// Promise 25.
#[test]
fn a_log_that_is_gone_after_a_kill_is_told() {
    let project = with_a_run();
    let served = project.serve(&[]);
    project.add("in the log alone", &["--label", "x"]);
    served.signal(Signal::KILL);
    drop(served);
    fs::remove_file(log_of(&project)).unwrap();
    let served = project.serve(&[]);
    let told = |line: &&serde_json::Value| {
        line["event"] == "database" && line["message"].to_string().contains("may be lost")
    };
    assert!(
        served.seen.iter().any(|line| told(&line)),
        "{:?}",
        served.seen
    );
    assert_eq!(project.json(&["task", "list"])[0]["status"], "done");
    drop(served);
}

/// Fault 34. Injected: each page of the database in turn is zeroed while nobody serves, after a
/// daemon was killed. Held: whenever a page was in use the database is refused as damaged and left
/// as it is, and never begun anew; with the page put back all of it is there.
///
/// Promise 25.
#[test]
fn a_zeroed_page_is_found_and_nothing_is_begun_anew() {
    let project = with_a_run();
    let served = project.serve(&[]);
    served.signal(Signal::KILL);
    drop(served);
    let _ = fs::remove_file(log_of(&project));
    let whole = fs::read(database(&project)).unwrap();
    let pages = whole.len() as u64 / PAGE;
    let mut refused = 0;
    for page in 0..pages {
        fs::write(database(&project), &whole).unwrap();
        zero(&database(&project), page);
        let damaged = fs::read(database(&project)).unwrap();
        let output = project.output(&["task", "list", "--json"]);
        if output.status.success() {
            let tasks: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(tasks[0]["title"], "was done", "page {page}");
            continue;
        }
        refused += 1;
        let said = String::from_utf8(output.stderr).unwrap();
        let named = said.contains("damaged") || said.contains("not an orch database");
        assert!(named, "page {page}: {said}");
        assert_eq!(
            fs::read(database(&project)).unwrap(),
            damaged,
            "page {page}"
        );
    }
    assert!(refused > pages / 2, "{refused} of {pages}");
}

fn zero(path: &Path, page: u64) {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut was = vec![0; usize::try_from(PAGE).unwrap()];
    file.seek(SeekFrom::Start(page * PAGE)).unwrap();
    file.read_exact(&mut was).unwrap();
    file.seek(SeekFrom::Start(page * PAGE)).unwrap();
    file.write_all(&vec![0; was.len()]).unwrap();
}

/// Fault 34. Injected: the database may not be read or written (mode 000) by the user who runs
/// orch, who is not root. Held: every command is refused with the reason and the path, and nothing
/// is made in its place. With its mode put back all of it is there.
///
/// Promise 25.
#[test]
fn a_database_without_permissions_is_refused() {
    /// Nobody, on every Linux.
    const NOBODY: u32 = 65_534;
    let project = with_a_run();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        let home = project.root().parent().unwrap().to_owned();
        let owner = NOBODY.to_string();
        let changed = Command::new("chown")
            .arg("-R")
            .arg(&owner)
            .arg(home)
            .status();
        assert!(changed.unwrap().success());
    }
    let orch = |arguments: &[&str]| {
        let mut command = project.orch(arguments);
        if is_root {
            command.uid(NOBODY);
        }
        command.output()
    };
    match orch(&["task", "list"]) {
        Ok(output) if output.status.success() => {}
        other => return skipped(&format!("nobody cannot run orch here: {other:?}")),
    }
    set_mode(&database(&project), 0o000);
    for command in [&["serve"][..], &["task", "list"], &["task", "add", "new"]] {
        let output = orch(command).unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(6), "{command:?}: {said}");
        assert!(said.contains("Permission denied"), "{said}");
        assert!(said.contains("orch.db"), "{said}");
    }
    set_mode(&database(&project), 0o600);
    let listed = orch(&["task", "list", "--json"]).unwrap();
    assert!(
        String::from_utf8(listed.stdout)
            .unwrap()
            .contains("was done")
    );
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Fault 34. Injected: the file system of the project is mounted read-only. Held: every command
/// that needs the database is refused with that reason, and the database is as it was.
///
/// Promise 25.
#[test]
fn a_read_only_file_system_is_named() {
    if !own_mounts("storage_state::a_read_only_file_system_is_named") {
        return;
    }
    let project = with_a_run();
    let before = fs::read(database(&project)).unwrap();
    let mount = |arguments: &[&str]| {
        let root = project.root();
        let status = Command::new("mount").args(arguments).arg(&root).status();
        assert!(status.unwrap().success());
    };
    let root = project.root();
    mount(&["--bind", root.to_str().unwrap()]);
    mount(&["-o", "remount,bind,ro"]);
    for command in [&["serve"][..], &["task", "list"], &["task", "add", "new"]] {
        let output = project.output(command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{command:?}");
        assert!(said.contains("Read-only file system"), "{said}");
    }
    assert_eq!(fs::read(database(&project)).unwrap(), before);
    let _ = Command::new("umount").arg("--lazy").arg(&root).status();
}

/// Fault 37. Injected: another program holds the database locked for longer than orch waits for
/// it, while a task is added and an agent ends. Held: rows can be read meanwhile; the task is
/// refused with that reason and a code that says to try again; the end is recorded when the lock
/// is gone, and everything works as before.
///
/// Promises 7, 22.
#[test]
fn a_database_that_another_program_holds_is_waited_for() {
    let (project, outside) = (Project::new(GATED), Outside::new());
    let mut served = project.serve_with(&[], &outside.environment());
    let (mut tasks, runs) = running(&project, &mut served, 1);
    let Some(mut holder) = hold(&database(&project)) else {
        drop(outside.open_gate(1));
        return skipped("there is no program sqlite3 to hold the database with");
    };
    let _gate = outside.open_gate(1);
    outside.wait_for_ends(1);
    wait_for_record(&project, &runs[0]);
    let mut adding = project
        .orch(&["task", "add", "refused"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(project.task(&tasks[0])["status"], "in_progress");
    assert_eq!(project.json(&["status"])["service"], "serving");
    let mut said = String::new();
    let mut stderr = adding.stderr.take().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(adding.wait().unwrap().code(), Some(75), "{said}");
    assert!(
        said.contains("another process holds the database"),
        "{said}"
    );
    assert!(said.contains("nothing was changed"), "{said}");

    drop(holder.stdin.take());
    holder.wait().unwrap();
    served.wait_for_events("task_done", 1);
    tasks.push(project.add("taken", &["--label", "x"]));
    assert_all_kept(&project, &tasks);
    drop(served);
}

/// Another program that has begun to write, until its input is closed.
fn hold(database: &Path) -> Option<std::process::Child> {
    let mut holder = Command::new("sqlite3")
        .arg(database)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let begin = ["begin", "immediate"].join(" ");
    let words = format!("{begin};\n.print held\n");
    holder.stdin.as_mut()?.write_all(words.as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(holder.stdout.as_mut()?)
        .read_line(&mut line)
        .ok()?;
    assert_eq!(line, "held\n");
    Some(holder)
}

/// Fault 32. Injected: a hundred daemons are started for one project at once. Held: one serves;
/// each of the others ends with the code of a conflict and names the one that serves by its pid.
///
/// Promise 24.
#[test]
fn of_a_hundred_daemons_one_serves_and_the_others_name_it() {
    let project = with_a_run();
    let mut served = None;
    let mut refused: Vec<_> = (0..100)
        .map(|_| {
            let mut command = project.orch(&["serve", "--log-format", "json"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    // The one that serves is the one that says so; the others say nothing and end.
    let mut said = Vec::new();
    for child in &mut refused {
        let mut line = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut words = String::new();
            let mut stderr = child.stderr.take().unwrap();
            stderr.read_to_string(&mut words).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(4), "{words}");
            said.push(words);
        } else {
            assert!(served.replace(child.id()).is_none(), "a second one serves");
        }
    }
    let served = served.expect("one serves");
    assert_eq!(said.len(), 99);
    let name = format!("orch serve, pid {served}");
    for words in &said {
        assert!(words.contains(&name), "{words}");
    }
    assert_eq!(project.json(&["status"])["pid"], served);
    for child in refused.iter_mut().filter(|child| child.id() == served) {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
