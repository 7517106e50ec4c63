//! Starting the agent's process, and saying exactly why it could not be started.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use orch_core::Timestamp;
use orch_core::run::{Failure, FailureCode};
use rustix::io::Errno;
use rustix::process::Pid;

use super::Logs;
use super::memory::{Offering, Shortage};
use crate::errno::{is_exhausted, named};
use crate::supervise::clock;
use crate::supervise::process::Identity;
use crate::supervise::spec::{MARKER, Spec};

/// Where a command is looked for when the agent has no `PATH`, as the C library would.
pub(crate) const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// An agent that was started. Its status has not been fetched, so its id is its own.
pub(super) struct Agent {
    pub(super) pid: Pid,
    pub(super) identity: Identity,
    pub(super) started_at: Timestamp,
    pub(super) since: Instant,
    pub(super) shortage: Shortage,
}

impl Agent {
    /// Starts the agent: own process group, the environment that was given and nothing else,
    /// default signals, the logs as standard output and error.
    pub(super) fn start(spec: &Spec, logs: &Logs) -> Result<Self, Failure> {
        // Entered by the shim itself, so that a directory that is missing cannot be mistaken for
        // a command that is.
        std::env::set_current_dir(&spec.cwd).map_err(|error| no_directory(&spec.cwd, &error))?;
        let started = spawn(spec, logs);
        // Nor does the shim keep it busy for the time of the run.
        let _ = std::env::set_current_dir("/");
        started
    }
}

fn spawn(spec: &Spec, logs: &Logs) -> Result<Agent, Failure> {
    let Some((program, arguments)) = spec.argv.split_first() else {
        return Err(not_found(OsStr::new(""), "the command is empty"));
    };
    let file = resolve(program, path_of(spec))?;
    let failed = |error: io::Error| refused(program, &file, &error);
    let mut command = Command::new(&file);
    command
        .arg0(program)
        .args(arguments)
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .env(MARKER, spec.run.as_str())
        .stdin(standard_input(spec)?)
        .stdout(logs.out.try_clone().map_err(failed)?)
        .stderr(logs.err.try_clone().map_err(failed)?)
        .process_group(0);
    let shortage = Shortage::new();
    let started_at = clock::now();
    let offering = Offering::new();
    let child = command.spawn();
    drop(offering);
    let child = child.map_err(failed)?;
    let pid = Pid::from_child(&child);
    Ok(Agent {
        pid,
        identity: identity(pid),
        started_at,
        since: Instant::now(),
        shortage,
    })
}

/// The agent runs whether or not the process table can be read; an identity that matches
/// nothing makes sure that nobody is signalled in its place.
fn identity(pid: Pid) -> Identity {
    Identity::of(pid.as_raw_pid()).unwrap_or_else(|_| Identity {
        pid: pid.as_raw_pid(),
        start_time: 0,
        boot_id: String::new(),
    })
}

fn standard_input(spec: &Spec) -> Result<Stdio, Failure> {
    let Some(path) = &spec.stdin else {
        return Ok(Stdio::null());
    };
    File::open(path).map(Stdio::from).map_err(|error| Failure {
        code: code_of(&error).unwrap_or(FailureCode::SpawnFailed),
        message: "the agent's standard input could not be opened".to_owned(),
        evidence: format!("{}: {}", path.display(), named(&error)),
    })
}

fn path_of(spec: &Spec) -> &OsStr {
    let path = spec.env.iter().rfind(|(name, _)| name == "PATH");
    path.map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value)
}

/// The file to execute. Looked up here and not by the C library, which would run a script
/// without an interpreter line through a shell and which tells less when it finds nothing.
pub(crate) fn resolve(program: &OsStr, path: &OsStr) -> Result<PathBuf, Failure> {
    if program.is_empty() {
        return Err(not_found(program, "the command is empty"));
    }
    if program.as_encoded_bytes().contains(&b'/') {
        return Ok(program.into());
    }
    let mut unusable = None;
    for directory in std::env::split_paths(path) {
        let directory = match directory.as_os_str().is_empty() {
            true => PathBuf::from("."),
            false => directory,
        };
        let candidate = directory.join(program);
        match std::fs::metadata(&candidate) {
            Ok(metadata) if metadata.is_file() && metadata.mode() & 0o111 != 0 => {
                return Ok(candidate);
            }
            Ok(_) => unusable = unusable.or(Some(candidate)),
            Err(_) => {}
        }
    }
    // What is there and cannot be executed says more than that nothing was found.
    unusable.ok_or_else(|| {
        let place = format!("not in PATH {}", path.to_string_lossy());
        not_found(program, &place)
    })
}

fn no_directory(cwd: &Path, error: &io::Error) -> Failure {
    Failure {
        code: FailureCode::WorkspaceFailed,
        message: "the directory the agent should work in cannot be entered".to_owned(),
        evidence: format!("{}: {error}", cwd.display()),
    }
}

fn not_found(program: &OsStr, place: &str) -> Failure {
    Failure {
        code: FailureCode::CommandNotFound,
        message: format!("the command '{}' was not found", program.to_string_lossy()),
        evidence: place.to_owned(),
    }
}

/// Why the kernel would not start `file`.
pub(crate) fn refused(program: &OsStr, file: &Path, error: &io::Error) -> Failure {
    let there = std::fs::metadata(file);
    let (code, why) = match Errno::from_io_error(error) {
        Some(Errno::NOENT) if there.is_ok() => {
            (FailureCode::NotExecutable, "its interpreter does not exist")
        }
        Some(Errno::NOENT | Errno::NOTDIR) => {
            (FailureCode::CommandNotFound, "there is no such file")
        }
        Some(Errno::NOEXEC) => (
            FailureCode::NotExecutable,
            "it is no program and has no interpreter line (#!)",
        ),
        Some(Errno::ACCESS | Errno::PERM) => (FailureCode::NotExecutable, denied(there.ok())),
        _ => (
            code_of(error).unwrap_or(FailureCode::SpawnFailed),
            "the system would not start it",
        ),
    };
    Failure {
        code,
        message: format!(
            "the command '{}' could not be started: {why}",
            program.to_string_lossy()
        ),
        evidence: format!("{}: {}", file.display(), named(error)),
    }
}

fn denied(metadata: Option<std::fs::Metadata>) -> &'static str {
    match metadata {
        Some(metadata) if metadata.is_dir() => "it is a directory",
        Some(metadata) if metadata.permissions().mode() & 0o111 == 0 => "it is not executable",
        _ => "this user may not execute it",
    }
}

/// The code of an error that means that the machine has nothing left to give.
pub(super) fn code_of(error: &io::Error) -> Option<FailureCode> {
    is_exhausted(error).then_some(FailureCode::NoResources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(errno: Errno, file: &Path) -> FailureCode {
        refused(OsStr::new("x"), file, &errno.into()).code
    }

    #[test]
    fn every_refusal_has_its_code_and_its_name() {
        let absent = Path::new("/no/such/file");
        let there = Path::new("/");
        for (errno, file, expected) in [
            (Errno::NOENT, absent, FailureCode::CommandNotFound),
            (Errno::NOENT, there, FailureCode::NotExecutable),
            (Errno::NOTDIR, absent, FailureCode::CommandNotFound),
            (Errno::ACCESS, there, FailureCode::NotExecutable),
            (Errno::NOEXEC, there, FailureCode::NotExecutable),
            (Errno::AGAIN, there, FailureCode::NoResources),
            (Errno::NOMEM, there, FailureCode::NoResources),
            (Errno::MFILE, there, FailureCode::NoResources),
            (Errno::TXTBSY, there, FailureCode::SpawnFailed),
            (Errno::TOOBIG, there, FailureCode::SpawnFailed),
        ] {
            assert_eq!(code(errno, file), expected, "{errno}");
        }
        let busy = refused(OsStr::new("x"), there, &Errno::TXTBSY.into());
        assert!(busy.evidence.contains("ETXTBSY"), "{}", busy.evidence);
    }

    #[test]
    fn a_command_is_looked_up_on_the_agents_own_path() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tool");
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        let path = dir.path().as_os_str();
        // There and not executable: named, so that the refusal can say so.
        assert_eq!(resolve(OsStr::new("tool"), path).unwrap(), file);
        let missing = resolve(OsStr::new("other"), path).unwrap_err();
        assert_eq!(missing.code, FailureCode::CommandNotFound);
        assert_eq!(
            resolve(OsStr::new("./tool"), path).unwrap(),
            Path::new("./tool")
        );
        let empty = resolve(OsStr::new(""), path).unwrap_err();
        assert_eq!(empty.code, FailureCode::CommandNotFound);
    }
}
