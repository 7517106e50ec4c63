//! Files of a run directory that other processes, and agents of the same user, can tamper with.
//!
//! Everything goes through an open directory, so that a repository that is moved while its
//! agents run keeps working, and through descriptors that can neither block (a FIFO) nor lead
//! elsewhere (a symbolic link). Must not know what the files mean.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use orch_core::Timestamp;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::points::{self, Stage};

const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);
const CAREFUL: OFlags = OFlags::CLOEXEC
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK);

/// What a file that was written is still there after. Every file survives the death of whoever
/// wrote it; only one that was flushed survives the machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Survives {
    /// Any process may be killed.
    Kill,
    /// The power may be cut.
    PowerCut,
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
}

/// What a small file turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Small {
    /// There is none.
    Absent,
    /// Its bytes, all of them.
    Bytes(Vec<u8>),
    /// It is there and is not a file of ours, for this reason.
    Unusable(String),
}

impl Dir {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            fd: rustix::fs::open(path, flags, Mode::empty())?,
        })
    }

    /// The same directory, opened once more.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
        })
    }

    /// Whether the directory has been removed; nobody can ever read what is written into it.
    pub(crate) fn is_gone(&self) -> bool {
        rustix::fs::fstat(&self.fd).is_ok_and(|stat| stat.st_nlink == 0)
    }

    pub(crate) fn exists(&self, name: &str) -> io::Result<bool> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The length of a file, 0 where there is none.
    pub(crate) fn length(&self, name: &str) -> u64 {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// When a file was last written, by the wall clock; `None` if it cannot be told.
    pub(crate) fn modified(&self, name: &str) -> Option<Timestamp> {
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let seconds = stat.st_mtime;
        let millis = i64::try_from(stat.st_mtime_nsec).ok()? / 1_000_000;
        Some(Timestamp(seconds.checked_mul(1_000)?.checked_add(millis)?))
    }

    /// Opens a log: every write goes to its end, whoever else writes.
    pub(crate) fn open_log(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | CAREFUL;
        let file = File::from(rustix::fs::openat(&self.fd, name, flags, PRIVATE)?);
        require_regular(&file, name)?;
        // The agent must not inherit a descriptor that answers "try again".
        rustix::io::ioctl_fionbio(&file, false)?;
        Ok(file)
    }

    /// Opens the lock file without taking the lock.
    pub(crate) fn open_lock(&self, name: &str, create: bool) -> io::Result<File> {
        let mut flags = OFlags::RDWR | CAREFUL;
        if create {
            flags |= OFlags::CREATE;
        }
        Ok(rustix::fs::openat(&self.fd, name, flags, PRIVATE)?.into())
    }

    /// Whether some process holds the lock. Takes it, shared, for an instant; who wants it
    /// exclusively must try more than once.
    pub(crate) fn is_locked(&self, name: &str) -> io::Result<bool> {
        let file = match self.open_lock(name, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Creates a file that must not be there yet. `AlreadyExists` if it is.
    pub(crate) fn create_new(
        &self,
        name: &str,
        bytes: &[u8],
        survives: Survives,
    ) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | CAREFUL;
        let mut file = File::from(rustix::fs::openat(&self.fd, name, flags, PRIVATE)?);
        points::reached(name, Stage::Created);
        file.write_all(bytes)?;
        if survives == Survives::PowerCut {
            file.sync_all()?;
            self.sync()?;
        }
        points::reached(name, Stage::Complete);
        Ok(())
    }

    /// Replaces a file in one step, so that a reader sees the old or the new and, if it is to
    /// survive one, a power cut leaves one of them. Writes over `temporary`, whose blocks may have
    /// been set aside.
    pub(crate) fn replace(
        &self,
        name: &str,
        temporary: &str,
        bytes: &[u8],
        survives: Survives,
    ) -> io::Result<()> {
        let mut file = self.open_scratch(temporary)?;
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        points::reached(name, Stage::Written);
        if survives == Survives::PowerCut {
            file.sync_all()?;
        }
        points::reached(name, Stage::Synced);
        rustix::fs::renameat(&self.fd, temporary, &self.fd, name)?;
        points::reached(name, Stage::Renamed);
        if survives == Survives::PowerCut {
            self.sync()?;
        }
        points::reached(name, Stage::Complete);
        Ok(())
    }

    /// Makes an empty file, unless it is there. Survives the death of this process, and a power
    /// cut perhaps not.
    pub(crate) fn touch(&self, name: &str) -> io::Result<()> {
        self.open_scratch(name).map(drop)
    }

    /// Writes over the beginning of a file and leaves the rest of it as it is, so that no block is
    /// needed. Survives the death of this process, and a power cut perhaps not.
    pub(crate) fn overwrite(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.open_scratch(name)?.write_all(bytes)
    }

    /// Sets disk space for `SIZE` bytes aside under this name.
    pub(crate) fn reserve<const SIZE: usize>(&self, name: &str) -> io::Result<()> {
        // Zeros written, not a hole: only what was written has its space when the disk is full.
        self.open_scratch(name)?.write_all(&[0; SIZE])
    }

    fn open_scratch(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | CAREFUL;
        let file = File::from(rustix::fs::openat(&self.fd, name, flags, PRIVATE)?);
        require_regular(&file, name)?;
        Ok(file)
    }

    /// Moves a file aside without losing it, even if another was moved there before.
    pub(crate) fn move_aside(&self, name: &str, aside: &str) -> io::Result<()> {
        if self.exists(aside)? {
            // A directory can only replace an empty one, so the older finding steps back first.
            let older = format!("{aside}.{}", std::process::id());
            rustix::fs::renameat(&self.fd, aside, &self.fd, older.as_str())?;
        }
        rustix::fs::renameat(&self.fd, name, &self.fd, aside)?;
        self.sync()
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Reads a file of at most `most` bytes. Never blocks and never follows a link.
    pub(crate) fn read_small(&self, name: &str, most: u64) -> io::Result<Small> {
        let flags = OFlags::RDONLY | OFlags::NOCTTY | CAREFUL;
        let file = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(Small::Absent),
            Err(error @ (Errno::LOOP | Errno::ACCESS | Errno::NXIO)) => {
                return Ok(Small::Unusable(format!("{name} cannot be opened: {error}")));
            }
            Err(error) => return Err(error.into()),
        };
        let length = match require_regular(&file, name) {
            Ok(length) => length,
            Err(error) => return Ok(Small::Unusable(error.to_string())),
        };
        if length > most {
            let text = format!("{name} is {length} bytes long; at most {most} are expected");
            return Ok(Small::Unusable(text));
        }
        // One byte more, so that its end is found without growing.
        let mut bytes = Vec::with_capacity(usize::try_from(length + 1).unwrap_or(0));
        file.take(most).read_to_end(&mut bytes)?;
        Ok(Small::Bytes(bytes))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }
}

/// The length of the file, bytes, if it is one.
fn require_regular(file: &File, name: &str) -> io::Result<u64> {
    let stat = rustix::fs::fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    } else {
        Err(io::Error::other(format!("{name} is not a regular file")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn dir() -> (tempfile::TempDir, Dir) {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        (temporary, dir)
    }

    #[test]
    fn a_small_file_is_read_and_everything_else_is_named() {
        let (path, dir) = dir();
        let path = path.path();
        std::fs::write(path.join("good"), b"abc").unwrap();
        symlink(path.join("good"), path.join("link")).unwrap();
        std::fs::create_dir(path.join("directory")).unwrap();
        std::fs::write(path.join("long"), [0; 9]).unwrap();
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path.join("fifo"), FileType::Fifo, mode, 0).unwrap();

        let read = |name| dir.read_small(name, 8).unwrap();
        assert_eq!(read("good"), Small::Bytes(b"abc".to_vec()));
        assert_eq!(read("none"), Small::Absent);
        for name in ["link", "directory", "long", "fifo"] {
            assert!(matches!(read(name), Small::Unusable(_)), "{name}");
        }
    }

    #[test]
    fn a_replaced_file_is_exactly_the_new_bytes_and_private() {
        let (path, dir) = dir();
        dir.reserve::<4096>("spare").unwrap();
        assert_eq!(dir.length("spare"), 4096);
        dir.replace("record", "spare", b"short", Survives::PowerCut)
            .unwrap();
        let written = path.path().join("record");
        assert_eq!(std::fs::read(&written).unwrap(), b"short");
        let mode = std::fs::metadata(&written).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!dir.exists("spare").unwrap());
    }

    #[test]
    fn a_second_creation_is_refused() {
        let (_path, dir) = dir();
        let create = |bytes| dir.create_new("gate", bytes, Survives::Kill);
        create(b"1").unwrap();
        let error = create(b"2").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_lock_is_seen_while_it_is_held() {
        let (_path, dir) = dir();
        assert!(!dir.is_locked("lock").unwrap());
        let held = dir.open_lock("lock", true).unwrap();
        assert!(!dir.is_locked("lock").unwrap());
        held.try_lock().unwrap();
        assert!(dir.is_locked("lock").unwrap());
        drop(held);
        assert!(!dir.is_locked("lock").unwrap());
    }

    #[test]
    fn a_removed_directory_is_noticed_and_a_moved_one_still_works() {
        let (path, _) = dir();
        let (old, new) = (path.path().join("old"), path.path().join("new"));
        std::fs::create_dir(&old).unwrap();
        let dir = Dir::open(&old).unwrap();
        std::fs::rename(&old, &new).unwrap();
        dir.create_new("file", b"x", Survives::PowerCut).unwrap();
        assert!(new.join("file").exists());
        assert!(!dir.is_gone());
        std::fs::remove_dir_all(&new).unwrap();
        assert!(dir.is_gone());
    }
}
