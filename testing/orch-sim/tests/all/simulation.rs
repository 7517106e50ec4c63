//! The simulator itself: it finds nothing wrong with orch, it is deterministic, and every
//! checker of it can fail.

use std::collections::BTreeSet;

use orch_sim::{Mutation, Profile, profile_of, run, run_many, run_mutated, run_twice};

/// Seeds within which a mutation must be caught.
const SEEDS_TO_CATCH: u64 = 40;

fn is_caught(mutation: Mutation) -> bool {
    (1..=SEEDS_TO_CATCH).any(|seed| {
        run_mutated(seed, profile_of(seed), mutation)
            .is_err_and(|violation| violation.promise == mutation.promise())
    })
}

#[test]
fn no_promise_is_broken() {
    let summary = run_many(1, 150, 2);
    let first = summary.violations.first().map(ToString::to_string);
    assert_eq!(first, None);
    assert_eq!(summary.seeds, 150);
    assert!(summary.steps > 150 * 250, "{} steps", summary.steps);
}

#[test]
fn every_mutation_is_caught_by_its_checker() {
    let missed: Vec<_> = Mutation::ALL.iter().filter(|it| !is_caught(**it)).collect();
    assert!(missed.is_empty(), "not caught: {missed:?}");
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
