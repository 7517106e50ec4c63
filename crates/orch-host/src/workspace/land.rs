//! Putting a task's work on the target branch.
//!
//! The work always arrives as a merge commit, also where the branch could simply be moved forward:
//! the target's first-parent history then reads one commit per task, with the task's title, id and
//! branch in it.
//!
//! **Order, and what a crash leaves.** The merge is computed without a checkout. The target ref
//! (and `refs/orch/landed/<task>` with it) is locked and its value checked; then each checkout that
//! stands on the target branch is brought along; then the ref is moved. Until the last step nothing
//! counts as landed. A crash after a checkout was brought along leaves the work staged there and
//! nothing else changed; landing again finds these files as they should be and completes it. A
//! checkout is only touched when git finds that no local change would be overwritten.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use orch_core::TaskId;
use orch_core::engine::Landing;

use super::advance::Advance;
use super::save::commit_tree;
use super::{
    Cramped, Found, Result, WorkspaceError, Workspaces, Worktree, landed_ref, room, shown,
    snapshot, task_branch,
};
use crate::failpoint::{self, Point};
use crate::git::{BranchName, GitError, Oid, Place, RefUpdate, View, one_line, split_nul};

/// How often a landing begins again because the target branch moved meanwhile.
const TRIES: u32 = 10;

/// A checkout of the target branch.
struct Holder {
    path: PathBuf,
    view: View,
}

enum Merge {
    Clean(Oid),
    Conflict(Vec<String>),
    Impossible(String),
}

impl Workspaces {
    /// Merges the branch of `task` into the target branch, then removes worktree and branch if
    /// everything in them is landed.
    ///
    /// Where there is nothing to land and the worktree holds work that is in no commit, that is
    /// [`Landing::Blocked`]. A branch that was landed before is [`Landing::Landed`] with the commit
    /// that carries it; one
    /// without commits of its own is landed without a commit. What stands in the way is
    /// [`Landing::Blocked`], and then nothing was changed.
    ///
    /// # Errors
    /// Git or the disk failed, or there is no target branch. Landing again is safe.
    pub fn land(&self, task: &TaskId, branch: &str, message: &str) -> Result<Landing> {
        let branch = task_branch(task, branch)?;
        let _turn = self.turn();
        for attempt in 1..=TRIES {
            if let Some(landing) = self.try_land(task, &branch, message)? {
                return Ok(landing);
            }
            thread::sleep(Duration::from_millis(20) * attempt);
        }
        Ok(blocked(
            format!(
                "branch '{}' was moved by others each of {TRIES} times that landing was tried; \
                 nothing was changed",
                self.target
            ),
            Vec::new(),
        ))
    }

    /// One attempt; `None` when the target branch moved meanwhile.
    fn try_land(
        &self,
        task: &TaskId,
        branch: &BranchName,
        message: &str,
    ) -> Result<Option<Landing>> {
        let target = self.target_tip()?;
        let Some(tip) = self.repository.branch_tip(branch)? else {
            let commit = self.landed_before(task, &target)?;
            return self.unless_work_is_left(task, &target, commit).map(Some);
        };
        if self.repository.is_ancestor(&tip, &target)? {
            let commit = self.already_landed(task, &tip, &target)?;
            if commit.is_none() {
                let landing = self.unless_work_is_left(task, &tip, None)?;
                if matches!(landing, Landing::Blocked { .. }) {
                    return Ok(Some(landing));
                }
            }
            self.clean_up(task, branch, &tip);
            return Ok(Some(Landing::Landed { commit }));
        }
        let tree = match self.merge(&target, &tip)? {
            Merge::Clean(tree) => tree,
            Merge::Conflict(files) => return self.conflict(task, branch, files).map(Some),
            Merge::Impossible(why) => return Ok(Some(blocked(why, Vec::new()))),
        };
        let message = landing_message(task, branch, message);
        let view = self.view(&self.repository.place())?;
        let commit = commit_tree(&view, &tree, &[target.clone(), tip.clone()], &message)?;
        let landing = self.publish(task, &target, &commit)?;
        if matches!(landing, Some(Landing::Landed { .. })) {
            self.clean_up(task, branch, &tip);
        }
        Ok(landing)
    }

    fn conflict(&self, task: &TaskId, branch: &BranchName, files: Vec<String>) -> Result<Landing> {
        let (target, path) = (&self.target, self.home()?.join(task.as_str()));
        let message = format!(
            "branch '{branch}' conflicts with '{target}', and nothing was changed; merge \
             '{target}' into it in {}",
            path.display()
        );
        Ok(blocked(message, files))
    }

    /// The landing of a branch that holds nothing new. It is none while all of the task's work lies
    /// uncommitted in its worktree: then the task would be done without any of it.
    fn unless_work_is_left(
        &self,
        task: &TaskId,
        base: &Oid,
        commit: Option<String>,
    ) -> Result<Landing> {
        let path = self.home()?.join(task.as_str());
        let left = match self.find(&path) {
            _ if commit.is_some() => Vec::new(),
            Ok(Found::Worktree(worktree)) => self.left_in(&worktree, base)?,
            // What is there is not ours to look at.
            Ok(_) | Err(WorkspaceError::PathTaken { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        if left.is_empty() {
            return Ok(Landing::Landed { commit });
        }
        let message = format!(
            "there is nothing to land, and what is in no commit lies in {}; commit it there or \
             move it away",
            path.display()
        );
        Ok(blocked(message, left))
    }

    /// What lies in a worktree and in no commit. `base` is for a worktree without one.
    fn left_in(&self, worktree: &Worktree, base: &Oid) -> Result<Vec<String>> {
        let head = self.repository.head_of(&worktree.git_dir);
        let base = head.unwrap_or_default().unwrap_or_else(|| base.clone());
        let view = self.view(&self.place_of(worktree))?;
        let found = snapshot::take(&view, worktree, &base)?;
        let changed = self.repository.changed_paths(&base, &found.tree)?;
        let changed = changed.iter().map(|path| shown(path));
        Ok(changed.chain(found.left_out).collect())
    }

    /// The commit that carried this task, if it is still on the target branch.
    fn landed_before(&self, task: &TaskId, target: &Oid) -> Result<Option<String>> {
        match self.repository.resolve(&landed_ref(task)?)? {
            Some(commit) if self.repository.is_ancestor(&commit, target)? => {
                Ok(Some(commit.to_string()))
            }
            _ => Ok(None),
        }
    }

    /// The commit that carries a branch which the target branch contains: what landed it, or its
    /// tip when somebody else merged it, or nothing when it never had a commit of its own.
    fn already_landed(&self, task: &TaskId, tip: &Oid, target: &Oid) -> Result<Option<String>> {
        if let Some(commit) = self.landed_before(task, target)? {
            return Ok(Some(commit));
        }
        let is_a_base = self.repository.is_on_first_parents(tip, target)?;
        Ok((!is_a_base).then(|| tip.to_string()))
    }

    /// Merges two commits without touching any file or index.
    fn merge(&self, target: &Oid, tip: &Oid) -> Result<Merge> {
        let view = self.view(&self.repository.place())?;
        let output = view
            .call([
                "merge-tree",
                "--write-tree",
                "-z",
                "--name-only",
                "--no-messages",
            ])
            .argument(target.as_str())
            .argument(tip.as_str())
            .variable("GIT_ATTR_SOURCE", target.as_str())
            .run()?;
        let fields = split_nul(&output.stdout);
        match (output.status.code(), fields.split_first()) {
            (Some(0), Some((tree, _))) => Ok(Merge::Clean(shown(tree).parse::<Oid>()?)),
            (Some(1), Some((_, files))) => {
                let files: BTreeSet<String> = files.iter().map(|file| shown(file)).collect();
                Ok(Merge::Conflict(files.into_iter().collect()))
            }
            _ => match output.failure() {
                error if error.stderr().contains("unrelated histories") => {
                    Ok(Merge::Impossible(format!(
                        "the branch has no history in common with '{}'; nothing was changed",
                        self.target
                    )))
                }
                error => Err(error.into()),
            },
        }
    }

    /// Moves the target branch from `old` to `new` and every checkout of it along.
    fn publish(&self, task: &TaskId, old: &Oid, new: &Oid) -> Result<Option<Landing>> {
        let holders = self.holders()?;
        for holder in &holders {
            if let Some(landing) = self.obstacle(holder, old, new)? {
                return Ok(Some(landing));
            }
        }
        for holder in &holders {
            let needed = holder.advance(old, new).room_needed()?;
            if let Some(cramped) = room::cramped(&holder.path, needed) {
                return Ok(Some(self.no_room(holder, &cramped)));
            }
        }
        let landed = landed_ref(task)?;
        let updates = [
            RefUpdate {
                name: self.target.reference(),
                old: Some(old.clone()),
                new: Some(new.clone()),
            },
            RefUpdate {
                old: self.repository.resolve(&landed)?,
                new: Some(new.clone()),
                name: landed,
            },
        ];
        let why = format!("landed {task}");
        let Ok(prepared) = self.repository.prepare_refs(&updates, &why)? else {
            return Ok(None);
        };
        failpoint::hit(Point::LandingPrepared);
        let mut moved = Vec::new();
        for holder in &holders {
            if let Err(error) = holder.advance(old, new).perform() {
                undo(&moved, old, new)?;
                return self.stopped(holder, old, new, &error).map(Some);
            }
            moved.push(holder);
        }
        failpoint::hit(Point::LandingFiles);
        if let Err(error) = prepared.commit() {
            // The answer may be lost although the ref was moved; only then the files are right.
            if self.repository.branch_tip(&self.target)?.as_ref() != Some(new) {
                undo(&moved, old, new)?;
                return Err(error.into());
            }
        }
        failpoint::hit(Point::LandingMoved);
        Ok(Some(Landing::Landed {
            commit: Some(new.to_string()),
        }))
    }

    /// The checkouts whose files must follow the target branch.
    fn holders(&self) -> Result<Vec<Holder>> {
        let target = self.target.reference();
        let mut holders = Vec::new();
        for listed in self.repository.worktrees()? {
            let stands_on_target = listed.branch.as_deref() == Some(target.as_str().as_bytes());
            if !stands_on_target || !listed.path.is_dir() {
                continue;
            }
            if let Some(git_dir) = self.repository.git_dir_of(&listed.path) {
                let place = self.repository.checkout(&git_dir, &listed.path);
                holders.push(self.holder(&place, listed.path)?);
            }
        }
        Ok(holders)
    }

    fn holder(&self, place: &Place, path: PathBuf) -> Result<Holder> {
        Ok(Holder {
            path,
            view: self.view(place)?,
        })
    }

    /// What keeps a checkout from following, if anything does. Changes no file.
    fn obstacle(&self, holder: &Holder, old: &Oid, new: &Oid) -> Result<Option<Landing>> {
        let advance = holder.advance(old, new);
        advance.refresh()?;
        let untracked = advance.untracked_in_the_way()?;
        let refusal = match advance.rehearse() {
            Ok(()) if untracked.is_empty() => return Ok(None),
            Ok(()) => String::new(),
            Err(error @ GitError::Failed { .. }) => error.stderr().to_owned(),
            Err(error) => return Err(error.into()),
        };
        let mut files = self.local_changes(holder, old, new)?;
        files.extend(untracked);
        files.sort();
        files.dedup();
        Ok(Some(self.not_brought_along(holder, &refusal, files)))
    }

    fn not_brought_along(&self, holder: &Holder, refusal: &str, files: Vec<String>) -> Landing {
        let (why, mend) = match lock_in_the_way(refusal) {
            _ if !files.is_empty() => (
                "it has changes of its own there".to_owned(),
                "commit or stash them there".to_owned(),
            ),
            Some(lock) => (
                format!("git is at work there, or has left its lock {lock} behind"),
                "remove it once no git runs there".to_owned(),
            ),
            None => (
                format!("git cannot update it ({})", one_line(refusal)),
                "see what 'git status' says there".to_owned(),
            ),
        };
        let message = format!(
            "'{}' is checked out in {} and {why}; nothing was changed; {mend}",
            self.target,
            holder.path.display()
        );
        blocked(message, files)
    }

    fn no_room(&self, holder: &Holder, cramped: &Cramped) -> Landing {
        let message = format!(
            "'{}' is checked out in {} and there is too little room to update it: {cramped}; make \
             room and approve again; nothing was changed",
            self.target,
            holder.path.display()
        );
        blocked(message, Vec::new())
    }

    /// A checkout that was not brought along though nothing stood in the way a moment before: all
    /// is as it was if somebody was faster, and some files are not if git could not go on. What
    /// differs may be a person's by now, so it is named and left.
    fn stopped(&self, holder: &Holder, old: &Oid, new: &Oid, error: &GitError) -> Result<Landing> {
        let mut files = self.local_changes(holder, old, new)?;
        files.extend(holder.advance(old, new).untracked_in_the_way()?);
        if files.is_empty() {
            return Ok(self.not_brought_along(holder, error.stderr(), files));
        }
        let message = format!(
            "'{}' is checked out in {} and git did not get through with updating it ({}): the files \
             that are named differ from the branch, and some may be half written; mend what is said, \
             put them out of the way there ('git stash --include-untracked'), and approve again",
            self.target,
            holder.path.display(),
            error.stderr(),
        );
        Ok(blocked(message, files))
    }

    /// The tracked files that `new` changes and that are changed in the checkout.
    fn local_changes(&self, holder: &Holder, old: &Oid, new: &Oid) -> Result<Vec<String>> {
        let diff = |options: &[&str]| {
            let all = [
                "diff-index",
                "-z",
                "--name-only",
                "--no-ext-diff",
                "--no-textconv",
            ];
            let call = holder.view.call(all.iter().chain(options));
            call.argument("--ignore-submodules=dirty")
                .argument(old.as_str())
                .succeed()
        };
        let mut changed: BTreeSet<Vec<u8>> = split_nul(&diff(&[])?.stdout).into_iter().collect();
        changed.extend(split_nul(&diff(&["--cached"])?.stdout));
        let touched = self.repository.changed_paths(old, new)?;
        let in_the_way = touched.iter().filter(|path| changed.contains(*path));
        Ok(in_the_way.map(|path| shown(path)).collect())
    }

    /// Removes worktree and branch if nothing in them is only there. What fails stays for a later
    /// call: the work has landed, and nothing that happens here changes that.
    fn clean_up(&self, task: &TaskId, branch: &BranchName, tip: &Oid) {
        let _ = self.try_clean_up(task, branch, tip);
        failpoint::hit(Point::LandingCleaned);
    }

    fn try_clean_up(&self, task: &TaskId, branch: &BranchName, tip: &Oid) -> Result<()> {
        let path = self.home()?.join(task.as_str());
        match self.find(&path)? {
            Found::Nothing => {}
            Found::Gone(_) => self.forget(&path)?,
            Found::HalfMade(_) => return Ok(()),
            Found::Worktree(worktree) => {
                if !self.stands_on(&worktree, branch)? {
                    return Ok(());
                }
                let view = self.view(&self.place_of(&worktree))?;
                let found = snapshot::take(&view, &worktree, tip)?;
                let clean = found.left_out.is_empty()
                    && found.holds.is_empty()
                    && found.tree == self.repository.tree_of(tip)?;
                if !clean {
                    return Ok(());
                }
                self.remove_worktree(task, &worktree, "its work has landed")?;
            }
        }
        self.delete_branch(branch, tip)
    }
}

impl Holder {
    fn advance<'a>(&'a self, from: &'a Oid, to: &'a Oid) -> Advance<'a> {
        Advance {
            view: &self.view,
            work_tree: &self.path,
            index: None,
            from,
            to,
        }
    }
}

/// The lock that git could not take, from what it said.
fn lock_in_the_way(refusal: &str) -> Option<&str> {
    let (_, said) = refusal.split_once("Unable to create '")?;
    let (lock, why) = said.split_once("': ")?;
    (lock.ends_with(".lock") && why.starts_with("File exists")).then_some(lock)
}

/// Takes checkouts back after the ref could not be moved.
fn undo(moved: &[&Holder], old: &Oid, new: &Oid) -> Result<()> {
    for holder in moved {
        holder.advance(new, old).perform()?;
    }
    Ok(())
}

fn blocked(message: String, files: Vec<String>) -> Landing {
    Landing::Blocked { message, files }
}

/// The message of a merge commit: the words, then what ties it to its task.
fn landing_message(task: &TaskId, branch: &BranchName, message: &str) -> String {
    let words = match message.trim() {
        "" => "Work of an agent",
        words => words,
    };
    format!("{words}\n\nOrch-Task: {task}\nOrch-Branch: {branch}")
}
