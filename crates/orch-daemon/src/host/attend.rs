//! The watch over live runs: news from supervisors, new output, and a slow sweep as safety net.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use orch_core::RunId;
use orch_core::engine::Input;
use orch_core::outcome::Enforced;
use orch_core::wait::{Actor, Wait, WaitCode};
use orch_host::failpoint::{self, Point};
use orch_host::run_dir::RunDir;
use orch_host::supervise::{self, NewsListener, NewsQuit, Standing, StoppedShim, What};
use orch_host::transcript::Transcript;

use super::behind::Behind;
use super::jobs::Jobs;
use super::live::{LiveRun, Standstill};
use super::machine::Machine;
use super::output::{Changes, Watcher};
use super::start::{Origin, inspect, stopped_before_start};
use crate::careful;
use crate::convert;
use crate::log::LogLine;
use crate::shared::locked;
use crate::vital::{self, caught};
use crate::wake::Wake;

/// How often runs without news are looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// How long a process may stay after its result: the outcome rule's 5 s.
const LINGER: Duration = Duration::from_secs(5);

/// How long a supervisor may take to take its lock before it is started again. Starting it twice
/// is safe; this is only patience.
const LAUNCH: Duration = Duration::from_secs(5);

/// How long a supervisor may stand still while something is to be done, before it is let go on and
/// again before it is ended.
const STANDSTILL: Duration = Duration::from_secs(2);

/// The watching threads.
pub(crate) struct Attendants {
    output: Output,
    reader: Option<JoinHandle<()>>,
    sweeper: Option<(Sender<()>, JoinHandle<()>)>,
    listener: Option<(NewsQuit, JoinHandle<()>)>,
}

/// Where output is watched for. Cheap to clone; does nothing when nobody serves.
#[derive(Clone, Default)]
pub(crate) struct Output(Option<Arc<Watcher>>);

impl Output {
    pub(crate) fn watch(&self, run: &RunId, dir: &RunDir) {
        if let Some(watcher) = &self.0 {
            // The file must exist to be watched; the supervisor appends to it.
            let _ = create_empty(&dir.out_log());
            // Should the watch fail, the sweep reads the output once a second.
            let _ = watcher.watch(run, &dir.out_log());
        }
    }

    /// Has somebody look for new output of a run. `false` if nobody does that here.
    fn ask(&self, run: &RunId) -> bool {
        self.0.as_ref().is_some_and(|watcher| watcher.ask(run))
    }

    pub(crate) fn unwatch(&self, run: &RunId) {
        if let Some(watcher) = &self.0 {
            watcher.unwatch(run);
        }
    }
}

fn create_empty(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = careful::options();
    options.append(true).create(true).mode(0o600);
    options.open(path).map(drop)
}

impl Attendants {
    pub(crate) fn new(machine: &Arc<Machine>, jobs: &Jobs, serving: bool) -> Self {
        if !serving {
            return Self {
                output: Output::default(),
                reader: None,
                sweeper: None,
                listener: None,
            };
        }
        if let Err(error) = supervise::become_subreaper() {
            let message =
                format!("not a subreaper ({error}): a lost supervisor loses its exit status");
            machine
                .shared
                .log
                .say(LogLine::note("warn", "trouble", message));
        }
        let (output, reader) = watch_output(machine);
        let (stop, stopped) = channel();
        let sweeper = {
            let (machine, jobs, output) = (Arc::clone(machine), jobs.clone(), output.clone());
            let wakes = machine.shared.wakes.clone();
            vital::spawn("the sweep", wakes, move || {
                sweep_until(&stopped, &machine, &jobs, &output);
            })
        };
        let listener = start_listening(machine, jobs).unwrap_or_else(|error| {
            let message = format!("no news socket ({error}): ends are found by the sweep");
            machine
                .shared
                .log
                .say(LogLine::note("warn", "trouble", message));
            None
        });
        Self {
            output,
            reader,
            sweeper: Some((stop, sweeper)),
            listener,
        }
    }

    pub(crate) fn output(&self) -> Output {
        self.output.clone()
    }

    /// Ends the threads that ask for work.
    pub(crate) fn stop(&mut self) {
        if let Some((stop, sweeper)) = self.sweeper.take() {
            drop(stop);
            let _ = sweeper.join();
        }
        if let Some((quit, thread)) = self.listener.take() {
            quit.quit();
            let _ = thread.join();
        }
    }

    /// Ends the reading of output, once nobody else holds the watcher: from then on nothing of
    /// this daemon writes into a run's directory.
    pub(crate) fn close(&mut self) {
        self.output = Output::default();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Reads output as it is written, on one thread for all runs.
fn watch_output(machine: &Arc<Machine>) -> (Output, Option<JoinHandle<()>>) {
    match Watcher::new() {
        Ok((watcher, changes)) => {
            let machine = Arc::clone(machine);
            // Ends when the watcher is dropped.
            let wakes = machine.shared.wakes.clone();
            let reader = vital::spawn("the reading of output", wakes, move || {
                read_changes(&changes, &machine);
            });
            (Output(Some(Arc::new(watcher))), Some(reader))
        }
        Err(error) => {
            let message = format!("output cannot be watched ({error}): it is read once a second");
            machine
                .shared
                .log
                .say(LogLine::note("warn", "trouble", message));
            (Output::default(), None)
        }
    }
}

/// Reads one piece of each run that has something new, and more of those that are [`Behind`] when
/// it is their turn.
fn read_changes(changes: &Changes, machine: &Machine) {
    give_way();
    let mut behind = Behind::new(Instant::now());
    while let Some(wrote) = changes.within(behind.patience(Instant::now())) {
        for run in wrote {
            if !behind.has(&run) && read_piece(machine, &run, Some(changes)) {
                behind.add(run);
            }
        }
        let began = Instant::now();
        let due = behind.take(began);
        let is_due = !due.is_empty();
        for run in due {
            // Who is read again in any case need not say that it has written.
            if read_piece(machine, &run, None) || read_piece(machine, &run, Some(changes)) {
                behind.add(run);
            }
        }
        if is_due {
            behind.rest(began, Instant::now());
        }
    }
}

/// Reads one piece of a run; whether there is more. With `changes` what is written from now on is
/// told of.
fn read_piece(machine: &Machine, run: &RunId, changes: Option<&Changes>) -> bool {
    let Some(live) = machine.live(run) else {
        return false;
    };
    failpoint::hit(Point::OutputRead);
    if let Some(changes) = changes {
        changes.look(run, &live.dir.out_log());
    }
    machine.read_output(&live)
}

/// Has this thread run when agents do not want to: what they write is read after them and not in
/// their place. Nothing that decides about a run waits for it for longer than it takes to read a
/// piece.
fn give_way() {
    /// Of the twenty steps down that there are.
    #[cfg(target_os = "linux")]
    const NICE: i32 = 5;
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
}

fn start_listening(
    machine: &Arc<Machine>,
    jobs: &Jobs,
) -> io::Result<Option<(NewsQuit, JoinHandle<()>)>> {
    let listener = NewsListener::bind(&machine.shared.project.news_socket())?;
    let quit = listener.quit_handle()?;
    let (machine, jobs) = (Arc::clone(machine), jobs.clone());
    let wakes = machine.shared.wakes.clone();
    let thread = vital::spawn("the hearing of news", wakes, move || {
        listen(&listener, &machine, &jobs);
    });
    Ok(Some((quit, thread)))
}

fn listen(listener: &NewsListener, machine: &Arc<Machine>, jobs: &Jobs) {
    loop {
        let news = match listener.recv() {
            Ok(Some(news)) => news,
            Ok(None) => return,
            Err(error) => {
                let message = format!("no more news ({error}): ends are found by the sweep");
                return machine
                    .shared
                    .log
                    .say(LogLine::note("warn", "trouble", message));
            }
        };
        let Some(live) = machine.live(&news.run) else {
            continue;
        };
        match news.what {
            What::Started => machine.spawned(&live, convert::now()),
            What::Ended => {
                failpoint::hit(Point::EndHeard);
                let machine = Arc::clone(machine);
                jobs.queue(move || machine.inspect(&live));
            }
        }
    }
}

fn sweep_until(stopped: &Receiver<()>, machine: &Arc<Machine>, jobs: &Jobs, output: &Output) {
    while stopped.recv_timeout(SWEEP) == Err(RecvTimeoutError::Timeout) {
        failpoint::hit(Point::SweepBegun);
        if let Some(why) = machine.shared.lost_ground() {
            // Nothing more is looked at: what would be found could not be recorded.
            let _ = machine.shared.wakes.send(Wake::Broken(why));
            return;
        }
        // A process table that cannot be read now is read again in a second.
        let _ = supervise::reap_orphans();
        if !machine.shared.config_is_current() {
            let _ = machine.shared.wakes.send(Wake::Reload(None));
        }
        for live in machine.all_live() {
            // One look at a time: a queue that is not worked off must not grow.
            let busy = live.harvesting.load(Ordering::Acquire);
            if busy || live.sweeping.swap(true, Ordering::AcqRel) {
                continue;
            }
            let (machine, output) = (Arc::clone(machine), output.clone());
            jobs.queue(move || {
                if let Err(panic) = caught(|| machine.sweep(&live, &output)) {
                    machine.warn(&live.run.id, panic);
                }
                live.sweeping.store(false, Ordering::Release);
            });
        }
    }
}

/// The limit that a run has passed by what this daemon saw of it.
fn passed_limit(live: &LiveRun) -> Option<Enforced> {
    let length = |path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let bytes = length(live.dir.out_log()) + length(live.dir.err_log());
    locked(&live.limiter).check(live.watched(), bytes)
}

/// What is waited for while a supervisor stands still.
fn stopping(message: &str) -> Wait {
    Wait {
        code: WaitCode::Stopping,
        message: message.to_owned(),
        actor: Actor::Orch,
        until: None,
    }
}

impl Machine {
    /// One look at a run without news.
    fn sweep(&self, live: &Arc<LiveRun>, output: &Output) {
        // Should the news of a write have been lost.
        if !output.ask(&live.run.id) {
            while self.read_output(live) {}
        }
        self.tell_if_lingering(live);
        if live.stop_owed.load(Ordering::Acquire) {
            self.stop(&live.run.id);
        }
        match inspect(&live.dir, &live.run) {
            // Nothing of it is there and nothing is to be.
            Ok(Standing::Fresh) if live.stop_asked.load(Ordering::Acquire) => {
                self.abandon(&live.run.id, stopped_before_start(), Origin::Earlier);
            }
            // Its supervisor died, or was killed, before it could take the lock.
            Ok(Standing::Fresh) if live.watched() >= LAUNCH => {
                let (run, task) = (live.run.clone(), live.task.clone());
                self.start(run, task, Origin::Earlier, output);
            }
            Ok(standing) => {
                match standing {
                    Standing::Unsupervised { pid, .. } => {
                        self.tell_if_removed(live, pid);
                        self.mind_limits(live);
                    }
                    Standing::Running { .. } | Standing::Launching => {
                        self.mind_supervisor(live);
                        self.mind_record(live);
                    }
                    _ => {}
                }
                self.look(live, standing);
            }
            Err(error) => self.warn(
                &live.run.id,
                format!("its directory cannot be read: {error}"),
            ),
        }
    }

    /// Does what a supervisor would do, for an agent whose supervisor is dead: ends it when it is
    /// to stop or passes a limit. Its time is counted from when this daemon watches it, so it may
    /// get more than its limit and never less.
    fn mind_limits(&self, live: &LiveRun) {
        let passed = passed_limit(live);
        if let Some(passed) = passed {
            // First why, then the signal; should this daemon die in between, nobody can fetch
            // the status any more and the run is lost, whatever was noted.
            locked(&live.enforced).get_or_insert(passed);
        }
        if passed.is_some() || live.stop_asked.load(Ordering::Acquire) {
            self.stop(&live.run.id);
        }
    }

    /// A supervisor that was stopped by a signal does nothing: no limit holds, no cancel is heard
    /// and no end is recorded. When one of these is due, it is let go on; one that does not,
    /// because somebody stops it again and again, is ended, and this daemon does its work.
    fn mind_supervisor(&self, live: &LiveRun) {
        if let Err(error) = self.try_mind_supervisor(live) {
            let message = format!("its supervisor cannot be looked at: {error}");
            self.warn(&live.run.id, message);
        }
    }

    /// An end that its supervisor cannot write down is told: nothing else shows that its agent does
    /// not work any more. The supervisor tries it each second, whatever it was asked to do.
    fn mind_record(&self, live: &LiveRun) {
        match supervise::unwritten_end(&live.dir) {
            Ok(None) => {}
            Ok(Some(why)) => {
                let message =
                    format!("its agent has ended, which cannot be written down yet: {why}");
                let wait = Wait {
                    code: WaitCode::Ending,
                    message: message.clone(),
                    actor: Actor::Person,
                    until: None,
                };
                self.shared.hinder(&live.run.id, Some(wait));
                self.warn(&live.run.id, message);
            }
            Err(error) => {
                let message = format!("whether its end is recorded cannot be seen: {error}");
                self.warn(&live.run.id, message);
            }
        }
    }

    fn try_mind_supervisor(&self, live: &LiveRun) -> io::Result<()> {
        let mut standstill = locked(&live.standstill);
        let due = |shim: &StoppedShim| {
            let limit = || passed_limit(live).is_some();
            shim.agent_ended || live.stop_asked.load(Ordering::Acquire) || limit()
        };
        let Some(shim) = supervise::stopped_shim(&live.dir)?.filter(due) else {
            if standstill.take().is_some() {
                self.shared.hinder(&live.run.id, None);
            }
            return Ok(());
        };
        let state = standstill.get_or_insert_with(|| Standstill {
            since: Instant::now(),
            woken: false,
        });
        let pid = shim.pid;
        let message = match (state.since.elapsed() >= STANDSTILL, state.woken) {
            (false, _) => format!("its supervisor (pid {pid}) was stopped by a signal"),
            (true, false) => {
                shim.wake()?;
                *state = Standstill {
                    since: Instant::now(),
                    woken: true,
                };
                format!("its supervisor (pid {pid}) was stopped by a signal and is let go on")
            }
            (true, true) => {
                shim.end()?;
                format!(
                    "its supervisor (pid {pid}) is stopped by a signal again and again; it is \
                     ended, and the daemon does its work"
                )
            }
        };
        self.shared.hinder(&live.run.id, Some(stopping(&message)));
        self.warn(&live.run.id, message);
        Ok(())
    }

    /// Looks at how a run stands and takes in what it finds.
    fn inspect(&self, live: &Arc<LiveRun>) {
        match inspect(&live.dir, &live.run) {
            Ok(standing) => self.look(live, standing),
            Err(error) => self.warn(
                &live.run.id,
                format!("its directory cannot be read: {error}"),
            ),
        }
    }

    /// Turns new output into events and notes when the result has been seen. `true` if there is
    /// more to read at once.
    fn read_output(&self, live: &LiveRun) -> bool {
        match caught(|| self.try_read_output(live)) {
            Ok(Ok(more)) => return more,
            Ok(Err(error)) => {
                self.warn(&live.run.id, format!("its output cannot be read: {error}"));
            }
            Err(panic) => self.warn(&live.run.id, panic),
        }
        false
    }

    fn try_read_output(&self, live: &LiveRun) -> io::Result<bool> {
        let mut held = locked(&live.transcript);
        // Asked under the lock: whoever harvests has said so before waiting for it.
        if live.harvesting.load(Ordering::Acquire) {
            return Ok(false);
        }
        let mut transcript = match held.take() {
            Some(transcript) => transcript,
            // Said once, by the sweep; there is nothing to read and never will be.
            None if !live.dir.out_log().try_exists()? => return Ok(false),
            None => Transcript::open(live.dir.clone(), live.adapter)?,
        };
        let advance = transcript.advance_a_piece(convert::now())?;
        *held = Some(transcript);
        drop(held);
        if advance.terminal_seen {
            locked(&live.result_seen).get_or_insert_with(Instant::now);
        }
        self.say(live);
        self.shared.publish_output();
        Ok(advance.more)
    }

    /// Says once that nothing a run does can be recorded any more, and that it lives all the same.
    fn tell_if_removed(&self, live: &LiveRun, pid: i32) {
        let removed = matches!(live.dir.path().try_exists(), Ok(false));
        if removed && !live.removal_told.swap(true, Ordering::AcqRel) {
            let gone = live.dir.path().display();
            let message = format!(
                "{gone} was removed while it runs (pid {pid}): its output is gone and its end \
                 will be lost"
            );
            self.warn(&live.run.id, message);
        }
    }

    fn tell_if_lingering(&self, live: &LiveRun) {
        let seen = *locked(&live.result_seen);
        let lingers = seen.is_some_and(|since| since.elapsed() >= LINGER);
        if lingers && !live.lingering_told.swap(true, Ordering::AcqRel) {
            self.tell(Input::Lingers {
                run: live.run.id.clone(),
            });
        }
    }
}
