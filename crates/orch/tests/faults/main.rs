//! The machine fails, for real: the daemon, its supervisors and its commands on a disk that is
//! full, slow or broken, with files gone or forged, with too few processes, descriptors and memory,
//! and with clocks that are set.
//!
//! Each test says in its comment which fault it injects and what must hold; the page on reliability
//! is made from these comments. A fault that the machine at hand cannot inject is skipped in words.
//! Nothing here sleeps to wait for something.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "in a test a panic is the report, and what is skipped is said"
)]

mod cgroup;
mod disk;
mod machine;
mod processes;
mod processes_many;
mod processes_memory;
mod processes_unwilling;
mod records;
mod repository;
mod storage;
mod storage_faults;
mod storage_state;
mod time;

/// Says that a fault cannot be injected here, and why.
fn skipped(reason: &str) {
    println!("skipped: {reason}");
}
