//! What can be wrong with a configuration or a change to it, in words for the person who wrote it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use orch_core::text::{excerpt, is_invisible};

use crate::project::{CONFIG_FILE, ProjectError};

/// Why the configuration could not be read or changed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file says something it may not.
    #[error("{}", problems_text(.problems, *.more))]
    Invalid {
        /// What is wrong, in the order of the file; at least one problem.
        problems: Vec<Problem>,
        /// How many further ones there are. One forgotten quote can make thousands.
        more: usize,
    },
    /// A value that was to be written is not one for this key.
    #[error("{0}")]
    Value(Fault),
    /// No agent of this name.
    #[error("there is no agent '{name}'{}", suggestion_text(.suggestion.as_deref()))]
    NoSuchAgent {
        /// The name, made safe to print.
        name: String,
        /// The one that was probably meant.
        suggestion: Option<String>,
    },
    /// No such key.
    #[error("there is no key '{key}'{}", suggestion_text(.suggestion.as_deref()))]
    NoSuchKey {
        /// The key, made safe to print.
        key: String,
        /// The one that was probably meant.
        suggestion: Option<String>,
    },
    /// An agent of this name is there already.
    #[error("agent '{0}' exists already")]
    AgentExists(String),
    /// Somebody held the lock, or kept changing the file, all the time.
    #[error("cannot change {CONFIG_FILE}: {0}")]
    Busy(&'static str),
    /// The file is not one that may be replaced, or read.
    #[error("{} is {kind}", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is instead of a regular file.
        kind: &'static str,
    },
    /// The project cannot be used.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// The machine said no.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the machine said.
        source: io::Error,
    },
}

impl ConfigError {
    /// The kind of error, for machines: `config`, `not_found`, `conflict`, `not_initialised`,
    /// `not_allowed` or `internal`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } | Self::Value(_) => "config",
            Self::NoSuchAgent { .. } | Self::NoSuchKey { .. } => "not_found",
            Self::AgentExists(_) | Self::Busy(_) => "conflict",
            Self::NotAFile { .. } => "not_allowed",
            Self::Project(error) => error.code(),
            Self::Io { .. } => "internal",
        }
    }

    /// What to do about it, if we know.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Invalid { problems, .. } => {
                let hint = problems.iter().find_map(|p| p.fault.hint.clone());
                Some(hint.unwrap_or_else(|| {
                    format!("mend {CONFIG_FILE} there; a daemon goes on with what it read before")
                }))
            }
            Self::Value(fault) => {
                Some(fault.hint.clone().unwrap_or_else(|| {
                    "`orch config get` shows every key with its value".to_owned()
                }))
            }
            Self::NoSuchAgent { .. } => Some("`orch agent list` shows them".to_owned()),
            Self::NoSuchKey { .. } => Some("`orch config get` shows every key".to_owned()),
            Self::AgentExists(name) => Some(format!(
                "change it with `orch agent edit {name}`, or choose another name"
            )),
            Self::Busy(_) => Some("try again".to_owned()),
            Self::NotAFile { .. } => Some(format!("make {CONFIG_FILE} a regular file")),
            Self::Project(error) => error.hint(),
            Self::Io { path, .. } => {
                Some(format!("`ls -ld {}` shows who may use it", path.display()))
            }
        }
    }

    pub(super) fn one(problem: Problem) -> Self {
        Self::Invalid {
            problems: vec![problem],
            more: 0,
        }
    }

    pub(super) fn io(
        doing: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }
}

/// Something wrong at a place of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            fault,
        } = self;
        write!(f, "{CONFIG_FILE}:{line}:{column}: {fault}")
    }
}

/// What is wrong and what would be right. Safe to print: what the file says is escaped and cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub what: String,
    /// What would be right, empty if `what` says it all.
    pub remedy: String,
    /// What to do, where that is more than writing something else in the same place.
    pub hint: Option<String>,
}

impl Fault {
    /// `what` says it all.
    pub(super) fn plain(what: impl AsRef<str>) -> Self {
        Self {
            what: escaped(what.as_ref()),
            remedy: String::new(),
            hint: None,
        }
    }

    /// `what` stands where `expected` should.
    pub(super) fn expected(what: impl Into<String>, expected: &str) -> Self {
        Self {
            what: what.into(),
            remedy: format!("expected {expected}"),
            hint: None,
        }
    }

    /// A word outside a list of known ones.
    pub(super) fn unknown(what: impl Into<String>, given: &str, known: &[&str]) -> Self {
        let remedy = match super::suggest::did_you_mean(given, known.iter().copied()) {
            Some(word) => format!("did you mean '{word}'?"),
            None => format!("expected one of {}", known.join(", ")),
        };
        Self {
            what: what.into(),
            remedy,
            hint: None,
        }
    }

    /// The same with advice.
    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match self.remedy.as_str() {
            "" => Ok(()),
            remedy => write!(f, "; {remedy}"),
        }
    }
}

/// A text of the file as part of a message: short, on one line, and nothing a terminal obeys.
pub(super) fn shown(text: &str) -> String {
    escaped(&excerpt(text, 40))
}

fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for character in text.chars() {
        if character.is_control() || is_invisible(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

fn problems_text(problems: &[Problem], more: usize) -> String {
    let mut lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

fn suggestion_text(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |word| format!("; did you mean '{word}'?"))
}
