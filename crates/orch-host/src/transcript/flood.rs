//! Keeps a flood of plain lines from becoming a larger flood of events.
//!
//! An event of a line `y` is fifty times as long as the line. So plain lines get an event each as
//! long as they come no faster than somebody may want to follow, and there are not too many of them
//! in all: see [`Allowance`]. Of those beyond that an event says where a block of them lies in
//! `out.log`, which has every byte: `{"lines":{"offset":…,"length":…,"count":…}}`. Lines that mean
//! something to the adapter are events of their own always.
//!
//! Which lines are gathered depends on when they were read, so whoever reads them again goes by
//! what was recorded, see [`Flood::follow`].

use orch_core::Timestamp;

use crate::adapter::AgentEvent;

use super::{LINES, place};

/// Plain lines of a run that get an event each. A hundred thousand are eleven megabytes of events.
const SINGLE_LINES: u64 = 100_000;
/// Bytes of plain lines of a run that are in events.
const SINGLE_BYTES: u64 = 16 << 20;
/// Plain lines at once that get an event each: the output of a long build.
const BURST_LINES: u64 = 10_000;
/// Bytes of plain lines at once that are in events.
const BURST_BYTES: u64 = 1 << 20;
/// How long it takes until a burst of that size may come again, milliseconds: 500 lines and 50 KiB
/// a second may go on.
const BURST_MS: u64 = 20_000;
/// How often what may come is counted anew, milliseconds.
const STEP_MS: i64 = 100;
/// Bytes of output after which a block is closed.
const BLOCK_BYTES: u64 = 64 << 10;

/// Counts plain lines, and gathers those that are too many.
#[derive(Default)]
pub(super) struct Flood {
    allowance: Allowance,
    recorded: Option<Recorded>,
    block: Option<Block>,
}

/// What was made of lines that are read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recorded {
    /// An event of its own.
    Single,
    /// A part of a block.
    Gathered,
}

/// Lines that follow each other in `out.log`.
struct Block {
    offset: u64,
    end: u64,
    count: u64,
}

/// How many plain lines may get an event each: in all, and just now.
struct Allowance {
    lines: u64,
    bytes: u64,
    lines_now: u64,
    bytes_now: u64,
    /// When what may come now was last counted.
    counted: Option<Timestamp>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            lines: SINGLE_LINES,
            bytes: SINGLE_BYTES,
            lines_now: BURST_LINES,
            bytes_now: BURST_BYTES,
            counted: None,
        }
    }
}

impl Allowance {
    fn has(&self, length: u64) -> bool {
        self.lines.min(self.lines_now) > 0 && self.bytes.min(self.bytes_now) >= length
    }

    fn take(&mut self, length: u64) {
        for lines in [&mut self.lines, &mut self.lines_now] {
            *lines = lines.saturating_sub(1);
        }
        for bytes in [&mut self.bytes, &mut self.bytes_now] {
            *bytes = bytes.saturating_sub(length);
        }
    }

    /// A clock that was set back gives nothing, and one that was set forward no more than a burst.
    fn refill(&mut self, now: Timestamp) {
        let counted = *self.counted.get_or_insert(now);
        let passed = now.0.saturating_sub(counted.0);
        // Of less there would be nothing but what rounding takes away.
        if (0..STEP_MS).contains(&passed) {
            return;
        }
        let passed = passed.max(0).unsigned_abs().min(BURST_MS);
        self.lines_now = BURST_LINES.min(self.lines_now + BURST_LINES * passed / BURST_MS);
        self.bytes_now = BURST_BYTES.min(self.bytes_now + BURST_BYTES * passed / BURST_MS);
        self.counted = Some(now);
    }
}

impl Flood {
    /// Lets more lines have an event each, as time has passed.
    pub fn refill(&mut self, now: Timestamp) {
        self.allowance.refill(now);
    }

    /// From here on lines are told as they were recorded; with `None` as this one decides.
    pub fn follow(&mut self, recorded: Option<Recorded>) {
        self.recorded = recorded;
    }

    /// Whether a plain line of `length` bytes would be gathered and get no event of its own.
    pub fn gathers(&self, length: u64) -> bool {
        match self.recorded {
            Some(recorded) => recorded == Recorded::Gathered,
            None => !self.allowance.has(length),
        }
    }

    /// Counts a plain line that gets an event of its own.
    pub fn single(&mut self, length: u64) {
        self.allowance.take(length);
    }

    /// Gathers a plain line that lies from `start` to `end`; the event of the block it completes.
    pub fn gather(&mut self, start: u64, end: u64) -> Option<(AgentEvent, u64)> {
        let block = self.block.get_or_insert(Block {
            offset: start,
            end,
            count: 0,
        });
        block.end = end;
        block.count += 1;
        if block.end - block.offset < BLOCK_BYTES {
            return None;
        }
        self.close()
    }

    /// Ends the block that is open; its event and where it ends.
    pub fn close(&mut self) -> Option<(AgentEvent, u64)> {
        let Block { offset, end, count } = self.block.take()?;
        let lines = serde_json::json!({ "offset": offset, "length": end - offset, "count": count });
        Some((place(LINES, &lines), end))
    }
}
