//! What orch takes away and does not yet give up: a place with a lifetime.
//!
//! Nothing is deleted where it lies. It is renamed into an *item* of the trash, which costs the
//! same however large it is, and its files are removed long after, by [`Trash::sweep`], off every
//! thread that has something urgent to do. Every step may be cut short and taken again:
//!
//! 1. the item's directory is made, and its note (`manifest.json`) is written and made durable;
//! 2. what is taken away is renamed to `files` in it. Before this step nothing has moved, and an
//!    item without `files` is nothing that could be lost;
//! 3. an item that is given up is renamed into `.removing` first, so that nobody is ever offered
//!    half of one.
//!
//! What cannot be read or was not written by orch is shown and never removed by itself. This module
//! must not know how long things are kept, nor what a task is beyond its name.

mod clock;
mod manifest;
mod tree;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use orch_core::{RunId, TaskId, Timestamp};
use rustix::fs::{CWD, RenameFlags};

pub use clock::Trusted;
pub use manifest::{Kind, Manifest};
pub use tree::Size;
pub(crate) use tree::remove as remove_tree;

/// The note of an item.
const MANIFEST: &str = "manifest.json";
/// What was taken away.
const FILES: &str = "files";
/// How large it was when it was last measured.
const SIZE: &str = "size";
/// The number of the last item that was made.
const LAST_NUMBER: &str = ".last-number";
/// The highest number of rescued commits that were given up.
const LAST_DROPPED: &str = ".last-dropped";
/// Items that are given up and not yet removed.
const REMOVING: &str = ".removing";
/// An item without files is being filled right now, or its filling was cut short this long ago.
const FILLING_MS: u64 = 3_600_000;

/// Why something could not be taken away, given back or listed.
#[derive(Debug, thiserror::Error)]
pub enum TrashError {
    /// The machine refused something.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was being done, as in "create".
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the machine said.
        source: io::Error,
    },
    /// The trash, or something in it, is not what orch made.
    #[error("{} {what}; orch leaves it alone, please move it away", .path.display())]
    NotOurs {
        /// Where.
        path: PathBuf,
        /// What it is, as in "is a symbolic link".
        what: &'static str,
    },
    /// There is no such item.
    #[error("there is no '{0}' in the trash")]
    NoSuchItem(String),
    /// Something is where the item should be put.
    #[error("{} exists already; nothing is ever overwritten", .0.display())]
    Taken(PathBuf),
    /// A rename cannot cross file systems.
    #[error("{} is on another file system than the trash", .0.display())]
    OtherFilesystem(PathBuf),
}

type Result<T> = std::result::Result<T, TrashError>;

fn refused(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TrashError {
    let path = path.to_owned();
    move |source| TrashError::Io {
        doing,
        path,
        source,
    }
}

/// One thing in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name, like `tsk_7m3k….t1`.
    pub id: String,
    /// What it is; `None` if its note is missing or not one of orch's. Such an item is kept.
    pub manifest: Option<Manifest>,
    /// How large it is, if it has been measured.
    pub size: Option<Size>,
}

/// A directory of things that were taken away. Cheap to make; nothing is touched before it is used.
#[derive(Debug, Clone)]
pub struct Trash {
    directory: PathBuf,
}

impl Trash {
    /// The trash in `directory`, which is made when needed. It must be on the file system of what
    /// is to be taken away.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the files of an item are.
    #[must_use]
    pub fn files_of(&self, id: &str) -> PathBuf {
        self.directory.join(id).join(FILES)
    }

    /// Takes `what` away: a file, a directory, or a symbolic link, which is not followed. Returns
    /// the item's name.
    ///
    /// # Errors
    /// The machine refused something. `what` is then where it was.
    pub fn keep(&self, what: &Path, manifest: &Manifest) -> Result<String> {
        self.make()?;
        // Something that is not there makes no item.
        fs::symlink_metadata(what).map_err(refused("move away", what))?;
        let (id, item) = self.new_item(&manifest.task)?;
        let filled = manifest
            .write(&item.join(MANIFEST))
            .map_err(refused("write", &item))
            .and_then(|()| {
                tree::rename_away(what, &item.join(FILES)).map_err(refused("move away", what))
            });
        if filled.is_err() {
            // An empty item is nothing to anybody; should this fail too, the sweep comes for it.
            let _ = self.remove_item(&item);
        }
        filled.map(|()| id)
    }

    /// Takes the directory of a run away; `None` if it is not there.
    ///
    /// # Errors
    /// As [`Self::keep`].
    pub fn keep_run(&self, path: &Path, run: &RunId, task: &TaskId) -> Result<Option<String>> {
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => {}
            // A link leads to somebody else's things.
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused("look at", path)(error)),
        }
        let mut manifest = Manifest::now(Kind::Run, task, "its task was deleted", path).of_run(run);
        manifest.at = self.stamp();
        self.keep(path, &manifest).map(Some)
    }

    /// Everything in the trash, oldest first; what is unknown comes last.
    ///
    /// # Errors
    /// Something could not be read. A listing that is not whole is not given at all: nobody may
    /// conclude from it what is gone.
    pub fn items(&self) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for (id, path) in self.entries()? {
            if let Some(item) = self.look_at(id, &path)? {
                items.push(item);
            }
        }
        // What is named like an item and is none was put there by somebody else: shown, never
        // followed and never removed.
        items.extend(self.strangers()?.into_iter().map(|id| Item {
            id,
            manifest: None,
            size: None,
        }));
        items.sort_by_key(|item| {
            let at = item.manifest.as_ref().map(|manifest| manifest.at);
            (at.is_none(), at, item.id.clone())
        });
        Ok(items)
    }

    /// One item by its name.
    ///
    /// # Errors
    /// There is none, or it could not be read.
    pub fn item(&self, id: &str) -> Result<Item> {
        let missing = || TrashError::NoSuchItem(orch_core::text::excerpt(id, 60));
        if !is_item_name(id) || !self.is_there()? {
            return Err(missing());
        }
        let path = self.directory.join(id);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return require_directory(&path).and(Err(missing())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            Err(error) => return Err(refused("look at", &path)(error)),
        }
        self.look_at(id.to_owned(), &path)?.ok_or_else(missing)
    }

    /// Measures an item and remembers what came of it.
    ///
    /// # Errors
    /// There is none, or something in it could not be read.
    pub fn measure(&self, id: &str) -> Result<Size> {
        let item = self.item(id)?;
        if let Some(size) = item.size {
            return Ok(size);
        }
        let files = self.files_of(id);
        let size = tree::measure(&files).map_err(refused("measure", &files))?;
        // A size that is not remembered is measured again.
        let _ = fs::write(self.directory.join(id).join(SIZE), size.to_string());
        Ok(size)
    }

    /// Up to `limit` paths in an item with their sizes in bytes, in order.
    ///
    /// # Errors
    /// There is none, or something in it could not be read.
    pub fn list(&self, id: &str, limit: usize) -> Result<Vec<(PathBuf, u64)>> {
        self.item(id)?;
        let files = self.files_of(id);
        tree::list(&files, limit).map_err(refused("read", &files))
    }

    /// Gives an item back: its files are at `to` afterwards, and the item is gone.
    ///
    /// # Errors
    /// There is none, something is at `to`, or `to` is on another file system. Nothing moved then.
    pub fn restore(&self, id: &str, to: &Path) -> Result<()> {
        let item = self.item(id)?;
        let files = self.files_of(id);
        if let Some(parent) = to.parent() {
            make_private(parent)?;
        }
        if fs::symlink_metadata(to).is_ok() {
            return Err(TrashError::Taken(to.to_owned()));
        }
        match rustix::fs::renameat_with(CWD, &files, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Err(TrashError::Taken(to.to_owned())),
            Err(rustix::io::Errno::XDEV) => {
                return Err(TrashError::OtherFilesystem(to.to_owned()));
            }
            // The file system cannot promise it in one step; nothing was there a moment ago.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                fs::rename(&files, to).map_err(refused("restore to", to))?;
            }
            Err(error) => return Err(refused("restore to", to)(error.into())),
        }
        if item.manifest.is_some_and(|it| it.kind == Kind::Worktree) {
            unlink_from_git(to);
        }
        // What is left is a note about nothing; the sweep comes for it otherwise.
        let _ = self.remove_item(&self.directory.join(id));
        Ok(())
    }

    /// Gives an item up. Its files are removed by the next [`Self::sweep`].
    ///
    /// # Errors
    /// There is none, or it could not be moved.
    pub fn give_up(&self, id: &str) -> Result<()> {
        self.item(id)?;
        let removing = self.directory.join(REMOVING);
        make_private(&removing)?;
        require_directory(&removing)?;
        let item = self.directory.join(id);
        for number in 0_u32..=u32::MAX {
            let doomed = removing.join(format!("{id}-{number}"));
            if fs::symlink_metadata(&doomed).is_err() {
                return tree::rename_away(&item, &doomed).map_err(refused("move away", &item));
            }
        }
        Ok(())
    }

    /// Removes the files of what was given up, and items that never got any. May take long.
    ///
    /// # Errors
    /// Something could not be removed; the next sweep tries again.
    pub fn sweep(&self) -> Result<()> {
        let removing = self.directory.join(REMOVING);
        if self.is_there()? && fs::symlink_metadata(&removing).is_ok() {
            require_directory(&removing)?;
            remove_tree(&removing).map_err(refused("remove", &removing))?;
        }
        let now = crate::supervise::clock::now();
        for (_, path) in self.entries()? {
            let manifest = Manifest::read(&path.join(MANIFEST)).map_err(refused("read", &path))?;
            let cut_short = manifest.is_some_and(|it| now.millis_since(it.at) > FILLING_MS);
            if cut_short && !has_files(&path)? {
                self.remove_item(&path)?;
            }
        }
        Ok(())
    }

    /// Now, corrected for jumps of the clock that were seen while the machine was up: a clock that
    /// is set ten years ahead must not end the lifetime of everything at once.
    ///
    /// # Errors
    /// What is known about the clock could not be written down.
    pub fn trusted_now(&self) -> Result<Trusted> {
        self.make()?;
        let path = self.directory.join("clock.json");
        clock::trusted_now(&path).map_err(refused("write", &path))
    }

    /// The date of something that is taken away now. Where the clock cannot be judged it is taken
    /// at its word.
    pub(crate) fn stamp(&self) -> Timestamp {
        self.trusted_now()
            .map_or_else(|_| crate::supervise::clock::now(), |trusted| trusted.now)
    }

    fn make(&self) -> Result<()> {
        make_private(&self.directory)?;
        require_directory(&self.directory)
    }

    fn is_there(&self) -> Result<bool> {
        match fs::symlink_metadata(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(refused("look at", &self.directory)(error)),
            Ok(_) => require_directory(&self.directory).map(|()| true),
        }
    }

    /// The directories that are named like items.
    fn entries(&self) -> Result<Vec<(String, PathBuf)>> {
        let named = self.named_like_items()?.into_iter();
        let directories = named.filter(|(_, _, is_directory)| *is_directory);
        Ok(directories.map(|(name, path, _)| (name, path)).collect())
    }

    /// What is named like an item and is no directory.
    fn strangers(&self) -> Result<Vec<String>> {
        let named = self.named_like_items()?.into_iter();
        let others = named.filter(|(_, _, is_directory)| !is_directory);
        Ok(others.map(|(name, ..)| name).collect())
    }

    /// What is named like an item, and whether it is a directory.
    fn named_like_items(&self) -> Result<Vec<(String, PathBuf, bool)>> {
        if !self.is_there()? {
            return Ok(Vec::new());
        }
        let unreadable = || refused("read", &self.directory);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(unreadable())? {
            let entry = entry.map_err(unreadable())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_directory = entry.file_type().map_err(unreadable())?.is_dir();
            if is_item_name(&name) {
                found.push((name, entry.path(), is_directory));
            }
        }
        Ok(found)
    }

    /// The highest number of rescued commits that were given up, as far as that is written down.
    pub(crate) fn last_dropped(&self) -> u64 {
        self.noted(LAST_DROPPED)
    }

    /// Notes that rescued commits of this number are given up: a name that a person wrote down must
    /// not come to mean something else.
    pub(crate) fn note_dropped(&self, number: u64) -> Result<()> {
        if number <= self.last_dropped() {
            return Ok(());
        }
        self.make()?;
        let path = self.directory.join(LAST_DROPPED);
        fs::write(&path, number.to_string()).map_err(refused("write", &path))
    }

    /// A number that is written down, or 0.
    fn noted(&self, name: &str) -> u64 {
        let text = fs::read_to_string(self.directory.join(name));
        text.ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    }

    /// The item at `path`; `None` if it never got files.
    fn look_at(&self, id: String, path: &Path) -> Result<Option<Item>> {
        if !has_files(path)? {
            return Ok(None);
        }
        let manifest = Manifest::read(&path.join(MANIFEST)).map_err(refused("read", path))?;
        let size = fs::read_to_string(path.join(SIZE)).ok();
        let size = size.and_then(|text| text.parse().ok());
        Ok(Some(Item { id, manifest, size }))
    }

    fn new_item(&self, task: &TaskId) -> Result<(String, PathBuf)> {
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        // A name that a person wrote down must not come to mean something else.
        let mut number = self.noted(LAST_NUMBER).saturating_add(1);
        loop {
            let id = format!("{task}.t{number}");
            let path = self.directory.join(&id);
            match builder.create(&path) {
                Ok(()) => {
                    // Should it not be written, the worst is a name that is used again.
                    let _ = fs::write(self.directory.join(LAST_NUMBER), number.to_string());
                    return Ok((id, path));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(refused("create", &path)(error)),
            }
        }
    }

    /// Removes the note and directory of an item that has no files.
    fn remove_item(&self, item: &Path) -> Result<()> {
        for name in [SIZE, MANIFEST] {
            match fs::remove_file(item.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(refused("remove", item)(error));
                }
                _ => {}
            }
        }
        fs::remove_dir(item).map_err(refused("remove", item))
    }
}

fn has_files(item: &Path) -> Result<bool> {
    match fs::symlink_metadata(item.join(FILES)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(refused("look at", item)(error)),
    }
}

/// A task and a number: nothing that could lead out of the trash.
fn is_item_name(name: &str) -> bool {
    name.split_once(".t").is_some_and(|(task, number)| {
        task.parse::<TaskId>().is_ok()
            && !number.is_empty()
            && number.len() < 20
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The `.git` file of a worktree that git has forgotten leads nowhere, and git fails on it.
fn unlink_from_git(worktree: &Path) {
    let link = worktree.join(".git");
    if fs::symlink_metadata(&link).is_ok_and(|meta| meta.is_file()) {
        let _ = fs::remove_file(link);
    }
}

fn make_private(directory: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(refused("create", directory))
}

fn require_directory(path: &Path) -> Result<()> {
    let found = fs::symlink_metadata(path).map_err(refused("look at", path))?;
    let what = if found.is_symlink() {
        "is a symbolic link"
    } else if !found.is_dir() {
        "is not a directory"
    } else {
        return Ok(());
    };
    Err(TrashError::NotOurs {
        path: path.to_owned(),
        what,
    })
}
