//! Reading and replacing `orch.toml` on disk, and the lock under which it is changed.
//!
//! Must not know what the text means. A symbolic link is read but never edited: replacing it
//! would quietly turn it into a file, and following it would write outside the repository.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::error::{ConfigError, Fault, Problem};
use super::model::SourceStamp;
use crate::project::{Project, ProjectError};

/// Longest `orch.toml`, bytes. A thousand agents with long prompts fit.
const FILE_BYTES: u64 = 1 << 20;
/// Longest wait for others that change the file. One change takes milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// Pause between two tries for the lock; `flock` itself cannot wait for a limited time.
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// What some editors put in front of UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The file as it was read.
#[derive(Debug)]
pub(super) struct Source {
    /// Its text without a byte order mark.
    pub(super) text: String,
    /// Which state of the file it is.
    pub(super) stamp: SourceStamp,
    marked: bool,
    permissions: Permissions,
}

/// Reads the file.
pub(super) fn read(project: &Project) -> Result<Source, ConfigError> {
    let path = &project.config;
    let not_a_file = |kind| ConfigError::NotAFile {
        path: path.clone(),
        kind,
    };
    // Without waiting: a FIFO of this name must not stop the daemon.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags(OFlags::NONBLOCK))
        .open(path);
    let file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ProjectError::NotInitialised(project.root.clone()).into(),
        _ => ConfigError::io("open", path)(error),
    })?;
    let metadata = file.metadata().map_err(ConfigError::io("look at", path))?;
    if !metadata.is_file() {
        return Err(not_a_file("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(ConfigError::io("read", path))?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(not_a_file("larger than 1 MiB"));
    }
    let text = decode(bytes)?;
    let marked = text.starts_with(BYTE_ORDER_MARK);
    Ok(Source {
        text: text.trim_start_matches(BYTE_ORDER_MARK).to_owned(),
        stamp: SourceStamp::from(&metadata),
        marked,
        permissions: metadata.permissions(),
    })
}

/// Reads the file in order to change it.
pub(super) fn read_to_edit(project: &Project) -> Result<Source, ConfigError> {
    if project.config.is_symlink() {
        return Err(ConfigError::NotAFile {
            path: project.config.clone(),
            kind: "a symbolic link, which orch reads but does not edit",
        });
    }
    read(project)
}

fn decode(bytes: Vec<u8>) -> Result<String, ConfigError> {
    let problem = |valid: &[u8], what: &str| {
        let text = String::from_utf8_lossy(valid);
        let last = text.rsplit('\n').next().unwrap_or_default();
        ConfigError::one(Problem {
            line: text.matches('\n').count() + 1,
            column: last.chars().count() + 1,
            fault: Fault::expected(what, "UTF-8"),
        })
    };
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(problem(&[], "the file is UTF-16"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        problem(&error.as_bytes()[..valid], "a byte that is not text")
    })
}

/// Puts `text` in the place of `source`, at once and for good. `false` if somebody else changed
/// the file since it was read; nothing is replaced then.
pub(super) fn replace(project: &Project, source: &Source, text: &str) -> Result<bool, ConfigError> {
    let mut whole = String::new();
    if source.marked {
        whole.push(BYTE_ORDER_MARK);
    }
    whole.push_str(text);
    let draft = write_draft(project, &whole, source.permissions.clone())?;
    let path = &project.config;
    let now = path.symlink_metadata();
    if now.is_ok_and(|metadata| SourceStamp::from(&metadata) != source.stamp) {
        std::fs::remove_file(&draft).map_err(ConfigError::io("remove", &draft))?;
        return Ok(false);
    }
    publish(project, &draft)?;
    Ok(true)
}

/// Writes a file that is not there yet; the caller holds the lock.
pub(super) fn create(project: &Project, text: &str) -> Result<(), ConfigError> {
    let draft = write_draft(project, text, Permissions::from_mode(0o644))?;
    publish(project, &draft)
}

/// The draft is in the state directory, which git ignores: one that a crash leaves behind is in
/// nobody's way, and the next change overwrites it.
fn write_draft(
    project: &Project,
    text: &str,
    permissions: Permissions,
) -> Result<PathBuf, ConfigError> {
    let draft = project.state.join("orch.toml.new");
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(ConfigError::io("remove", &draft)(error));
        }
        _ => {}
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.set_permissions(permissions)?;
            file.sync_all()
        });
    written.map_err(ConfigError::io("write", &draft))?;
    Ok(draft)
}

fn publish(project: &Project, draft: &std::path::Path) -> Result<(), ConfigError> {
    let path = &project.config;
    std::fs::rename(draft, path).map_err(ConfigError::io("replace", path))?;
    File::open(&project.root)
        .and_then(|directory| directory.sync_all())
        .map_err(ConfigError::io("write", &project.root))
}

/// Held while the file is changed. Dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct ConfigLock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl ConfigLock {
    /// Waits for the lock, for a limited time.
    pub(super) fn take(project: &Project) -> Result<Self, ConfigError> {
        let path = project.config_lock();
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags(OFlags::NOFOLLOW))
            .open(&path)
            .map_err(ConfigError::io("open", &path))?;
        let started = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(ConfigError::io("lock", &path)(error.into())),
            }
            if started.elapsed() > LOCK_WAIT {
                return Err(ConfigError::Busy("another command is changing it"));
            }
            std::thread::sleep(LOCK_PAUSE);
        }
    }
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn project(text: &str) -> (tempfile::TempDir, Project) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("orch.toml"), text).unwrap();
        let project = Project::at(directory.path()).unwrap();
        project.ensure_state().unwrap();
        (directory, project)
    }

    #[test]
    fn what_an_editor_saved_in_the_meantime_is_not_overwritten() {
        let (_directory, project) = project("one");
        let source = read_to_edit(&project).unwrap();
        fs::write(&project.config, "saved by an editor").unwrap();
        assert!(!replace(&project, &source, "two").unwrap());
        let source = read_to_edit(&project).unwrap();
        assert_eq!(source.text, "saved by an editor");
        assert!(replace(&project, &source, "two").unwrap());
        assert_eq!(read(&project).unwrap().text, "two");
        assert!(!project.state.join("orch.toml.new").exists());
    }

    #[test]
    fn a_draft_that_a_crash_left_is_in_nobodys_way() {
        let (directory, project) = project("one");
        let victim = directory.path().join("victim");
        fs::write(&victim, "untouched").unwrap();
        std::os::unix::fs::symlink(&victim, project.state.join("orch.toml.new")).unwrap();
        let source = read_to_edit(&project).unwrap();
        assert!(replace(&project, &source, "two").unwrap());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(read(&project).unwrap().text, "two");
    }

    #[test]
    fn only_one_at_a_time_has_the_lock() {
        let (_directory, project) = project("");
        let held = ConfigLock::take(&project).unwrap();
        let other = File::open(project.config_lock()).unwrap();
        let attempt = || flock(&other, FlockOperation::NonBlockingLockExclusive);
        assert_eq!(attempt(), Err(rustix::io::Errno::WOULDBLOCK));
        drop(held);
        assert_eq!(attempt(), Ok(()));
    }
}
