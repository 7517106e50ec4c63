//! Making a task's worktree ready for an agent.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use orch_core::TaskId;

use super::advance::Advance;
use super::{
    BEING_MADE, Found, Result, WorkspaceError, Workspaces, Worktree, patiently, refused, snapshot,
    task_branch,
};
use crate::failpoint::{self, Point};
use crate::git::{BranchName, Oid, RefUpdate};
use crate::trash::Kind;

impl Workspaces {
    /// Makes the worktree of `task` ready and returns its path.
    ///
    /// The first time it is created on a new branch from the tip of the target branch, and the
    /// untracked files that `.worktreeinclude` names are copied into it. Later it is the same
    /// worktree with the work as it was left; if its directory is gone it is made again from the
    /// branch; if the branch has no commits of its own it moves on with the target branch.
    ///
    /// # Errors
    /// The branch is checked out elsewhere, something else is at the path (nothing is touched
    /// then), or git or the disk failed. A worktree whose making was interrupted is made again.
    pub fn prepare(&self, task: &TaskId, branch: &str) -> Result<PathBuf> {
        let branch = task_branch(task, branch)?;
        let _turn = self.turn();
        let path = self.home()?.join(task.as_str());
        let target = self.target_tip()?;
        self.refuse_held(&branch, &path)?;
        match self.find(&path)? {
            Found::Worktree(worktree) => self.reuse(task, &branch, &worktree, &target)?,
            Found::Nothing => self.create(&branch, &path, &target)?,
            Found::Gone(worktree) => {
                self.rescue_strays(task, &worktree, &mut Vec::new())?;
                self.forget(&path)?;
                self.create(&branch, &path, &target)?;
            }
            Found::HalfMade(_) => {
                self.take_away(
                    &path,
                    Kind::Aside,
                    task,
                    "a worktree whose making was cut short",
                )?;
                self.forget(&path)?;
                self.create(&branch, &path, &target)?;
            }
        }
        Ok(path)
    }

    fn refuse_held(&self, branch: &BranchName, path: &Path) -> Result<()> {
        let wanted = branch.reference();
        for listed in self.repository.worktrees()? {
            if listed.path != path && listed.branch.as_deref() == Some(wanted.as_str().as_bytes()) {
                return Err(WorkspaceError::BranchHeld {
                    branch: branch.clone(),
                    holder: listed.path,
                });
            }
        }
        Ok(())
    }

    /// Makes the worktree. It stays locked until it is complete; [`Found::HalfMade`] tells.
    fn create(&self, branch: &BranchName, path: &Path, target: &Oid) -> Result<()> {
        let tip = match self.repository.branch_tip(branch)? {
            None => {
                self.add_worktree(
                    path,
                    &["--no-track", "-b", branch.as_str()],
                    target.as_str(),
                )?;
                target.clone()
            }
            Some(tip) => {
                let tip = self.follow_target_without_files(branch, tip, target)?;
                self.add_worktree(path, &[], branch.as_str())?;
                tip
            }
        };
        failpoint::hit(Point::WorktreeAdded);
        let Found::HalfMade(worktree) = self.find(path)? else {
            return Err(WorkspaceError::Unsettled {
                path: path.to_owned(),
                branch: branch.clone(),
                why: "git made it and does not know it".to_owned(),
            });
        };
        self.fill(&worktree, &tip)?;
        failpoint::hit(Point::WorktreeFilled);
        let mark = worktree.git_dir.join("locked");
        fs::remove_file(&mark).map_err(refused("remove", &mark))
    }

    fn add_worktree(&self, path: &Path, options: &[&str], from: &str) -> Result<()> {
        let head = [
            "worktree",
            "add",
            "--no-checkout",
            "--lock",
            "--reason",
            BEING_MADE,
        ];
        patiently(|| {
            self.repository
                .call(head.iter().chain(options))
                .argument("--")
                .argument(path)
                .argument(from)
        })?;
        Ok(())
    }

    fn fill(&self, worktree: &Worktree, tip: &Oid) -> Result<()> {
        let view = self.view(&self.place_of(worktree))?;
        view.call(["read-tree", "-m", "-u", tip.as_str()])
            .succeed()?;
        snapshot::remember(&worktree.git_dir.join("index"), worktree);
        self.copy_included(&worktree.path)
    }

    /// Moves a branch without commits of its own on to the target, while no checkout has it.
    fn follow_target_without_files(
        &self,
        branch: &BranchName,
        tip: Oid,
        target: &Oid,
    ) -> Result<Oid> {
        if tip == *target || !self.repository.is_ancestor(&tip, target)? {
            return Ok(tip);
        }
        match self.move_branch(branch, Some(&tip), target)? {
            Ok(()) => Ok(target.clone()),
            Err(_) => Ok(tip),
        }
    }

    pub(super) fn move_branch(
        &self,
        branch: &BranchName,
        old: Option<&Oid>,
        new: &Oid,
    ) -> Result<std::result::Result<(), crate::git::Moved>> {
        let update = RefUpdate {
            name: branch.reference(),
            old: old.cloned(),
            new: Some(new.clone()),
        };
        Ok(self.repository.update_refs(&[update], "work of an agent")?)
    }

    fn reuse(
        &self,
        task: &TaskId,
        branch: &BranchName,
        worktree: &Worktree,
        target: &Oid,
    ) -> Result<()> {
        self.mend_link(task, worktree)?;
        if !self.stands_on(worktree, branch)? {
            let record = self.record(task, branch, worktree, "Work that was left uncommitted")?;
            if let Some(why) = record.unsettled {
                return Err(WorkspaceError::Unsettled {
                    path: worktree.path.clone(),
                    branch: branch.clone(),
                    why,
                });
            }
        }
        match self.repository.branch_tip(branch)? {
            Some(tip) if tip != *target && self.repository.is_ancestor(&tip, target)? => {
                self.follow_target(branch, worktree, &tip, target)
            }
            _ => Ok(()),
        }
    }

    /// Moves a branch without commits of its own on to the target, files first: a crash in between
    /// leaves the target's own changes uncommitted, which the next call completes. Files that were
    /// changed here keep it where it is.
    fn follow_target(
        &self,
        branch: &BranchName,
        worktree: &Worktree,
        tip: &Oid,
        target: &Oid,
    ) -> Result<()> {
        let view = self.view(&self.place_of(worktree))?;
        let advance = Advance {
            view: &view,
            work_tree: &worktree.path,
            index: None,
            from: tip,
            to: target,
        };
        advance.refresh()?;
        if !advance.untracked_in_the_way()?.is_empty() || advance.perform().is_err() {
            return Ok(());
        }
        snapshot::remember(&worktree.git_dir.join("index"), worktree);
        // Only this task's agent moves its branch, and no agent runs while it is prepared.
        if self.move_branch(branch, Some(tip), target)?.is_err() {
            Advance {
                from: target,
                to: tip,
                ..advance
            }
            .perform()?;
        }
        Ok(())
    }

    /// Makes `.git` of the worktree lead where it should, whatever an agent made of it.
    fn mend_link(&self, task: &TaskId, worktree: &Worktree) -> Result<()> {
        let link = worktree.path.join(".git");
        let wanted = [b"gitdir: ", worktree.git_dir.as_os_str().as_bytes(), b"\n"].concat();
        match fs::symlink_metadata(&link) {
            Ok(meta) if meta.is_file() && fs::read(&link).is_ok_and(|text| text == wanted) => {
                return Ok(());
            }
            Ok(_) => {
                let why = "something else stood where git keeps the worktree's link";
                self.take_away(&link, Kind::Aside, task, why)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refused("look at", &link)(error)),
        }
        fs::write(&link, wanted).map_err(refused("write", &link))
    }
}
