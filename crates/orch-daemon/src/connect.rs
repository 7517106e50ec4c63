//! How a command reaches the project: through the daemon if one serves, else by itself.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use orch_api::client::Client;

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
            Err(StartError::Locked { holder }) if start.elapsed() > PATIENCE => {
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
/// a killed daemon left.
fn daemon(project: &Project) -> Result<Option<Client>, ConnectError> {
    let socket = project.socket();
    match UnixStream::connect(&socket) {
        Ok(stream) => Ok(Some(Client::connected(&socket, stream).map_err(runtime)?)),
        Err(_) => Ok(None),
    }
}
