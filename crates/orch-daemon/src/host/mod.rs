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
use std::time::Instant;

use orch_core::RunId;
use orch_core::engine::{Effect, End, Input, Landing, Report};
use orch_core::run::{Failure, FailureCode, Run};
use orch_core::task::{Task, WorkspaceMode};
use orch_host::adapter::Adapter;
use orch_host::git::{BranchName, Repository};
use orch_host::run_dir::RunDir;
use orch_host::supervise;
use orch_host::transcript::Transcript;
use orch_host::workspace::{WorkspaceError, Workspaces};

use crate::convert;
use crate::engine_loop::{Wake, chain};
use crate::log::LogLine;
use crate::shared::{Shared, locked};

use attend::Attendants;
use jobs::Jobs;

/// The hands of the loop.
pub(crate) struct Host {
    machine: Arc<Machine>,
    jobs: Jobs,
    attendants: Attendants,
}

/// What every worker thread needs.
pub(crate) struct Machine {
    shared: Arc<Shared>,
    runs: Mutex<BTreeMap<RunId, Arc<LiveRun>>>,
    workspaces: OnceLock<Workspaces>,
    /// Two landings at once would only make each other try again.
    landing: Mutex<()>,
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
    /// Since when it is watched.
    since: Instant,
}

impl Host {
    /// `serving` also watches the output of runs; a command without a daemon only looks once.
    pub(crate) fn new(shared: Arc<Shared>, serving: bool) -> Self {
        let machine = Arc::new(Machine {
            shared,
            runs: Mutex::default(),
            workspaces: OnceLock::new(),
            landing: Mutex::default(),
        });
        let wakes = machine.shared.wakes.clone();
        let jobs = Jobs::new(move || drop(wakes.send(Wake::HostIdle)));
        let attendants = Attendants::new(&machine, &jobs, serving);
        Self {
            machine,
            jobs,
            attendants,
        }
    }

    /// Performs an effect on a worker thread; its result comes back as an input.
    pub(crate) fn perform(&self, effect: Effect) {
        let machine = Arc::clone(&self.machine);
        match effect {
            Effect::Start { run, task } => {
                let output = self.attendants.output();
                self.jobs.queue(move || machine.start(*run, *task, &output));
            }
            Effect::Adopt { run, task } => {
                let output = self.attendants.output();
                self.jobs.queue(move || machine.adopt(*run, *task, &output));
            }
            Effect::Stop { run, .. } => self.jobs.queue(move || machine.stop(&run)),
            Effect::Land { task, run } => {
                self.jobs.queue(move || machine.land(&task, run.as_deref()));
            }
            Effect::Discard { task } => self.jobs.queue(move || machine.discard(&task)),
        }
    }

    /// Whether nothing is being performed.
    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_idle()
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
        self.attendants.close();
        self.jobs.close();
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

    fn stop(&self, run: &RunId) {
        let dir = RunDir::new(&self.shared.project.runs(), run);
        if let Err(error) = supervise::stop(&dir) {
            self.warn(run, format!("could not be stopped: {error}"));
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
            WorkspaceMode::Worktree => self.land_branch(task, run),
        };
        self.tell(Input::Landed {
            task: task.id.clone(),
            landing,
        });
    }

    fn land_branch(&self, task: &Task, run: Option<&Run>) -> Landing {
        let _one_at_a_time = locked(&self.landing);
        let branch = run
            .and_then(|run| run.branch.clone())
            .unwrap_or_else(|| task.branch());
        let message = format!("Merge {branch}: {}", task.title);
        let landed = self
            .workspaces()
            .and_then(|workspaces| workspaces.land(&task.id, &branch, &message));
        landed.unwrap_or_else(|error| Landing::Blocked {
            message: chain(&error),
            files: Vec::new(),
        })
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
    fn new(run: Run, task: Task, dir: RunDir, adapter: &'static Adapter) -> Self {
        Self {
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
            since: Instant::now(),
        }
    }

    /// Whether this caller is the one to look after the end.
    fn claim_harvest(&self) -> bool {
        !self.harvesting.swap(true, Ordering::AcqRel)
    }

    fn release_harvest(&self) {
        self.harvesting.store(false, Ordering::Release);
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
