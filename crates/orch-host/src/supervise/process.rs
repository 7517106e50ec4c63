//! Processes by identity, so that no signal ever reaches a stranger.
//!
//! A process id is reused within seconds on a busy machine. A process is therefore named by its
//! id, the moment it started and the boot it started in, and is signalled through a descriptor
//! that was opened before the identity was checked. Must not know what the processes are for.

use std::io;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

/// A process that cannot be confused with a later one of the same id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Process id.
    pub(crate) pid: i32,
    /// When it started, clock ticks since boot. 0 where the system does not tell.
    pub(crate) start_time: u64,
    /// The boot it started in. Empty where the system does not tell.
    pub(crate) boot_id: String,
}

/// What can be said of a process now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It runs, sleeps or is stopped.
    Alive,
    /// It has ended and its parent has not fetched the status yet.
    Zombie {
        /// Who will fetch it.
        parent: i32,
    },
    /// It is not there; another process may have its id.
    Gone,
}

/// One line of the process table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// The leader of its group.
    pub(crate) group: i32,
    /// The leader of its session.
    pub(crate) session: i32,
    /// It has ended and its status was not fetched.
    pub(crate) zombie: bool,
    /// A signal keeps it from doing anything.
    pub(crate) stopped: bool,
    pub(crate) start_time: u64,
    /// Processor time of it and the children it waited for, clock ticks.
    pub(crate) cpu_ticks: u64,
    pub(crate) name: String,
}

/// Clock ticks per second in the process table: `USER_HZ`, which Linux keeps at 100 for every
/// architecture orch is built for.
pub(crate) const TICKS_PER_SECOND: u64 = 100;

impl Identity {
    /// The identity of a process that exists now and will not vanish meanwhile: this one, or a
    /// child that has not been waited for.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        Ok(Self {
            pid,
            start_time: read(pid)?.map_or(0, |process| process.start_time),
            boot_id: boot_id(),
        })
    }

    /// Whether it belongs to this boot; after a restart no process of before is alive.
    pub(crate) fn is_of_this_boot(&self) -> bool {
        self.boot_id == boot_id()
    }

    pub(crate) fn life(&self) -> io::Result<Life> {
        if !self.is_of_this_boot() {
            return Ok(Life::Gone);
        }
        Ok(match read(self.pid)? {
            Some(process) if process.start_time == self.start_time => match process.zombie {
                true => Life::Zombie {
                    parent: process.parent,
                },
                false => Life::Alive,
            },
            _ => Life::Gone,
        })
    }

    /// Opens this very process; `None` if it is gone.
    pub(crate) fn open(&self) -> io::Result<Option<Handle>> {
        if !self.is_of_this_boot() {
            return Ok(None);
        }
        Handle::open(self.pid, self.start_time)
    }
}

/// A process that was checked to be the one meant.
#[derive(Debug)]
pub(crate) struct Handle {
    pid: Pid,
    #[cfg(target_os = "linux")]
    fd: Option<std::os::fd::OwnedFd>,
}

impl Handle {
    /// Opens the process of this id if it started at `start_time`. Opened first and checked
    /// second: the descriptor stays with the process that was there when it was opened.
    #[cfg(target_os = "linux")]
    pub(crate) fn open(pid: i32, start_time: u64) -> io::Result<Option<Self>> {
        use rustix::io::Errno;
        use rustix::process::{PidfdFlags, pidfd_open};
        let Some(id) = Pid::from_raw(pid) else {
            return Ok(None);
        };
        let fd = match pidfd_open(id, PidfdFlags::empty()) {
            Ok(fd) => Some(fd),
            Err(Errno::SRCH) => return Ok(None),
            // Before Linux 5.3, and where a sandbox forbids it, the check alone must do.
            Err(Errno::NOSYS | Errno::PERM) => None,
            Err(error) => return Err(error.into()),
        };
        let same = read(pid)?.is_some_and(|found| found.start_time == start_time);
        Ok(same.then_some(Self { pid: id, fd }))
    }

    /// Opens the process of this id; there is no start time to check here.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn open(pid: i32, _start_time: u64) -> io::Result<Option<Self>> {
        let there = read(pid)?.is_some();
        Ok(Pid::from_raw(pid).filter(|_| there).map(|pid| Self { pid }))
    }

    /// Sends a signal. A process that has ended meanwhile is not an error.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match self.send(signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(target_os = "linux")]
    fn send(&self, signal: Signal) -> rustix::io::Result<()> {
        match &self.fd {
            Some(fd) => rustix::process::pidfd_send_signal(fd, signal),
            None => rustix::process::kill_process(self.pid, signal),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn send(&self, signal: Signal) -> rustix::io::Result<()> {
        rustix::process::kill_process(self.pid, signal)
    }

    /// Waits until the process has ended, at most this long. Where the system gives no event,
    /// waits a tenth of it.
    pub(crate) fn wait_end(&self, most: std::time::Duration) {
        #[cfg(target_os = "linux")]
        if let Some(fd) = &self.fd {
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            let timeout = Timespec {
                tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: most.subsec_nanos().into(),
            };
            // Interrupted or not: the caller looks again in any case.
            let _ = poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout));
            return;
        }
        std::thread::sleep(most / 10);
    }
}

/// Whether a process that carries a run's marker can be the agent itself and not something the
/// agent started: a shim makes the agent the leader of a group, and a leader of a group can never
/// begin a session of its own. What cannot be told counts as the agent.
pub(crate) fn may_be_agent(process: &Process) -> bool {
    let Some(pid) = Pid::from_raw(process.pid) else {
        return false;
    };
    let leads = |of: rustix::io::Result<Pid>| of.map(|leader| leader == pid);
    let group = leads(rustix::process::getpgid(Some(pid)));
    let session = leads(rustix::process::getsid(Some(pid)));
    group.unwrap_or(true) && !session.unwrap_or(false)
}

/// Everything that descends from `root`, not counting it, in an order that puts parents first.
pub(crate) fn descendants(table: &[Process], root: i32) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for process in table.iter().filter(|process| process.parent == parent) {
            let known = process.pid == root || found.iter().any(|other| other.pid == process.pid);
            if !known {
                parents.push(process.pid);
                found.push(process.clone());
            }
        }
    }
    found
}

/// The name of the boot this process runs in, where the system tells.
#[must_use]
pub fn present_boot() -> Option<String> {
    Some(boot_id()).filter(|boot| !boot.is_empty())
}

/// The boot this process runs in; empty where the system does not tell.
pub(crate) fn boot_id() -> String {
    static BOOT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    BOOT.get_or_init(system::boot_id).clone()
}

pub use system::is_ending;
pub(crate) use system::{is_called, is_marked, is_program, marked, read, supervising, table};

#[cfg(target_os = "linux")]
mod system {
    use super::Process;
    use std::fs::File;
    use std::io::{self, Read};

    /// More than a line of the process table is long, bytes.
    const LINE_BYTES: usize = 1024;

    pub(super) fn boot_id() -> String {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    }

    /// The process of this id, if there is one.
    pub(crate) fn read(pid: i32) -> io::Result<Option<Process>> {
        let mut line = [0; LINE_BYTES];
        // The kernel hands out the whole line at once.
        let read =
            File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut line));
        match read {
            Ok(length) => Ok(parse(&line[..length])),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a process has ended, is ending, or is to be killed as soon as it is its turn: what
    /// it holds is let go of without its doing.
    #[must_use]
    pub fn is_ending(pid: i32) -> bool {
        /// `PF_EXITING` among the flags of the ninth field.
        const EXITING: u64 = 4;
        /// SIGKILL among pending signals.
        const KILL: u64 = 1 << 8;
        let file = |name: &str| match std::fs::read(format!("/proc/{pid}/{name}")) {
            Err(error) if is_gone(&error) => None,
            read => Some(read.unwrap_or_default()),
        };
        let (Some(stat), Some(status)) = (file("stat"), file("status")) else {
            return true;
        };
        let stat = String::from_utf8_lossy(&stat);
        let flags = || {
            let (_, fields) = stat.rsplit_once(") ")?;
            fields.split(' ').nth(6)?.parse::<u64>().ok()
        };
        let status = String::from_utf8_lossy(&status);
        let pending = status.lines().filter_map(|line| {
            let (name, mask) = line.split_once(':')?;
            let is_pending = matches!(name, "SigPnd" | "ShdPnd");
            is_pending.then(|| u64::from_str_radix(mask.trim(), 16).ok())?
        });
        parse(stat.as_bytes()).is_some_and(|process| process.zombie)
            || flags().is_some_and(|flags| flags & EXITING != 0)
            || pending.fold(0, std::ops::BitOr::bitor) & KILL != 0
    }

    fn is_gone(error: &io::Error) -> bool {
        let gone = rustix::io::Errno::SRCH.raw_os_error();
        error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(gone)
    }

    /// `pid (name) state ppid … utime stime cutime cstime … starttime …`; the name may hold
    /// spaces and parentheses, so the fields are counted from its last one.
    pub(super) fn parse(stat: &[u8]) -> Option<Process> {
        let text = String::from_utf8_lossy(stat);
        let (pid, rest) = text.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Process {
            pid: pid.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            stopped: matches!(*fields.first()?, "T" | "t"),
            zombie: matches!(*fields.first()?, "Z" | "X" | "x"),
            start_time: number(19)?,
            cpu_ticks: number(11)? + number(12)? + number(13)? + number(14)?,
            name: name.to_owned(),
        })
    }

    fn pids() -> io::Result<impl Iterator<Item = i32>> {
        Ok(std::fs::read_dir("/proc")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
    }

    /// Every process of the machine. One that ends meanwhile may be missing; one that cannot be
    /// read is an error, because nobody may be taken for dead for want of a descriptor.
    pub(crate) fn table() -> io::Result<Vec<Process>> {
        pids()?.filter_map(|pid| read(pid).transpose()).collect()
    }

    /// The processes that `is_wanted`, as far as they still live.
    fn select(is_wanted: impl Fn(i32) -> io::Result<bool>) -> io::Result<Vec<Process>> {
        let mut found = Vec::new();
        for pid in pids()? {
            if is_wanted(pid)? {
                found.extend(read(pid)?);
            }
        }
        Ok(found)
    }

    /// A file of a process; nothing if the process is gone or another user's.
    fn of_process(pid: i32, file: &str) -> io::Result<Vec<u8>> {
        match std::fs::read(format!("/proc/{pid}/{file}")) {
            Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::PermissionDenied => {
                Ok(Vec::new())
            }
            read => read,
        }
    }

    /// Every living process whose environment carries `name=value`, except this one. Another
    /// user's cannot be read and is never ours.
    pub(crate) fn marked(name: &str, value: &str) -> io::Result<Vec<Process>> {
        let wanted = format!("{name}={value}");
        let this = rustix::process::getpid().as_raw_pid();
        select(|pid| {
            let environment = of_process(pid, "environ")?;
            let mut entries = environment.split(|byte| *byte == 0);
            Ok(pid != this && entries.any(|entry| entry == wanted.as_bytes()))
        })
    }

    /// Whether the environment of a process has a variable of this name. Another user's has not.
    pub(crate) fn is_marked(pid: i32, name: &str) -> io::Result<bool> {
        let environment = of_process(pid, "environ")?;
        let mut entries = environment.split(|byte| *byte == 0);
        Ok(entries.any(|entry| {
            entry
                .strip_prefix(name.as_bytes())
                .is_some_and(|rest| rest.first() == Some(&b'='))
        }))
    }

    /// Whether a process was started as `<program> <command> …` with one of `commands`.
    pub(crate) fn is_called(pid: i32, commands: &[&str]) -> io::Result<bool> {
        let line = of_process(pid, "cmdline")?;
        let mut words = line.split(|byte| *byte == 0).skip(1);
        let command = words.next();
        Ok(commands.iter().any(|it| command == Some(it.as_bytes())))
    }

    /// Whether a process executes this very file. Another user's is not known to.
    pub(crate) fn is_program(pid: i32, program: &std::path::Path) -> bool {
        std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|it| it == program)
    }

    /// Every living process that was started as `<program> <command> <path>`, where the path ends
    /// with `name`: the directories above may have been moved since.
    pub(crate) fn supervising(command: &str, name: &str) -> io::Result<Vec<Process>> {
        select(|pid| Ok(names(&of_process(pid, "cmdline")?, command, name)))
    }

    pub(super) fn names(command_line: &[u8], command: &str, name: &str) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let mut words = command_line.split(|byte| *byte == 0).skip(1);
        let is_command = words.next() == Some(command.as_bytes());
        let path = words.next().map(std::ffi::OsStr::from_bytes);
        let last = path.and_then(|path| std::path::Path::new(path).file_name());
        is_command && last == Some(name.as_ref())
    }
}

/// Where there is no `/proc`, a process is known by its id alone and nobody's children are known.
#[cfg(not(target_os = "linux"))]
mod system {
    use super::Process;
    use rustix::io::Errno;
    use std::io;

    pub(super) fn boot_id() -> String {
        String::new()
    }

    pub(crate) fn read(pid: i32) -> io::Result<Option<Process>> {
        let Some(id) = rustix::process::Pid::from_raw(pid) else {
            return Ok(None);
        };
        match rustix::process::test_kill_process(id) {
            Ok(()) | Err(Errno::PERM) => Ok(Some(Process {
                pid,
                parent: 0,
                group: 0,
                session: 0,
                zombie: false,
                stopped: false,
                start_time: 0,
                cpu_ticks: 0,
                name: String::new(),
            })),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a process has ended.
    #[must_use]
    pub fn is_ending(pid: i32) -> bool {
        matches!(read(pid), Ok(None))
    }

    pub(crate) fn table() -> io::Result<Vec<Process>> {
        Ok(Vec::new())
    }

    pub(crate) fn is_marked(_pid: i32, _name: &str) -> io::Result<bool> {
        Ok(false)
    }

    pub(crate) fn is_called(_pid: i32, _commands: &[&str]) -> io::Result<bool> {
        Ok(false)
    }

    pub(crate) fn is_program(_pid: i32, _program: &std::path::Path) -> bool {
        false
    }

    pub(crate) fn marked(_name: &str, _value: &str) -> io::Result<Vec<Process>> {
        Ok(Vec::new())
    }

    pub(crate) fn supervising(_command: &str, _name: &str) -> io::Result<Vec<Process>> {
        Ok(Vec::new())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32) -> Process {
        Process {
            pid,
            parent,
            group: pid,
            session: pid,
            zombie: false,
            stopped: false,
            start_time: 1,
            cpu_ticks: 0,
            name: "x".into(),
        }
    }

    /// What was killed is ending from then on, also before it has come to it.
    #[cfg(target_os = "linux")]
    #[test]
    fn who_is_killed_is_ending_until_it_is_gone_and_after_it() {
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(!is_ending(pid));
        child.kill().unwrap();
        assert!(is_ending(pid), "killed, or a zombie by now");
        child.wait().unwrap();
        assert!(is_ending(pid), "gone");
        assert!(!is_ending(rustix::process::getpid().as_raw_pid()));
    }

    #[test]
    fn a_process_name_cannot_shift_the_fields() {
        let mut stat = b"42 (a) Z 1 (b) S 7 1 1 0 -1 0 0 0 0 0 10 20 3 4 20 0 1 0 ".to_vec();
        stat.extend(b"777 100 5");
        let found = system::parse(&stat).unwrap();
        assert_eq!((found.pid, found.parent, found.zombie), (42, 7, false));
        assert_eq!((found.start_time, found.cpu_ticks), (777, 37));
        assert_eq!((found.group, found.session), (1, 1));
        assert_eq!(found.name, "a) Z 1 (b");
    }

    #[test]
    fn a_shim_is_known_by_its_whole_command_line() {
        let names = |line: &[u8]| system::names(line, "__shim", "run_7");
        assert!(names(b"/proc/self/exe\0__shim\0/a/runs/run_7\0"));
        assert!(!names(b"/proc/self/exe\0__shim\0/a/runs/run_77\0"));
        assert!(!names(b"tail\0-f\0__shim\0/a/runs/run_7\0"));
        assert!(!names(b"cat\0/a/runs/run_7\0"));
        assert!(!names(b""));
    }

    #[test]
    fn descendants_are_found_through_every_generation_and_nobody_else() {
        let table = [(2, 1), (5, 3), (3, 2), (4, 3), (9, 1), (1, 0)].map(|(a, b)| process(a, b));
        let mut found: Vec<i32> = descendants(&table, 2).iter().map(|p| p.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [3, 4, 5]);
    }

    #[test]
    fn a_process_of_the_same_id_that_started_at_another_time_is_a_stranger() {
        let me = Identity::of(rustix::process::getpid().as_raw_pid()).unwrap();
        assert_eq!(me.life().unwrap(), Life::Alive);
        assert!(me.open().unwrap().is_some());

        let mut reused = me.clone();
        reused.start_time -= 1;
        assert_eq!(reused.life().unwrap(), Life::Gone);
        assert!(reused.open().unwrap().is_none());

        let mut of_another_boot = me;
        of_another_boot.boot_id = "another".into();
        assert_eq!(of_another_boot.life().unwrap(), Life::Gone);
        assert!(of_another_boot.open().unwrap().is_none());
    }
}
