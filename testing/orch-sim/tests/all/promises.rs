//! The promises that are about decisions, by name: no seed breaks one, and orch changed so that it
//! would break one is caught by the checker of that promise.

use orch_sim::Mutation;

use crate::simulation::{SUMMARY, is_caught};

/// No seed that was played broke what these checkers check, and each of them can fail.
fn hold(checkers: &[&str]) {
    for checker in checkers {
        let broken = SUMMARY.violations.iter().find(|it| it.promise == *checker);
        assert_eq!(broken.map(ToString::to_string), None);
        let breaking = || Mutation::ALL.iter().filter(|it| it.promise() == *checker);
        assert!(breaking().count() > 0, "nothing breaks {checker}");
        let missed: Vec<_> = breaking().filter(|it| !is_caught(**it)).collect();
        assert!(missed.is_empty(), "{checker} does not see {missed:?}");
    }
}

/// Promise 1.
#[test]
fn no_stale_running() {
    hold(&["no_stale_running", "everything_settles"]);
}

/// Promise 2.
#[test]
fn exact_status() {
    hold(&["exact_status"]);
}

/// Promise 4.
#[test]
fn success_needs_proof() {
    hold(&["success_needs_proof"]);
}

/// Promise 5.
#[test]
fn no_failure_without_reason() {
    hold(&["failure_has_reason"]);
}

/// Promise 7.
#[test]
fn one_transaction() {
    hold(&["one_transaction", "unmet_is_exact"]);
}

/// Promise 8.
#[test]
fn terminal_is_final() {
    hold(&["terminal_is_final"]);
}

/// Promise 10.
#[test]
fn at_most_one_start() {
    hold(&["one_start_per_attempt", "record_then_act"]);
}

/// Promise 11.
#[test]
fn no_two_live_processes() {
    hold(&["one_start_per_attempt", "terminal_means_dead"]);
}

/// Promise 14.
#[test]
fn cancelled_means_dead() {
    hold(&["terminal_means_dead"]);
}

/// Promise 17.
#[test]
fn dependents_start_once() {
    hold(&["dependants_start_after", "done_has_landed"]);
}

/// Promise 18.
#[test]
fn slots() {
    hold(&["slots_within_caps"]);
}

/// Promise 19.
#[test]
fn attempts() {
    hold(&["attempts_are_counted", "backoff_is_honoured"]);
}

/// All that the simulator checks: also what no numbered promise says and every user expects.
#[test]
fn every_checker() {
    hold(&orch_sim::promises());
}
