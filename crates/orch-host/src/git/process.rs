//! Running one child to its end: input, output, time, all limited.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::supervise::{OwnedChild, spawn_owned};

/// How long output may stay open after the process itself has ended.
const LEAK_GRACE: Duration = Duration::from_secs(2);

/// What a child left.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Why a child did not end by itself.
pub(crate) enum Stopped {
    TimedOut,
    TooMuchOutput,
    Io(io::Error),
}

/// What a child may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    pub(crate) time: Duration,
    pub(crate) stdout_bytes: usize,
    pub(crate) stderr_bytes: usize,
}

enum News {
    Exited,
    Full,
    Closed,
}

/// Starts a process. Every git process of orch begins here.
///
/// It is owned: the daemon's reaper of orphans leaves its status to us.
pub(super) fn spawn(command: &mut Command) -> io::Result<OwnedChild> {
    spawn_owned(command.process_group(0))
}

/// Runs a child with `input` on its standard input, until it ends or must be ended.
pub(crate) fn run(
    command: &mut Command,
    input: Option<Vec<u8>>,
    allowance: Allowance,
) -> Result<Finished, Stopped> {
    command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut owned = spawn(command).map_err(Stopped::Io)?;
    let child = owned.child();
    let outcome = attend(child, input, allowance);
    if outcome.is_err() {
        kill_group(child);
    }
    let status = child.wait().map_err(Stopped::Io)?;
    let (stdout, stderr) = outcome?;
    Ok(Finished {
        status,
        stdout: take(&stdout),
        stderr: take(&stderr),
    })
}

/// Feeds the child, collects what it says and waits for its end. A machine without a thread to
/// spare is an error like any other.
fn attend(
    child: &mut Child,
    input: Option<Vec<u8>>,
    allowance: Allowance,
) -> Result<(Kept, Kept), Stopped> {
    if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), input) {
        // A child that does not want all of it says so by its exit status.
        in_background(move || drop(pipe.write_all(&bytes)))?;
    }
    let (sender, news) = mpsc::channel();
    let stdout = drain(child.stdout.take(), allowance.stdout_bytes, true, &sender)?;
    let stderr = drain(child.stderr.take(), allowance.stderr_bytes, false, &sender)?;
    announce_exit(child, sender)?;
    follow(&news, child, allowance.time)?;
    Ok((stdout, stderr))
}

fn in_background(work: impl FnOnce() + Send + 'static) -> Result<(), Stopped> {
    let spawned = thread::Builder::new().spawn(work);
    spawned.map(drop).map_err(Stopped::Io)
}

/// Waits for the end of the child and of its output. After an error it is to be killed.
fn follow(news: &Receiver<News>, child: &Child, limit: Duration) -> Result<(), Stopped> {
    let mut deadline = Instant::now() + limit;
    let mut exited = false;
    let mut open = 2;
    while !exited || open > 0 {
        match news.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(News::Exited) => {
                exited = true;
                deadline = Instant::now() + LEAK_GRACE;
            }
            Ok(News::Closed) => open -= 1,
            Ok(News::Full) => return Err(Stopped::TooMuchOutput),
            // Something it left behind holds its output; what it wrote itself is in.
            Err(_) if exited => {
                kill_group(child);
                return Ok(());
            }
            Err(_) => return Err(Stopped::TimedOut),
        }
    }
    Ok(())
}

/// Ends the child and what it started. The child is not reaped yet, so its number is still its own.
pub(super) fn kill_group(child: &Child) {
    if let Some(pid) = pid_of(child) {
        // An error means that there is nobody left to end.
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Tells when the child has ended, without reaping it.
fn announce_exit(child: &Child, sender: Sender<News>) -> Result<(), Stopped> {
    let Some(pid) = pid_of(child) else {
        return Ok(());
    };
    in_background(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = rustix::process::waitid(WaitId::Pid(pid), options)
        {
        }
        let _ = sender.send(News::Exited);
    })
}

type Kept = Arc<Mutex<Vec<u8>>>;

/// Reads a pipe to its end. Beyond `most` bytes it is an error, or the rest is thrown away.
fn drain(
    pipe: Option<impl Read + Send + 'static>,
    most: usize,
    overflow_is_an_error: bool,
    sender: &Sender<News>,
) -> Result<Kept, Stopped> {
    let kept = Kept::default();
    let (ours, sender) = (Arc::clone(&kept), sender.clone());
    in_background(move || {
        let mut buffer = vec![0; 64 * 1024];
        let Some(mut pipe) = pipe else { return };
        loop {
            let got = match pipe.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => break,
                Ok(got) => got,
            };
            let mut kept = ours.lock().unwrap_or_else(PoisonError::into_inner);
            let room = most.saturating_sub(kept.len());
            kept.extend_from_slice(&buffer[..got.min(room)]);
            if got > room && overflow_is_an_error {
                let _ = sender.send(News::Full);
                return;
            }
        }
        let _ = sender.send(News::Closed);
    })?;
    Ok(kept)
}

fn take(kept: &Kept) -> Vec<u8> {
    std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    const SMALL: Allowance = Allowance {
        time: Duration::from_secs(20),
        stdout_bytes: 1000,
        stderr_bytes: 10,
    };

    #[test]
    fn input_output_and_status_come_through() {
        let Ok(end) = run(
            &mut shell("cat; echo 0123456789abc >&2; exit 3"),
            Some(b"x\0y".into()),
            SMALL,
        ) else {
            panic!("stopped")
        };
        assert_eq!(end.status.code(), Some(3));
        assert_eq!(end.stdout, b"x\0y");
        assert_eq!(
            end.stderr, b"0123456789",
            "standard error is cut, not refused"
        );
    }

    #[test]
    fn a_child_that_hangs_is_ended_with_its_children() {
        let brief = Allowance {
            time: Duration::from_millis(50),
            ..SMALL
        };
        let started = Instant::now();
        let end = run(&mut shell("sleep 60 & sleep 60"), None, brief);
        assert!(matches!(end, Err(Stopped::TimedOut)));
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn too_much_output_ends_it() {
        let end = run(&mut shell("while :; do echo 0123456789; done"), None, SMALL);
        assert!(matches!(end, Err(Stopped::TooMuchOutput)));
    }

    #[test]
    fn a_grandchild_that_holds_the_output_does_not_hold_us() {
        let started = Instant::now();
        let Ok(end) = run(&mut shell("sleep 60 & echo done"), None, SMALL) else {
            panic!("stopped")
        };
        assert_eq!(end.stdout, b"done\n");
        assert!(started.elapsed() < Duration::from_secs(15));
    }
}
