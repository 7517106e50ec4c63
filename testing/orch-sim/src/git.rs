//! The fake repository: which task's branch is on the target, and how often it was put there.

use std::collections::BTreeMap;

use orch_core::TaskId;
use orch_core::engine::Landing;

/// The target branch.
#[derive(Debug, Default)]
pub(crate) struct Git {
    tips: u64,
    landed: BTreeMap<TaskId, (String, u32)>,
}

impl Git {
    /// The commit that carries this task's work.
    pub(crate) fn landed(&self, task: &TaskId) -> Option<&str> {
        self.landed.get(task).map(|(commit, _)| commit.as_str())
    }

    /// How often the ref was moved for this task.
    pub(crate) fn moves(&self, task: &TaskId) -> u32 {
        self.landed.get(task).map_or(0, |(_, moves)| *moves)
    }

    /// Moves the ref by compare-and-swap: work that is there already is not put there again.
    pub(crate) fn land(&mut self, task: &TaskId, again: bool) {
        match self.landed.get_mut(task) {
            Some((_, moves)) if again => *moves += 1,
            Some(_) => {}
            None => {
                self.tips += 1;
                let commit = format!("{:040x}", self.tips);
                self.landed.insert(task.clone(), (commit, 1));
            }
        }
    }

    /// What a landing of this task amounts to now.
    pub(crate) fn answer(&self, task: &TaskId) -> Landing {
        match self.landed(task) {
            Some(commit) => Landing::Landed {
                commit: Some(commit.to_owned()),
            },
            None => Landing::Blocked {
                message: "the branch conflicts with the target".to_owned(),
                files: vec!["src/lib.rs".to_owned()],
            },
        }
    }
}
