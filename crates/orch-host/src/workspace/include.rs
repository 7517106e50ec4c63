//! Copying the untracked files a fresh worktree needs (`.env` and the like).

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path};

use rustix::fs::OFlags;

use super::{Result, WorkspaceError, Workspaces, refused};
use crate::git::split_nul;

/// The list: patterns as in `.gitignore`, at the top of the user's checkout.
const LIST: &str = ".worktreeinclude";

/// Most files that are copied.
const FILES: usize = 10_000;

/// Most bytes that are copied.
const BYTES: u64 = 1 << 30;

impl Workspaces {
    /// Copies the untracked files that the list names. Regular files only; no symbolic link is
    /// followed on either side, and a file that exists stays as it is.
    pub(super) fn copy_included(&self, worktree: &Path) -> Result<()> {
        let root = self.repository.root();
        let list = root.join(LIST);
        if !fs::symlink_metadata(&list).is_ok_and(|meta| meta.is_file()) {
            return Ok(());
        }
        let Some(git_dir) = self.repository.git_dir_of(root) else {
            return Ok(());
        };
        let view = self.view(&self.repository.checkout(&git_dir, root))?;
        let listed = view
            .call(["ls-files", "-z", "--others", "--ignored", "--exclude-from"])
            .argument(&list)
            .succeed()?;
        let paths = split_nul(&listed.stdout);
        if paths.len() > FILES {
            return Err(too_much(format!("{FILES} files")));
        }
        let mut left = BYTES;
        for path in &paths {
            copy(
                root,
                worktree,
                Path::new(std::ffi::OsStr::from_bytes(path)),
                &mut left,
            )?;
        }
        Ok(())
    }
}

fn too_much(limit: String) -> WorkspaceError {
    WorkspaceError::TooMuchIncluded { limit }
}

fn copy(root: &Path, worktree: &Path, path: &Path, left: &mut u64) -> Result<()> {
    let source = root.join(path);
    let meta = fs::symlink_metadata(&source).map_err(refused("look at", &source))?;
    if !meta.is_file() || !is_plain(path) || !make_parents(worktree, path)? {
        return Ok(());
    }
    *left = left
        .checked_sub(meta.len())
        .ok_or_else(|| too_much(format!("{BYTES} bytes")))?;
    let mut from = fs::OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&source)
        .map_err(refused("read", &source))?;
    let target = worktree.join(path);
    let opened = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(meta.permissions().mode() & 0o777)
        .open(&target);
    match opened {
        Ok(mut to) => io::copy(&mut from, &mut to)
            .map_err(refused("write", &target))
            .map(drop),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(refused("create", &target)(error)),
    }
}

/// Whether a path only goes down, and not into orch's own or git's directory.
fn is_plain(path: &Path) -> bool {
    path.components()
        .all(|part| matches!(part, Component::Normal(_)))
        && !path.starts_with(".orch")
        && !path.starts_with(".git")
}

/// Makes the directories above a file. False when one of them is something else, such as a
/// symbolic link that a branch brought along.
fn make_parents(worktree: &Path, path: &Path) -> Result<bool> {
    let mut directory = worktree.to_owned();
    for part in path.parent().into_iter().flat_map(Path::components) {
        directory.push(part);
        match fs::symlink_metadata(&directory) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir(&directory).map_err(refused("create", &directory))?;
            }
            Err(error) => return Err(refused("look at", &directory)(error)),
        }
    }
    Ok(true)
}
