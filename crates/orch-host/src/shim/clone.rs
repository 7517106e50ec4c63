//! Making a child that belongs to somebody else.
//!
//! A shim must be a child of the daemon, which fetches the statuses of what it has started and is
//! where the agent of a killed shim goes. The process that makes shims is not the daemon, so it
//! makes them as children of its own parent. No safe function does that.
//!
//! Such a copy also ends in a way of its own: what a process does at its end belongs to the
//! original that prepared it, and would have the copy fetch memory that it never needed.
#![expect(
    unsafe_code,
    reason = "there is no safe way to make a process that is a child of the caller's parent, nor \
              to end one without what is done at the end of the original"
)]

use std::io;

/// Makes a copy of this process as a child of this one's parent. `Some` of its id in this
/// process, `None` in the copy. Only to be called in a process with one thread.
///
/// # Errors
/// What the kernel said; there is no copy.
pub(super) fn as_sibling() -> io::Result<Option<i32>> {
    const NOTHING: libc::c_long = 0;
    let flags = libc::c_long::from(libc::CLONE_PARENT);
    // SAFETY: without CLONE_VM the copy has memory of its own, and with no stack given it goes on
    // with its copy of this one, as after a fork. This process has one thread, so no lock is held
    // in the copy by a thread that is not in it. No other argument is a pointer that is used.
    let id = unsafe { libc::syscall(libc::SYS_clone, flags, NOTHING, NOTHING, NOTHING, NOTHING) };
    match id {
        0 => Ok(None),
        1.. => i32::try_from(id).map(Some).map_err(io::Error::other),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends this process with `code`, at once: nothing that was registered for its end is called and
/// nothing is flushed. For a copy that has written what it had to write.
pub(super) fn leave(code: i32) -> ! {
    // SAFETY: `_exit` uses no memory of this process and does not return.
    unsafe { libc::_exit(code) }
}
