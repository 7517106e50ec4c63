//! One writer per state directory: whoever holds the lock on `.orch/orch.lock` owns the database.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the name of a holder is looked for, and the pause in between.
const NAME_TRIES: u32 = 20;
const NAME_PAUSE: Duration = Duration::from_millis(5);

/// The lock, held until dropped. The kernel lets go of it when the process dies.
#[derive(Debug)]
pub(crate) struct StateLock {
    file: File,
}

/// A file and where it was. As long as somebody holds it open, no other can be taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Place {
    /// What is at `path` now.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::new(path, &path.symlink_metadata()?))
    }

    fn new(path: &Path, metadata: &std::fs::Metadata) -> Self {
        Self {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    /// Where it was.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is not there any more, or another is there in its stead. `false` if that
    /// cannot be told now.
    pub(crate) fn is_lost(&self) -> bool {
        match Self::of(&self.path) {
            Ok(now) => now != *self,
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ),
        }
    }
}

/// Why the lock could not be had.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Somebody else has it; what they wrote about themselves.
    Held(String),
    /// The lock file could not be used.
    Io(io::Error),
}

impl StateLock {
    /// Takes the lock or says who has it. `purpose` is told to others who ask.
    pub(crate) fn take(path: &Path, purpose: &str) -> Result<Self, LockError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(LockError::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held(settled_holder(&mut file)));
            }
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        let text = format!("{purpose}, pid {}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(LockError::Io)?;
        Ok(Self { file })
    }

    /// The file that is locked, at the path it was locked by. Once it is lost, another process
    /// can lock what is there instead.
    pub(crate) fn place(&self, path: &Path) -> io::Result<Place> {
        Ok(Place::new(path, &self.file.metadata()?))
    }
}

/// Who holds the lock. Between taking it and writing its name a holder is nameless, or looks like
/// the one before it; so the name is read until it is the same twice.
fn settled_holder(file: &mut File) -> String {
    let mut last = None;
    for _ in 0..NAME_TRIES {
        let now = holder(file);
        if now.is_some() && now == last {
            break;
        }
        last = now;
        std::thread::sleep(NAME_PAUSE);
    }
    last.unwrap_or_else(|| "another process".to_owned())
}

fn holder(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(200).read_to_string(&mut text).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_that_is_removed_or_replaced_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let path = state.join("lock");
        let lock = StateLock::take(&path, "orch serve").unwrap();
        let place = lock.place(&path).unwrap();
        assert!(!place.is_lost());
        std::fs::remove_dir_all(&state).unwrap();
        assert!(place.is_lost());
        std::fs::create_dir(&state).unwrap();
        let _second = StateLock::take(&path, "another").unwrap();
        assert!(place.is_lost());
    }

    #[test]
    fn the_second_is_told_who_is_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orch.lock");
        let first = StateLock::take(&path, "orch serve").unwrap();
        let pid = std::process::id();
        match StateLock::take(&path, "orch task add") {
            Err(LockError::Held(holder)) => assert_eq!(holder, format!("orch serve, pid {pid}")),
            other => panic!("{other:?}"),
        }
        drop(first);
        assert!(StateLock::take(&path, "orch task add").is_ok());
    }
}
