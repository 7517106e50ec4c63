//! Whether the rows agree with one another.

use std::collections::{BTreeMap, BTreeSet};

use super::Expect;
use super::scene::{Row, Scene, is_live};

/// A task in progress has exactly the live run it names, any other task none; what its last run
/// came to is what the task says.
///
/// Promise 7.
pub(super) fn run_and_task_agree(scene: &Scene, expect: &Expect) -> Vec<String> {
    let mut wrong = Vec::new();
    for task in &scene.tasks {
        let (id, status) = (task.text("id"), task.text("status"));
        let live: Vec<&str> = scene
            .runs_of(id)
            .filter(|run| is_live(run))
            .map(|run| run.text("id"))
            .collect();
        let current: Vec<&str> = [task.text("current_run")]
            .into_iter()
            .filter(|run| !run.is_empty())
            .collect();
        if live != current {
            wrong.push(format!(
                "{id} is {status}: live {live:?}, current {current:?}"
            ));
        }
        let last = scene.runs_of(id).next_back();
        if let Some(last) = last.filter(|last| !fits(task, last)) {
            let run = last.text("status");
            wrong.push(format!("{id} is {status} and its last run is {run}"));
        }
        if expect.settled && is_moving(task) {
            wrong.push(format!("{id} is still {status}"));
        }
    }
    wrong
}

/// Whether a task may stand so after a last run like that.
fn fits(task: &Row, last: &Row) -> bool {
    let run = last.text("status");
    let same_reason = task.text("failure_code") == last.text("failure_code");
    match task.text("status") {
        "in_progress" => is_live(last),
        "done" => run == "completed",
        "review" if task.text("review_wait") == "lost" => run == "lost" && same_reason,
        "review" => run == "completed",
        "failed" => matches!(run, "failed" | "timed_out" | "lost" | "not_started") && same_reason,
        "retrying" => matches!(run, "failed" | "timed_out" | "lost" | "not_started"),
        _ => !is_live(last),
    }
}

/// Whether nothing but time stands between the task and a change.
pub(super) fn is_moving(task: &Row) -> bool {
    match task.text("status") {
        "in_progress" | "retrying" => true,
        "review" => task.text("review_wait") == "landing",
        "todo" => task.number("unmet") == Some(0) || !task.is_null("hold_until"),
        _ => false,
    }
}

/// The counts that are kept beside the rows are what counting gives: unmet dependencies of each
/// task, tasks of each status, runs of each task.
///
/// Promise 7.
pub(super) fn counts_agree(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let mut wrong = Vec::new();
    for task in &scene.tasks {
        let id = task.text("id");
        let unmet = unmet(scene, id).count() as i64;
        let runs = scene.runs_of(id).count() as i64;
        for (column, counted) in [("unmet", unmet), ("runs", runs)] {
            let said = task.number(column);
            if said != Some(counted) {
                wrong.push(format!("{id}: {column} is {said:?}, there are {counted}"));
            }
        }
    }
    let mut of_status: BTreeMap<&str, i64> = BTreeMap::new();
    for task in &scene.tasks {
        *of_status.entry(task.text("status")).or_default() += 1;
    }
    for count in &scene.counts {
        let (status, said) = (count.text("status"), count.number("number"));
        let counted = of_status.get(status).copied().unwrap_or(0);
        if said != Some(counted) {
            wrong.push(format!(
                "tasks that are {status}: {said:?}, there are {counted}"
            ));
        }
    }
    wrong
}

/// The dependencies of a task that are not met.
fn unmet<'a>(scene: &'a Scene, task: &'a str) -> impl Iterator<Item = &'a Row> {
    let of_task = scene.dependencies.iter();
    let of_task = of_task.filter(move |row| row.text("task") == task);
    of_task.filter(|row| {
        let needs = scene.task(row.text("needs"));
        let status = needs.map_or("", |task| task.text("status"));
        match row.text("kind") {
            "succeeded" => status != "done",
            _ => !matches!(status, "done" | "failed" | "cancelled"),
        }
    })
}

/// Each run has one fact of its start and, if it has ended, one of its end, with the status of
/// the row and nothing about it later.
///
/// Promises 8, 9.
pub(super) fn an_end_is_told_once(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let mut wrong = Vec::new();
    for run in &scene.runs {
        let (id, status) = (run.text("id"), run.text("status"));
        let ends: Vec<&Row> = scene.facts("run_ended", id).collect();
        let starts = scene.facts("run_starting", id).count();
        if starts != 1 || ends.len() != usize::from(!is_live(run)) {
            let ends = ends.len();
            wrong.push(format!(
                "{id} is {status}: {starts} starts and {ends} ends are told"
            ));
        }
        let Some(end) = ends.first() else { continue };
        // What is no success is told by its reason.
        let reason = [run.text("failure_code"), status];
        let told = reason.into_iter().find(|word| !word.is_empty());
        if told != Some(end.text("word")) {
            wrong.push(format!("{id} is {status}, told as {}", end.text("word")));
        }
        let seq = end.number("seq");
        let later = scene.events.iter().filter(|row| row.number("seq") > seq);
        let kinds: BTreeSet<&str> = later
            .filter(|row| row.text("run") == id && row.text("kind").starts_with("run_"))
            .map(|row| row.text("kind"))
            .collect();
        if !kinds.is_empty() {
            wrong.push(format!("{id}: after its end {kinds:?}"));
        }
    }
    wrong
}

/// Facts are numbered from 1 without a gap.
///
/// Promise 20.
pub(super) fn facts_have_no_gap(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let numbers = scene.events.iter().map(|row| row.number("seq"));
    let first_wrong = numbers
        .zip(1..)
        .find(|(number, expected)| *number != Some(*expected));
    let told = first_wrong.map(|(number, expected)| format!("{number:?} in place of {expected}"));
    told.into_iter().collect()
}

/// Every task that orch said it keeps is there.
///
/// Promise 22.
pub(super) fn what_was_acknowledged_is_kept(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let tasks = scene.ledger.acknowledged.iter();
    tasks
        .filter(|id| scene.task(id).is_none())
        .map(|id| format!("{id} is gone"))
        .collect()
}

/// SQLite finds nothing wrong with the file.
///
/// Promise 22.
pub(super) fn the_file_is_sound(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let said = scene.integrity.iter();
    said.filter(|line| *line != "ok").cloned().collect()
}
