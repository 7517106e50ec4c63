//! Commits that an agent made and left: amended, reset away, or made on a detached `HEAD`.
//!
//! No ref leads to them. What git remembers of them is the reflog of the worktree's `HEAD`, which
//! goes with the worktree. The file is the agent's: it may be anything, of any size. Must not know
//! what becomes of the commits.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::{Result, Workspaces, Worktree};
use crate::git::Oid;

/// Most of a reflog that is read, bytes from its end.
const READ_BYTES: u64 = 256 << 10;
/// Most commits of a reflog that are looked at, the newest first.
const COMMITS: usize = 2_000;

impl Workspaces {
    /// The commits that the reflog of a worktree names and no ref leads to, children before their
    /// parents. A reflog that cannot be read names none.
    pub(super) fn left_in_reflog(&self, worktree: &Worktree) -> Result<Vec<Oid>> {
        let text = read(&worktree.git_dir.join("logs/HEAD")).unwrap_or_default();
        let mut named = named_in(&text);
        // Where the worktree stands is looked after by name.
        let head = self.repository.head_of(&worktree.git_dir);
        if let Some(head) = head.unwrap_or_default() {
            named.remove(&head);
        }
        if named.is_empty() {
            return Ok(Vec::new());
        }
        // What was pruned is nowhere to be had.
        let call = self
            .repository
            .call(["rev-list", "--topo-order", "--ignore-missing"]);
        let call = named
            .iter()
            .fold(call, |call, oid| call.argument(oid.as_str()));
        let output = call.argument("--not").argument("--all").run()?;
        if !output.status.success() {
            return Ok(Vec::new());
        }
        let unreachable = String::from_utf8_lossy(&output.stdout);
        let unreachable = unreachable.lines().filter_map(|line| line.parse().ok());
        Ok(unreachable.filter(|oid| named.contains(oid)).collect())
    }
}

/// The end of a file that may be anything.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let careful = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut options = OpenOptions::new();
    options.read(true);
    options.custom_flags(careful.bits().cast_signed());
    let mut file: File = options.open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    file.seek(SeekFrom::Start(meta.len().saturating_sub(READ_BYTES)))?;
    let mut text = Vec::new();
    file.take(READ_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// The commits in lines of `OLD NEW WHO WHEN`; a line that is none, or half of one, names none.
fn named_in(text: &[u8]) -> BTreeSet<Oid> {
    let lines = text.split(|byte| *byte == b'\n').rev();
    let words = lines.flat_map(|line| line.splitn(3, |byte| *byte == b' ').take(2));
    words
        .filter_map(|word| std::str::from_utf8(word).ok()?.parse::<Oid>().ok())
        .filter(|oid| oid.as_str().bytes().any(|byte| byte != b'0'))
        .take(COMMITS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_of_commits_are_read() {
        let (none, one, two) = ("0".repeat(40), "1".repeat(40), "2".repeat(40));
        let text = format!(
            "{} half of a line\n{none} {one} a <a> 1 +0000\tcommit: {two}\n{one} ; rm -rf\n\
             --exec=x y\n\n\u{fffd}\n",
            &two[..7]
        );
        let found: Vec<Oid> = named_in(text.as_bytes()).into_iter().collect();
        assert_eq!(found, [one.parse::<Oid>().unwrap()]);
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path()).is_err());
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        assert!(read(&link).is_err());
    }
}
