//! Counting what is on a branch: files that differ, and commits that the agent made itself.

use std::collections::BTreeSet;

use orch_core::TaskId;
use orch_core::run::Changes;

use super::{Result, Workspaces, task_branch};
use crate::git::{BranchName, Oid};

/// The last paragraph of every commit that orch makes of what an agent left.
pub(super) const BY_ORCH: &str = "Committed-by: orch";

/// What tells the commits of orch from an agent's, as git greps their messages. Before there was
/// [`BY_ORCH`] they said that they held what was left uncommitted.
const OF_ORCH: &str = "--grep=^(Committed-by: orch|Left uncommitted by .* in run_[0-9a-z]+\\.)$";

impl Workspaces {
    /// The commit that the branch of `task` stands at, as it is before an agent begins.
    ///
    /// # Errors
    /// Git failed; a branch that does not exist is `None`.
    pub fn tip(&self, task: &TaskId, branch: &str) -> Result<Option<String>> {
        let branch = task_branch(task, branch)?;
        let tip = self.repository.branch_tip(&branch)?;
        Ok(tip.map(|tip| tip.to_string()))
    }

    /// What happened on the branch of `task` since it stood at `begin`. What only came from the
    /// target branch, because the agent brought its branch up to date, is not counted.
    ///
    /// # Errors
    /// Git failed, or `begin` is no commit.
    pub fn changes_since(&self, task: &TaskId, branch: &str, begin: &str) -> Result<Changes> {
        let branch = task_branch(task, branch)?;
        let begin = begin.parse::<Oid>()?;
        match self.repository.branch_tip(&branch)? {
            Some(tip) if tip != begin => self.changes_between(&begin, &tip),
            _ => Ok(Changes::default()),
        }
    }

    fn changes_between(&self, begin: &Oid, tip: &Oid) -> Result<Changes> {
        let target = self.target_tip()?;
        let mut files: BTreeSet<Vec<u8>> = self.changed(begin, tip)?;
        let before = self.repository.merge_base(&target, begin)?;
        let after = self.repository.merge_base(&target, tip)?;
        if let (Some(before), Some(after)) = (before, after)
            && before != after
        {
            let of_target = self.changed(&before, &after)?;
            let of_branch = self.changed(&after, tip)?;
            files.retain(|path| !of_target.contains(path) || of_branch.contains(path));
        }
        Ok(Changes {
            files: files.len() as u64,
            commits: self
                .repository
                .count_without(OF_ORCH, tip, &[begin, &target])?,
        })
    }

    fn changed(&self, from: &Oid, to: &Oid) -> Result<BTreeSet<Vec<u8>>> {
        Ok(self
            .repository
            .changed_paths(from, to)?
            .into_iter()
            .collect())
    }

    /// What the branch holds that the target does not: its tip, if it has commits of its own, all
    /// of them, and what they come to.
    pub(super) fn whole(&self, branch: &BranchName) -> Result<(Option<Oid>, u64, Changes)> {
        let (Some(tip), target) = (self.repository.branch_tip(branch)?, self.target_tip()?) else {
            return Ok((None, 0, Changes::default()));
        };
        let all = self.repository.count_commits(&target, &tip)?;
        if all == 0 {
            return Ok((None, 0, Changes::default()));
        }
        let base = match self.repository.merge_base(&target, &tip)? {
            Some(base) => base,
            None => self.empty_tree()?,
        };
        let changes = Changes {
            files: self.repository.changed_paths(&base, &tip)?.len() as u64,
            commits: self.repository.count_without(OF_ORCH, &tip, &[&target])?,
        };
        Ok((Some(tip), all, changes))
    }
}
