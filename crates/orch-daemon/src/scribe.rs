//! Copies of runs in `run.json`: what the database says, on paper, for people and scripts.
//!
//! A copy can lag, never contradict: it is written from the database, replaced as a whole, and
//! healed when a daemon starts. One thread writes them, a moment after a run changed and only the
//! newest state of each, so the loop never waits for it and a run that changes often costs no more.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use orch_core::RunId;
use orch_core::run::Run;
use orch_host::failpoint::{self, Point};
use orch_host::run_dir::RunDir;

use crate::careful;
use crate::convert;
use crate::shared::locked;
use crate::vital;
use crate::wake::Wake;

/// How long a copy may lag, so that what follows at once is written with it.
const LAG: Duration = Duration::from_millis(40);

/// The hand that writes the copies.
pub(crate) struct Scribe {
    desk: Arc<Desk>,
    hand: Option<JoinHandle<()>>,
    runs: PathBuf,
}

/// What lies there to be written.
#[derive(Default)]
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    newest: BTreeMap<RunId, Run>,
    closed: bool,
}

impl Scribe {
    pub(crate) fn new(runs: &Path, wakes: Sender<Wake>) -> Self {
        let desk = Arc::new(Desk::default());
        let hand = vital::spawn("the writing of copies", wakes, {
            let (desk, runs) = (Arc::clone(&desk), runs.to_owned());
            move || write_all(&desk, &runs)
        });
        Self {
            desk,
            hand: Some(hand),
            runs: runs.to_owned(),
        }
    }

    /// Has the copies of these runs rewritten.
    pub(crate) fn write(&self, runs: Vec<Run>) {
        let mut state = locked(&self.desk.state);
        let wakes = state.newest.is_empty() && !runs.is_empty();
        let named = runs.into_iter().map(|run| (run.id.clone(), run));
        state.newest.extend(named);
        drop(state);
        if wakes {
            self.desk.changed.notify_one();
        }
    }

    /// Rewrites the copy if it does not say what the row says.
    pub(crate) fn heal(&self, run: Run) {
        let dir = RunDir::new(&self.runs, &run.id);
        if !says(&dir.run_json(), &page(&run)) {
            self.write(vec![run]);
        }
    }

    /// Waits until everything is written.
    pub(crate) fn close(&mut self) {
        locked(&self.desk.state).closed = true;
        self.desk.changed.notify_one();
        if let Some(hand) = self.hand.take() {
            let _ = hand.join();
        }
    }
}

fn page(run: &Run) -> String {
    let json = serde_json::to_string_pretty(&convert::run(run));
    json.map_or_else(|_| String::new(), |json| json + "\n")
}

/// Whether the file is there and holds exactly this text. No more than that is read.
fn says(path: &Path, text: &str) -> bool {
    let mut found = String::new();
    let read = careful::open_regular(path)
        .and_then(|file| file.take(text.len() as u64 + 1).read_to_string(&mut found));
    read.is_ok() && found == text
}

fn write_all(desk: &Desk, runs: &Path) {
    while let Some(newest) = desk.take() {
        for (id, run) in newest {
            // A copy that cannot be written now is healed at the next change or start.
            let _ = replace(&RunDir::new(runs, &id), &page(&run));
        }
    }
}

impl Desk {
    /// Waits until something is to be written and what follows at once is there, too; `None`
    /// when there will be nothing any more.
    fn take(&self) -> Option<BTreeMap<RunId, Run>> {
        let nothing = |state: &mut State| state.newest.is_empty() && !state.closed;
        let state = locked(&self.state);
        let state = self
            .changed
            .wait_while(state, nothing)
            .unwrap_or_else(PoisonError::into_inner);
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, LAG, |state| !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let newest = std::mem::take(&mut state.newest);
        (!newest.is_empty()).then_some(newest)
    }
}

/// Readers see the old copy or the new one. Not synced: it can be made again from the database.
fn replace(dir: &RunDir, text: &str) -> io::Result<()> {
    let path = dir.run_json();
    let new = path.with_extension("json.new");
    // What is there was left by a daemon that died, or by an agent to catch what is written.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = careful::options().write(true).create_new(true).open(&new)?;
    file.write_all(text.as_bytes())?;
    failpoint::hit(Point::CopyWritten);
    fs::rename(&new, path)?;
    failpoint::hit(Point::CopyRenamed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::sync::mpsc::channel;

    use orch_core::run::RunState;
    use orch_core::{TaskId, Timestamp};

    use super::*;

    fn run(attempt: u32) -> Run {
        Run {
            id: RunId::from_entropy(1),
            task: TaskId::from_entropy(1),
            agent: "worker".parse().unwrap(),
            adapter: "shell".to_owned(),
            boot: None,
            resumed_session: None,
            attempt,
            state: RunState::Starting,
            stop: None,
            branch: None,
            created_at: Timestamp(0),
            started_at: None,
        }
    }

    #[test]
    fn the_newest_state_is_on_paper_when_the_scribe_has_gone_home() {
        let directory = tempfile::tempdir().unwrap();
        let dir = RunDir::new(directory.path(), &run(1).id);
        dir.create().unwrap();
        let mut scribe = Scribe::new(directory.path(), channel().0);
        for attempt in 1..=100 {
            scribe.write(vec![run(attempt)]);
        }
        scribe.close();
        let text = fs::read_to_string(dir.run_json()).unwrap();
        assert_eq!(text, page(&run(100)));
        assert!(!dir.run_json().with_extension("json.new").exists());
    }

    #[test]
    fn a_copy_is_healed_if_it_says_something_else_and_only_then() {
        let directory = tempfile::tempdir().unwrap();
        let dir = RunDir::new(directory.path(), &run(1).id);
        dir.create().unwrap();
        let heal = || {
            let mut scribe = Scribe::new(directory.path(), channel().0);
            scribe.heal(run(2));
            scribe.close();
            dir.run_json().metadata().unwrap().ino()
        };
        fs::write(dir.run_json(), page(&run(1))).unwrap();
        let old = dir.run_json().metadata().unwrap().ino();
        let healed = heal();
        assert_ne!(healed, old);
        assert_eq!(fs::read_to_string(dir.run_json()).unwrap(), page(&run(2)));
        assert_eq!(heal(), healed, "it was right already");
    }

    #[test]
    fn a_run_without_a_directory_gets_none() {
        let directory = tempfile::tempdir().unwrap();
        let mut scribe = Scribe::new(directory.path(), channel().0);
        scribe.write(vec![run(1)]);
        scribe.close();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
