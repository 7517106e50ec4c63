//! Exit codes. Scripts rely on them; `docs` and `orch --help` list them.

use crate::error::Kind;

/// Everything that was asked for was done.
pub const DONE: u8 = 0;
/// The work of an agent failed, or something failed that should not have.
pub const FAILED: u8 = 1;
/// The command line, or a value in it, is not allowed.
pub const USAGE: u8 = 2;
/// There is no such thing, or no project.
pub const NOT_FOUND: u8 = 3;
/// The state of things is in the way.
pub const CONFLICT: u8 = 4;
/// The daemon or an agent's command cannot be reached.
pub const UNREACHABLE: u8 = 5;
/// Not allowed.
pub const NOT_ALLOWED: u8 = 6;
/// A limit was reached, or the disk is full.
pub const LIMIT: u8 = 7;
/// The same may work in a moment.
pub const TRY_LATER: u8 = 75;

/// How a command ended that was able to do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All is well.
    Done,
    /// It told the truth, and the truth is that some work failed.
    WorkFailed,
}

impl Ending {
    /// The exit code of this ending.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => DONE,
            Self::WorkFailed => FAILED,
        }
    }
}

/// The exit code of an error of this kind.
#[must_use]
pub const fn of(kind: Kind) -> u8 {
    match kind {
        // A reader that has seen enough is no error.
        Kind::ClosedOutput => DONE,
        Kind::Internal => FAILED,
        Kind::Usage => USAGE,
        Kind::NotFound => NOT_FOUND,
        Kind::Conflict => CONFLICT,
        Kind::Unreachable => UNREACHABLE,
        Kind::NotAllowed => NOT_ALLOWED,
        Kind::Limit => LIMIT,
        Kind::TryLater => TRY_LATER,
    }
}

/// The table shown in `orch --help`.
pub const HELP: &str = "\
Exit codes:
  0  done                                5  the daemon or an agent's command cannot be reached
  1  the work of an agent failed         6  not allowed
  2  the command line is wrong           7  a limit was reached, or the disk is full
  3  no such thing, or no project here   75 try again later
  4  the state of things is in the way";
