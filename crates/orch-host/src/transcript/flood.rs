//! Keeps a flood of plain lines from becoming a larger flood of events.
//!
//! An event of a line `y` is fifty times as long as the line. So a run's first [`SINGLE_LINES`]
//! plain lines, and no more than [`SINGLE_BYTES`] of them, get an event each; of those after them
//! an event says where a block of them lies in `out.log`, which has every byte:
//! `{"lines":{"offset":…,"length":…,"count":…}}`. Lines that mean something to the adapter are
//! events of their own always.

use crate::adapter::AgentEvent;

use super::place;

/// Plain lines of a run that get an event each. A hundred thousand are eleven megabytes of events.
const SINGLE_LINES: u64 = 100_000;
/// Bytes of plain lines that are in events.
const SINGLE_BYTES: u64 = 16 << 20;
/// Bytes of output after which a block is closed.
const BLOCK_BYTES: u64 = 64 << 10;

/// Counts plain lines, and gathers them once there are too many.
#[derive(Default)]
pub(super) struct Flood {
    lines: u64,
    bytes: u64,
    /// There have been too many, once and for all.
    full: bool,
    block: Option<Block>,
}

/// Lines that follow each other in `out.log`.
struct Block {
    offset: u64,
    end: u64,
    count: u64,
}

impl Flood {
    /// Whether a plain line of `length` bytes would be gathered and get no event of its own.
    pub fn gathers(&self, length: u64) -> bool {
        self.full || self.lines >= SINGLE_LINES || self.bytes + length > SINGLE_BYTES
    }

    /// Counts a plain line that gets an event of its own.
    pub fn single(&mut self, length: u64) {
        self.lines += 1;
        self.bytes += length;
    }

    /// Gathers a plain line that lies from `start` to `end`; the event of the block it completes.
    pub fn gather(&mut self, start: u64, end: u64) -> Option<(AgentEvent, u64)> {
        self.full = true;
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

    /// Ends the block that is open; its event and where it ends. Where a block ends is decided by
    /// whoever records it first, and is read back from there.
    pub fn close(&mut self) -> Option<(AgentEvent, u64)> {
        let Block { offset, end, count } = self.block.take()?;
        let lines = serde_json::json!({ "offset": offset, "length": end - offset, "count": count });
        Some((place("lines", &lines), end))
    }
}
