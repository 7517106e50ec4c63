//! The scheduler's promises: order within a lane, and no agent idle beside ready work.

use orch_core::task::Task;

use super::{Checker, Seen, Verdict, demand, has_room, may_take};
use crate::rows::Commit;

/// No ready task that is more urgent, or as urgent and older, is passed over by one of its lane.
pub(super) struct PriorityThenAge;

impl Checker for PriorityThenAge {
    fn promise(&self) -> &'static str {
        "priority_then_age"
    }

    fn committed(&mut self, commit: &Commit, seen: &Seen<'_>) -> Verdict {
        let rank = |task: &Task| (task.priority, task.seq);
        for run in commit.started() {
            let Some(started) = seen.rows.tasks.get(&run.task) else {
                continue;
            };
            let passed_over = seen.rows.open_tasks().find(|task| {
                task.is_ready() && task.lane() == started.lane() && rank(task) < rank(started)
            });
            demand(passed_over.is_none(), || {
                format!("{} was started before {passed_over:?}", started.id)
            })?;
        }
        Ok(())
    }
}

/// After a plan no ready task is left that a free agent could take: blocked tasks take no slot,
/// and nothing starves while somebody is idle.
pub(super) struct NoIdleAgent;

impl Checker for NoIdleAgent {
    fn promise(&self) -> &'static str {
        "no_idle_agent"
    }

    fn committed(&mut self, commit: &Commit, seen: &Seen<'_>) -> Verdict {
        if !commit.planned {
            return Ok(());
        }
        for task in seen.rows.open_tasks().filter(|task| task.is_ready()) {
            let takes = |agent: &&orch_core::config::Agent| {
                may_take(seen.config, agent, task) && has_room(seen, agent)
            };
            let idle = seen.config.agents.iter().find(takes);
            demand(idle.is_none(), || {
                let name = idle.map(|agent| agent.name.as_str());
                format!(
                    "{} is ready, {name:?} is free, and it was not started",
                    task.id
                )
            })?;
        }
        Ok(())
    }
}
