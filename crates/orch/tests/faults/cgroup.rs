//! Control groups in which a test may be short of memory or of processes.
//!
//! Below the group this process is in, so that its own limits go on to hold. Where no such group
//! can be made (an ordinary user, a container without the right), the test says so and is skipped.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A control group of one controller, removed when dropped.
pub struct Cgroup {
    dir: PathBuf,
    /// The group that what is left is moved to before it is removed.
    parent: PathBuf,
}

impl Cgroup {
    /// A new group; `None`, and a word about it, where this machine gives none.
    pub fn new(controller: &str) -> Option<Self> {
        match Self::make(controller) {
            Ok(group) => Some(group),
            Err(error) => {
                println!("skipped: no control group for {controller} can be made: {error}");
                None
            }
        }
    }

    fn make(controller: &str) -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let parent = own_group(controller)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!("orch-test-{}-{number}", std::process::id()));
        fs::create_dir(&dir)?;
        let group = Self { dir, parent };
        // With the second form of control groups the directory may be there without its files.
        let limit = match controller {
            "pids" => "pids.max",
            _ => "memory.limit_in_bytes",
        };
        fs::metadata(group.dir.join(limit))?;
        Ok(group)
    }

    /// Writes one of its files.
    pub fn set(&self, file: &str, value: impl ToString) {
        fs::write(self.dir.join(file), value.to_string()).unwrap();
    }

    /// Reads one of its files.
    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.dir.join(file)).unwrap()
    }

    /// Moves a process and what descends from it into it; children to come are born there. One
    /// that ends meanwhile needs no place.
    pub fn add_tree(&self, root: u32) {
        match fs::write(self.dir.join("cgroup.procs"), root.to_string()) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
            moved => moved.unwrap(),
        }
        for child in children_of(root) {
            self.add_tree(child);
        }
    }

    /// How many processes and threads are in it.
    pub fn members(&self) -> u32 {
        self.read("pids.current").trim().parse().unwrap()
    }

    /// Moves one process into it; children to come are born there.
    pub fn add(&self, process: u32) {
        self.set("cgroup.procs", process);
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let members = fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default();
        for member in members.lines() {
            let _ = fs::write(self.parent.join("cgroup.procs"), member);
        }
        // A dying process may hold it for a moment; what stays is empty and named after the test.
        let _ = fs::remove_dir(&self.dir);
    }
}

/// The children of a process; one that has ended has none.
pub fn children_of(process: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let threads = match fs::read_dir(format!("/proc/{process}/task")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return found,
        threads => threads.unwrap(),
    };
    // Each thread has a list of the children it made. It may end while it is looked at.
    for thread in threads {
        let Ok(thread) = thread else { return found };
        let children = thread.path().join("children");
        let children = fs::read_to_string(children).unwrap_or_default();
        found.extend(
            children
                .split_whitespace()
                .map(|pid| pid.parse::<u32>().unwrap()),
        );
    }
    found
}

/// Where the group of this process lies, for a controller of the first form.
fn own_group(controller: &str) -> io::Result<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let path = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let names = fields.next()?;
        names
            .split(',')
            .any(|name| name == controller)
            .then_some(())?;
        fields.next()
    });
    let path = path.ok_or_else(|| io::Error::other("the controller is not mounted"))?;
    Ok(Path::new("/sys/fs/cgroup")
        .join(controller)
        .join(path.trim_start_matches('/')))
}
