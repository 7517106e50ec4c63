//! Writes `run.json`: a copy of a run's row for people and scripts, after each commit.
//!
//! A copy can lag, never contradict: it is written from the database, replaced as a whole, and
//! healed when a daemon starts. One thread writes them in order, so the loop never waits for it.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use orch_core::run::Run;
use orch_host::run_dir::RunDir;

use crate::careful;
use crate::convert;

/// The hand that writes the copies.
pub(crate) struct Scribe {
    pages: Option<Sender<Page>>,
    hand: Option<JoinHandle<()>>,
    runs: PathBuf,
}

struct Page {
    dir: RunDir,
    text: String,
}

impl Scribe {
    pub(crate) fn new(runs: &Path) -> Self {
        let (pages, written) = channel();
        let hand = std::thread::spawn(move || write_all(&written));
        Self {
            pages: Some(pages),
            hand: Some(hand),
            runs: runs.to_owned(),
        }
    }

    /// Has the copy of this run rewritten.
    pub(crate) fn write(&self, run: &Run) {
        let page = Page {
            dir: RunDir::new(&self.runs, &run.id),
            text: page(run),
        };
        if let Some(pages) = &self.pages {
            let _ = pages.send(page);
        }
    }

    /// Rewrites the copy if it does not say what the row says.
    pub(crate) fn heal(&self, run: &Run) {
        let dir = RunDir::new(&self.runs, &run.id);
        if !says(&dir.run_json(), &page(run)) {
            self.write(run);
        }
    }

    /// Waits until everything is written.
    pub(crate) fn close(&mut self) {
        self.pages = None;
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

fn write_all(pages: &Receiver<Page>) {
    for page in pages {
        // A copy that cannot be written now is healed at the next change or start.
        let _ = replace(&page);
    }
}

/// Readers see the old copy or the new one. Not synced: it can be made again from the database.
fn replace(page: &Page) -> io::Result<()> {
    if !page.dir.path().is_dir() {
        return Ok(());
    }
    let path = page.dir.run_json();
    let new = path.with_extension("json.new");
    // What is there was left by a daemon that died, or by an agent to catch what is written.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = careful::options().write(true).create_new(true).open(&new)?;
    file.write_all(page.text.as_bytes())?;
    fs::rename(&new, path)
}
