//! The log of `orch serve`: lines on their way to whoever reads them. The daemon never waits for
//! a reader; what a slow one cannot take is counted, and said.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Duration;

use orch_daemon::{LogLine, LogSink};

/// Most lines that wait for a slow reader; some 20 MB.
const LINES_MAX: usize = 100_000;
/// How long the last lines may take to be read when the daemon has ended.
const LAST_LINES: Duration = Duration::from_secs(2);

enum Entry {
    Line(Box<LogLine>),
    End,
}

/// A log whose lines are written by a thread of its own.
pub struct Log {
    entries: SyncSender<Entry>,
    missed: Arc<AtomicU64>,
    written: Receiver<()>,
}

impl Log {
    /// Begins a log whose lines are written by `write`; `missed` of them were not, each time that
    /// number is above 0.
    pub fn begin(mut write: impl FnMut(&LogLine, u64) + Send + 'static) -> Self {
        let (entries, lines) = sync_channel(LINES_MAX);
        let (done, written) = channel();
        let missed = Arc::new(AtomicU64::new(0));
        let unseen = Arc::clone(&missed);
        std::thread::spawn(move || {
            while let Ok(Entry::Line(line)) = lines.recv() {
                write(&line, unseen.swap(0, Ordering::Relaxed));
            }
            // Nobody waits for this any more if the daemon broke down.
            let _ = done.send(());
        });
        Self {
            entries,
            missed,
            written,
        }
    }

    /// Where the daemon puts its lines.
    #[must_use]
    pub fn sink(&self) -> LogSink {
        let entries = self.entries.clone();
        let missed = Arc::clone(&self.missed);
        Arc::new(move |line: &LogLine| {
            if entries
                .try_send(Entry::Line(Box::new(line.clone())))
                .is_err()
            {
                missed.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    /// Ends the log. The lines that are left are written if somebody reads them soon.
    pub fn end(self) {
        if self.entries.try_send(Entry::End).is_ok() {
            // A reader that takes nothing for so long has left.
            let _ = self.written.recv_timeout(LAST_LINES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: &str) -> LogLine {
        LogLine {
            time: "2026-01-02T03:04:05Z".to_owned(),
            level: "info",
            event: event.to_owned(),
            task: None,
            run: None,
            agent: None,
            message: None,
        }
    }

    #[test]
    fn a_reader_that_stands_still_holds_nobody_up_and_is_told_what_it_missed() {
        let (go, wait) = channel::<()>();
        let (tell, told) = channel();
        let log = Log::begin(move |line, missed| {
            // The reader takes a line only when it is let; at the end it takes all.
            let _ = wait.recv();
            tell.send((line.event.clone(), missed)).unwrap();
        });
        let sink = log.sink();
        let given = LINES_MAX as u64 + 1_000;
        for number in 0..given {
            sink(&line(&number.to_string()));
        }
        drop(go);
        let mut taken = 0;
        let mut missed = 0;
        while taken + missed < given {
            let (_, more) = told.recv().unwrap();
            taken += 1;
            missed += more;
        }
        assert!(missed > 0);
        log.end();
    }

    #[test]
    fn the_last_lines_are_written() {
        let (tell, told) = channel();
        let log = Log::begin(move |line, _| tell.send(line.event.clone()).unwrap());
        for event in ["a", "b", "c"] {
            log.sink()(&line(event));
        }
        log.end();
        assert_eq!(told.iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
