//! Where agents work: one worktree and one branch per task.
//!
//! A task works in `<worktrees>/<task id>` on branch `orch/<task id>-<slug>`. [`Workspaces`] makes
//! the worktree, commits what an agent left in it, lands the branch on the target branch and
//! removes both. Every function blocks and may be called again after a crash at any point.
//!
//! **Nothing an agent did is lost.** What is uncommitted becomes a commit, what no branch leads to
//! gets a ref under `refs/orch/rescue/<task>/`, and a worktree is removed only when every file of
//! it is in a commit that stays reachable (files that `.gitignore` names excepted, as everywhere in
//! git). A worktree is never deleted in place: it is renamed into the [`Trash`], ignored files and
//! all, so a crash cannot leave half a worktree that looks like deleted files, and what git does
//! not know can be had back until its lifetime is over.
//!
//! **Refs that orch keeps**: `refs/orch/rescue/<task>/<n>` for work that would be unreachable, each
//! an annotated tag that says when and why;
//! `refs/orch/landed/<task>` for the commit that carries a task on the target branch, moved in
//! one transaction with the target branch, which makes landing idempotent.
//!
//! This module must not know about runs, the database, or who approved what.

mod advance;
mod count;
mod discard;
mod include;
mod land;
mod moved;
mod prepare;
mod reflog;
mod rescue;
mod room;
mod save;
mod snapshot;

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use orch_core::TaskId;

use crate::git::{
    BadName, BranchName, Call, GitError, Oid, Output, Place, RefName, Repository, View,
};
use crate::trash::{Kind, Manifest, Trash, TrashError};

pub use rescue::{Change, Commit, Contents, Rescued};
pub use room::Cramped;
pub use save::Saved;

/// What a worktree is locked with until it is complete.
const BEING_MADE: &str = "orch: being made";

/// How often a call is repeated while another git process holds a lock.
const CONTENTION_TRIES: u32 = 6;

/// Why a workspace could not be prepared, saved, landed or discarded.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The branch is not one of this task.
    #[error("'{branch}' is not a branch of task {task}; those begin with orch/{task}")]
    ForeignBranch {
        /// The branch.
        branch: String,
        /// The task.
        task: TaskId,
    },
    /// Another checkout has the branch.
    #[error("branch '{branch}' is checked out in {}", .holder.display())]
    BranchHeld {
        /// The branch.
        branch: BranchName,
        /// The checkout.
        holder: PathBuf,
    },
    /// Something that is not the task's worktree is where it should be.
    #[error("{} {what}; orch leaves it alone, please move it away", .path.display())]
    PathTaken {
        /// Where.
        path: PathBuf,
        /// What it is, as in "is a symbolic link".
        what: &'static str,
    },
    /// The branch that work lands on is not there.
    #[error("the target branch '{0}' does not exist")]
    NoTarget(BranchName),
    /// Nobody said which branch work lands on, and none is checked out.
    #[error("no branch to land on: set target in the [project] table of orch.toml")]
    TargetUnknown,
    /// The worktree could not be brought back to its branch.
    #[error("the worktree {} is not on branch '{branch}': {why}", .path.display())]
    Unsettled {
        /// The worktree.
        path: PathBuf,
        /// The branch.
        branch: BranchName,
        /// What was tried and what came of it.
        why: String,
    },
    /// The worktree holds something that is in no commit, so it was not removed.
    #[error("{} was kept: {}", .path.display(), .what.join("; "))]
    Unsaved {
        /// The worktree.
        path: PathBuf,
        /// What could not be saved.
        what: Vec<String>,
    },
    /// `.worktreeinclude` names more than orch copies.
    #[error(".worktreeinclude names more than {limit}; make its patterns narrower")]
    TooMuchIncluded {
        /// The limit in words.
        limit: String,
    },
    /// Something could not be moved to the trash, and is where it was.
    #[error(transparent)]
    Trash(#[from] TrashError),
    /// The repository takes nothing new at present, whatever it is.
    #[error("the repository keeps nothing new at present")]
    NotKept(#[source] Box<WorkspaceError>),
    /// There is no such rescued work.
    #[error("there is no rescued work '{0}'")]
    NotRescued(String),
    /// A branch of this name is there already.
    #[error("branch '{0}' exists already; nothing is ever overwritten")]
    BranchTaken(BranchName),
    /// The machine refused something.
    #[error("cannot {doing} {}", .path.display())]
    Io {
        /// What was being done, as in "create".
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the machine said.
        #[source]
        source: io::Error,
    },
}

impl From<BadName> for WorkspaceError {
    fn from(bad: BadName) -> Self {
        Self::Git(bad.into())
    }
}

type Result<T> = std::result::Result<T, WorkspaceError>;

/// Says with what path the machine refused something.
fn refused(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WorkspaceError {
    let path = path.to_owned();
    move |source| WorkspaceError::Io {
        doing,
        path,
        source,
    }
}

/// The worktrees of one repository. Share one value; it serialises what clashes inside git.
#[derive(Debug)]
pub struct Workspaces {
    repository: Repository,
    directory: PathBuf,
    trash: Trash,
    target: BranchName,
    turn: Mutex<()>,
}

/// A worktree that git knows and that is there.
#[derive(Debug, Clone)]
struct Worktree {
    path: PathBuf,
    git_dir: PathBuf,
}

/// What is at the place of a task's worktree.
#[derive(Debug)]
enum Found {
    /// Nothing, or an empty directory.
    Nothing,
    /// Git knows a worktree and its files are gone.
    Gone(Worktree),
    /// A worktree whose making was interrupted. No agent has ever seen it.
    HalfMade(Worktree),
    /// The worktree.
    Worktree(Worktree),
}

impl Workspaces {
    /// Worktrees of `repository` in `worktrees_dir`, which is created when needed, landing on
    /// `target`. What is taken away goes to `trash`, which is on the same file system. Removes what
    /// killed processes left in `worktrees_dir`, and tells git of worktrees there that were moved
    /// with the repository.
    #[must_use]
    pub fn new(
        repository: Repository,
        worktrees_dir: &Path,
        trash: Trash,
        target: BranchName,
    ) -> Self {
        let workspaces = Self {
            repository,
            directory: worktrees_dir.to_owned(),
            trash,
            target,
            turn: Mutex::new(()),
        };
        if !worktrees_dir.is_symlink() {
            crate::git::sweep_views(&workspaces.nursery());
            moved::mend(workspaces.repository.common_dir(), worktrees_dir);
        }
        workspaces
    }

    /// The repository.
    #[must_use]
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The branch that work lands on.
    #[must_use]
    pub const fn target(&self) -> &BranchName {
        &self.target
    }

    /// Where what is taken away goes.
    #[must_use]
    pub const fn trash(&self) -> &Trash {
        &self.trash
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nursery(&self) -> PathBuf {
        self.directory.join(".views")
    }

    /// The directory of the worktrees, by the name that git will know it by.
    fn home(&self) -> Result<PathBuf> {
        let directory = &self.directory;
        if directory.is_symlink() {
            return Err(WorkspaceError::PathTaken {
                path: directory.clone(),
                what: "is a symbolic link",
            });
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(refused("create", directory))?;
        let own = self.nursery();
        if own.is_symlink() {
            return Err(WorkspaceError::PathTaken {
                path: own,
                what: "is a symbolic link",
            });
        }
        directory.canonicalize().map_err(refused("find", directory))
    }

    fn target_tip(&self) -> Result<Oid> {
        self.repository
            .branch_tip(&self.target)?
            .ok_or_else(|| WorkspaceError::NoTarget(self.target.clone()))
    }

    fn place_of(&self, worktree: &Worktree) -> Place {
        self.repository.checkout(&worktree.git_dir, &worktree.path)
    }

    fn view(&self, place: &Place) -> Result<View> {
        self.home()?;
        Ok(View::new(self.repository.git(), &self.nursery(), place)?)
    }

    /// Looks at the place of a worktree and touches nothing.
    fn find(&self, path: &Path) -> Result<Found> {
        let taken = |what| {
            Err(WorkspaceError::PathTaken {
                path: path.to_owned(),
                what,
            })
        };
        let known = self
            .repository
            .linked_git_dir(path)
            .map(|git_dir| Worktree {
                path: path.to_owned(),
                git_dir,
            });
        match (std::fs::symlink_metadata(path), known) {
            (Err(error), known) if error.kind() == io::ErrorKind::NotFound => {
                Ok(known.map_or(Found::Nothing, Found::Gone))
            }
            (Err(error), _) => Err(refused("look at", path)(error)),
            (Ok(meta), _) if meta.is_symlink() => taken("is a symbolic link"),
            (Ok(meta), _) if !meta.is_dir() => taken("is not a directory"),
            (Ok(_), Some(worktree)) if is_half_made(&worktree) => Ok(Found::HalfMade(worktree)),
            (Ok(_), Some(worktree)) => Ok(Found::Worktree(worktree)),
            (Ok(_), None) if is_empty(path)? => Ok(Found::Nothing),
            (Ok(_), None) => taken("is not empty and is no worktree of this repository"),
        }
    }

    /// Takes something away that belongs to a task.
    fn take_away(&self, what: &Path, kind: Kind, task: &TaskId, why: &str) -> Result<()> {
        let mut manifest = Manifest::now(kind, task, why, what);
        manifest.at = self.trash.stamp();
        self.trash.keep(what, &manifest)?;
        Ok(())
    }

    /// Makes git forget a worktree whose files are not there.
    fn forget(&self, path: &Path) -> Result<()> {
        patiently(|| {
            self.repository
                .call(["worktree", "remove", "--force", "--force", "--"])
                .argument(path)
        })?;
        Ok(())
    }
}

/// The branch, if it is one of this task.
fn task_branch(task: &TaskId, branch: &str) -> Result<BranchName> {
    let own = branch
        .strip_prefix("orch/")
        .and_then(|rest| rest.strip_prefix(task.as_str()))
        .is_some_and(|rest| rest.is_empty() || (rest.starts_with('-') && !rest.contains('/')));
    if own {
        Ok(branch.parse::<BranchName>()?)
    } else {
        Err(WorkspaceError::ForeignBranch {
            branch: orch_core::text::excerpt(branch, 80),
            task: task.clone(),
        })
    }
}

fn landed_ref(task: &TaskId) -> Result<RefName> {
    Ok(format!("refs/orch/landed/{task}").parse::<RefName>()?)
}

fn is_empty(directory: &Path) -> Result<bool> {
    let mut entries = std::fs::read_dir(directory).map_err(refused("read", directory))?;
    Ok(entries.next().is_none())
}

fn is_half_made(worktree: &Worktree) -> bool {
    std::fs::read_to_string(worktree.git_dir.join("locked"))
        .is_ok_and(|reason| [BEING_MADE, "initializing"].contains(&reason.trim()))
}

/// Makes a call until no other git process is in its way.
fn patiently(call: impl Fn() -> Call) -> std::result::Result<Output, GitError> {
    let mut pause = Duration::from_millis(50);
    for _ in 1..CONTENTION_TRIES {
        match call().succeed() {
            Err(error) if error.is_contention() => thread::sleep(pause),
            other => return other,
        }
        pause *= 2;
    }
    call().succeed()
}

/// A path for a person.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_branches_are_a_tasks() {
        let task = TaskId::from_entropy(7);
        for good in [format!("orch/{task}"), format!("orch/{task}-fix-it")] {
            assert!(task_branch(&task, &good).is_ok(), "{good}");
        }
        let other = TaskId::from_entropy(8);
        for bad in [
            "main".to_owned(),
            "HEAD".to_owned(),
            String::new(),
            format!("orch/{other}-x"),
            format!("orch/{task}x"),
            format!("orch/{task}-a/../../main"),
            format!("orch/{task}-{}", "x".repeat(300)),
            format!("orch/{task}-a b"),
        ] {
            assert!(task_branch(&task, &bad).is_err(), "{bad}");
        }
    }
}
