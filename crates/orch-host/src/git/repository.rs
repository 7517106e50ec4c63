//! A repository: where it is, what is checked out, how commits relate.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::command::{Call, Git, Output, Place};
use super::error::GitError;
use super::names::{BranchName, Oid, RefName};

/// A git repository with a checkout and at least one commit.
#[derive(Debug, Clone)]
pub struct Repository {
    git: Git,
    root: PathBuf,
    git_dir: PathBuf,
    common_dir: PathBuf,
    shallow: bool,
}

/// A checkout that git knows of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) path: PathBuf,
    /// The ref that `HEAD` stands on, as git wrote it.
    pub(crate) branch: Option<Vec<u8>>,
}

impl Repository {
    /// Finds the repository that `directory` is in, with the git of this process's `PATH`.
    ///
    /// # Errors
    /// No git; not a repository, a bare one, one without commits, one of another user.
    pub fn discover(directory: &Path) -> Result<Self, GitError> {
        Self::discover_with(Git::find()?, directory)
    }

    /// Finds the repository that `directory` is in.
    ///
    /// # Errors
    /// As [`Repository::discover`].
    pub fn discover_with(git: Git, directory: &Path) -> Result<Self, GitError> {
        let directory = directory.canonicalize().map_err(|source| GitError::Io {
            doing: format!("looking for a git repository in {}", directory.display()),
            source,
        })?;
        let ask = |question: &[&str]| ask(&git, &directory, question);
        let git_dir = PathBuf::from(ask(&["--absolute-git-dir"])?);
        if ask(&["--is-bare-repository"])? == "true" {
            return Err(GitError::Bare { path: git_dir });
        }
        if ask(&["--is-inside-work-tree"])? != "true" {
            return Err(GitError::NotARepository { path: directory });
        }
        let root = PathBuf::from(ask(&["--show-toplevel"])?);
        let common_dir = ask(&["--path-format=absolute", "--git-common-dir"])?;
        let shallow = ask(&["--is-shallow-repository"])? == "true";
        let repository = Self {
            git,
            root,
            git_dir,
            common_dir: PathBuf::from(common_dir),
            shallow,
        };
        repository.head()?;
        Ok(repository)
    }

    /// The top directory of the checkout it was found from.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory that all checkouts of the repository share.
    #[must_use]
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// Whether older history is missing. orch works with what there is.
    #[must_use]
    pub const fn is_shallow(&self) -> bool {
        self.shallow
    }

    /// The branch that is checked out; `None` when `HEAD` is detached.
    ///
    /// # Errors
    /// Git failed, or the branch has a name that orch cannot use.
    pub fn current_branch(&self) -> Result<Option<BranchName>, GitError> {
        match self.head_ref(&self.git_dir)? {
            None => Ok(None),
            Some(reference) => {
                let short = reference.strip_prefix("refs/heads/").unwrap_or(&reference);
                Ok(Some(short.parse::<BranchName>()?))
            }
        }
    }

    /// The commit that is checked out.
    ///
    /// # Errors
    /// There is none yet, or git failed.
    pub fn head(&self) -> Result<Oid, GitError> {
        self.head_of(&self.git_dir)?
            .ok_or_else(|| GitError::NoCommits {
                path: self.root.clone(),
            })
    }

    /// The commit a branch stands at.
    ///
    /// # Errors
    /// Git failed; a branch that does not exist is `None`.
    pub fn branch_tip(&self, branch: &BranchName) -> Result<Option<Oid>, GitError> {
        self.resolve(&branch.reference())
    }

    /// The names of the keys that the repository's own configuration sets.
    ///
    /// # Errors
    /// Git failed.
    pub fn own_keys(&self) -> Result<Vec<String>, GitError> {
        let output = self
            .call([
                "config",
                "--local",
                "--no-includes",
                "--list",
                "--name-only",
                "-z",
            ])
            .run()?;
        let names = split_nul(&output.stdout);
        Ok(names
            .iter()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect())
    }

    /// Whether the user told git a name and an address to commit with.
    ///
    /// # Errors
    /// Git failed.
    pub fn has_identity(&self) -> Result<bool, GitError> {
        Ok(self.identity()?.is_some())
    }

    /// The name and the address that the user told git to commit with; `None` unless both.
    ///
    /// # Errors
    /// Git failed.
    pub fn identity(&self) -> Result<Option<(String, String)>, GitError> {
        let output = self
            .call(["config", "-z", "--get-regexp", "^user\\.(name|email)$"])
            .run()?;
        let (mut name, mut email) = (None, None);
        // The last one said is the one that holds, as everywhere in git.
        for field in split_nul(&output.stdout) {
            let text = String::from_utf8_lossy(&field).into_owned();
            match text.split_once('\n') {
                Some(("user.name", value)) => name = Some(value.trim().to_owned()),
                Some(("user.email", value)) => email = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        let said = |value: Option<String>| value.filter(|value| !value.is_empty());
        Ok(said(name).zip(said(email)))
    }

    /// The hooks that git would run here, by name.
    #[must_use]
    pub fn hooks(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.common_dir.join("hooks")) else {
            return Vec::new();
        };
        let is_hook = |entry: &std::fs::DirEntry| {
            let mode = entry.metadata().map(|meta| meta.permissions().mode());
            mode.is_ok_and(|mode| mode & 0o111 != 0)
        };
        let names = entries.flatten().filter(is_hook).map(|it| it.file_name());
        let mut names: Vec<String> = names
            .filter_map(|name| name.into_string().ok())
            .filter(|name| !name.ends_with(".sample"))
            .collect();
        names.sort();
        names
    }

    pub(crate) fn git(&self) -> &Git {
        &self.git
    }

    /// The place for calls that touch no files.
    pub(crate) fn place(&self) -> Place {
        Place {
            git_dir: self.common_dir.clone(),
            common_dir: self.common_dir.clone(),
            work_tree: None,
        }
    }

    /// The place of one checkout.
    pub(crate) fn checkout(&self, git_dir: &Path, work_tree: &Path) -> Place {
        Place {
            git_dir: git_dir.to_owned(),
            common_dir: self.common_dir.clone(),
            work_tree: Some(work_tree.to_owned()),
        }
    }

    /// A call that touches no files.
    pub(crate) fn call<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Call {
        self.git.call_at(&self.place(), arguments)
    }

    /// The ref that `HEAD` of a checkout stands on.
    pub(crate) fn head_ref(&self, git_dir: &Path) -> Result<Option<String>, GitError> {
        let place = Place {
            git_dir: git_dir.to_owned(),
            ..self.place()
        };
        let output = self
            .git
            .call_at(&place, ["symbolic-ref", "--quiet", "HEAD"])
            .run()?;
        match output.status.code() {
            Some(0) => output.line().map(Some),
            Some(1) => Ok(None),
            _ => Err(output.failure()),
        }
    }

    /// The commit that `HEAD` of a checkout stands at.
    pub(crate) fn head_of(&self, git_dir: &Path) -> Result<Option<Oid>, GitError> {
        self.commit_named(git_dir, "HEAD")
    }

    /// The commit that a name of git's own leads to in a checkout, like `MERGE_HEAD`.
    pub(crate) fn commit_named(
        &self,
        git_dir: &Path,
        name: &'static str,
    ) -> Result<Option<Oid>, GitError> {
        let place = Place {
            git_dir: git_dir.to_owned(),
            ..self.place()
        };
        let wanted = format!("{name}^{{commit}}");
        self.verify(self.git.call_at(&place, verify_arguments(&wanted)))
    }

    /// The commit a ref leads to.
    pub(crate) fn resolve(&self, name: &RefName) -> Result<Option<Oid>, GitError> {
        let wanted = format!("{name}^{{commit}}");
        self.verify(self.call(verify_arguments(&wanted)))
    }

    /// Whether this commit is here.
    pub(crate) fn has_commit(&self, oid: &Oid) -> Result<bool, GitError> {
        let wanted = format!("{oid}^{{commit}}");
        Ok(self.verify(self.call(verify_arguments(&wanted)))?.is_some())
    }

    fn verify(&self, call: Call) -> Result<Option<Oid>, GitError> {
        let output = call.run()?;
        match output.status.code() {
            Some(0) => Ok(Some(output.line()?.parse()?)),
            Some(1) => Ok(None),
            _ => Err(output.failure()),
        }
    }

    /// The tree of a commit.
    pub(crate) fn tree_of(&self, commit: &Oid) -> Result<Oid, GitError> {
        let wanted = format!("{commit}^{{tree}}");
        Ok(self.call(verify_arguments(&wanted)).line()?.parse()?)
    }

    /// Whether `commit` is `of` or came before it.
    pub(crate) fn is_ancestor(&self, commit: &Oid, of: &Oid) -> Result<bool, GitError> {
        let output = self
            .call(["merge-base", "--is-ancestor", commit.as_str(), of.as_str()])
            .run()?;
        match output.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(output.failure()),
        }
    }

    /// Where two histories parted; `None` when they have nothing in common.
    pub(crate) fn merge_base(&self, one: &Oid, other: &Oid) -> Result<Option<Oid>, GitError> {
        let output = self
            .call(["merge-base", one.as_str(), other.as_str()])
            .run()?;
        match output.status.code() {
            Some(0) => Ok(Some(output.line()?.parse()?)),
            Some(1) => Ok(None),
            _ => Err(output.failure()),
        }
    }

    /// How many commits lead to `tip` and not to `base`.
    pub(crate) fn count_commits(&self, base: &Oid, tip: &Oid) -> Result<u64, GitError> {
        let without = format!("^{base}");
        let output = self
            .call(["rev-list", "--count", tip.as_str(), &without, "--"])
            .succeed()?;
        counted(output)
    }

    /// How many commits lead to `tip` and to none of `bases`, without those whose message has what
    /// the option `pattern` (`--grep=…`, an extended regular expression) asks for.
    pub(crate) fn count_without(
        &self,
        pattern: &'static str,
        tip: &Oid,
        bases: &[&Oid],
    ) -> Result<u64, GitError> {
        let options = ["rev-list", "--count", "--extended-regexp", "--invert-grep"];
        let mut call = self.call(options).argument(pattern).argument(tip.as_str());
        for base in bases {
            call = call.argument(format!("^{base}"));
        }
        counted(call.argument("--").succeed()?)
    }

    /// Whether `commit` is `tip` or a first parent on the way back from it.
    pub(crate) fn is_on_first_parents(&self, commit: &Oid, tip: &Oid) -> Result<bool, GitError> {
        let stop = format!("^{commit}^@");
        let output = self
            .call(["rev-list", "--first-parent", tip.as_str(), &stop, "--"])
            .succeed()?;
        Ok(output
            .stdout
            .split(|byte| *byte == b'\n')
            .any(|line| line == commit.as_str().as_bytes()))
    }

    /// Whether some ref leads to `commit`.
    pub(crate) fn is_reachable(&self, commit: &Oid) -> Result<bool, GitError> {
        let output = self
            .call([
                "for-each-ref",
                "--count=1",
                "--format=%(refname)",
                "--contains",
                commit.as_str(),
            ])
            .succeed()?;
        Ok(!output.stdout.is_empty())
    }

    /// The names of the refs that begin with `prefix`, which ends with `/`.
    pub(crate) fn refs_under(&self, prefix: &RefName) -> Result<Vec<(RefName, Oid)>, GitError> {
        let output = self
            .call([
                "for-each-ref",
                "--format=%(refname) %(objectname)",
                prefix.as_str(),
            ])
            .succeed()?;
        let text = output.line()?;
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs
            .filter_map(|(name, oid)| Some((name.parse().ok()?, oid.parse().ok()?)))
            .collect())
    }

    /// The paths in which two trees or commits differ.
    pub(crate) fn changed_paths(&self, from: &Oid, to: &Oid) -> Result<Vec<Vec<u8>>, GitError> {
        let output = self
            .call([
                "diff-tree",
                "-r",
                "-z",
                "--name-only",
                "--no-renames",
                "--no-ext-diff",
                "--no-textconv",
                "--ignore-submodules=dirty",
                from.as_str(),
                to.as_str(),
                "--",
            ])
            .succeed()?;
        Ok(split_nul(&output.stdout))
    }

    /// Every checkout that git knows of, the main one first.
    pub(crate) fn worktrees(&self) -> Result<Vec<Listed>, GitError> {
        let output = self
            .call(["worktree", "list", "--porcelain", "-z"])
            .succeed()?;
        let mut listed: Vec<Listed> = Vec::new();
        for line in split_nul(&output.stdout) {
            if let Some(path) = line.strip_prefix(b"worktree ") {
                listed.push(Listed {
                    path: PathBuf::from(OsString::from_vec(path.to_vec())),
                    branch: None,
                });
            } else if let (Some(branch), Some(last)) =
                (line.strip_prefix(b"branch "), listed.last_mut())
            {
                last.branch = Some(branch.to_vec());
            }
        }
        // Git derives the main checkout's path from that of its directory, which is not where
        // the files are in a submodule or with `--separate-git-dir`. We know better.
        if let (true, Some(main)) = (self.git_dir == self.common_dir, listed.first_mut()) {
            main.path.clone_from(&self.root);
        }
        Ok(listed)
    }

    /// The directory with `HEAD` and `index` of a checkout.
    pub(crate) fn git_dir_of(&self, checkout: &Path) -> Option<PathBuf> {
        if checkout == self.root {
            return Some(self.git_dir.clone());
        }
        self.linked_git_dir(checkout).or_else(|| {
            let main = self.worktrees().ok()?.into_iter().next()?;
            (main.path == checkout).then(|| self.common_dir.clone())
        })
    }

    /// The same for a linked worktree, from git's own notes.
    pub(crate) fn linked_git_dir(&self, checkout: &Path) -> Option<PathBuf> {
        let wanted = checkout.join(".git");
        let notes = std::fs::read_dir(self.common_dir.join("worktrees")).ok()?;
        notes.flatten().map(|entry| entry.path()).find(|note| {
            std::fs::read(note.join("gitdir")).is_ok_and(|text| {
                text.strip_suffix(b"\n").unwrap_or(&text) == wanted.as_os_str().as_bytes()
            })
        })
    }
}

fn counted(output: Output) -> Result<u64, GitError> {
    match std::str::from_utf8(&output.stdout).map(|text| text.trim().parse()) {
        Ok(Ok(count)) => Ok(count),
        _ => Err(output.unexpected()),
    }
}

fn verify_arguments(wanted: &str) -> [&str; 5] {
    [
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        wanted,
    ]
}

/// Asks git where it is, before anything is known.
fn ask(git: &Git, directory: &Path, question: &[&str]) -> Result<String, GitError> {
    let arguments = ["rev-parse"].iter().chain(question);
    match git.call(directory, arguments).line() {
        Err(error) if error.stderr().contains("dubious ownership") => {
            Err(GitError::DubiousOwnership {
                path: directory.to_owned(),
            })
        }
        Err(error) if error.stderr().contains("not a git repository") => {
            Err(GitError::NotARepository {
                path: directory.to_owned(),
            })
        }
        other => other,
    }
}

/// The fields of an answer to `-z`.
pub(crate) fn split_nul(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes
        .split(|byte| *byte == 0)
        .filter(|field| !field.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}
