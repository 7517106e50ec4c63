//! Opens a transcript where it was left: reads `out.log` again up to what `events.jsonl` holds
//! and compares the two line by line.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use super::flood::Recorded;
use super::lines::{Located, Splitter};
use super::{State, Teller, read_chunk, record};
use crate::adapter::{Adapter, AgentEvent};
use crate::run_dir::RunDir;

/// Longest line of `events.jsonl` that orch can have written: 1 MiB of output, every byte of it
/// escaped with six, and what is around it.
const RECORD_BYTES: u64 = 8 << 20;
/// Bytes of `events.jsonl` that are read at once.
const READ_BYTES: usize = 256 << 10;
/// Most damaged files that are kept; the last one is overwritten.
const KEPT_ASIDE: u32 = 9;
/// How often a file may be found damaged. Twice is enough if nobody else writes to it.
const ATTEMPTS: u32 = 4;

/// What the comparison found.
enum Found {
    /// Everything agrees.
    Agrees,
    /// Everything agrees but a last line without its end.
    Torn,
    /// From some line on it does not agree.
    Damaged,
}

/// Whether a recorded line may end where no `\n` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The last one may: it was the last line when the run was finished.
    Last,
    /// None may.
    Never,
}

/// Comes to the state that `events.jsonl` ends with, after repairing it where it must be.
pub(super) fn resume(
    dir: &RunDir,
    adapter: &Adapter,
    log: Option<&File>,
    events: &File,
    mut cut: Cut,
    warnings: &mut Vec<String>,
) -> io::Result<State> {
    for _ in 0..ATTEMPTS {
        let mut replay = Replay {
            state: State::new(adapter, dir),
            log,
            ahead: Ahead::default(),
            cut,
            expected: VecDeque::new(),
            good_bytes: 0,
        };
        match replay.run(events)? {
            Found::Agrees => return Ok(replay.into_state()),
            Found::Torn => {
                events.set_len(replay.good_bytes)?;
                return Ok(replay.into_state());
            }
            // Something is recorded after what looked like the last line.
            Found::Damaged if replay.state.cut => cut = Cut::Never,
            Found::Damaged => {
                let aside = keep_aside(dir, events)?;
                events.set_len(replay.good_bytes)?;
                warnings.push(format!(
                    "events.jsonl did not agree with out.log after event {}; it was rebuilt from \
                     there and the old one is {aside}",
                    replay.state.seq
                ));
            }
        }
    }
    Err(io::Error::other(format!(
        "{} is being changed by something else",
        dir.events().display()
    )))
}

/// A name for what is not to be `events.jsonl` any more.
pub(super) fn free_name(dir: &RunDir) -> String {
    let name = |number: u32| format!("events.jsonl.damaged-{number}");
    let is_free = |number: &u32| dir.path().join(name(*number)).symlink_metadata().is_err();
    name((1..KEPT_ASIDE).find(is_free).unwrap_or(KEPT_ASIDE))
}

/// Copies what is to be thrown away; the name of the copy.
fn keep_aside(dir: &RunDir, events: &File) -> io::Result<String> {
    let name = free_name(dir);
    let path = dir.path().join(&name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut copy = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    let mut from = events;
    from.seek(SeekFrom::Start(0))?;
    io::copy(&mut from, &mut copy)?;
    copy.sync_data()?;
    Ok(name)
}

/// What was read of `out.log` ahead of need: every event asks for a line, and a line is not worth a
/// read of its own.
#[derive(Default)]
struct Ahead {
    at: u64,
    bytes: Vec<u8>,
}

impl Ahead {
    /// The next bytes at `from`, none at or beyond `limit`; empty at the end of the file.
    fn next(&mut self, log: &File, from: u64, limit: u64) -> io::Result<&[u8]> {
        let is_here = self.at <= from && from < self.at + self.bytes.len() as u64;
        if !is_here {
            self.at = from;
            read_chunk(log, from, u64::MAX, &mut self.bytes)?;
        }
        let within = |offset: u64| (offset - self.at).min(self.bytes.len() as u64) as usize;
        Ok(&self.bytes[within(from)..within(limit.max(from))])
    }
}

struct Replay<'a> {
    state: State,
    log: Option<&'a File>,
    ahead: Ahead,
    cut: Cut,
    /// Events that follow from `out.log` and were not met in `events.jsonl` yet, each with the end
    /// of its line.
    expected: VecDeque<(AgentEvent, u64)>,
    /// How much of `events.jsonl` agrees.
    good_bytes: u64,
}

impl Replay<'_> {
    fn run(&mut self, mut events: &File) -> io::Result<Found> {
        events.seek(SeekFrom::Start(0))?;
        // Most are opened when nothing is recorded yet.
        let length = usize::try_from(events.metadata()?.len()).unwrap_or(usize::MAX);
        let mut recorded = BufReader::with_capacity(length.clamp(1, READ_BYTES), events);
        let (mut line, mut scratch) = (Vec::new(), Vec::new());
        loop {
            line.clear();
            recorded
                .by_ref()
                .take(RECORD_BYTES)
                .read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Ok(Found::Agrees);
            }
            if !line.ends_with(b"\n") {
                let is_last = recorded.fill_buf()?.is_empty();
                return Ok(if is_last { Found::Torn } else { Found::Damaged });
            }
            if !self.meets(&line, &mut scratch)? {
                return Ok(Found::Damaged);
            }
            self.good_bytes += line.len() as u64;
            self.state.seq += 1;
        }
    }

    /// Whether `line` is what has to come next.
    fn meets(&mut self, line: &[u8], scratch: &mut Vec<u8>) -> io::Result<bool> {
        let seq = self.state.seq + 1;
        let Some((time, moment)) = record::time_of(line, seq) else {
            return Ok(false);
        };
        let Some(end) = record::end_of(line) else {
            return Ok(false);
        };
        self.state.teller.flood.refill(moment);
        if self.expected.is_empty() {
            if self.state.cut {
                return Ok(false);
            }
            let recorded = match record::is_block(line, seq, time) {
                true => Recorded::Gathered,
                false => Recorded::Single,
            };
            self.state.teller.flood.follow(Some(recorded));
            self.read_until(end)?;
        }
        let Some((event, expected_end)) = self.expected.pop_front() else {
            return Ok(false);
        };
        scratch.clear();
        record::write(scratch, seq, time, &event, expected_end);
        Ok(scratch == line)
    }

    /// Reads `out.log` up to `end`, or to the first lines that tell something. A line without
    /// its `\n` ends at `end` because it was the last one when the run was finished.
    fn read_until(&mut self, end: u64) -> io::Result<()> {
        let Some(log) = self.log else { return Ok(()) };
        // What is recorded next comes from the first line that tells something, so nothing is
        // gained by reading on after it, and a false offset must not fill the memory.
        while self.expected.is_empty() {
            let mut ahead = std::mem::take(&mut self.ahead);
            let bytes = ahead.next(log, self.state.splitter.position(), end)?;
            let is_end = bytes.is_empty();
            self.take(|splitter, each| splitter.feed(bytes, each));
            self.ahead = ahead;
            if is_end {
                break;
            }
        }
        if self.state.splitter.position() == end {
            if self.cut == Cut::Last {
                self.state.cut = self.state.splitter.is_within_line();
                self.take(Splitter::rest);
            }
            if self.expected.is_empty() {
                self.keep(Teller::close_block);
            }
        }
        Ok(())
    }

    fn keep(&mut self, give: impl FnOnce(&mut Teller, &mut dyn FnMut(AgentEvent, u64))) {
        let expected = &mut self.expected;
        give(&mut self.state.teller, &mut |event, end| {
            expected.push_back((event, end))
        });
    }

    /// Lets `splitter` give lines and keeps their events.
    fn take(&mut self, give: impl FnOnce(&mut Splitter, &mut dyn FnMut(Located<'_>))) {
        let State {
            teller, splitter, ..
        } = &mut self.state;
        let expected = &mut self.expected;
        give(splitter, &mut |line| {
            teller.tell(&line, &mut |event, end| expected.push_back((event, end)));
        });
    }

    fn into_state(mut self) -> State {
        self.state.teller.flood.follow(None);
        self.state.unrecorded = self.expected.into();
        self.state
    }
}
