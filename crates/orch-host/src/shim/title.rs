//! What a process is called, in `ps` and for whoever looks for a shim by its command line.
//!
//! A copy of a process has the command line of the original. Where that lies in memory the kernel
//! tells, and a process may write into its own memory through a file. Must not know what the words
//! mean.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The place of a process's command line in its memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Title {
    start: u64,
    bytes: usize,
}

impl Title {
    /// That of this process, and of every copy of it.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(super) fn find() -> io::Result<Self> {
        let stat = std::fs::read("/proc/self/stat")?;
        place(&stat).ok_or_else(|| io::Error::other("no command line in /proc/self/stat"))
    }

    /// Calls this process `orch <command>`, and clears all the room there is.
    pub(super) fn set(self, command: &str) -> io::Result<()> {
        let mut line = words(&[b"orch", command.as_bytes()]);
        line.resize(self.bytes, 0);
        self.write(&line[..self.bytes])
    }

    /// Calls this process `orch <command> <path>`, after [`set`](Self::set) in the original. Of a
    /// path that is too long the end is kept, which tells the run.
    pub(super) fn set_with(self, command: &str, path: &Path) -> io::Result<()> {
        self.write(&self.line(command, path.as_os_str().as_bytes()))
    }

    fn line(self, command: &str, path: &[u8]) -> Vec<u8> {
        let room = self.bytes.saturating_sub("orch".len() + command.len() + 3);
        let kept = &path[path.len().saturating_sub(room)..];
        let mut line = words(&[b"orch", command.as_bytes(), kept]);
        line.truncate(self.bytes);
        line
    }

    fn write(self, line: &[u8]) -> io::Result<()> {
        let memory = File::options().write(true).open("/proc/self/mem")?;
        memory.write_all_at(line, self.start)
    }
}

fn words(words: &[&[u8]]) -> Vec<u8> {
    let mut line = Vec::new();
    for word in words {
        line.extend_from_slice(word);
        line.push(0);
    }
    line
}

/// Fields 48 and 49 of the line, counted from the last parenthesis of the name, which is the
/// second.
fn place(stat: &[u8]) -> Option<Title> {
    let text = String::from_utf8_lossy(stat);
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace().skip(45);
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (start, end) = (number()?, number()?);
    let bytes = usize::try_from(end.checked_sub(start)?).ok()?;
    (start > 0).then_some(Title { start, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_read_whatever_the_process_is_called() {
        let mut stat = b"42 (a) Z 1 (b) S".to_vec();
        for field in 4..=52 {
            stat.extend(format!(" {}", field * 10).bytes());
        }
        let title = place(&stat).unwrap();
        assert_eq!((title.start, title.bytes), (480, 10));
        assert!(place(b"42 (a) S 1 2").is_none());
    }

    #[test]
    fn of_a_long_path_the_end_is_kept_and_nothing_is_written_beyond_the_room() {
        let title = |bytes| Title { start: 1, bytes };
        let line = title(30).line("__shim", b"/a/runs/run_7");
        assert_eq!(line, b"orch\0__shim\0/a/runs/run_7\0");
        let line = title(20).line("__shim", b"/a/runs/run_7");
        assert_eq!(line, b"orch\0__shim\0s/run_7\0");
        for bytes in 0..30 {
            assert!(title(bytes).line("__shim", b"/a/runs/run_7").len() <= bytes);
        }
    }
}
