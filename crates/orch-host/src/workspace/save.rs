//! Committing what an agent left.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use orch_core::TaskId;

use super::advance::{Advance, added_paths};
use super::count::BY_ORCH;
use super::snapshot::{self, Snapshot};
use super::{
    Cramped, Found, Result, WorkspaceError, Workspaces, Worktree, patiently, refused, room,
    task_branch,
};
use crate::failpoint::{self, Point};
use crate::git::{BranchName, GitError, Oid, View};

/// Files that say that git is in the middle of something, in the directory of a checkout.
const UNFINISHED: &[&str] = &[
    "MERGE_HEAD",
    "MERGE_MSG",
    "MERGE_MODE",
    "MERGE_AUTOSTASH",
    "AUTO_MERGE",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "REBASE_HEAD",
    "SQUASH_MSG",
    "rebase-merge",
    "rebase-apply",
    "sequencer",
    "BISECT_LOG",
    "BISECT_START",
    "BISECT_TERMS",
    "BISECT_NAMES",
    "BISECT_EXPECTED_REV",
];

/// Names that lead to commits which may be nowhere else.
const STRAY_NAMES: &[&str] = &[
    "HEAD",
    "MERGE_HEAD",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "REBASE_HEAD",
];

/// Files with the name of such a commit.
const STRAY_FILES: &[&str] = &[
    "MERGE_AUTOSTASH",
    "rebase-merge/autostash",
    "rebase-merge/orig-head",
    "rebase-merge/stopped-sha",
    "rebase-apply/autostash",
    "rebase-apply/orig-head",
];

/// Most commits that were left behind and get a ref each.
const EACH_ITS_OWN: usize = 16;

/// Who commits when the user has not said who they are.
const IDENTITY: (&str, &str) = ("orch", "orch@localhost");

/// What a commit is called that nobody named.
const UNNAMED: &str = "Work of an agent";

/// What a task's branch carries after its worktree was saved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Saved {
    /// The tip of the branch; `None` when it has no commits of its own.
    pub commit: Option<String>,
    /// Commits since it parted from the target branch.
    pub commits: u64,
    /// Those of them that the agent made itself.
    pub own_commits: u64,
    /// Files that differ from where it parted.
    pub files_changed: u64,
    /// What a person should know: work that is not on the branch and where it is.
    pub warnings: Vec<String>,
    /// What is in no commit and still lies in the worktree, in words.
    pub left: Vec<String>,
}

/// What came of recording the state of a worktree.
pub(super) struct Record {
    pub(super) warnings: Vec<String>,
    /// What is in no commit, in words.
    pub(super) left_out: Vec<String>,
    /// Repositories inside it whose commits are nowhere else, in words.
    pub(super) holds: Vec<String>,
    /// Why the worktree does not stand on its branch with everything committed, if so.
    pub(super) unsettled: Option<String>,
}

impl Workspaces {
    /// Commits everything uncommitted in the worktree of `task` to its branch.
    ///
    /// The author is the user as git knows them, or `orch`. A commit that the branch cannot take
    /// (the agent worked on another history) goes to `refs/orch/rescue/<task>/<n>` and is named in
    /// the warnings; so is every file that could not be committed. Call it when no process of
    /// the agent is left. With nothing to commit it only counts.
    ///
    /// # Errors
    /// [`WorkspaceError::NotKept`]: the repository takes nothing new, so that the same again can
    /// succeed once it does. Or git or the disk failed. What was not committed is still in the
    /// worktree.
    pub fn save(&self, task: &TaskId, branch: &str, message: &str) -> Result<Saved> {
        let saved = self.try_save(task, branch, message);
        saved.map_err(|error| match error {
            WorkspaceError::Git(error) if error.is_refusal_to_keep() || !self.keeps_objects() => {
                WorkspaceError::NotKept(Box::new(error.into()))
            }
            error => error,
        })
    }

    /// Whether there is too little room for [`Workspaces::save`] to commit all that is uncommitted
    /// in the worktree of `task`: at most what its files take. What cannot be measured counts as
    /// nothing. Writes nothing that stays.
    #[must_use]
    pub fn cramped(&self, task: &TaskId, branch: &str) -> Option<Cramped> {
        let bytes = self.room_needed(task, branch).unwrap_or(0);
        room::cramped(&self.repository.common_dir().join("objects"), bytes)
    }

    /// Bytes that the uncommitted files of a worktree may take in the repository.
    fn room_needed(&self, task: &TaskId, branch: &str) -> Result<u64> {
        let branch = task_branch(task, branch)?;
        let path = self.home()?.join(task.as_str());
        let Found::Worktree(worktree) = self.find(&path)? else {
            return Ok(0);
        };
        let view = self.view(&self.place_of(&worktree))?;
        let tip = self.repository.branch_tip(&branch)?;
        let base = self.base(&worktree, tip.as_ref())?;
        snapshot::room_needed(&view, &worktree, &base)
    }

    /// Whether the repository takes an object that it does not have yet.
    fn keeps_objects(&self) -> bool {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let new = format!(
            "orch asks whether this can be kept: {} {} {:?}\n",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed),
            SystemTime::now()
        );
        let call = self.repository.call(["hash-object", "-w", "--stdin"]);
        call.input(new).succeed().is_ok()
    }

    fn try_save(&self, task: &TaskId, branch: &str, message: &str) -> Result<Saved> {
        let branch = task_branch(task, branch)?;
        let path = self.home()?.join(task.as_str());
        let mut saved = Saved::default();
        if let Found::Worktree(worktree) = self.find(&path)? {
            let record = self.record(task, &branch, &worktree, message)?;
            (saved.warnings, saved.left) = (record.warnings, record.left_out);
        }
        self.count(&branch, &mut saved)?;
        Ok(saved)
    }

    /// The name and the address that commits are made with here: the user's as git knows them, or
    /// orch's own.
    ///
    /// # Errors
    /// Git failed.
    pub fn identity(&self) -> Result<(String, String)> {
        let (name, email) = IDENTITY;
        let own = || (name.to_owned(), email.to_owned());
        Ok(self.repository.identity()?.unwrap_or_else(own))
    }

    fn count(&self, branch: &BranchName, saved: &mut Saved) -> Result<()> {
        let (tip, commits, changes) = self.whole(branch)?;
        saved.commit = tip.map(|tip| tip.to_string());
        saved.commits = commits;
        saved.own_commits = changes.commits;
        saved.files_changed = changes.files;
        Ok(())
    }

    pub(super) fn empty_tree(&self) -> Result<Oid> {
        let call = self
            .repository
            .call(["hash-object", "-w", "-t", "tree", "--stdin"]);
        Ok(call.input(Vec::new()).line()?.parse::<Oid>()?)
    }

    /// Whether `HEAD` is the branch and git is not in the middle of anything.
    pub(super) fn stands_on(&self, worktree: &Worktree, branch: &BranchName) -> Result<bool> {
        let head = self.repository.head_ref(&worktree.git_dir)?;
        let busy = UNFINISHED
            .iter()
            .chain(&["index.lock"])
            .any(|name| fs::symlink_metadata(worktree.git_dir.join(name)).is_ok());
        Ok(!busy
            && head.as_deref() == Some(branch.reference().as_str())
            && self.repository.branch_tip(branch)?.is_some())
    }

    /// Commits what is uncommitted, makes every commit reachable and puts the worktree back on its
    /// branch. Commits and refs come first, so a crash leaves only the last step to be repeated.
    pub(super) fn record(
        &self,
        task: &TaskId,
        branch: &BranchName,
        worktree: &Worktree,
        message: &str,
    ) -> Result<Record> {
        let view = self.view(&self.place_of(worktree))?;
        let tip = self.repository.branch_tip(branch)?;
        let base = self.base(worktree, tip.as_ref())?;
        let snapshot = snapshot::take(&view, worktree, &base)?;
        let mut warnings: Vec<String> = snapshot
            .left_out
            .iter()
            .map(|what| format!("not committed: {what}"))
            .collect();
        let commit = self.commit(&view, worktree, &snapshot, &base, message)?;
        failpoint::hit(Point::WorkWritten);
        let on_branch =
            self.take_over(task, branch, tip.as_ref(), &base, &commit, &mut warnings)?;
        self.rescue_staged(task, &view, worktree, &snapshot, &base, &mut warnings)?;
        self.rescue_strays(task, worktree, &mut warnings)?;
        let standing = self.stands_on(worktree, branch)? && commit == base;
        let unsettled = if standing {
            None
        } else {
            settle(&view, worktree, branch, &snapshot, &commit, &on_branch).err()
        };
        warnings.extend(unsettled.iter().cloned());
        Ok(Record {
            warnings,
            left_out: snapshot.left_out,
            holds: snapshot.holds,
            unsettled,
        })
    }

    /// The commit that the files of a worktree are compared with.
    fn base(&self, worktree: &Worktree, tip: Option<&Oid>) -> Result<Oid> {
        // A HEAD that git cannot read holds nothing that could be lost.
        let head = self
            .repository
            .head_of(&worktree.git_dir)
            .unwrap_or_default();
        match head.as_ref().or(tip) {
            Some(base) => Ok(base.clone()),
            None => self.target_tip(),
        }
    }

    /// The commit that holds the snapshot: `base` itself when nothing was uncommitted.
    fn commit(
        &self,
        view: &View,
        worktree: &Worktree,
        snapshot: &Snapshot,
        base: &Oid,
        message: &str,
    ) -> Result<Oid> {
        let merged = self.merge_that_is_done(view, worktree)?;
        if merged.is_none() && self.repository.tree_of(base)? == snapshot.tree {
            return Ok(base.clone());
        }
        let mut parents = vec![base.clone()];
        parents.extend(merged.filter(|merged| merged != base));
        let message = match message.trim() {
            "" => format!("{UNNAMED}\n\n{BY_ORCH}"),
            words => format!("{words}\n\n{BY_ORCH}"),
        };
        Ok(commit_tree(view, &snapshot.tree, &parents, &message)?)
    }

    /// The other side of a merge in progress that has no conflict left.
    fn merge_that_is_done(&self, view: &View, worktree: &Worktree) -> Result<Option<Oid>> {
        let merged = self
            .repository
            .commit_named(&worktree.git_dir, "MERGE_HEAD")
            .unwrap_or_default();
        if merged.is_none() {
            return Ok(None);
        }
        let copy = view.scratch("merge-index");
        if snapshot::copy_with_time(&worktree.git_dir.join("index"), &copy).is_err() {
            return Ok(None);
        }
        let unmerged = view
            .call(["ls-files", "-z", "--unmerged"])
            .index(&copy)
            .run()?;
        let done = unmerged.status.success() && unmerged.stdout.is_empty();
        Ok(merged.filter(|_| done))
    }

    /// Moves the branch to `commit` if that loses nothing, else gives `commit` a rescue ref.
    /// Returns where the branch then stands.
    fn take_over(
        &self,
        task: &TaskId,
        branch: &BranchName,
        tip: Option<&Oid>,
        base: &Oid,
        commit: &Oid,
        warnings: &mut Vec<String>,
    ) -> Result<Oid> {
        let follows = match tip {
            None => true,
            Some(tip) => tip == base || self.repository.is_ancestor(tip, base)?,
        };
        if follows && tip == Some(commit) {
            return Ok(commit.clone());
        }
        if follows && self.move_branch(branch, tip, commit)?.is_ok() {
            failpoint::hit(Point::WorkOnBranch);
            if tip != Some(base) {
                warnings.push(format!(
                    "the agent had left branch {branch}; the commits it made elsewhere were added to it"
                ));
            }
            return Ok(commit.clone());
        }
        let why = "work that is not based on the task's branch";
        if let Some(name) = self.rescue(task, commit, why)? {
            warnings.push(format!(
                "the agent left work that is not based on branch {branch}; it is kept in {name}"
            ));
        }
        Ok(tip.unwrap_or(base).clone())
    }

    /// Keeps files that were staged and are gone from disk.
    fn rescue_staged(
        &self,
        task: &TaskId,
        view: &View,
        worktree: &Worktree,
        snapshot: &Snapshot,
        base: &Oid,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let copy = view.scratch("staged-index");
        if snapshot::copy_with_time(&worktree.git_dir.join("index"), &copy).is_err() {
            return Ok(());
        }
        let written = view.call(["write-tree"]).index(&copy).run()?;
        if !written.status.success() {
            return Ok(());
        }
        let staged = written.line()?.parse::<Oid>()?;
        let only_staged = added_paths(view, &snapshot.tree, &staged)?;
        let since_base = added_paths(view, base, &staged)?;
        if only_staged.iter().any(|path| since_base.contains(path)) {
            let words = "Files that were staged and deleted";
            let commit = commit_tree(view, &staged, std::slice::from_ref(base), words)?;
            if let Some(name) = self.rescue(task, &commit, words)? {
                warnings.push(format!(
                    "files were staged and then deleted from disk; they are kept in {name}"
                ));
            }
        }
        Ok(())
    }

    /// Gives a ref to every commit that only this worktree leads to.
    pub(super) fn rescue_strays(
        &self,
        task: &TaskId,
        worktree: &Worktree,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let git_dir = &worktree.git_dir;
        let named = STRAY_NAMES.iter().filter_map(|name| {
            self.repository
                .commit_named(git_dir, name)
                .unwrap_or_default()
        });
        let filed = STRAY_FILES.iter().filter_map(|name| {
            let text = fs::read_to_string(git_dir.join(name)).ok()?;
            text.trim().parse::<Oid>().ok()
        });
        let strays: Vec<Oid> = named.chain(filed).collect();
        for stray in strays {
            if self.repository.has_commit(&stray)?
                && let Some(name) = self.rescue(task, &stray, "a commit that no branch led to")?
            {
                warnings.push(format!("a commit that no branch led to is kept in {name}"));
            }
        }
        self.rescue_left_behind(task, worktree, warnings)
    }

    /// Gives a ref to what the agent committed and then amended, reset away or left. Few get one
    /// each; many share one, so that a rebase of hundreds does not fill the list of refs.
    fn rescue_left_behind(
        &self,
        task: &TaskId,
        worktree: &Worktree,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let left = self.left_in_reflog(worktree)?;
        let (Some(newest), count) = (left.first(), left.len()) else {
            return Ok(());
        };
        let why = "commits that the agent made and then amended, reset or left";
        if count > EACH_ITS_OWN {
            let view = self.view(&self.place_of(worktree))?;
            let tree = self.repository.tree_of(newest)?;
            let together = commit_tree(&view, &tree, &left, why)?;
            self.rescue(task, &together, why)?;
        } else {
            for commit in &left {
                self.rescue(task, commit, why)?;
            }
        }
        warnings.push(format!(
            "the agent left {count} commits behind ({why}); 'orch rescue list' shows them"
        ));
        Ok(())
    }
}

/// Writes a commit.
pub(super) fn commit_tree(
    view: &View,
    tree: &Oid,
    parents: &[Oid],
    message: &str,
) -> std::result::Result<Oid, GitError> {
    let mut call = view.call(["commit-tree", tree.as_str()]);
    for parent in parents {
        call = call.argument("-p").argument(parent.as_str());
    }
    if !has_identity(view)? {
        let (name, email) = IDENTITY;
        for (variable, value) in [
            ("GIT_AUTHOR_NAME", name),
            ("GIT_AUTHOR_EMAIL", email),
            ("GIT_COMMITTER_NAME", name),
            ("GIT_COMMITTER_EMAIL", email),
        ] {
            call = call.variable(variable, value);
        }
    }
    // Git takes no NUL in a message and makes nothing of an empty one.
    let message = match message.trim() {
        "" => UNNAMED.to_owned(),
        words => words.replace('\0', "\u{fffd}"),
    };
    Ok(call.input(format!("{message}\n")).line()?.parse()?)
}

/// Whether the user told git who they are.
fn has_identity(view: &View) -> std::result::Result<bool, GitError> {
    for key in ["user.name", "user.email"] {
        let output = view.call(["config", "--get", key]).run()?;
        if !output.status.success() || output.stdout.trim_ascii().is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Puts a worktree whose files are all in `commit` back on its branch, which stands at `tip`.
/// Says in words what stood in the way.
fn settle(
    view: &View,
    worktree: &Worktree,
    branch: &BranchName,
    snapshot: &Snapshot,
    commit: &Oid,
    tip: &Oid,
) -> std::result::Result<(), String> {
    let words = |error: &dyn std::error::Error| {
        format!("the worktree could not be put back on branch {branch}: {error}")
    };
    if let Some(pid) = git_at_work_in(&worktree.path) {
        return Err(format!(
            "git process {pid} still works in {}; it was left as it is",
            worktree.path.display()
        ));
    }
    if commit != tip {
        let advance = Advance {
            view,
            work_tree: &worktree.path,
            index: Some(&snapshot.index),
            from: commit,
            to: tip,
        };
        let untracked = advance
            .untracked_in_the_way()
            .map_err(|error| words(&error))?;
        if !untracked.is_empty() {
            return Err(format!(
                "the worktree could not be put back on branch {branch}: {} would be overwritten",
                untracked.join(", ")
            ));
        }
        advance.perform().map_err(|error| words(&error))?;
    }
    install(&snapshot.index, worktree).map_err(|error| words(&error))?;
    let reference = branch.reference();
    patiently(|| {
        view.call(["symbolic-ref", "-m", "orch: back on its branch", "HEAD"])
            .argument(reference.as_str())
    })
    .map_err(|error| words(&error))?;
    for name in UNFINISHED {
        clear(&worktree.git_dir.join(name)).map_err(|error| words(&error))?;
    }
    snapshot::remember(&snapshot.index, worktree);
    Ok(())
}

/// Replaces the index of a worktree that no process works in. A lock there is a dead one's.
fn install(index: &Path, worktree: &Worktree) -> Result<()> {
    let lock = worktree.git_dir.join("index.lock");
    snapshot::copy_with_time(index, &lock).map_err(refused("write", &lock))?;
    let place = worktree.git_dir.join("index");
    fs::rename(&lock, &place).map_err(refused("replace", &place))
}

fn clear(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(refused("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// A process of git whose directory is in `path`, where the system tells (Linux).
fn git_at_work_in(path: &Path) -> Option<u32> {
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let is_git = fs::read(entry.path().join("comm")).is_ok_and(|name| name.starts_with(b"git"));
        if is_git && fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(path))
        {
            return Some(pid);
        }
    }
    None
}
