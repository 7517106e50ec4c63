//! What happened, as a number to compare and, when somebody wants to read it, as lines.

use std::collections::VecDeque;

use crate::agenda::Happening;
use crate::rows::Commit;

/// Lines kept for a failing seed.
const LINES: usize = 200;

/// A running hash (FNV-1a) of everything that happened, and the last lines of it on demand.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<VecDeque<String>>,
}

impl Trace {
    /// A trace that keeps the hash only.
    pub(crate) const fn quiet() -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            lines: None,
        }
    }

    /// A trace that can be read.
    pub(crate) fn spoken() -> Self {
        Self {
            lines: Some(VecDeque::new()),
            ..Self::quiet()
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into_iter().flatten().collect()
    }

    pub(crate) fn happening(&mut self, now: i64, happening: &Happening) {
        self.mix(&now.to_le_bytes());
        self.note(now, || format!("{happening:?}"));
    }

    pub(crate) fn commit(&mut self, now: i64, commit: &Commit) {
        for (number, event) in &commit.events {
            self.mix(&number.to_le_bytes());
            self.mix(event.kind.as_str().as_bytes());
            self.mix(event.word.as_deref().unwrap_or("").as_bytes());
            for id in [
                event.task.as_ref().map(orch_core::TaskId::as_str),
                event.run.as_ref().map(orch_core::RunId::as_str),
            ] {
                self.mix(id.unwrap_or("-").as_bytes());
            }
            self.note(now, || format!("  {number} {event:?}"));
        }
    }

    pub(crate) fn note(&mut self, now: i64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            if lines.len() == LINES {
                lines.pop_front();
            }
            lines.push_back(format!("{} {}", now % 100_000_000, line()));
        }
    }

    fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash ^= u64::from(*byte);
            self.hash = self.hash.wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
