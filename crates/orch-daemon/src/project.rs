//! Where a project is: its root, its `orch.toml` and its state directory, and whether that
//! directory can be trusted.
//!
//! This module must not know what is in the configuration or in the database. It knows names,
//! owners and modes only, and it never repairs a directory that looks wrong: it says what to do.

mod filesystem;
mod sockets;

use std::ffi::OsString;
use std::fs::{DirBuilder, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sockets::SocketHome;

/// The name of the configuration file.
pub const CONFIG_FILE: &str = "orch.toml";
/// The name of the state directory.
pub const STATE_DIRECTORY: &str = ".orch";

/// One project on this machine. The root is absolute and free of symbolic links, so that every
/// process of this user comes to the same paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The top of the user's repository.
    pub root: PathBuf,
    /// `.orch/` in it.
    pub state: PathBuf,
    /// `orch.toml` in it.
    pub config: PathBuf,
    sockets: SocketHome,
}

/// Why a project, or its state directory, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// No `orch.toml` here or above.
    #[error("not an orch project: there is no {CONFIG_FILE} in {} or above it", .0.display())]
    NotInitialised(PathBuf),
    /// Somebody else's `orch.toml` could name any command.
    #[error("{} belongs to another user (uid {owner}) and could run any command as you", .path.display())]
    ForeignConfig {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The state directory is not there yet.
    #[error("the state directory {} does not exist", .0.display())]
    StateMissing(PathBuf),
    /// It is a link, a file, or anything but a directory.
    #[error("{} is {kind}, not a directory", .path.display())]
    NotDirectory {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        kind: &'static str,
    },
    /// It is somebody else's.
    #[error("{} belongs to uid {owner}, and you are uid {we}", .path.display())]
    ForeignState {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asks.
        we: u32,
    },
    /// Others could read or change what is in it.
    #[error("{} is open to other users (mode {mode:04o})", .path.display())]
    TooOpen {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Locks and the database cannot be trusted there.
    #[error("{} is on a network file system ({kind}), where locks and the database cannot be trusted", .path.display())]
    NetworkFilesystem {
        /// The directory.
        path: PathBuf,
        /// Which file system.
        kind: String,
    },
    /// The path of the socket is too long for the operating system, and so is every other place.
    #[error("the path of the socket in {} is longer than {} bytes, and no shorter place can be used", .0.display(), sockets::PATH_BYTES)]
    NoSocketPlace(PathBuf),
    /// The machine said no.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the machine said.
        source: io::Error,
    },
}

impl ProjectError {
    /// The kind of error, for machines: `not_initialised`, `not_allowed` or `internal`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotInitialised(_) | Self::StateMissing(_) => "not_initialised",
            Self::Io { .. } => "internal",
            _ => "not_allowed",
        }
    }

    /// What to do about it, if we know.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotInitialised(_) => {
                Some("run `orch init` at the top of a git repository".to_owned())
            }
            Self::StateMissing(_) => Some("run `orch init`".to_owned()),
            Self::ForeignConfig { path, .. } => Some(format!(
                "if you trust it, make it yours: sudo chown $(id -u) {}",
                quoted(path)
            )),
            Self::NotDirectory { path, .. } => Some(format!(
                "move {} away; orch makes the directory itself",
                quoted(path)
            )),
            Self::ForeignState { path, .. } => Some(format!(
                "run orch as that user, or: sudo chown -R $(id -u) {}",
                quoted(path)
            )),
            Self::TooOpen { path, .. } => Some(format!("chmod 700 {}", quoted(path))),
            Self::NetworkFilesystem { .. } => {
                Some("clone the repository to a local disk and run orch there".to_owned())
            }
            Self::NoSocketPlace(_) => {
                Some("set XDG_RUNTIME_DIR to a short directory of your own, mode 0700".to_owned())
            }
            Self::Io { .. } => None,
        }
    }

    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }
}

impl Project {
    /// The project that `start` is in: the nearest directory with an `orch.toml`, `start` itself
    /// or above it. A checkout inside another project's state directory (the worktree of a task)
    /// belongs to that project, although it carries an `orch.toml` of its own.
    ///
    /// # Errors
    /// `not_initialised` when there is none, `not_allowed` when the file is another user's.
    pub fn find(start: &Path) -> Result<Self, ProjectError> {
        let start = start
            .canonicalize()
            .map_err(ProjectError::io("resolve", start))?;
        let mut owners = start
            .ancestors()
            .filter(|directory| directory.join(CONFIG_FILE).symlink_metadata().is_ok());
        let Some(nearest) = owners.next() else {
            return Err(ProjectError::NotInitialised(start));
        };
        let root = owners
            .filter(|outer| start.starts_with(outer.join(STATE_DIRECTORY)))
            .last()
            .unwrap_or(nearest);
        check_owner_of_config(&root.join(CONFIG_FILE))?;
        Self::at(root)
    }

    /// The project whose root is this directory, whether or not it is initialised.
    ///
    /// # Errors
    /// The directory does not exist, or no place for its sockets can be found.
    pub fn at(root: &Path) -> Result<Self, ProjectError> {
        let root = root
            .canonicalize()
            .map_err(ProjectError::io("resolve", root))?;
        let state = root.join(STATE_DIRECTORY);
        let sockets = SocketHome::choose(&state, &sockets::short_directories())
            .ok_or_else(|| ProjectError::NoSocketPlace(state.clone()))?;
        Ok(Self {
            config: root.join(CONFIG_FILE),
            root,
            state,
            sockets,
        })
    }

    /// What somebody has agreed to that agents' programs read.
    #[must_use]
    pub fn trusted(&self) -> PathBuf {
        self.state.join("trusted")
    }

    /// What the daemon's clock goes by.
    #[must_use]
    pub fn clock(&self) -> PathBuf {
        self.state.join("clock.json")
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.state.join("orch.db")
    }

    /// The lock whose holder owns the database.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// The lock that is held while `orch.toml` is edited.
    #[must_use]
    pub fn config_lock(&self) -> PathBuf {
        self.state.join("config.lock")
    }

    /// The socket of the daemon. In a directory of its own when the path would be too long.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.sockets.path(&self.state, "orch")
    }

    /// The socket on which the shims tell their news. Beside [`Self::socket`].
    #[must_use]
    pub fn news_socket(&self) -> PathBuf {
        self.sockets.path(&self.state, "news")
    }

    /// The directory of the run directories.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.state.join("runs")
    }

    /// The directory of the tasks' worktrees.
    #[must_use]
    pub fn worktrees(&self) -> PathBuf {
        self.state.join("worktrees")
    }

    /// The directory of what was taken away and can still be had back.
    #[must_use]
    pub fn trash(&self) -> PathBuf {
        self.state.join("trash")
    }

    /// Where things from the trash are put when nobody says where.
    #[must_use]
    pub fn restored(&self) -> PathBuf {
        self.state.join("restored")
    }

    /// Where a daemon says who it is.
    #[must_use]
    pub fn daemon_info(&self) -> PathBuf {
        self.state.join("daemon.json")
    }

    /// Makes the state directory with what belongs in it, where it is missing, and checks it.
    /// Directories are made with mode 0700 whatever the umask; an existing one is left as it is.
    ///
    /// # Errors
    /// As [`Self::check_state`], or the disk said no.
    pub fn ensure_state(&self) -> Result<(), ProjectError> {
        make_private(&self.state)?;
        self.check_state()?;
        for directory in [self.runs(), self.worktrees()] {
            make_private(&directory)?;
            check_private(&directory)?;
        }
        if let Some(directory) = self.sockets.directory() {
            make_private(directory)?;
            check_private(directory)?;
        }
        ignore_everything(&self.state.join(".gitignore"))
    }

    /// Checks that the state directory is a real directory of ours on a local disk that nobody
    /// else can enter.
    ///
    /// # Errors
    /// `not_initialised` when it is missing, `not_allowed` when it cannot be trusted.
    pub fn check_state(&self) -> Result<(), ProjectError> {
        check_private(&self.state)?;
        match filesystem::network_kind(&self.state) {
            Some(kind) => Err(ProjectError::NetworkFilesystem {
                path: self.state.clone(),
                kind,
            }),
            None => Ok(()),
        }
    }
}

/// Root's files are trusted as every program of the system is.
fn check_owner_of_config(path: &Path) -> Result<(), ProjectError> {
    let owner = path
        .symlink_metadata()
        .map_err(ProjectError::io("look at", path))?
        .uid();
    if owner == own_uid() || owner == 0 {
        return Ok(());
    }
    Err(ProjectError::ForeignConfig {
        path: path.to_owned(),
        owner,
    })
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn make_private(directory: &Path) -> Result<(), ProjectError> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(ProjectError::io("create", directory)(error))
        }
        _ => Ok(()),
    }
}

fn check_private(directory: &Path) -> Result<(), ProjectError> {
    let path = directory.to_owned();
    match directory.symlink_metadata() {
        Ok(metadata) => check_metadata(path, &metadata, own_uid()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ProjectError::StateMissing(path))
        }
        Err(error) => Err(ProjectError::io("look at", directory)(error)),
    }
}

fn check_metadata(path: PathBuf, metadata: &Metadata, we: u32) -> Result<(), ProjectError> {
    let mode = metadata.mode() & 0o7777;
    if metadata.is_symlink() {
        let kind = "a symbolic link";
        Err(ProjectError::NotDirectory { path, kind })
    } else if !metadata.is_dir() {
        let kind = "a file";
        Err(ProjectError::NotDirectory { path, kind })
    } else if metadata.uid() != we {
        let owner = metadata.uid();
        Err(ProjectError::ForeignState { path, owner, we })
    } else if mode & 0o077 != 0 {
        Err(ProjectError::TooOpen { path, mode })
    } else {
        Ok(())
    }
}

/// Keeps the state out of the user's `git status` without touching the user's own `.gitignore`.
fn ignore_everything(path: &Path) -> Result<(), ProjectError> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        Ok(mut file) => file
            .write_all(b"*\n")
            .map_err(ProjectError::io("write", path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(ProjectError::io("create", path)(error)),
    }
}

/// A path as one word of a shell, for the commands in hints.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The value of a variable, if it is set to something.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn project() -> (tempfile::TempDir, Project) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(CONFIG_FILE), "").unwrap();
        let project = Project::at(directory.path()).unwrap();
        (directory, project)
    }

    #[test]
    fn the_nearest_project_is_found() {
        let (directory, project) = project();
        let inner = directory.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        assert_eq!(Project::find(&inner).unwrap(), project);
        fs::write(directory.path().join("a").join(CONFIG_FILE), "").unwrap();
        assert_eq!(Project::find(&inner).unwrap().root, project.root.join("a"));
    }

    #[test]
    fn a_worktree_of_a_task_belongs_to_the_project_that_made_it() {
        let (_directory, project) = project();
        let inner = project.worktrees().join("tsk_7m3k9q2x4d1v/src");
        fs::create_dir_all(&inner).unwrap();
        let checkout = project.worktrees().join("tsk_7m3k9q2x4d1v");
        fs::write(checkout.join(CONFIG_FILE), "").unwrap();
        assert_eq!(Project::find(&inner).unwrap(), project);
    }

    #[test]
    fn a_directory_without_one_says_how_to_begin() {
        let directory = tempfile::tempdir().unwrap();
        let error = Project::find(directory.path()).unwrap_err();
        assert_eq!(error.code(), "not_initialised");
        assert!(error.hint().unwrap().contains("orch init"));
    }

    #[test]
    fn the_state_is_made_once_private_and_ignored() {
        let (_directory, project) = project();
        assert_eq!(project.check_state().unwrap_err().code(), "not_initialised");
        project.ensure_state().unwrap();
        project.ensure_state().unwrap();
        for directory in [&project.state, &project.runs(), &project.worktrees()] {
            let mode = directory.metadata().unwrap().mode() & 0o777;
            assert_eq!(mode, 0o700, "{}", directory.display());
        }
        let ignored = fs::read_to_string(project.state.join(".gitignore")).unwrap();
        assert_eq!(ignored, "*\n");
    }

    #[test]
    fn an_open_state_directory_is_refused_with_the_command_that_mends_it() {
        let (_directory, project) = project();
        for mode in [0o777, 0o750, 0o701] {
            drop(fs::remove_dir(&project.state));
            fs::create_dir(&project.state).unwrap();
            fs::set_permissions(&project.state, Permissions::from_mode(mode)).unwrap();
            let error = project.ensure_state().unwrap_err();
            assert_eq!(error.code(), "not_allowed");
            assert!(error.to_string().ends_with(&format!("(mode {mode:04o})")));
            let hint = error.hint().unwrap();
            assert_eq!(hint, format!("chmod 700 {}", project.state.display()));
        }
    }

    #[test]
    fn a_state_directory_that_is_a_link_or_a_file_is_refused() {
        let (directory, project) = project();
        let elsewhere = directory.path().join("elsewhere");
        make_private(&elsewhere).unwrap();
        symlink(&elsewhere, &project.state).unwrap();
        let error = project.ensure_state().unwrap_err();
        assert_eq!(error.code(), "not_allowed");
        assert!(error.to_string().contains("a symbolic link"), "{error}");
        fs::remove_file(&project.state).unwrap();
        fs::write(&project.state, "").unwrap();
        let error = project.ensure_state().unwrap_err();
        assert!(error.to_string().contains("a file"), "{error}");
    }

    #[test]
    fn a_link_inside_the_state_directory_is_refused() {
        let (directory, project) = project();
        make_private(&project.state).unwrap();
        symlink(directory.path(), project.runs()).unwrap();
        assert_eq!(project.ensure_state().unwrap_err().code(), "not_allowed");
    }

    #[test]
    fn another_users_state_directory_is_refused() {
        let (_directory, project) = project();
        project.ensure_state().unwrap();
        let metadata = project.state.symlink_metadata().unwrap();
        let error =
            check_metadata(project.state.clone(), &metadata, metadata.uid() + 1).unwrap_err();
        assert!(matches!(error, ProjectError::ForeignState { .. }));
        assert_eq!(error.code(), "not_allowed");
    }

    #[test]
    fn a_path_in_a_hint_is_one_word_of_the_shell() {
        assert_eq!(quoted(Path::new("/a/b-1.c")), "/a/b-1.c");
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
