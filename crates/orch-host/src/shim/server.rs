//! The process that makes shims.
//!
//! To execute a program of this size takes longer than most of what a shim does in its life. This
//! process executes it once and then copies itself for every run. It does nothing else: it has
//! one thread, holds no lock, knows no run but the one it is asked for, and ends when whoever
//! started it is gone. What it makes are children of the daemon and not of its own, so that its
//! death changes nothing for them.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::title::Title;
use super::{clone, descriptors, prepare, supervise_in};
use crate::supervise::server::{Answer, PATH_BYTES, SHIMS_COMMAND};
use crate::supervise::{SHIM_COMMAND, present_boot};

/// The whole life of the process that makes shims, and, in each copy, of the shim it becomes, which
/// ends in here. The hidden subcommand calls this first thing, before anything in the process has
/// opened a descriptor or started a thread, and exits with what it returns. Its standard input is
/// the socket that tells it what to start.
#[must_use]
pub fn shims_main() -> i32 {
    descriptors::close_inherited();
    let Ok(socket) = descriptors::take_input() else {
        return 1;
    };
    // A session of its own: the signal of a terminal, which drains the daemon, is not for it.
    let _ = rustix::process::setsid();
    // What is the same in every shim is done and looked up once.
    prepare();
    let _ = present_boot();
    // The first checksum asks the processor what it can do, and in a virtual machine each such
    // question is a trip to its host.
    let _ = crc32fast::hash(b"warm");
    let title = Title::find().ok();
    name(title, |title| title.set(SHIMS_COMMAND), c"orch-shims");
    loop {
        let Some(dir) = next_request(&socket) else {
            return 0;
        };
        match clone::as_sibling() {
            Ok(Some(pid)) => answer(&socket, Answer::Made(pid)),
            Ok(None) => {
                drop(socket);
                name(
                    title,
                    |title| title.set_with(SHIM_COMMAND, &dir),
                    c"orch-shim",
                );
                clone::leave(supervise_in(&dir));
            }
            Err(error) => answer(&socket, Answer::of(&error)),
        }
    }
}

/// A process without its name works as well. It is only not found by it, by people in `ps` and by
/// whoever looks for the shim of a directory that was removed.
fn name(title: Option<Title>, set: impl Fn(Title) -> io::Result<()>, short: &std::ffi::CStr) {
    if let Some(title) = title {
        let _ = set(title);
    }
    let _ = rustix::thread::set_name(short);
}

/// The run directory to start a shim for; `None` when nobody is left to ask.
fn next_request(socket: &OwnedFd) -> Option<PathBuf> {
    let mut bytes = [0; PATH_BYTES];
    loop {
        match recv(socket, &mut bytes, RecvFlags::empty()) {
            Ok((0, _)) => return None,
            Ok((length, _)) => return Some(Path::new(OsStr::from_bytes(&bytes[..length])).into()),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

fn answer(socket: &OwnedFd, answer: Answer) {
    // Whoever asked and is gone by now needs no answer; the next request will tell.
    let _ = send(socket, &answer.encode(), SendFlags::NOSIGNAL);
}
