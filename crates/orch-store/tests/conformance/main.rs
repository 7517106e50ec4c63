//! What every engine must do, run against each of them, and each of them against the other.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cases;
mod compare;
mod sample;

use orch_store::memory::MemoryStore;
use orch_store::sqlite::SqliteStore;

/// A store for one test, with what must live as long as it.
fn sqlite() -> (tempfile::TempDir, SqliteStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("orch.db")).unwrap();
    (directory, store)
}

macro_rules! suite {
    ($($case:ident,)+) => {
        mod memory {
            $(#[test]
            fn $case() {
                super::cases::$case(&mut super::MemoryStore::default());
            })+
        }

        mod sqlite {
            $(#[test]
            fn $case() {
                let (_directory, mut store) = super::sqlite();
                super::cases::$case(&mut store);
            })+
        }
    };
}

suite! {
    a_task_comes_back_as_it_went_in,
    a_run_comes_back_as_it_went_in,
    hostile_text_comes_back_as_it_went_in,
    an_error_leaves_no_trace,
    a_panic_leaves_no_trace,
    a_part_that_fails_leaves_no_trace_and_the_rest_stays,
    parts_lie_inside_each_other,
    a_transaction_sees_the_facts_it_has_recorded,
    an_id_is_given_once,
    what_is_not_there_cannot_be_rewritten,
    a_task_has_one_live_run,
    a_run_that_has_ended_is_final,
    a_failure_has_evidence,
    a_task_goes_with_its_runs,
    a_task_that_is_needed_stays,
    a_task_that_is_at_work_stays,
    numbers_are_never_given_again,
    dependencies_tell_how_they_stand,
    dependencies_are_replaced,
    unmet_is_shifted_for_one_kind,
    unmet_never_falls_below_zero,
    ready_tasks_come_by_priority_then_age,
    ready_lanes_are_those_with_ready_tasks,
    a_task_enters_and_leaves_the_queue_with_its_state,
    holds_end_in_order,
    landings_come_in_order_of_arrival,
    people_are_asked_by_priority_then_age,
    live_runs_come_oldest_first,
    events_have_no_gap,
    tasks_are_listed_newest_first,
    tasks_are_filtered,
    tasks_are_listed_page_by_page,
    labels_follow_their_task,
    runs_are_listed_and_filtered,
    ids_are_found_by_prefix,
    tasks_are_counted,
    a_reader_sees_what_was_committed,
    a_reader_can_hold_a_moment,
    a_reader_cannot_write,
}
