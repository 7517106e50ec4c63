//! Worktrees and landing with real git in temporary directories.

mod discard;
mod discover;
mod fixture;
mod hostile;
mod land;
mod prepare;
mod save;
