//! A few worker threads for what blocks: git, spawning, reading what an agent wrote.
//!
//! What takes long must not keep what is urgent waiting, so each kind of work has workers of its
//! own. This file must not know what the work is.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::shared::locked;
use crate::vital::caught;

type Job = Box<dyn FnOnce() + Send>;

/// A queue and its workers. The first is started with it, the others as they are needed.
#[derive(Clone)]
pub(crate) struct Jobs(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    most_workers: usize,
    /// Called when the last job is done.
    on_idle: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    working: usize,
    idle: usize,
    closed: bool,
    threads: Vec<JoinHandle<()>>,
}

impl Jobs {
    pub(crate) fn new(most_workers: usize, on_idle: impl Fn() + Send + Sync + 'static) -> Self {
        let inner = Arc::new(Inner {
            state: Mutex::default(),
            changed: Condvar::new(),
            most_workers,
            on_idle: Box::new(on_idle),
        });
        // One there must be: what is queued later is done even where no thread can be had then.
        let first = std::thread::spawn({
            let inner = Arc::clone(&inner);
            move || work(&inner)
        });
        locked(&inner.state).threads.push(first);
        Self(inner)
    }

    /// Has `job` done on a worker thread.
    pub(crate) fn queue(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = locked(&self.0.state);
        if state.closed {
            return;
        }
        state.queue.push_back(Box::new(job));
        if state.idle < state.queue.len() && state.threads.len() < self.0.most_workers {
            let inner = Arc::clone(&self.0);
            // The machine may have no thread left; then those that are there do it.
            let more = std::thread::Builder::new().spawn(move || work(&inner));
            state.threads.extend(more);
        }
        drop(state);
        self.0.changed.notify_one();
    }

    /// Whether nothing waits and nothing is being done.
    pub(crate) fn is_idle(&self) -> bool {
        let state = locked(&self.0.state);
        state.queue.is_empty() && state.working == 0
    }

    /// Lets what is being done finish and forgets the rest: the next daemon owes it again.
    pub(crate) fn close(&self) {
        let threads = {
            let mut state = locked(&self.0.state);
            state.closed = true;
            state.queue.clear();
            std::mem::take(&mut state.threads)
        };
        self.0.changed.notify_all();
        for thread in threads {
            let _ = thread.join();
        }
    }
}

fn work(inner: &Inner) {
    let mut state = locked(&inner.state);
    loop {
        if let Some(job) = state.queue.pop_front() {
            state.working += 1;
            drop(state);
            // A job that panics must not take a worker with it. Who queued it minds the rest.
            let _ = caught(job);
            state = locked(&inner.state);
            state.working -= 1;
            if state.working == 0 && state.queue.is_empty() {
                (inner.on_idle)();
            }
        } else if state.closed {
            return;
        } else {
            state.idle += 1;
            state = inner
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_job_that_panics_takes_neither_its_worker_nor_the_next_job_with_it() {
        let (idle, became_idle) = channel();
        let jobs = Jobs::new(1, move || idle.send(()).unwrap_or_default());
        let (done, was_done) = channel();
        jobs.queue(|| panic!("of the test"));
        jobs.queue(move || done.send(()).unwrap());
        was_done.recv().unwrap();
        became_idle.recv().unwrap();
        jobs.close();
        assert!(jobs.is_idle());
    }

    #[test]
    fn no_more_than_its_workers_are_at_work_at_once() {
        let jobs = Jobs::new(2, || {});
        let (began, beginnings) = channel();
        let gate = Arc::new(Mutex::new(()));
        let shut = locked(&gate);
        for number in 0..3 {
            let (began, gate) = (began.clone(), Arc::clone(&gate));
            jobs.queue(move || {
                began.send(number).unwrap();
                drop(locked(&gate));
            });
        }
        let mut first = [beginnings.recv().unwrap(), beginnings.recv().unwrap()];
        first.sort_unstable();
        assert_eq!(first, [0, 1]);
        assert!(beginnings.try_recv().is_err());
        drop(shut);
        assert_eq!(beginnings.recv().unwrap(), 2);
        jobs.close();
    }

    #[test]
    fn what_waits_when_it_is_closed_is_not_done() {
        let jobs = Jobs::new(1, || {});
        let (began, beginning) = channel();
        let (go, gone) = channel::<()>();
        let (second, of_second) = channel::<()>();
        jobs.queue(move || {
            began.send(()).unwrap();
            let _ = gone.recv();
        });
        jobs.queue(move || drop(second));
        beginning.recv().unwrap();
        let closing = std::thread::spawn(move || jobs.close());
        // The second job is dropped with the queue, before the first is waited for.
        assert!(of_second.recv().is_err());
        drop(go);
        closing.join().unwrap();
    }

    #[test]
    fn a_panic_is_told_in_its_own_words() {
        assert_eq!(caught(|| 1), Ok(1));
        let told = caught(|| panic!("number {}", 7));
        assert_eq!(
            told,
            Err::<(), _>("orch itself failed: number 7".to_owned())
        );
    }
}
