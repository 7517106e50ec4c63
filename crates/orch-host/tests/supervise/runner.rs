//! Just enough of a test runner: names, filters, `--list`, a few threads and a limit on time.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A name and what it stands for.
pub type Test = (&'static str, fn());

/// Most tests wait for processes, so there may be more at once than processors.
const THREADS: usize = 4;
/// When a test waits for something that will not come. Far above what a busy machine needs.
const GIVE_UP: Duration = Duration::from_secs(240);

/// Makes a list of tests of the functions of a module.
#[macro_export]
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        pub const TESTS: &[$crate::runner::Test] = &[$((stringify!($name), $name)),+];
    };
}

/// Runs the tests that the arguments select; returns the exit code.
pub fn run(arguments: &[OsString], tests: &[Test]) -> i32 {
    let filters: Vec<&str> = arguments
        .iter()
        .filter_map(|argument| argument.to_str())
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let selected = |name: &str| match has("--exact") {
        true => filters.contains(&name),
        false => filters.is_empty() || filters.iter().any(|filter| name.contains(filter)),
    };
    let chosen: Vec<Test> = tests
        .iter()
        .copied()
        .filter(|(name, _)| selected(name))
        .collect();
    if has("--list") {
        // Nothing here is ever ignored, so a list of the ignored is empty.
        for (name, _) in chosen.iter().filter(|_| !has("--ignored")) {
            println!("{name}: test");
        }
        return 0;
    }
    let failed = run_all(&chosen);
    if !failed.is_empty() {
        println!("failed: {failed:?}");
    }
    // As libtest says it, so that whoever adds up results counts these, too.
    println!(
        "test result: {}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out",
        if failed.is_empty() { "ok" } else { "FAILED" },
        chosen.len() - failed.len(),
        failed.len(),
        tests.len() - chosen.len(),
    );
    i32::from(!failed.is_empty()) * 101
}

fn run_all(tests: &[Test]) -> BTreeSet<&'static str> {
    let next = AtomicUsize::new(0);
    let running = Mutex::new(BTreeSet::new());
    let failed = Mutex::new(BTreeSet::new());
    let finished = (Mutex::new(false), Condvar::new());
    std::thread::scope(|scope| {
        scope.spawn(|| watch(&finished, &running));
        let workers: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    while let Some((name, test)) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                        lock(&running).insert(*name);
                        let result = catch_unwind(test);
                        lock(&running).remove(name);
                        println!(
                            "test {name} ... {}",
                            if result.is_ok() { "ok" } else { "FAILED" }
                        );
                        if result.is_err() {
                            lock(&failed).insert(*name);
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        *lock(&finished.0) = true;
        finished.1.notify_all();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn watch(finished: &(Mutex<bool>, Condvar), running: &Mutex<BTreeSet<&str>>) {
    let waiting = lock(&finished.0);
    let (done, _) = finished
        .1
        .wait_timeout_while(waiting, GIVE_UP, |done| !*done)
        .unwrap_or_else(PoisonError::into_inner);
    if !*done {
        println!("still running after {GIVE_UP:?}: {:?}", lock(running));
        std::process::abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
