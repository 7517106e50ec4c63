//! Where effects are performed: worker threads that touch the machine, and the watch over runs.
//!
//! Everything here answers with inputs to the loop and may be done twice. What it knows about a
//! run in memory is a convenience: after a crash all of it comes back from the run directory.

mod attend;
mod harvest;
mod jobs;
mod say;
mod start;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use orch_core::RunId;
use orch_core::engine::{Effect, End, Input, Landing, Report};
use orch_core::outcome::Enforced;
use orch_core::run::{Failure, FailureCode, Run};
use orch_core::task::{Task, WorkspaceMode};
use orch_host::adapter::Adapter;
use orch_host::git::{BranchName, Repository};
use orch_host::run_dir::RunDir;
use orch_host::supervise::{self, Limiter, Limits, StopSent};
use orch_host::transcript::Transcript;
use orch_host::workspace::{WorkspaceError, Workspaces};

use crate::convert;
use crate::engine_loop::{Wake, chain};
use crate::log::LogLine;
use crate::shared::{Shared, locked};

use attend::Attendants;
use jobs::{Jobs, caught};

/// Threads that look at runs and stop them. A completion waits for nothing else.
const LOOKERS: usize = 8;
/// Threads that start agents. Making a worktree may take long, and git lets one be made at a time.
const STARTERS: usize = 4;
/// Threads that land branches: two landings at once would only make each other try again.
const LANDERS: usize = 1;

/// The hands of the loop.
pub(crate) struct Host {
    machine: Arc<Machine>,
    looks: Jobs,
    starts: Jobs,
    landings: Jobs,
    attendants: Attendants,
}

/// What every worker thread needs.
pub(crate) struct Machine {
    shared: Arc<Shared>,
    runs: Mutex<BTreeMap<RunId, Arc<LiveRun>>>,
    workspaces: OnceLock<Workspaces>,
}

/// A run whose end has not been recorded yet.
pub(crate) struct LiveRun {
    run: Run,
    task: Task,
    dir: RunDir,
    adapter: &'static Adapter,
    transcript: Mutex<Option<Transcript>>,
    /// When the result event was seen, if it was.
    result_seen: Mutex<Option<Instant>>,
    /// How much of its events has been said in the log.
    said: Mutex<u64>,
    lingering_told: AtomicBool,
    spawned_told: AtomicBool,
    harvesting: AtomicBool,
    /// A look at it waits for a worker or is under way.
    sweeping: AtomicBool,
    /// It was asked to stop.
    stop_asked: AtomicBool,
    /// The asking failed and is to be done again.
    stop_owed: AtomicBool,
    /// Its limits, for as long as no supervisor minds them.
    limiter: Mutex<Limiter>,
    /// The limit for which this daemon ended it.
    enforced: Mutex<Option<Enforced>>,
    /// Since when it is watched.
    since: Mutex<Instant>,
}

impl Host {
    /// `serving` also watches the output of runs; a command without a daemon only looks once.
    pub(crate) fn new(shared: Arc<Shared>, serving: bool) -> Self {
        let machine = Arc::new(Machine {
            shared,
            runs: Mutex::default(),
            workspaces: OnceLock::new(),
        });
        let jobs = |workers| {
            let wakes = machine.shared.wakes.clone();
            Jobs::new(workers, move || drop(wakes.send(Wake::HostIdle)))
        };
        let (looks, starts, landings) = (jobs(LOOKERS), jobs(STARTERS), jobs(LANDERS));
        let attendants = Attendants::new(&machine, &looks, serving);
        Self {
            machine,
            looks,
            starts,
            landings,
            attendants,
        }
    }

    /// Performs an effect on a worker thread; its result comes back as an input.
    pub(crate) fn perform(&self, effect: Effect) {
        let machine = Arc::clone(&self.machine);
        match effect {
            Effect::Start { run, task } => {
                let output = self.attendants.output();
                self.starts
                    .queue(move || machine.start(*run, *task, &output));
            }
            Effect::Adopt { run, task } => {
                let output = self.attendants.output();
                self.looks
                    .queue(move || machine.adopt(*run, *task, &output));
            }
            Effect::Stop { run, .. } => self.looks.queue(move || machine.stop(&run)),
            Effect::Land { task, run } => {
                self.landings
                    .queue(move || machine.land(&task, run.as_deref()));
            }
            Effect::Discard { task } => self.landings.queue(move || machine.discard(&task)),
        }
    }

    /// Whether nothing is being performed.
    pub(crate) fn is_idle(&self) -> bool {
        self.all_jobs().iter().all(|jobs| jobs.is_idle())
    }

    const fn all_jobs(&self) -> [&Jobs; 3] {
        [&self.looks, &self.starts, &self.landings]
    }

    /// Lets go of a run whose end is recorded.
    pub(crate) fn forget(&self, run: &RunId) {
        if let Some(live) = locked(&self.machine.runs).remove(run) {
            self.attendants.output().unwatch(&live.dir);
        }
    }

    /// The end of this run could not be recorded: the sweep comes back to it.
    pub(crate) fn look_again(&self, run: &RunId) {
        if let Some(live) = self.machine.live(run) {
            live.release_harvest();
        }
    }

    /// Ends the threads. What is being performed is finished first.
    pub(crate) fn close(&mut self) {
        self.attendants.stop();
        self.all_jobs().iter().for_each(|jobs| jobs.close());
        // Last: jobs hold the watcher of output, too.
        self.attendants.close();
    }
}

impl Machine {
    fn tell(&self, input: Input) {
        // The loop is gone only when the daemon is; the next one finds everything on disk.
        let _ = self.shared.wakes.send(Wake::Host(input));
    }

    fn tell_ended(&self, run: &RunId, report: Report) {
        self.tell(Input::Ended {
            run: run.clone(),
            report: Box::new(report),
        });
    }

    fn tell_failed(&self, run: &RunId, failure: Failure) {
        self.tell_ended(run, Report::bare(End::NotStarted(failure), convert::now()));
    }

    fn warn(&self, run: &RunId, message: String) {
        let mut line = LogLine::note("warn", "trouble", message);
        line.run = Some(run.to_string());
        (self.shared.log)(&line);
    }

    fn live(&self, run: &RunId) -> Option<Arc<LiveRun>> {
        locked(&self.runs).get(run).cloned()
    }

    fn all_live(&self) -> Vec<Arc<LiveRun>> {
        locked(&self.runs).values().cloned().collect()
    }

    /// Asks a run to end. What could not be asked or ended is asked again by the sweep.
    fn stop(&self, run: &RunId) {
        let live = self.live(run);
        if let Some(live) = &live {
            live.stop_asked.store(true, Ordering::Release);
        }
        let dir = RunDir::new(&self.shared.project.runs(), run);
        let owed = match supervise::stop(&dir) {
            Ok(StopSent::Killed { survivors, .. }) => survivors > 0,
            Ok(StopSent::Shim | StopSent::Nothing) => false,
            Err(error) => {
                self.warn(run, format!("could not be stopped: {error}"));
                true
            }
        };
        if let Some(live) = live {
            live.stop_owed.store(owed, Ordering::Release);
        }
    }

    fn workspaces(&self) -> Result<&Workspaces, WorkspaceError> {
        if let Some(workspaces) = self.workspaces.get() {
            return Ok(workspaces);
        }
        let project = &self.shared.project;
        let repository = Repository::discover(&project.root)?;
        let target = match &self.shared.config().target {
            Some(target) => target.parse::<BranchName>()?,
            None => repository
                .current_branch()?
                .ok_or(WorkspaceError::TargetUnknown)?,
        };
        let workspaces = Workspaces::new(repository, &project.worktrees(), target);
        Ok(self.workspaces.get_or_init(|| workspaces))
    }

    fn land(&self, task: &Task, run: Option<&Run>) {
        let landing = match task.workspace {
            WorkspaceMode::Shared => Landing::Landed { commit: None },
            WorkspaceMode::Worktree => {
                caught(|| self.land_branch(task, run)).unwrap_or_else(blocked)
            }
        };
        self.tell(Input::Landed {
            task: task.id.clone(),
            landing,
        });
    }

    fn land_branch(&self, task: &Task, run: Option<&Run>) -> Landing {
        let branch = run
            .and_then(|run| run.branch.clone())
            .unwrap_or_else(|| task.branch());
        let message = format!("Merge {branch}: {}", task.title);
        let landed = self
            .workspaces()
            .and_then(|workspaces| workspaces.land(&task.id, &branch, &message));
        landed.unwrap_or_else(|error| blocked(chain(&error)))
    }

    fn discard(&self, task: &Task) {
        if task.workspace != WorkspaceMode::Worktree || task.runs == 0 {
            return;
        }
        let discarded = self
            .workspaces()
            .and_then(|workspaces| workspaces.discard(&task.id, &task.branch()));
        if let Err(error) = discarded {
            let mut line = LogLine::note("warn", "trouble", chain(&error));
            line.task = Some(task.id.to_string());
            (self.shared.log)(&line);
        }
    }
}

impl LiveRun {
    fn new(run: Run, task: Task, dir: RunDir, adapter: &'static Adapter, limits: &Limits) -> Self {
        Self {
            stop_asked: AtomicBool::new(run.stop.is_some()),
            stop_owed: AtomicBool::new(false),
            limiter: Mutex::new(Limiter::new(limits)),
            enforced: Mutex::new(None),
            run,
            task,
            dir,
            adapter,
            transcript: Mutex::new(None),
            result_seen: Mutex::new(None),
            said: Mutex::new(0),
            lingering_told: AtomicBool::new(false),
            spawned_told: AtomicBool::new(false),
            harvesting: AtomicBool::new(false),
            sweeping: AtomicBool::new(false),
            since: Mutex::new(Instant::now()),
        }
    }

    /// Whether this caller is the one to look after the end.
    fn claim_harvest(&self) -> bool {
        !self.harvesting.swap(true, Ordering::AcqRel)
    }

    /// How long it has been watched, in time during which the machine was awake.
    fn watched(&self) -> Duration {
        locked(&self.since).elapsed()
    }

    fn release_harvest(&self) {
        self.harvesting.store(false, Ordering::Release);
    }
}

const fn blocked(message: String) -> Landing {
    Landing::Blocked {
        message,
        files: Vec::new(),
    }
}

/// A failure of the machine before the agent could be started.
fn failure(code: FailureCode, message: impl Into<String>, evidence: impl Into<String>) -> Failure {
    Failure {
        code,
        message: message.into(),
        evidence: evidence.into(),
    }
}
