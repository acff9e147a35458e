//! The systems that this crate replaces, as promises: what each of them does, done here, and what was seen to go wrong
//! in them, not done here.
//!
//! Goal: for every sentence a test, in both modes where the mode matters, on a real file where a user would have one.
//!
//! Method: the worst moment is forced. Somebody is held inside a decision, by a door in a service, until the others stand
//! in line; or all have taken their snapshot before any of them decides, by a meeting inside the clock, which an attempt
//! reads right after its snapshot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

#[path = "seeds/book_my_seat.rs"]
mod book_my_seat;
#[path = "seeds/flash_sale.rs"]
mod flash_sale;
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
