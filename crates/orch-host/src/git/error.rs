//! What can go wrong between orch and git.

use std::path::PathBuf;
use std::time::Duration;

use super::names::BadName;

/// Why a git call did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no git.
    #[error("git was not found in PATH; install git 2.38 or newer")]
    Missing,
    /// This git cannot merge without a checkout.
    #[error("git {found} at {} is too old; orch needs 2.38 or newer", .program.display())]
    TooOld {
        /// The program asked.
        program: PathBuf,
        /// What it said it is.
        found: String,
    },
    /// Not inside a repository.
    #[error("{} is not in a git repository; run 'git init' there first", .path.display())]
    NotARepository {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A repository without files.
    #[error("{} is a bare git repository; orch needs one with a checkout", .path.display())]
    Bare {
        /// The repository.
        path: PathBuf,
    },
    /// Nothing to start a branch from.
    #[error("the branch checked out in {} has no commits yet; make a first commit", .path.display())]
    NoCommits {
        /// The repository.
        path: PathBuf,
    },
    /// Git does not trust the owner of the repository.
    #[error(
        "{} belongs to another user, so git refuses to work there; \
         if you trust it: git config --global --add safe.directory <that path>",
        .path.display()
    )]
    DubiousOwnership {
        /// The repository.
        path: PathBuf,
    },
    /// Git took too long and was ended with everything it started.
    #[error("'{command}' did not end within {} s and was stopped", .limit.as_secs())]
    TimedOut {
        /// The command.
        command: String,
        /// How long it had.
        limit: Duration,
    },
    /// Git wrote more than orch is willing to keep.
    #[error("'{command}' wrote more than {limit} bytes")]
    TooMuchOutput {
        /// The command.
        command: String,
        /// The limit, bytes.
        limit: usize,
    },
    /// Git said no.
    #[error("'{command}' failed with {status}: {}", one_line(stderr))]
    Failed {
        /// The command.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The beginning of what it wrote to standard error.
        stderr: String,
    },
    /// Git succeeded and said something that cannot be understood.
    #[error("'{command}' answered something unexpected: {answer}")]
    Unexpected {
        /// The command.
        command: String,
        /// The beginning of the answer.
        answer: String,
    },
    /// A name that orch does not pass to git.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The machine refused something on the way to git.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the machine said.
        #[source]
        source: std::io::Error,
    },
}

impl GitError {
    /// What git wrote to standard error, if it was git that failed.
    pub(crate) fn stderr(&self) -> &str {
        match self {
            Self::Failed { stderr, .. } => stderr,
            _ => "",
        }
    }

    /// Whether git could not write into the repository what it was given.
    pub(crate) fn is_refusal_to_keep(&self) -> bool {
        [
            "insufficient permission for adding an object",
            "unable to create temporary file",
            "unable to write file",
        ]
        .iter()
        .any(|words| self.stderr().contains(words))
    }

    /// Whether another git process held a lock, so that trying again makes sense.
    pub(crate) fn is_contention(&self) -> bool {
        let stderr = self.stderr();
        (stderr.contains(".lock") && stderr.contains("File exists"))
            || stderr.contains("Unable to create")
            || stderr.contains("could not lock config")
    }
}

/// What git said over several lines, as one: it becomes part of a sentence.
pub(crate) fn one_line(said: &str) -> String {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn what_git_says_over_several_lines_is_one_sentence() {
        let failed = GitError::Failed {
            command: "git x".to_owned(),
            status: std::process::ExitStatus::from_raw(128 << 8),
            stderr: "error: no room\n\n  fatal: cannot\r\n".to_owned(),
        };
        let said = failed.to_string();
        assert!(said.ends_with(": error: no room; fatal: cannot"), "{said}");
        assert!(failed.stderr().contains('\n'), "what is looked into stays");
    }
}
