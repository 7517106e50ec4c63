//! Files of a run directory that other processes, and agents of the same user, can tamper with.
//!
//! Everything goes through an open directory, so that a repository that is moved while its
//! agents run keeps working, and through descriptors that can neither block (a FIFO) nor lead
//! elsewhere (a symbolic link). Must not know what the files mean.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);
const CAREFUL: OFlags = OFlags::CLOEXEC
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK);

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

    /// Creates a file that must not be there yet, durably. `AlreadyExists` if it is.
    pub(crate) fn create_new(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | CAREFUL;
        let mut file = File::from(rustix::fs::openat(&self.fd, name, flags, PRIVATE)?);
        file.write_all(bytes)?;
        file.sync_all()?;
        self.sync()
    }

    /// Replaces a file in one step, so that a reader sees the old or the new and a power cut
    /// leaves one of them. Writes over `temporary`, whose blocks may have been set aside.
    pub(crate) fn replace(&self, name: &str, temporary: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.open_scratch(temporary)?;
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()?;
        rustix::fs::renameat(&self.fd, temporary, &self.fd, name)?;
        self.sync()
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

    /// Sets `bytes` blocks of disk aside under this name.
    pub(crate) fn reserve(&self, name: &str, bytes: u64) -> io::Result<()> {
        let mut file = self.open_scratch(name)?;
        // Zeros written, not a hole: only written blocks are there when the disk is full.
        let zeros = [0_u8; 1024];
        let mut left = bytes;
        while left > 0 {
            let step = left.min(zeros.len() as u64);
            file.write_all(&zeros[..usize::try_from(step).unwrap_or(zeros.len())])?;
            left -= step;
        }
        file.sync_all()
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
        if let Err(error) = require_regular(&file, name) {
            return Ok(Small::Unusable(error.to_string()));
        }
        let length = file.metadata()?.len();
        if length > most {
            let text = format!("{name} is {length} bytes long; at most {most} are expected");
            return Ok(Small::Unusable(text));
        }
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(Small::Bytes(bytes))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }
}

fn require_regular(file: &File, name: &str) -> io::Result<()> {
    let mode = rustix::fs::fstat(file)?.st_mode;
    if FileType::from_raw_mode(mode) == FileType::RegularFile {
        Ok(())
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
        dir.reserve("spare", 4096).unwrap();
        assert_eq!(dir.length("spare"), 4096);
        dir.replace("record", "spare", b"short").unwrap();
        let written = path.path().join("record");
        assert_eq!(std::fs::read(&written).unwrap(), b"short");
        let mode = std::fs::metadata(&written).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!dir.exists("spare").unwrap());
    }

    #[test]
    fn a_second_creation_is_refused() {
        let (_path, dir) = dir();
        dir.create_new("gate", b"1").unwrap();
        let error = dir.create_new("gate", b"2").unwrap_err();
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
        dir.create_new("file", b"x").unwrap();
        assert!(new.join("file").exists());
        assert!(!dir.is_gone());
        std::fs::remove_dir_all(&new).unwrap();
        assert!(dir.is_gone());
    }
}
