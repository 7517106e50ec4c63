//! Removing a worktree and its branch, and never anything else.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use orch_core::TaskId;

use super::{
    Found, Result, WorkspaceError, Workspaces, Worktree, landed_ref, refused, task_branch,
};
use crate::git::{BranchName, Oid, RefUpdate};

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
                self.put_aside(&path)?;
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
            .not_saved
            .into_iter()
            .chain(record.unsettled)
            .collect();
        if !not_saved.is_empty() {
            return Err(WorkspaceError::Unsaved {
                path: worktree.path.clone(),
                what: not_saved,
            });
        }
        self.remove_worktree(worktree)
    }

    fn keep_tip(&self, task: &TaskId, tip: &Oid) -> Result<()> {
        let landed = match self.repository.branch_tip(&self.target)? {
            Some(target) => self.repository.is_ancestor(tip, &target)?,
            None => false,
        };
        if !landed {
            self.rescue_always(task, tip)?;
        }
        Ok(())
    }

    /// Deletes the branch if it still stands at `tip`, which is reachable otherwise.
    pub(super) fn delete_branch(&self, branch: &BranchName, tip: &Oid) -> Result<()> {
        self.delete_ref(branch.reference(), tip.clone())
    }

    fn delete_ref(&self, name: crate::git::RefName, value: Oid) -> Result<()> {
        let update = RefUpdate {
            name,
            old: Some(value),
            new: None,
        };
        // Somebody moved it meanwhile: then it is not what may be deleted.
        let _ = self.repository.update_refs(&[update], "no longer needed")?;
        Ok(())
    }

    /// Removes a worktree of which everything is committed.
    pub(super) fn remove_worktree(&self, worktree: &Worktree) -> Result<()> {
        let home = self.home()?;
        let trash = home.join(".trash");
        fs::create_dir_all(&trash).map_err(refused("create", &trash))?;
        let name = worktree.path.file_name().unwrap_or_default();
        let doomed = trash.join(name);
        remove_tree(&doomed).map_err(refused("remove", &doomed))?;
        fs::rename(&worktree.path, &doomed).map_err(refused("remove", &worktree.path))?;
        self.forget(&worktree.path)?;
        remove_tree(&doomed).map_err(refused("remove", &doomed))
    }
}

/// Removes what is in the trash. What cannot be removed stays for the next time.
pub(super) fn sweep(trash: &Path) {
    let Ok(meta) = fs::symlink_metadata(trash) else {
        return;
    };
    if meta.is_dir() {
        let _ = remove_tree(trash);
    }
}

/// Removes a directory and everything in it, following no symbolic link. Directories that an agent
/// made unwritable (module caches are) are opened up first.
fn remove_tree(path: &Path) -> io::Result<()> {
    let removed = match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Makes every directory below `path` writable to its owner.
fn open_up(path: &Path) -> io::Result<()> {
    let mut open = vec![path.to_owned()];
    while let Some(directory) = open.pop() {
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(())
}
