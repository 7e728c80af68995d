//! What every dialect of the store does. A dialect says how it opens a [`World`](crate::world::World)
//! and calls [`conformance!`]; each check is a function that takes one.

pub(crate) mod append;
pub(crate) mod claim;
pub(crate) mod control;
pub(crate) mod ends;
pub(crate) mod list;
pub(crate) mod log;
pub(crate) mod sessions;
pub(crate) mod submit;
pub(crate) mod walls;

/// Makes a test of each check, with a fresh world from `$open`.
macro_rules! conformance {
    ($open:path) => {
        $crate::conformance::conformance! { $open;
            submit: stores_the_task_and_its_first_event, keeps_every_field, delays_until_run_at,
                finds_the_task_of_a_key, makes_one_task_of_one_key_in_parallel,
                refuses_an_id_that_is_taken;
            claim: takes_priority_then_age, keeps_to_the_queue_and_the_number,
                never_shares_a_task, needs_a_session_that_lives;
            append: writes_events_usage_and_losses, refuses_a_stale_epoch,
                refuses_a_wrong_seq, refuses_before_and_after_the_lease,
                fails_no_neighbour, counts_no_gap_under_concurrency;
            ends: completes, fails_for_good, retries_then_gives_up, ends_once,
                repeats_a_lost_acknowledgement, repeats_every_end, repeats_after_another_lease,
                takes_nothing_else_for_a_repetition;
            control: cancels_in_each_state, resolves_what_is_in_doubt, wakes_timers_when_due,
                releases_a_task;
            sessions: lists_what_is_cancelled, takes_leases_back_on_expiry,
                lives_by_heartbeats, closes, dead_letters_a_task_that_kills_workers,
                runs_one_suspect_at_a_time;
            log: reads_in_pages, keeps_large_values, reads_blobs_in_slices, refuses_what_is_too_large,
                refuses_a_false_digest, keeps_the_newest_snapshot;
            list: filters_and_orders, pages_through_everything, counts_states, names_ready_queues,
                tells_the_observer;
            walls: hide_every_verb;
        }
    };
    ($open:path; $($module:ident: $($check:ident),*;)*) => {
        $(mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    let world = $open();
                    $crate::conformance::$module::$check(&world).await;
                }
            )*
        })*
    };
}
pub(crate) use conformance;
