//! How runs ended: by the row, by the record on disk and by the agent's own account.

use serde_json::Value;

use super::Expect;
use super::ledger::{Account, DaemonNote, Ending};
use super::scene::{Row, Scene, is_live};

/// `failed` and its like: what the rows call an end that is not a success.
fn is_bad(run: &Row) -> bool {
    !is_live(run) && run.text("status") != "completed"
}

/// The status in the row, if there is one.
fn recorded(run: &Row) -> Option<Ending> {
    let code = run
        .number("exit_code")
        .map(|code| Ending::Code(code as i32));
    let signal = run.number("exit_signal");
    code.or(signal.map(|signal| Ending::Signal(signal as i32)))
}

fn account<'a>(scene: &'a Scene, run: &Row) -> Option<&'a Account> {
    scene.ledger.runs.get(run.text("id"))
}

/// A row without an end has a supervisor that holds its lock; once everything is over there is no
/// such row.
///
/// Promise 1.
pub(super) fn no_run_is_stale(scene: &Scene, expect: &Expect) -> Vec<String> {
    let live = scene.runs.iter().filter(|run| is_live(run));
    live.filter_map(|run| {
        let (id, status) = (run.text("id"), run.text("status"));
        let held = scene.files.get(id).is_some_and(|files| files.locked);
        match (expect.settled, held) {
            (true, _) => Some(format!("{id} is {status} although everything is over")),
            (false, false) => Some(format!("{id} is {status} and nobody holds its lock")),
            (false, true) => None,
        }
    })
    .collect()
}

/// How long an end stayed unrecorded.
pub(super) struct Delay {
    /// From the end, or from the start of the daemon that recorded it, milliseconds.
    pub(super) took_ms: i64,
    /// Whether that daemon was started after the end.
    after_start: bool,
}

/// How long the end of a run stayed unrecorded, if its agent told when it ended.
pub(super) fn delay(scene: &Scene, run: &Row) -> Option<Delay> {
    let ended_at = account(scene, run)?.ended_at()?;
    let told = scene.facts("run_ended", run.text("id")).next()?;
    let recorded_at = told.number("time")? - scene.boot_ms;
    let ready = scene.ledger.daemon.iter().filter_map(|note| match note {
        DaemonNote::Started(at) => Some(*at),
        DaemonNote::Paused { until, .. } => Some(*until),
        DaemonNote::Killed(_) => None,
    });
    let since = ready.filter(|at| *at <= recorded_at).max().unwrap_or(0);
    Some(Delay {
        took_ms: recorded_at - ended_at.max(since),
        after_start: since > ended_at,
    })
}

/// An end is in the database 2 s after it happened, or 5 s after a daemon was started, and what
/// the agent left behind gets its grace before.
///
/// Promises 1, 15.
pub(super) fn an_end_is_recorded_in_time(scene: &Scene, expect: &Expect) -> Vec<String> {
    let late = scene.runs.iter().filter_map(|run| {
        let Delay {
            took_ms,
            after_start,
        } = delay(scene, run)?;
        let bound = match after_start {
            true => expect.start_ms,
            false => expect.settle_ms,
        };
        let paused = account(scene, run).map_or(0, |account| account.faults.paused_ms);
        let bound = bound + expect.grace_ms + paused;
        let id = run.text("id");
        (took_ms > bound).then(|| format!("{id}: {took_ms} ms passed; {bound} are allowed"))
    });
    late.collect()
}

/// The wait status in the row is the one the agent meant to end with, or the signal it was sent.
///
/// Promises 2, 12, 13.
pub(super) fn the_status_is_the_kernels(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let wrong = scene.runs.iter().filter_map(|run| {
        let recorded = recorded(run)?;
        let id = run.text("id");
        let Some(account) = account(scene, run) else {
            // Killed before it could write its first line, or it never was.
            return (!was_stopped(run))
                .then(|| format!("{id} ended with {recorded:?} and never began"));
        };
        let meant = account.end.as_ref().map(|end| end.how);
        let sent = account.faults.signalled.iter();
        let sent = sent.map(|(signal, _)| Ending::Signal(*signal));
        let possible: Vec<Ending> = meant.into_iter().chain(sent).collect();
        let by_orch = was_stopped(run) && matches!(recorded, Ending::Signal(2 | 9 | 15));
        let right = by_orch || possible.contains(&recorded);
        (!right).then(|| format!("{id}: the row says {recorded:?}, the ledger {possible:?}"))
    });
    wrong.collect()
}

/// An agent that had ended before anybody asked for its end was not stopped.
///
/// Promise 2.
pub(super) fn what_had_ended_was_not_stopped(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let cancelled = scene.runs.iter();
    let cancelled = cancelled.filter(|run| run.text("status") == "cancelled");
    let wrong = cancelled.filter_map(|run| {
        recorded(run)?;
        let id = run.text("id");
        let end = account(scene, run)?.end.as_ref()?;
        let asked = scene.facts("run_stop_asked", id);
        let asked = asked.filter_map(|fact| fact.number("time")).min()? - scene.boot_ms;
        let before = asked - end.at;
        (before > LAST_STEPS_MS)
            .then(|| format!("{id} is cancelled and ended {before} ms before that was asked for"))
    });
    wrong.collect()
}

/// How long an agent may take from its last note to its end on a busy machine.
const LAST_STEPS_MS: i64 = 2_000;

/// Whether orch itself ended it.
fn was_stopped(run: &Row) -> bool {
    !run.is_null("stop")
        || run.text("status") == "timed_out"
        || run.text("failure_code") == "output_limit"
}

/// What nobody saw is `lost` with nothing made up, and what is not `lost` was seen.
///
/// Promise 3.
pub(super) fn the_unknown_is_lost(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let wrong = scene.runs.iter().filter_map(|run| {
        let (id, status) = (run.text("id"), run.text("status"));
        let known = recorded(run).is_some();
        match status {
            "lost" | "not_started" if known => Some(format!("{id} is {status} with a status")),
            "completed" | "failed" | "timed_out" | "limited" if !known => {
                Some(format!("{id} is {status} without a status"))
            }
            _ => None,
        }
    });
    wrong.collect()
}

/// A run is lost only if its shim was killed, and a daemon since the run was recorded: the agent of
/// a killed shim becomes the child of a daemon that began before the shim and lives, and nothing
/// else takes the last witness away.
///
/// Promises 3, 12, 13.
pub(super) fn lost_has_a_cause(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let lost = scene.runs.iter().filter(|run| run.text("status") == "lost");
    lost.filter(|run| !witnesses_died(scene, run))
        .map(|run| {
            let (code, evidence) = (run.text("failure_code"), run.text("failure_evidence"));
            let id = run.text("id");
            format!("{id} is lost ({code}) and a witness lived: {evidence}")
        })
        .collect()
}

/// A process that ends as the child of neither its shim nor a daemon has no status: the kernel gives
/// it to the parent alone, so whatever is told was made up.
///
/// Promise 3.
pub(super) fn the_unseen_is_lost(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let told = scene.runs.iter().filter(|run| recorded(run).is_some());
    told.filter(|run| never_began(scene, run) || nobody_saw(scene, run))
        .map(|run| {
            let (id, told) = (run.text("id"), recorded(run));
            format!("{id} is told to have ended with {told:?}, and nobody lived to see it")
        })
        .collect()
}

/// An agent writes into its ledger before it does anything else: one that did not has no exit code
/// of its own.
fn never_began(scene: &Scene, run: &Row) -> bool {
    let began = account(scene, run).is_some_and(|account| !account.starts.is_empty());
    !began && matches!(recorded(run), Some(Ending::Code(_)))
}

/// By its own account: who its parent is the agent sees in the last moment in which it can.
fn nobody_saw(scene: &Scene, run: &Row) -> bool {
    let end = account(scene, run).and_then(|account| account.end.as_ref());
    end.is_some_and(|end| !end.parent.starts_with(ORCH))
}

/// How the kernel calls daemons and shims, as the beginning of a name.
const ORCH: &str = "orch";

/// How far the clocks of rows and of the ledger may be apart.
const CLOCK_SLACK_MS: i64 = 50;

fn witnesses_died(scene: &Scene, run: &Row) -> bool {
    let kills = account(scene, run).map(|account| account.faults.shim_killed.as_slice());
    let Some(shim) = kills.unwrap_or_default().iter().min() else {
        return false;
    };
    // The daemon that began the run is the only one that adopts what its shim leaves behind: one
    // that was started later is no witness, whether or not it lived.
    let begun = run.number("created_at").unwrap_or(0) - scene.boot_ms - CLOCK_SLACK_MS;
    let killed = |since: i64| scene.ledger.daemon_kills().any(|at| at >= since);
    killed(begun.min(*shim))
}

/// `completed` is exit status 0, or a result event that says success; and these are `completed`.
///
/// Promise 4.
pub(super) fn success_has_its_proof(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let wrong = scene.runs.iter().filter_map(|run| {
        let (id, status) = (run.text("id"), run.text("status"));
        let said = account(scene, run).and_then(|account| account.said.as_deref());
        let by_result = run.text("adapter") != "shell";
        let proven = match by_result {
            true => said == Some("success"),
            false => recorded(run) == Some(Ending::Code(0)) && !was_stopped(run),
        };
        // A result that was noted may not have been printed before the agent was killed.
        let sure = !by_result || account(scene, run).is_some_and(|account| account.end.is_some());
        match (status, proven) {
            ("completed", false) => Some(format!("{id} is completed without proof")),
            ("failed" | "timed_out", true) if sure => {
                Some(format!("{id} is {status} in spite of its proof"))
            }
            _ => None,
        }
    });
    wrong.collect()
}

/// What ended and is no success has a code, a sentence and evidence.
///
/// Promise 5.
pub(super) fn failure_has_its_reason(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let columns = ["failure_code", "failure_message", "failure_evidence"];
    let bad = scene.runs.iter().filter(|run| is_bad(run));
    bad.flat_map(|run| {
        let missing = columns.iter().filter(|column| run.text(column).is_empty());
        missing.map(|column| format!("{} has no {column}", run.text("id")))
    })
    .collect()
}

/// What the shim wrote into `exit.json` is what the row says, whatever came between.
///
/// Promise 6.
pub(super) fn record_and_row_agree(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let ended = scene.runs.iter().filter(|run| !is_live(run));
    ended
        .filter_map(|run| {
            let id = run.text("id");
            let exit = scene.files.get(id)?.exit.as_ref()?;
            let told = told_by(&exit["record"]);
            let row = (recorded(run), run.text("status") == "not_started");
            (told != row).then(|| format!("{id}: exit.json says {told:?}, the row {row:?}"))
        })
        .collect()
}

/// The status in an exit record, and whether it says that nothing was started.
fn told_by(record: &Value) -> (Option<Ending>, bool) {
    let code = record["exit"]["code"].as_i64();
    let signal = record["exit"]["signal"]["number"].as_i64();
    let exit = code.map(|code| Ending::Code(code as i32));
    let exit = exit.or(signal.map(|signal| Ending::Signal(signal as i32)));
    (exit, record["end"] == "not_started")
}
