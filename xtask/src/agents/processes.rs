//! What still runs: processes that were started for a project, whatever became of their parents.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// Processes whose home or directory is in this place, by number and command line.
pub fn left_in(place: &Path) -> Vec<String> {
    ours(place).filter_map(describe).collect()
}

/// Kills all of them.
pub fn end(place: &Path) {
    for number in ours(place) {
        if let Some(pid) = Pid::from_raw(number) {
            // It may have ended in this very moment.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn ours(place: &Path) -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(move |number| belongs_to(*number, place))
}

fn belongs_to(number: i32, place: &Path) -> bool {
    let process = format!("/proc/{number}");
    let directory = fs::read_link(format!("{process}/cwd"));
    let inside = directory.is_ok_and(|directory| directory.starts_with(place));
    let environment = fs::read(format!("{process}/environ")).unwrap_or_default();
    let mark = format!("HOME={}", place.display());
    let variables = environment.split(|byte| *byte == 0);
    let mut marked = variables.filter(|variable| variable.starts_with(mark.as_bytes()));
    inside || marked.next().is_some()
}

/// `None` for what has ended in the meantime: a zombie has no command line any more.
fn describe(number: i32) -> Option<String> {
    let line = fs::read(format!("/proc/{number}/cmdline")).ok()?;
    if line.is_empty() {
        return None;
    }
    let words: Vec<_> = line
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    let line: String = words.join(" ").chars().take(120).collect();
    Some(format!("{number} {}", line.trim_end()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_found_by_its_directory_and_by_its_home() {
        let name = format!("orch-left-{}", std::process::id());
        let place = std::env::temp_dir().join(name);
        fs::create_dir_all(&place).unwrap();
        assert_eq!(left_in(&place), Vec::<String>::new());
        let mut here = Command::new("cat");
        here.current_dir(&place).stdin(std::process::Stdio::piped());
        let mut marked = Command::new("cat");
        marked
            .env("HOME", place.join("home"))
            .stdin(std::process::Stdio::piped());
        let mut children = [here.spawn().unwrap(), marked.spawn().unwrap()];
        assert_eq!(left_in(&place).len(), 2);
        end(&place);
        for child in &mut children {
            child.wait().unwrap();
        }
        assert_eq!(left_in(&place), Vec::<String>::new());
        fs::remove_dir_all(&place).unwrap();
    }
}
