//! A repository with a user, away from everything of this machine.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use orch_core::TaskId;
use orch_core::engine::Landing;
use orch_host::git::{Git, Repository};
use orch_host::trash::Trash;
use orch_host::workspace::{Saved, WorkspaceError, Workspaces};

pub struct Fixture {
    _temp: tempfile::TempDir,
    pub home: PathBuf,
    pub root: PathBuf,
}

impl Fixture {
    /// A repository with one commit on `main` that holds `README` and `.gitignore`.
    pub fn new() -> Self {
        Self::called(OsStr::new("project"))
    }

    pub fn called(name: &OsStr) -> Self {
        let fixture = Self::empty(name);
        fixture.write("README", "one\n");
        fixture.write(".gitignore", "/.orch/\n*.ignored\n");
        fixture.git(["add", "."]);
        fixture.git(["commit", "-qm", "first"]);
        fixture
    }

    /// A repository without a commit.
    pub fn empty(name: &OsStr) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        let (home, root) = (base.join("home"), base.join(name));
        fs::create_dir(&home).unwrap();
        fs::create_dir(&root).unwrap();
        let config =
            "[user]\n\tname = Ann\n\temail = ann@example.org\n[init]\n\tdefaultBranch = main\n";
        fs::write(home.join(".gitconfig"), config).unwrap();
        let fixture = Self {
            _temp: temp,
            home,
            root,
        };
        fixture.git(["init", "-q"]);
        fixture
    }

    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        vec![
            ("PATH".into(), std::env::var_os("PATH").unwrap()),
            ("HOME".into(), self.home.clone().into()),
        ]
    }

    pub fn repository(&self) -> Repository {
        let git = Git::in_environment(self.environment()).unwrap();
        Repository::discover_with(git, &self.root).unwrap()
    }

    pub fn workspaces(&self) -> Workspaces {
        let main = "main".parse().unwrap();
        Workspaces::new(self.repository(), &self.worktrees(), self.trash(), main)
    }

    /// The same with a git that can write no file longer than 8 KiB when it brings a checkout along.
    pub fn workspaces_with_short_files(&self) -> Workspaces {
        let bin = self.home.join("bin");
        fs::create_dir_all(&bin).unwrap();
        let short = "case \"$*\" in *'read-tree -m -u'*) trap '' XFSZ; ulimit -f 8;; esac\n";
        let script = format!("#!/bin/bash\n{short}PATH=${{PATH#*:}} exec git \"$@\"\n");
        write(&bin.join("git"), &script);
        fs::set_permissions(bin.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
        let mut path = bin.into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let environment = [
            ("PATH".into(), path),
            ("HOME".into(), self.home.clone().into()),
        ];
        let git = Git::in_environment(environment).unwrap();
        let repository = Repository::discover_with(git, &self.root).unwrap();
        let main = "main".parse().unwrap();
        Workspaces::new(repository, &self.worktrees(), self.trash(), main)
    }

    pub fn trash(&self) -> Trash {
        Trash::new(&self.root.join(".orch/trash"))
    }

    pub fn worktrees(&self) -> PathBuf {
        self.root.join(".orch/worktrees")
    }

    /// Git as a user or an agent calls it in `directory`.
    pub fn git_in<S: AsRef<OsStr>>(
        &self,
        directory: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> Output {
        Command::new("git")
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .envs(self.environment())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_EDITOR", "true")
            .output()
            .unwrap()
    }

    /// The same, which must succeed; its trimmed answer.
    pub fn ok_in<S: AsRef<OsStr>>(
        &self,
        directory: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> String {
        let output = self.git_in(directory, arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn git<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        self.ok_in(&self.root, arguments)
    }

    pub fn write(&self, path: &str, text: &str) {
        write(&self.root.join(path), text);
    }

    /// Commits one file on what is checked out in the user's checkout.
    pub fn commit(&self, path: &str, text: &str) -> String {
        self.write(path, text);
        self.git(["add", "--", path]);
        self.git(["commit", "-qm", path]);
        self.git(["rev-parse", "HEAD"])
    }

    /// What a file holds at a ref or commit; `None` if it is not there.
    pub fn show(&self, at: &str, path: &str) -> Option<String> {
        let output = self.git_in(&self.root, ["show", &format!("{at}:{path}")]);
        output
            .status
            .success()
            .then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// From now on the repository takes no new object, whoever asks: what is there can be read, and
    /// where others would go are files. Dropped, it is as before.
    pub fn takes_nothing(&self) -> TakesNothing {
        let objects = self.root.join(".git/objects");
        let kept = self.home.join("objects");
        fs::rename(&objects, &kept).unwrap();
        write(
            &objects.join("info/alternates"),
            &format!("{}\n", kept.display()),
        );
        for fan in 0..=u8::MAX {
            fs::write(objects.join(format!("{fan:02x}")), "").unwrap();
        }
        TakesNothing { objects, kept }
    }

    pub fn exists(&self, reference: &str) -> bool {
        self.git_in(&self.root, ["rev-parse", "--verify", "-q", reference])
            .status
            .success()
    }
}

/// See [`Fixture::takes_nothing`].
pub struct TakesNothing {
    objects: PathBuf,
    kept: PathBuf,
}

impl Drop for TakesNothing {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.objects).unwrap();
        fs::rename(&self.kept, &self.objects).unwrap();
    }
}

/// A task with its branch, in one workspace.
pub struct Job<'a> {
    pub workspaces: &'a Workspaces,
    pub task: TaskId,
    pub branch: String,
}

impl<'a> Job<'a> {
    pub fn new(workspaces: &'a Workspaces, number: u64) -> Self {
        let task = TaskId::from_entropy(number);
        let branch = format!("orch/{task}-do-it");
        Self {
            workspaces,
            task,
            branch,
        }
    }

    pub fn prepare(&self) -> PathBuf {
        self.try_prepare().unwrap()
    }

    pub fn try_prepare(&self) -> Result<PathBuf, WorkspaceError> {
        self.workspaces.prepare(&self.task, &self.branch)
    }

    pub fn save(&self) -> Saved {
        self.try_save().unwrap()
    }

    pub fn try_save(&self) -> Result<Saved, WorkspaceError> {
        self.workspaces
            .save(&self.task, &self.branch, "what the agent did")
    }

    pub fn land(&self) -> Landing {
        self.workspaces
            .land(&self.task, &self.branch, "Do it")
            .unwrap()
    }

    pub fn landed(&self) -> Option<String> {
        match self.land() {
            Landing::Landed { commit } => commit,
            Landing::Blocked { message, .. } => panic!("{message}"),
        }
    }

    pub fn blocked(&self) -> (String, Vec<String>) {
        match self.land() {
            Landing::Landed { commit } => panic!("landed as {commit:?}"),
            Landing::Blocked { message, files } => (message, files),
        }
    }

    pub fn discard(&self) -> Result<(), WorkspaceError> {
        self.workspaces.discard(&self.task, &self.branch)
    }

    pub fn rescue(&self, number: u32) -> String {
        format!("refs/orch/rescue/{}/{number}", self.task)
    }
}

pub fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

pub fn script(path: &Path, text: &str) {
    write(path, &format!("#!/bin/sh\n{text}\n"));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
