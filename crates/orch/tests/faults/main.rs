//! Faults, injected into the real binary with real processes: what breaks, and what holds.
//!
//! Each test names in its comment the fault class it injects and what held; the page on reliability
//! is made from these comments.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "in a test a panic is the report, and what is skipped is said"
)]

mod cgroup;
mod machine;
mod processes;
mod processes_many;
mod processes_memory;
mod processes_unwilling;
mod time;
