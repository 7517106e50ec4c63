//! What the host reports: runs that exist, runs that ended, branches that landed, time.

use super::{Effect, Engine, Landing, Report, Result, Step, land};
use crate::event::EventKind;
use crate::id::{RunId, TaskId};
use crate::ledger::Ledger;
use crate::lifecycle::{RunEvent, TaskEvent};
use crate::limits;
use crate::policy::{self, Disposition};
use crate::run::{Ending, Failure, FailureCode, Outcome, Run, RunState, StopReason};
use crate::task::{Hold, Review, ReviewMode, Task, TaskState, WorkspaceMode};
use crate::time::Timestamp;

impl<L: Ledger + ?Sized> Engine<'_, '_, L> {
    pub(super) fn spawned(&mut self, id: &RunId, at: Timestamp) -> Result<Step> {
        let Some(mut run) = self.ledger.run(id)? else {
            return Ok(Step::default());
        };
        if run.state != RunState::Starting {
            return Ok(Step::default());
        }
        run.started_at = Some(at);
        self.move_run(&mut run, RunEvent::Spawned)?;
        self.note_run(EventKind::RunRunning, &run, None, None)?;
        // It may have been asked to stop while there was nothing to stop yet.
        let effects = run.stop.map(|reason| Effect::Stop {
            run: run.id.clone(),
            reason,
        });
        Ok(Step {
            effects: effects.into_iter().collect(),
            answer: None,
        })
    }

    pub(super) fn lingers(&mut self, id: &RunId) -> Result<Step> {
        match self.ledger.run(id)? {
            Some(run) if run.stop.is_none() && !run.status().is_final() => {
                self.stop(run, StopReason::Linger)
            }
            _ => Ok(Step::default()),
        }
    }

    pub(super) fn interrupt(&mut self) -> Result<Step> {
        let mut effects = Vec::new();
        for run in self.ledger.live_runs()? {
            if !matches!(run.stop, Some(StopReason::Cancel | StopReason::Interrupt)) {
                effects.extend(self.stop(run, StopReason::Interrupt)?.effects);
            }
        }
        Ok(Step {
            effects,
            answer: None,
        })
    }

    /// Writes down why a run is to end, before anybody signals it.
    pub(super) fn stop(&mut self, mut run: Run, reason: StopReason) -> Result<Step> {
        run.stop = Some(reason);
        self.ledger.update_run(&run)?;
        self.note_run(EventKind::RunStopAsked, &run, Some(reason.as_str()), None)?;
        Ok(Step {
            effects: vec![Effect::Stop {
                run: run.id,
                reason,
            }],
            answer: None,
        })
    }

    /// Ends a run and settles its task in the same transaction. A run that has ended already
    /// stays as it is, so a report may come any number of times.
    pub(super) fn ended(&mut self, id: &RunId, report: Report) -> Result<Step> {
        let Some(mut run) = self.ledger.run(id)? else {
            return Ok(Step::default());
        };
        if run.status().is_final() {
            return Ok(Step::default());
        }
        let (started_at, left) = (report.started_at, report.left.clone());
        let task = self.ledger.task(&run.task)?;
        let ending = self.ending(&run, task.as_ref(), report)?;
        // The supervisor saw the start; the daemon only heard of it.
        run.started_at = started_at.or(run.started_at);
        self.move_run(&mut run, RunEvent::Ended(Box::new(ending.clone())))?;
        let failure = ending.outcome.failure();
        let word = failure.map_or(run.status().as_str(), |failure| failure.code.as_str());
        let message = failure.map(|failure| failure.message.as_str());
        self.note_run(EventKind::RunEnded, &run, Some(word), message)?;
        match task {
            Some(task) => self.settle(&run, &ending, left, task),
            None => Ok(Step::default()),
        }
    }

    fn settle(
        &mut self,
        run: &Run,
        ending: &Ending,
        left: Vec<String>,
        mut task: Task,
    ) -> Result<Step> {
        if task.state
            != (TaskState::InProgress {
                run: run.id.clone(),
            })
        {
            return Ok(Step::default());
        }
        count(&mut task, run, &ending.outcome);
        if run.stop == Some(StopReason::Cancel) {
            return self.cancelled(task, &ending.outcome);
        }
        let entropy = (self.context.entropy)();
        let now = self.context.now;
        let backoff = self.context.config.backoff;
        match (
            policy::dispose(&task, run, &ending.outcome, backoff, now, entropy),
            ending.outcome.failure(),
        ) {
            (Disposition::Succeed, _) | (_, None) => {
                self.succeeded(task, ending.result.clone(), left)
            }
            (Disposition::RetryAt(until), Some(failure)) => {
                let hold = Hold {
                    until,
                    failure: failure.clone(),
                };
                self.settle_as(
                    task,
                    TaskEvent::Failing(hold),
                    EventKind::TaskRetrying,
                    failure,
                )
            }
            (Disposition::HoldUntil(until), Some(failure)) => {
                let hold = Hold {
                    until,
                    failure: failure.clone(),
                };
                self.settle_as(
                    task,
                    TaskEvent::Limited(hold),
                    EventKind::TaskLimited,
                    failure,
                )
            }
            (Disposition::Requeue, Some(failure)) => self.settle_as(
                task,
                TaskEvent::Interrupted,
                EventKind::TaskInterrupted,
                failure,
            ),
            (Disposition::AskPerson, Some(failure)) => {
                let event = TaskEvent::Lost(failure.clone());
                self.settle_as(task, event, EventKind::TaskReview, failure)
            }
            (Disposition::Cancel, Some(_)) => self.cancelled(task, &ending.outcome),
            (Disposition::GiveUp, Some(failure)) => {
                let event = TaskEvent::GaveUp(failure.clone());
                self.settle_as(task, event, EventKind::TaskFailed, failure)
            }
        }
    }

    fn settle_as(
        &mut self,
        mut task: Task,
        event: TaskEvent,
        kind: EventKind,
        failure: &Failure,
    ) -> Result<Step> {
        self.move_task(&mut task, event)?;
        self.note_task(
            kind,
            &task,
            Some(failure.code.as_str()),
            Some(&failure.message),
        )?;
        Ok(Step::default())
    }

    fn cancelled(&mut self, mut task: Task, outcome: &Outcome) -> Result<Step> {
        let failure = Failure {
            code: FailureCode::CancelledByUser,
            message: match (outcome, outcome.failure()) {
                (_, None) => "cancelled; its last run had completed".to_owned(),
                (Outcome::Failed(_) | Outcome::TimedOut(_), Some(failure)) => format!(
                    "cancelled; its last run had ended before: {}",
                    failure.message
                ),
                (_, Some(_)) => "cancelled while it ran".to_owned(),
            },
            evidence: match outcome.failure() {
                None => "run completed".to_owned(),
                Some(failure) => failure.evidence.clone(),
            },
        };
        self.move_task(&mut task, TaskEvent::Cancelled(failure))?;
        self.note_task(EventKind::TaskCancelled, &task, None, None)?;
        Ok(Step::default())
    }

    /// Work that is in no commit cannot land. Whether the task is done without it is not for orch
    /// to say, so a review that nobody was to do goes to a person after all, and who is to review
    /// is told before the word is given.
    fn succeeded(
        &mut self,
        mut task: Task,
        result: Option<String>,
        left: Vec<String>,
    ) -> Result<Step> {
        task.result = result;
        task.feedback = None;
        let (mut moves, mut facts) = (vec![TaskEvent::Succeeded], vec![EventKind::TaskReview]);
        if task.review == ReviewMode::Auto {
            let (further, told) = approval(&task);
            moves.extend(further);
            facts.extend(told);
        }
        self.move_and_note(&mut task, moves, &facts)?;
        let lands = matches!(
            task.state,
            TaskState::Review(Review::Person | Review::Landing)
        );
        if lands && !left.is_empty() {
            self.landing_blocked(&mut task, LEFT_IN_WORKTREE.to_owned(), left)?;
        }
        let effects = self.landing_owed(task)?.into_iter().collect();
        Ok(Step {
            effects,
            answer: None,
        })
    }

    /// Finds the work good and has it landed, where there is anything to land.
    pub(super) fn approve(&mut self, task: &mut Task) -> Result<Option<Effect>> {
        let (moves, facts) = approval(task);
        self.move_and_note(task, moves, &facts)?;
        self.landing_owed(task.clone())
    }

    fn move_and_note(
        &mut self,
        task: &mut Task,
        moves: Vec<TaskEvent>,
        facts: &[EventKind],
    ) -> Result<()> {
        self.move_task_through(task, moves)?;
        for fact in facts {
            self.note_task(*fact, task, None, None)?;
        }
        Ok(())
    }

    fn landing_owed(&mut self, task: Task) -> Result<Option<Effect>> {
        match task.state {
            TaskState::Review(Review::Landing) => Ok(Some(land(self.ledger, task)?)),
            _ => Ok(None),
        }
    }

    pub(super) fn landed(&mut self, id: &TaskId, landing: Landing) -> Result<Step> {
        let Some(mut task) = self.ledger.task(id)? else {
            return Ok(Step::default());
        };
        if task.state != TaskState::Review(Review::Landing) {
            return Ok(Step::default());
        }
        match landing {
            Landing::Landed { commit } => {
                task.landed = commit;
                self.move_task(&mut task, TaskEvent::Landed)?;
                let commit = task.landed.clone();
                self.note_task(EventKind::TaskDone, &task, None, commit.as_deref())?;
            }
            Landing::Blocked { message, files } => {
                self.landing_blocked(&mut task, message, files)?;
            }
        }
        Ok(Step::default())
    }

    fn landing_blocked(
        &mut self,
        task: &mut Task,
        message: String,
        files: Vec<String>,
    ) -> Result<()> {
        let event = TaskEvent::LandingBlocked {
            message: message.clone(),
            files,
        };
        self.move_task(task, event)?;
        self.note_task(EventKind::TaskLandingBlocked, task, None, Some(&message))
    }

    /// Wakes tasks whose hold is over.
    pub(super) fn tick(&mut self) -> Result<Step> {
        for id in self.ledger.due(self.context.now, limits::DUE_PER_STEP)? {
            let mut task = self.require_task(&id)?;
            self.move_task(&mut task, TaskEvent::HoldPassed)?;
            self.note_task(EventKind::TaskHoldPassed, &task, None, None)?;
        }
        Ok(Step::default())
    }
}

/// What keeps a task from being done although its run succeeded.
/// Approval lands what is committed, and who approves is to know what is not.
const LEFT_IN_WORKTREE: &str = "not all of its work is in a commit; the rest lies in its worktree \
                                and does not land unless it is committed there";

/// What approval does to a task, and the facts to be told of it. What was done in the shared
/// directory is where it belongs already: nothing is left to be landed.
fn approval(task: &Task) -> (Vec<TaskEvent>, Vec<EventKind>) {
    let (mut moves, mut facts) = (vec![TaskEvent::Approved], vec![EventKind::TaskApproved]);
    if task.workspace == WorkspaceMode::Shared {
        moves.push(TaskEvent::Landed);
        facts.push(EventKind::TaskDone);
    }
    (moves, facts)
}

fn count(task: &mut Task, run: &Run, outcome: &Outcome) {
    if policy::is_fresh_start(run, outcome) {
        return;
    }
    if policy::counts_as_attempt(outcome) {
        task.attempts += 1;
    }
    match outcome {
        Outcome::NotStarted(_) | Outcome::Limited { .. } => task.start_failures += 1,
        _ => task.start_failures = 0,
    }
}
