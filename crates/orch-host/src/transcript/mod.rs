//! Turns `out.log` into `events.jsonl`.
//!
//! `out.log` is the truth and is only read here; `events.jsonl` follows from it. Each of its lines
//! is `{"seq":n,"time":"…","type":"…","data":…,"end":offset}`: `seq` counts from 1 without a gap,
//! `time` is when orch read it, `end` is the offset in `out.log` after the line that the event
//! comes from. Whole lines are appended with one write; a reader may see a last line without its
//! `\n` for a moment, or after a crash until the run is opened again, and takes it as not there.
//!
//! Exactly once, across any number of restarts: [`Transcript::open`] reads `out.log` again up to
//! what `events.jsonl` holds, which rebuilds the reader's state and checks every recorded line
//! on the way. A torn last line is cut off and written anew. If anything else does not agree,
//! the file is copied to `events.jsonl.damaged-1` (or the next free number), cut to what agrees,
//! and continued from `out.log`.
//!
//! Memory is bounded by a line of `LINE_BYTES`; a longer one is not read. A line of more than
//! [`EMBED_BYTES`] is read, but its event only says where it lies:
//! `{"oversize_line":{"offset":…,"length":…}}`. A flood of lines becomes few events, see `flood`.
//!
//! Between two calls no file is held open: a thousand runs must not need two thousand descriptors.
//!
//! This part must not know what the lines mean, nor whether the process still runs.

mod flood;
mod lines;
mod output;
mod record;
mod replay;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use orch_core::Timestamp;

use crate::adapter::{Adapter, AgentEvent, Definition, EventType, Reader, Summary, json};
use crate::failpoint::{self, Point};
use crate::run_dir::RunDir;
use crate::time;
use flood::Flood;
use lines::{Line, Located, Splitter};
use replay::Cut;
use rustix::io::Errno;

pub use lines::LINE_BYTES;

/// Longest line of output that an event carries, bytes.
pub const EMBED_BYTES: usize = 1 << 20;
/// Most bytes of `out.log` that one call of [`Transcript::advance_a_piece`] reads.
pub const PIECE_BYTES: u64 = 256 << 10;
/// Bytes read from `out.log` at once.
const CHUNK_BYTES: u64 = 256 << 10;
/// Bytes of events after which they are written.
const BATCH_BYTES: usize = 256 << 10;

/// The transcript of one run.
pub struct Transcript {
    dir: RunDir,
    adapter: &'static Adapter,
    files: Option<Files>,
    /// Which file the events were left in, and how long it was.
    left: Place,
    state: State,
    /// A write failed half way, so what is on disk has to be read again.
    broken: bool,
    warnings: Vec<String>,
}

/// The files of a transcript at work.
struct Files {
    log: Option<File>,
    events: File,
}

/// A file that cannot be confused with another, or with itself before it was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    device: u64,
    inode: u64,
    length: u64,
}

impl Place {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
        })
    }
}

/// What follows from the part of `out.log` that was read.
struct State {
    teller: Teller,
    splitter: Splitter,
    /// The number of the last event, recorded or in the batch.
    seq: u64,
    /// Events of the last line read, with its end, that are not recorded because a crash came
    /// between them.
    unrecorded: Vec<(AgentEvent, u64)>,
    /// The last line read had no `\n`: the run was finished before.
    cut: bool,
    /// When a block of a flood was last closed for being old.
    closed_at: Timestamp,
}

/// The name of what an event says of lines that have none of their own.
const LINES: &str = "lines";
/// The same for a line that is too long for an event.
const OVERSIZE_LINE: &str = "oversize_line";

/// How long lines of a flood may wait for more of their block, milliseconds.
const BLOCK_MS: i64 = 1000;

impl State {
    fn new(adapter: &Adapter, dir: &RunDir) -> Self {
        Self {
            teller: Teller::new(adapter, dir),
            splitter: Splitter::default(),
            seq: 0,
            unrecorded: Vec::new(),
            cut: false,
            closed_at: Timestamp(0),
        }
    }

    /// Gives what was held back: with `all` the last line without its end, and a block of a flood
    /// whose lines should wait no longer.
    fn close(&mut self, all: bool, now: Timestamp, batch: &mut Batch) {
        let Self {
            teller,
            splitter,
            seq,
            closed_at,
            ..
        } = self;
        let mut add = |event, end| batch.add(seq, &event, end);
        if all {
            splitter.rest(&mut |line| teller.tell(&line, &mut add));
        }
        if all || (now.0 - closed_at.0).abs() >= BLOCK_MS {
            teller.close_block(&mut add);
            *closed_at = now;
        }
    }
}

/// Turns lines into the events that are recorded.
struct Teller {
    reader: Box<dyn Reader + Send>,
    /// Text is what a command prints and not what an agent says.
    text_is_plain: bool,
    flood: Flood,
}

impl Teller {
    fn new(adapter: &Adapter, dir: &RunDir) -> Self {
        Self {
            reader: Definition::reader_of(adapter, &dir.definition()),
            text_is_plain: !adapter.has_result_event,
            flood: Flood::default(),
        }
    }

    /// Gives the events of one line, each with the offset in `out.log` that it ends with.
    fn tell(&mut self, line: &Located<'_>, each: &mut dyn FnMut(AgentEvent, u64)) {
        let length = line.end - line.start;
        let gathers = length <= EMBED_BYTES as u64 && self.flood.gathers(length);
        if gathers
            && let Line::Whole(bytes) = line.line
            && self.reader.skim(bytes)
        {
            return self.gather(line, each);
        }
        let events = events_of(self.reader.as_mut(), line);
        let is_plain = length <= EMBED_BYTES as u64
            && matches!(events.as_slice(), [event] if self.is_plain(event));
        match is_plain {
            true if gathers => return self.gather(line, each),
            true => {
                self.close_block(each);
                self.flood.single(length);
            }
            false if events.is_empty() => {}
            false => self.close_block(each),
        }
        for event in events {
            each(event, line.end);
        }
    }

    fn gather(&mut self, line: &Located<'_>, each: &mut dyn FnMut(AgentEvent, u64)) {
        if let Some((event, end)) = self.flood.gather(line.start, line.end) {
            each(event, end);
        }
    }

    /// Gives the event of the lines that were gathered and not given yet, if there are some.
    fn close_block(&mut self, each: &mut dyn FnMut(AgentEvent, u64)) {
        if let Some((event, end)) = self.flood.close() {
            each(event, end);
        }
    }

    fn is_plain(&self, event: &AgentEvent) -> bool {
        event.kind == EventType::Raw || (self.text_is_plain && event.kind == EventType::Text)
    }
}

/// How far a transcript is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// Events in `events.jsonl`.
    pub events: u64,
    /// Whether the agent has said its final word.
    pub terminal_seen: bool,
    /// Whether there may be more to read at once.
    pub more: bool,
}

/// A transcript that is complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// What the whole output amounts to.
    pub summary: Summary,
    /// Events in `events.jsonl`.
    pub events: u64,
}

impl Transcript {
    /// Opens the transcript of the run in `dir`, at its beginning or where an earlier daemon
    /// left it. Reads everything that was read before, once.
    ///
    /// # Errors
    /// A file cannot be read, written or created, or is not a regular file.
    pub fn open(dir: RunDir, adapter: &'static Adapter) -> io::Result<Self> {
        let mut transcript = Self::resume(dir, adapter, Cut::Last)?;
        transcript.rest()?;
        Ok(transcript)
    }

    /// What [`open`](Self::open) and [`finish`](Self::finish) do, for a run that has ended and
    /// was not read yet, as most short ones: its files are opened once.
    ///
    /// # Errors
    /// As for these two.
    pub fn of_ended(
        dir: RunDir,
        adapter: &'static Adapter,
        out_bytes: u64,
        now: Timestamp,
    ) -> io::Result<Finished> {
        Self::resume(dir, adapter, Cut::Last)?.finish(out_bytes, now)
    }

    fn resume(dir: RunDir, adapter: &'static Adapter, cut: Cut) -> io::Result<Self> {
        let mut warnings = Vec::new();
        let Files { log, events } = Files::open(&dir, true, &mut warnings)?;
        let state = replay::resume(&dir, adapter, log.as_ref(), &events, cut, &mut warnings)?;
        Ok(Self {
            dir,
            adapter,
            left: Place::of(&events)?,
            files: Some(Files { log, events }),
            state,
            broken: false,
            warnings,
        })
    }

    /// Reads what is new in `out.log`, as far as its lines are complete, and records it. Does
    /// nothing once the run was finished within a line.
    ///
    /// # Errors
    /// A file cannot be read or written. The next call begins with what is on disk.
    pub fn advance(&mut self, now: Timestamp) -> io::Result<Advance> {
        self.advance_by(u64::MAX, now)
    }

    /// The same for [`PIECE_BYTES`] at most, so that whoever waits for the end of the run does not
    /// wait for long.
    ///
    /// # Errors
    /// As for [`advance`](Self::advance).
    pub fn advance_a_piece(&mut self, now: Timestamp) -> io::Result<Advance> {
        self.advance_by(PIECE_BYTES, now)
    }

    fn advance_by(&mut self, most: u64, now: Timestamp) -> io::Result<Advance> {
        self.heal()?;
        let mut more = false;
        if !self.state.cut {
            let limit = self.state.splitter.position().saturating_add(most);
            self.read_on(limit, now, false)?;
            more = self.state.splitter.position() == limit;
        }
        self.rest()?;
        Ok(Advance {
            events: self.state.seq,
            more,
            terminal_seen: self.state.teller.reader.terminal_seen(),
        })
    }

    /// Reads the rest of the first `out_bytes` of `out.log`: what the process had written when it
    /// ended. The last line counts without its `\n`. What a process that was left behind wrote
    /// later decides nothing, even if it is already among the events.
    ///
    /// # Errors
    /// A file cannot be read or written. Open the transcript again to try again.
    pub fn finish(mut self, out_bytes: u64, now: Timestamp) -> io::Result<Finished> {
        self.heal()?;
        let position = self.state.splitter.position();
        if self.state.cut && position != out_bytes {
            // It was finished somewhere else, which cannot be.
            self.reopen(Cut::Never)?;
        } else if position > out_bytes {
            self.reopen(Cut::Last)?;
        }
        let mut summary = if self.state.splitter.position() <= out_bytes {
            self.read_on(out_bytes, now, true)?;
            self.state.teller.reader.summary()
        } else {
            self.warn("something went on writing to the output after the agent had ended");
            self.summary_until(out_bytes)?
        };
        if self.state.teller.reader.output_is_result() {
            let log = self.files()?.log.as_ref();
            let result = log.map(|log| output::result(log, out_bytes)).transpose()?;
            summary.result = result.flatten();
        }
        let missing = out_bytes.saturating_sub(self.state.splitter.position());
        if missing > 0 {
            self.warn(&format!(
                "out.log is {missing} bytes shorter than when the agent ended"
            ));
        }
        if self.state.seq > 0 {
            self.files()?.events.sync_data()?;
        }
        summary.warnings.append(&mut self.warnings);
        Ok(Finished {
            summary,
            events: self.state.seq,
        })
    }

    /// Begins a call: with the files as they were left, or with what is on disk.
    fn heal(&mut self) -> io::Result<()> {
        let left = self.left;
        if self.broken || Place::of(&self.files()?.events)? != left {
            self.reopen(Cut::Last)
        } else {
            Ok(())
        }
    }

    /// Ends a call: lets go of the files.
    fn rest(&mut self) -> io::Result<()> {
        if let Some(files) = self.files.take() {
            self.left = Place::of(&files.events)?;
        }
        Ok(())
    }

    fn files(&mut self) -> io::Result<&mut Files> {
        let files = match self.files.take() {
            Some(files) => files,
            // Not made anew: somebody may be removing the directory, file by file.
            None => {
                let mut warnings = Vec::new();
                let files = Files::open(&self.dir, false, &mut warnings)?;
                warnings.iter().for_each(|warning| self.warn(warning));
                files
            }
        };
        Ok(self.files.insert(files))
    }

    /// Goes back to what is on disk.
    fn reopen(&mut self, cut: Cut) -> io::Result<()> {
        let mut warnings = std::mem::take(&mut self.warnings);
        *self = Self::resume(self.dir.clone(), self.adapter, cut)?;
        warnings.append(&mut self.warnings);
        self.warnings = warnings;
        Ok(())
    }

    fn warn(&mut self, text: &str) {
        if !self.warnings.iter().any(|warning| warning == text) {
            self.warnings.push(text.to_owned());
        }
    }

    /// Records everything up to `limit`; with `all` also the last line without its end.
    fn read_on(&mut self, limit: u64, now: Timestamp, all: bool) -> io::Result<()> {
        if self.has_shrunk()? {
            self.warn("out.log became shorter while the agent was running");
            self.reopen(Cut::Last)?;
        }
        self.broken = true;
        self.state.teller.flood.refill(now);
        let mut batch = Batch {
            time: time::rfc3339(now),
            bytes: Vec::new(),
        };
        for (event, end) in std::mem::take(&mut self.state.unrecorded) {
            batch.add(&mut self.state.seq, &event, end);
        }
        self.read_chunks(limit, &mut batch)?;
        self.state.close(all, now, &mut batch);
        batch.write(&mut self.files()?.events)?;
        self.broken = false;
        Ok(())
    }

    fn read_chunks(&mut self, limit: u64, batch: &mut Batch) -> io::Result<()> {
        let Some(Files { log, events }) = &mut self.files else {
            return Ok(());
        };
        let Some(log) = log else { return Ok(()) };
        let State {
            teller,
            splitter,
            seq,
            ..
        } = &mut self.state;
        let mut chunk = Vec::new();
        while read_chunk(log, splitter.position(), limit, &mut chunk)? {
            splitter.feed(&chunk, &mut |line| {
                teller.tell(&line, &mut |event, end| batch.add(seq, &event, end));
            });
            if batch.bytes.len() >= BATCH_BYTES {
                batch.write(events)?;
            }
        }
        Ok(())
    }

    /// Whether `out.log` holds less than was read from it. A command that opens `/dev/stdout`
    /// to write to it empties the file.
    fn has_shrunk(&mut self) -> io::Result<bool> {
        let length = match &self.files()?.log {
            Some(log) => log.metadata()?.len(),
            None => 0,
        };
        Ok(length < self.state.splitter.position())
    }

    /// What the first `out_bytes` of `out.log` amount to.
    fn summary_until(&self, out_bytes: u64) -> io::Result<Summary> {
        let mut state = State::new(self.adapter, &self.dir);
        let mut chunk = Vec::new();
        if let Some(log) = self.files.as_ref().and_then(|files| files.log.as_ref()) {
            let reader = state.teller.reader.as_mut();
            let mut each = |line: Located<'_>| drop(events_of(reader, &line));
            while read_chunk(log, state.splitter.position(), out_bytes, &mut chunk)? {
                state.splitter.feed(&chunk, &mut each);
            }
            state.splitter.rest(&mut each);
        }
        Ok(state.teller.reader.summary())
    }
}

/// Lines of `events.jsonl` that are to be written together.
struct Batch {
    time: String,
    bytes: Vec<u8>,
}

impl Batch {
    fn add(&mut self, seq: &mut u64, event: &AgentEvent, end: u64) {
        *seq += 1;
        record::write(&mut self.bytes, *seq, &self.time, event, end);
    }

    fn write(&mut self, events: &mut File) -> io::Result<()> {
        events.write_all(&self.bytes)?;
        failpoint::hit(Point::EventsWritten);
        self.bytes.clear();
        Ok(())
    }
}

/// The events of one line, as they are recorded.
fn events_of(reader: &mut dyn Reader, located: &Located<'_>) -> Vec<AgentEvent> {
    let length = match located.line {
        Line::Whole(line) => {
            let mut events = reader.line(line);
            if line.len() <= EMBED_BYTES {
                for event in &mut events {
                    quote_if_place(event, line);
                }
                return events;
            }
            line.len() as u64
        }
        Line::Unreadable { length, tail } => {
            reader.unreadable(length, tail);
            length
        }
    };
    let lies = serde_json::json!({ "offset": located.start, "length": length });
    vec![place(OVERSIZE_LINE, &lies)]
}

/// What an agent printed must not read like what orch says of its output: a line that does is told
/// as the text that it is.
fn quote_if_place(event: &mut AgentEvent, line: &[u8]) {
    if event.kind != EventType::Raw || !event.data.get().starts_with('{') {
        return;
    }
    let object: Result<serde_json::Map<String, serde_json::Value>, _> =
        serde_json::from_str(event.data.get());
    let says_where = |name: &&str| {
        object
            .as_ref()
            .is_ok_and(|object| object.contains_key(*name))
    };
    if [LINES, OVERSIZE_LINE].iter().any(says_where) {
        event.data = json::raw(&String::from_utf8_lossy(line));
    }
}

/// An event that says where something lies in `out.log`.
fn place(what: &str, lies: &serde_json::Value) -> AgentEvent {
    let data = serde_json::json!({ what: lies });
    AgentEvent {
        kind: EventType::Raw,
        data: serde_json::value::to_raw_value(&data).expect("this value is JSON"),
    }
}

/// Reads the bytes at `from`, none at or beyond `limit`, into `chunk`; whether there were any.
fn read_chunk(log: &File, from: u64, limit: u64, chunk: &mut Vec<u8>) -> io::Result<bool> {
    // No more room than there are bytes: most runs have few new ones, or none, and a block that is
    // zeroed for each of them costs more than reading them.
    let there = log.metadata()?.len().min(limit).saturating_sub(from);
    let length = CHUNK_BYTES.min(there) as usize;
    chunk.resize(length, 0);
    let mut filled = 0;
    while filled < length {
        match log.read_at(&mut chunk[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    chunk.truncate(filled);
    Ok(filled > 0)
}

impl Files {
    /// Opens what is there; with `create` the events are made where they are not.
    fn open(dir: &RunDir, create: bool, warnings: &mut Vec<String>) -> io::Result<Self> {
        Ok(Self {
            events: open_events(dir, create, warnings)?,
            log: open_log(dir, warnings)?,
        })
    }
}

/// Opens what the agent prints. Something else in its place is as good as nothing: no end waits
/// for it to become a file again.
fn open_log(dir: &RunDir, warnings: &mut Vec<String>) -> io::Result<Option<File>> {
    match open_regular(OpenOptions::new().read(true), &dir.out_log()) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if is_no_file(&error) => {
            warnings.push(format!("the output cannot be read: {error}"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Opens the events. Something else in their place is moved aside.
fn open_events(dir: &RunDir, create: bool, warnings: &mut Vec<String>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(create).mode(0o600);
    match open_regular(&mut options, &dir.events()) {
        Err(error) if is_no_file(&error) => {
            let aside = replay::free_name(dir);
            std::fs::rename(dir.events(), dir.path().join(&aside))?;
            warnings.push(format!("{error}; it is {aside} now, and was made anew"));
            open_regular(&mut options, &dir.events())
        }
        opened => opened,
    }
}

/// Whether something is there that is not a file, and never will be.
fn is_no_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

/// Opens a regular file. An agent can write in this directory, so a link is not followed and a
/// pipe must not make the daemon wait.
fn open_regular(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let named = |error: io::Error| {
        let kind = match Errno::from_io_error(&error) {
            Some(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => io::ErrorKind::InvalidInput,
            _ => error.kind(),
        };
        io::Error::new(kind, format!("{}: {error}", path.display()))
    };
    let file = options
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(named)?;
    if file.metadata().map_err(named)?.is_file() {
        Ok(file)
    } else {
        Err(named(io::Error::new(
            io::ErrorKind::InvalidInput,
            "is not a regular file",
        )))
    }
}
