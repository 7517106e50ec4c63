//! The oracle: whether what orch recorded is what happened.
//!
//! It compares the database, the run directories, the process table and the repository with the
//! private ledger that agents keep where orch cannot see it. Each check is one promise of the
//! reliability contract, a function over what was gathered in a [`Scene`].
//!
//! Must not use code of orch, nor repair or wait for anything: it looks once and says what is
//! wrong.

mod attempts;
mod database;
mod endings;
mod ledger;
mod output;
mod processes;
mod repository;
mod scene;
#[cfg(test)]
mod tests;

use std::fmt;

pub use ledger::{
    Account, Accounts, AgentEnd, DaemonNote, Ending, Ledger, PRELUDE, RunFaults, Start, Stream,
    uptime_ms,
};
pub use processes::{command_line, pids, signal, stat, zombies_of};
pub use scene::{Left, Row, RunFiles, Scene, Work, is_live, run_dir};

use crate::Project;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The number of the promise; 0 for the one that no work is destroyed.
    pub promise: u8,
    /// The check that found it.
    pub check: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            promise,
            check,
            what,
        } = self;
        write!(f, "promise {promise}, {check}: {what}")
    }
}

/// What may be expected of the project at the time of the look.
#[derive(Debug, Clone)]
pub struct Expect {
    /// Everything that was set in motion is over and the last daemon was not killed.
    pub settled: bool,
    /// Most runs at once.
    pub max_agents: usize,
    /// How long an end may stay unrecorded while a daemon is there, milliseconds.
    pub settle_ms: i64,
    /// How long it may after a daemon was started, milliseconds.
    pub start_ms: i64,
    /// What the limits of the project allow an end to take: leftovers get their grace,
    /// milliseconds.
    pub grace_ms: i64,
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            settled: true,
            max_agents: 4,
            settle_ms: 2_000,
            start_ms: 5_000,
            grace_ms: 2_000,
        }
    }
}

type Check = fn(&Scene, &Expect) -> Vec<String>;

/// Every check, with the promise it is about and its name.
const CHECKS: &[(u8, &str, Check)] = &[
    (1, "no run is stale", endings::no_run_is_stale),
    (
        1,
        "an end is recorded in time",
        endings::an_end_is_recorded_in_time,
    ),
    (
        2,
        "the status is the kernel's",
        endings::the_status_is_the_kernels,
    ),
    (3, "the unknown is lost", endings::the_unknown_is_lost),
    (3, "lost has a cause", endings::lost_has_a_cause),
    (3, "the unseen is lost", endings::the_unseen_is_lost),
    (
        2,
        "what had ended was not stopped",
        endings::what_had_ended_was_not_stopped,
    ),
    (4, "success has its proof", endings::success_has_its_proof),
    (5, "failure has its reason", endings::failure_has_its_reason),
    (6, "record and row agree", endings::record_and_row_agree),
    (7, "run and task agree", database::run_and_task_agree),
    (7, "counts agree", database::counts_agree),
    (9, "an end is told once", database::an_end_is_told_once),
    (
        10,
        "an attempt starts once",
        attempts::an_attempt_starts_once,
    ),
    (
        11,
        "attempts do not overlap",
        attempts::attempts_do_not_overlap,
    ),
    (
        14,
        "nothing is left running",
        attempts::nothing_is_left_running,
    ),
    (17, "dependants wait", attempts::dependants_wait),
    (18, "slots are kept", attempts::slots_are_kept),
    (19, "attempts are counted", attempts::attempts_are_counted),
    (19, "not started is true", attempts::not_started_is_true),
    (20, "facts have no gap", database::facts_have_no_gap),
    (20, "events have no gap", output::events_have_no_gap),
    (21, "output is whole", output::output_is_whole),
    (12, "the copy agrees", output::the_copy_agrees),
    (
        22,
        "what was acknowledged is kept",
        database::what_was_acknowledged_is_kept,
    ),
    (22, "the file is sound", database::the_file_is_sound),
    (0, "work is kept", repository::work_is_kept),
    (6, "done is landed", repository::done_is_landed),
];

/// Looks at the project and says which promises are broken; empty is good.
pub fn check(project: &Project, ledger: &Ledger, expect: &Expect) -> Vec<Violation> {
    judge(&Scene::of(project, ledger), expect)
}

/// Says which promises are broken in what was gathered.
pub fn judge(scene: &Scene, expect: &Expect) -> Vec<Violation> {
    let checks = CHECKS.iter();
    checks
        .flat_map(|(promise, name, check)| {
            check(scene, expect).into_iter().map(|what| Violation {
                promise: *promise,
                check: name,
                what,
            })
        })
        .collect()
}

/// Whether nothing but a person moves any task on.
pub fn is_settled(scene: &Scene) -> bool {
    !scene.runs.iter().any(is_live) && !scene.tasks.iter().any(database::is_moving)
}

/// How long each end stayed unrecorded, milliseconds, from when it happened or from when the
/// daemon that recorded it was started.
pub fn delays(scene: &Scene) -> Vec<i64> {
    let runs = scene.runs.iter();
    runs.filter_map(|run| endings::delay(scene, run))
        .map(|delay| delay.took_ms)
        .collect()
}
