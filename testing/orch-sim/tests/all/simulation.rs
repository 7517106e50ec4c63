//! The simulator itself: it finds nothing wrong with orch, it is deterministic, and every
//! checker of it can fail.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use orch_core::event::EventKind;
use orch_core::run::{FailureCode, RunStatus};
use orch_core::wait::WaitCode;
use orch_sim::{Mutation, Profile, Summary, profile_of, run, run_many, run_mutated, run_twice};

/// Seeds within which a mutation must be caught.
const SEEDS_TO_CATCH: u64 = 40;

/// Seeds that every test run plays; CI plays many more with `cargo xtask sim`.
const SEEDS: u64 = 200;

/// What those seeds came to.
pub static SUMMARY: LazyLock<Summary> = LazyLock::new(|| run_many(1, SEEDS, 2));

/// Whether some seed shows the mutation to the checker of the promise it breaks.
pub fn is_caught(mutation: Mutation) -> bool {
    (1..=SEEDS_TO_CATCH).any(|seed| {
        run_mutated(seed, profile_of(seed), mutation)
            .is_err_and(|violation| violation.promise == mutation.promise())
    })
}

#[test]
fn no_promise_is_broken() {
    let first = SUMMARY.violations.first().map(ToString::to_string);
    assert_eq!(first, None);
    assert_eq!(SUMMARY.seeds, SEEDS);
    assert!(SUMMARY.steps > SEEDS * 250, "{} steps", SUMMARY.steps);
}

/// A simulator that never gets somewhere proves nothing about it.
#[test]
fn every_fact_ending_and_wait_reason_comes_up() {
    let seen = &SUMMARY.marks;
    let never = [
        // The fake host has no output limit and keeps its directories.
        FailureCode::OutputLimit.as_str(),
        FailureCode::RecordMissing.as_str(),
        // Right after a plan nobody waits for a turn, and that is when the simulator asks.
        WaitCode::Turn.as_str(),
        // How much room there is on a disk, what the machine has to give, and that an end is still
        // being read are no business of the engine.
        WaitCode::Disk.as_str(),
        WaitCode::Resources.as_str(),
        WaitCode::Ending.as_str(),
    ];
    let words = EventKind::ALL.iter().map(|kind| kind.as_str());
    let words = words.chain(FailureCode::ALL.iter().map(|code| code.as_str()));
    let words = words.chain(
        RunStatus::ALL
            .iter()
            .filter(|it| it.is_final())
            .map(|it| it.as_str()),
    );
    let words = words.chain(WaitCode::ALL.iter().map(|code| code.as_str()));
    let missing: Vec<&str> = words
        .filter(|word| !seen.contains(word) && !never.contains(word))
        .collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");
}

#[test]
fn every_promise_has_a_mutation_that_breaks_it() {
    let broken: BTreeSet<&str> = Mutation::ALL.iter().map(|it| it.promise()).collect();
    for promise in orch_sim::promises() {
        assert!(broken.contains(promise), "nothing breaks {promise}");
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    for profile in Profile::ALL {
        for seed in 1..=5 {
            run_twice(seed, *profile).unwrap();
        }
    }
    assert_ne!(
        run(1, Profile::Busy).unwrap(),
        run(2, Profile::Busy).unwrap()
    );
}

#[test]
fn a_violation_names_the_command_that_repeats_it() {
    let violation = run_mutated(1, Profile::Chaos, Mutation::RewritesEndedRuns).unwrap_err();
    let command = "cargo xtask sim --seed 1 --profile chaos";
    assert_eq!(violation.command(), command);
    assert!(violation.to_string().ends_with(command), "{violation}");
}
