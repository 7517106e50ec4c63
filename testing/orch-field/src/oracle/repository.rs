//! What agents made, and where it is.

use super::Expect;
use super::scene::{Scene, is_live};

/// What an agent left in its worktree is in the commit of its run, and a ref leads to it.
///
/// No work is destroyed: the design promises that beside the numbered list.
pub(super) fn work_is_kept(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let ended = |run: &str| {
        let row = scene.runs.iter().find(|row| row.text("id") == run);
        row.is_some_and(|row| !is_live(row))
    };
    let work = scene.work.iter().filter(|work| ended(&work.run));
    work.filter(|work| !(work.in_commit && work.reachable))
        .map(|work| {
            let (run, name, held) = (&work.run, &work.name, work.in_commit);
            let reached = work.reachable;
            format!("{run} made {name}: in its commit {held}, reachable {reached}")
        })
        .collect()
}

/// The work of a task that is done is on the target branch.
///
/// Promises 6, 7.
pub(super) fn done_is_landed(scene: &Scene, _expect: &Expect) -> Vec<String> {
    let done = |run: &str| {
        let row = scene.runs.iter().find(|row| row.text("id") == run);
        let task = row.and_then(|row| scene.task(row.text("task")));
        task.is_some_and(|task| task.text("status") == "done")
    };
    let work = scene.work.iter().filter(|work| done(&work.run));
    work.filter(|work| !work.on_target)
        .map(|work| format!("{} made {} and it is not landed", work.run, work.name))
        .collect()
}
