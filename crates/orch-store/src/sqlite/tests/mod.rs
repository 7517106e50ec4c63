//! What only this engine has: the file, the schema, the plans of its statements.

mod faults;
mod opening;
mod plans;
mod tables;

use std::path::PathBuf;

use orch_core::ledger::LedgerError;
use orch_core::run::{Changes, Ending, Exit, Failure, FailureCode, Outcome, Run, RunState, Usage};
use orch_core::task::{
    Dependency, DependencyKind, Hold, OnLost, Priority, Require, Review, ReviewMode, Task,
    TaskState, WorkspaceMode,
};
use orch_core::{RunId, TaskId, Timestamp};
use tempfile::TempDir;

use super::SqliteStore;
use crate::{Store, Transaction};

/// A directory for one database.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory }
    }

    /// Where the database is.
    fn path(&self) -> PathBuf {
        self.directory.path().join("orch.db")
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.path()).unwrap()
    }

    /// A connection that knows nothing of this crate.
    fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }

    /// The names of the files there, in order.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }
}

fn commit<T>(
    store: &mut SqliteStore,
    work: impl FnOnce(&mut dyn Transaction) -> Result<T, LedgerError>,
) -> T {
    store.transact(work).unwrap()
}

fn failure(code: FailureCode) -> Failure {
    Failure {
        code,
        message: "it failed".to_owned(),
        evidence: "exit status 3".to_owned(),
    }
}

/// A task with something else in every field.
fn task(number: u64, state: TaskState) -> Task {
    Task {
        id: TaskId::from_entropy(number),
        seq: 0,
        title: "the title".to_owned(),
        description: "the description".to_owned(),
        state,
        priority: Priority::new(2).unwrap(),
        agent: Some("ada".parse().unwrap()),
        labels: ["api".to_owned(), "db".to_owned()].into(),
        scope: vec!["src/**".to_owned()],
        attachments: vec!["/a b".to_owned()],
        unmet: 5,
        workspace: WorkspaceMode::Shared,
        review: ReviewMode::Auto,
        on_lost: OnLost::Ask,
        require: Some(Require::Commit),
        attempts: 6,
        max_attempts: 7,
        runs: 8,
        start_failures: 9,
        timeout_ms: Some(10),
        stall_ms: Some(11),
        result: Some("the result".to_owned()),
        feedback: Some("the feedback".to_owned()),
        last_run: Some(RunId::from_entropy(1)),
        landed: Some("0123abcd".to_owned()),
        created_at: Timestamp(12),
        updated_at: Timestamp(13),
    }
}

fn run(number: u64, task: u64, state: RunState) -> Run {
    Run {
        id: RunId::from_entropy(number),
        task: TaskId::from_entropy(task),
        agent: "ada".parse().unwrap(),
        adapter: "claude".to_owned(),
        attempt: 3,
        state,
        stop: None,
        branch: Some("orch/x".to_owned()),
        boot: Some("the boot".to_owned()),
        resumed_session: Some("an earlier session".to_owned()),
        created_at: Timestamp(14),
        started_at: Some(Timestamp(15)),
    }
}

fn ended(outcome: Outcome) -> RunState {
    RunState::Ended(Box::new(Ending {
        outcome,
        exit: Some(Exit::Code(3)),
        result: Some("the result".to_owned()),
        usage: Usage {
            input_tokens: Some(16),
            output_tokens: Some(17),
            cache_read_tokens: Some(18),
            cache_write_tokens: Some(19),
            cost_usd: Some(0.5),
        },
        cost_estimated: true,
        session_id: Some("session".to_owned()),
        commit: Some("abcd0123".to_owned()),
        changes: Some(Changes {
            files: 22,
            commits: 23,
        }),
        events: 20,
        warnings: vec!["a warning".to_owned()],
        finished_at: Timestamp(21),
    }))
}

fn needs(number: u64) -> Dependency {
    Dependency {
        on: TaskId::from_entropy(number),
        kind: DependencyKind::Succeeded,
    }
}

/// A task in every state, with runs: what the fixture of each version holds.
fn fill(store: &mut SqliteStore) {
    let hold = Hold {
        until: Timestamp(500),
        failure: failure(FailureCode::RateLimit),
    };
    let states = [
        TaskState::Todo { hold: None },
        TaskState::Todo {
            hold: Some(hold.clone()),
        },
        TaskState::InProgress {
            run: RunId::from_entropy(1),
        },
        TaskState::Retrying { hold },
        TaskState::Review(Review::Person),
        TaskState::Review(Review::Landing),
        TaskState::Review(Review::Blocked {
            message: "conflict".to_owned(),
            files: vec!["a.rs".to_owned()],
        }),
        TaskState::Review(Review::Lost {
            failure: failure(FailureCode::HostRebooted),
        }),
        TaskState::Done,
        TaskState::Failed {
            failure: failure(FailureCode::ExitNonzero),
        },
        TaskState::Cancelled {
            failure: failure(FailureCode::CancelledByUser),
        },
    ];
    commit(store, |ledger| {
        for (state, number) in states.into_iter().zip(1..) {
            let on = if number > 1 { vec![needs(1)] } else { vec![] };
            ledger.insert_task(&task(number, state), &on)?;
        }
        ledger.insert_run(&run(1, 3, RunState::Running))?;
        ledger.insert_run(&run(2, 9, ended(Outcome::Completed)))?;
        let lost = Outcome::Failed(failure(FailureCode::ExitNonzero));
        ledger.insert_run(&run(3, 10, ended(lost)))?;
        ledger.append(&orch_core::event::Event {
            time: Timestamp(22),
            kind: orch_core::event::EventKind::RunEnded,
            task: Some(TaskId::from_entropy(9)),
            run: Some(RunId::from_entropy(2)),
            agent: Some("ada".parse().unwrap()),
            word: Some("completed".to_owned()),
            message: Some("a message".to_owned()),
        })
    });
}
