//! Whether a disk has room for something before git begins to write it.
//!
//! Git that finds no room stops in the middle: half an object stays in the repository, and half
//! the files of a checkout are new ones. Both are as large as what was free.

use std::fmt;
use std::path::{Path, PathBuf};

/// Free bytes that are needed beside what is counted: trees, a commit, refs, an index.
const BESIDE: u64 = 1 << 20;

const MEBIBYTE: u64 = 1 << 20;

/// Too little room on a disk for something to be written in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cramped {
    /// Where it is to be written.
    path: PathBuf,
    /// Bytes that are free there for this user.
    free: u64,
    /// Bytes that must be free.
    needed: u64,
}

impl fmt::Display for Cramped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In full MiB: other words are said anew, and what is free changes all the time.
        write!(
            f,
            "{} MiB must be free on the disk of {}, and {} are",
            self.needed.div_ceil(MEBIBYTE),
            self.path.display(),
            self.free / MEBIBYTE
        )
    }
}

/// Whether there is too little room for this many bytes in `path`. A disk that cannot be asked
/// counts as roomy: what happens there is told by whoever writes.
pub(super) fn cramped(path: &Path, bytes: u64) -> Option<Cramped> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    cramped_with(path, free, bytes)
}

fn cramped_with(path: &Path, free: u64, bytes: u64) -> Option<Cramped> {
    let needed = bytes.saturating_add(BESIDE);
    (free < needed).then(|| Cramped {
        path: path.to_owned(),
        free,
        needed,
    })
}

/// Bytes that a file of this length takes at most as an object: a header, what incompressible
/// content grows by, and whole blocks.
pub(super) fn as_object(length: u64) -> u64 {
    const HEADER: u64 = 64;
    const GROWS_BY_PART: u64 = 1_000;
    in_blocks(
        length
            .saturating_add(length / GROWS_BY_PART)
            .saturating_add(HEADER),
    )
}

/// Bytes that a file of this length takes.
pub(super) fn in_blocks(length: u64) -> u64 {
    const BLOCK: u64 = 4_096;
    length.div_ceil(BLOCK).saturating_mul(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_needs_its_own_room_and_a_little_more() {
        let path = Path::new("objects");
        let needed = (9 << 20) + BESIDE;
        assert_eq!(cramped_with(path, needed, 9 << 20), None);
        let short = cramped_with(path, needed - 1, 9 << 20).unwrap();
        assert_eq!((short.free, short.needed), (needed - 1, needed));
        assert_eq!(
            short.to_string(),
            "10 MiB must be free on the disk of objects, and 9 are"
        );
        assert!(cramped_with(path, BESIDE - 1, 0).is_some());
        let endless = cramped_with(path, 0, u64::MAX).unwrap();
        assert!(endless.to_string().ends_with("and 0 are"), "{endless}");
    }

    #[test]
    fn a_disk_that_cannot_be_asked_counts_as_roomy() {
        assert_eq!(cramped(Path::new("/nowhere/at/all"), u64::MAX), None);
        assert!(cramped(Path::new("/"), u64::MAX).is_some());
    }

    #[test]
    fn an_object_is_counted_in_whole_blocks_and_never_smaller_than_its_file() {
        assert_eq!(as_object(0), 4_096);
        assert_eq!(as_object(4_000), 4_096);
        assert_eq!(as_object(4_096), 8_192);
        assert_eq!(as_object(9_000_000), 9_011_200);
        assert!(as_object(u64::MAX) > u64::MAX - 4_096);
        assert_eq!((in_blocks(0), in_blocks(1)), (0, 4_096));
    }
}
