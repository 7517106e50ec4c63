//! Promises 3, 7 and 33: rows that belong together change together; a refusal changes nothing.

use orch_core::task::TaskState;

use super::{Checker, Seen, Verdict, count_live, demand};
use crate::people::run_of;
use crate::rows::Commit;

/// At every commit: a task is in progress exactly while its one live run is.
pub(super) struct OneTransaction;

impl Checker for OneTransaction {
    fn promise(&self) -> &'static str {
        "one_transaction"
    }

    fn committed(&mut self, commit: &Commit, seen: &Seen<'_>) -> Verdict {
        for (id, change) in &commit.runs {
            let Some(run) = &change.after else { continue };
            let task = seen.rows.tasks.get(&run.task);
            let at_work = task.and_then(run_of) == Some(id);
            let live = !run.status().is_final();
            demand(at_work == live, || {
                format!("{id} is {} and its task is {task:?}", run.status())
            })?;
        }
        for task in commit.changed_tasks() {
            let live = count_live(seen.rows, |run| run.task == task.id);
            let expected = usize::from(matches!(task.state, TaskState::InProgress { .. }));
            demand(live == expected, || {
                format!("{} is {} with {live} live runs", task.id, task.status())
            })?;
        }
        Ok(())
    }
}

/// The count of unmet dependencies is what a recount gives, for the changed tasks and all that
/// wait for them.
pub(super) struct UnmetIsExact;

impl Checker for UnmetIsExact {
    fn promise(&self) -> &'static str {
        "unmet_is_exact"
    }

    fn committed(&mut self, commit: &Commit, seen: &Seen<'_>) -> Verdict {
        for (id, needed) in &seen.rows.dependencies {
            let concerned = commit.tasks.contains_key(id)
                || needed.iter().any(|it| commit.tasks.contains_key(&it.on));
            let Some(task) = seen.rows.tasks.get(id).filter(|_| concerned) else {
                continue;
            };
            let counted = seen.rows.count_unmet(id);
            demand(task.unmet as usize == counted, || {
                format!(
                    "{id} says {} unmet, a recount {counted}: {needed:?}",
                    task.unmet
                )
            })?;
        }
        Ok(())
    }
}

/// A request that is refused has written nothing.
pub(super) struct RefusalsChangeNothing;

impl Checker for RefusalsChangeNothing {
    fn promise(&self) -> &'static str {
        "refusals_change_nothing"
    }

    fn committed(&mut self, commit: &Commit, _seen: &Seen<'_>) -> Verdict {
        demand(commit.written_by_refused == 0, || {
            format!("{} refused requests wrote rows", commit.written_by_refused)
        })
    }
}
