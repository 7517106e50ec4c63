//! Files in a repository that would have an agent's program run code, change its provider or widen
//! what it may do: the program reads them by itself, before the agent has said a word. Whoever can
//! write to the repository, an earlier agent for one, could so decide what runs here.
//!
//! This part finds such files, and knows which of them somebody has agreed to. It must not know
//! what stands in them, nor who is asked.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::git::{GitError, Repository};

/// Most files of one agent that are looked at.
const FILES: usize = 2_000;
/// Most bytes in all of them together.
const BYTES: u64 = 64 << 20;
/// How deep directories are followed; also the end of a link that leads in a circle.
const DEPTH: u32 = 12;
/// Most that is read of what was agreed to, bytes.
const TRUSTED_BYTES: u64 = 64 << 20;

/// What each kind of agent reads: files, or directories with everything below.
const PATHS: &[(&str, &[&str])] = &[
    (
        "claude",
        &[
            ".claude/settings.json",
            ".claude/settings.local.json",
            ".claude/agents",
            ".claude/commands",
            ".claude/hooks",
            ".claude/plugins",
            ".claude/skills",
            ".mcp.json",
        ],
    ),
    ("codex", &[".codex"]),
    ("gemini", &[".gemini"]),
    ("qwen", &[".qwen"]),
    (
        "opencode",
        &["opencode.json", "opencode.jsonc", ".opencode"],
    ),
    (
        "cursor",
        &[
            ".cursor/cli.json",
            ".cursor/environment.json",
            ".cursor/hooks",
            ".cursor/hooks.json",
            ".cursor/mcp.json",
        ],
    ),
    ("pi", &[".pi"]),
    (
        "copilot",
        &[
            ".copilot",
            ".github/copilot",
            ".github/hooks",
            ".github/mcp.json",
            ".mcp.json",
            ".vscode/mcp.json",
        ],
    ),
];

/// What any program may have read by a shell that it starts.
const EVERYWHERE: &[&str] = &[".envrc"];

/// Files with variables that a kind of agent takes over for itself and its tools: its own, then the
/// usual one. It looks for both in its directory and in each above that, and takes the first that
/// it finds. Such a variable can name a program that every shell runs first, or the address to
/// which the user's key is sent; and worktrees lie below the user's own checkout.
const VARIABLES: &[(&str, [&str; 2])] = &[
    ("gemini", [".gemini/.env", ".env"]),
    ("qwen", [".qwen/.env", ".env"]),
];

/// The paths that matter for a kind of agent, in order. A command of the user's own reads none by
/// itself; of a program that is not known better, all are taken to matter.
#[must_use]
pub fn paths(adapter: &str) -> BTreeSet<&'static str> {
    if adapter == "shell" {
        return BTreeSet::new();
    }
    let known = PATHS.iter().find(|(name, _)| *name == adapter);
    let of_all = || PATHS.iter().flat_map(|(_, paths)| paths.iter().copied());
    let own: BTreeSet<&str> = match known {
        Some((_, paths)) => paths.iter().copied().collect(),
        None => of_all().collect(),
    };
    let variables = variables(adapter).flat_map(|names| names.iter().copied());
    own.into_iter()
        .chain(variables)
        .chain(EVERYWHERE.iter().copied())
        .collect()
}

/// The files with variables that a kind of agent looks for; for one that is not known better,
/// those of all.
fn variables(adapter: &str) -> impl Iterator<Item = &'static [&'static str; 2]> {
    let is_known = PATHS.iter().any(|(name, _)| *name == adapter);
    let own = VARIABLES
        .iter()
        .filter(move |(name, _)| !is_known || *name == adapter);
    own.map(|(_, names)| names)
}

/// One file as it is now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Found {
    /// Its path in the repository.
    pub path: String,
    /// What git calls its content.
    pub digest: String,
}

/// Why it cannot be said what is there.
#[derive(Debug, thiserror::Error)]
pub enum ConsentError {
    /// It cannot be read.
    #[error("{path} cannot be looked at")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something that is neither file nor directory.
    #[error("{0} is neither a file nor a directory")]
    Odd(PathBuf),
    /// More than anybody could agree to.
    #[error("there is more than can be looked at: over {FILES} files or {} MiB", BYTES >> 20)]
    TooMuch,
    /// git could not tell the contents apart.
    #[error("the contents cannot be told apart")]
    Git(#[from] GitError),
}

/// The files in `directory` that matter for a kind of agent, and those in the directories above it
/// that its program would find from there. Where there are none, as usual, nothing is started and
/// nothing is read.
///
/// # Errors
/// What is there cannot be looked at as a whole.
pub fn look(
    repository: &Repository,
    directory: &Path,
    adapter: &str,
) -> Result<Vec<Found>, ConsentError> {
    let home = std::env::var_os("HOME").map(|home| real(Path::new(&home)));
    look_from(repository, directory, adapter, home.as_deref())
}

fn look_from(
    repository: &Repository,
    directory: &Path,
    adapter: &str,
    home: Option<&Path>,
) -> Result<Vec<Found>, ConsentError> {
    let mut walk = Walk::default();
    for path in paths(adapter) {
        walk.follow(&directory.join(path), DEPTH)?;
    }
    let root = repository.root();
    let place = real(directory);
    for names in variables(adapter) {
        if let Some(path) = above(&place, names, home, root)
            && !walk.files.contains(&path)
        {
            walk.follow(&path, DEPTH)?;
        }
    }
    if walk.files.is_empty() {
        return Ok(Vec::new());
    }
    let fixed = ["hash-object", "--no-filters", "--"].map(OsString::from);
    let files = walk.files.iter().map(|path| path.as_os_str().to_owned());
    let hashed = repository.call(fixed.into_iter().chain(files)).succeed()?;
    let digests = String::from_utf8_lossy(&hashed.stdout).into_owned();
    let digests: Vec<&str> = digests.lines().collect();
    if digests.len() != walk.files.len() {
        return Err(ConsentError::TooMuch);
    }
    let found = walk.files.iter().zip(digests).map(|(path, digest)| Found {
        path: shown(named(path, directory, root)),
        digest: digest.to_owned(),
    });
    Ok(found.collect())
}

/// A file by its place in the checkout, whichever checkout it lies in: what was agreed to in the
/// user's own holds in the worktrees, too. What lies outside of the repository has its whole path.
fn named<'a>(path: &'a Path, directory: &Path, root: &Path) -> &'a Path {
    path.strip_prefix(directory)
        .or_else(|_| path.strip_prefix(root))
        .unwrap_or(path)
}

/// Where a path leads: what is above a directory is above the place where it really lies.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The first file with variables above `directory`, if there is none in it. What the user has at
/// `home` is the user's own and not the repository's, unless that is the repository itself.
fn above(directory: &Path, names: &[&str], home: Option<&Path>, root: &Path) -> Option<PathBuf> {
    let is_own = |place: &Path| home == Some(place) && place != root;
    let places = directory.ancestors().filter(|place| !is_own(place));
    let mut files = places.flat_map(|place| names.iter().map(move |name| place.join(name)));
    let first = files.find(|path| path.exists());
    first.filter(|path| !names.iter().any(|name| *path == directory.join(name)))
}

/// A path as one line of text, so that no two look alike.
fn shown(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => format!("{path:?}"),
    }
}

#[derive(Default)]
struct Walk {
    files: Vec<PathBuf>,
    bytes: u64,
}

impl Walk {
    /// Takes in a file, or all below a directory. Links are followed: what counts is what a
    /// program would read.
    fn follow(&mut self, path: &Path, depth: u32) -> Result<(), ConsentError> {
        let failed = |source| ConsentError::Io {
            path: path.to_owned(),
            source,
        };
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        if metadata.is_file() {
            self.bytes += metadata.len();
            self.files.push(path.to_owned());
        } else if !metadata.is_dir() {
            return Err(ConsentError::Odd(path.to_owned()));
        } else if depth == 0 {
            return Err(ConsentError::TooMuch);
        } else {
            let entries: io::Result<Vec<_>> = fs::read_dir(path).map_err(failed)?.collect();
            let mut entries = entries.map_err(failed)?;
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                self.follow(&entry.path(), depth - 1)?;
            }
        }
        match self.files.len() > FILES || self.bytes > BYTES {
            true => Err(ConsentError::TooMuch),
            false => Ok(()),
        }
    }
}

/// A link that leads nowhere is not there for a program either.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// What somebody has agreed to, as a file of lines that is only ever added to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trusted(BTreeSet<Found>);

impl Trusted {
    /// Reads what was agreed to. A line that is not whole counts for nothing: it is asked again.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = match fs::File::options()
            .read(true)
            .custom_flags(flags)
            .open(path)
        {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let mut text = String::new();
        file.take(TRUSTED_BYTES).read_to_string(&mut text)?;
        let lines = text.lines();
        Ok(Self(
            lines
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect(),
        ))
    }

    /// Those of `found` that nobody has agreed to.
    #[must_use]
    pub fn unknown(&self, found: &[Found]) -> Vec<Found> {
        let mut found: Vec<Found> = found.to_vec();
        found.retain(|it| !self.0.contains(it));
        found
    }

    /// Adds to the file at `path`, which nobody else may read.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(path: &Path, found: &[Found]) -> io::Result<()> {
        let mut lines = Vec::new();
        for it in found {
            // Begins a line of its own even behind one that was cut.
            lines.push(b'\n');
            serde_json::to_writer(&mut lines, it)?;
        }
        lines.push(b'\n');
        let mut file = fs::File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        file.write_all(&lines)?;
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;

    use super::*;

    fn repository() -> (tempfile::TempDir, Repository) {
        let place = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let made = Command::new("git")
                .args(["-c", "user.name=a", "-c", "user.email=a@b"])
                .args(arguments)
                .current_dir(place.path())
                .status();
            assert!(made.unwrap().success());
        };
        git(&["init", "-q"]);
        git(&["commit", "-q", "--allow-empty", "-m", "start"]);
        let repository = Repository::discover(place.path()).unwrap();
        (place, repository)
    }

    fn write(place: &tempfile::TempDir, path: &str, text: &str) {
        let path = place.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn names(found: &[Found]) -> Vec<&str> {
        found.iter().map(|it| it.path.as_str()).collect()
    }

    #[test]
    fn each_kind_has_what_its_program_reads() {
        let (place, repository) = repository();
        let look = |adapter: &str| look(&repository, place.path(), adapter).unwrap();
        assert!(look("claude").is_empty());
        write(&place, ".claude/settings.json", "{}");
        write(&place, ".claude/hooks/deep/run.sh", "x");
        write(&place, ".claude/notes.md", "x");
        write(&place, ".gemini/settings.json", "{}");
        write(&place, ".envrc", "x");
        write(&place, "src/main.rs", "x");
        let claude = [
            ".claude/hooks/deep/run.sh",
            ".claude/settings.json",
            ".envrc",
        ];
        let mut found = look("claude");
        found.sort();
        assert_eq!(names(&found), claude);
        assert_eq!(look("gemini").len(), 2);
        assert_eq!(look("acp").len(), 4, "nobody knows what it reads");
        assert!(look("shell").is_empty());
        for adapter in crate::adapter::all() {
            let is_own = PATHS.iter().any(|(name, _)| *name == adapter.name);
            let is_open = ["acp", "shell"].contains(&adapter.name);
            assert!(is_own || is_open, "{} has no list", adapter.name);
        }
    }

    #[test]
    fn every_path_of_every_kind_is_found_as_a_file_and_as_a_directory() {
        for (adapter, paths) in PATHS {
            let (place, repository) = repository();
            for path in paths.iter().chain(EVERYWHERE) {
                for file in [(*path).to_owned(), format!("{path}/deep/file")] {
                    write(&place, &file, "x");
                    let found = look(&repository, place.path(), adapter).unwrap();
                    assert_eq!(names(&found), [file.as_str()], "{adapter}");
                    let whole = place.path().join(path);
                    match whole.is_dir() {
                        true => fs::remove_dir_all(whole).unwrap(),
                        false => fs::remove_file(whole).unwrap(),
                    }
                }
            }
        }
    }

    /// Variables in a file can name a program that every shell runs first, or another provider.
    #[test]
    fn files_with_variables_are_found_where_the_programs_look_for_them() {
        for (adapter, own) in [("gemini", ".gemini/.env"), ("qwen", ".qwen/.env")] {
            let (place, repository) = repository();
            let worktree = place.path().join(".orch/worktrees/one");
            fs::create_dir_all(&worktree).unwrap();
            let look = |adapter: &str| look_from(&repository, &worktree, adapter, None).unwrap();
            assert!(look(adapter).is_empty());
            write(&place, ".env", "KEY=1");
            assert_eq!(names(&look(adapter)), [".env"], "{adapter}");
            let in_checkout = look_from(&repository, place.path(), adapter, None).unwrap();
            assert_eq!(look(adapter), in_checkout, "agreed to once");
            assert_eq!(look("acp").len(), 1, "nobody knows what it reads");
            assert!(look("claude").is_empty(), "it reads none");
            write(&place, own, "KEY=2");
            assert_eq!(names(&look(adapter)), [own], "its own comes first");
            write(&place, ".orch/worktrees/one/.env", "KEY=3");
            let nearest = look(adapter);
            assert_eq!(names(&nearest), [".env"], "the nearest is taken");
            assert_ne!(nearest, in_checkout);
        }
    }

    #[test]
    fn what_lies_above_the_repository_is_asked_for_and_the_users_own_home_is_not() {
        let (place, repository) = repository();
        let outer = place.path().parent().unwrap();
        let directory = place.path().join("deep");
        let names: &[&str] = &["orch-consent-none", ".env"];
        let root = repository.root();
        write(&place, ".env", "KEY=1");
        let file = place.path().join(".env");
        let found = |home: &Path, root: &Path| above(&directory, names, Some(home), root);
        assert_eq!(found(outer, root), Some(file.clone()));
        assert_eq!(found(place.path(), outer), None, "home");
        assert_eq!(found(place.path(), place.path()), Some(file.clone()));
        assert_eq!(named(&file, &directory, root), Path::new(".env"));
        assert_eq!(named(&file, &directory, &directory), file);
    }

    #[test]
    fn consent_is_for_a_content_and_not_for_a_name() {
        let (place, repository) = repository();
        let look = || look(&repository, place.path(), "claude").unwrap();
        let kept = place.path().join("trusted");
        write(&place, ".mcp.json", "one");
        assert_eq!(Trusted::read(&kept).unwrap().unknown(&look()).len(), 1);
        Trusted::add(&kept, &look()).unwrap();
        let mode = fs::metadata(&kept).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(Trusted::read(&kept).unwrap().unknown(&look()).is_empty());
        write(&place, ".mcp.json", "two");
        assert_eq!(
            names(&Trusted::read(&kept).unwrap().unknown(&look())),
            [".mcp.json"]
        );
        write(&place, ".mcp.json", "one");
        write(&place, ".envrc", "one");
        assert_eq!(
            names(&Trusted::read(&kept).unwrap().unknown(&look())),
            [".envrc"]
        );
    }

    #[test]
    fn a_link_counts_as_what_it_leads_to() {
        let (place, repository) = repository();
        let look = || look(&repository, place.path(), "codex");
        write(&place, "elsewhere/config.toml", "one");
        symlink("elsewhere", place.path().join(".codex")).unwrap();
        let before = look().unwrap();
        assert_eq!(names(&before), [".codex/config.toml"]);
        write(&place, "elsewhere/config.toml", "two");
        assert_ne!(look().unwrap(), before);
        symlink("nowhere", place.path().join("elsewhere/dead")).unwrap();
        assert_eq!(look().unwrap().len(), 1);
        symlink(".", place.path().join("elsewhere/circle")).unwrap();
        assert!(matches!(look(), Err(ConsentError::TooMuch)));
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let (place, repository) = repository();
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, place.path().join(".mcp.json"), mode).unwrap();
        let found = look(&repository, place.path(), "claude");
        assert!(matches!(found, Err(ConsentError::Odd(_))));
    }

    #[test]
    fn a_line_that_was_cut_is_asked_again_and_harms_no_other() {
        let place = tempfile::tempdir().unwrap();
        let kept = place.path().join("trusted");
        let found = |path: &str| Found {
            path: path.to_owned(),
            digest: "0".to_owned(),
        };
        fs::write(&kept, "{\"path\":\".mcp.js").unwrap();
        Trusted::add(&kept, &[found("a"), found("b")]).unwrap();
        let trusted = Trusted::read(&kept).unwrap();
        assert!(trusted.unknown(&[found("a"), found("b")]).is_empty());
        assert_eq!(trusted.unknown(&[found(".mcp.json")]).len(), 1);
    }
}
