//! Where output is watched for: which runs have written something.
//!
//! On Linux this asks inotify for writes and nothing else: that a file was opened, read or closed
//! is no news, and each piece of news would wake two threads. It asks for one write at a time: a
//! write that somebody is told of costs the agent half as much again, so it is told of the first
//! after each look and of none before the next. This file must not know what was written, nor read
//! it.

pub(super) use system::{Changes, Watcher};

/// The most changes that are taken at once, in bytes of what the system writes for them.
#[cfg(target_os = "linux")]
const CHANGES_BYTES: usize = 16 << 10;
/// How many files that are not watched any more may be left with the system. To let go of one is a
/// change, too, and wakes whoever waits for changes: with the last of many they are let go of
/// together.
#[cfg(target_os = "linux")]
const LEFT: usize = 32;

#[cfg(target_os = "linux")]
mod system {
    use std::collections::{BTreeMap, BTreeSet};
    use std::io::{self, PipeReader, PipeWriter, Read, Write};
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, OwnedFd};
    use std::path::Path;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use orch_core::RunId;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use rustix::io::Errno;

    use crate::shared::locked;

    /// Which file the system calls by which number.
    #[derive(Default)]
    struct Watched {
        runs: BTreeMap<i32, RunId>,
        /// Without a number once a write was told of, until somebody has looked.
        numbers: BTreeMap<RunId, Option<i32>>,
        /// Numbers of files that nobody watches any more and the system still does. It gives each
        /// number once, and to a file that it still watches its old one.
        left: BTreeSet<i32>,
    }

    struct Shared {
        inotify: OwnedFd,
        watched: Mutex<Watched>,
        /// Runs that somebody asked to be looked at.
        asked: Mutex<BTreeSet<RunId>>,
    }

    /// Says which files to watch. When it is dropped, the changes end.
    pub(in crate::host) struct Watcher {
        shared: Arc<Shared>,
        bell: PipeWriter,
    }

    /// What was written, as it happens.
    pub(in crate::host) struct Changes {
        shared: Arc<Shared>,
        /// Rings when somebody asks; closed with the watcher.
        bell: PipeReader,
    }

    impl Watcher {
        pub(in crate::host) fn new() -> io::Result<(Self, Changes)> {
            let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            let shared = Arc::new(Shared {
                inotify,
                watched: Mutex::default(),
                asked: Mutex::default(),
            });
            let (ears, bell) = io::pipe()?;
            let changes = Changes {
                shared: Arc::clone(&shared),
                bell: ears,
            };
            Ok((Self { shared, bell }, changes))
        }

        /// Has a run named as if it had written. `false` if that was not possible.
        pub(in crate::host) fn ask(&self, run: &RunId) -> bool {
            let mut asked = locked(&self.shared.asked);
            let was_empty = asked.is_empty();
            asked.insert(run.clone());
            // The bell has rung for those who asked before.
            !was_empty || (&self.bell).write_all(b"!").is_ok()
        }

        pub(in crate::host) fn watch(&self, run: &RunId, log: &Path) -> io::Result<()> {
            let mut watched = locked(&self.shared.watched);
            watched.numbers.entry(run.clone()).or_default();
            self.shared.arm(&mut watched, run, log)
        }

        pub(in crate::host) fn unwatch(&self, run: &RunId) {
            let mut watched = locked(&self.shared.watched);
            if let Some(Some(number)) = watched.numbers.remove(run) {
                watched.runs.remove(&number);
                watched.left.insert(number);
            }
            if watched.left.len() >= super::LEFT {
                for number in std::mem::take(&mut watched.left) {
                    // The file may be gone, and the watch with it.
                    let _ = inotify::remove_watch(&self.shared.inotify, number);
                }
            }
        }
    }

    impl Shared {
        /// Asks to be told of the next write.
        fn arm(&self, watched: &mut Watched, run: &RunId, log: &Path) -> io::Result<()> {
            let wanted = WatchFlags::MODIFY | WatchFlags::DONT_FOLLOW | WatchFlags::ONESHOT;
            let number = inotify::add_watch(&self.inotify, log, wanted)?;
            watched.left.remove(&number);
            watched.runs.insert(number, run.clone());
            let before = watched.numbers.insert(run.clone(), Some(number)).flatten();
            if let Some(before) = before.filter(|before| *before != number) {
                // The file was replaced by another.
                watched.runs.remove(&before);
            }
            Ok(())
        }
    }

    impl Changes {
        /// To be called before each look at a run that wrote: what is written from now on is told
        /// of again. Should that fail, nobody is told, and the sweep asks.
        pub(in crate::host) fn look(&self, run: &RunId, log: &Path) {
            let mut watched = locked(&self.shared.watched);
            if watched.numbers.get(run) == Some(&None) {
                let _ = self.shared.arm(&mut watched, run, log);
            }
        }

        /// Waits for writes, no longer than `patience` if there is one, and says whose they are,
        /// perhaps nobody's; `None` when nobody watches any more.
        pub(in crate::host) fn within(
            &self,
            patience: Option<Duration>,
        ) -> Option<BTreeSet<RunId>> {
            // What lasts too long for the system lasts for ever.
            let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
            let patience = patience.as_ref();
            let asked = self.wait(patience)?;
            let numbers = self.read().ok()?;
            let mut watched = locked(&self.shared.watched);
            let mut runs = asked;
            for number in numbers {
                // It has told of its one write, or was let go of.
                watched.left.remove(&number);
                let Some(run) = watched.runs.remove(&number) else {
                    continue;
                };
                // The system has let go of the file. Who is not watched any more stays so.
                if let Some(number) = watched.numbers.get_mut(&run) {
                    *number = None;
                }
                runs.insert(run);
            }
            Some(runs)
        }

        /// Who was asked for meanwhile; `None` when the watcher is gone.
        fn wait(&self, patience: Option<&Timespec>) -> Option<BTreeSet<RunId>> {
            let mut waited = [
                PollFd::new(&self.shared.inotify, PollFlags::IN),
                PollFd::new(&self.bell, PollFlags::IN),
            ];
            while let Err(error) = poll(&mut waited, patience) {
                if error != Errno::INTR {
                    return None;
                }
            }
            if waited[1].revents().is_empty() {
                return Some(BTreeSet::new());
            }
            let mut asked = locked(&self.shared.asked);
            // It rings once for all who asked, and what is not there is the end.
            match (&self.bell).read(&mut [0]) {
                Ok(1) => Some(std::mem::take(&mut asked)),
                _ => None,
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
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
    use orch_core::RunId;

    use crate::shared::locked;

    type Logs = Arc<Mutex<BTreeMap<PathBuf, RunId>>>;

    /// Says which files to watch. When it is dropped, the changes end.
    pub(in crate::host) struct Watcher {
        inner: Mutex<RecommendedWatcher>,
        logs: Logs,
        ask: Sender<RunId>,
    }

    /// What was written, as it happens.
    pub(in crate::host) struct Changes {
        /// Who wrote, or was asked for.
        runs: Receiver<RunId>,
    }

    impl Watcher {
        pub(in crate::host) fn new() -> io::Result<(Self, Changes)> {
            let (ask, runs) = channel();
            let (changed, logs) = (ask.clone(), Logs::default());
            let watched = Arc::clone(&logs);
            let inner = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                for path in event.into_iter().flat_map(|event| event.paths) {
                    let run = locked(&watched).get(&path).cloned();
                    let _ = run.map(|run| changed.send(run));
                }
            });
            let inner = Mutex::new(inner.map_err(io::Error::other)?);
            Ok((Self { inner, logs, ask }, Changes { runs }))
        }

        /// Has a run named as if it had written. `false` if that was not possible.
        pub(in crate::host) fn ask(&self, run: &RunId) -> bool {
            self.ask.send(run.clone()).is_ok()
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
        /// Waits for writes, no longer than `patience` if there is one, and says whose they are,
        /// perhaps nobody's; `None` when nobody watches any more.
        pub(in crate::host) fn within(
            &self,
            patience: Option<Duration>,
        ) -> Option<BTreeSet<RunId>> {
            let first = match patience {
                None => Some(self.runs.recv().ok()?),
                Some(patience) => match self.runs.recv_timeout(patience) {
                    Err(RecvTimeoutError::Disconnected) => return None,
                    first => first.ok(),
                },
            };
            // Many writes, one look.
            Some(first.into_iter().chain(self.runs.try_iter()).collect())
        }

        /// Every write is told of here.
        pub(in crate::host) fn look(&self, _run: &RunId, _log: &Path) {}
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    use std::collections::BTreeSet;
    use std::io::Write;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use orch_core::RunId;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[cfg(target_os = "linux")]
    fn now(changes: &Changes) -> BTreeSet<RunId> {
        changes.within(Some(Duration::ZERO)).unwrap()
    }

    #[test]
    fn who_writes_is_named_until_the_watcher_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let (watcher, changes) = Watcher::new().unwrap();
        let (tell, told) = channel();
        let folder = directory.path().to_owned();
        let reader = std::thread::spawn(move || {
            while let Some(runs) = changes.within(None) {
                for run in &runs {
                    changes.look(run, &folder.join(run.as_str()));
                }
                if !runs.is_empty() {
                    tell.send(runs).unwrap();
                }
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
        // Again, after each look.
        of_other.write_all(b"x").unwrap();
        assert_eq!(told.recv_timeout(LONG).unwrap(), [other.clone()].into());
        watcher.unwatch(&other);
        of_other.write_all(b"x").unwrap();
        of_one.write_all(b"x").unwrap();
        assert_eq!(told.recv_timeout(LONG).unwrap(), [one.clone()].into());
        // Who is asked for is named without having written, each time.
        for _ in 0..2 {
            assert!(watcher.ask(&one));
            assert_eq!(told.recv_timeout(LONG).unwrap(), [one.clone()].into());
        }
        drop(watcher);
        reader.join().unwrap();
        assert!(told.try_iter().next().is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn between_two_looks_one_write_is_told_of() {
        let directory = tempfile::tempdir().unwrap();
        let (watcher, changes) = Watcher::new().unwrap();
        let run = RunId::from_entropy(1);
        let path = directory.path().join("log");
        let mut log = std::fs::File::create(&path).unwrap();
        watcher.watch(&run, &path).unwrap();
        let mut write = || log.write_all(b"x").unwrap();
        let told = |changes: &Changes| !now(changes).is_empty();
        assert!(!told(&changes));
        write();
        assert!(told(&changes));
        write();
        assert!(!told(&changes), "nobody has looked since");
        changes.look(&run, &path);
        assert!(!told(&changes));
        write();
        assert!(told(&changes));
        watcher.unwatch(&run);
        changes.look(&run, &path);
        write();
        assert!(!told(&changes), "it is not watched any more");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_is_watched_again_is_not_let_go_of_with_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let (watcher, changes) = Watcher::new().unwrap();
        let open = |number| {
            let run = RunId::from_entropy(number);
            let path = directory.path().join(run.as_str());
            (std::fs::File::create(&path).unwrap(), run, path)
        };
        let (mut log, run, path) = open(0);
        watcher.watch(&run, &path).unwrap();
        watcher.unwatch(&run);
        watcher.watch(&run, &path).unwrap();
        for number in 1..=3 * LEFT as u64 {
            let (mut other, run, path) = open(number);
            watcher.watch(&run, &path).unwrap();
            watcher.unwatch(&run);
            if number % 2 == 0 {
                other.write_all(b"x").unwrap();
            }
            assert!(now(&changes).is_empty(), "it is not watched");
        }
        log.write_all(b"x").unwrap();
        assert_eq!(now(&changes), [run].into());
    }
}
