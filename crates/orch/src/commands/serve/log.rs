//! The log of `orch serve`: lines on their way to whoever reads them. The daemon never waits for
//! a reader; what a slow one cannot take is counted, and said.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use orch_daemon::{LogLine, LogSink};

/// Most lines that wait for a slow reader; some 20 MB.
const LINES_MAX: usize = 100_000;
/// How long the last lines may take to be read when the daemon has ended.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Most lines that are written at once.
const LINES_AT_ONCE: usize = 1_000;

enum Entry {
    Lines(Vec<LogLine>),
    End,
}

/// A log whose lines are written by a thread of its own.
pub struct Log {
    entries: Sender<Entry>,
    counts: Arc<Counts>,
    written: Receiver<()>,
}

#[derive(Default)]
struct Counts {
    /// Lines that wait to be written.
    waiting: AtomicUsize,
    /// Lines that found too many waiting.
    missed: AtomicU64,
}

impl Log {
    /// Begins a log whose lines are written by `write`, as many at once as there are; some number
    /// of lines before them were not, each time that number is above 0.
    pub fn begin(mut write: impl FnMut(&[LogLine], u64) + Send + 'static) -> Self {
        let (entries, waiting) = channel();
        let (done, written) = channel();
        let counts = Arc::new(Counts::default());
        let seen = Arc::clone(&counts);
        std::thread::spawn(move || {
            let mut waiting = Waiting {
                entries: waiting,
                ended: false,
            };
            while let Some(lines) = waiting.next() {
                write(&lines, seen.missed.swap(0, Ordering::Relaxed));
                seen.waiting.fetch_sub(lines.len(), Ordering::Relaxed);
            }
            // Nobody waits for this any more if the daemon broke down.
            let _ = done.send(());
        });
        Self {
            entries,
            counts,
            written,
        }
    }

    /// Where the daemon puts its lines.
    #[must_use]
    pub fn sink(&self) -> LogSink {
        let entries = self.entries.clone();
        let counts = Arc::clone(&self.counts);
        LogSink::new(move |lines| {
            let count = lines.len();
            if counts.waiting.fetch_add(count, Ordering::Relaxed) >= LINES_MAX {
                counts.waiting.fetch_sub(count, Ordering::Relaxed);
                counts.missed.fetch_add(count as u64, Ordering::Relaxed);
            } else {
                // The writer is gone only after the end, when nothing is said any more.
                let _ = entries.send(Entry::Lines(lines));
            }
        })
    }

    /// Ends the log. The lines that are left are written if somebody reads them soon.
    pub fn end(self) {
        if self.entries.send(Entry::End).is_ok() {
            // A reader that takes nothing for so long has left.
            let _ = self.written.recv_timeout(LAST_LINES);
        }
    }
}

/// The entries on the side of the writer.
struct Waiting {
    entries: Receiver<Entry>,
    ended: bool,
}

impl Waiting {
    /// Waits for lines and takes what else is there; `None` at the end.
    fn next(&mut self) -> Option<Vec<LogLine>> {
        if self.ended {
            return None;
        }
        let Ok(Entry::Lines(mut lines)) = self.entries.recv() else {
            return None;
        };
        while lines.len() < LINES_AT_ONCE && !self.ended {
            match self.entries.try_recv() {
                Ok(Entry::Lines(more)) => lines.extend(more),
                Ok(Entry::End) => self.ended = true,
                Err(_) => break,
            }
        }
        Some(lines)
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
        let log = Log::begin(move |lines, missed| {
            // The reader takes something only when it is let; at the end it takes all.
            let _ = wait.recv();
            tell.send((lines.len() as u64, missed)).unwrap();
        });
        let sink = log.sink();
        let given = LINES_MAX as u64 + 2_000;
        for number in 0..given {
            sink.say(line(&number.to_string()));
        }
        drop(go);
        let (mut taken, mut missed) = (0, 0);
        while taken + missed < given {
            let (lines, more) = told.recv().unwrap();
            taken += lines;
            missed += more;
        }
        assert!(missed > 0);
        log.end();
    }

    #[test]
    fn the_last_lines_are_written_in_their_order() {
        let (tell, told) = channel();
        let log = Log::begin(move |lines, _| {
            lines
                .iter()
                .for_each(|line| tell.send(line.event.clone()).unwrap());
        });
        for event in ["a", "b", "c"] {
            log.sink().say(line(event));
        }
        log.end();
        assert_eq!(told.iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
