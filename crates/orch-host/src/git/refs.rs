//! Moving refs: always from a value that was seen to a value that is known.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::supervise::OwnedChild;

use super::command::{Call, Output};
use super::error::GitError;
use super::names::{Oid, RefName};
use super::process;
use super::repository::Repository;

/// How long git may take to answer one step of a dialogue.
const STEP: Duration = Duration::from_secs(60);

/// A ref somebody else moved, so nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved;

/// One change of one ref.
#[derive(Debug, Clone)]
pub(crate) struct RefUpdate {
    pub(crate) name: RefName,
    /// What it must be now; `None`: it must not exist.
    pub(crate) old: Option<Oid>,
    /// What it shall be; `None`: it shall not exist.
    pub(crate) new: Option<Oid>,
}

impl RefUpdate {
    fn line(&self) -> String {
        let name = &self.name;
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => format!("update {name} {new} {old}\n"),
            (None, Some(new)) => format!("create {name} {new}\n"),
            (Some(old), None) => format!("delete {name} {old}\n"),
            (None, None) => format!("verify {name}\n"),
        }
    }
}

/// Whether git refused because a ref was not what it was said to be.
fn says_moved(stderr: &str) -> bool {
    stderr.contains("but expected")
        || stderr.contains("reference already exists")
        || stderr.contains("unable to resolve reference")
        || stderr.contains("reference is missing")
}

impl Repository {
    /// Makes all of `updates` or none of them.
    pub(crate) fn update_refs(
        &self,
        updates: &[RefUpdate],
        why: &str,
    ) -> Result<Result<(), Moved>, GitError> {
        let mut script: String = updates.iter().map(RefUpdate::line).collect();
        script.insert_str(0, "start\n");
        script.push_str("prepare\ncommit\n");
        let output = self.update_ref_call(why).input(script).run()?;
        judge(output)
    }

    fn update_ref_call(&self, why: &str) -> Call {
        let why = format!("orch: {why}");
        self.call(["update-ref", "--create-reflog", "-m", &why, "--stdin"])
    }

    /// Locks the refs of `updates` and checks their values. Until [`PreparedRefs::commit`] they
    /// keep their values and nobody else can move them.
    pub(crate) fn prepare_refs(
        &self,
        updates: &[RefUpdate],
        why: &str,
    ) -> Result<Result<PreparedRefs, Moved>, GitError> {
        let mut script: String = updates.iter().map(RefUpdate::line).collect();
        script.insert_str(0, "start\n");
        script.push_str("prepare\n");
        let mut prepared = PreparedRefs::begin(self.update_ref_call(why))?;
        match prepared.say(&script, &["start: ok", "prepare: ok"]) {
            Ok(()) => Ok(Ok(prepared)),
            Err(error) if says_moved(error.stderr()) => Ok(Err(Moved)),
            Err(error) => Err(error),
        }
    }
}

fn judge(output: Output) -> Result<Result<(), Moved>, GitError> {
    match output.successful() {
        Ok(_) => Ok(Ok(())),
        Err(error) if says_moved(error.stderr()) => Ok(Err(Moved)),
        Err(error) => Err(error),
    }
}

/// Refs that are locked and checked. Dropping it leaves them as they are.
pub(crate) struct PreparedRefs {
    child: OwnedChild,
    described: String,
    /// `None` once nothing more will be said.
    stdin: Option<ChildStdin>,
    answers: Receiver<String>,
    stderr: Receiver<String>,
}

impl PreparedRefs {
    fn begin(call: Call) -> Result<Self, GitError> {
        let (mut command, described) = call.into_command();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = process::spawn(&mut command).map_err(|source| GitError::Io {
            doing: format!("running '{described}'"),
            source,
        })?;
        let pipes = child.child();
        let (stdin, stdout, stderr) =
            (pipes.stdin.take(), pipes.stdout.take(), pipes.stderr.take());
        let (say_answer, answers) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout
                .map(BufReader::new)
                .into_iter()
                .flat_map(BufRead::lines)
            {
                let Ok(line) = line else { return };
                if say_answer.send(line).is_err() {
                    return;
                }
            }
        });
        let (say_error, errors) = mpsc::channel();
        thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(pipe) = stderr {
                let _ = pipe.take(16 << 10).read_to_end(&mut text);
            }
            let _ = say_error.send(String::from_utf8_lossy(&text).trim().to_owned());
        });
        Ok(Self {
            child,
            described,
            stdin,
            answers,
            stderr: errors,
        })
    }

    /// Moves the refs.
    pub(crate) fn commit(mut self) -> Result<(), GitError> {
        self.say("commit\n", &["commit: ok"])
    }

    fn say(&mut self, words: &str, expected: &[&str]) -> Result<(), GitError> {
        let deadline = Instant::now() + STEP;
        let said = match &mut self.stdin {
            Some(pipe) => pipe.write_all(words.as_bytes()).and_then(|()| pipe.flush()),
            None => Ok(()),
        };
        for expected in expected {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok(answer) if answer == *expected => {}
                Ok(answer) => {
                    return Err(GitError::Unexpected {
                        command: self.described.clone(),
                        answer,
                    });
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(GitError::TimedOut {
                        command: self.described.clone(),
                        limit: STEP,
                    });
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(self.failure()),
            }
        }
        said.map_err(|source| GitError::Io {
            doing: format!("talking to '{}'", self.described),
            source,
        })
    }

    /// What git said when it gave up.
    fn failure(&mut self) -> GitError {
        self.stdin = None;
        let stderr = match self.stderr.recv_timeout(STEP) {
            Ok(stderr) => stderr,
            Err(_) => {
                process::kill_group(self.child.child());
                "it closed its output and did not end".to_owned()
            }
        };
        match self.child.wait() {
            Ok(status) => GitError::Failed {
                command: self.described.clone(),
                status,
                stderr,
            },
            Err(source) => GitError::Io {
                doing: format!("waiting for '{}'", self.described),
                source,
            },
        }
    }
}

impl Drop for PreparedRefs {
    fn drop(&mut self) {
        // Without standard input git lets go of its locks and ends; its error output closes then.
        self.stdin = None;
        // Disconnected means that the words were heard before, and the child waited for.
        let silent = self.stderr.recv_timeout(Duration::from_secs(5));
        if silent == Err(mpsc::RecvTimeoutError::Timeout) {
            process::kill_group(self.child.child());
        }
        let _ = self.child.wait();
    }
}
