//! How a command reaches the project: through the daemon if one serves, else by itself.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use orch_api::client::Client;
use orch_host::supervise;

use crate::daemon::{Daemon, Options, runtime};
use crate::error::{ConnectError, StartError};
use crate::log::LogSink;
use crate::project::Project;

/// How long a command waits for others that are just using the state directory.
const PATIENCE: Duration = Duration::from_secs(30);
/// First and longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Connects to the daemon that serves `project`; when none does, takes the lock and answers in
/// this process through the same code. Waits while other commands hold the lock. What is remarkable
/// about the database when this process opens it goes to `log`: nobody after it will be told.
///
/// # Errors
/// Nobody answers, versions differ, or the state directory cannot be used.
pub fn connect(project: &Project, log: &LogSink) -> Result<Client, ConnectError> {
    let start = Instant::now();
    let mut pause = PAUSE.0;
    loop {
        if let Some(client) = daemon(project)? {
            return Ok(client);
        }
        match Daemon::answer(project, Options::default(), log.clone()) {
            Ok(daemon) => return Ok(daemon.into_client()?),
            Err(StartError::Locked { holder, .. }) if start.elapsed() > PATIENCE => {
                return Err(ConnectError::Busy { holder });
            }
            Err(StartError::Locked { .. }) => {
                // Whoever holds it is a command that ends in milliseconds, or a daemon that is
                // just opening its socket; neither can notify us.
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSE.1);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The daemon that serves `project`, if there is one. A socket that nobody listens on is one that
/// a killed daemon left, and so is one whose listener is dead: a child that it was just making may
/// hold it open for a moment, and would answer nothing.
fn daemon(project: &Project) -> Result<Option<Client>, ConnectError> {
    let socket = project.socket();
    match UnixStream::connect(&socket) {
        Ok(stream) if listener_lives(&stream) => {
            let client = Client::connected(&socket, stream, supervise::is_stopped);
            Ok(Some(client.map_err(runtime)?))
        }
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Whether the daemon that serves `project` lets its agents finish and then ends.
pub(crate) fn drains(project: &Project) -> bool {
    let status = daemon(project)
        .ok()
        .flatten()
        .and_then(|client| client.status().ok());
    status.is_some_and(|status| status.service == "draining")
}

/// Whether a daemon listens on the socket of `project`.
pub(crate) fn somebody_listens(project: &Project) -> bool {
    UnixStream::connect(project.socket()).is_ok_and(|stream| listener_lives(&stream))
}

/// Whether the process lives that listens at the other end. Where the system does not say which
/// that is, it counts as alive.
fn listener_lives(stream: &UnixStream) -> bool {
    let Ok(peer) = rustix::net::sockopt::socket_peercred(stream) else {
        return true;
    };
    rustix::process::test_kill_process(peer.pid) != Err(rustix::io::Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    const SOCKET: &str = "ORCH_TEST_SOCKET";

    #[test]
    fn a_listener_that_lives_is_told_from_a_socket_that_somebody_holds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        assert!(listener_lives(&UnixStream::connect(&path).unwrap()));

        let held = directory.path().join("held");
        let listened = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "connect::tests::listens_and_leaves_the_socket",
                "--nocapture",
            ])
            .env(SOCKET, &held)
            .output()
            .unwrap();
        let said = String::from_utf8(listened.stdout).unwrap();
        let holder = said.lines().find_map(|line| line.strip_prefix("held by "));
        let holder: i32 = holder.unwrap().parse().unwrap();
        let lives = listener_lives(&UnixStream::connect(&held).unwrap());
        kill_process(Pid::from_raw(holder).unwrap(), Signal::KILL).unwrap();
        assert!(!lives);
    }

    /// The process of the test above: it listens, hands the socket to a child, and ends.
    #[test]
    #[expect(clippy::zombie_processes, reason = "the child outlives this process")]
    fn listens_and_leaves_the_socket() {
        let Some(path) = std::env::var_os(SOCKET) else {
            return;
        };
        let listener = UnixListener::bind(path).unwrap();
        let holder = Command::new("sleep")
            .arg("600")
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // On a line of its own: the test runner has begun one.
        println!("\nheld by {}", holder.id());
    }
}
