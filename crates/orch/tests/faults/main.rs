//! The machine fails, for real: the daemon, its supervisors and its commands on a disk that is
//! full, slow or broken, with files gone or forged, and with too few processes and descriptors.
//!
//! Each test says in its comment which fault it injects and what must hold. A fault that the
//! machine at hand cannot inject is skipped in words. Nothing here sleeps to wait for something.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod disk;
mod records;
mod repository;
mod storage;
mod storage_faults;
mod storage_state;

/// Says that a fault cannot be injected here, and why.
#[expect(
    clippy::print_stdout,
    reason = "a skipped test is seen by whoever runs it"
)]
fn skipped(reason: &str) {
    println!("skipped: {reason}");
}
