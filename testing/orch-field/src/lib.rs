//! orch in the field: throw-away projects with the real binary, real processes and real git.
//!
//! What the end-to-end tests of the command line and the torture commands of `xtask` share. This
//! crate must not know how orch works inside: it types commands, sends signals and reads what orch
//! left behind, as a user's script would.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

pub mod chaos;
pub mod matrix;
pub mod oracle;
mod project;
mod wait;

pub use project::{Project, Served, fifo, lossy, text};
pub use wait::{until, until_said};
