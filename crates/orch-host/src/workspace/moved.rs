//! Worktrees of a repository that was moved together with them.
//!
//! Git notes where each worktree lies by its full path, and the worktree where git's notes lie.
//! After a move both are wrong, and git takes the worktree for a stranger. `git worktree repair`
//! mends that by what the worktree says; here what counts is git's own notes, since an agent can
//! write in its worktree. This file must not know what the worktrees hold.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Has git's notes in `common_dir` name the worktrees in `directory` that lay somewhere else, where
/// nothing is any more, under the same name. What cannot be mended is found, and named, when
/// the worktree is needed.
pub(super) fn mend(common_dir: &Path, directory: &Path) {
    let Ok(directory) = directory.canonicalize() else {
        return;
    };
    let notes = fs::read_dir(common_dir.join("worktrees"));
    for note in notes.into_iter().flatten().flatten() {
        if let Some(path) = moved(&note.path(), &directory) {
            // A worktree whose note cannot be written stays as it is.
            let _ = lead(&note.path(), &path);
        }
    }
}

/// Where the worktree of this note is now, if it was moved.
fn moved(note: &Path, directory: &Path) -> Option<PathBuf> {
    let text = fs::read(note.join("gitdir")).ok()?;
    let link = PathBuf::from(std::ffi::OsString::from_vec(
        text.strip_suffix(b"\n").unwrap_or(&text).to_vec(),
    ));
    let before = link.parent().filter(|_| link.ends_with(".git"))?;
    let gone = fs::symlink_metadata(before).is_err_and(|it| it.kind() == io::ErrorKind::NotFound);
    let now = directory.join(before.file_name()?);
    let is_there = || fs::symlink_metadata(&now).is_ok_and(|it| it.is_dir());
    (before.is_absolute() && gone && before != now && is_there()).then_some(now)
}

/// Has note and worktree name each other.
fn lead(note: &Path, path: &Path) -> io::Result<()> {
    let link = path.join(".git");
    let draft = note.join("gitdir.orch");
    fs::write(&draft, line(&[link.as_os_str()]))?;
    fs::rename(&draft, note.join("gitdir"))?;
    // What an agent made of it is put aside when the worktree is prepared.
    if fs::symlink_metadata(&link)?.is_file() {
        let note = note.canonicalize()?;
        fs::write(&link, line(&[OsStr::new("gitdir: "), note.as_os_str()]))?;
    }
    Ok(())
}

fn line(words: &[&OsStr]) -> Vec<u8> {
    let mut line: Vec<u8> = words.iter().flat_map(|it| it.as_bytes()).copied().collect();
    line.push(b'\n');
    line
}
