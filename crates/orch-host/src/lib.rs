//! Everything of orch that touches this machine: processes, git, agent command lines.
//!
//! This crate must not know the database, the scheduler or the wire.

pub mod adapter;
pub mod environment;
pub mod prompt;
pub mod run_dir;
pub mod transcript;
