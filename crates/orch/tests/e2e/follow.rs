//! Commands that follow what happens outlive the daemon they follow.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use orch_field::{Project, text};
use rustix::process::Signal;
use serde_json::Value;

const AGENTS: &str = "\
[agents.worker]\nadapter = \"shell\"\ncommand = '''
word() { until [ -e \"$GATES/$1\" ]; do sleep 0.05; done; echo \"$1\"; }
echo one
word two
word three
word four
exit 0
'''\nenv = { GATES = \"$GATES\" }\n\
[defaults]\nworkspace = \"shared\"\nreview = \"auto\"\n";
/// When a test gives up waiting for a line.
const GIVE_UP: Duration = Duration::from_secs(120);
const GONE: &str = "the daemon is gone; agents that were at work go on";

/// A command that follows, and what it says line by line.
struct Follows {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (said, lines) = channel();
    std::thread::spawn(move || {
        // Whoever listened no more needs no more.
        let _ = BufReader::new(stream)
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| said.send(line));
    });
    lines
}

impl Follows {
    fn start(project: &Project, arguments: &[&str]) -> Self {
        Self::start_with(project, arguments, &[])
    }

    fn start_with(project: &Project, arguments: &[&str], environment: &[(&str, PathBuf)]) -> Self {
        let mut child = project
            .orch(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            out: lines(child.stdout.take().unwrap()),
            err: lines(child.stderr.take().unwrap()),
            child,
        }
    }

    /// Every line up to the first that has `word` in it.
    #[track_caller]
    fn until(from: &Receiver<String>, word: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let line = from.recv_timeout(GIVE_UP);
            let line = line.unwrap_or_else(|why| panic!("{why} before '{word}' after {seen:?}"));
            seen.push(line.clone());
            if line.contains(word) {
                return seen;
            }
        }
    }

    #[track_caller]
    fn said(&self, word: &str) -> Vec<String> {
        Self::until(&self.out, word)
    }

    #[track_caller]
    fn warned(&self, word: &str) -> Vec<String> {
        Self::until(&self.err, word)
    }

    fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end: its exit code, and what it still said and warned of.
    #[track_caller]
    fn ended(mut self) -> (Option<i32>, Vec<String>, Vec<String>) {
        let (out, err) = (self.out.iter().collect(), self.err.iter().collect());
        (self.child.wait().unwrap().code(), out, err)
    }
}

impl Drop for Follows {
    fn drop(&mut self) {
        // Ended already in the good case; never left behind in the bad one.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where agents wait for a word before they say it.
fn gates(project: &Project) -> [(&'static str, PathBuf); 1] {
    let gates = project.outside("gates");
    fs::create_dir_all(&gates).unwrap();
    [("GATES", gates)]
}

fn open(project: &Project, words: &[&str]) {
    for word in words {
        fs::write(project.outside("gates").join(word), "").unwrap();
    }
}

/// Fault 1. Injected: the daemon is killed while commands follow it, an agent writes on meanwhile, and a
/// new daemon is started a moment later. Held: each command says once that the daemon is gone and
/// goes on with the next: every line, byte and event comes once, and each ends as if nothing had been.
#[test]
fn followers_go_on_with_the_next_daemon() {
    let project = Project::new(AGENTS);
    let environment = gates(&project);
    let task = project.add("talk", &[]);
    let mut first = project.serve_with(&[], &environment);
    let run = first.wait_for(|line| line["event"] == "run_running");
    let run = text(&run, "run").to_owned();
    let logs = Follows::start(&project, &["logs", &run, "-f", "--json"]);
    let raw = Follows::start(&project, &["logs", &run, "-f", "--raw"]);
    let events = Follows::start(&project, &["events", "-f", "--json"]);
    let status = Follows::start(&project, &["status", "-w", "--json"]);
    let work = Follows::start(&project, &["run", &task]);
    let mut told = events.said("run_running");
    let mut seen = logs.said("one");
    let mut bytes = raw.said("one");
    status.said("serving");
    work.warned("watching it");

    first.signal(Signal::KILL);
    drop(first);
    for follows in [&events, &status, &work] {
        follows.warned(GONE);
    }
    // They have read what there was; the agent writes on though nobody serves.
    for follows in [&logs, &raw] {
        follows.warned(GONE);
    }
    open(&project, &["two"]);
    let mut second = project.serve_with(&[], &environment);
    seen.extend(logs.said("two"));
    open(&project, &["three"]);
    bytes.extend(raw.said("three"));
    open(&project, &["four"]);
    second.wait_for_events("task_done", 1);

    let (code, rest, warned) = logs.ended();
    seen.extend(rest);
    assert_eq!(code, Some(0), "{warned:?}");
    assert!(!warned.iter().any(|line| line.contains(GONE)), "{warned:?}");
    let numbers: Vec<u64> = seen.iter().map(|line| number(line)).collect();
    assert_eq!(numbers, (1..=seen.len() as u64).collect::<Vec<_>>());
    for word in ["one", "two", "three", "four"] {
        let line = format!("\"{word}\"");
        assert_eq!(seen.concat().matches(&line).count(), 1, "{word}: {seen:?}");
    }
    let (code, rest, warned) = raw.ended();
    bytes.extend(rest);
    assert_eq!(
        (code, bytes.join(" ")),
        (Some(0), "one two three four".into()),
        "{warned:?}"
    );
    told.extend(events.said("task_done"));
    let numbers: Vec<u64> = told.iter().map(|line| number(line)).collect();
    assert_eq!(numbers, (1..=told.len() as u64).collect::<Vec<_>>());
    status.said("\"done\":1");
    let (code, _, warned) = work.ended();
    assert_eq!(code, Some(0), "{warned:?}");
    let done = warned.iter().filter(|line| line.ends_with(": done"));
    assert_eq!(done.count(), 1, "{warned:?}");
    assert_eq!(second.drain(), Some(0));
}

fn number(line: &str) -> u64 {
    let value: Value = serde_json::from_str(line).unwrap();
    value["seq"].as_u64().unwrap()
}

/// Fault 18. Injected: the daemon is stopped by SIGSTOP while the status is watched. Held: the watching says
/// so once, waits, and goes on when the daemon does.
#[test]
fn a_stopped_daemon_does_not_end_the_watching() {
    let project = Project::new(AGENTS);
    let daemon = project.serve(&[]);
    let status = Follows::start(&project, &["status", "-w", "--json"]);
    status.said("serving");
    daemon.signal(Signal::STOP);
    let warned = status.warned("is stopped by a signal");
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(
        warned[0].contains(&format!("'kill -CONT {}'", daemon.pid())),
        "{warned:?}"
    );
    daemon.signal(Signal::CONT);
    let again = status.warned("answers again");
    assert_eq!(again.len(), 1, "said once: {again:?}");
    project.add(
        "new",
        &["--after-any", &project.add("other", &["--agent", "worker"])],
    );
    status.said("\"todo\":");
    assert_eq!(daemon.drain(), Some(0));
}

/// Fault 1. Injected: the daemon that an `orch run` watches is killed, and nobody starts another. Held: after
/// a while the command does the rest of the work itself, and says so; each task is started once.
#[test]
fn a_run_whose_daemon_died_for_good_does_the_work_itself() {
    let project = Project::new(AGENTS);
    let environment = gates(&project);
    let first = project.add("first", &[]);
    let second = project.add("second", &["--depends-on", &first]);
    let mut daemon = project.serve_with(&[], &environment);
    daemon.wait_for_events("run_running", 1);
    let work = Follows::start_with(&project, &["run", "--all", "--json"], &environment);
    work.warned("watching it");
    daemon.signal(Signal::KILL);
    drop(daemon);
    work.warned(GONE);
    open(&project, &["two", "three", "four"]);
    work.warned("this command does the work now");
    let (code, out, warned) = work.ended();
    assert_eq!(code, Some(0), "{warned:?}");
    let tasks: Value = serde_json::from_str(&out.concat()).unwrap();
    let mut ids: Vec<&str> = tasks
        .as_array()
        .unwrap()
        .iter()
        .map(|it| text(it, "id"))
        .collect();
    ids.sort_unstable();
    let mut wanted = [first.as_str(), second.as_str()];
    wanted.sort_unstable();
    assert_eq!(ids, wanted, "both were seen to, whoever served");
    for task in [&first, &second] {
        assert_eq!(project.task(task)["status"], "done");
        let runs = project.json(&["runs", "--task", task]);
        assert_eq!(runs.as_array().map(Vec::len), Some(1), "{runs}");
    }
}

/// Who starts a daemon where one drains is told that it will end, and not that it answers.
#[test]
fn a_daemon_that_drains_is_said_to_be_draining() {
    let project = Project::new(AGENTS);
    let environment = gates(&project);
    project.add("first", &[]);
    let mut daemon = project.serve_with(&[], &environment);
    let said = project.fails(4, &["serve"]);
    assert!(said.contains("it answers commands"), "{said}");
    daemon.wait_for_events("run_running", 1);
    daemon.signal(Signal::TERM);
    daemon.wait_for_events("draining", 1);
    let said = project.fails(4, &["serve"]);
    assert!(said.contains("it is draining"), "{said}");
    assert!(!said.contains("it answers commands"), "{said}");
    open(&project, &["two", "three", "four"]);
    assert_eq!(daemon.ended(), Some(0));
}

/// `orch run --all && deploy`: a run that was told to end has not done the work, and does not say so.
#[test]
fn a_run_that_is_ended_does_not_say_that_the_work_is_done() {
    let project = Project::new(AGENTS);
    let environment = gates(&project);
    let first = project.add("first", &[]);
    let second = project.add("second", &["--depends-on", &first]);
    let work = Follows::start_with(&project, &["run", "--all"], &environment);
    work.warned("works on it");
    work.signal(Signal::TERM);
    work.warned("draining");
    open(&project, &["two", "three", "four"]);
    let (code, _, warned) = work.ended();
    assert_eq!(code, Some(75), "{warned:?}");
    assert_eq!(project.task(&first)["status"], "done");
    assert_eq!(project.task(&second)["status"], "todo");
    let work = Follows::start_with(&project, &["run", "--all"], &environment);
    assert_eq!(work.ended().0, Some(0), "now it is done");
}

/// Whoever ends a daemon wants it to end: what is left is not done behind their back, and not called done.
#[test]
fn a_run_whose_daemon_was_ended_says_that_the_work_is_not_done() {
    let project = Project::new(AGENTS);
    let environment = gates(&project);
    let task = project.add("first", &[]);
    let after = project.add("second", &["--depends-on", &task]);
    let mut daemon = project.serve_with(&[], &environment);
    daemon.wait_for_events("run_running", 1);
    let work = Follows::start(&project, &["run", &after]);
    work.warned("watching it");
    daemon.signal(Signal::TERM);
    open(&project, &["two", "three", "four"]);
    assert_eq!(daemon.ended(), Some(0));
    let (code, _, warned) = work.ended();
    assert_eq!(code, Some(75), "{warned:?}");
    assert!(
        warned
            .iter()
            .any(|line| line.contains("ended before the work did")),
        "{warned:?}"
    );
    assert_eq!(project.task(&after)["status"], "todo");
}
