//! What on this machine would weaken a promise, and how to mend it.
//!
//! [`gather`] looks and decides nothing; [`judge()`] decides and looks at nothing, so that every
//! verdict has a test.

mod facts;
mod judge;

use std::fmt;

pub use facts::{Facts, gather};
pub use judge::judge;

/// What came of looking at one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// A promise is weaker here than it could be.
    Warning,
    /// A promise does not hold, or orch cannot work.
    Problem,
}

impl Verdict {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
    /// What it is good for, in plain words.
    pub promise: &'static str,
    /// What mends it: a command where there is one.
    pub mend: Option<String>,
}

impl Check {
    /// A check of `name`, about a promise.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        promise: &'static str,
        verdict: Verdict,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            verdict,
            detail: detail.into(),
            promise,
            mend: None,
        }
    }

    /// The same with what mends it.
    #[must_use]
    pub fn mend(self, mend: impl Into<String>) -> Self {
        let mend = Some(mend.into());
        Self { mend, ..self }
    }
}
