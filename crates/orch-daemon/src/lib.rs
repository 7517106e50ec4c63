//! The loop of orch: gather inputs, step the engine, record, perform.
//!
//! One thread owns the store and takes every input in turn (`engine_loop`). Worker threads touch
//! the machine (`host`), one thread answers HTTP on a unix socket (`http`). What this crate must
//! not know: SQL, how a process is supervised, how git is called, what a screen looks like.

mod arrival;
pub mod brief;
mod careful;
mod cleanup;
mod clock;
pub mod config;
mod connect;
pub mod consent;
mod convert;
mod daemon;
mod descriptors;
pub mod doctor;
mod engine_loop;
mod error;
mod host;
mod http;
mod init;
mod janitor;
mod lock;
mod log;
pub mod notify;
mod pace;
pub mod project;
mod readers;
mod redact;
mod scribe;
mod shared;
mod signals;
pub mod space;
mod strangers;
mod vital;
mod wake;

pub use arrival::{died, stopped_holder, wait_for_daemon, wait_while_stopped};
pub use connect::connect;
pub use daemon::{Daemon, Options};
pub use error::{ConnectError, StartError};
pub use init::{InitError, init};
pub use log::{LogLine, LogSink};
pub use shared::{adapters, plain_program};
pub use wake::End;

/// The kinds of agents, for commands that show them.
pub use orch_host::adapter as kinds;
/// Which variables that an agent is to be given are not there, for the command that looks.
pub use orch_host::environment::unset as unset_variables;
/// Where the programs of agents are, and which versions.
pub use orch_host::facts::program;
