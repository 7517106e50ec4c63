//! Promise 17 and the landing: who waits for whom.

use orch_core::task::{DependencyKind, TaskState};

use super::{Checker, Seen, Verdict, demand};
use crate::rows::Commit;

/// A run starts only after everything its task waits for is met, and landed where it must be.
pub(super) struct DependantsStartAfter;

impl Checker for DependantsStartAfter {
    fn promise(&self) -> &'static str {
        "dependants_start_after"
    }

    fn committed(&mut self, commit: &Commit, seen: &Seen<'_>) -> Verdict {
        for run in commit.started() {
            let needed = seen.rows.dependencies.get(&run.task);
            for needed in needed.into_iter().flatten() {
                let state = seen.rows.tasks.get(&needed.on).map(|task| &task.state);
                let met = match needed.kind {
                    DependencyKind::Succeeded => state == Some(&TaskState::Done),
                    DependencyKind::Ended => matches!(
                        state,
                        Some(
                            TaskState::Done
                                | TaskState::Failed { .. }
                                | TaskState::Cancelled { .. }
                        )
                    ),
                };
                demand(met, || {
                    format!("{} was started while {} is {state:?}", run.task, needed.on)
                })?;
            }
        }
        Ok(())
    }
}

/// A task with a branch is `done` only when the target carries that branch, put there once.
pub(super) struct DoneHasLanded;

impl Checker for DoneHasLanded {
    fn promise(&self) -> &'static str {
        "done_has_landed"
    }

    fn committed(&mut self, commit: &Commit, seen: &Seen<'_>) -> Verdict {
        for task in commit.changed_tasks() {
            let last = task
                .last_run
                .as_ref()
                .and_then(|run| seen.rows.runs.get(run));
            let has_branch = last.is_some_and(|run| run.branch.is_some());
            if task.state == TaskState::Done && has_branch {
                let landed = seen.git.landed(&task.id);
                demand(landed.is_some() && task.landed.as_deref() == landed, || {
                    format!(
                        "{} is done at {:?}, git has {landed:?}",
                        task.id, task.landed
                    )
                })?;
            }
            let moves = seen.git.moves(&task.id);
            demand(moves <= 1, || {
                format!("{} was landed {moves} times", task.id)
            })?;
        }
        Ok(())
    }
}
