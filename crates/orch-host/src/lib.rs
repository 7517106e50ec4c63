//! Everything of orch that touches this machine: processes, git, agent command lines.
//!
//! This crate must not know what is stored, what the scheduler decides, or how people ask.

pub mod git;
pub mod workspace;
