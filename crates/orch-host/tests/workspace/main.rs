//! Worktrees and landing with real git in temporary directories.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod count;
mod discard;
mod discover;
mod fixture;
mod hostile;
mod land;
mod prepare;
mod rescue;
mod save;
