//! The five systems that this crate replaces, as promises: what each of them does, done here, and what was seen to go
//! wrong in them, not done here. Then what their framework gives its users, and what none of them has.
//!
//! Goal: for every sentence a test, in both modes where the mode matters, on a real file where a user would have one.
//!
//! Method: the worst moment is forced. Somebody is held inside a decision, by a door in a service, until the others stand
//! in line; or all have taken their snapshot before any of them decides, by a meeting inside the clock, which an attempt
//! reads right after its snapshot. Tasks are polled by hand, syncs wait before a gate, a process is killed when it says
//! that it is where it should be. What happened is read from the history, not from a test's own counters alone.
//!
//! The last test reads this table and looks for each test that it names.
//!
//! # Seat reservation, with locks
//!
//! | sentence | test |
//! |---|---|
//! | three customers, one seat: one reservation, two `seat_reserved`, three decisions, no retry | `seat_reservation::three_customers_one_seat` |
//! | the same with checks | `seat_reservation::three_customers_one_seat_with_checks` |
//! | A1 is released and can be reserved again | `seat_reservation::after_its_release_the_seat_can_be_reserved_again` |
//! | an unknown seat is `seat_not_found` | `seat_reservation::an_unknown_seat_is_not_found` |
//! | pricing, eligibility, adjacency and the clock are injected | `seat_reservation::services_and_the_clock_are_injected`, `seat_reservation::an_adjacency_rule_about_other_peoples_seats_is_a_policy` |
//! | 5,000 ms by default, then `LockTimeout` with stream and wait; no conflict, not tried again | `seat_reservation::a_lock_timeout_names_the_stream_and_the_wait` |
//! | commands on different venues never wait for each other | `seat_reservation::other_venues_do_not_wait`, `rules::decides_on_different_venues_meet_even_over_the_whole` |
//! | a handler that panics frees its lock | `seat_reservation::a_handler_that_panics_frees_its_lock`, `rules::rule_07_a_panic_in_decide_hands_the_lock_to_who_waits` |
//! | a handler that fails frees its lock | `seat_reservation_faults::a_handler_that_fails_frees_its_lock` |
//! | theirs: up to three handlers inside one lock | `seat_reservation_faults::only_one_handler_is_inside_a_lock` |
//! | theirs: leaked locks | `seat_reservation_faults::no_lock_is_left_however_a_call_ends` |
//! | theirs: keys cut at 64 characters | `seat_reservation_faults::names_that_share_64_characters_share_nothing`, `bad_input::no_id_aliases_another` |
//! | theirs: the release of a seat that nobody holds, recorded | `seat_reservation_faults::a_release_of_what_one_does_not_have_is_refused_and_changes_nothing` |
//! | theirs: every command replays the stream | `seat_reservation_faults::a_thousand_seats_are_sold_without_a_replay` |
//! | theirs: every command copies every seat | `seat_reservation_faults::a_thousand_seats_are_sold_without_copying_them`, `seat_reservation_faults::the_chart_of_a_venue_is_not_copied_by_its_commands` |
//!
//! # Ticket booking
//!
//! | sentence | test |
//! |---|---|
//! | 1,200 customers want the first free of 1,000 seats: 1,000 have one, 200 are told `sold out`, nobody gets an error | `ticket_booking::a_thousand_seats_and_1200_customers` |
//! | at any window, also at zero | `ticket_booking::a_thousand_seats_and_1200_customers_at_the_same_moment` |
//! | `simple`, as theirs: all succeed, one has the seat | `ticket_booking::control_without_a_look_everybody_succeeds_and_one_has_the_seat` |
//! | `occ`, as theirs: "ticket gone" although seats are left | `ticket_booking::control_with_a_version_and_no_second_try_seats_are_left` |
//! | here: no such failure | `ticket_booking::nobody_is_told_that_a_seat_is_gone_while_others_are_left` |
//! | a version on each seat | `ticket_booking::versions_are_per_seat`, `stamps::agrees_with_the_full_history` |
//! | `zen`: the version after the update must be 1; never sold twice, not even after a release | `ticket_booking::a_policy_sells_a_seat_once_whatever_the_command_forgets`, `holds::a_seat_that_was_sold_once_is_not_sold_again_where_that_is_the_rule` |
//! | a policy is checked at the commit, and no command can forget it | `rules::rule_02_a_policy_holds_what_no_scope_covers`, `rules::rule_02_a_broken_policy_leaves_no_trace_of_any_event` |
//!
//! # BookMySeat
//!
//! | sentence | test |
//! |---|---|
//! | the wire: routes, bodies and status codes, of a server that runs | `book_my_seat_wire::every_sentence_of_the_original_wire`, `book_my_seat_wire::the_delay_of_an_unsafe_booking_is_for_each_seat_and_can_be_none` |
//! | the page: both windows show who has a seat; the stress button shows the anomaly | `book_my_seat::two_windows_fight_for_a_seat_and_both_show_who_has_it`, `book_my_seat::the_rush_shows_an_anomaly_for_unsafe_and_none_for_safe` |
//! | 252 seats in rows, blocks and four categories | `book_my_seat::the_cinema_has_252_seats` |
//! | eighteen of them are booked beforehand by `seed` | `book_my_seat::eighteen_seats_are_booked_beforehand` |
//! | ten requests for a seat: one succeeds, nine are refused, and no seat is there twice | `book_my_seat::of_ten_requests_for_a_seat_one_succeeds_and_nine_are_refused` |
//! | the anomaly of two bookings is found where it is | `audit::a_seat_with_two_holders_is_found`, `ticket_booking::control_without_a_look_everybody_succeeds_and_one_has_the_seat` |
//! | carts are all or nothing | `book_my_seat::a_cart_is_all_or_nothing` |
//! | and locked in one order | `book_my_seat::carts_in_opposite_orders_get_through`, `rules::rule_06_a_cart_enters_all_its_lines_at_once` |
//! | the same seat twice in one cart is an error that says so | `book_my_seat::the_same_seat_twice_in_a_cart_is_an_error_that_says_so` |
//! | no seats, no such show, no such seat, a conflict: told apart | `book_my_seat::every_mistake_has_an_answer_of_its_own` |
//! | what is held reads as booked | `book_my_seat::what_is_held_is_not_available` |
//! | a show is set back | `book_my_seat::a_show_can_be_set_back` |
//! | live updates when somebody else books | `book_my_seat::whoever_looks_on_is_told_when_somebody_books` |
//! | contention is per seat, not per hall | `book_my_seat::contention_is_per_seat_and_not_per_hall`, `book_my_seat::ten_requests_for_ten_seats_are_decided_side_by_side` |
//! | keep the critical section short: neither a sync nor a reader is in it | `rules::a_seat_goes_on_while_its_last_decision_is_being_synced`, `rules::a_read_returns_while_a_decide_is_blocked` |
//! | a uniqueness backstop below the application | `ticket_booking::a_policy_sells_a_seat_once_whatever_the_command_forgets`, `flash_sale::what_was_decided_on_an_old_version_gets_no_number` |
//!
//! # Flash sale, with checks
//!
//! | sentence | test |
//! |---|---|
//! | 5 items, 8 buyers, 5 retries: 5 sales, 3 refusals, stock 0, no error | `flash_sale::five_items_eight_buyers_on_a_file` |
//! | in every one of 10,000 rounds | `flash_sale::five_items_eight_buyers_ten_thousand_rounds` |
//! | the unique key is the backstop | `flash_sale::what_was_decided_on_an_old_version_gets_no_number`, `damaged_files::rows_are_changed_behind_the_checksums_of_redb` |
//! | theirs: lockstep; here a turn, or a `Conflict` with the number of attempts | `flash_sale::lockstep_in_every_attempt_reaches_nobody_as_an_error`, `rules::rule_05_retries_used_up_is_a_turn_or_a_conflict_as_chosen` |
//! | theirs: 9 of 5 | `flash_sale::more_than_there_is_is_refused`, `flash_sale::what_is_sold_is_what_was_there` |
//!
//! # Payment with an external call
//!
//! | sentence | test |
//! |---|---|
//! | three jobs and a reader: one charges, two wait and skip, the reader sees `new` at once | `payment::three_jobs_and_a_reader`, `payment::three_jobs_as_commands` |
//! | the same with checks: one charge | `payment::three_jobs_with_checks_are_one_charge` |
//! | from payed, or failed: all skip | `payment::from_payed_or_failed_everybody_skips` |
//! | job 1 fails to save: the next asks by key and records | `payment_failures::a_job_that_fails_to_save_leaves_it_to_the_next`, `payment_failures::a_save_that_the_disk_refuses_is_one_charge` |
//! | its lock is free at once | `payment_failures::the_lock_of_a_failed_job_is_free_at_once` |
//! | killed between the call and the save | `payment_failures::a_process_that_is_killed_between_the_call_and_the_save_is_one_charge` |
//! | wait with timeout, `NOWAIT` | `payment_locks::a_job_waits_as_long_as_it_says` |
//! | `SKIP LOCKED` | `payment_locks::jobs_skip_what_others_have_locked`, `payment_locks::jobs_skip_streams_that_others_have_locked`, `transactions::what_is_locked_is_skipped` |
//! | `FOR SHARE` | `payment_locks::readers_are_together_and_a_writer_waits`, `transactions::readers_share_and_writers_wait` |
//! | two who share and both want to write: a deadlock, told and not waited out | `payment_locks::two_who_share_and_both_want_to_write_are_told`, `payment_locks::two_who_share_and_both_want_to_write_get_through_by_themselves` |
//!
//! # What the framework gives
//!
//! | sentence | test |
//! |---|---|
//! | retry of conflicts only | `framework::only_conflicts_are_tried_again` |
//! | a unit of work: all or nothing, later steps see earlier ones, both modes, retried as a whole | `framework::a_unit_of_work_is_retried_as_a_whole`, `transactions::later_steps_see_earlier_ones_and_nobody_else_does`, `atomicity::readers_feeds_and_projections_see_whole_entries` |
//! | a command id is one decision, also at the same time, and the first one's result | `framework::a_purchase_that_is_sent_twice_is_one_purchase`, `command_ids::eight_at_once_are_one_decision`, `command_ids::whatever_the_outcome_it_is_the_same_after_a_reopen` |
//! | snapshots every N events: none are kept in the file; what they save a command is saved by a state that is warm | `seat_reservation_faults::a_thousand_seats_are_sold_without_a_replay`, `replay::an_open_gives_back_what_was_closed` |
//! | schema versions with upcasting | `upcasting::every_version_reads_as_the_newest`, `upcasting::a_stored_log_of_version_1_is_read_and_goes_on` |
//! | projections with a position to resume from | `projection::wherever_its_storage_fails_nothing_is_counted_twice_or_left_out`, `projection::it_goes_on_after_a_restart_of_both_and_begins_anew_when_told` |
//! | event metadata: id, time, correlation, causation, user | `framework::every_event_tells_what_it_is_and_who_asked`, `command_ids::metadata_of_handle_and_call_are_found_in_the_history` |
//! | graceful shutdown: what was decided completes, new is refused | `framework::a_close_completes_what_was_decided_and_refuses_what_is_new` |
//! | graceful shutdown: in flight completes, new is refused meanwhile | `framework::a_close_with_a_limit_lets_what_has_begun_complete` |
//! | whoever does not end within the limit is cut off, and is nowhere | `framework::a_close_with_a_limit_ends_at_the_limit` |
//! | under a plain close, what was not decided yet is not waited for, is told, and is nowhere | `framework::a_close_leaves_nothing_in_doubt` |
//! | given / when / then | `given_when_then::a_venue_in_sentences`, `given_when_then::every_flaw_is_caught_and_a_sound_aggregate_is_not` |
//!
//! # What none of the five has
//!
//! | sentence | test |
//! |---|---|
//! | holds with deadline and token | `book_my_seat::what_is_held_is_not_available`, `holds::every_answer_is_that_of_one_thing_after_another`, `hold_tests::a_hold_is_there_until_its_deadline_and_not_at_it` |
//! | deadlock detection | `transactions::two_that_wait_for_each_other_are_told_at_once`, `units::of_three_in_a_ring_one_gives_way` |
//! | retries that guarantee progress | `flash_sale::lockstep_in_every_attempt_reaches_nobody_as_an_error`, `rules::rule_05_optimistic_queues_for_a_turn_at_a_foreign_lock` |
//! | duplicate commands are answered with the first result | `framework::a_purchase_that_is_sent_twice_is_one_purchase`, `command_ids::agrees_with_a_memory_of_first_outcomes` |
//! | crash and power-loss testing | `kill::sales_are_killed`, `power_loss::three_threads_are_cut_off` |
//! | state is kept warm | `seat_reservation_faults::a_thousand_seats_are_sold_without_a_replay` |
//! | group commit | `framework::what_is_decided_during_a_sync_is_one_batch` |
//! | best available seats side by side | `framework::the_best_seats_are_side_by_side_for_everybody`, `hold_tests::the_best_block_is_the_first_and_in_it_the_most_central` |
//! | limits per customer | `seat_reservation_faults::names_that_share_64_characters_share_nothing`, `rules::rule_02_write_skew_on_a_customers_limit_optimistic`, `rules::rule_02_write_skew_on_a_customers_limit_pessimistic` |
//! | a gapless change feed | `feed::a_reader_from_every_position_sees_what_four_threads_write` |
//! | a checker that re-derives every seat from the log | `audit::an_audit_of_a_sale_finds_nothing`, `audit::a_seat_with_two_holders_is_found` |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

#[path = "seeds/book_my_seat.rs"]
mod book_my_seat;
#[path = "seeds/flash_sale.rs"]
mod flash_sale;
#[path = "seeds/framework.rs"]
mod framework;
#[path = "seeds/halls.rs"]
mod halls;
#[path = "seeds/payment.rs"]
mod payment;
#[path = "seeds/payment_failures.rs"]
mod payment_failures;
#[path = "seeds/payment_locks.rs"]
mod payment_locks;
#[path = "seeds/seat_reservation.rs"]
mod seat_reservation;
#[path = "seeds/seat_reservation_faults.rs"]
mod seat_reservation_faults;
#[path = "seeds/ticket_booking.rs"]
mod ticket_booking;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The tests of the files below a folder: each under the name of its file and of its folder.
fn tests_below(folder: &Path, found: &mut BTreeSet<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, found);
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = text.lines().map(str::trim);
        while lines.by_ref().any(|line| line == "#[test]") {
            let name = lines.by_ref().find_map(|line| line.strip_prefix("fn ")).unwrap();
            let name = name.split('(').next().unwrap().to_owned();
            let places = [path.file_stem(), path.parent().and_then(Path::file_name)];
            for place in places.into_iter().flatten() {
                found.insert((place.to_string_lossy().into_owned(), name.clone()));
            }
        }
    }
}

#[test]
fn every_test_that_the_table_names_is_there() {
    let (root, mut found) = (Path::new(env!("CARGO_MANIFEST_DIR")), BTreeSet::new());
    tests_below(&root.join("tests"), &mut found);
    tests_below(&root.join("src"), &mut found);
    let table = include_str!("seeds.rs").lines().filter(|line| line.starts_with("//! |"));
    let named: Vec<_> = table
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter_map(|name| name.split_once("::"))
        .map(|(place, name)| (place.to_owned(), name.to_owned()))
        .collect();
    for name in &named {
        assert!(found.contains(name), "there is no test {}::{}", name.0, name.1);
    }
    // And each test of the files below this one is in the table, except those that are part of another.
    let mut mine = BTreeSet::new();
    tests_below(&root.join("tests/seeds"), &mut mine);
    for test in mine.iter().filter(|(place, name)| place != "seeds" && !name.starts_with("child_")) {
        assert!(named.contains(test), "the table does not name {}::{}", test.0, test.1);
    }
}
