//! The stage a benchmark plays on: a folder that is thrown away, a clean environment, and an end
//! to every process that was started, also after an error or Ctrl-C.
//!
//! Nothing is ended but descendants of this process. It is their subreaper, so that even what
//! became a daemon of its own stays a descendant.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, pidfd_open, pidfd_send_signal,
    set_child_subreaper, waitpid,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::procfs::{self, Process};

/// How long killed processes may take to be gone.
const END: Duration = Duration::from_secs(20);
/// How often a condition is looked at that nobody tells of.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Where everything of one benchmark happens.
pub struct Stage {
    folder: PathBuf,
    tools: PathBuf,
    stopped: Arc<AtomicBool>,
    children: RefCell<BTreeSet<u32>>,
}

impl Stage {
    /// A new stage in `folder`, which must not exist. Programs are found in `tools` first.
    ///
    /// # Errors
    /// The folder cannot be made, or the system refuses what is needed to clean up.
    pub fn open(folder: &Path, tools: &Path) -> Result<Self> {
        let text = folder.to_string_lossy();
        ensure!(
            text.chars()
                .all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c)),
            "the path '{text}' has characters that a shell would act on; set CARGO_TARGET_DIR"
        );
        set_child_subreaper(Some(getpid())).context("becoming the parent of orphans")?;
        fs::create_dir_all(folder).with_context(|| format!("making {text}"))?;
        let stopped = Arc::new(AtomicBool::new(false));
        end_all_at_signals(Arc::clone(&stopped))?;
        Ok(Self {
            folder: folder.to_owned(),
            tools: tools.to_owned(),
            stopped,
            children: RefCell::default(),
        })
    }

    /// A new, empty folder. Each has a name of its own: a file system that has just removed
    /// thousands of files makes new ones in the same folder more slowly.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        for number in 1_u32.. {
            let folder = self.folder.join(format!("{name}.{number}"));
            match fs::create_dir(&folder) {
                Ok(()) => return Ok(folder),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).context("making a folder to work in"),
            }
        }
        bail!("no name is left for a folder")
    }

    /// A command in `folder` with an environment of three variables and no input.
    pub fn command(&self, program: &Path, folder: &Path) -> Command {
        let usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let path = format!("{}:{usual}", self.tools.display());
        let mut command = Command::new(program);
        command
            .current_dir(folder)
            .env_clear()
            .envs([("PATH", path.as_str()), ("LANG", "C.UTF-8")])
            .env("HOME", &self.folder)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end and returns what it printed.
    ///
    /// # Errors
    /// It did not start, it failed, or the benchmark was stopped.
    pub fn run(&self, mut command: Command) -> Result<String> {
        self.check()?;
        let name = command.get_program().to_string_lossy().into_owned();
        let output = command.output();
        let output = output.with_context(|| format!("starting {name}"))?;
        self.check()?;
        succeeded(&name, &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a command to its end with nowhere to print to, and returns how long it took. This is
    /// what is timed: nothing but starting it and waiting for it.
    ///
    /// # Errors
    /// It did not start, it failed, or the benchmark was stopped.
    pub fn time(&self, mut command: Command) -> Result<Duration> {
        self.check()?;
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        let status = command.status().context("starting a command")?;
        let took = began.elapsed();
        self.check()?;
        let name = command.get_program().to_string_lossy();
        ensure!(status.success(), "{name} failed: {status}");
        Ok(took)
    }

    /// Starts a process that lives on, in a process group of its own, and writes what it says to
    /// `said`.
    ///
    /// # Errors
    /// It did not start, or the benchmark was stopped.
    pub fn spawn(&self, mut command: Command, said: &Path) -> Result<Running<'_>> {
        let file = fs::File::create(said).context("making a file for output")?;
        command
            .stdout(file.try_clone().context("sharing a file")?)
            .stderr(file);
        self.spawn_as_is(command)
    }

    /// Starts a process that lives on, with the output it was given.
    ///
    /// # Errors
    /// It did not start, or the benchmark was stopped.
    pub fn spawn_as_is(&self, mut command: Command) -> Result<Running<'_>> {
        self.check()?;
        let child = command.process_group(0).spawn();
        let child = child.with_context(|| format!("starting {:?}", command.get_program()))?;
        self.children.borrow_mut().insert(child.id());
        Ok(Running { child, stage: self })
    }

    /// Waits until `look` finds something, asking again after `pause` each time.
    ///
    /// # Errors
    /// It was not found within `limit`, looking failed, or the benchmark was stopped.
    pub fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        pause: Duration,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let began = Instant::now();
        loop {
            self.check()?;
            self.fetch_orphans();
            if let Some(found) = look()? {
                return Ok(found);
            }
            ensure!(
                began.elapsed() < limit,
                "{what}: not within {} s",
                limit.as_secs()
            );
            std::thread::sleep(pause);
        }
    }

    /// Lets some time pass.
    ///
    /// # Errors
    /// The benchmark was stopped.
    pub fn pause(&self, time: Duration) -> Result<()> {
        std::thread::sleep(time);
        self.check()
    }

    /// Ends everything that was started and is still there.
    pub fn end_all(&self) {
        let began = Instant::now();
        while kill_descendants() > 0 && began.elapsed() < END {
            self.fetch_orphans();
            std::thread::sleep(LOOK_EVERY);
        }
        self.fetch_orphans();
    }

    /// Fetches the status of orphans that have ended, so that their CPU time counts as ours.
    fn fetch_orphans(&self) {
        let own = std::process::id();
        let children = self.children.borrow();
        for process in procfs::descendants(own) {
            let orphan = process.parent == own && !children.contains(&process.pid);
            if process.zombie && orphan {
                fetch(process.pid);
            }
        }
    }

    /// Whether a signal has asked for the end.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.is_stopped(), "stopped by a signal");
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end_all();
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            println!("note: the working folder of the benchmark stays: {error}");
        }
    }
}

/// A process that was started and lives on. Dropping it ends it.
pub struct Running<'a> {
    child: Child,
    stage: &'a Stage,
}

impl Running<'_> {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// It failed, or was stopped.
    pub fn finish(mut self) -> Result<()> {
        let status = self.child.wait().context("waiting for a process")?;
        self.stage.check()?;
        ensure!(status.success(), "a process failed: {status}");
        Ok(())
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        // Both say nothing new about a process whose status was fetched already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end and gives it some time.
    pub fn ask_to_end(&mut self, patience: Duration) {
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM);
        let began = Instant::now();
        while began.elapsed() < patience && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.kill();
        self.stage.children.borrow_mut().remove(&self.child.id());
    }
}

/// Whether a command ended well.
///
/// # Errors
/// It did not; the end of what it said is in the error.
pub fn succeeded(name: &str, output: &Output) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.lines().rev().take(5).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    ensure!(
        output.status.success(),
        "{name} failed: {}: {}",
        output.status,
        last.join(" / ")
    );
    Ok(())
}

/// Ends everything below this process at the first signal; what waits for it then fails, and the
/// benchmark with it.
fn end_all_at_signals(stopped: Arc<AtomicBool>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("catching signals")?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            stopped.store(true, Ordering::SeqCst);
            kill_descendants();
        }
    });
    Ok(())
}

/// Kills every descendant of this process and says how many were alive.
pub fn kill_descendants() -> usize {
    let below = procfs::descendants(std::process::id());
    let alive = below.iter().filter(|process| !process.zombie);
    alive.inspect(|process| kill(process)).count()
}

/// Kills a process, if the number still means the same one.
fn kill(process: &Process) {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    let Some(handle) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return;
    };
    let same = Process::read(process.pid).is_some_and(|now| now.start == process.start);
    if same {
        // It may have ended by now, which is as good.
        let _ = pidfd_send_signal(handle, Signal::KILL);
    }
}

fn fetch(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}
