//! Promises 10, 11, 14: processes and rows.

use std::collections::BTreeSet;

use orch_core::RunId;

use super::{Checker, Seen, Verdict, demand};
use crate::rows::Commit;

/// At most one process per run, and never two live ones for one task.
#[derive(Default)]
pub(super) struct OneStartPerAttempt {
    looked_at: usize,
    started: BTreeSet<RunId>,
}

impl Checker for OneStartPerAttempt {
    fn promise(&self) -> &'static str {
        "one_start_per_attempt"
    }

    fn moment(&mut self, seen: &Seen<'_>) -> Verdict {
        for process in &seen.host.processes[self.looked_at..] {
            let first = self.started.insert(process.run.clone());
            demand(first, || format!("{} was started twice", process.run))?;
            let living = seen
                .host
                .alive
                .iter()
                .map(|index| &seen.host.processes[*index]);
            let twins = living
                .filter(|it| it.task == process.task && it.is_alive())
                .count();
            demand(twins <= 1, || {
                format!("{twins} processes work on {} at once", process.task)
            })?;
        }
        self.looked_at = seen.host.processes.len();
        Ok(())
    }
}

/// No process exists whose run was not committed before it.
#[derive(Default)]
pub(super) struct RecordThenAct {
    looked_at: usize,
}

impl Checker for RecordThenAct {
    fn promise(&self) -> &'static str {
        "record_then_act"
    }

    fn moment(&mut self, seen: &Seen<'_>) -> Verdict {
        for process in &seen.host.processes[self.looked_at..] {
            let recorded = seen.rows.runs.contains_key(&process.run);
            demand(recorded, || {
                format!("{} has a process and no row", process.run)
            })?;
        }
        self.looked_at = seen.host.processes.len();
        Ok(())
    }
}

/// While anything of a run lives, its row says so: whatever is terminal, `cancelled` included, is
/// dead. Also the second half of promise 18, a slot is held exactly as long as there is work.
#[derive(Default)]
pub(super) struct TerminalMeansDead {
    looked_at: usize,
}

impl Checker for TerminalMeansDead {
    fn promise(&self) -> &'static str {
        "terminal_means_dead"
    }

    fn committed(&mut self, commit: &Commit, seen: &Seen<'_>) -> Verdict {
        for run in commit.ended() {
            demand(!seen.host.has_process(&run.id), || {
                format!("{} is {} and its process lives", run.id, run.status())
            })?;
        }
        Ok(())
    }

    fn moment(&mut self, seen: &Seen<'_>) -> Verdict {
        for process in &seen.host.processes[self.looked_at..] {
            let row = seen.rows.runs.get(&process.run);
            let open = row.is_none_or(|run| !run.status().is_final());
            demand(open, || {
                format!("{} came to life after its end", process.run)
            })?;
        }
        self.looked_at = seen.host.processes.len();
        Ok(())
    }
}
