//! A daemon in this process, without agents: how it begins, answers and ends.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use orch_api::client::{Client, ClientError, Next, StreamQuery};
use orch_api::types::NewTask;
use orch_daemon::project::Project;
use orch_daemon::{Daemon, End, LogLine, LogSink, Options, StartError, connect};

struct Fixture {
    project: Project,
    directory: tempfile::TempDir,
}

impl Fixture {
    /// A project that has no agent, so that nothing is ever started.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(
            directory.path().join("orch.toml"),
            "[project]\nname = \"t\"\n",
        )
        .unwrap();
        let project = Project::at(directory.path()).unwrap();
        Self { project, directory }
    }

    fn start(&self, options: Options) -> Daemon {
        Daemon::start(&self.project, options, silence()).unwrap()
    }

    fn socket(&self) -> Client {
        Client::unix(&self.project.socket()).unwrap()
    }

    fn add(&self, title: &str, depends_on: &[&str]) -> String {
        added(
            &connect(&self.project, &LogSink::silent()).unwrap(),
            title,
            depends_on,
        )
    }
}

fn silence() -> LogSink {
    LogSink::silent()
}

fn added(client: &Client, title: &str, depends_on: &[&str]) -> String {
    let new = NewTask {
        title: title.to_owned(),
        depends_on: depends_on.iter().map(|&id| id.to_owned()).collect(),
        ..NewTask::default()
    };
    client.add_task(&new).unwrap().task.unwrap().id
}

#[test]
fn a_drained_daemon_ends_its_streams_and_leaves_nothing_behind() {
    let it = Fixture::new();
    let daemon = it.start(Options::default());
    let client = it.socket();
    added(&client, "one", &[]);
    let query = StreamQuery {
        follow: true,
        ..StreamQuery::default()
    };
    let mut lines = client.events(&query).unwrap();
    assert!(matches!(lines.next_event(None), Ok(Next::Item(_))));
    let mode = it.project.socket().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    daemon.drain();
    assert_eq!(daemon.wait(), End::default());
    assert!(matches!(lines.next_event(None), Ok(Next::End)));
    assert!(!it.project.socket().exists());
    assert!(matches!(
        client.status(),
        Err(ClientError::Unreachable { .. })
    ));
    // The lock is free: a command does it by itself, and so does another daemon.
    assert_eq!(
        connect(&it.project, &LogSink::silent())
            .unwrap()
            .status()
            .unwrap()
            .service,
        "stopped"
    );
    drop(it.start(Options::default()));
}

#[test]
fn a_second_daemon_is_refused_and_does_not_touch_the_socket_of_the_first() {
    let it = Fixture::new();
    let _first = it.start(Options::default());
    match Daemon::start(&it.project, Options::default(), silence()) {
        Err(StartError::Locked { holder, .. }) => {
            assert!(holder.contains("orch serve"), "{holder}")
        }
        other => panic!("{:?}", other.err()),
    }
    assert_eq!(it.socket().status().unwrap().service, "serving");
}

#[test]
fn a_dropped_daemon_has_let_go_of_the_project() {
    let it = Fixture::new();
    let daemon = it.start(Options::default());
    added(&it.socket(), "kept", &[]);
    drop(daemon);
    let again = it.start(Options::default());
    let status = it.socket().status().unwrap();
    assert_eq!(status.tasks.todo, 1);
    drop(again);
}

#[test]
fn once_ends_when_nothing_can_move_and_says_what_is_stuck() {
    let it = Fixture::new();
    let once = Options {
        once: true,
        ..Options::default()
    };
    assert_eq!(it.start(once.clone()).wait(), End::default());
    let id = it.add("nobody can", &[]);
    let end = it.start(once).wait();
    assert_eq!(end.failed, Vec::<String>::new());
    assert_eq!(end.stuck.len(), 1);
    assert!(end.stuck[0].starts_with(&id), "{:?}", end.stuck);
}

#[test]
fn a_run_of_one_task_does_not_wait_for_what_is_not_part_of_it() {
    let it = Fixture::new();
    let first = it.add("not part of it", &[]);
    let second = it.add("waits for the first", &[&first]);
    let only = Options {
        only: Some(vec![second.clone()]),
        ..Options::default()
    };
    let end = it.start(only).wait();
    assert_eq!(end.stuck.len(), 1);
    assert!(end.stuck[0].contains(&first), "{:?}", end.stuck);
    let nothing = Options {
        only: Some(vec!["tsk_zzzz".to_owned()]),
        ..Options::default()
    };
    let refused = Daemon::start(&it.project, nothing, silence());
    assert!(matches!(refused.err(), Some(StartError::NoSuchTask(_))));
}

#[test]
fn a_bad_configuration_changes_nothing_and_is_told_once() {
    let it = Fixture::new();
    let said: Arc<Mutex<Vec<LogLine>>> = Arc::default();
    let log: LogSink = {
        let said = Arc::clone(&said);
        LogSink::new(move |lines: Vec<LogLine>| said.lock().unwrap().extend(lines))
    };
    let daemon = Daemon::start(&it.project, Options::default(), log).unwrap();
    let client = it.socket();
    std::fs::write(it.directory.path().join("orch.toml"), "[projct]\n").unwrap();
    client.reload().unwrap();
    let status = client.reload().unwrap();
    assert!(status.config_error.is_some());
    assert_eq!(status.project, "t");
    drop(daemon);
    let refused = said.lock().unwrap();
    let count = refused.iter().filter(|line| line.event == "config_refused");
    assert_eq!(count.count(), 1);
}

#[test]
fn a_daemon_whose_state_was_replaced_ends_and_leaves_the_next_one_alone() {
    let it = Fixture::new();
    let first = it.start(Options::default());
    added(&it.socket(), "gone", &[]);
    std::fs::remove_dir_all(&it.project.state).unwrap();
    // The lock of the first is a file that is not there any more.
    let second = it.start(Options::default());
    added(&it.socket(), "kept", &[]);
    let end = first.wait();
    assert_eq!(end.failed.len(), 1);
    assert!(end.failed[0].contains("removed or replaced"), "{end:?}");
    assert_eq!(it.socket().status().unwrap().tasks.todo, 1);
    drop(second);
    let again = it.start(Options::default());
    assert_eq!(it.socket().status().unwrap().tasks.todo, 1);
    drop(again);
}

#[test]
fn a_socket_that_was_removed_is_opened_again() {
    let it = Fixture::new();
    let (say, said) = std::sync::mpsc::channel();
    let log = LogSink::new(move |lines: Vec<LogLine>| {
        lines
            .into_iter()
            .for_each(|line| drop(say.send(line.event)));
    });
    let daemon = Daemon::start(&it.project, Options::default(), log).unwrap();
    std::fs::remove_file(it.project.socket()).unwrap();
    let limit = std::time::Duration::from_secs(60);
    while said.recv_timeout(limit).unwrap() != "socket_mended" {}
    assert_eq!(it.socket().status().unwrap().service, "serving");
    let mode = it.project.socket().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(daemon);
    assert!(!it.project.socket().exists());
}
