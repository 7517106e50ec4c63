//! Letting go of descriptors that were left open by whoever started the daemon.
//!
//! A lock file, a job server or a pipe of the user's shell is inherited by every process that
//! does not know of it. Kept, it would be the agent's too, and somebody would wait for ever for
//! the end of a pipe. There is no way to close or mark a descriptor one only knows the number of
//! without `unsafe`.
#![expect(
    unsafe_code,
    reason = "an inherited descriptor has no owner in this process to ask for it"
)]

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// The last of the three standard descriptors.
const STANDARD: RawFd = 2;

/// Closes every descriptor above the standard three. Only to be called before anything in this
/// process has opened one.
pub(super) fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/dev/fd") else {
        return;
    };
    let open: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&fd| fd > STANDARD)
        .collect();
    for fd in open {
        // SAFETY: the number was listed as open; borrowed for one question only, which a number
        // that was closed meanwhile (the listing's own) answers with an error.
        let is_open = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) }).is_ok();
        if is_open {
            // SAFETY: this process has opened nothing yet, so the descriptor was inherited and
            // nobody in it relies on the number.
            unsafe { rustix::io::close(fd) };
        }
    }
}

/// Takes what standard input is out of its place, where nothing is to be read from then on.
pub(super) fn take_input() -> io::Result<OwnedFd> {
    let input = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), STANDARD + 1)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(input)
}
