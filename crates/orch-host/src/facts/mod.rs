//! What this machine is like: only looked at, never judged, never changed.
//!
//! Whatever cannot be found out is `None` or says why. What follows from it is decided elsewhere.

mod native;
pub mod program;
mod service;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use native::native;
pub use service::{Service, Unit};

use crate::supervise;

/// What the kernel and the session of a process are like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machine {
    /// Whether this process may adopt the orphans of its descendants; why not, if not.
    pub subreaper: Option<String>,
    /// Whether a boot can be told from the one before it.
    pub boot_id: bool,
    /// Files that may be open at once; `None` without a limit.
    pub open_files: Option<u64>,
    /// Processes that this user may have at once; `None` without a limit.
    pub processes: Option<u64>,
    /// What keeps the process running, if that is a service manager.
    pub service: Option<Service>,
}

/// Space on the disk of a directory, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What this user may still write.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

impl Machine {
    /// Looks at the machine as the process `pid` sees it.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let subreaper = match cfg!(target_os = "linux") {
            true => supervise::become_subreaper()
                .err()
                .map(|error| error.to_string()),
            false => Some("this system has no child subreaper".to_owned()),
        };
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok();
        let limit = |name, resource| match &limits {
            Some(text) => limit_in(text, name),
            None => rustix::process::getrlimit(resource).current,
        };
        Self {
            subreaper,
            boot_id: !supervise::process::boot_id().is_empty(),
            open_files: limit("Max open files", rustix::process::Resource::Nofile),
            processes: limit("Max processes", rustix::process::Resource::Nproc),
            service: Service::of(Path::new("/proc"), pid, Path::new("systemctl")),
        }
    }
}

/// The soft limit of this name in `/proc/PID/limits`; `None` for unlimited.
fn limit_in(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The space on the disk that `directory` is on.
///
/// # Errors
/// The system said no.
pub fn space(directory: &Path) -> io::Result<Space> {
    let found = rustix::fs::statvfs(directory)?;
    Ok(Space {
        free: found.f_bavail.saturating_mul(found.f_frsize),
        total: found.f_blocks.saturating_mul(found.f_frsize),
    })
}

/// What is in the directories of runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Records {
    /// How many were looked at.
    pub looked_at: usize,
    /// Whether there are more.
    pub more: bool,
    /// Exit records of a version that this orch does not know.
    pub unknown: Vec<PathBuf>,
    /// Exit records that could not be trusted and were moved aside.
    pub corrupt: Vec<PathBuf>,
}

/// The version of exit records that this orch writes, and the oldest it reads.
const RECORDS: (u64, u64) = (1, 1);

/// Looks at up to `most` directories of runs.
///
/// # Errors
/// The directory could not be read.
pub fn records(runs: &Path, most: usize) -> io::Result<Records> {
    let mut found = Records::default();
    for entry in fs::read_dir(runs)? {
        let run = entry?.path();
        if found.looked_at == most {
            found.more = true;
            break;
        }
        found.looked_at += 1;
        let record = run.join(crate::run_dir::name::EXIT_RECORD);
        if version_of(&record).is_some_and(|it| !(RECORDS.1..=RECORDS.0).contains(&it)) {
            found.unknown.push(record);
        }
        let corrupt = run.join(crate::run_dir::name::EXIT_CORRUPT);
        if corrupt.symlink_metadata().is_ok() {
            found.corrupt.push(corrupt);
        }
    }
    Ok(found)
}

/// The version a record says it is of; `None` for anything that is not a record.
fn version_of(record: &Path) -> Option<u64> {
    // Neither a FIFO nor something huge in its place may hold anybody up.
    let meta = record.symlink_metadata().ok()?;
    if !meta.is_file() || meta.len() > 1 << 20 {
        return None;
    }
    let value: serde_json::Value = serde_json::from_slice(&fs::read(record).ok()?).ok()?;
    value["version"].as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             unlimited            unlimited            processes \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(limit_in(text, "Max open files"), Some(1_024));
        assert_eq!(limit_in(text, "Max processes"), None);
        assert_eq!(limit_in(text, "Max nothing"), None);
    }

    #[test]
    fn records_of_other_versions_and_quarantined_ones_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/exit.json", r#"{"version":1}"#);
        write("b/exit.json", r#"{"version":9}"#);
        write("c/exit.json.corrupt", "x");
        write("d/exit.json", "x");
        let found = records(directory.path(), 10).unwrap();
        assert_eq!((found.looked_at, found.more), (4, false));
        assert_eq!(found.unknown, [directory.path().join("b/exit.json")]);
        assert_eq!(
            found.corrupt,
            [directory.path().join("c/exit.json.corrupt")]
        );
        assert!(records(directory.path(), 2).unwrap().more);
    }

    #[test]
    fn the_machine_that_runs_the_tests_can_be_looked_at() {
        let machine = Machine::of(std::process::id());
        assert_eq!(machine.boot_id, cfg!(target_os = "linux"));
        assert!(machine.open_files.is_none_or(|files| files > 0));
        let space = space(Path::new("/")).unwrap();
        assert!(space.free <= space.total && space.total > 0);
    }
}
