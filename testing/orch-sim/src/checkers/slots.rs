//! Promise 18: live runs never exceed a cap as it was when the run was started.

use super::{Checker, Seen, Verdict, count_live, demand};
use crate::rows::Commit;

/// No start goes over the caps of project, agent or adapter.
pub(super) struct SlotsWithinCaps;

impl Checker for SlotsWithinCaps {
    fn promise(&self) -> &'static str {
        "slots_within_caps"
    }

    fn committed(&mut self, commit: &Commit, seen: &Seen<'_>) -> Verdict {
        for run in commit.started() {
            let agent = seen.config.agent(&run.agent);
            let Some(agent) = agent.filter(|agent| agent.enabled) else {
                return Err(format!(
                    "{} was given to {}, who takes none",
                    run.id, run.agent
                ));
            };
            let caps = [
                (
                    "project",
                    seen.rows.live.len(),
                    Some(seen.config.max_agents),
                ),
                (
                    "agent",
                    count_live(seen.rows, |it| it.agent == run.agent),
                    Some(agent.max_parallel),
                ),
                (
                    "adapter",
                    count_live(seen.rows, |it| it.adapter == run.adapter),
                    seen.config.adapter_caps.get(&run.adapter).copied(),
                ),
            ];
            for (of, live, cap) in caps {
                demand(cap.is_none_or(|cap| live <= cap as usize), || {
                    format!(
                        "{} made {live} live runs of its {of}, the cap is {cap:?}",
                        run.id
                    )
                })?;
            }
        }
        Ok(())
    }
}
