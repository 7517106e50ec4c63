//! A disk that fails, for tests: put between a program and the C library by `LD_PRELOAD`.
//!
//! What fails is said by a file of rules, read anew at each call, so that a test can switch a
//! fault on and off while the program runs. Each fault that was injected is noted in a file
//! beside it, so that a test can tell that its fault has happened. This crate must not know what
//! the program does. Elsewhere than on Linux it does nothing.
//!
//! A test depends on this crate to have it built, and must not name it in its code: what is
//! linked into the test stands in for the C library of the test itself.

#[cfg(any(target_os = "linux", test))]
mod rules;

// Not in the tests of this crate: they need their own disk.
#[cfg(all(target_os = "linux", not(test)))]
mod calls;

/// The variable that names the file of rules. Beside it lies the file of what was injected, of
/// the same name with `.hits` behind it.
pub const RULES: &str = "ORCH_PRELOAD_RULES";
