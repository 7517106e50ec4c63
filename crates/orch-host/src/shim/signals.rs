//! Signals as bytes in a pipe, and nothing of the shim's own left for the agent to inherit.
//!
//! A signal that was ignored when the shim was started (`nohup`, `cmd &`) would stay ignored in
//! the agent, across `exec`. One that has a handler goes back to its default there. So every
//! ignored signal gets a handler that does nothing, which for the shim is the same.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{FORBIDDEN, SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGXFSZ};

/// What would end a shim that has work to do.
const DEADLY: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGXFSZ];

/// The signals a shim acts on.
pub(super) struct Signals {
    children: UnixStream,
    stops: UnixStream,
}

/// Survives what would end a shim, and leaves nothing ignored that the agent would inherit. Holds
/// for every copy of this process too.
pub(super) fn withstand() {
    let nothing = Arc::new(AtomicBool::new(false));
    for signal in ignored().into_iter().chain(DEADLY) {
        // Some numbers belong to the C library and cannot have a handler.
        let _ = signal_hook::flag::register(signal, Arc::clone(&nothing));
    }
}

impl Signals {
    /// In the shim itself and in no other process: what is heard goes through pipes of its own.
    pub(super) fn register() -> io::Result<Self> {
        Ok(Self {
            children: stream_of(SIGCHLD)?,
            stops: stream_of(SIGTERM)?,
        })
    }

    /// Waits for a signal, or until `until`.
    pub(super) fn wait(&self, until: Option<Instant>) -> io::Result<()> {
        let mut polled = [
            PollFd::new(&self.children, PollFlags::IN),
            PollFd::new(&self.stops, PollFlags::IN),
        ];
        let left = until.map(|until| timespec(until.saturating_duration_since(Instant::now())));
        match poll(&mut polled, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // What is in here is looked up after this, so nothing that comes later is missed.
        drain(&self.children);
        Ok(())
    }

    /// Whether a request to stop has come since the last call.
    pub(super) fn take_stop(&self) -> bool {
        drain(&self.stops)
    }
}

fn stream_of(signal: i32) -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(signal, write)?;
    Ok(read)
}

/// Whether anything was in it.
fn drain(mut stream: &UnixStream) -> bool {
    let mut any = false;
    let mut bytes = [0; 64];
    while let Ok(1..) = stream.read(&mut bytes) {
        any = true;
    }
    any
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// The signals that are ignored now. SIGPIPE is left out: the standard library ignores it in
/// this process and resets it in every child.
#[cfg(target_os = "linux")]
fn ignored() -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    catchable((1..=64).filter(|signal| mask >> (signal - 1) & 1 == 1))
}

/// Every signal, where it cannot be asked which are ignored.
#[cfg(not(target_os = "linux"))]
fn ignored() -> Vec<i32> {
    catchable(1..=31)
}

fn catchable(signals: impl Iterator<Item = i32>) -> Vec<i32> {
    signals
        .filter(|signal| {
            !FORBIDDEN.contains(signal) && ![SIGPIPE, SIGCHLD, SIGTERM].contains(signal)
        })
        .collect()
}
