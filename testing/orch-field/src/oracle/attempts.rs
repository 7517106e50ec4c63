//! How often, when and beside what agents were started.

use std::collections::BTreeMap;

use super::Expect;
use super::ledger::Account;
use super::scene::{Row, Scene};

fn account<'a>(scene: &'a Scene, run: &Row) -> Option<&'a Account> {
    scene.ledger.runs.get(run.text("id"))
}

/// No run was started twice, each start has its row, and no two runs are the same attempt.
///
/// Promise 10.
pub(super) fn an_attempt_starts_once(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let mut wrong = Vec::new();
    for (id, account) in &scene.ledger.runs {
        if account.starts.len() > 1 {
            wrong.push(format!("{id} was started {} times", account.starts.len()));
        }
        let row = scene.runs.iter().find(|run| run.text("id") == id);
        for start in &account.starts {
            let told = row.map(|run| (run.text("task"), run.number("attempt")));
            let own = (start.task.as_str(), Some(i64::from(start.attempt)));
            if told != Some(own) {
                wrong.push(format!(
                    "{id} was started as {own:?}, its row says {told:?}"
                ));
            }
        }
        let gate = scene.files.get(id).is_some_and(|files| files.started);
        if !account.starts.is_empty() && !gate {
            wrong.push(format!("{id} was started and its gate was not passed"));
        }
    }
    let mut seen: BTreeMap<(&str, Option<i64>), &str> = BTreeMap::new();
    for run in &scene.runs {
        let (task, attempt) = (run.text("task"), run.number("attempt"));
        if let Some(other) = seen.insert((task, attempt), run.text("id")) {
            let id = run.text("id");
            wrong.push(format!(
                "{id} and {other} are the same attempt {attempt:?} of {task}"
            ));
        }
    }
    wrong
}

/// An attempt begins after the one before has ended, in time and in the facts.
///
/// Promise 11.
pub(super) fn attempts_do_not_overlap(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let mut wrong = Vec::new();
    for task in &scene.tasks {
        let runs: Vec<&Row> = scene.runs_of(task.text("id")).collect();
        for pair in runs.windows(2) {
            let [before, after] = pair else { continue };
            let (first, second) = (before.text("id"), after.text("id"));
            let ended = account(scene, before).and_then(Account::ended_at);
            let begun = account(scene, after).and_then(|it| Some(it.starts.first()?.at));
            if let (Some(ended), Some(begun)) = (ended, begun)
                && begun < ended
            {
                let by = ended - begun;
                wrong.push(format!("{second} began {by} ms before {first} had ended"));
            }
            let told = scene.facts("run_ended", first).next();
            let told = told.and_then(|row| row.number("seq"));
            let next = scene.facts("run_starting", second).next();
            let next = next.and_then(|row| row.number("seq"));
            if told.is_none() || told > next {
                wrong.push(format!(
                    "{second} was recorded before the end of {first} was"
                ));
            }
        }
    }
    wrong
}

/// When everything is over no process of any run is there any more.
///
/// Promises 13, 14, 15.
pub(super) fn nothing_is_left_running(scene: &Scene, expect: &Expect) -> Vec<String> {
    let over = |run: &str| {
        let row = scene.runs.iter().find(|row| row.text("id") == run);
        row.is_none_or(|row| !row.is_null("finished_at"))
    };
    let left = scene.left.iter();
    left.filter(|process| expect.settled && over(&process.run))
        .map(|process| format!("{} is over and lives: {}", process.run, process.what))
        .collect()
}

/// What depends on a task starts after that task is what was asked for, and never otherwise.
///
/// Promise 17.
pub(super) fn dependants_wait(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let mut wrong = Vec::new();
    for dependency in &scene.dependencies {
        let (task, needs) = (dependency.text("task"), dependency.text("needs"));
        let ends: &[&str] = match dependency.text("kind") {
            "succeeded" => &["task_done"],
            _ => &["task_done", "task_failed", "task_cancelled"],
        };
        let met = ends.iter().flat_map(|kind| scene.facts(kind, needs));
        let met = met.filter_map(|row| row.number("seq")).min();
        let first = scene.facts("run_starting", task).next();
        let first = first.and_then(|row| row.number("seq"));
        if let Some(first) = first
            && met.is_none_or(|met| first < met)
        {
            wrong.push(format!(
                "{task} started at fact {first}; {needs} was ready at {met:?}"
            ));
        }
    }
    wrong
}

/// Never are more agents at work than there are slots.
///
/// Promise 18.
pub(super) fn slots_are_kept(scene: &Scene, expect: &Expect) -> Vec<String> {
    let mut changes: Vec<(i64, i64)> = Vec::new();
    for run in &scene.runs {
        let Some(account) = account(scene, run) else {
            continue;
        };
        let recorded = run.number("finished_at").map(|at| at - scene.boot_ms);
        let end = account.ended_at().or(recorded);
        for start in &account.starts {
            changes.push((start.at, 1));
            changes.extend(end.map(|end| (end.max(start.at), -1)));
        }
    }
    // At the same moment an end comes first: the clock has no finer one.
    changes.sort_unstable();
    let mut running = 0;
    let most = changes.iter().map(|(_, change)| {
        running += change;
        running
    });
    let most = most.max().unwrap_or(0);
    let slots = expect.max_agents as i64;
    let told = (most > slots).then(|| format!("{most} agents at once, {slots} slots"));
    told.into_iter().collect()
}

/// A task has had as many attempts as its runs amount to, and no more than it may have.
///
/// Promise 19.
pub(super) fn attempts_are_counted(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let wrong = scene.tasks.iter().filter_map(|task| {
        let id = task.text("id");
        let counted = scene.runs_of(id).filter(|run| counts(run)).count() as i64;
        let said = task.number("attempts");
        let most = task.number("max_attempts").unwrap_or(0);
        (said != Some(counted) || counted > most)
            .then(|| format!("{id}: {said:?} attempts said, {counted} counted, {most} allowed"))
    });
    wrong.collect()
}

/// Whether a run used up an attempt.
fn counts(run: &Row) -> bool {
    let code = run.text("failure_code");
    match run.text("status") {
        "completed" | "failed" | "timed_out" | "lost" => true,
        "not_started" => matches!(code, "command_not_found" | "not_executable"),
        "cancelled" => code == "cancelled_by_user",
        _ => false,
    }
}

/// What is said to have never started was never started, and somebody's death was the cause.
///
/// Promise 19.
pub(super) fn not_started_is_true(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let runs = scene.runs.iter();
    runs.filter(|run| run.text("status") == "not_started")
        .filter_map(|run| {
            let (id, code) = (run.text("id"), run.text("failure_code"));
            let account = account(scene, run).cloned().unwrap_or_default();
            if !account.starts.is_empty() {
                return Some(format!("{id} is not_started ({code}) and was started"));
            }
            let evidence = run.text("failure_evidence");
            account
                .faults
                .shim_killed
                .is_empty()
                .then(|| format!("{id} is not_started ({code}) without a cause: {evidence}"))
        })
        .collect()
}
