//! How much room the disks of a project have, and whether that is enough to start agents.
//!
//! Agents that run are never stopped for it: their ends are recorded in space that was set aside.
//! But a start needs room for a worktree, logs and rows, and the last bytes belong to those ends.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::units::format_size;

/// Free bytes below which nothing is started, unless the configuration or the size of the disk
/// says otherwise.
const FLOOR_BYTES: u64 = 2 << 30;
/// On a small disk the floor is its size divided by this.
const FLOOR_PART: u64 = 20;

/// A disk with less than this free counts as full.
const FULL_BYTES: u64 = 1 << 20;

/// Too little room on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// A directory on that disk.
    pub path: PathBuf,
    /// Bytes that are free there for this user.
    pub free: u64,
    /// Bytes that must be free for anything to be started.
    pub floor: u64,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} free on the disk of {}, and {} must be: make room, or lower limits.free_space",
            coarse(self.free),
            self.path.display(),
            coarse(self.floor)
        )
    }
}

/// The first of these directories whose disk has less free than `floor`, or than the usual floor
/// for a disk of its size. A disk that cannot be asked counts as roomy: what happens there is told
/// by whoever writes.
#[must_use]
pub fn shortage<'a>(
    directories: impl IntoIterator<Item = &'a Path>,
    floor: Option<u64>,
) -> Option<Shortage> {
    directories.into_iter().find_map(|path| {
        let stat = rustix::fs::statvfs(path).ok()?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let size = stat.f_blocks.saturating_mul(stat.f_frsize);
        let floor = floor.unwrap_or_else(|| usual_floor(size));
        (free < floor).then(|| Shortage {
            path: path.to_owned(),
            free,
            floor,
        })
    })
}

/// Whether something failed because there was no room: by what the system or git said of it, or,
/// since git does not always say, by how little is free on these disks now.
pub(crate) fn is_lack_of_space<'a>(
    said: &str,
    directories: impl IntoIterator<Item = &'a Path>,
) -> bool {
    let says_so = [
        "No space left on device",
        "Out of diskspace",
        "quota exceeded",
    ]
    .iter()
    .any(|words| said.contains(words));
    says_so || shortage(directories, Some(FULL_BYTES)).is_some()
}

fn usual_floor(disk: u64) -> u64 {
    FLOOR_BYTES.min(disk / FLOOR_PART)
}

/// A size in its largest unit, rounded down.
fn coarse(bytes: u64) -> String {
    let units = [1 << 40, 1 << 30, 1 << 20, 1 << 10];
    let unit = units.into_iter().find(|unit| bytes >= *unit).unwrap_or(1);
    format_size(bytes - bytes % unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_a_part_of_a_small_disk_and_fixed_for_a_large_one() {
        assert_eq!(usual_floor(64 << 20), (64 << 20) / 20);
        assert_eq!(usual_floor(40 << 30), 2 << 30);
        assert_eq!(usual_floor(8 << 40), 2 << 30);
    }

    #[test]
    fn a_disk_is_short_only_below_the_floor() {
        let directory = tempfile::tempdir().unwrap();
        let place = [directory.path()];
        assert_eq!(shortage(place, Some(0)), None);
        let short = shortage(place, Some(u64::MAX)).unwrap();
        assert_eq!(
            (short.path.as_path(), short.floor),
            (directory.path(), u64::MAX)
        );
        let nowhere = Path::new("/no/such/directory");
        assert_eq!(shortage([nowhere], Some(u64::MAX)), None);
    }

    #[test]
    fn sizes_are_told_coarsely() {
        assert_eq!(coarse(0), "0B");
        assert_eq!(coarse(3_355_443), "3MiB");
        assert_eq!(coarse(5 << 30), "5GiB");
    }
}
