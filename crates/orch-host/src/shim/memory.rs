//! Whom the kernel ends when memory runs out, and whether it has.
//!
//! An ordinary user cannot protect a process, only offer another: the agent is made the better
//! victim, so that neither the daemon nor a shim goes in its place. Must not know what an agent is
//! for. Where the system has no such thing, nothing is done and nothing is claimed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// How much likelier an agent is to be chosen, in the kernel's thousandths of all memory.
const LIKELIER: i32 = 500;
/// The most the kernel takes.
const LIKELIEST: i32 = 1_000;
const SCORE: &str = "/proc/self/oom_score_adj";

/// Makes children born while it exists likelier victims than this process.
pub(super) struct Offering {
    before: Option<i32>,
}

impl Offering {
    pub(super) fn new() -> Self {
        let before = read_number(Path::new(SCORE));
        let offered = before.is_some_and(|before| {
            let score = before.saturating_add(LIKELIER).min(LIKELIEST);
            std::fs::write(SCORE, score.to_string()).is_ok()
        });
        Self {
            before: before.filter(|_| offered),
        }
    }
}

impl Drop for Offering {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            // Anybody may go back to where he was; should it fail, the shim is as good a victim
            // as its agent, and the daemon fetches the status in its place.
            let _ = std::fs::write(SCORE, before.to_string());
        }
    }
}

fn read_number(path: &Path) -> Option<i32> {
    read_small(path)?.trim().parse().ok()
}

/// A file of the kernel's, which it hands out whole at the first read.
fn read_small(path: &Path) -> Option<String> {
    let mut bytes = [0; 4096];
    let length = File::open(path).ok()?.read(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

/// Counts what the kernel ends for want of memory in the control group of this process, which its
/// children are born into.
pub(super) struct Shortage {
    file: Option<PathBuf>,
    before: u64,
}

impl Shortage {
    /// Counts from now on.
    pub(super) fn new() -> Self {
        let file = counter();
        let before = file.as_deref().and_then(kills).unwrap_or(0);
        Self { file, before }
    }

    /// How many processes were ended since; 0 where it cannot be known.
    pub(super) fn kills(&self) -> u64 {
        let now = self.file.as_deref().and_then(kills).unwrap_or(0);
        now.saturating_sub(self.before)
    }
}

fn kills(file: &Path) -> Option<u64> {
    kills_of(&read_small(file)?)
}

fn kills_of(text: &str) -> Option<u64> {
    let count = |line: &str| line.strip_prefix("oom_kill ")?.trim().parse().ok();
    text.lines().find_map(count)
}

/// The file that counts, in whichever form of control groups this machine has.
fn counter() -> Option<PathBuf> {
    counter_of(&read_small(Path::new("/proc/self/cgroup"))?)
}

/// Lines are `number:controllers:path`; without controllers it is the second form.
fn counter_of(groups: &str) -> Option<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let fields = |line: &'_ str| -> Option<(String, String)> {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        Some((
            controllers.to_owned(),
            path.trim_start_matches('/').to_owned(),
        ))
    };
    let groups: Vec<(String, String)> = groups.lines().filter_map(fields).collect();
    let first = groups.iter().find_map(|(controllers, path)| {
        let is_memory = controllers.split(',').any(|name| name == "memory");
        is_memory.then(|| root.join("memory").join(path).join("memory.oom_control"))
    });
    first.or_else(|| {
        let (_, path) = groups
            .iter()
            .find(|(controllers, _)| controllers.is_empty())?;
        Some(root.join(path).join("memory.events"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_in_both_forms_of_control_groups() {
        let first = "8:pids:/\n4:memory:/user/me\n0::/\n";
        assert_eq!(
            counter_of(first).as_deref(),
            Some(Path::new(
                "/sys/fs/cgroup/memory/user/me/memory.oom_control"
            ))
        );
        assert_eq!(
            counter_of("0::/user.slice/a:b.scope\n").as_deref(),
            Some(Path::new(
                "/sys/fs/cgroup/user.slice/a:b.scope/memory.events"
            ))
        );
        assert_eq!(counter_of("1:cpu:/\n"), None);
        assert_eq!(counter_of(""), None);
    }

    #[test]
    fn kills_are_read_from_both_files_and_never_guessed() {
        let first = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(kills_of(first), Some(3));
        assert_eq!(
            kills_of("low 0\noom 9\noom_kill 2\noom_group_kill 0\n"),
            Some(2)
        );
        assert_eq!(kills_of("oom 9\n"), None);
        let unknown = Shortage {
            file: None,
            before: 0,
        };
        assert_eq!(unknown.kills(), 0);
    }
}
