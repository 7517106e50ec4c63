//! Fills a store as months of work would, so that benchmarks can show that what is stored costs
//! nothing. Nothing else may use this: it writes facts that never happened.

use orch_core::event::{Event, EventKind};
use orch_core::ledger::{LedgerError, Result};
use orch_core::run::{Ending, Exit, Outcome, Run, RunState, Usage};
use orch_core::task::{OnLost, Priority, ReviewMode, Task, TaskState, WorkspaceMode};
use orch_core::{AgentName, RunId, TaskId, Timestamp};

use crate::{Store, Transaction};

/// Tasks that are written in one transaction.
const AT_ONCE: u64 = 1_000;
/// Between one task and the next, milliseconds.
const APART_MS: i64 = 1_000;

/// How much there is to be.
#[derive(Debug, Clone)]
pub struct Amount {
    /// Tasks that are done, each with the run that did it and all facts about it.
    pub finished: u64,
    /// Tasks that wait for their turn.
    pub queued: u64,
    /// Who did them and is to do them.
    pub agent: AgentName,
    /// The kind of that agent.
    pub adapter: String,
}

/// Adds finished and then queued tasks to `store`. Their ids are the same in each empty store.
///
/// # Errors
/// The store failed, or was filled before.
pub fn fill(store: &mut impl Store, amount: &Amount) -> Result<()> {
    let total = amount.finished + amount.queued;
    let mut next = 0;
    while next < total {
        let end = total.min(next + AT_ONCE);
        store.transact(|ledger| (next..end).try_for_each(|number| add(ledger, amount, number)))?;
        next = end;
    }
    Ok(())
}

fn add(
    ledger: &mut dyn Transaction,
    amount: &Amount,
    number: u64,
) -> std::result::Result<(), LedgerError> {
    let finished = number < amount.finished;
    let run = finished.then(|| run(amount, number));
    let task = task(amount, number, run.as_ref());
    ledger.insert_task(&task, &[])?;
    note(ledger, EventKind::TaskAdded, &task, None, Some(&task.title))?;
    let Some(run) = run else { return Ok(()) };
    ledger.insert_run(&run)?;
    for kind in [
        EventKind::RunStarting,
        EventKind::RunRunning,
        EventKind::RunEnded,
    ] {
        note(ledger, kind, &task, Some(&run), None)?;
    }
    for kind in [
        EventKind::TaskReview,
        EventKind::TaskApproved,
        EventKind::TaskDone,
    ] {
        note(ledger, kind, &task, None, None)?;
    }
    Ok(())
}

fn note(
    ledger: &mut dyn Transaction,
    kind: EventKind,
    task: &Task,
    run: Option<&Run>,
    message: Option<&str>,
) -> Result<()> {
    let event = Event {
        time: task.updated_at,
        kind,
        task: Some(task.id.clone()),
        run: run.map(|run| run.id.clone()),
        agent: task.agent.clone(),
        word: None,
        message: message.map(str::to_owned),
    };
    ledger.append(&event).map(drop)
}

/// Ids that lie as far apart as those of real tasks do.
const fn scattered(number: u64) -> u64 {
    (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn time(number: u64) -> Timestamp {
    Timestamp(i64::try_from(number).unwrap_or(i64::MAX / APART_MS) * APART_MS)
}

fn task(amount: &Amount, number: u64, run: Option<&Run>) -> Task {
    let at = time(number);
    let ended = u32::from(run.is_some());
    Task {
        id: TaskId::from_entropy(scattered(number)),
        seq: 0,
        title: format!("seeded task {number}"),
        description: String::new(),
        state: match run {
            Some(_) => TaskState::Done,
            None => TaskState::Todo { hold: None },
        },
        priority: Priority::NORMAL,
        agent: Some(amount.agent.clone()),
        labels: Default::default(),
        scope: Vec::new(),
        attachments: Vec::new(),
        unmet: 0,
        workspace: WorkspaceMode::Shared,
        review: ReviewMode::Auto,
        on_lost: OnLost::Default,
        attempts: ended,
        max_attempts: 3,
        runs: ended,
        start_failures: 0,
        timeout_ms: None,
        stall_ms: None,
        result: run.map(|_| "done as it was asked for".to_owned()),
        feedback: None,
        last_run: run.map(|run| run.id.clone()),
        landed: None,
        created_at: at,
        updated_at: at,
    }
}

fn run(amount: &Amount, number: u64) -> Run {
    let at = time(number);
    Run {
        id: RunId::from_entropy(scattered(number)),
        task: TaskId::from_entropy(scattered(number)),
        agent: amount.agent.clone(),
        adapter: amount.adapter.clone(),
        boot: None,
        attempt: 1,
        state: RunState::Ended(Box::new(Ending {
            outcome: Outcome::Completed,
            exit: Some(Exit::Code(0)),
            result: Some("done as it was asked for".to_owned()),
            usage: Usage::default(),
            session_id: None,
            commit: None,
            events: 3,
            warnings: Vec::new(),
            finished_at: at,
        })),
        stop: None,
        branch: None,
        created_at: at,
        started_at: Some(at),
    }
}

#[cfg(test)]
mod tests {
    use orch_core::task::TaskStatus;

    use super::*;
    use crate::Reader;
    use crate::memory::MemoryStore;

    #[test]
    fn what_was_asked_for_is_there() {
        let mut store = MemoryStore::default();
        let amount = Amount {
            finished: 1_200,
            queued: 30,
            agent: "worker".parse().unwrap(),
            adapter: "shell".to_owned(),
        };
        fill(&mut store, &amount).unwrap();
        let mut reader: Box<dyn Reader> = store.reader().unwrap();
        let counts = reader.counts().unwrap();
        assert_eq!(
            (counts[&TaskStatus::Done], counts[&TaskStatus::Todo]),
            (1_200, 30)
        );
        assert_eq!(reader.live_runs().unwrap(), []);
        assert_eq!(reader.last_event().unwrap(), 7 * 1_200 + 30);
        assert!(fill(&mut store, &amount).is_err(), "it was filled before");
    }
}
