//! The agent's process and its pipes.
//!
//! Nothing here ever waits for one thing alone: one poll waits for the agent's words, for room for
//! ours, for its end and for a request to stop. So full pipes on both sides cannot hold each
//! other up. The end that counts is that of the process and not of the pipe, which a tool in the
//! background may hold open for ever.
//!
//! This part must not know what is said.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use orch_core::run::{Exit, Failure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group,
    setrlimit, waitid, waitpid,
};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};

use super::log::Log;
use crate::shim::agent::{DEFAULT_PATH, refused, resolve};
use crate::supervise::exit_of;

/// Longest message of an agent, bytes. With what is put around it, it is still a line that a
/// transcript reads.
pub(super) const MESSAGE_BYTES: usize = 31 << 20;
/// Most bytes of answers that an agent may leave unread.
const ANSWERS_BYTES: usize = 8 << 20;
/// Bytes read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Most that is read of the pipe of an agent that has ended: what a pipe can hold.
const REST_BYTES: usize = 1 << 20;

/// How long an agent that closed its output may take to end before it counts as one that stays.
const CLOSING: Duration = Duration::from_secs(1);
/// How an agent whose work is over is made to leave: first only its input is closed. All steps
/// together are shorter than the five seconds for which orch lets a process stay after its result.
const STEPS: [(&str, Option<Signal>, Duration); 3] = [
    ("closed", None, Duration::from_millis(3_500)),
    ("terminated", Some(Signal::TERM), Duration::from_secs(1)),
    ("killed", Some(Signal::KILL), Duration::from_millis(400)),
];

/// The signals a driver acts on.
pub(super) struct Ears {
    children: UnixStream,
    stops: UnixStream,
}

impl Ears {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            children: stream_of(&[SIGCHLD])?,
            stops: stream_of(&[SIGTERM, SIGINT])?,
        })
    }
}

fn stream_of(signals: &[i32]) -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    for &signal in signals {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    Ok(read)
}

fn count(mut stream: &UnixStream) -> usize {
    let mut total = 0;
    let mut bytes = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut bytes) {
        total += length;
    }
    total
}

/// What there is to hear.
pub(super) enum Heard {
    /// A line, without its `\n`.
    Line(Vec<u8>),
    /// A line longer than [`MESSAGE_BYTES`]; its beginning.
    TooLong(Vec<u8>),
    /// Somebody wants this to end.
    Stop,
    /// The agent closed its output and stays.
    Closed,
    /// Its process ended and all it said was heard.
    Died(Exit),
    /// Nothing, until then.
    Late,
}

/// How the agent's process left.
pub(super) struct Left {
    /// What it had been asked by then: `nothing`, or a step of [`STEPS`].
    pub(super) asked: &'static str,
    /// Its status; `None` if it could not be made to go.
    pub(super) exit: Option<Exit>,
}

impl Left {
    /// Its status, if no signal was needed.
    pub(super) fn by_itself(&self) -> Option<Exit> {
        self.exit
            .filter(|_| matches!(self.asked, "nothing" | "closed"))
    }
}

/// The agent.
pub(super) struct Peer {
    pid: Pid,
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
    ears: Ears,
    lines: Lines,
    /// What it has still to be told.
    outgoing: Vec<u8>,
    /// How much of that are answers to its own requests.
    answers: usize,
    /// Since when its output is closed.
    closed: Option<Instant>,
    exit: Option<Exit>,
    /// Whether it was told to end by a signal.
    ending: bool,
}

impl Peer {
    /// Starts the agent: in a process group of its own, because a request to stop goes to the
    /// whole group of this process, and the agent is to hear of it in its own language.
    pub(super) fn start(command: &[String], ears: Ears) -> Result<Self, Failure> {
        let program = OsStr::new(command.first().map_or("", String::as_str));
        let path = std::env::var_os("PATH");
        let file = resolve(program, path.as_deref().unwrap_or(OsStr::new(DEFAULT_PATH)))?;
        let child = Command::new(&file)
            .arg0(program)
            .args(command.get(1..).unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0)
            .spawn();
        let started = child.and_then(|child| Self::new(child, ears));
        started.map_err(|error| refused(program, &file, &error))
    }

    fn new(mut child: Child, ears: Ears) -> io::Result<Self> {
        let (input, output) = (child.stdin.take(), child.stdout.take());
        for pipe in [
            input.as_ref().map(AsFd::as_fd),
            output.as_ref().map(AsFd::as_fd),
        ] {
            let pipe = pipe.ok_or(io::ErrorKind::BrokenPipe)?;
            fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
        }
        Ok(Self {
            pid: Pid::from_child(&child),
            input,
            output,
            ears,
            lines: Lines::default(),
            outgoing: Vec::new(),
            answers: 0,
            closed: None,
            exit: None,
            ending: false,
        })
    }

    /// Tells the agent something, as soon as it listens.
    pub(super) fn tell(&mut self, message: &str) {
        if self.input.is_some() {
            self.outgoing.extend_from_slice(message.as_bytes());
            self.outgoing.push(b'\n');
            self.write();
        }
    }

    /// Answers a request of the agent; `false` if it has left too many answers unread.
    #[must_use]
    pub(super) fn answer(&mut self, message: &str) -> bool {
        if self.answers + message.len() > ANSWERS_BYTES {
            return false;
        }
        self.answers += message.len();
        self.tell(message);
        true
    }

    /// Whether something was heard that was not given yet.
    pub(super) fn has_line(&mut self) -> bool {
        self.lines.end().is_some()
    }

    /// Waits for something to hear, at most until `until`.
    pub(super) fn hear(&mut self, until: Option<Instant>) -> io::Result<Heard> {
        loop {
            if let Some(line) = self.lines.next() {
                return Ok(Heard::Line(line));
            }
            if self.lines.length() > MESSAGE_BYTES {
                return Ok(Heard::TooLong(self.lines.rest()));
            }
            if count(&self.ears.stops) > 0 {
                return Ok(Heard::Stop);
            }
            if let Some(heard) = self.over() {
                return Ok(heard);
            }
            let now = Instant::now();
            if until.is_some_and(|until| now >= until) {
                return Ok(Heard::Late);
            }
            let closing = self.closed.map(|since| since + CLOSING);
            self.wait(until.into_iter().chain(closing).min())?;
        }
    }

    /// What follows from the end of the process or of its output.
    fn over(&mut self) -> Option<Heard> {
        let closed = self.closed.is_some_and(|since| since.elapsed() >= CLOSING);
        if self.exit.is_none() && !closed {
            return None;
        }
        let rest = self.lines.rest();
        Some(match self.exit {
            _ if !rest.is_empty() => Heard::Line(rest),
            Some(exit) => Heard::Died(exit),
            None => Heard::Closed,
        })
    }

    fn wait(&mut self, until: Option<Instant>) -> io::Result<()> {
        let is_owed = !self.outgoing.is_empty();
        let input = self.input.as_ref().filter(|_| is_owed);
        let mut polled = vec![
            PollFd::new(&self.ears.children, PollFlags::IN),
            PollFd::new(&self.ears.stops, PollFlags::IN),
        ];
        polled.extend(
            self.output
                .as_ref()
                .map(|it| PollFd::new(it, PollFlags::IN)),
        );
        polled.extend(input.map(|it| PollFd::new(it, PollFlags::OUT)));
        let left = until.map(|until| timespec(until.saturating_duration_since(Instant::now())));
        match poll(&mut polled, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        count(&self.ears.children);
        self.write();
        self.read(CHUNK_BYTES)?;
        self.reap()
    }

    fn write(&mut self) {
        let Some(input) = &mut self.input else { return };
        let mut written = 0;
        let is_broken = loop {
            match input.write(&self.outgoing[written..]) {
                Ok(0) => break false,
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error.kind() != io::ErrorKind::WouldBlock,
            }
        };
        self.outgoing.drain(..written);
        if is_broken {
            // Whether it has ended or only does not listen any more shows elsewhere.
            self.hush();
        }
        if self.outgoing.is_empty() {
            self.answers = 0;
        }
    }

    /// Says nothing more to the agent.
    fn hush(&mut self) {
        self.input = None;
        self.outgoing = Vec::new();
    }

    /// Takes what is there, about `most` bytes of it.
    fn read(&mut self, most: usize) -> io::Result<()> {
        let Some(output) = &mut self.output else {
            return Ok(());
        };
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut total = 0;
        while total < most {
            match output.read(&mut chunk) {
                Ok(0) => {
                    self.output = None;
                    self.closed = Some(Instant::now());
                    return Ok(());
                }
                Ok(count) => {
                    self.lines.feed(&chunk[..count]);
                    total += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn reap(&mut self) -> io::Result<()> {
        if self.exit.is_some() {
            return Ok(());
        }
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if !matches!(waitid(WaitId::Pid(self.pid), look), Ok(Some(_))) {
            return Ok(());
        }
        if self.ending {
            // Helpers of an agent that did not leave by itself. Until its status is fetched the
            // group's number is its own.
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
        if let Ok(Some((_, status))) = waitpid(Some(self.pid), WaitOptions::NOHANG) {
            self.exit = exit_of(status);
        }
        self.read(REST_BYTES)
    }

    /// Sees the agent off, whose work is over: closes its input and, where that does not help,
    /// ends its group. Tools in sessions of their own are not looked for; whoever started this
    /// process finds and names them.
    pub(super) fn dismiss(&mut self, log: &mut Log) -> io::Result<Left> {
        let mut asked = "nothing";
        self.hush();
        for (step, signal, patience) in STEPS {
            if self.exit.is_none() {
                asked = step;
            }
            if let Some(signal) = signal.filter(|_| self.exit.is_none()) {
                self.ending = true;
                let _ = kill_process_group(self.pid, signal);
                let _ = kill_process_group(self.pid, Signal::CONT);
            }
            if self.listen_out(Instant::now() + patience, log)? {
                break;
            }
        }
        Ok(Left {
            asked,
            exit: self.exit,
        })
    }

    /// Writes down what the agent still says; `true` when it has ended.
    fn listen_out(&mut self, until: Instant, log: &mut Log) -> io::Result<bool> {
        loop {
            match self.hear(Some(until))? {
                Heard::Line(line) => log.heard(&line, &mut |_, _| Ok(()))?,
                Heard::TooLong(_) => {}
                Heard::Died(_) => return Ok(true),
                Heard::Stop | Heard::Late => return Ok(false),
                // Only its end is waited for.
                Heard::Closed => self.closed = None,
            }
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// Ends this process by a signal, as the agent was; a status for where that cannot be done.
pub(super) fn die_of(number: i32) -> i32 {
    // A core of this process would say nothing about the agent.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    let _ = signal_hook::low_level::emulate_default_handler(number);
    128 + number
}

/// Bytes that become lines.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Where the first line begins that was not given yet.
    start: usize,
    /// How far it is known that this line goes on.
    scanned: usize,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Where the first line ends.
    fn end(&mut self) -> Option<usize> {
        let found = self.bytes[self.scanned..]
            .iter()
            .position(|&byte| byte == b'\n');
        match found {
            Some(at) => {
                self.scanned += at;
                Some(self.scanned)
            }
            None => {
                self.scanned = self.bytes.len();
                None
            }
        }
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let end = self.end()?;
        if self.start == 0 && end + 1 == self.bytes.len() {
            // A message that came alone is given without a copy, whatever its size.
            let mut line = std::mem::take(self).bytes;
            line.pop();
            return Some(line);
        }
        let line = self.bytes[self.start..end].to_vec();
        self.start = end + 1;
        self.scanned = self.start;
        Some(line)
    }

    /// Bytes of the line that is not complete.
    fn length(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// The line that is not complete, and nothing is left.
    fn rest(&mut self) -> Vec<u8> {
        let mut taken = std::mem::take(self);
        taken.bytes.drain(..taken.start);
        taken.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let text = b"one\n\ntwo\r\nthree\nrest";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut given = Vec::new();
            for chunk in text.chunks(size) {
                lines.feed(chunk);
                given.extend(std::iter::from_fn(|| lines.next()));
            }
            assert_eq!(given, [&b"one"[..], b"", b"two\r", b"three"], "{size}");
            assert_eq!(lines.length(), 4);
            assert_eq!(lines.rest(), b"rest");
            assert_eq!(lines.length(), 0);
        }
    }
}
