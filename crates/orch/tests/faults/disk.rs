//! Disks that can be filled, disks that fail, and a mount table of one's own.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use orch_field::Project;

use crate::skipped;

/// Set in the process that has a mount table of its own.
const OWN_MOUNTS: &str = "ORCH_TEST_OWN_MOUNTS";

/// Runs this very test once more in a mount namespace of its own. `true` in there, where it is to
/// do its work; `false` outside, where it is over: it went well, or it was skipped in words.
pub fn own_mounts(test: &str) -> bool {
    if std::env::var_os(OWN_MOUNTS).is_some() {
        return true;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.arg("--");
        command
    };
    let permitted = unshare().arg("true").output();
    if !permitted.is_ok_and(|output| output.status.success()) {
        skipped("this user may not have a mount table of its own (unshare --mount)");
        return false;
    }
    let status = unshare()
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(OWN_MOUNTS, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} in its own mounts: {status}");
    false
}

/// A disk in memory that holds a project and nothing else. Only in a mount namespace.
pub struct SmallDisk {
    root: tempfile::TempDir,
}

impl SmallDisk {
    /// A disk of so many MiB.
    pub fn new(mebibytes: u32) -> Self {
        let root = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}M,mode=700");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(root.path())
            .status();
        assert!(mount.unwrap().success(), "a tmpfs can be mounted");
        Self { root }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// A project on it.
    pub fn project(&self, agents: &str) -> Project {
        Project::new_in(self.path(), agents)
    }

    /// Bytes that are free.
    pub fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.path()).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Writes a file until the disk has no more than `left` bytes left.
    pub fn fill(&self, left: u64) -> Filler {
        let path = self.path().join("filler");
        let mut file = File::create(&path).unwrap();
        while self.free() > left {
            let step = usize::try_from((self.free() - left).min(1 << 16)).unwrap();
            if file.write_all(&vec![b'x'; step]).is_err() {
                break;
            }
        }
        Filler(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.path())
            .status();
    }
}

/// What fills a disk, until dropped.
pub struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Faults of the disk for one daemon and what it starts, switched on and off by their rules.
pub struct Faults {
    library: PathBuf,
    rules: PathBuf,
}

impl Faults {
    /// No faults yet; `None`, and a word about it, where none can be injected.
    pub fn new(project: &Project) -> Option<Self> {
        let library = std::env::current_exe().unwrap();
        let library = library.parent().unwrap().join("liborch_preload.so");
        if !library.exists() {
            skipped("nothing can be loaded between orch and the C library here");
            return None;
        }
        let rules = project.outside("rules");
        fs::write(&rules, "").unwrap();
        Some(Self { library, rules })
    }

    /// What the daemon is started with.
    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [
            ("LD_PRELOAD", self.library.clone()),
            ("ORCH_PRELOAD_RULES", self.rules.clone()),
        ]
    }

    /// From now on these rules hold: see the crate `orch-preload`.
    pub fn set(&self, rules: &str) {
        let new = self.rules.with_extension("new");
        fs::write(&new, rules).unwrap();
        fs::rename(&new, &self.rules).unwrap();
    }

    /// How many faults of this name have been injected.
    pub fn hits(&self, name: &str) -> usize {
        let hits = format!("{}.hits", self.rules.display());
        let hits = fs::read_to_string(hits).unwrap_or_default();
        hits.lines().filter(|line| line.contains(name)).count()
    }
}
