//! The process table as the oracle sees it: by `/proc` and nothing else.

use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::scene::Left;

/// Every process id there is.
pub fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Everything that carries the marker of a run in its environment and is not a zombie.
pub fn marked() -> Vec<Left> {
    pids()
        .filter_map(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let mut entries = environment.split(|byte| *byte == 0);
            let run = entries.find_map(|entry| entry.strip_prefix(b"ORCH_RUN_ID="))?;
            let run = String::from_utf8_lossy(run).into_owned();
            let what = format!("{pid} {}", command_line(pid).join(" "));
            let (_, _, start_time) = stat(pid)?;
            Some(Left {
                run,
                what,
                pid,
                start_time,
            })
        })
        .collect()
}

/// The words a process was started with.
pub fn command_line(pid: i32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// State letter, parent and start time of a process; `None` if it is gone.
pub fn stat(pid: i32) -> Option<(char, i32, u64)> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let state = fields.first()?.chars().next()?;
    Some((
        state,
        fields.get(1)?.parse().ok()?,
        fields.get(19)?.parse().ok()?,
    ))
}

/// The dead children of a process that it has not fetched, with their start times.
pub fn zombies_of(parent: i32) -> Vec<(i32, u64)> {
    pids()
        .filter_map(|pid| match stat(pid)? {
            ('Z', of, start_time) if of == parent => Some((pid, start_time)),
            _ => None,
        })
        .collect()
}

/// Sends a signal to the process of this id that started at this time, and to no other; whether
/// it was there.
pub fn signal(pid: i32, start_time: u64, signal: Signal) -> bool {
    let Some(id) = Pid::from_raw(pid) else {
        return false;
    };
    let Ok(handle) = pidfd_open(id, PidfdFlags::empty()) else {
        return false;
    };
    // Opened first and checked second: the handle stays with the process it was opened for.
    let same = stat(pid).is_some_and(|(_, _, since)| since == start_time);
    same && pidfd_send_signal(handle, signal).is_ok()
}
