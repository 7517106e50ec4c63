//! The fake clock: what happens when. Time passes only by taking the next entry.

use std::collections::BTreeMap;

use orch_core::{RunId, TaskId, Timestamp};

use crate::host::HostEvent;

/// Where every simulation begins, milliseconds since 1970. Any date does.
const BEGINNING: i64 = 1_700_000_000_000;

/// Which life of the daemon something belongs to. What was meant for a dead one is dropped.
pub(crate) type Epoch = u64;

/// One thing that happens.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// Something in the world of processes.
    Host(HostEvent),
    /// A shim's message about this run arrives at whatever daemon there is.
    News(RunId),
    /// A daemon is started.
    DaemonStarts,
    /// The daemon looks at its inbox.
    DaemonTurns(Epoch),
    /// The store's writer is done with the batch.
    CommitEnds(Epoch),
    /// The timer the daemon set for the next hold.
    Timer(Epoch),
    /// The slow sweep.
    Sweep(Epoch),
    /// The git commands of a landing move the ref. They outlive the daemon.
    GitMoves(TaskId),
    /// The landing's answer reaches the daemon that asked for it.
    GitAnswers(Epoch, TaskId),
    /// Somebody wants something.
    Wish,
}

/// What is going to happen, in order of time and then of planning.
#[derive(Debug)]
pub(crate) struct Agenda {
    now: i64,
    planned: u64,
    entries: BTreeMap<(i64, u64), Happening>,
}

impl Agenda {
    pub(crate) fn new() -> Self {
        Self {
            now: BEGINNING,
            planned: 0,
            entries: BTreeMap::new(),
        }
    }

    /// Milliseconds since 1970 on the fake clock.
    pub(crate) const fn now(&self) -> i64 {
        self.now
    }

    pub(crate) const fn timestamp(&self) -> Timestamp {
        Timestamp(self.now)
    }

    /// Plans something `millis` from now.
    pub(crate) fn after(&mut self, millis: i64, happening: Happening) {
        self.planned += 1;
        let at = self.now + millis.max(0);
        self.entries.insert((at, self.planned), happening);
    }

    /// Moves the clock to the next entry and takes it.
    pub(crate) fn take(&mut self) -> Option<Happening> {
        let ((at, _), happening) = self.entries.pop_first()?;
        self.now = at;
        Some(happening)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_decides_and_then_the_order_of_planning() {
        let mut agenda = Agenda::new();
        let start = agenda.now();
        agenda.after(5, Happening::Wish);
        agenda.after(1, Happening::Sweep(1));
        agenda.after(1, Happening::Timer(2));
        let taken: Vec<String> =
            std::iter::from_fn(|| agenda.take().map(|entry| format!("{entry:?}"))).collect();
        assert_eq!(taken, ["Sweep(1)", "Timer(2)", "Wish"]);
        assert_eq!(agenda.now(), start + 5);
    }
}
