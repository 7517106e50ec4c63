//! The engine: one input in, rows written to the ledger, effects out.
//!
//! [`step`] is synchronous and total. The caller opens a transaction, steps one or more inputs,
//! calls [`plan()`] once, commits, and only then performs the effects; their results come back as
//! inputs. Should it die in between, [`resume`] names the effects that were owed.

mod completion;
mod ending;
mod plan;
mod request;

use crate::config::Config;
use crate::event::{Event, EventKind};
use crate::id::{RunId, TaskId};
use crate::ledger::{Ledger, LedgerError};
use crate::lifecycle::{self, RunEvent, TaskEvent};
use crate::outcome::{Enforced, Verdict};
use crate::price::Price;
use crate::request::{Answer, Refusal, Request};
use crate::run::{Changes, Exit, Failure, Run, StopReason, Usage};
use crate::task::{DependencyKind, Task};
use crate::time::Timestamp;

pub use plan::{Permit, plan};

/// What the engine needs to know beside its input.
pub struct Context<'a> {
    /// The time of this step.
    pub now: Timestamp,
    /// What the user decided.
    pub config: &'a Config,
    /// The boot of the machine that agents are started in, where the system has a name for it.
    pub boot: Option<&'a str>,
    /// Where random numbers come from: ids and jitter.
    pub entropy: &'a mut dyn FnMut() -> u64,
}

/// How the host knows that a run is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The process was seen to end.
    Seen {
        /// What the kernel said.
        exit: Exit,
        /// The limit the supervisor enforced, if it did.
        enforced: Option<Enforced>,
        /// Whether it may have been asked to stop before it ended. What had ended by then has ended
        /// by itself, whatever was asked for later.
        stopped: bool,
        /// What the agent's own words amount to.
        verdict: Verdict,
        /// Where the proof lies.
        logs: String,
    },
    /// There never was a process.
    NotStarted(Failure),
    /// Nobody can know any more.
    Lost(Failure),
}

/// What the host found when a run was over.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// How it ended.
    pub end: End,
    /// The agent's final text in full.
    pub result: Option<String>,
    /// What the agent used.
    pub usage: Usage,
    /// Whether the agent counts the whole session, and with it the runs before that had it.
    pub cumulative: bool,
    /// What its tokens cost, for where it does not say what they cost.
    pub price: Option<Price>,
    /// The agent's own session.
    pub session_id: Option<String>,
    /// The last commit of the run's branch.
    pub commit: Option<String>,
    /// What this run did to its branch; `None` if it was not counted.
    pub changes: Option<Changes>,
    /// What its whole branch holds that the target does not; `None` if it was not counted.
    pub branch: Option<Changes>,
    /// Its work that is in no commit, in words: each a path, or a sentence that names one.
    pub left: Vec<String>,
    /// How many events `events.jsonl` holds.
    pub events: u64,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// When the process was started, if the supervisor noted it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
}

impl Report {
    /// A report of nothing but the end.
    #[must_use]
    pub fn bare(end: End, finished_at: Timestamp) -> Self {
        Self {
            end,
            result: None,
            usage: Usage::default(),
            cumulative: false,
            price: None,
            session_id: None,
            commit: None,
            changes: None,
            branch: None,
            left: Vec::new(),
            events: 0,
            warnings: Vec::new(),
            started_at: None,
            finished_at,
        }
    }
}

/// What came of landing a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Landing {
    /// The target branch carries the work, at this commit; `None` when there was nothing to land.
    Landed {
        /// The new tip of the target branch.
        commit: Option<String>,
    },
    /// It could not be landed; nothing was changed.
    Blocked {
        /// What is in the way.
        message: String,
        /// The files that conflict.
        files: Vec<String>,
    },
}

/// Everything that can move the engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Somebody asks.
    Request(Request),
    /// The agent's process of a run exists.
    Spawned {
        /// Which run.
        run: RunId,
        /// Since when.
        at: Timestamp,
    },
    /// The result of a run is in and its process does not leave.
    Lingers {
        /// Which run.
        run: RunId,
    },
    /// A run is over. May be said any number of times.
    Ended {
        /// Which run.
        run: RunId,
        /// What was found.
        report: Box<Report>,
    },
    /// A landing is over.
    Landed {
        /// Which task.
        task: TaskId,
        /// What came of it.
        landing: Landing,
    },
    /// Time has passed.
    Tick,
    /// orch is to stop its agents at once.
    Interrupt,
}

/// What must be done after the transaction is committed. Every effect may be performed twice.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Start the agent of this run; answers with `Spawned` or `Ended`.
    Start {
        /// The run.
        run: Box<Run>,
        /// The task it works on.
        task: Box<Task>,
    },
    /// Find out how this run stands, which an earlier daemon had in hand.
    Adopt {
        /// The run.
        run: Box<Run>,
        /// The task it works on.
        task: Box<Task>,
    },
    /// End the processes of this run; its end is reported as any other.
    Stop {
        /// The run.
        run: RunId,
        /// Why.
        reason: StopReason,
    },
    /// Land the task's branch; answers with `Landed`.
    Land {
        /// The task.
        task: Box<Task>,
        /// Its last run, whose branch is landed.
        run: Option<Box<Run>>,
    },
    /// Remove what a deleted task left; its commits stay reachable.
    Discard {
        /// The task as it was.
        task: Box<Task>,
        /// Its runs, whose directories nobody can ask for any more.
        runs: Vec<RunId>,
    },
}

/// What one input led to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Step {
    /// What must be done.
    pub effects: Vec<Effect>,
    /// What the asker is told, for requests.
    pub answer: Option<Answer>,
}

/// Why a step did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The request cannot be fulfilled; nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed; the transaction must be rolled back.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<lifecycle::IllegalTransition> for StepError {
    fn from(illegal: lifecycle::IllegalTransition) -> Self {
        Self::Refused(illegal.into())
    }
}

type Result<T> = std::result::Result<T, StepError>;

/// Takes one input. A refusal is decided before the first write.
///
/// # Errors
/// The request is refused, or the ledger failed.
pub fn step<L: Ledger + ?Sized>(
    ledger: &mut L,
    input: Input,
    context: &mut Context<'_>,
) -> Result<Step> {
    let mut engine = Engine { ledger, context };
    match input {
        Input::Request(request) => engine.request(request),
        Input::Spawned { run, at } => engine.spawned(&run, at),
        Input::Lingers { run } => engine.lingers(&run),
        Input::Ended { run, report } => engine.ended(&run, *report),
        Input::Landed { task, landing } => engine.landed(&task, landing),
        Input::Tick => engine.tick(),
        Input::Interrupt => engine.interrupt(),
    }
}

/// The effects that are owed when a daemon starts: runs to find again and, where that was asked
/// for, to stop; landings to finish.
///
/// # Errors
/// The ledger failed.
pub fn resume<L: Ledger + ?Sized>(ledger: &mut L) -> std::result::Result<Vec<Effect>, LedgerError> {
    let mut effects = Vec::new();
    for run in ledger.live_runs()? {
        if let Some(task) = ledger.task(&run.task)? {
            // The stop may have been recorded by a daemon that died before it sent it.
            let stop = run.stop.map(|reason| Effect::Stop {
                run: run.id.clone(),
                reason,
            });
            effects.push(Effect::Adopt {
                run: Box::new(run),
                task: Box::new(task),
            });
            effects.extend(stop);
        }
    }
    for id in ledger.landing()? {
        if let Some(task) = ledger.task(&id)? {
            effects.push(land(ledger, task)?);
        }
    }
    Ok(effects)
}

fn land<L: Ledger + ?Sized>(
    ledger: &mut L,
    task: Task,
) -> std::result::Result<Effect, LedgerError> {
    let run = match &task.last_run {
        Some(run) => ledger.run(run)?.map(Box::new),
        None => None,
    };
    Ok(Effect::Land {
        task: Box::new(task),
        run,
    })
}

/// One step in progress: the rows and what is known beside them.
struct Engine<'a, 'b, L: Ledger + ?Sized> {
    ledger: &'a mut L,
    context: &'a mut Context<'b>,
}

impl<L: Ledger + ?Sized> Engine<'_, '_, L> {
    fn require_task(&mut self, id: &TaskId) -> Result<Task> {
        Ok(self
            .ledger
            .task(id)?
            .ok_or_else(|| Refusal::NoSuchTask(id.clone()))?)
    }

    /// Moves a task, rewrites its row and settles everyone who waits for it.
    fn move_task(&mut self, task: &mut Task, event: TaskEvent) -> Result<()> {
        self.move_task_through(task, [event])
    }

    /// Moves a task several times and writes once what came of it.
    fn move_task_through(
        &mut self,
        task: &mut Task,
        events: impl IntoIterator<Item = TaskEvent>,
    ) -> Result<()> {
        let before = task.status();
        for event in events {
            task.state = lifecycle::next_task(&task.state, event)?;
        }
        self.write_task(task)?;
        let after = task.status();
        for kind in DependencyKind::ALL {
            match (kind.is_met_by(before), kind.is_met_by(after)) {
                (false, true) => self.ledger.shift_unmet(&task.id, *kind, -1)?,
                (true, false) => self.ledger.shift_unmet(&task.id, *kind, 1)?,
                _ => 0,
            };
        }
        Ok(())
    }

    fn write_task(&mut self, task: &mut Task) -> Result<()> {
        task.updated_at = self.context.now;
        Ok(self.ledger.update_task(task)?)
    }

    fn move_run(&mut self, run: &mut Run, event: RunEvent) -> Result<()> {
        run.state = lifecycle::next_run(&run.state, event)?;
        Ok(self.ledger.update_run(run)?)
    }

    fn note_task(
        &mut self,
        kind: EventKind,
        task: &Task,
        word: Option<&str>,
        message: Option<&str>,
    ) -> Result<()> {
        self.append(Event {
            time: self.context.now,
            kind,
            task: Some(task.id.clone()),
            run: None,
            agent: task.agent.clone(),
            word: word.map(str::to_owned),
            message: message.map(str::to_owned),
        })
    }

    fn note_run(
        &mut self,
        kind: EventKind,
        run: &Run,
        word: Option<&str>,
        message: Option<&str>,
    ) -> Result<()> {
        self.append(Event {
            time: self.context.now,
            kind,
            task: Some(run.task.clone()),
            run: Some(run.id.clone()),
            agent: Some(run.agent.clone()),
            word: word.map(str::to_owned),
            message: message.map(str::to_owned),
        })
    }

    fn append(&mut self, event: Event) -> Result<()> {
        self.ledger.append(&event)?;
        Ok(())
    }
}
