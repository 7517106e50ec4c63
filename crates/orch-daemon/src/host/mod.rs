//! Where effects are performed: worker threads that touch the machine, and the watch over runs.
//!
//! Everything here answers with inputs to the loop and may be done twice. What it knows about a
//! run in memory is a convenience: after a crash all of it comes back from the run directory.

mod attend;
mod behind;
mod harvest;
mod jobs;
mod live;
mod machine;
mod output;
mod say;
mod start;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use orch_core::RunId;
use orch_core::engine::Effect;

use crate::shared::{Shared, locked};
use crate::wake::Wake;

use attend::Attendants;
use jobs::Jobs;
use machine::Machine;
use start::Origin;

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
    tells_idleness: Arc<AtomicBool>,
}

impl Host {
    /// `serving` also watches the output of runs; a command without a daemon only looks once.
    pub(crate) fn new(shared: Arc<Shared>, serving: bool) -> Self {
        let machine = Arc::new(Machine::new(shared));
        let tells_idleness = Arc::new(AtomicBool::new(true));
        let jobs = |workers| {
            let wakes = machine.shared.wakes.clone();
            let tells = Arc::clone(&tells_idleness);
            Jobs::new(workers, move || {
                if tells.load(Ordering::SeqCst) {
                    let _ = wakes.send(Wake::HostIdle);
                }
            })
        };
        let (looks, starts, landings) = (jobs(LOOKERS), jobs(STARTERS), jobs(LANDERS));
        let attendants = Attendants::new(&machine, &looks, serving);
        Self {
            machine,
            looks,
            starts,
            landings,
            attendants,
            tells_idleness,
        }
    }

    /// Whether to wake the loop when everything is performed. To be asked for before
    /// [`is_idle`](Self::is_idle): either that finds the work done, or its end is told.
    pub(crate) fn tell_when_idle(&self, tell: bool) {
        self.tells_idleness.store(tell, Ordering::SeqCst);
    }

    /// Performs an effect on a worker thread; its result comes back as an input.
    pub(crate) fn perform(&self, effect: Effect) {
        let machine = Arc::clone(&self.machine);
        match effect {
            Effect::Start { run, task } => {
                let output = self.attendants.output();
                self.starts
                    .queue(move || machine.start(*run, *task, Origin::New, &output));
            }
            Effect::Adopt { run, task } => {
                let output = self.attendants.output();
                self.looks
                    .queue(move || machine.adopt(*run, *task, &output));
            }
            Effect::Stop { run, .. } => self.looks.queue(move || {
                let _ = machine.stop(&run);
            }),
            Effect::Land { task, run } => {
                self.landings
                    .queue(move || machine.land(&task, run.as_deref()));
            }
            Effect::Discard { task, runs } => {
                self.landings.queue(move || machine.discard(&task, &runs));
            }
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
        self.machine.shared.hinder(run, None);
        if locked(&self.machine.runs).remove(run).is_some() {
            self.attendants.output().unwatch(run);
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
