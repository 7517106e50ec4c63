//! Where output is watched for: which runs have written something.
//!
//! On Linux this asks inotify for writes and nothing else: that a file was opened, read or closed
//! is no news, and each piece of news would wake two threads. This file must not know what was
//! written, nor read it.

pub(super) use system::{Changes, Watcher};

/// The most changes that are taken at once, in bytes of what the system writes for them.
#[cfg(target_os = "linux")]
const CHANGES_BYTES: usize = 16 << 10;

#[cfg(target_os = "linux")]
mod system {
    use std::collections::{BTreeMap, BTreeSet};
    use std::io::{self, PipeReader, PipeWriter};
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, OwnedFd};
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use orch_core::RunId;
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use rustix::io::Errno;

    use crate::shared::locked;

    /// Which file the system calls by which number.
    #[derive(Default)]
    struct Watched {
        runs: BTreeMap<i32, RunId>,
        numbers: BTreeMap<RunId, i32>,
    }

    struct Shared {
        inotify: OwnedFd,
        watched: Mutex<Watched>,
    }

    /// Says which files to watch. When it is dropped, the changes end.
    pub(in crate::host) struct Watcher {
        shared: Arc<Shared>,
        _open: PipeWriter,
    }

    /// What was written, as it happens.
    pub(in crate::host) struct Changes {
        shared: Arc<Shared>,
        closed: PipeReader,
    }

    impl Watcher {
        pub(in crate::host) fn new() -> io::Result<(Self, Changes)> {
            let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            let watched = Mutex::default();
            let shared = Arc::new(Shared { inotify, watched });
            let (closed, open) = io::pipe()?;
            let changes = Changes {
                shared: Arc::clone(&shared),
                closed,
            };
            let watcher = Self {
                shared,
                _open: open,
            };
            Ok((watcher, changes))
        }

        pub(in crate::host) fn watch(&self, run: &RunId, log: &Path) -> io::Result<()> {
            let mut watched = locked(&self.shared.watched);
            let wanted = WatchFlags::MODIFY | WatchFlags::DONT_FOLLOW;
            let number = inotify::add_watch(&self.shared.inotify, log, wanted)?;
            watched.runs.insert(number, run.clone());
            let before = watched.numbers.insert(run.clone(), number);
            if let Some(before) = before.filter(|before| *before != number) {
                // The file was replaced by another.
                watched.runs.remove(&before);
            }
            Ok(())
        }

        pub(in crate::host) fn unwatch(&self, run: &RunId) {
            let mut watched = locked(&self.shared.watched);
            if let Some(number) = watched.numbers.remove(run) {
                watched.runs.remove(&number);
                // The file may be gone, and the watch with it.
                let _ = inotify::remove_watch(&self.shared.inotify, number);
            }
        }
    }

    impl Changes {
        /// Waits for writes and says whose they are; `None` when nobody watches any more.
        pub(in crate::host) fn next(&self) -> Option<BTreeSet<RunId>> {
            loop {
                if !self.wait() {
                    return None;
                }
                let numbers = self.read().ok()?;
                let watched = locked(&self.shared.watched);
                let runs: BTreeSet<RunId> = numbers
                    .iter()
                    .filter_map(|number| watched.runs.get(number).cloned())
                    .collect();
                if !runs.is_empty() {
                    return Some(runs);
                }
            }
        }

        /// `false` when the watcher is gone.
        fn wait(&self) -> bool {
            let mut waited = [
                PollFd::new(&self.shared.inotify, PollFlags::IN),
                PollFd::new(&self.closed, PollFlags::IN),
            ];
            loop {
                match poll(&mut waited, None) {
                    Ok(_) => return waited[1].revents().is_empty(),
                    Err(Errno::INTR) => {}
                    Err(_) => return false,
                }
            }
        }

        /// What there is now, many writes as one.
        fn read(&self) -> io::Result<BTreeSet<i32>> {
            let mut space = [MaybeUninit::uninit(); super::CHANGES_BYTES];
            let mut reader = inotify::Reader::new(self.shared.inotify.as_fd(), &mut space);
            let mut numbers = BTreeSet::new();
            loop {
                match reader.next() {
                    // Should the system have lost some, the sweep finds what was written.
                    Ok(event) => drop(numbers.insert(event.wd())),
                    Err(Errno::AGAIN) => return Ok(numbers),
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                if reader.is_buffer_empty() {
                    return Ok(numbers);
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::collections::{BTreeMap, BTreeSet};
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::mpsc::{Receiver, channel};
    use std::sync::{Arc, Mutex};

    use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
    use orch_core::RunId;

    use crate::shared::locked;

    type Logs = Arc<Mutex<BTreeMap<PathBuf, RunId>>>;

    /// Says which files to watch. When it is dropped, the changes end.
    pub(in crate::host) struct Watcher {
        inner: Mutex<RecommendedWatcher>,
        logs: Logs,
    }

    /// What was written, as it happens.
    pub(in crate::host) struct Changes {
        paths: Receiver<PathBuf>,
        logs: Logs,
    }

    impl Watcher {
        pub(in crate::host) fn new() -> io::Result<(Self, Changes)> {
            let (changed, paths) = channel();
            let inner = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                for path in event.into_iter().flat_map(|event| event.paths) {
                    let _ = changed.send(path);
                }
            });
            let inner = Mutex::new(inner.map_err(io::Error::other)?);
            let logs = Logs::default();
            let changes = Changes {
                paths,
                logs: Arc::clone(&logs),
            };
            Ok((Self { inner, logs }, changes))
        }

        pub(in crate::host) fn watch(&self, run: &RunId, log: &Path) -> io::Result<()> {
            locked(&self.logs).insert(log.to_owned(), run.clone());
            let watched = locked(&self.inner).watch(log, RecursiveMode::NonRecursive);
            watched.map_err(io::Error::other)
        }

        pub(in crate::host) fn unwatch(&self, run: &RunId) {
            let mut gone = Vec::new();
            locked(&self.logs).retain(|log, of| {
                if of == run {
                    gone.push(log.clone());
                }
                of != run
            });
            for log in gone {
                // The file may be gone, and the watch with it.
                let _ = locked(&self.inner).unwatch(&log);
            }
        }
    }

    impl Changes {
        /// Waits for writes and says whose they are; `None` when nobody watches any more.
        pub(in crate::host) fn next(&self) -> Option<BTreeSet<RunId>> {
            loop {
                let first = self.paths.recv().ok()?;
                // Many writes, one look.
                let paths = std::iter::once(first).chain(self.paths.try_iter());
                let logs = locked(&self.logs);
                let runs: BTreeSet<RunId> =
                    paths.filter_map(|path| logs.get(&path).cloned()).collect();
                if !runs.is_empty() {
                    return Some(runs);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use orch_core::RunId;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn who_writes_is_named_until_the_watcher_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let (watcher, changes) = Watcher::new().unwrap();
        let (tell, told) = channel();
        let reader = std::thread::spawn(move || {
            while let Some(runs) = changes.next() {
                tell.send(runs).unwrap();
            }
        });
        let log = |number| {
            let run = RunId::from_entropy(number);
            let path = directory.path().join(run.as_str());
            let file = std::fs::File::create(&path).unwrap();
            watcher.watch(&run, &path).unwrap();
            (run, file, path)
        };
        let ((one, mut of_one, path), (other, mut of_other, _)) = (log(1), log(2));
        // Reading is no news, nor is a write to what is not watched any more.
        std::fs::read(&path).unwrap();
        of_other.write_all(b"x").unwrap();
        assert_eq!(told.recv_timeout(LONG).unwrap(), [other.clone()].into());
        watcher.unwatch(&other);
        of_other.write_all(b"x").unwrap();
        of_one.write_all(b"x").unwrap();
        assert_eq!(told.recv_timeout(LONG).unwrap(), [one].into());
        drop(watcher);
        reader.join().unwrap();
        assert!(told.try_iter().next().is_none());
    }
}
