//! A few worker threads for what blocks: git, spawning, reading what an agent wrote.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::shared::locked;

/// Most worker threads. Starting a process and calling git wait for the machine, not for each
/// other; more threads than this only queue inside the kernel.
const WORKERS: usize = 8;

type Job = Box<dyn FnOnce() + Send>;

/// The queue and its workers, which are started as they are needed.
#[derive(Clone)]
pub(crate) struct Jobs(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changed: Condvar,
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
    pub(crate) fn new(on_idle: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            changed: Condvar::new(),
            on_idle: Box::new(on_idle),
        }))
    }

    /// Has `job` done on a worker thread.
    pub(crate) fn queue(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = locked(&self.0.state);
        if state.closed {
            return;
        }
        state.queue.push_back(Box::new(job));
        if state.idle < state.queue.len() && state.threads.len() < WORKERS {
            let inner = Arc::clone(&self.0);
            state.threads.push(std::thread::spawn(move || work(&inner)));
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
            // A job that panics must not take a worker, or the daemon, with it. Its run is found
            // by the sweep.
            let _ = catch_unwind(AssertUnwindSafe(job));
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
