//! Where orch keeps its facts, behind one pair of traits: [`Store`] writes, [`Reader`] reads.
//!
//! Two engines: SQLite for real, [`memory`] for the simulator and for tests. One conformance suite
//! says what both must do. This crate holds the only SQL of the project and must not know why a
//! row is written: it decides nothing, starts nothing and reads no clock.

mod error;
pub mod memory;
mod query;
mod rows;
pub mod sqlite;
mod whole;

pub use error::{Breach, Cause, StoreError};
pub use query::{Counts, Recorded, RunFilter, TaskFilter};

use orch_core::ledger::{self, DependencyStatus, Ledger, LedgerError};
use orch_core::run::Run;
use orch_core::task::Task;
use orch_core::{RunId, TaskId};

/// The result of asking a store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The one writer. Whoever owns it also holds the lock on the state directory.
pub trait Store: Send {
    /// Does `work` in one transaction: committed and durable when this returns `Ok`, rolled back
    /// without a trace when `work` returns `Err` or panics. Many steps may share one call.
    ///
    /// # Errors
    /// What `work` returned, or that the transaction could not begin or commit. After a failed
    /// commit nothing of `work` is stored.
    fn transact<T, E: From<LedgerError>>(
        &mut self,
        work: impl FnOnce(&mut dyn Transaction) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E>
    where
        Self: Sized;

    /// A new reader, for another thread. It sees what was committed and nothing else.
    ///
    /// # Errors
    /// The store could not be opened once more.
    fn reader(&self) -> Result<Box<dyn Reader>>;
}

/// A ledger inside a transaction, with marks to go back to. Use [`attempt`](#method.attempt).
pub trait Transaction: Ledger {
    /// Sets a mark.
    ///
    /// # Errors
    /// The store failed.
    fn mark(&mut self) -> ledger::Result<()>;

    /// Forgets the last mark and keeps what was written since.
    ///
    /// # Errors
    /// The store failed.
    fn keep(&mut self) -> ledger::Result<()>;

    /// Undoes what was written since the last mark, and forgets the mark.
    ///
    /// # Errors
    /// The store failed.
    fn undo(&mut self) -> ledger::Result<()>;

    /// The facts whose number is greater than `after`, in order, with those that this
    /// transaction has recorded so far.
    ///
    /// # Errors
    /// The store failed.
    fn facts_after(&mut self, after: u64) -> ledger::Result<Vec<Recorded>>;
}

impl dyn Transaction + '_ {
    /// Does `work` as a part of the transaction that can fail alone: when it returns `Err`,
    /// nothing of it stays and the transaction goes on.
    ///
    /// # Errors
    /// What `work` returned, or that the store failed.
    pub fn attempt<T, E: From<LedgerError>>(
        &mut self,
        work: impl FnOnce(&mut dyn Transaction) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.mark()?;
        let result = work(self);
        match &result {
            Ok(_) => self.keep()?,
            Err(_) => self.undo()?,
        }
        result
    }
}

/// Reads what was committed. One reader serves one thread at a time.
pub trait Reader: Send {
    /// The task of this id.
    ///
    /// # Errors
    /// The store could not be read; so for every method of this trait.
    fn task(&mut self, id: &TaskId) -> Result<Option<Task>>;

    /// The tasks that pass `filter`, newest first.
    fn tasks(&mut self, filter: &TaskFilter) -> Result<Vec<Task>>;

    /// Up to `limit` tasks that wait for a person (approval, a blocked landing, a lost run), by
    /// priority, then age.
    fn needing_person(&mut self, limit: usize) -> Result<Vec<Task>>;

    /// How many tasks there are of each status. Costs the same however many there are.
    fn counts(&mut self) -> Result<Counts>;

    /// What the task waits for, with the status of each, in order of id.
    fn dependencies(&mut self, id: &TaskId) -> Result<Vec<DependencyStatus>>;

    /// The tasks that wait for this one, in order of id.
    fn dependants(&mut self, id: &TaskId) -> Result<Vec<TaskId>>;

    /// Up to `limit` task ids that begin with `prefix`, in order.
    fn task_ids_with_prefix(&mut self, prefix: &str, limit: usize) -> Result<Vec<TaskId>>;

    /// The run of this id.
    fn run(&mut self, id: &RunId) -> Result<Option<Run>>;

    /// The runs that pass `filter`, newest first.
    fn runs(&mut self, filter: &RunFilter) -> Result<Vec<Run>>;

    /// Every run that has not ended, oldest first.
    fn live_runs(&mut self) -> Result<Vec<Run>>;

    /// Up to `limit` run ids that begin with `prefix`, in order.
    fn run_ids_with_prefix(&mut self, prefix: &str, limit: usize) -> Result<Vec<RunId>>;

    /// Up to `limit` facts whose number is greater than `after`, in order.
    fn events(&mut self, after: u64, limit: usize) -> Result<Vec<Recorded>>;

    /// The number of the last fact, 0 when there is none.
    fn last_event(&mut self) -> Result<u64>;

    /// The same rows as a ledger, for `orch_core::wait::explain`. Every write is refused.
    fn ledger(&mut self) -> &mut dyn Ledger;

    /// From now on all reads see the same moment, until [`Reader::release`]. Use
    /// [`at_one_moment`](#method.at_one_moment).
    fn hold(&mut self) -> Result<()>;

    /// Ends what [`Reader::hold`] began. Does nothing otherwise.
    fn release(&mut self) -> Result<()>;
}

impl dyn Reader + '_ {
    /// Does several reads that must not disagree with each other. Keep it short: the store cannot
    /// reclaim space while it lasts.
    ///
    /// # Errors
    /// What `work` returned, or that the store could not be read.
    pub fn at_one_moment<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&mut dyn Reader) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.hold()?;
        let result = work(self);
        self.release()?;
        result
    }
}
