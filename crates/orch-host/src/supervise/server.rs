//! The daemon's end of the process that makes shims.
//!
//! One request, the path of a run directory; one answer, the id of the shim or why there is none.
//! Must not know what is in the directory.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{recv, send, socketpair};

use super::reaper::{OwnedChild, spawn_owned};
use crate::failpoint;

/// The hidden subcommand under which a program calls [`shims_main`](super::shims_main).
pub const SHIMS_COMMAND: &str = "__shims";

/// Longest path of a run directory, bytes; the kernel opens none that is longer.
pub(crate) const PATH_BYTES: usize = 4096;
/// Room in the command line for the names of the shims, bytes.
const TITLE_BYTES: usize = 1024;
/// How long an answer may take. Making a process takes less than a millisecond; who does not
/// answer for so long was stopped, or is starved, and is replaced.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// There is a shim of this id.
    Made(i32),
    /// The kernel made none, for this reason.
    Refused(Errno),
}

impl Answer {
    pub(crate) fn of(error: &io::Error) -> Self {
        Self::Refused(Errno::from_io_error(error).unwrap_or(Errno::IO))
    }

    /// A process id, or the negative number of an error, as the kernel itself answers.
    pub(crate) fn encode(self) -> [u8; 4] {
        match self {
            Self::Made(pid) => pid.to_ne_bytes(),
            Self::Refused(errno) => (-errno.raw_os_error()).to_ne_bytes(),
        }
    }

    fn decode(bytes: [u8; 4]) -> Self {
        match i32::from_ne_bytes(bytes) {
            pid @ 1.. => Self::Made(pid),
            errno => Self::Refused(Errno::from_raw_os_error(-errno)),
        }
    }
}

/// A process that makes shims, for as long as this lives.
#[derive(Debug)]
pub(super) struct Server {
    child: OwnedChild,
    socket: OwnedFd,
}

impl Server {
    /// Starts one: `<program> __shims`, with the socket as its standard input.
    ///
    /// # Errors
    /// The program could not be started.
    pub(super) fn start(program: &Path) -> io::Result<Self> {
        let (socket, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
        let mut command = Command::new(program);
        command
            .arg0("orch")
            .arg(SHIMS_COMMAND)
            // Where a shim writes its own name; a copy cannot make room.
            .arg(OsStr::from_bytes(&[b' '; TITLE_BYTES]))
            // Nobody must be kept from removing or unmounting a directory.
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        failpoint::hand_down(&mut command);
        Ok(Self {
            child: spawn_owned(&mut command)?,
            socket,
        })
    }

    /// Has a shim made for the run directory at `path`.
    ///
    /// # Errors
    /// There is no answer. This one is of no use any more, and a shim may have been made or not.
    pub(super) fn ask(&self, path: &Path) -> io::Result<Answer> {
        let request = path.as_os_str().as_bytes();
        retry(|| send(&self.socket, request, SendFlags::NOSIGNAL))?;
        let mut answer = [0; 4];
        let (length, _) = retry(|| recv(&self.socket, &mut answer, RecvFlags::empty()))?;
        match length {
            4 => Ok(Answer::decode(answer)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// It owns nothing, so nothing is lost by killing it, and it can be waited for.
impl Drop for Server {
    fn drop(&mut self) {
        // One that cannot be killed has ended already.
        let _ = self.child.child().kill();
        let _ = self.child.wait();
    }
}
