//! Promise 1: no row stays `running` by itself.

use orch_core::RunId;

use super::{Checker, Seen, Since, Verdict, demand};

/// How long a run without processes may stay open while a daemon is up, milliseconds.
const SETTLE_MS: i64 = 2_000;
/// How long a child that holds the output may delay the record, milliseconds.
const LEAK_MS: i64 = 2_000;

/// A run whose record is written, or of which nothing lives, is terminal within 2 s.
#[derive(Default)]
pub(super) struct NoStaleRunning {
    over: Since<RunId>,
    ended: Since<RunId>,
}

impl Checker for NoStaleRunning {
    fn promise(&self) -> &'static str {
        "no_stale_running"
    }

    fn moment(&mut self, seen: &Seen<'_>) -> Verdict {
        let host = seen.host;
        let live = || seen.rows.live.iter().cloned();
        let over = live().filter(|run| {
            host.record(run).is_some() || !(host.has_shim(run) || host.has_process(run))
        });
        if let Some((run, age)) = self.over.note(over.collect(), seen) {
            demand(age <= SETTLE_MS, || {
                format!("{run} has been over for {age} ms and its row is open")
            })?;
        }
        let ended = live().filter(|run| host.agent_has_ended(run));
        if let Some((run, age)) = self.ended.note(ended.collect(), seen) {
            demand(age <= SETTLE_MS + LEAK_MS, || {
                format!("the process of {run} ended {age} ms ago and its row is open")
            })?;
        }
        Ok(())
    }
}
