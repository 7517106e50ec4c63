//! What the figures were measured on, found out by the program itself. No names of hosts, no
//! paths: a report can be shown to anybody.

use std::fs;
use std::num::NonZero;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The model of the CPU, as it calls itself.
    pub cpu: String,
    /// How many CPUs the benchmark may use.
    pub cores: usize,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// The kernel and its version.
    pub kernel: String,
    /// The kind of file system that everything was written to.
    pub file_system: String,
}

impl Machine {
    /// The machine this runs on; `folder` is where the benchmark writes.
    pub fn find(folder: &Path) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let uname = rustix::system::uname();
        let words = [uname.sysname(), uname.release()];
        Self {
            cpu: cpu_model(&read("/proc/cpuinfo")),
            cores: std::thread::available_parallelism().map_or(1, NonZero::get),
            memory_mib: memory_mib(&read("/proc/meminfo")),
            kernel: words
                .map(|word| word.to_string_lossy().into_owned())
                .join(" "),
            file_system: file_system(&read("/proc/self/mountinfo"), folder),
        }
    }

    /// One line for people.
    pub fn text(&self) -> String {
        let Self {
            cpu,
            cores,
            memory_mib,
            kernel,
            file_system,
        } = self;
        format!("{cpu}, {cores} CPUs, {memory_mib} MiB, {kernel}, {file_system}")
    }
}

/// The model of the first CPU. ARM machines name none and give a number of the part.
fn cpu_model(cpuinfo: &str) -> String {
    let value = |name: &str| {
        let mut pairs = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        pairs
            .find(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let part = value("CPU part").map(|part| format!("{} part {part}", std::env::consts::ARCH));
    let family = value("cpu family").zip(value("model"));
    let numbers = family.map(|(family, model)| format!(" (family {family}, model {model})"));
    value("model name")
        .map(|name| name + &numbers.unwrap_or_default())
        .or(part)
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn memory_mib(meminfo: &str) -> u64 {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// The kind of the file system with the longest mount point above `folder`.
fn file_system(mountinfo: &str, folder: &Path) -> String {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        let above = folder.starts_with(point.replace("\\040", " "));
        above.then_some((point.len(), after.split(' ').next()?))
    });
    // The last of several mounts on one point hides the others.
    let longest = mounts.max_by_key(|(length, _)| *length);
    longest.map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_what_the_cpu_says() {
        let intel =
            "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: Fast  CPU @ 2GHz\n";
        assert_eq!(cpu_model(intel), "Fast CPU @ 2GHz (family 6, model 85)");
        assert!(cpu_model("CPU part\t: 0xd0c\n").ends_with("part 0xd0c"));
        assert_eq!(cpu_model(""), std::env::consts::ARCH);
    }

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/a rw\n\
                      23 22 0:5 / /home rw shared:1 - xfs /dev/b rw\n\
                      24 22 0:6 / /home rw shared:2 - btrfs /dev/c rw\n\
                      25 22 0:7 / /hom rw - tmpfs tmpfs rw\n";
        assert_eq!(file_system(mounts, Path::new("/home/x")), "btrfs");
        assert_eq!(file_system(mounts, Path::new("/homes/x")), "ext4");
        assert_eq!(file_system("", Path::new("/")), "unknown");
    }

    #[test]
    fn memory_is_read() {
        assert_eq!(memory_mib("MemTotal:  2048 kB\nMemFree: 1 kB\n"), 2);
        assert_eq!(memory_mib(""), 0);
    }

    #[test]
    fn this_machine_is_known() {
        let machine = Machine::find(Path::new("/"));
        assert!(machine.cores > 0 && machine.memory_mib > 0);
        assert!(machine.kernel.starts_with("Linux "));
        assert!(machine.text().contains(&machine.cpu));
    }
}
