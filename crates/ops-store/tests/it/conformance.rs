//! What every dialect of the store does. A dialect says how it opens a [`World`](crate::world::World)
//! and calls [`conformance!`]; each check is a function that takes one.

pub(crate) mod agents;
pub(crate) mod append;
pub(crate) mod approvals;
pub(crate) mod budgets;
pub(crate) mod claim;
pub(crate) mod clocks;
pub(crate) mod control;
pub(crate) mod deadlines;
pub(crate) mod ends;
pub(crate) mod fork;
pub(crate) mod list;
pub(crate) mod log;
pub(crate) mod providers;
pub(crate) mod relations;
pub(crate) mod retention;
pub(crate) mod schedules;
pub(crate) mod sessions;
pub(crate) mod submit;
pub(crate) mod walls;

/// One check as a test, with attributes of its own.
macro_rules! check {
    ([$($attribute:tt)*] $open:path, $module:ident, $check:ident) => {
        $($attribute)*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            let world = $open();
            $crate::conformance::$module::$check(&world).await;
        }
    };
}
pub(crate) use check;

/// Makes a test of each check, with a fresh world from `$open`.
macro_rules! conformance {
    ($open:path) => {
        $crate::conformance::conformance! { [] $open }
    };
    ($attributes:tt $open:path) => {
        $crate::conformance::conformance! { $attributes $open;
            submit: stores_the_task_and_its_first_event, keeps_every_field, delays_until_run_at,
                finds_the_task_of_a_key,
                keeps_the_engines_keys_apart_from_those_of_clients, makes_one_task_of_one_key_in_parallel,
                refuses_an_id_that_is_taken;
            claim: takes_turns_among_tenants, takes_priority_then_age, takes_aged_tasks_first_in_their_slices, keeps_to_the_queue_and_the_number,
                never_shares_a_task, needs_a_session_that_lives, keeps_to_the_rate_of_the_queue,
                blocks_a_long_backlog_in_pieces;
            append: writes_events_usage_and_losses, refuses_a_stale_epoch, counts_stale_writes,
                refuses_a_wrong_seq, refuses_before_and_after_the_lease,
                fails_no_neighbour, counts_no_gap_under_concurrency;
            ends: completes, fails_for_good, retries_then_gives_up, ends_once,
                tells_a_failure_until_it_completes,
                repeats_a_lost_acknowledgement, repeats_every_end, repeats_after_another_lease,
                takes_nothing_else_for_a_repetition;
            relations: starts_children_with_the_append, tells_the_parent_how_children_end,
                wakes_the_parent_once_all_have_ended, cancels_children_with_their_parent,
                cancels_grandchildren_at_once, ends_children_that_their_parent_leaves,
                runs_one_task_of_a_key, gives_a_key_to_an_aged_waiter_in_its_slices, keeps_the_age_of_a_waiter_that_is_readied, gives_a_key_to_the_next_in_turn, passes_on_a_turn_that_is_not_taken,
                holds_no_key_for_a_queue_that_is_not_served, passes_over_those_that_are_blocked,
                keeps_keys_of_tenants_apart;
            approvals: opens_with_the_append_and_is_decided_once, binds_an_edit_to_its_revision,
                lapses_in_time_and_with_its_task, lists_by_status_and_task,
                takes_a_preview_once_and_keeps_an_edit, knows_when_it_escalates;
            budgets: reserve_with_the_intent_and_settle_with_the_outcome, are_refused_as_a_whole,
                tell_used_from_under_way, wake_the_oldest_waiters_that_have_room,
                begin_anew_with_each_window, are_exact_in_parallel;
            providers: refuse_a_call_and_give_a_turn, end_a_wait_with_the_deadline,
                keep_lost_calls_and_correct_settled_ones, are_exact_in_parallel;
            fork: copies_the_log_up_to_a_step, keeps_what_was_told_to_the_run,
                takes_a_dead_letter_off_the_list, tells_of_children_that_were_lost, refuses_what_is_not_there;
            deadlines: ends_a_task_that_waits_for_its_next_attempt, ends_what_nobody_decides_or_takes_up,
                leaves_alone_what_is_held_or_paused, keeps_to_the_limits_in_force,
                ends_what_does_not_start_in_time;
            clocks: ends_waits_that_were_made_ahead_of_time, corrects_approvals_and_what_is_held;
            control: cancels_in_each_state, does_not_run_while_paused, tells_the_session_at_once, resolves_what_is_in_doubt, wakes_timers_when_due,
                releases_a_task, lays_limits_over_those_that_were_asked_for;
            sessions: lists_what_is_cancelled, takes_leases_back_on_expiry,
                lives_by_heartbeats, closes, dead_letters_a_task_that_kills_workers,
                runs_one_suspect_at_a_time;
            log: reads_in_pages, bounds_the_bytes_of_a_page, says_where_a_task_stands,
                finds_the_turn_of_an_event, keeps_large_values, reads_blobs_in_slices, refuses_what_is_too_large,
                refuses_a_false_digest, keeps_the_newest_snapshot;
            list: filters_and_orders, finds_by_terms_and_time, pages_through_everything,
                sees_one_state_while_tasks_move, counts_states, names_ready_queues,
                tells_the_observer;
            schedules: keeps_what_is_wanted, lists_by_name, lists_those_of_every_tenant,
                changes_only_what_is_as_expected, pauses_resumes_and_removes,
                says_what_is_due, fires_once, fires_once_in_parallel,
                looks_whether_a_fire_still_stands, counts_every_run_that_has_not_ended,
                skips_or_queues_what_overlaps, cancels_what_overlaps, runs_when_asked,
                notes_what_was_missed_and_refused, keeps_the_last_runs,
                hides_schedules_of_others;
            retention: deletes_what_was_kept_long_enough, keeps_the_newest_row,
                deletes_long_logs_in_pieces, keeps_values_that_are_shared,
                keeps_what_forks_and_parents_refer_to, frees_the_idempotency_key, deletes_for_every_tenant;
            agents: keeps_every_version, lists_by_name, changes_what_is_as_expected,
                refuses_circles_and_strangers, pins_tasks_to_a_version, hides_agents_of_others,
                removes_an_agent_that_nothing_names;
            walls: hide_every_verb;
        }
    };
    ($attributes:tt $open:path; $($module:ident: $($check:ident),*;)*) => {
        $(mod $module {
            $(
                $crate::conformance::check! { $attributes $open, $module, $check }
            )*
        })*
    };
}
pub(crate) use conformance;
