//! The connections over which the daemon reads what is committed.
//!
//! They are kept for the next question, and a new one is opened when all are lent. Whoever comes
//! when none can be opened waits for one that comes back: a daemon that has no descriptor left
//! still answers whomever it can hear. This module must not know what is read.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use orch_store::{Reader, StoreError};

use crate::shared::locked;

/// How long one that comes back is waited for. A question takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

type Opened = Result<Box<dyn Reader>, StoreError>;

/// Readers, each lent to one question at a time.
pub(crate) struct Readers {
    open: Box<dyn Fn() -> Opened + Send + Sync>,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Box<dyn Reader>>,
    lent: usize,
}

/// One reader is lent while this lives.
struct Loan<'a>(&'a Readers);

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        locked(&self.0.state).lent -= 1;
        self.0.returned.notify_all();
    }
}

impl Readers {
    pub(crate) fn new(open: impl Fn() -> Opened + Send + Sync + 'static) -> Self {
        Self {
            open: Box::new(open),
            state: Mutex::default(),
            returned: Condvar::new(),
        }
    }

    /// Lends a reader to `work`, which must not ask for another one meanwhile.
    pub(crate) fn read<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut dyn Reader) -> Result<T, E>,
    ) -> Result<T, E> {
        let (mut reader, _loan) = self.lend()?;
        let result = work(reader.as_mut());
        locked(&self.state).idle.push(reader);
        result
    }

    fn lend(&self) -> Result<(Box<dyn Reader>, Loan<'_>), StoreError> {
        if let Some(lent) = self.lend_idle(&mut locked(&self.state)) {
            return Ok(lent);
        }
        match (self.open)() {
            Ok(reader) => Ok((reader, self.note(&mut locked(&self.state)))),
            Err(error) => self.lend_returned().ok_or(error),
        }
    }

    fn lend_idle(&self, state: &mut State) -> Option<(Box<dyn Reader>, Loan<'_>)> {
        let reader = state.idle.pop()?;
        Some((reader, self.note(state)))
    }

    /// `None` if none is lent, or none comes back in time.
    fn lend_returned(&self) -> Option<(Box<dyn Reader>, Loan<'_>)> {
        let is_out = |state: &mut State| state.idle.is_empty() && state.lent > 0;
        let (mut state, _) = self
            .returned
            .wait_timeout_while(locked(&self.state), PATIENCE, is_out)
            .unwrap_or_else(PoisonError::into_inner);
        self.lend_idle(&mut state)
    }

    fn note(&self, state: &mut State) -> Loan<'_> {
        state.lent += 1;
        Loan(self)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc::{self, Sender};
    use std::thread;

    use orch_store::Store;
    use orch_store::memory::MemoryStore;

    use super::*;

    /// The first `most` can be opened; of each after them `refused` is told.
    fn at_most(most: usize, refused: Sender<()>) -> Readers {
        let left = Mutex::new((MemoryStore::default(), most));
        Readers::new(move || {
            let (store, left) = &mut *locked(&left);
            if *left > 0 {
                *left -= 1;
                return store.reader();
            }
            // Nobody may be listening.
            let _ = refused.send(());
            orch_store::sqlite::open_reader(Path::new("/nowhere/orch.db"))
        })
    }

    fn last(readers: &Readers) -> Result<u64, StoreError> {
        readers.read(|reader| reader.last_event())
    }

    #[test]
    fn one_serves_all_who_ask_one_after_another() {
        let readers = at_most(1, mpsc::channel().0);
        for _ in 0..3 {
            assert_eq!(last(&readers).unwrap(), 0);
        }
    }

    #[test]
    fn who_can_open_none_waits_for_one_that_is_lent() {
        /// Longer than one that does not wait takes to give up.
        const WHILE: Duration = Duration::from_millis(200);
        let (refused, is_refused) = mpsc::channel();
        let (lent, is_lent) = mpsc::channel();
        let (answered, is_answered) = mpsc::channel();
        let readers = &at_most(1, refused);
        thread::scope(|scope| {
            scope.spawn(move || {
                readers.read(|reader| {
                    lent.send(()).unwrap();
                    is_refused.recv().unwrap();
                    // It has no answer for as long as this is lent.
                    assert!(is_answered.recv_timeout(WHILE).is_err());
                    reader.last_event()
                })
            });
            is_lent.recv().unwrap();
            let answer = last(readers);
            // Nobody listens any more, if it has waited.
            let _ = answered.send(());
            assert_eq!(answer.unwrap(), 0);
        });
    }

    #[test]
    fn without_any_the_reason_is_told_at_once() {
        let said = last(&at_most(0, mpsc::channel().0)).unwrap_err();
        assert!(said.to_string().contains("/nowhere/orch.db"), "{said}");
    }

    #[test]
    fn a_question_that_panics_is_waited_for_by_nobody() {
        let readers = at_most(1, mpsc::channel().0);
        thread::scope(|scope| {
            let panics = scope
                .spawn(|| readers.read(|_| -> Result<(), StoreError> { panic!("on purpose") }));
            assert!(panics.join().is_err());
        });
        assert!(last(&readers).is_err());
    }
}
