//! Everything of orch that touches this machine: processes, git, agent command lines.
//!
//! This crate must not know about tasks that wait, slots, retries, the database or the wire. It is
//! told what to do and says what it saw.

pub mod acp;
pub mod adapter;
pub mod consent;
pub mod environment;
pub mod errno;
pub mod facts;
pub mod failpoint;
pub mod git;
pub mod prompt;
pub mod run_dir;
mod shim;
pub mod supervise;
mod time;
pub mod transcript;
pub mod trash;
pub mod workspace;
