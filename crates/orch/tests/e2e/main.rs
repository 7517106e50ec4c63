//! orch as a whole: the real binary, real processes, real git, real SQLite.
//!
//! Few and for wiring: what can be shown lower down is shown there. Nothing here sleeps; a test
//! waits for an event, a process or a file descriptor.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod agents;
mod bad_input;
mod complete;
mod consent;
mod crash;
mod doctor;
mod flood;
mod follow;
mod many;
mod outcome;
mod own_adapters;
mod parallel;
mod promises;
mod prompts;
mod redaction;
mod rescue;
mod service;
mod sessions;
mod shapes;
mod work;
