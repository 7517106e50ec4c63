//! Everything of orch that touches this machine: processes, git, agent command lines.
//!
//! This crate must not know about tasks waiting, slots, retries, the database or the wire. It is
//! told what to do and says what it saw.

pub mod run_dir;
mod shim;
pub mod supervise;
