//! The files of a worktree as a tree, whatever state its index is in.
//!
//! The agent's own index is not used: it may be locked, broken, half merged, or have entries
//! marked as unchanged. A fresh one is read from the base commit, the differences are staged in it,
//! and the agent's index stays as it is.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Result, WorkspaceError, Worktree, refused, room, shown};
use crate::git::{GitError, Oid, View, split_nul};

/// The index of the last snapshot, kept beside git's own so that unchanged files are not read
/// again.
const REMEMBERED: &str = "orch-index";

/// How many files that git refuses are looked for one by one.
const REFUSED_FILES: usize = 64;

/// What a worktree holds.
pub(super) struct Snapshot {
    /// All files that are not ignored.
    pub(super) tree: Oid,
    /// The index that says so; lives as long as the view.
    pub(super) index: PathBuf,
    /// What is in the worktree and not in the tree, in words.
    pub(super) left_out: Vec<String>,
    /// Repositories inside it whose commits are nowhere else, in words.
    pub(super) holds: Vec<String>,
}

/// Takes a snapshot of `worktree` against the commit `base`.
pub(super) fn take(view: &View, worktree: &Worktree, base: &Oid) -> Result<Snapshot> {
    let index = view.scratch("index");
    read_base(view, &index, worktree, base)?;
    let changes = changes(view, &index, worktree)?;
    let mut left_out = changes.left_out;
    remove(view, &index, &changes.gone)?;
    let mut refusals = Vec::new();
    add(view, worktree, &index, &changes.present, &mut refusals)?;
    left_out.extend(refusals);
    let holds = inner_checkouts(view, &index, worktree)?;
    let written = view.call(["write-tree"]).index(&index).line();
    let tree = match written {
        Ok(tree) => tree.parse::<Oid>()?,
        Err(error) => {
            // Git that stages many files does not say that it could not keep one of them.
            for path in &changes.present {
                if !is_about_the_file(view, worktree, path)? {
                    return Err(WorkspaceError::NotKept(Box::new(error.into())));
                }
            }
            return Err(error.into());
        }
    };
    Ok(Snapshot {
        tree,
        index,
        left_out,
        holds,
    })
}

/// Bytes that the files of `worktree` may take as objects which differ from the commit `base`: at
/// most, as files of which nothing gets smaller. Writes no object.
pub(super) fn room_needed(view: &View, worktree: &Worktree, base: &Oid) -> Result<u64> {
    let index = view.scratch("room-index");
    read_base(view, &index, worktree, base)?;
    // A fresh index knows no times, and every file would count as changed. That some did change
    // is said with an exit status.
    view.call(["update-index", "-q", "--refresh"])
        .index(&index)
        .run()?;
    let changes = changes(view, &index, worktree)?;
    let lengths = changes.present.iter().filter_map(|path| {
        let file = worktree.path.join(OsStr::from_bytes(path));
        fs::symlink_metadata(file).ok().map(|meta| meta.len())
    });
    Ok(lengths.map(room::as_object).fold(0, u64::saturating_add))
}

/// Remembers an index for the next snapshot. Only speed depends on it.
pub(super) fn remember(index: &Path, worktree: &Worktree) {
    let _ = copy_with_time(index, &worktree.git_dir.join(REMEMBERED));
}

/// Copies an index. Git compares its time with those of the files to know what it can trust.
pub(super) fn copy_with_time(from: &Path, to: &Path) -> io::Result<()> {
    let time = fs::metadata(from)?.modified()?;
    fs::copy(from, to)?;
    fs::File::options().write(true).open(to)?.set_modified(time)
}

fn read_base(view: &View, index: &Path, worktree: &Worktree, base: &Oid) -> Result<()> {
    if copy_with_time(&worktree.git_dir.join(REMEMBERED), index).is_ok() {
        let merged = view
            .call(["read-tree", "-m", base.as_str()])
            .index(index)
            .run()?;
        if merged.status.success() {
            return Ok(());
        }
    }
    match fs::remove_file(index) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(refused("remove", index)(error));
        }
        _ => {}
    }
    view.call(["read-tree", base.as_str()])
        .index(index)
        .succeed()?;
    Ok(())
}

struct Changes {
    gone: Vec<Vec<u8>>,
    present: Vec<Vec<u8>>,
    left_out: Vec<String>,
}

fn changes(view: &View, index: &Path, worktree: &Worktree) -> Result<Changes> {
    let tracked = view
        .call([
            "diff-files",
            "-z",
            "--name-status",
            "--no-ext-diff",
            "--no-textconv",
            "--ignore-submodules=dirty",
        ])
        .index(index)
        .succeed()?;
    let (mut gone, mut present) = (Vec::new(), Vec::new());
    let mut fields = split_nul(&tracked.stdout).into_iter();
    while let (Some(status), Some(path)) = (fields.next(), fields.next()) {
        if status == b"D" {
            &mut gone
        } else {
            &mut present
        }
        .push(path);
    }
    if !gone.is_empty() {
        let sparse = kept_out_on_purpose(view, worktree)?;
        gone.retain(|path| !sparse.contains(path));
    }
    let untracked = view
        .call(["ls-files", "-z", "--others", "--exclude-standard"])
        .index(index)
        .succeed()?;
    let mut left_out = unreadable_directories(&untracked.stderr);
    for path in split_nul(&untracked.stdout) {
        match path.strip_suffix(b"/") {
            Some(inner) => left_out.push(inner_repository(inner)),
            None => present.push(path),
        }
    }
    Ok(Changes {
        gone,
        present,
        left_out,
    })
}

fn inner_repository(path: &[u8]) -> String {
    format!("'{}' is a git repository of its own", shown(path))
}

/// Git warns of a directory that it cannot read and goes on as if it were empty.
fn unreadable_directories(stderr: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(stderr)
        .lines()
        .filter(|line| line.contains("could not open directory"))
        .map(|line| line.trim_start_matches("warning: ").to_owned())
        .collect()
}

/// The paths that the agent's own index says are not to be on disk (a sparse checkout).
fn kept_out_on_purpose(view: &View, worktree: &Worktree) -> Result<BTreeSet<Vec<u8>>> {
    let copy = view.scratch("agents-index");
    if copy_with_time(&worktree.git_dir.join("index"), &copy).is_err() {
        return Ok(BTreeSet::new());
    }
    // An index that git cannot read says nothing.
    let listed = view.call(["ls-files", "-z", "-t"]).index(&copy).run()?;
    let entries = if listed.status.success() {
        split_nul(&listed.stdout)
    } else {
        Vec::new()
    };
    Ok(entries
        .into_iter()
        .filter_map(|entry| entry.strip_prefix(b"S ").map(<[u8]>::to_vec))
        .collect())
}

/// Checked-out submodules. Their commits live in their own repositories.
fn inner_checkouts(view: &View, index: &Path, worktree: &Worktree) -> Result<Vec<String>> {
    let listed = view
        .call(["ls-files", "-z", "--stage"])
        .index(index)
        .succeed()?;
    let mut inner = Vec::new();
    for entry in split_nul(&listed.stdout) {
        if let Some(tab) = entry.iter().position(|byte| *byte == b'\t')
            && entry.starts_with(b"160000 ")
            && is_checked_out(worktree, &entry[tab + 1..])
        {
            inner.push(inner_repository(&entry[tab + 1..]));
        }
    }
    let dot_git = worktree.path.join(".git");
    if fs::symlink_metadata(&dot_git).is_ok_and(|meta| !meta.is_file()) {
        inner.push("'.git' is a git repository of its own".to_owned());
    }
    Ok(inner)
}

fn is_checked_out(worktree: &Worktree, path: &[u8]) -> bool {
    let directory = worktree.path.join(OsStr::from_bytes(path));
    fs::symlink_metadata(directory.join(".git")).is_ok()
}

fn remove(view: &View, index: &Path, paths: &[Vec<u8>]) -> Result<()> {
    if !paths.is_empty() {
        view.call(["update-index", "-z", "--force-remove", "--stdin"])
            .index(index)
            .input(joined(paths))
            .succeed()?;
    }
    Ok(())
}

/// Stages files. Git takes all or none, so when one is refused the rest is tried in halves. That
/// git refuses one file is told; that it can keep nothing is an error.
fn add(
    view: &View,
    worktree: &Worktree,
    index: &Path,
    paths: &[Vec<u8>],
    refusals: &mut Vec<String>,
) -> Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    let output = view
        .call([
            "update-index",
            "-z",
            "--add",
            "--remove",
            "--replace",
            "--stdin",
        ])
        .index(index)
        .input(joined(paths))
        .run()?;
    if output.status.success() {
        refusals.extend(ignored_names(&output.stderr));
        return Ok(());
    }
    if refusals.len() >= REFUSED_FILES {
        return Err(output.failure().into());
    }
    if let [path] = paths {
        let error = output.failure();
        if !is_about_the_file(view, worktree, path)? {
            return Err(WorkspaceError::NotKept(Box::new(error.into())));
        }
        let why = error.stderr().lines().next().unwrap_or("git refused it");
        refusals.push(format!("'{}' could not be committed: {why}", shown(path)));
        return Ok(());
    }
    let (first, second) = paths.split_at(paths.len() / 2);
    add(view, worktree, index, first, refusals)?;
    add(view, worktree, index, second, refusals)
}

/// Whether a file that git refuses to stage is refused for what it is: it cannot be read or
/// filtered, or its content can be kept and so it is its name. What git can read and cannot keep
/// is the repository's trouble.
fn is_about_the_file(
    view: &View,
    worktree: &Worktree,
    path: &[u8],
) -> std::result::Result<bool, GitError> {
    let name = OsStr::from_bytes(path);
    // Of a link git keeps where it leads to, and not what is there.
    let link = fs::read_link(worktree.path.join(name));
    let hash = |options: &[&str]| {
        let call = view.call(["hash-object"].iter().chain(options));
        let call = match &link {
            Ok(target) => call
                .argument("--stdin")
                .input(target.as_os_str().as_bytes()),
            Err(_) => call.argument("--").argument(name),
        };
        Ok::<_, GitError>(call.run()?.status.success())
    };
    Ok(!hash(&[])? || hash(&["-w"])?)
}

/// Git skips names that another system could take for its own directory, and only mentions it.
fn ignored_names(stderr: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(stderr)
        .lines()
        .filter_map(|line| line.strip_prefix("Ignoring path "))
        .map(|path| format!("'{path}' has a name that git never adds"))
        .collect()
}

fn joined(paths: &[Vec<u8>]) -> Vec<u8> {
    paths
        .iter()
        .flat_map(|path| path.iter().copied().chain([0]))
        .collect()
}
