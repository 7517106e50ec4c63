//! The door: how a git process of orch is made.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::error::GitError;
use super::process::{self, Allowance, Stopped};

/// The oldest git that can merge without a checkout (`merge-tree --write-tree`).
const OLDEST: (u32, u32) = (2, 38);

/// Longest a call may take that only looks at refs and objects.
const BRIEF: Duration = Duration::from_secs(60);

/// Longest a call may take that reads or writes the files of a work tree.
pub(crate) const LONG: Duration = Duration::from_secs(900);

/// Most that one call may answer: the paths of a very large work tree.
const STDOUT_BYTES: usize = 256 << 20;

/// How much of standard error is kept.
const STDERR_BYTES: usize = 16 << 10;

/// Environment that every call gets beside what is left of the user's own.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("LC_ALL", "C"),
    ("PAGER", "cat"),
    ("SSH_ASKPASS", ""),
    ("GIT_ALLOW_PROTOCOL", "none"),
    ("GIT_ASKPASS", ""),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_EDITOR", ":"),
    ("GIT_LITERAL_PATHSPECS", "1"),
    ("GIT_MERGE_AUTOEDIT", "no"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_PAGER", "cat"),
    ("GIT_SEQUENCE_EDITOR", ":"),
    ("GIT_SSH_COMMAND", "false"),
    ("GIT_TERMINAL_PROMPT", "0"),
];

/// Configuration that every call gets, above anything a file says.
const CONFIGURATION: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.pager", "cat"),
    ("core.editor", ":"),
    ("core.askPass", ""),
    ("core.sshCommand", "false"),
    ("core.alternateRefsCommand", "false"),
    ("core.splitIndex", "false"),
    ("credential.helper", ""),
    ("protocol.allow", "never"),
    ("protocol.ext.allow", "never"),
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
    ("log.showSignature", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("submodule.recurse", "false"),
    ("branch.autoSetupMerge", "false"),
    ("worktree.guessRemote", "false"),
    ("worktree.useRelativePaths", "false"),
    // Others work on the same refs at the same time; waiting beats failing.
    ("core.filesRefLockTimeout", "5000"),
    ("core.packedRefsTimeout", "10000"),
    // Git's default does not make loose objects durable, and what is saved must be.
    ("core.fsync", "committed,loose-object,reference"),
    ("core.fsyncMethod", "batch"),
];

/// The git program and the environment it is called with.
#[derive(Debug, Clone)]
pub struct Git {
    program: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

/// Where in a repository a call works. All of it is said to git, nothing is searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The directory with `HEAD` and `index` of the checkout.
    pub(crate) git_dir: PathBuf,
    /// The directory with objects, refs and configuration.
    pub(crate) common_dir: PathBuf,
    /// The files, for calls that handle them.
    pub(crate) work_tree: Option<PathBuf>,
}

/// What a call answered.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    command: String,
}

/// One call of git, not made yet.
pub(crate) struct Call {
    command: Command,
    described: String,
    input: Option<Vec<u8>>,
    allowance: Allowance,
}

impl Git {
    /// The first git in `PATH`, with the environment of this process.
    ///
    /// # Errors
    /// There is none, or it is too old.
    pub fn find() -> Result<Self, GitError> {
        Self::in_environment(std::env::vars_os())
    }

    /// The first git in the `PATH` of `environment`, called with what of it is not `GIT_*`.
    /// `GIT_CONFIG_GLOBAL` stays: it is where a user says which configuration is theirs.
    /// Entries of `PATH` that are not absolute are ignored, so no repository can provide git.
    ///
    /// # Errors
    /// There is none, or it is too old.
    pub fn in_environment(
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, GitError> {
        let environment: Vec<_> = environment
            .into_iter()
            .filter(|(name, _)| {
                !name.as_encoded_bytes().starts_with(b"GIT_") || name == "GIT_CONFIG_GLOBAL"
            })
            .collect();
        let path = environment
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, value)| value.as_os_str())
            .unwrap_or_default();
        let program = std::env::split_paths(path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join("git"))
            .find(|candidate| is_executable(candidate))
            .ok_or(GitError::Missing)?;
        let git = Self {
            program,
            environment,
        };
        git.check_version()?;
        Ok(git)
    }

    /// The program that is called.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    fn check_version(&self) -> Result<(), GitError> {
        let found = self.call(Path::new("/"), ["version"]).line()?;
        if parse_version(&found).is_some_and(|version| version >= OLDEST) {
            return Ok(());
        }
        Err(GitError::TooOld {
            program: self.program.clone(),
            found,
        })
    }

    /// A call in `directory` that lets git look for the repository. Only for finding it.
    pub(crate) fn call<S: AsRef<OsStr>>(
        &self,
        directory: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> Call {
        let mut command = Command::new(&self.program);
        command
            .current_dir(directory)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(ENVIRONMENT.iter().copied())
            .env("GIT_CONFIG_COUNT", CONFIGURATION.len().to_string())
            .args(["--no-pager", "--no-optional-locks"]);
        for (index, (key, value)) in CONFIGURATION.iter().enumerate() {
            command
                .env(format!("GIT_CONFIG_KEY_{index}"), key)
                .env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        let mut described = "git".to_owned();
        for argument in arguments {
            let argument = argument.as_ref();
            described.push(' ');
            described.push_str(&argument.to_string_lossy());
            command.arg(argument);
        }
        Call {
            command,
            described: orch_core::text::excerpt(&described, 200),
            input: None,
            allowance: Allowance {
                time: BRIEF,
                stdout_bytes: STDOUT_BYTES,
                stderr_bytes: STDERR_BYTES,
            },
        }
    }

    /// A call at a known place.
    pub(crate) fn call_at<S: AsRef<OsStr>>(
        &self,
        place: &Place,
        arguments: impl IntoIterator<Item = S>,
    ) -> Call {
        let directory = place.work_tree.as_ref().unwrap_or(&place.common_dir);
        let mut call = self.call(directory, arguments);
        call.command
            .env("GIT_DIR", &place.git_dir)
            .env("GIT_COMMON_DIR", &place.common_dir);
        if let Some(work_tree) = &place.work_tree {
            call.command.env("GIT_WORK_TREE", work_tree);
        }
        call
    }
}

impl Call {
    /// Gives it these bytes on standard input.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Adds one more argument.
    pub(crate) fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument.as_ref());
        self
    }

    /// Sets a variable that is ours to set.
    pub(crate) fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives it another index than the one of its place.
    pub(crate) fn index(self, path: &Path) -> Self {
        self.variable("GIT_INDEX_FILE", path)
    }

    /// Gives it more or less time.
    pub(crate) fn within(mut self, time: Duration) -> Self {
        self.allowance.time = time;
        self
    }

    /// Its parts, for a dialogue instead of a call.
    pub(super) fn into_command(self) -> (Command, String) {
        (self.command, self.described)
    }

    /// Makes the call. Any exit status is an answer.
    pub(crate) fn run(mut self) -> Result<Output, GitError> {
        let allowance = self.allowance;
        let end = process::run(&mut self.command, self.input, allowance);
        match end {
            Ok(end) => Ok(Output {
                status: end.status,
                stdout: end.stdout,
                stderr: end.stderr,
                command: self.described,
            }),
            Err(Stopped::TimedOut) => Err(GitError::TimedOut {
                command: self.described,
                limit: allowance.time,
            }),
            Err(Stopped::TooMuchOutput) => Err(GitError::TooMuchOutput {
                command: self.described,
                limit: allowance.stdout_bytes,
            }),
            Err(Stopped::Io(source)) => Err(GitError::Io {
                doing: format!("running '{}'", self.described),
                source,
            }),
        }
    }

    /// Makes the call; anything but exit status 0 is an error.
    pub(crate) fn succeed(self) -> Result<Output, GitError> {
        self.run()?.successful()
    }

    /// Makes the call; its answer is one line, returned without its end.
    pub(crate) fn line(self) -> Result<String, GitError> {
        self.succeed()?.line()
    }
}

impl Output {
    /// Itself, if git succeeded.
    pub(crate) fn successful(self) -> Result<Self, GitError> {
        if self.status.success() {
            Ok(self)
        } else {
            Err(self.failure())
        }
    }

    /// What it amounts to as an error.
    pub(crate) fn failure(self) -> GitError {
        GitError::Failed {
            status: self.status,
            stderr: excerpt(&self.stderr),
            command: self.command,
        }
    }

    /// Its answer as one line. Only the last newline is the end of it; a path may hold others.
    pub(crate) fn line(self) -> Result<String, GitError> {
        match String::from_utf8(self.stdout) {
            Ok(mut text) => {
                if text.ends_with('\n') {
                    text.pop();
                }
                Ok(text)
            }
            Err(bad) => Err(GitError::Unexpected {
                command: self.command,
                answer: excerpt(bad.as_bytes()),
            }),
        }
    }

    /// Says that the answer cannot be understood.
    pub(crate) fn unexpected(self) -> GitError {
        GitError::Unexpected {
            answer: excerpt(&self.stdout),
            command: self.command,
        }
    }
}

/// The beginning of something that git wrote.
fn excerpt(bytes: &[u8]) -> String {
    orch_core::text::excerpt(String::from_utf8_lossy(bytes).trim(), 2_000)
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// `git version 2.47.3.windows.1` is (2, 47).
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("git version ")?.split(['.', ' ', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_vendors_write_them() {
        assert_eq!(parse_version("git version 2.47.3"), Some((2, 47)));
        assert_eq!(
            parse_version("git version 2.39.5 (Apple Git-154)"),
            Some((2, 39))
        );
        assert_eq!(parse_version("git version 3.0-rc1"), Some((3, 0)));
        assert_eq!(parse_version("hello"), None);
    }

    fn fake_git(script: &str) -> (tempfile::TempDir, Result<Git, GitError>) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("git");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let path = ("PATH".into(), directory.path().as_os_str().to_owned());
        let git = Git::in_environment([path]);
        (directory, git)
    }

    #[test]
    fn no_git_and_an_old_git_are_told_apart() {
        assert!(matches!(
            Git::in_environment([("PATH".into(), "/nonexistent:bin:.".into())]),
            Err(GitError::Missing)
        ));
        let (_directory, git) = fake_git("echo git version 2.37.9");
        assert!(matches!(git, Err(GitError::TooOld { found, .. }) if found.contains("2.37.9")));
    }

    #[test]
    fn a_call_that_hangs_is_an_error_with_its_limit() {
        let (directory, git) =
            fake_git("[ \"$3\" = version ] && echo git version 2.40.0 || exec /bin/sleep 60");
        let call = git.unwrap().call(directory.path(), ["gc"]);
        let end = call.within(Duration::from_millis(50)).run();
        assert!(matches!(end, Err(GitError::TimedOut { command, .. }) if command == "git gc"));
    }

    #[test]
    fn what_the_caller_had_in_git_variables_does_not_reach_git() {
        let (directory, _) =
            fake_git("[ \"$3\" = version ] && echo git version 2.40.0 || /usr/bin/env");
        let git = Git::in_environment([
            ("PATH".into(), directory.path().as_os_str().to_owned()),
            ("GIT_DIR".into(), "/elsewhere".into()),
            ("GIT_CONFIG_PARAMETERS".into(), "'alias.x=!x'".into()),
            ("GIT_EXTERNAL_DIFF".into(), "/evil".into()),
            ("KEPT".into(), "yes".into()),
        ])
        .unwrap();
        let answer = git.call(directory.path(), ["x"]).succeed().unwrap();
        let seen = String::from_utf8(answer.stdout).unwrap();
        assert!(
            !seen.contains("/elsewhere") && !seen.contains("alias.x") && !seen.contains("/evil")
        );
        assert!(seen.contains("KEPT=yes") && seen.contains("GIT_CONFIG_NOSYSTEM=1"));
    }
}
