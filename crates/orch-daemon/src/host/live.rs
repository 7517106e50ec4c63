//! A run in hand: what is known about it in memory, all of which comes back from its directory.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use orch_core::outcome::Enforced;
use orch_core::run::Run;
use orch_core::task::Task;
use orch_host::adapter::Adapter;
use orch_host::run_dir::RunDir;
use orch_host::supervise::{Limiter, Limits};
use orch_host::transcript::Transcript;

use crate::shared::locked;

/// A run whose end has not been recorded yet.
pub(crate) struct LiveRun {
    pub(super) run: Run,
    pub(super) task: Task,
    pub(super) dir: RunDir,
    pub(super) adapter: &'static Adapter,
    pub(super) transcript: Mutex<Option<Transcript>>,
    /// When the result event was seen, if it was.
    pub(super) result_seen: Mutex<Option<Instant>>,
    /// How much of its events has been said in the log.
    pub(super) said: Mutex<u64>,
    pub(super) lingering_told: AtomicBool,
    pub(super) spawned_told: AtomicBool,
    /// A supervisor may have been started for it, by this daemon or by an earlier one.
    pub(super) launched: AtomicBool,
    /// That its directory was removed under it.
    pub(super) removal_told: AtomicBool,
    pub(super) harvesting: AtomicBool,
    /// How often looking after its end has panicked.
    pub(super) panics: AtomicU32,
    /// The last try to commit its work found no room on the disk.
    pub(super) lacked_room: AtomicBool,
    /// A look at it waits for a worker or is under way.
    pub(super) sweeping: AtomicBool,
    /// It was asked to stop.
    pub(super) stop_asked: AtomicBool,
    /// The asking failed and is to be done again.
    pub(super) stop_owed: AtomicBool,
    /// Since when its supervisor stands still although something is to be done, and how far it was
    /// gone about that.
    pub(super) standstill: Mutex<Option<Standstill>>,
    /// Its limits, for as long as no supervisor minds them.
    pub(super) limiter: Mutex<Limiter>,
    /// The limit for which this daemon ended it.
    pub(super) enforced: Mutex<Option<Enforced>>,
    /// Since when it is watched.
    pub(super) since: Mutex<Instant>,
}

/// A supervisor that stands still although something is to be done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standstill {
    pub(super) since: Instant,
    pub(super) woken: bool,
}

impl LiveRun {
    pub(super) fn new(
        run: Run,
        task: Task,
        dir: RunDir,
        adapter: &'static Adapter,
        limits: &Limits,
    ) -> Self {
        Self {
            stop_asked: AtomicBool::new(run.stop.is_some()),
            stop_owed: AtomicBool::new(false),
            standstill: Mutex::new(None),
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
            launched: AtomicBool::new(false),
            removal_told: AtomicBool::new(false),
            harvesting: AtomicBool::new(false),
            panics: AtomicU32::new(0),
            lacked_room: AtomicBool::new(false),
            sweeping: AtomicBool::new(false),
            since: Mutex::new(Instant::now()),
        }
    }

    /// Whether this caller is the one to look after the end.
    pub(super) fn claim_harvest(&self) -> bool {
        !self.harvesting.swap(true, Ordering::AcqRel)
    }

    /// How long it has been watched, in time during which the machine was awake.
    pub(super) fn watched(&self) -> Duration {
        locked(&self.since).elapsed()
    }

    pub(super) fn release_harvest(&self) {
        self.harvesting.store(false, Ordering::Release);
    }
}
