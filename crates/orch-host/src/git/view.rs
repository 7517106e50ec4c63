//! A private view of a repository for calls that handle content.
//!
//! See the rules in the module above. A view is made for one operation and removed with it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::command::{Call, Git, LONG, Place};
use super::error::GitError;

/// What of the common directory a view does not show: configuration and hooks because they name
/// programs, the rest because it belongs to one checkout.
const HIDDEN: &[&str] = &["config", "config.worktree", "hooks", "index", "config.lock"];

/// Keys of the repository's own configuration that say how content is read and written or who
/// commits, and name no program. Everything else is left out.
const HARMLESS: &[&str] = &[
    "author.email",
    "author.name",
    "committer.email",
    "committer.name",
    "core.attributesfile",
    "core.autocrlf",
    "core.bigfilethreshold",
    "core.checkroundtripencoding",
    "core.checkstat",
    "core.compression",
    "core.eol",
    "core.excludesfile",
    "core.filemode",
    "core.ignorecase",
    "core.loosecompression",
    "core.precomposeunicode",
    "core.protecthfs",
    "core.protectntfs",
    "core.repositoryformatversion",
    "core.safecrlf",
    "core.sharedrepository",
    "core.sparsecheckout",
    "core.sparsecheckoutcone",
    "core.symlinks",
    "core.trustctime",
    "extensions.compatobjectformat",
    "extensions.noop",
    "extensions.objectformat",
    "extensions.preciousobjects",
    "extensions.refstorage",
    "i18n.commitencoding",
    "lfs.url",
    "merge.directoryrenames",
    "merge.renamelimit",
    "merge.renames",
    "merge.renormalize",
    "user.email",
    "user.name",
    "user.useconfigonly",
];

/// A private view. Calls through it see the repository's content and none of its programs.
pub(crate) struct View {
    git: Git,
    directory: PathBuf,
    place: Place,
}

impl View {
    /// Makes a view of `real` in a new directory under `nursery`, which is created if need be.
    pub(crate) fn new(git: &Git, nursery: &Path, real: &Place) -> Result<Self, GitError> {
        let config = harmless_config(&list_config(git, real)?);
        let directory = make_directory(nursery).map_err(|source| failed(nursery, source))?;
        // From here on, dropping the view removes what was made of it.
        let view = Self {
            git: git.clone(),
            place: Place {
                git_dir: real.git_dir.clone(),
                common_dir: directory.clone(),
                work_tree: real.work_tree.clone(),
            },
            directory,
        };
        view.fill(&real.common_dir, &config)
            .map_err(|source| failed(&view.directory, source))?;
        Ok(view)
    }

    /// A call through the view.
    pub(crate) fn call<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Call {
        self.git.call_at(&self.place, arguments).within(LONG)
    }

    /// A path for a file that lives as long as the view.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.directory.join(format!("orch-{name}"))
    }

    fn fill(&self, common_dir: &Path, config: &[u8]) -> io::Result<()> {
        for entry in fs::read_dir(common_dir)? {
            let name = entry?.file_name();
            if !HIDDEN.iter().any(|hidden| name == *hidden) && !name.as_bytes().ends_with(b".lock")
            {
                symlink(common_dir.join(&name), self.directory.join(&name))?;
            }
        }
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.directory.join("config"))?
            .write_all(config)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // It holds links and copies only; what cannot be removed now is removed at the next start.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn failed(path: &Path, source: io::Error) -> GitError {
    GitError::Io {
        doing: format!("preparing a view of the repository in {}", path.display()),
        source,
    }
}

fn make_directory(nursery: &Path) -> io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    fs::create_dir_all(nursery)?;
    let nursery = nursery.canonicalize()?;
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = nursery.join(format!("{}-{number}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// One setting and the kind of file it comes from.
struct Setting {
    scope: Vec<u8>,
    /// Section and variable in lower case, subsection as written.
    key: Vec<u8>,
    /// `None` for a key without `=`.
    value: Option<Vec<u8>>,
}

/// Everything that is configured, includes followed, system configuration too. Runs nothing.
fn list_config(git: &Git, real: &Place) -> Result<Vec<Setting>, GitError> {
    let output = git
        .call_at(real, ["config", "--list", "--show-scope", "-z"])
        .variable("GIT_CONFIG_NOSYSTEM", "0")
        .succeed()?;
    let mut fields = output.stdout.split(|byte| *byte == 0);
    let mut settings = Vec::new();
    while let (Some(scope), Some(entry)) = (fields.next(), fields.next()) {
        let mut parts = entry.splitn(2, |byte| *byte == b'\n');
        settings.push(Setting {
            scope: scope.to_vec(),
            key: parts.next().unwrap_or_default().to_vec(),
            value: parts.next().map(<[u8]>::to_vec),
        });
    }
    Ok(settings)
}

/// The configuration file of a view.
fn harmless_config(settings: &[Setting]) -> Vec<u8> {
    let mut file = Vec::new();
    // The machine's own filters (git-lfs is installed there by packages) are read from a file
    // that our calls skip, so they are handed on. Their order is kept: the last one counts.
    for setting in settings.iter().filter(|setting| setting.scope == b"system") {
        if filter_name(&setting.key).is_some() {
            write_setting(&mut file, &setting.key, setting.value.as_deref());
        }
    }
    let local = |setting: &&Setting| matches!(&setting.scope[..], b"local" | b"worktree");
    for setting in settings.iter().filter(local) {
        if is_harmless(&setting.key) {
            write_setting(&mut file, &setting.key, setting.value.as_deref());
        }
    }
    for name in repository_filters(settings) {
        let key = [b"filter.", name, b".required"].concat();
        write_setting(&mut file, &key, Some(b"true"));
    }
    file
}

fn is_harmless(key: &[u8]) -> bool {
    HARMLESS.iter().any(|harmless| harmless.as_bytes() == key)
        || (key.starts_with(b"remote.") && key.ends_with(b".url"))
}

/// The filters that only the repository defines.
fn repository_filters(settings: &[Setting]) -> impl Iterator<Item = &[u8]> {
    let mut only_here: BTreeMap<&[u8], bool> = BTreeMap::new();
    for setting in settings {
        if let Some(name) = filter_name(&setting.key) {
            let here = matches!(&setting.scope[..], b"local" | b"worktree");
            *only_here.entry(name).or_insert(true) &= here;
        }
    }
    only_here
        .into_iter()
        .filter_map(|(name, only_here)| only_here.then_some(name))
}

/// The name of the filter that a key like `filter.lfs.clean` is about.
fn filter_name(key: &[u8]) -> Option<&[u8]> {
    let rest = key.strip_prefix(b"filter.")?;
    let end = rest.iter().rposition(|byte| *byte == b'.')?;
    Some(&rest[..end])
}

/// Writes one setting in the form of a configuration file.
fn write_setting(file: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    let Some(first) = key.iter().position(|byte| *byte == b'.') else {
        return;
    };
    let last = key.iter().rposition(|byte| *byte == b'.').unwrap_or(first);
    file.push(b'[');
    file.extend_from_slice(&key[..first]);
    if last > first {
        file.extend_from_slice(b" \"");
        for byte in &key[first + 1..last] {
            if matches!(byte, b'"' | b'\\') {
                file.push(b'\\');
            }
            file.push(*byte);
        }
        file.push(b'"');
    }
    file.extend_from_slice(b"]\n\t");
    file.extend_from_slice(&key[last + 1..]);
    if let Some(value) = value {
        file.extend_from_slice(b" = \"");
        value.iter().for_each(|byte| write_escaped(file, *byte));
        file.push(b'"');
    }
    file.push(b'\n');
}

fn write_escaped(file: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => file.extend_from_slice(b"\\\""),
        b'\\' => file.extend_from_slice(b"\\\\"),
        b'\n' => file.extend_from_slice(b"\\n"),
        other => file.push(other),
    }
}

/// Removes what views of processes that were killed have left in `nursery`.
pub(crate) fn sweep(nursery: &Path) {
    let Ok(entries) = fs::read_dir(nursery) else {
        return;
    };
    let own = OsString::from(format!("{}-", std::process::id()));
    for entry in entries.flatten() {
        if !entry.file_name().as_bytes().starts_with(own.as_bytes()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(scope: &str, key: &str, value: &str) -> Setting {
        Setting {
            scope: scope.into(),
            key: key.into(),
            value: Some(value.into()),
        }
    }

    fn config(settings: &[Setting]) -> String {
        String::from_utf8(harmless_config(settings)).unwrap()
    }

    #[test]
    fn only_keys_from_the_list_come_through() {
        let seen = config(&[
            setting("local", "core.autocrlf", "input"),
            setting("local", "core.fsmonitor", "/evil"),
            setting("worktree", "core.sparsecheckout", "true"),
            setting("local", "include.path", "/evil"),
            setting("local", "merge.x.driver", "/evil"),
            setting("local", "something.new.program", "/evil"),
            setting("global", "user.name", "not copied: git reads it itself"),
        ]);
        assert_eq!(
            seen,
            "[core]\n\tautocrlf = \"input\"\n[core]\n\tsparsecheckout = \"true\"\n"
        );
    }

    #[test]
    fn a_filter_of_the_repository_is_required_and_has_no_program() {
        let seen = config(&[
            setting("global", "filter.lfs.clean", "git-lfs clean -- %f"),
            setting("local", "filter.lfs.clean", "/evil"),
            setting("local", "filter.a\"b.smudge", "/evil"),
            setting("system", "filter.own.clean", "tidy"),
        ]);
        assert_eq!(
            seen,
            "[filter \"own\"]\n\tclean = \"tidy\"\n[filter \"a\\\"b\"]\n\trequired = \"true\"\n"
        );
    }

    #[test]
    fn values_cannot_break_out_of_their_line() {
        let seen = config(&[setting(
            "local",
            "user.name",
            "a\"\n[core]\n\tfsmonitor = \\x",
        )]);
        assert_eq!(
            seen,
            "[user]\n\tname = \"a\\\"\\n[core]\\n\tfsmonitor = \\\\x\"\n"
        );
    }
}
