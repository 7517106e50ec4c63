//! Waiting for a daemon: for the next one where nobody serves, or for one that a signal has
//! stopped.
//!
//! This file must not know who waits, nor ask the daemon anything.

use std::fs::read_to_string;
use std::time::{Duration, Instant};

use orch_host::supervise;

use crate::connect::somebody_listens;
use crate::project::Project;

/// How often it is looked whether a process still stands still: nothing tells of its going on.
const LOOK_AT_STOPPED: Duration = Duration::from_millis(250);
/// How often it is tried to connect where the system tells nothing, or did not tell all.
const LOOK_FOR_SOCKET: Duration = Duration::from_secs(1);

/// Waits until somebody serves `project`, at most for `patience`. Whether somebody does.
#[must_use]
pub fn wait_for_daemon(project: &Project, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    // Made before the first look, so that no daemon comes unseen in between.
    let mut bell = Bell::at(project);
    loop {
        if somebody_listens(project) {
            return true;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        bell.wait(left.min(LOOK_FOR_SOCKET));
    }
}

/// The process that holds `project`, if a signal has stopped it.
#[must_use]
pub fn stopped_holder(project: &Project) -> Option<i32> {
    let holder = read_to_string(project.lock()).ok()?;
    let (_, pid) = holder.rsplit_once("pid ")?;
    let pid = pid.trim().parse().ok()?;
    supervise::is_stopped(pid).then_some(pid)
}

/// Waits as long as the process that holds `project` is stopped by a signal. It is not asked: each
/// question would lie in its socket, and others could ask no more.
pub fn wait_while_stopped(project: &Project) {
    while stopped_holder(project).is_some() {
        std::thread::sleep(LOOK_AT_STOPPED);
    }
}

/// Whether the last daemon of `project` died: one that ends takes its socket away. Only right
/// where nobody serves.
#[must_use]
pub fn died(project: &Project) -> bool {
    project.socket().symlink_metadata().is_ok()
}

#[cfg(not(target_os = "linux"))]
use elsewhere::Bell;
#[cfg(target_os = "linux")]
use linux::Bell;

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsString;
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::ffi::OsStrExt;
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

    use crate::project::Project;

    /// Bytes that the system may fill with what happened.
    const EVENTS_BYTES: usize = 4 << 10;

    /// Rings when the socket of a project is made. Without an `inotify` (there may be no descriptor
    /// or no watch left) it is as quiet as a clock.
    pub(super) struct Bell {
        inotify: Option<OwnedFd>,
        socket: OsString,
    }

    impl Bell {
        pub(super) fn at(project: &Project) -> Self {
            let socket = project.socket();
            let made = || {
                let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
                // A socket is there before anybody listens on it; its mode is set afterwards.
                let wanted = WatchFlags::CREATE | WatchFlags::ATTRIB | WatchFlags::ONLYDIR;
                inotify::add_watch(&inotify, socket.parent()?, wanted).ok()?;
                Some(inotify)
            };
            let inotify = made();
            let socket = socket.file_name().unwrap_or_default().to_owned();
            Self { inotify, socket }
        }

        /// Waits until something happened to the socket, at most for `patience`.
        pub(super) fn wait(&mut self, patience: Duration) {
            let Some(inotify) = &self.inotify else {
                return std::thread::sleep(patience);
            };
            let end = Instant::now() + patience;
            loop {
                let left = end.saturating_duration_since(Instant::now());
                let Ok(limit) = Timespec::try_from(left) else {
                    return;
                };
                let mut polled = [PollFd::new(inotify, PollFlags::IN)];
                match poll(&mut polled, Some(&limit)) {
                    Ok(0) => return,
                    Ok(_) if rang(inotify, &self.socket) => return,
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(_) => return std::thread::sleep(left),
                }
            }
        }
    }

    /// Takes what happened; whether something of that name was among it.
    fn rang(inotify: &OwnedFd, name: &OsString) -> bool {
        let mut space = [MaybeUninit::uninit(); EVENTS_BYTES];
        let mut reader = inotify::Reader::new(inotify.as_fd(), &mut space);
        let mut found = false;
        while let Ok(event) = reader.next() {
            let named = event.file_name();
            found |= named.is_some_and(|named| named.to_bytes() == name.as_bytes());
        }
        found
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::time::Duration;

    use crate::project::Project;

    /// A bell that never rings: here a connection is tried once in a while.
    pub(super) struct Bell;

    impl Bell {
        pub(super) const fn at(_: &Project) -> Self {
            Self
        }

        pub(super) fn wait(&mut self, patience: Duration) {
            std::thread::sleep(patience);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::project::CONFIG_FILE;

    fn project() -> (tempfile::TempDir, Project) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(CONFIG_FILE), "").unwrap();
        let project = Project::at(directory.path()).unwrap();
        project.ensure_state().unwrap();
        (directory, project)
    }

    #[test]
    fn who_waits_for_a_daemon_is_told_when_it_listens() {
        let (_directory, project) = project();
        assert!(!wait_for_daemon(&project, Duration::ZERO));
        let (ready, begun) = channel();
        let waiting = project.clone();
        let waits = std::thread::spawn(move || {
            ready.send(()).unwrap();
            wait_for_daemon(&waiting, Duration::from_secs(60))
        });
        begun.recv().unwrap();
        let listener = UnixListener::bind(project.socket()).unwrap();
        assert!(waits.join().unwrap());
        drop(listener);
        assert!(died(&project), "its socket is left");
        assert!(!wait_for_daemon(&project, Duration::ZERO));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_bell_rings_for_the_socket_and_nothing_else() {
        let (_directory, project) = project();
        let mut bell = Bell::at(&project);
        std::fs::write(project.state.join("other"), "").unwrap();
        bell.wait(Duration::ZERO);
        let _listener = UnixListener::bind(project.socket()).unwrap();
        let begun = Instant::now();
        bell.wait(Duration::from_secs(60));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
