//! Copies of runs in `run.json`: what the database says, on paper, for people and scripts.
//!
//! A copy can lag, never contradict: it is written from the database, replaced as a whole, and
//! healed when a daemon starts. One thread writes them, a moment after a run changed and only the
//! newest state of each, so the loop never waits for it and a run that changes often costs no more.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use orch_core::RunId;
use orch_core::run::Run;
use orch_host::failpoint::{self, Point};
use orch_host::run_dir::RunDir;

use crate::careful;
use crate::convert;
use crate::shared::locked;
use crate::vital;
use crate::wake::Wake;

/// How long the copy of a run that has ended may lag, so that what follows at once is written with
/// it.
const LAG: Duration = Duration::from_millis(40);
/// How long that of any other may. Most runs that are over sooner get one copy and not two, and no
/// file is replaced: file systems remember what was deleted, and some make new files more slowly
/// for minutes.
const LONG_LAG: Duration = Duration::from_millis(400);

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
    newest: BTreeMap<RunId, Waiting>,
    closed: bool,
}

/// The newest state of a run, and since when its copy lags.
struct Waiting {
    run: Run,
    since: Instant,
}

impl Waiting {
    fn is_due(&self) -> bool {
        self.run.status().is_final() || self.since.elapsed() >= LONG_LAG
    }
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
        for run in runs {
            let since = Instant::now();
            match state.newest.entry(run.id.clone()) {
                Entry::Occupied(mut waiting) => waiting.get_mut().run = run,
                Entry::Vacant(place) => drop(place.insert(Waiting { run, since })),
            }
        }
        drop(state);
        if wakes {
            self.desk.changed.notify_one();
        }
    }

    /// Rewrites the copy if it does not say what the row says.
    pub(crate) fn heal(&self, run: Run) {
        let dir = RunDir::new(&self.runs, &run.id);
        if !says(&dir.run_json(), &run) {
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

/// Writes the page of a run, piece by piece: the words of its agent may be megabytes.
fn write_page(run: &Run, to: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *to, &convert::run(run))?;
    to.write_all(b"\n")
}

/// Whether the file is there and holds exactly the page of this run. No more than that is read.
fn says(path: &Path, run: &Run) -> bool {
    let mut text = Vec::new();
    let mut found = Vec::new();
    let read = write_page(run, &mut text)
        .and_then(|()| careful::open_regular(path))
        .and_then(|file| file.take(text.len() as u64 + 1).read_to_end(&mut found));
    read.is_ok() && found == text
}

fn write_all(desk: &Desk, runs: &Path) {
    while let Some(due) = desk.take() {
        for run in due {
            // A copy that cannot be written now is healed at the next change or start.
            let _ = replace(&RunDir::new(runs, &run.id), |file| write_page(&run, file));
        }
    }
}

impl Desk {
    /// Waits until something is to be written and what follows at once is there, too; `None`
    /// when there will be nothing any more.
    fn take(&self) -> Option<Vec<Run>> {
        let nothing = |state: &mut State| state.newest.is_empty() && !state.closed;
        let mut state = locked(&self.state);
        loop {
            state = self
                .changed
                .wait_while(state, nothing)
                .unwrap_or_else(PoisonError::into_inner);
            (state, _) = self
                .changed
                .wait_timeout_while(state, LAG, |state| !state.closed)
                .unwrap_or_else(PoisonError::into_inner);
            let closed = state.closed;
            let due: Vec<Run> = state
                .newest
                .extract_if(.., |_, waiting| closed || waiting.is_due())
                .map(|(_, waiting)| waiting.run)
                .collect();
            if closed || !due.is_empty() {
                return (!due.is_empty()).then_some(due);
            }
        }
    }
}

/// Readers see the old copy or the new one. Not synced: it can be made again from the database.
fn replace(
    dir: &RunDir,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let path = dir.run_json();
    let new = path.with_extension("json.new");
    let create = || careful::options().write(true).create_new(true).open(&new);
    let file = match create() {
        // What is there was left by a daemon that died, or by an agent to catch what is written.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&new)?;
            create()?
        }
        created => created?,
    };
    let mut file = BufWriter::new(file);
    write(&mut file)?;
    file.flush()?;
    failpoint::hit(Point::CopyWritten);
    fs::rename(&new, path)?;
    failpoint::hit(Point::CopyRenamed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::sync::mpsc::channel;

    use orch_core::run::{Ending, Outcome, RunState, Usage};
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

    fn page(run: &Run) -> String {
        let mut page = Vec::new();
        write_page(run, &mut page).unwrap();
        String::from_utf8(page).unwrap()
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
    fn the_end_of_a_run_does_not_wait_with_the_beginnings_of_others() {
        let desk = Desk::default();
        let waiting = |status: RunState, number| {
            let id = RunId::from_entropy(number);
            let since = Instant::now();
            let run = Run {
                id: id.clone(),
                state: status,
                ..run(1)
            };
            (id, Waiting { run, since })
        };
        let ended = RunState::Ended(Box::new(Ending {
            outcome: Outcome::Completed,
            exit: None,
            result: None,
            usage: Usage::default(),
            session_id: None,
            commit: None,
            changes: None,
            cost_estimated: false,
            events: 0,
            warnings: Vec::new(),
            finished_at: Timestamp(1),
        }));
        locked(&desk.state).newest = [waiting(RunState::Starting, 1), waiting(ended, 2)].into();
        let taken = |desk: &Desk| desk.take().map(|runs| runs[0].id.clone());
        assert_eq!(taken(&desk), Some(RunId::from_entropy(2)));
        assert_eq!(taken(&desk), Some(RunId::from_entropy(1)));
        locked(&desk.state).closed = true;
        assert_eq!(taken(&desk), None);
    }

    #[test]
    fn what_was_left_under_the_name_of_a_new_copy_is_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        let dir = RunDir::new(directory.path(), &run(1).id);
        dir.create().unwrap();
        let precious = directory.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, dir.run_json().with_extension("json.new")).unwrap();
        replace(&dir, |file| file.write_all(b"a copy")).unwrap();
        assert_eq!(fs::read_to_string(dir.run_json()).unwrap(), "a copy");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
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
