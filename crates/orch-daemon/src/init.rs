//! Making a git repository a project: whether it may become one, and which branch work lands on.
//!
//! This module must not know what an `orch.toml` looks like; `config` writes it.

use std::path::{Path, PathBuf};

use orch_host::git::{BranchName, GitError, Repository};

use crate::config::{self, ConfigError, Initialised};
use crate::error::code_of_git;
use crate::project::{Project, ProjectError};

/// Why a directory was not made a project. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The directory belongs to another project, as its worktrees do.
    #[error("{} is inside the orch project {}", .directory.display(), .root.display())]
    InsideProject {
        /// The directory.
        directory: PathBuf,
        /// The top of that project.
        root: PathBuf,
    },
    /// The directory is not the top of its repository.
    #[error("{} is not the top of its git repository, which is {}", .directory.display(), .top.display())]
    NotTheTop {
        /// The directory.
        directory: PathBuf,
        /// The top of the repository.
        top: PathBuf,
    },
    /// No branch is checked out, and none was named.
    #[error("no branch is checked out in {}, so finished work has none to land on", .0.display())]
    Detached(PathBuf),
    /// The branch that was named does not exist.
    #[error("there is no branch '{0}' to land on")]
    NoTarget(BranchName),
    /// The repository is not one that orch can work in.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The configuration could not be written.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl From<ProjectError> for InitError {
    fn from(error: ProjectError) -> Self {
        Self::Config(error.into())
    }
}

impl InitError {
    /// The kind of error, for machines: `not_initialised` for what is no repository to work in,
    /// `not_allowed`, `conflict`, `usage`, `unreachable` without a usable git, `internal`, or as
    /// [`ConfigError::code`].
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InsideProject { .. } | Self::NotTheTop { .. } => "not_allowed",
            Self::Detached(_) => "usage",
            Self::NoTarget(_) => "conflict",
            Self::Git(error) => code_of_git(error),
            Self::Config(error) => error.code(),
        }
    }

    /// What to do about it, if we know.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::InsideProject { .. } => {
                Some("every command works on that project from there".to_owned())
            }
            Self::NotTheTop { .. } => Some("run `orch init` at the top".to_owned()),
            Self::Detached(_) => Some("name the branch: `orch init --target BRANCH`".to_owned()),
            Self::NoTarget(_) => Some("'git branch' shows what there is".to_owned()),
            Self::Git(_) => None,
            Self::Config(error) => error.hint(),
        }
    }
}

/// Makes `root`, which must be the top of a git repository with a commit, a project. Work lands on
/// `target`, or on the branch that is checked out now: it is written down, so that checking out
/// another one later moves nothing. A project that is there already is left as it is.
///
/// # Errors
/// `not_initialised` without a usable repository, `not_allowed` for a directory that is not its
/// top or belongs to another project, `conflict` for a branch that does not exist, `usage` without
/// a branch to land on, otherwise as [`config::init`].
pub fn init(
    root: &Path,
    name: Option<&str>,
    target: Option<&str>,
) -> Result<Initialised, InitError> {
    let directory = Project::at(root)?.root;
    match Project::find(&directory) {
        Ok(project) if project.root == directory => {
            return Ok(config::init(&directory, name, target)?);
        }
        Ok(Project { root, .. }) => return Err(InitError::InsideProject { directory, root }),
        Err(ProjectError::NotInitialised(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let repository = Repository::discover(&directory)?;
    if repository.root() != directory {
        let top = repository.root().to_owned();
        return Err(InitError::NotTheTop { directory, top });
    }
    let target = match target {
        Some(branch) => existing(&repository, branch)?,
        None => match repository.current_branch()? {
            Some(branch) => branch.to_string(),
            None => return Err(InitError::Detached(directory)),
        },
    };
    Ok(config::init(&directory, name, Some(&target))?)
}

/// A branch that was named, if it is one. A name that cannot be one is the configuration's to
/// refuse.
fn existing(repository: &Repository, branch: &str) -> Result<String, InitError> {
    match branch.parse::<BranchName>() {
        Ok(name) if repository.branch_tip(&name)?.is_none() => Err(InitError::NoTarget(name)),
        _ => Ok(branch.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(directory: &Path, arguments: &[&str]) {
        // tidy: the test plays the user, who has a repository before orch comes.
        let output = Command::new("git")
            .args(["-c", "user.name=T", "-c", "user.email=t@example.invalid"])
            .args(arguments)
            .current_dir(directory)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// A repository with a commit on `trunk`; its path without symbolic links.
    fn repository(parent: &Path) -> PathBuf {
        let root = parent.canonicalize().unwrap().join("repository");
        std::fs::create_dir(&root).unwrap();
        git(&root, &["init", "--quiet", "--initial-branch=trunk"]);
        git(
            &root,
            &["commit", "--quiet", "--allow-empty", "-m", "first"],
        );
        root
    }

    fn target_of(project: &Project) -> Option<String> {
        config::load(project, &[]).unwrap().target
    }

    #[test]
    fn the_branch_of_the_moment_is_written_down() {
        let place = tempfile::tempdir().unwrap();
        let root = repository(place.path());
        let made = init(&root, None, None).unwrap();
        assert!(made.created);
        assert_eq!(target_of(&made.project).as_deref(), Some("trunk"));
        git(&root, &["checkout", "--quiet", "-b", "topic"]);
        let again = init(&root, None, None).unwrap();
        assert!(!again.created);
        assert_eq!(target_of(&again.project).as_deref(), Some("trunk"));
    }

    #[test]
    fn without_a_branch_it_must_be_named() {
        let place = tempfile::tempdir().unwrap();
        let root = repository(place.path());
        git(&root, &["checkout", "--quiet", "--detach"]);
        let error = init(&root, None, None).unwrap_err();
        assert_eq!(error.code(), "usage");
        assert!(error.hint().unwrap().contains("--target BRANCH"));
        assert!(!root.join("orch.toml").exists());
        let made = init(&root, None, Some("trunk")).unwrap();
        assert_eq!(target_of(&made.project).as_deref(), Some("trunk"));
    }

    #[test]
    fn what_is_no_usable_repository_is_refused_and_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let bare = place.path().join("bare");
        let empty = place.path().join("empty");
        let none = place.path().join("none");
        for directory in [&bare, &empty, &none] {
            std::fs::create_dir(directory).unwrap();
        }
        git(&bare, &["init", "--quiet", "--bare"]);
        git(&empty, &["init", "--quiet"]);
        let cases = [
            (bare, "is a bare git repository"),
            (empty, "has no commits yet"),
            (none, "is not in a git repository"),
        ];
        for (directory, said) in cases {
            let error = init(&directory, None, None).unwrap_err();
            assert_eq!(error.code(), "not_initialised", "{error}");
            assert!(error.to_string().contains(said), "{error}");
            assert!(!directory.join("orch.toml").exists());
            assert!(!directory.join(".orch").exists());
        }
    }

    #[test]
    fn only_the_top_becomes_a_project_and_nothing_in_one_does() {
        let place = tempfile::tempdir().unwrap();
        let root = repository(place.path());
        let below = root.join("below");
        std::fs::create_dir(&below).unwrap();
        let error = init(&below, None, None).unwrap_err();
        assert!(matches!(&error, InitError::NotTheTop { top, .. } if *top == root));
        init(&root, None, None).unwrap();
        let nested = repository(&below);
        let worktree = root.join(".orch/worktrees/tsk_1");
        git(&root, &["add", "orch.toml"]);
        git(&root, &["commit", "--quiet", "-m", "settings"]);
        let path = worktree.to_str().unwrap();
        git(&root, &["worktree", "add", "--quiet", "--detach", path]);
        for directory in [below, nested, worktree] {
            let error = init(&directory, None, None).unwrap_err();
            assert!(
                matches!(&error, InitError::InsideProject { root: found, .. } if *found == root),
                "{error}"
            );
        }
    }
}
