//! Whole directories: moving, measuring, listing and removing them. No symbolic link is followed.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// How much is in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Bytes of disk.
    pub bytes: u64,
    /// Files, links and what else is not a directory.
    pub files: u64,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.bytes, self.files)
    }
}

impl FromStr for Size {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (bytes, files) = text.split_once(' ').ok_or(())?;
        Ok(Self {
            bytes: bytes.parse().map_err(drop)?,
            files: files.trim_end().parse().map_err(drop)?,
        })
    }
}

/// Renames `from` to `to`. A directory can only change its parent if its owner may write in it, and
/// agents (module caches, for one) leave such that nobody may.
pub(super) fn rename_away(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let found = fs::symlink_metadata(from)?;
            if !found.is_dir() {
                return Err(error);
            }
            let mode = found.permissions().mode();
            fs::set_permissions(from, fs::Permissions::from_mode(mode | 0o700))?;
            fs::rename(from, to)
        }
        other => other,
    }
}

/// How much is at `path`.
pub(super) fn measure(path: &Path) -> io::Result<Size> {
    let mut size = Size::default();
    walk(path, &mut |_, meta| {
        size.bytes += meta.blocks() * 512;
        size.files += u64::from(!meta.is_dir());
        true
    })?;
    Ok(size)
}

/// Up to `limit` files at `path`, with their lengths, in order of their names.
pub(super) fn list(path: &Path, limit: usize) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    walk(path, &mut |file, meta| {
        if !meta.is_dir() {
            let relative = file.strip_prefix(path).unwrap_or(file);
            found.push((relative.to_owned(), meta.len()));
        }
        found.len() < limit
    })?;
    Ok(found)
}

/// Shows everything at `path` to `see` until it says `false`; in order of names within a directory.
fn walk(path: &Path, see: &mut dyn FnMut(&Path, &fs::Metadata) -> bool) -> io::Result<()> {
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path)?;
        if !see(&path, &meta) {
            return Ok(());
        }
        if meta.is_dir() {
            let entries = fs::read_dir(&path)?.map(|entry| entry.map(|entry| entry.path()));
            let mut entries = entries.collect::<io::Result<Vec<_>>>()?;
            entries.sort_unstable_by(|one, other| other.cmp(one));
            open.append(&mut entries);
        }
    }
    Ok(())
}

/// Removes a directory and everything in it. Directories that an agent made unwritable are opened
/// up first. Nothing there is nothing to do.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
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
