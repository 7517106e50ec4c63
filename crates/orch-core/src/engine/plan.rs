//! Turning what is ready and what is free into runs.

use std::collections::BTreeSet;

use super::{Context, Effect, Engine, Result};
use crate::event::EventKind;
use crate::id::{RunId, TaskId};
use crate::ledger::{Candidate, Ledger};
use crate::lifecycle::TaskEvent;
use crate::request::Refusal;
use crate::run::{Run, RunState};
use crate::schedule::{self, Assignment, Queue, Slots};
use crate::session;
use crate::task::{Task, WorkspaceMode};

/// What may be started.
#[derive(Debug, Clone, Copy)]
pub enum Permit<'a> {
    /// Nothing: orch is draining, or only answers a question.
    Nothing,
    /// Whatever is ready.
    Everything,
    /// These tasks only.
    Only(&'a BTreeSet<TaskId>),
}

/// Records a run for every task that should start now and returns the effects that start them.
/// Looks at free slots, live runs and as many candidates as there are slots; at nothing else.
///
/// # Errors
/// The ledger failed.
pub fn plan<L: Ledger + ?Sized>(
    ledger: &mut L,
    permit: Permit<'_>,
    context: &mut Context<'_>,
) -> Result<Vec<Effect>> {
    if matches!(permit, Permit::Nothing) {
        return Ok(Vec::new());
    }
    let slots = Slots::new(context.config, &ledger.live_runs()?);
    if slots.project() == 0 {
        return Ok(Vec::new());
    }
    let queues = queues(ledger, permit, context, &slots)?;
    let mut engine = Engine { ledger, context };
    schedule::decide(slots, &queues)
        .into_iter()
        .map(|assignment| engine.start(assignment))
        .collect()
}

fn queues<L: Ledger + ?Sized>(
    ledger: &mut L,
    permit: Permit<'_>,
    context: &Context<'_>,
    slots: &Slots,
) -> Result<Vec<Queue>> {
    if let Permit::Only(tasks) = permit {
        return chosen(ledger, tasks, context);
    }
    let mut queues = Vec::new();
    for lane in ledger.ready_lanes()? {
        let eligible = schedule::eligible(context.config, &lane);
        if eligible.iter().any(|agent| slots.has_room(agent)) {
            let candidates = ledger.ready_in_lane(&lane, slots.project() as usize)?;
            queues.push(Queue {
                eligible,
                candidates,
            });
        }
    }
    Ok(queues)
}

fn chosen<L: Ledger + ?Sized>(
    ledger: &mut L,
    tasks: &BTreeSet<TaskId>,
    context: &Context<'_>,
) -> Result<Vec<Queue>> {
    let mut queues = Vec::new();
    for id in tasks {
        if let Some(task) = ledger.task(id)?.filter(Task::is_ready) {
            let candidate = Candidate {
                task: task.id.clone(),
                priority: task.priority,
                seq: task.seq,
            };
            let eligible = schedule::eligible(context.config, &task.lane());
            queues.push(Queue {
                eligible,
                candidates: vec![candidate],
            });
        }
    }
    Ok(queues)
}

impl<L: Ledger + ?Sized> Engine<'_, '_, L> {
    fn start(&mut self, assignment: Assignment) -> Result<Effect> {
        let mut task = self.require_task(&assignment.task)?;
        let agent = self
            .context
            .config
            .agent(&assignment.agent)
            .ok_or_else(|| Refusal::NoSuchAgent(assignment.agent.clone()))?;
        let previous = match &task.last_run {
            Some(previous) => self.ledger.run(previous)?,
            None => None,
        };
        let resumed_session = previous
            .as_ref()
            .and_then(|previous| session::to_go_on_with(previous, agent))
            .map(str::to_owned);
        let run = Run {
            id: RunId::from_entropy((self.context.entropy)()),
            task: task.id.clone(),
            agent: assignment.agent,
            adapter: agent.adapter.clone(),
            attempt: task.runs + 1,
            state: RunState::Starting,
            stop: None,
            branch: (task.workspace == WorkspaceMode::Worktree).then(|| task.branch()),
            boot: self.context.boot.map(str::to_owned),
            resumed_session,
            created_at: self.context.now,
            started_at: None,
        };
        task.runs += 1;
        task.last_run = Some(run.id.clone());
        self.ledger.insert_run(&run)?;
        self.move_task(&mut task, TaskEvent::Started(run.id.clone()))?;
        self.note_run(EventKind::RunStarting, &run, None, None)?;
        Ok(Effect::Start {
            run: Box::new(run),
            task: Box::new(task),
        })
    }
}
