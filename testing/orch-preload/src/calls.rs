//! The functions of the C library that are stood in for. What they do is done by system calls
//! that go around the C library, so that nothing here calls itself.
#![expect(
    unsafe_code,
    reason = "functions of the C library are given numbers and addresses, and are found by name"
)]

use std::ffi::{c_int, c_void};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::RULES;
use crate::rules::{Call, Fault, fault};

/// Most bytes of rules that are read.
const RULES_BYTES: usize = 4096;

unsafe extern "C" {
    fn __errno_location() -> *mut c_int;
}

/// Answers as the C library does: -1 and a number of the thread's own.
fn answer(result: Result<usize, Errno>) -> isize {
    match result {
        Ok(count) => isize::try_from(count).unwrap_or(isize::MAX),
        Err(error) => {
            // SAFETY: the C library answers with the address of a number of this thread.
            unsafe { *__errno_location() = error.raw_os_error() };
            -1
        }
    }
}

/// Does the call with the fault that is due, if one is.
fn with_faults(
    call: Call,
    fd: c_int,
    length: usize,
    work: impl FnOnce(BorrowedFd<'_>, usize) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: the caller's descriptor, borrowed for this call; a number that is not open is
    // answered by the system with an error.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    match due(call, fd) {
        Some(Fault::Io) => Err(Errno::IO),
        Some(Fault::Interrupted) => Err(Errno::INTR),
        Some(Fault::Short) => work(fd, length.div_ceil(2)),
        Some(Fault::Slow(milliseconds)) => {
            std::thread::sleep(Duration::from_millis(milliseconds));
            work(fd, length)
        }
        None => work(fd, length),
    }
}

/// The fault that is due, noted for the test.
fn due(call: Call, fd: BorrowedFd<'_>) -> Option<Fault> {
    static TURNS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
    let rules_at = std::env::var(RULES).ok()?;
    let rules = rules(&rules_at)?;
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let path = rustix::fs::readlinkat(CWD, link, Vec::new()).ok()?;
    let path = path.to_string_lossy();
    let turn = || TURNS[call as usize].fetch_add(1, Ordering::Relaxed) + 1;
    let fault = fault(&rules, call, &path, turn)?;
    note(&rules_at, &format!("{call:?} {fault:?} {path}\n"));
    Some(fault)
}

fn rules(at: &str) -> Option<String> {
    let file = rustix::fs::openat(CWD, at, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut bytes = vec![0; RULES_BYTES];
    let count = rustix::io::read(&file, &mut bytes[..]).ok()?;
    bytes.truncate(count);
    String::from_utf8(bytes).ok()
}

fn note(rules_at: &str, line: &str) {
    let hits = format!("{rules_at}.hits");
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    if let Ok(file) = rustix::fs::openat(CWD, hits, flags, mode) {
        // A line that cannot be noted makes the test that looks for it fail.
        let _ = rustix::io::write(&file, line.as_bytes());
    }
}

fn sync(fd: c_int, work: impl FnOnce(BorrowedFd<'_>) -> Result<(), Errno>) -> c_int {
    let done = with_faults(Call::Sync, fd, 0, |fd, _| work(fd).map(|()| 0));
    if answer(done) == 0 { 0 } else { -1 }
}

/// # Safety
/// As `fsync` of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, |fd| rustix::fs::fsync(fd))
}

/// # Safety
/// As `fdatasync` of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, |fd| rustix::fs::fdatasync(fd))
}

/// # Safety
/// `bytes` must be `length` bytes that can be read.
unsafe fn write_with(
    fd: c_int,
    bytes: *const c_void,
    length: usize,
    work: impl FnOnce(BorrowedFd<'_>, &[u8]) -> Result<usize, Errno>,
) -> isize {
    answer(with_faults(Call::Write, fd, length, |fd, length| {
        // SAFETY: the caller of this function says so; `length` is at most what it was given.
        work(fd, unsafe {
            std::slice::from_raw_parts(bytes.cast::<u8>(), length)
        })
    }))
}

/// # Safety
/// `bytes` must be `length` bytes that can be written.
unsafe fn read_with(
    fd: c_int,
    bytes: *mut c_void,
    length: usize,
    work: impl FnOnce(BorrowedFd<'_>, &mut [u8]) -> Result<usize, Errno>,
) -> isize {
    answer(with_faults(Call::Read, fd, length, |fd, length| {
        // SAFETY: the caller of this function says so; `length` is at most what it was given.
        work(fd, unsafe {
            std::slice::from_raw_parts_mut(bytes.cast::<u8>(), length)
        })
    }))
}

/// # Safety
/// As `write` of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, length: usize) -> isize {
    // SAFETY: as the caller of this function says.
    unsafe { write_with(fd, bytes, length, |fd, bytes| rustix::io::write(fd, bytes)) }
}

/// # Safety
/// As `pwrite` of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(fd: c_int, bytes: *const c_void, length: usize, at: i64) -> isize {
    let at = at.cast_unsigned();
    // SAFETY: as the caller of this function says.
    unsafe {
        write_with(fd, bytes, length, |fd, bytes| {
            rustix::io::pwrite(fd, bytes, at)
        })
    }
}

/// # Safety
/// As `pwrite64` of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(fd: c_int, bytes: *const c_void, length: usize, at: i64) -> isize {
    // SAFETY: as the caller of this function says.
    unsafe { pwrite(fd, bytes, length, at) }
}

/// # Safety
/// As `read` of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn read(fd: c_int, bytes: *mut c_void, length: usize) -> isize {
    // SAFETY: as the caller of this function says.
    unsafe { read_with(fd, bytes, length, |fd, bytes| rustix::io::read(fd, bytes)) }
}

/// # Safety
/// As `pread` of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn pread(fd: c_int, bytes: *mut c_void, length: usize, at: i64) -> isize {
    let at = at.cast_unsigned();
    // SAFETY: as the caller of this function says.
    unsafe {
        read_with(fd, bytes, length, |fd, bytes| {
            rustix::io::pread(fd, bytes, at)
        })
    }
}

/// # Safety
/// As `pread64` of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn pread64(fd: c_int, bytes: *mut c_void, length: usize, at: i64) -> isize {
    // SAFETY: as the caller of this function says.
    unsafe { pread(fd, bytes, length, at) }
}
