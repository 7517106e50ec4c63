//! Taking the files of a checkout from one commit to another without overwriting anything.
//!
//! `git read-tree -m -u` refuses to overwrite what was changed and what is untracked, but takes
//! ignored files for expendable. A user's `.env` is not, so those are looked for first.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Result, patiently, refused, room, shown};
use crate::git::{Call, GitError, Oid, View, split_nul};

/// One move of one checkout.
pub(super) struct Advance<'a> {
    /// The checkout.
    pub(super) view: &'a View,
    /// Its files.
    pub(super) work_tree: &'a Path,
    /// Its index, unless it is git's own.
    pub(super) index: Option<&'a Path>,
    /// What index and files hold now, local changes aside.
    pub(super) from: &'a Oid,
    /// What they shall hold.
    pub(super) to: &'a Oid,
}

impl Advance<'_> {
    /// Files that git does not track in this checkout and that stand where `to` puts something.
    pub(super) fn untracked_in_the_way(&self) -> Result<Vec<String>> {
        let added = added_paths(self.view, self.from, self.to)?;
        if added.is_empty() {
            return Ok(Vec::new());
        }
        let listed = self.call(&["ls-files", "-z"]).succeed()?;
        let tracked: BTreeSet<Vec<u8>> = split_nul(&listed.stdout).into_iter().collect();
        let mut found = BTreeSet::new();
        for path in &added {
            if let Some(obstacle) = self.obstacle(&tracked, path)? {
                found.insert(shown(obstacle));
            }
        }
        Ok(found.into_iter().collect())
    }

    /// What stands where `path` goes: itself, or something that should be a directory above it.
    fn obstacle<'p>(
        &self,
        tracked: &BTreeSet<Vec<u8>>,
        path: &'p [u8],
    ) -> Result<Option<&'p [u8]>> {
        let above = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let places = above.map(|(end, _)| &path[..end]).chain([path]);
        for place in places {
            let real = self.work_tree.join(OsStr::from_bytes(place));
            match fs::symlink_metadata(&real) {
                // A directory above is as it should be; one in place of the file is git's to judge
                // if it holds tracked files.
                Ok(meta) if meta.is_dir() && (place != path || holds_any(tracked, place)) => {}
                Ok(_) if tracked.contains(place) => return Ok(None),
                Ok(_) => return Ok(Some(place)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(refused("look at", &real)(error)),
            }
        }
        Ok(None)
    }

    /// Bytes by which the files of this checkout may grow.
    pub(super) fn room_needed(&self) -> Result<u64> {
        let changed = self
            .view
            .call(["diff-tree", "-r", "-z", "--raw", "--no-abbrev"])
            .argument("--no-renames")
            .argument("--ignore-submodules=dirty")
            .argument(self.from.as_str())
            .argument(self.to.as_str())
            .succeed()?;
        let (old, new) = changed_blobs(&split_nul(&changed.stdout));
        Ok(self.sizes(&new)?.saturating_sub(self.sizes(&old)?))
    }

    /// Bytes that these blobs take as files.
    fn sizes(&self, blobs: &[u8]) -> Result<u64> {
        if blobs.is_empty() {
            return Ok(0);
        }
        let call = self
            .view
            .call(["cat-file", "--batch-check=%(objectsize)"])
            .input(blobs);
        let output = call.succeed()?;
        // An object that is missing is told with words; git says so when it is to be written.
        let sizes = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| line.parse().ok())
            .map(room::in_blocks)
            .fold(0, u64::saturating_add);
        Ok(sizes)
    }

    /// Whether git would do it. Changes nothing.
    pub(super) fn rehearse(&self) -> std::result::Result<(), GitError> {
        patiently(|| self.read_tree(&["read-tree", "-n", "-m", "-u"])).map(drop)
    }

    /// Does it. What git refuses changes nothing; where it finds no room, or is stopped, some files
    /// may be new ones or half of them.
    pub(super) fn perform(&self) -> std::result::Result<(), GitError> {
        patiently(|| self.read_tree(&["read-tree", "-m", "-u"])).map(drop)
    }

    /// Lets git look at every file, so that one that was only touched does not count as changed.
    pub(super) fn refresh(&self) -> std::result::Result<(), GitError> {
        // Exit status 1 says that some file is changed, which is no fault.
        let output = self.call(&["update-index", "-q", "--refresh"]).run()?;
        let is_silent = output.stderr.is_empty();
        match output.status.code() {
            Some(0 | 1) => Ok(()),
            _ => match output.failure() {
                // Whoever holds the lock is waited for when it matters. Asked to be quiet, git does
                // not say that it is held; whoever asks for it next is told.
                error if error.is_contention() || is_silent => Ok(()),
                error => Err(error),
            },
        }
    }

    fn read_tree(&self, arguments: &[&str]) -> Call {
        let call = self.call(arguments);
        call.argument(self.from.as_str()).argument(self.to.as_str())
    }

    fn call(&self, arguments: &[&str]) -> Call {
        let call = self.view.call(arguments);
        match self.index {
            Some(index) => call.index(index),
            None => call,
        }
    }
}

/// The names of the blobs that were and that shall be, a line each, of what `diff-tree --raw -z`
/// lists: `:MODE MODE BLOB BLOB LETTER` and the path in turns.
fn changed_blobs(listed: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>) {
    const SUBMODULE: &[u8] = b"160000";
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for entry in listed.iter().step_by(2) {
        let fields: Vec<&[u8]> = entry.split(|byte| *byte == b' ').collect();
        let [before, after, was, becomes, ..] = fields[..] else {
            continue;
        };
        for (mode, blob, blobs) in [
            (before.strip_prefix(b":").unwrap_or(before), was, &mut old),
            (after, becomes, &mut new),
        ] {
            let is_none = blob.iter().all(|byte| *byte == b'0');
            if mode != SUBMODULE && !is_none {
                blobs.extend_from_slice(blob);
                blobs.push(b'\n');
            }
        }
    }
    (old, new)
}

/// Whether a directory holds a tracked file.
fn holds_any(tracked: &BTreeSet<Vec<u8>>, directory: &[u8]) -> bool {
    let inside = [directory, b"/"].concat();
    tracked
        .range(inside.clone()..)
        .next()
        .is_some_and(|path| path.starts_with(&inside))
}

/// Paths of `to` that `from` does not have.
pub(super) fn added_paths(view: &View, from: &Oid, to: &Oid) -> Result<Vec<Vec<u8>>> {
    let output = view
        .call(["diff-tree", "-r", "-z", "--name-only", "--no-renames"])
        .argument("--diff-filter=A")
        .argument("--ignore-submodules=dirty")
        .argument(from.as_str())
        .argument(to.as_str())
        .succeed()?;
    Ok(split_nul(&output.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_taken_from_both_sides_and_submodules_are_none() {
        let (zero, one, two) = ("0".repeat(40), "1".repeat(40), "2".repeat(40));
        let listed = [
            format!(":000000 100644 {zero} {one} A"),
            "new file".to_owned(),
            format!(":100644 100755 {one} {two} M"),
            ":100644 100644 1 2 M".to_owned(),
            format!(":120000 000000 {two} {zero} D"),
            "link".to_owned(),
            format!(":160000 160000 {one} {two} M"),
            "submodule".to_owned(),
        ]
        .map(String::into_bytes);
        let (old, new) = changed_blobs(&listed);
        assert_eq!(String::from_utf8(old).unwrap(), format!("{one}\n{two}\n"));
        assert_eq!(String::from_utf8(new).unwrap(), format!("{one}\n{two}\n"));
    }
}
