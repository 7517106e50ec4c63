//! Facts and decisions of orch.
//!
//! This crate must not know that there is a clock, a disk, a process, a database or a network.
//! Time and randomness come in as arguments, collections are ordered, and everything that
//! happens follows from the inputs of [`engine::step`].

pub mod config;
pub mod engine;
pub mod event;
pub mod id;
pub mod ledger;
pub mod lifecycle;
pub mod limits;
pub mod outcome;
pub mod policy;
pub mod price;
pub mod request;
pub mod run;
pub mod schedule;
pub mod session;
pub mod task;
pub mod text;
mod text_enum;
pub mod time;
pub mod wait;

pub use id::{AgentName, RunId, TaskId};
pub use time::Timestamp;
