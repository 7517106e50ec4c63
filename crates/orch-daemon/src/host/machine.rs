//! What every worker thread needs: the runs in hand, the worktrees, and the way to the loop.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use orch_core::engine::{End, Input, Landing, Report};
use orch_core::run::{Failure, Run};
use orch_core::task::{Task, WorkspaceMode};
use orch_core::{RunId, TaskId};
use orch_host::run_dir::RunDir;
use orch_host::supervise::{self, Launcher, StopSent};
use orch_host::workspace::{WorkspaceError, Workspaces};

use super::live::LiveRun;
use super::start::shim_program;
use crate::cleanup;
use crate::convert;
use crate::log::{LogLine, chain};
use crate::shared::{Shared, locked};
use crate::space;
use crate::vital::caught;
use crate::wake::Wake;

/// What every worker thread needs.
pub(crate) struct Machine {
    pub(super) shared: Arc<Shared>,
    pub(super) launcher: Launcher,
    pub(super) runs: Mutex<BTreeMap<RunId, Arc<LiveRun>>>,
    /// Made for a configured target, and made again when another is configured.
    pub(super) workspaces: Mutex<Option<(Option<String>, Arc<Workspaces>)>>,
    warned: Mutex<Warned>,
}

impl Machine {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            launcher: Launcher::new(shim_program()),
            runs: Mutex::default(),
            workspaces: Mutex::default(),
            warned: Mutex::default(),
        }
    }

    pub(super) fn tell(&self, input: Input) {
        // The loop is gone only when the daemon is; the next one finds everything on disk.
        let _ = self.shared.wakes.send(Wake::Host(input));
    }

    pub(super) fn tell_ended(&self, run: &RunId, report: Report) {
        self.tell(Input::Ended {
            run: run.clone(),
            report: Box::new(report),
        });
    }

    pub(super) fn tell_failed(&self, run: &RunId, failure: Failure) {
        self.tell_ended(run, Report::bare(End::NotStarted(failure), convert::now()));
    }

    /// Says what is wrong with a run. The same words about the same run are said once a minute:
    /// whatever is tried again each second would fill the log.
    pub(super) fn warn(&self, run: &RunId, message: String) {
        if !locked(&self.warned).is_news(run, &message, Instant::now()) {
            return;
        }
        let mut line = LogLine::note("warn", "trouble", message);
        line.run = Some(run.to_string());
        self.shared.log.say(line);
    }

    /// Whether a failure that was described so is one of the disk that is full.
    pub(super) fn lacks_space(&self, said: &str) -> bool {
        let project = &self.shared.project;
        space::is_lack_of_space(said, [project.state.as_path(), project.root.as_path()])
    }

    pub(super) fn live(&self, run: &RunId) -> Option<Arc<LiveRun>> {
        locked(&self.runs).get(run).cloned()
    }

    pub(super) fn all_live(&self) -> Vec<Arc<LiveRun>> {
        locked(&self.runs).values().cloned().collect()
    }

    /// Asks a run to end. What could not be asked or ended is asked again by the sweep. `true` if
    /// nothing of it is known to live any more.
    pub(super) fn stop(&self, run: &RunId) -> bool {
        let live = self.live(run);
        if let Some(live) = &live {
            live.stop_asked.store(true, Ordering::Release);
        }
        let dir = RunDir::new(&self.shared.project.runs(), run);
        let (owed, over) = match supervise::stop(&dir) {
            Ok(StopSent::Killed { survivors, .. }) => (survivors > 0, survivors == 0),
            Ok(StopSent::Shim) => (false, false),
            Ok(StopSent::Nothing) => (false, true),
            Err(error) => {
                self.warn(run, format!("could not be stopped: {error}"));
                (true, false)
            }
        };
        if let Some(live) = live {
            live.stop_owed.store(owed, Ordering::Release);
        }
        over
    }

    /// The worktrees, for the target that the configuration names now. Without one it is the branch
    /// that was checked out when it was first needed.
    pub(super) fn workspaces(&self) -> Result<Arc<Workspaces>, WorkspaceError> {
        let wanted = self.shared.config().target.clone();
        let mut made = locked(&self.workspaces);
        if let Some((target, workspaces)) = made.as_ref()
            && *target == wanted
        {
            return Ok(Arc::clone(workspaces));
        }
        let workspaces = Arc::new(cleanup::workspaces(
            &self.shared.project,
            wanted.as_deref(),
        )?);
        *made = Some((wanted, Arc::clone(&workspaces)));
        Ok(workspaces)
    }

    pub(super) fn land(&self, task: &Task, run: Option<&Run>) {
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

    /// Takes away what a deleted task left. What fails is done by the next daemon's clean-up.
    pub(super) fn discard(&self, task: &Task, runs: &[RunId]) {
        let discarded = cleanup::discard_runs(&self.shared.project, &task.id, runs);
        if let Err(error) = discarded {
            self.warn_task(&task.id, chain(&error));
        }
        if task.workspace != WorkspaceMode::Worktree || task.runs == 0 {
            return;
        }
        let discarded = self
            .workspaces()
            .and_then(|workspaces| workspaces.discard(&task.id, &task.branch()));
        if let Err(error) = discarded {
            self.warn_task(&task.id, chain(&error));
        }
    }

    fn warn_task(&self, task: &TaskId, message: String) {
        let mut line = LogLine::note("warn", "trouble", message);
        line.task = Some(task.to_string());
        self.shared.log.say(line);
    }
}

/// What was said of runs lately.
#[derive(Debug, Default)]
struct Warned(BTreeMap<(RunId, String), Instant>);

impl Warned {
    /// How long the same words are not repeated.
    const QUIET: Duration = Duration::from_secs(60);
    /// Most sayings that are remembered; beyond that everything is said.
    const REMEMBERED: usize = 4_096;

    fn is_news(&mut self, run: &RunId, message: &str, now: Instant) -> bool {
        let is_recent = |said: &Instant| now.duration_since(*said) < Self::QUIET;
        if self.0.len() >= Self::REMEMBERED {
            self.0.retain(|_, said| is_recent(said));
        }
        let key = (run.clone(), message.to_owned());
        if self.0.get(&key).is_some_and(is_recent) {
            return false;
        }
        if self.0.len() < Self::REMEMBERED {
            self.0.insert(key, now);
        }
        true
    }
}

const fn blocked(message: String) -> Landing {
    Landing::Blocked {
        message,
        files: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_about_a_run_are_said_once_a_minute() {
        let mut warned = Warned::default();
        let (one, other) = (RunId::from_entropy(1), RunId::from_entropy(2));
        let now = Instant::now();
        assert!(warned.is_news(&one, "no room", now));
        assert!(!warned.is_news(&one, "no room", now + Duration::from_secs(59)));
        assert!(warned.is_news(&one, "no file", now));
        assert!(warned.is_news(&other, "no room", now));
        assert!(warned.is_news(&one, "no room", now + Warned::QUIET));
    }
}
