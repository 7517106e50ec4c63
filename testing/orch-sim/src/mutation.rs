//! Faults of orch itself, injected on purpose: each must be caught by the checker named for it.

use orch_core::Timestamp;
use orch_core::event::{Event, EventKind};
use orch_core::ledger::Candidate;
use orch_core::run::{Exit, FailureCode, Outcome, Run, RunState};
use orch_core::task::{Lane, Task, TaskState};

use crate::rows::{Change, Commit, Rows};

macro_rules! mutations {
    ($( $(#[$meta:meta])* $name:ident => $promise:literal, )+) => {
        /// A way in which orch could be wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutation { $( $(#[$meta])* $name, )+ }

        impl Mutation {
            /// Every mutation.
            pub const ALL: &'static [Self] = &[$( Self::$name, )+];

            /// The promise whose checker must catch it.
            #[must_use]
            pub const fn promise(self) -> &'static str {
                match self { $( Self::$name => $promise, )+ }
            }
        }
    };
}

mutations! {
    /// The daemon ignores the end of a run: it never reads a record again.
    IgnoresRecords => "no_stale_running",
    /// The daemon hears no news and does not sweep.
    DoesNotSweep => "no_stale_running",
    /// A shim that died before its lock is not replaced by the daemon that started it.
    NeverLaunchesAgain => "no_stale_running",
    /// An exit status nobody saw becomes 137.
    InventsExit => "exact_status",
    /// A signal is folded into 128 + n.
    FoldsSignals => "exact_status",
    /// A record that is there is called lost.
    LosesRecords => "exact_status",
    /// The store lets a run that has ended be written again.
    RewritesEndedRuns => "terminal_is_final",
    /// Run and task are written in two transactions.
    TwoTransactions => "one_transaction",
    /// The task's row is not written when its run ends.
    DropsTaskWrite => "one_transaction",
    /// The run's row is not written when it ends.
    DropsRunWrite => "one_transaction",
    /// An agent that said nothing has succeeded.
    InventsSuccess => "success_needs_proof",
    /// A failure is recorded without evidence.
    DropsEvidence => "failure_has_reason",
    /// A shim starts its agent although another one passed the gate.
    NoLaunchGate => "one_start_per_attempt",
    /// After a reboot the files of a launch are believed, of which some are gone.
    ForgetsBoot => "one_start_per_attempt",
    /// A run that is asked to stop is taken for dead at once.
    TakesStoppingForDead => "terminal_means_dead",
    /// Effects happen before their rows are committed.
    ActsBeforeRecording => "record_then_act",
    /// The plan does not see the live runs.
    ForgetsLiveRuns => "slots_within_caps",
    /// A dependency that is met is not counted down.
    DropsCountdown => "unmet_is_exact",
    /// A task starts before what it waits for is done.
    IgnoresDependencies => "dependants_start_after",
    /// A task is called done before its branch has landed.
    SkipsLanding => "done_has_landed",
    /// A branch is put on the target twice.
    LandsTwice => "done_has_landed",
    /// A hold ends before its time.
    ShortensHolds => "backoff_is_honoured",
    /// A limit uses up an attempt.
    ChargesLimits => "attempts_are_counted",
    /// The youngest task goes first.
    ReversesQueue => "priority_then_age",
    /// Tasks that ask for labels are overlooked.
    OverlooksLabels => "no_idle_agent",
    /// A run begins with a session of its own although there is one to go on with.
    ForgetsSessions => "sessions_go_on",
    /// A success that left nothing is one although something is required.
    OverlooksEmptiness => "success_needs_proof",
    /// A fact is not written down.
    DropsEvents => "events_tell_all",
    /// A fact gets a number twice.
    RepeatsEventNumbers => "events_tell_all",
    /// A refused request leaves something behind.
    RefusalWrites => "refusals_change_nothing",
    /// The daemon sends no stop.
    IgnoresStop => "every_task_moves",
    /// The daemon sets no timer.
    ForgetsTimers => "every_task_moves",
    /// The daemon forgets what an earlier one left to do.
    ForgetsResume => "every_task_moves",
    /// A task that waits for the clock does not say so.
    ExplainsNothing => "one_wait_reason",
    /// Nothing is ever started.
    NeverStarts => "everything_settles",
    /// The store changes a row by itself.
    StoreForgets => "committed_is_stored",
    /// Tasks are woken that do not sleep.
    WakesTheWaking => "every_step_is_legal",
}

/// What a lying ledger says instead of the truth.
pub(crate) struct Lie(pub(crate) Option<Mutation>);

impl Lie {
    fn is(&self, mutation: Mutation) -> bool {
        self.0 == Some(mutation)
    }

    /// The row to write instead; `None` writes nothing.
    pub(crate) fn about_task(&self, before: Option<&Task>, task: &Task) -> Option<Task> {
        let was_at_work =
            before.is_some_and(|task| matches!(task.state, TaskState::InProgress { .. }));
        let is_at_work = matches!(task.state, TaskState::InProgress { .. });
        let parted = self.is(Mutation::DropsTaskWrite) || self.is(Mutation::TwoTransactions);
        if parted && was_at_work && !is_at_work && task.updated_at.0 % 2 == 0 {
            return None;
        }
        let mut task = task.clone();
        let limited = matches!(task.state, TaskState::Todo { hold: Some(_) });
        if self.is(Mutation::ChargesLimits) && was_at_work && limited {
            task.attempts += 1;
        }
        Some(task)
    }

    /// The row to write instead; `None` writes nothing.
    pub(crate) fn about_run(&self, run: &Run) -> Option<Run> {
        let mut run = run.clone();
        let RunState::Ended(ending) = &mut run.state else {
            return Some(run);
        };
        match (self.0, ending.exit, &mut ending.outcome) {
            (Some(Mutation::DropsRunWrite), ..) => return None,
            (Some(Mutation::InventsExit), None, Outcome::Lost(_)) => {
                ending.exit = Some(Exit::Code(137));
            }
            (Some(Mutation::FoldsSignals), Some(Exit::Signal { number, .. }), _) => {
                ending.exit = Some(Exit::Code(128 + number));
            }
            (Some(Mutation::InventsSuccess), Some(Exit::Code(0)), outcome) => {
                *outcome = Outcome::Completed;
            }
            (Some(Mutation::OverlooksEmptiness), _, Outcome::Failed(failure))
                if failure.code == FailureCode::NoChanges =>
            {
                ending.outcome = Outcome::Completed;
            }
            (Some(Mutation::DropsEvidence), _, Outcome::Failed(failure)) => {
                // The store refuses an empty one.
                failure.evidence = "?".to_owned();
            }
            _ => {}
        }
        Some(run)
    }

    /// The run to insert instead of this one.
    pub(crate) fn about_new_run(&self, run: &Run) -> Option<Run> {
        self.is(Mutation::ForgetsSessions).then(|| Run {
            resumed_session: None,
            ..run.clone()
        })
    }

    /// The row to insert instead of this one.
    pub(crate) fn about_new_task(&self, task: &Task) -> Option<Task> {
        self.is(Mutation::IgnoresDependencies).then(|| Task {
            unmet: 0,
            ..task.clone()
        })
    }

    /// What the checkers are shown in place of the number of a fact.
    pub(crate) fn about_number(&self, event: &Event, number: u64) -> u64 {
        let repeats = self.is(Mutation::RepeatsEventNumbers) && event.kind == EventKind::RunEnded;
        number - u64::from(repeats)
    }

    /// What the checkers are shown beside what really changed.
    pub(crate) fn about_history(&self, commit: &mut Commit, rows: &Rows) {
        let ended = rows.runs.values().find(|run| run.status().is_final());
        let Some(run) = ended.filter(|_| self.is(Mutation::RewritesEndedRuns)) else {
            return;
        };
        let before = run.clone();
        let mut after = run.clone();
        if let RunState::Ended(ending) = &mut after.state {
            ending.warnings.push("written once more".to_owned());
        }
        let change = Change {
            before: Some(before),
            after: Some(after),
        };
        commit.runs.insert(run.id.clone(), change);
    }

    pub(crate) fn drops_shift(&self, by: i32) -> bool {
        (self.is(Mutation::DropsCountdown) || self.is(Mutation::IgnoresDependencies)) && by < 0
    }

    pub(crate) fn about_lanes(&self, mut lanes: Vec<Lane>) -> Vec<Lane> {
        if self.is(Mutation::OverlooksLabels) {
            lanes.retain(|lane| !matches!(lane, Lane::Labels(_)));
        }
        lanes
    }

    pub(crate) fn reverses(&self) -> bool {
        self.is(Mutation::ReversesQueue)
    }

    pub(crate) fn about_candidates(&self, candidates: &mut Vec<Candidate>, limit: usize) {
        if self.reverses() {
            let priority = orch_core::task::Priority::NORMAL;
            candidates.reverse();
            candidates.truncate(limit);
            for (index, candidate) in candidates.iter_mut().enumerate() {
                (candidate.priority, candidate.seq) = (priority, index as u64);
            }
        }
    }

    pub(crate) fn about_time(&self, now: Timestamp) -> Timestamp {
        if self.is(Mutation::ShortensHolds) {
            now.plus_millis(5_000)
        } else {
            now
        }
    }

    pub(crate) fn about_live(&self, live: Vec<Run>) -> Vec<Run> {
        if self.is(Mutation::ForgetsLiveRuns) {
            Vec::new()
        } else {
            live
        }
    }

    /// The number to answer with instead of appending the fact.
    pub(crate) fn about_event(&self, event: &Event, last: Option<&(u64, Event)>) -> Option<u64> {
        let last = last.map_or(1, |(number, _)| *number);
        (self.is(Mutation::DropsEvents) && event.kind == EventKind::RunRunning).then_some(last)
    }
}
