//! Programs of agents: where they are and which version they say they have.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::git::process::{self, Allowance, Stopped};

/// How long a program may take to say its version. Some of them start an interpreter first, on a
/// machine that may be busy.
pub const VERSION_TIME: Duration = Duration::from_secs(20);
/// Most that is read of what it says, bytes.
const SAID_BYTES: usize = 64 << 10;
/// Most of it that is passed on, characters.
const SHOWN_CHARS: usize = 80;

/// Where a program is, as the system would find it from the directory `from`.
#[must_use]
pub fn find(program: &str, from: &Path) -> Option<PathBuf> {
    if program.contains('/') {
        let path = from.join(program);
        return is_executable(&path).then_some(path);
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .map(|directory| directory.join(program))
        .find(|path| is_executable(path))
}

pub(super) fn is_executable(path: &Path) -> bool {
    let found = path.metadata();
    found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// What a program says when it is asked for its version: the first line that has a number in it,
/// shortened. It is asked outside of any repository, and not for longer than `within`.
///
/// # Errors
/// Why it did not say, in words.
pub fn version(program: &Path, arguments: &[&str], within: Duration) -> Result<String, String> {
    // tidy: an agent's program, only asked for its version.
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/");
    let allowance = Allowance {
        time: within,
        stdout_bytes: SAID_BYTES,
        stderr_bytes: SAID_BYTES,
    };
    let finished = match process::run(&mut command, None, allowance) {
        Ok(finished) => finished,
        Err(Stopped::TimedOut) => {
            return Err(format!("said nothing within {} s", within.as_secs()));
        }
        Err(Stopped::TooMuchOutput) => return Err("says too much".to_owned()),
        Err(Stopped::Io(error)) => return Err(format!("cannot be started: {error}")),
    };
    let said = [finished.stdout, finished.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().find(|line| numbers(line).is_some());
    match line {
        Some(line) if finished.status.success() => {
            Ok(orch_core::text::excerpt(line.trim(), SHOWN_CHARS))
        }
        _ => Err(format!(
            "says no version: {}, '{}'",
            finished.status,
            orch_core::text::excerpt(said.trim(), SHOWN_CHARS)
        )),
    }
}

/// The numbers of the first version in a text: `2.1.197 (Claude Code)` is 2, 1, 197.
#[must_use]
pub fn numbers(text: &str) -> Option<Vec<u64>> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'));
    words
        // The full stop of a sentence is no part of the version that it ends with.
        .map(|word| word.trim_start_matches('v').trim_end_matches('.'))
        .find_map(|word| {
            let numbers = word.split('.').map(|part| part.parse().ok());
            let numbers: Option<Vec<u64>> = numbers.collect();
            numbers.filter(|numbers| numbers.len() > 1)
        })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn said(script: &str, within: Duration) -> Result<String, String> {
        version(Path::new("/bin/sh"), &["-c", script], within)
    }

    #[test]
    fn programs_are_found_as_the_system_finds_them() {
        let root = Path::new("/bin");
        assert!(find("sh", root).is_some());
        assert!(find("/bin/sh", root).is_some());
        assert!(find("./sh", root).is_some());
        assert!(find("/etc/passwd", root).is_none());
        assert!(find("no-such-program-anywhere", root).is_none());
    }

    #[test]
    fn the_line_with_the_version_is_what_it_says() {
        let script = "echo Welcome; echo 'tool v1.20.3'; yes | head -c 9000";
        assert_eq!(said(script, VERSION_TIME).unwrap(), "tool v1.20.3");
        assert_eq!(said("echo 1.2 >&2", VERSION_TIME).unwrap(), "1.2");
    }

    #[test]
    fn one_that_does_not_say_is_not_waited_for() {
        let begun = Instant::now();
        let silent = said("sleep 60", Duration::from_millis(50)).unwrap_err();
        assert!(silent.contains("nothing"), "{silent}");
        assert!(begun.elapsed() < Duration::from_secs(20));
        let failed = said("echo 1.2.3; exit 4", VERSION_TIME).unwrap_err();
        assert!(failed.contains("exit status: 4"), "{failed}");
        assert!(said("yes", VERSION_TIME).is_err());
        assert!(version(Path::new("/no/such"), &[], VERSION_TIME).is_err());
    }

    #[test]
    fn versions_are_numbers() {
        assert_eq!(numbers("2.1.197 (Claude Code)"), Some(vec![2, 1, 197]));
        assert_eq!(numbers("codex-cli 0.169.0"), Some(vec![0, 169, 0]));
        assert_eq!(numbers("v1.18"), Some(vec![1, 18]));
        let sentence = "GitHub Copilot CLI 1.0.102. Run 'copilot update' for updates.";
        assert_eq!(numbers(sentence), Some(vec![1, 0, 102]));
        assert_eq!(numbers("It is version 7."), None);
        assert_eq!(numbers("build 7 of a thing"), None);
    }
}
