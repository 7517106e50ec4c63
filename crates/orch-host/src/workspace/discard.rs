//! Removing a worktree and its branch, and never anything else.

use std::collections::BTreeSet;
use std::fs;

use orch_core::TaskId;

use super::{
    Found, Result, WorkspaceError, Workspaces, Worktree, landed_ref, refused, task_branch,
};
use crate::git::{BranchName, Oid, RefName, RefUpdate};
use crate::trash::Kind;

impl Workspaces {
    /// Removes what a deleted task left. Uncommitted work is committed first, and the tip of the
    /// branch gets a ref under `refs/orch/rescue/<task>/` unless the target branch contains it.
    /// May be called again; with nothing left it does nothing.
    ///
    /// # Errors
    /// [`WorkspaceError::Unsaved`]: the worktree holds something that is in no commit (a
    /// repository of its own, a file that git refuses) and was kept; everything that could be
    /// committed is. Or git or the disk failed.
    pub fn discard(&self, task: &TaskId, branch: &str) -> Result<()> {
        let branch = task_branch(task, branch)?;
        let _turn = self.turn();
        let path = self.home()?.join(task.as_str());
        match self.find(&path) {
            Ok(Found::Worktree(worktree)) => self.discard_worktree(task, &branch, &worktree)?,
            Ok(Found::Gone(worktree)) => {
                self.rescue_strays(task, &worktree, &mut Vec::new())?;
                self.forget(&path)?;
            }
            Ok(Found::HalfMade(_)) => {
                self.take_away(
                    &path,
                    Kind::Aside,
                    task,
                    "a worktree whose making was cut short",
                )?;
                self.forget(&path)?;
            }
            // What is there is not ours; the branch is.
            Ok(Found::Nothing) | Err(WorkspaceError::PathTaken { .. }) => {}
            Err(error) => return Err(error),
        }
        if let Some(tip) = self.repository.branch_tip(&branch)? {
            self.keep_tip(task, &tip)?;
            self.delete_branch(&branch, &tip)?;
        }
        let landed = landed_ref(task)?;
        if let Some(commit) = self.repository.resolve(&landed)? {
            self.delete_ref(landed, commit)?;
        }
        Ok(())
    }

    fn discard_worktree(
        &self,
        task: &TaskId,
        branch: &BranchName,
        worktree: &Worktree,
    ) -> Result<()> {
        let record = self.record(task, branch, worktree, "Work of a deleted task")?;
        let not_saved: Vec<String> = record
            .left_out
            .into_iter()
            .chain(record.holds)
            .chain(record.unsettled)
            .collect();
        if !not_saved.is_empty() {
            return Err(WorkspaceError::Unsaved {
                path: worktree.path.clone(),
                what: not_saved,
            });
        }
        self.remove_worktree(task, worktree, "its task was deleted")
    }

    /// Removes what a deleted task left, as [`Self::discard`], where nobody knows the name of its
    /// branch any more.
    ///
    /// # Errors
    /// As [`Self::discard`].
    pub fn discard_all_of(&self, task: &TaskId) -> Result<()> {
        let prefix = format!("refs/heads/orch/{task}");
        let branches = self
            .repository
            .refs_under(&"refs/heads/orch".parse::<RefName>()?)?;
        let mut own: Vec<String> = branches
            .iter()
            .filter(|(name, _)| name.as_str().starts_with(&prefix))
            .filter_map(|(name, _)| name.as_str().strip_prefix("refs/heads/"))
            .filter(|branch| task_branch(task, branch).is_ok())
            .map(str::to_owned)
            .collect();
        if own.is_empty() {
            own.push(format!("orch/{task}"));
        }
        own.iter().try_for_each(|branch| self.discard(task, branch))
    }

    /// Takes the worktree of a task that could not be discarded away as it is, with everything it
    /// holds. What is in its commits and no other ref leads to gets a rescue ref before.
    ///
    /// # Errors
    /// There is none that is ours, or git or the disk failed.
    pub fn give_up_worktree(&self, task: &TaskId) -> Result<()> {
        let _turn = self.turn();
        let path = self.home()?.join(task.as_str());
        match self.find(&path)? {
            Found::Worktree(worktree) => {
                self.rescue_strays(task, &worktree, &mut Vec::new())?;
                self.remove_worktree(task, &worktree, "it was given up")
            }
            _ => Err(WorkspaceError::NotRescued(format!("{task}.w"))),
        }
    }

    /// The tasks that have a worktree or a branch here.
    ///
    /// # Errors
    /// The directory could not be read, or git failed.
    pub fn tasks(&self) -> Result<BTreeSet<TaskId>> {
        let home = self.home()?;
        let mut tasks = BTreeSet::new();
        for entry in fs::read_dir(&home).map_err(refused("read", &home))? {
            let entry = entry.map_err(refused("read", &home))?;
            tasks.extend(
                entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse().ok()),
            );
        }
        let branches = self
            .repository
            .refs_under(&"refs/heads/orch".parse::<RefName>()?)?;
        for (name, _) in branches {
            let rest = name
                .as_str()
                .strip_prefix("refs/heads/orch/")
                .unwrap_or_default();
            let task = rest.split('-').next().unwrap_or_default();
            tasks.extend(task.parse::<TaskId>().ok());
        }
        Ok(tasks)
    }

    fn keep_tip(&self, task: &TaskId, tip: &Oid) -> Result<()> {
        let landed = match self.repository.branch_tip(&self.target)? {
            Some(target) => self.repository.is_ancestor(tip, &target)?,
            None => false,
        };
        if !landed {
            self.rescue_always(
                task,
                tip,
                "the branch of a deleted task, which had not landed",
            )?;
        }
        Ok(())
    }

    /// Deletes the branch if it still stands at `tip`, which is reachable otherwise.
    pub(super) fn delete_branch(&self, branch: &BranchName, tip: &Oid) -> Result<()> {
        self.delete_ref(branch.reference(), tip.clone())
    }

    fn delete_ref(&self, name: RefName, value: Oid) -> Result<()> {
        let update = RefUpdate {
            name,
            old: Some(value),
            new: None,
        };
        // Somebody moved it meanwhile: then it is not what may be deleted.
        let _ = self.repository.update_refs(&[update], "no longer needed")?;
        Ok(())
    }

    /// Takes a worktree away of which everything is committed. What git ignores goes with it.
    pub(super) fn remove_worktree(
        &self,
        task: &TaskId,
        worktree: &Worktree,
        why: &str,
    ) -> Result<()> {
        self.take_away(&worktree.path, Kind::Worktree, task, why)?;
        self.forget(&worktree.path)
    }
}
