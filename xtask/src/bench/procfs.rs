//! What the kernel says about processes, in `/proc`: who is whose child, CPU time, memory,
//! descriptors.

use std::collections::BTreeSet;
use std::fs;

/// Ticks of CPU time in a second, as `/proc` counts them. Linux has told user space 100 on every
/// machine that orch runs on, whatever its kernel counts itself.
const TICKS_PER_SECOND: u64 = 100;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its program's name, at most 15 bytes.
    pub name: String,
    /// Whether it has ended and nobody has fetched its status.
    pub zombie: bool,
    /// Its parent.
    pub parent: u32,
    /// When it started, in ticks since the boot.
    pub start: u64,
    own_ticks: u64,
    children_ticks: u64,
}

impl Process {
    /// Parses a line of `/proc/PID/stat`.
    pub fn parse(line: &str) -> Option<Self> {
        // The name is in brackets and may itself contain brackets and spaces.
        let (head, rest) = line.rsplit_once(')')?;
        let (pid, name) = head.split_once(" (")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            pid: pid.parse().ok()?,
            name: name.to_owned(),
            zombie: matches!(*fields.first()?, "Z" | "X"),
            parent: fields.get(1)?.parse().ok()?,
            own_ticks: number(11)? + number(12)?,
            children_ticks: number(13)? + number(14)?,
            start: number(19)?,
        })
    }

    /// The process of this number.
    pub fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// CPU time of its own threads, seconds.
    pub fn own_seconds(&self) -> f64 {
        seconds(self.own_ticks)
    }

    /// CPU time of itself and of the children it has waited for, seconds.
    pub fn whole_seconds(&self) -> f64 {
        seconds(self.own_ticks + self.children_ticks)
    }

    /// CPU time of the children it has waited for, seconds.
    pub fn children_seconds(&self) -> f64 {
        seconds(self.children_ticks)
    }
}

fn seconds(ticks: u64) -> f64 {
    super::figures::number(ticks) / super::figures::number(TICKS_PER_SECOND)
}

/// Every process there is.
fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(Process::read).collect()
}

/// The children of `ancestor`, their children and so on, parents first.
pub fn descendants(ancestor: u32) -> Vec<Process> {
    below(ancestor, all())
}

fn below(ancestor: u32, mut others: Vec<Process>) -> Vec<Process> {
    let mut family = BTreeSet::from([ancestor]);
    let mut found = Vec::new();
    loop {
        let before = found.len();
        others.retain(|process| {
            let ours = family.contains(&process.parent) && process.pid != ancestor;
            if ours {
                family.insert(process.pid);
                found.push(process.clone());
            }
            !ours
        });
        if found.len() == before {
            return found;
        }
    }
}

/// CPU time that all processes together have used since the boot, seconds.
pub fn busy_seconds() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    seconds(busy_ticks(&text).unwrap_or(0))
}

/// All columns of the first line but idle (the fourth) and waiting for disks (the fifth). Time
/// that another machine on the same hardware took counts as used. The last two columns, guests, are
/// contained in others.
fn busy_ticks(text: &str) -> Option<u64> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let columns: Vec<u64> = line
        .split_whitespace()
        .map_while(|column| column.parse().ok())
        .collect();
    let used = columns.iter().enumerate().take(8);
    Some(
        used.filter(|(at, _)| !matches!(at, 3 | 4))
            .map(|(_, ticks)| ticks)
            .sum(),
    )
}

/// Memory of a process, KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident: everything it has in memory, shared or not.
    pub resident: u64,
    /// Proportional: shared pages divided by those who share them.
    pub proportional: u64,
    /// What nobody shares with it.
    pub private: u64,
}

impl Memory {
    /// That of the process of this number; `None` if it is gone or not ours to look at.
    pub fn read(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        (!text.is_empty()).then(|| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let kib = |name: &str| kib_of(text, name).unwrap_or(0);
        Self {
            resident: kib("Rss:"),
            proportional: kib("Pss:"),
            private: kib("Private_Clean:") + kib("Private_Dirty:"),
        }
    }
}

/// The most memory a process has had at once, KiB.
pub fn peak_kib(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    kib_of(&text, "VmHWM:")
}

/// How many threads a process has.
pub fn threads(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    kib_of(&text, "Threads:")
}

fn kib_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "812 (a) b (c) S 7 812 812 0 -1 4194304 10 20 0 0 150 50 30 20 20 0 3 0 \
                        98765 1000 200";

    #[test]
    fn a_line_of_stat_is_understood_whatever_the_name() {
        let process = Process::parse(LINE).unwrap();
        assert_eq!(
            (process.pid, process.parent, process.start),
            (812, 7, 98_765)
        );
        assert_eq!(process.name, "a) b (c");
        assert!(!process.zombie);
        assert!((process.own_seconds() - 2.0).abs() < 1e-9);
        assert!((process.whole_seconds() - 2.5).abs() < 1e-9);
        assert!((process.children_seconds() - 0.5).abs() < 1e-9);
        assert!(Process::parse(&LINE.replace(" S ", " Z ")).unwrap().zombie);
        assert_eq!(Process::parse("812 (a"), None);
    }

    #[test]
    fn descendants_are_found_in_whatever_order_they_come() {
        let process = |pid: u32, parent: u32| Process {
            pid,
            parent,
            ..Process::parse(LINE).unwrap()
        };
        let all = vec![
            process(40, 30),
            process(30, 20),
            process(20, 10),
            process(50, 1),
            process(10, 1),
        ];
        let found: Vec<u32> = below(10, all).into_iter().map(|found| found.pid).collect();
        assert_eq!(found, [20, 30, 40]);
    }

    #[test]
    fn this_process_is_there_and_has_memory() {
        let own = std::process::id();
        assert_eq!(Process::read(own).unwrap().pid, own);
        let memory = Memory::read(own).unwrap();
        assert!(memory.resident >= memory.proportional && memory.private > 0);
        assert!(peak_kib(own).unwrap() > 0 && threads(own).unwrap() > 0);
        assert!(descriptors(own).unwrap() > 2);
    }

    #[test]
    fn busy_is_all_but_idle_and_waiting() {
        let text = "cpu  10 20 30 400 500 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(busy_ticks(text), Some(10 + 20 + 30 + 6 + 7 + 8));
        assert_eq!(busy_ticks("intr 1"), None);
    }

    #[test]
    fn memory_is_summed_as_told() {
        let text = "5500-7ff rollup\nRss: 100 kB\nPss: 40 kB\nPss_Anon: 3 kB\n\
                    Private_Clean: 5 kB\nPrivate_Dirty: 7 kB\n";
        let expected = Memory {
            resident: 100,
            proportional: 40,
            private: 12,
        };
        assert_eq!(Memory::parse(text), expected);
    }
}
