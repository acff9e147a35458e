//! BookMySeat: a cinema of 252 seats, carts of them, and ten requests for one seat.
//!
//! What its clients send over the wire is tested beside the server; here is what the server relies on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use boxoffice::clock::{ManualClock, Timestamp};
use boxoffice::history::AsyncFeed;
use boxoffice::layout::Layout;
use boxoffice::options::Builder;
use boxoffice::venue::{Refusal, Request, SeatStatus, Venue, VenueCommand, VenueServices};
use boxoffice::{Engine, Error, Handle, Options};
use futures_core::Stream;
use smol_str::SmolStr;

use crate::halls::{audited, counts, file, holder, reason, slow, while_deciding};
use crate::support::{Door, HookClock, Meeting, Polled, at_next_look, at_once, error_of, modes};

type Cinema = Venue<SmolStr>;

const SHOW: &str = "tonight";

/// What the page shows: rows, blocks, and the numbers from left to right.
fn layout() -> Layout {
    let mut layout = Layout::builder()
        .category("classic", 17_796)
        .category("extra_legroom", 23_656)
        .category("prime", 29_546)
        .category("recliner", 47_296);
    for row in ["A", "B", "C"] {
        layout = layout.row(row, "classic", [(9, 1), (18, 10)]);
    }
    layout = layout.row("D", "extra_legroom", [(9, 1), (18, 10)]);
    for row in ["E", "F", "G", "H", "I", "J", "K", "L"] {
        layout = layout.row(row, "prime", [(7, 1), (14, 8), (21, 15)]);
    }
    layout.row("M", "recliner", [(12, 1)]).build().unwrap()
}

/// Booked before anybody comes.
fn seeded() -> Vec<String> {
    let of_row = |row: &str| [1, 2, 3].map(|number| format!("{row}{number}"));
    ["G", "H", "I", "J", "K", "L"].iter().flat_map(|row| of_row(row)).collect()
}

fn book<L: AsRef<str>>(client: &str, seats: impl IntoIterator<Item = L>) -> VenueCommand<SmolStr> {
    VenueCommand::reserve(client.into(), seats)
}

/// The show as the page finds it.
fn opened(builder: Builder) -> (Engine, Handle<Cinema>) {
    let engine = builder.in_memory().unwrap();
    let shows = engine.handle::<Cinema>(VenueServices::default()).unwrap();
    assert_eq!(reason(&shows, SHOW, &VenueCommand::create(layout())), None);
    assert_eq!(reason(&shows, SHOW, &book("seed", seeded())), None);
    (engine, shows)
}

fn builder(options: Options) -> Builder {
    Engine::builder().aggregate_with::<Cinema>(options)
}

#[test]
fn the_cinema_has_252_seats() {
    let cinema = layout();
    assert_eq!(cinema.len(), 252);
    let mut seen = Vec::new();
    for row in cinema.rows() {
        let numbers: Vec<u32> = row.seats().map(|seat| row.number(seat).unwrap()).collect();
        for seat in row.seats() {
            assert_eq!(cinema.price(seat), Some(row.category().price), "{row:?}");
            assert_eq!(cinema.label(seat).unwrap(), format!("{}{}", row.name(), row.number(seat).unwrap()));
        }
        let (first, last) = (numbers[0], *numbers.last().unwrap());
        assert!(numbers.iter().copied().eq((last..=first).rev()), "{row:?}: they fall from left to right");
        let (name, price) = (row.category().name.to_string(), row.category().price);
        seen.push((row.name().to_owned(), row.block(), first, last, name, price));
    }
    let mut expected = Vec::new();
    let mut add = |rows: &[&str], category: &str, price: u64, blocks: &[(u32, u32)]| {
        for row in rows {
            for (block, (first, last)) in (0..).zip(blocks) {
                expected.push(((*row).to_owned(), block, *first, *last, category.to_owned(), price));
            }
        }
    };
    add(&["A", "B", "C"], "classic", 17_796, &[(9, 1), (18, 10)]);
    add(&["D"], "extra_legroom", 23_656, &[(9, 1), (18, 10)]);
    let prime = ["E", "F", "G", "H", "I", "J", "K", "L"];
    add(&prime, "prime", 29_546, &[(7, 1), (14, 8), (21, 15)]);
    add(&["M"], "recliner", 47_296, &[(12, 1)]);
    assert_eq!(seen, expected);

    // The same from a file that somebody can edit.
    let both = |row| format!("row {row} classic 9-1 | 18-10\n");
    let three = |row| format!("row {row} prime 7-1 | 14-8 | 21-15\n");
    let text = ["A", "B", "C"].map(both).concat()
        + "row D extra_legroom 9-1 | 18-10\n"
        + &prime.map(three).concat()
        + "row M recliner 12-1\n";
    let categories = "category classic 17796\ncategory extra_legroom 23656\ncategory prime 29546\ncategory recliner 47296\n";
    assert_eq!(Layout::parse(&(categories.to_owned() + &text)).unwrap(), cinema);
}

#[test]
fn eighteen_seats_are_booked_beforehand() {
    for (mode, options) in modes() {
        let (_folder, path) = file();
        let engine = builder(options).open(&path).unwrap();
        let shows = engine.handle::<Cinema>(VenueServices::default()).unwrap();
        assert_eq!(reason(&shows, SHOW, &VenueCommand::create(layout())), None);
        let outcome = shows.execute(SHOW, &book("seed", seeded())).unwrap();
        let seats = outcome.events()[0].seats();
        assert_eq!(seats.len(), 18, "{mode}");
        let cinema = layout();
        for seat in seats {
            let row = cinema.row(*seat).unwrap();
            assert!(("G"..="L").contains(&row.name()) && row.block() == 0, "{mode}: {row:?}");
            assert!(row.number(*seat).unwrap() <= 3);
        }
        engine.close().unwrap();

        let engine = builder(options).open(&path).unwrap();
        let shows = engine.handle::<Cinema>(VenueServices::default()).unwrap();
        let view = shows.read(SHOW).unwrap();
        assert_eq!((view.sold(), view.available(Timestamp(0))), (18, 234), "{mode}");
        assert_eq!(**view.layout().unwrap(), cinema, "{mode}");
        assert_eq!(holder(&view, "G1").as_deref(), Some("seed"), "{mode}");
        engine.close().unwrap();
    }
}

/// All ten have seen the seat free, or stand in line for it, before anybody decides. Theirs sold it ten times.
#[test]
fn of_ten_requests_for_a_seat_one_succeeds_and_nine_are_refused() {
    let clients: Vec<String> = (0..10).map(|client| format!("client-{client}")).collect();
    for (mode, options) in modes() {
        let (_folder, path) = file();
        let engine = builder(options).clock(HookClock::default()).open(&path).unwrap();
        let shows = engine.handle::<Cinema>(VenueServices::default()).unwrap();
        assert_eq!(reason(&shows, SHOW, &VenueCommand::create(layout())), None);
        let asks: Vec<_> = clients.iter().map(|client| book(client, ["E7"])).collect();
        let outcomes: Vec<_> = thread::scope(|scope| match mode {
            "pessimistic" => {
                let door = Door::new();
                let behind = engine.handle::<Cinema>(slow(&door)).unwrap();
                let first = &asks[0];
                let first = scope.spawn(move || behind.execute(SHOW, first).unwrap());
                door.await_arrivals(1);
                let mut others: Vec<_> =
                    asks[1..].iter().map(|ask| Polled::new(shows.execute_async(SHOW, ask))).collect();
                assert!(others.iter_mut().all(|other| other.poll().is_none()));
                door.open();
                let others = others.into_iter().map(|other| other.finish().unwrap());
                std::iter::once(first.join().unwrap()).chain(others).collect()
            }
            _ => {
                let (shows, meeting) = (&shows, Meeting::new(asks.len()));
                let ask = |ask| {
                    let meeting = Arc::clone(&meeting);
                    scope.spawn(move || {
                        at_next_look(move || meeting.wait());
                        shows.execute(SHOW, ask).unwrap()
                    })
                };
                let threads: Vec<_> = asks.iter().map(ask).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            }
        });
        let words: Vec<_> =
            outcomes.iter().filter_map(|outcome| Some(outcome.rejection()?.reason())).collect();
        assert_eq!(words, ["seat_reserved"; 9], "{mode}");
        let conflicts: u32 = outcomes.iter().map(|outcome| outcome.effort().conflicts).sum();
        assert_eq!(conflicts, if mode == "pessimistic" { 0 } else { 9 }, "{mode}: nobody lost twice");
        engine.close().unwrap();

        let engine = builder(options).open(&path).unwrap();
        let shows = engine.handle::<Cinema>(VenueServices::default()).unwrap();
        assert_eq!(counts(&shows, SHOW), (2, 9), "{mode}");
        let ledger = audited(&shows, SHOW);
        let holders: Vec<_> = ledger.tenures().map(|tenure| tenure.holder.to_string()).collect();
        let winner = outcomes.iter().position(|outcome| outcome.is_accepted()).unwrap();
        assert_eq!(holders, [clients[winner].as_str()], "{mode}");
        engine.close().unwrap();
    }
}

#[test]
fn a_cart_is_all_or_nothing() {
    for (mode, options) in modes() {
        let (engine, shows) = opened(builder(options));
        assert_eq!(reason(&shows, SHOW, &book("ada", ["A2"])), None);
        for cart in [vec!["A1", "A2", "A3"], vec!["A2", "G1"], vec!["A1", "Z1"], vec!["Z1", "A2", "A1"]] {
            let outcome = shows.execute(SHOW, &book("bob", &cart)).unwrap();
            let Some(Refusal::Seats(refused)) = outcome.rejection().map(|no| &no.refusal) else {
                panic!("{mode}: {cart:?}: {outcome:?}");
            };
            let in_the_way = |label: &&&str| ["A2", "G1", "Z1"].contains(*label);
            let expected: Vec<&str> = cart.iter().filter(in_the_way).copied().collect();
            let named: Vec<&str> = refused.iter().map(|seat| seat.label.as_str()).collect();
            assert_eq!(named, expected, "{mode}: every seat in the way is named");
            let view = shows.read(SHOW).unwrap();
            assert_eq!((view.sold(), holder(&view, "A1")), (19, None), "{mode}: {cart:?}");
        }
        let cart = ["M12", "A1", "E7", "D18"];
        let outcome = shows.execute(SHOW, &book("bob", cart)).unwrap();
        assert_eq!(outcome.events().len(), 1, "{mode}: one event for all of it");
        let view = shows.read(SHOW).unwrap();
        assert!(cart.iter().all(|label| holder(&view, label).as_deref() == Some("bob")), "{mode}");
        engine.close().unwrap();
    }
}

/// Two carts that name the same seats in opposite order, both under way: neither waits for ever.
#[test]
fn carts_in_opposite_orders_get_through() {
    for (mode, options) in modes() {
        let (engine, shows) = opened(builder(options).clock(HookClock::default()));
        // With locks: both stand in line behind somebody who has one of the seats for the moment.
        let door = Door::new();
        let services = VenueServices::default().with_eligibility({
            let door = Arc::clone(&door);
            move |_: &Request<'_, SmolStr>| {
                door.pass();
                Err("changed his mind".into())
            }
        });
        let behind = engine.handle::<Cinema>(services).unwrap().with(Options::pessimistic());
        let (there, back) = (book("there", ["A1", "A2", "A3"]), book("back", ["A3", "A2", "A1"]));
        let waits = shows.with(Options::pessimistic());
        thread::scope(|scope| {
            let first = scope.spawn(|| behind.execute(SHOW, &book("first", ["A2"])).unwrap());
            door.await_arrivals(1);
            let mut carts = [&there, &back].map(|cart| Polled::new(waits.execute_async(SHOW, cart)));
            assert!(carts.iter_mut().all(|cart| cart.poll().is_none()), "{mode}");
            door.open();
            assert!(!first.join().unwrap().is_accepted());
            let [there, back] = carts.map(|cart| cart.finish().unwrap());
            assert_eq!((there.is_accepted(), back.is_accepted()), (true, false), "{mode}: as they came");
        });
        // Without: both have seen all three seats free.
        let (meeting, rows) = (Meeting::new(2), ["B", "C", "D"]);
        for row in rows {
            let won = thread::scope(|scope| {
                let carts = [[1, 2, 3], [3, 2, 1]].map(|order| {
                    let (shows, meeting) = (&shows, Arc::clone(&meeting));
                    scope.spawn(move || {
                        if mode == "optimistic" {
                            at_next_look(move || meeting.wait());
                        } else {
                            meeting.wait();
                        }
                        let seats = order.map(|number| format!("{row}{number}"));
                        shows.execute(SHOW, &book("somebody", seats)).unwrap().is_accepted()
                    })
                });
                carts.map(|cart| cart.join().unwrap()).iter().filter(|won| **won).count()
            });
            assert_eq!(won, 1, "{mode}: row {row}");
        }
        assert_eq!(shows.read(SHOW).unwrap().sold(), 18 + 3 + 3 * 3, "{mode}: no cart is there in part");
        engine.close().unwrap();
    }
}

/// Not a rejection, which depends on the hall: a mistake, which says what it is, and leaves no trace.
#[test]
fn the_same_seat_twice_in_a_cart_is_an_error_that_says_so() {
    for (mode, options) in modes() {
        let (engine, shows) = opened(builder(options));
        let before = engine.position();
        let long: Vec<String> = (1..=9).chain([4]).map(|number| format!("A{number}")).collect();
        let carts = [
            (vec!["A1".to_owned(), "A1".to_owned()], "A1"),
            (vec!["A1".to_owned(), "B1".to_owned(), "A1".to_owned()], "A1"),
            (vec!["G1".to_owned(), "G1".to_owned()], "G1"),
            (long, "A4"),
        ];
        for (cart, twice) in &carts {
            let hour = Duration::from_secs(3_600);
            let commands = [
                book("ada", cart),
                VenueCommand::release("seed".into(), cart),
                VenueCommand::hold("ada".into(), cart, hour),
                VenueCommand::force_release(cart, "swept"),
            ];
            for command in &commands {
                let error = error_of(shows.execute(SHOW, command));
                assert!(matches!(error, Error::InvalidCommand { .. }), "{mode}: {error}");
                let said = format!("seat {twice} is in the cart twice");
                assert!(error.to_string().contains(&said), "{mode}: {error}");
                let mut unit = engine.begin(options);
                let error = error_of(unit.execute(&shows, SHOW, command).map(drop));
                assert!(error.to_string().contains(&said), "{mode}: in a unit: {error}");
            }
        }
        assert_eq!((engine.position(), shows.read(SHOW).unwrap().sold()), (before, 18), "{mode}");
        engine.close().unwrap();
    }
}

/// What the server tells its clients apart: no seats, no such show, no such seat, and somebody has it.
#[test]
fn every_mistake_has_an_answer_of_its_own() {
    for (mode, options) in modes() {
        let (engine, shows) = opened(builder(options));
        let empty = error_of(shows.execute(SHOW, &book("ada", [""; 0])));
        assert!(
            matches!(&empty, Error::InvalidCommand { why } if why.to_string().contains("empty")),
            "{mode}: {empty}"
        );
        let unknown = error_of(shows.execute("yesterday", &book("ada", ["A1"])));
        assert!(matches!(&unknown, Error::UnknownStream { stream } if &*stream.id == "yesterday"), "{mode}");
        assert!(matches!(error_of(shows.read("yesterday")), Error::UnknownStream { .. }), "{mode}");
        assert_eq!(reason(&shows, SHOW, &book("ada", ["A19"])), Some("seat_not_found"), "{mode}");
        assert_eq!(reason(&shows, SHOW, &book("ada", ["G1"])), Some("seat_reserved"), "{mode}");
        assert_eq!(shows.ids(), [SHOW], "{mode}: no show came to be by asking for it");
        engine.close().unwrap();
    }
}

/// The delay of one request, which may be for several seats, holds up nobody else in the hall: not in the same row, and
/// not beside it.
#[test]
fn contention_is_per_seat_and_not_per_hall() {
    for (mode, options) in modes() {
        let (engine, shows) = opened(builder(options));
        let door = Door::new();
        let behind = engine.handle::<Cinema>(slow(&door)).unwrap().with(options);
        let quick = shows.with(at_once(options));
        let (cinema, seeded, delayed) = (layout(), seeded(), ["E4", "E6"]);
        while_deciding((&behind, &door), (SHOW, &book("ada", delayed)), || {
            for label in cinema.seats().filter_map(|seat| cinema.label(seat)) {
                if delayed.contains(&&*label) || seeded.iter().any(|seat| *seat == label) {
                    continue;
                }
                let receipt = quick.submit(SHOW, &book("bob", [&label])).unwrap();
                let outcome = receipt.provisional().unwrap();
                let effort = outcome.effort();
                assert!(outcome.is_accepted(), "{mode}: {label}");
                assert_eq!((effort.conflicts, effort.lock_waits), (0, 0), "{mode}: {label}");
            }
            if mode == "pessimistic" {
                let same = error_of(quick.execute(SHOW, &book("bob", ["E4"])));
                assert!(matches!(same, Error::WouldBlock { .. }), "{same}");
            }
        });
        let view = shows.read(SHOW).unwrap();
        assert_eq!((view.sold(), holder(&view, "E4").as_deref()), (252, Some("ada")), "{mode}");
        engine.close().unwrap();
    }
}

/// Ten requests for ten seats in one row are all inside their delay at the same time, or nobody would leave.
#[test]
fn ten_requests_for_ten_seats_are_decided_side_by_side() {
    for (mode, options) in modes() {
        let (engine, _) = opened(builder(options));
        let (meeting, asked) = (Meeting::new(10), Arc::new(AtomicUsize::new(0)));
        let services = VenueServices::default().with_eligibility({
            let asked = Arc::clone(&asked);
            move |_: &Request<'_, SmolStr>| {
                asked.fetch_add(1, Ordering::SeqCst);
                meeting.wait();
                Ok(())
            }
        });
        let shows = engine.handle::<Cinema>(services).unwrap();
        thread::scope(|scope| {
            for number in 1..=10 {
                let shows = &shows;
                scope.spawn(move || {
                    let outcome = shows.execute(SHOW, &book("ada", [format!("M{number}")])).unwrap();
                    assert!(outcome.is_accepted(), "{outcome:?}");
                });
            }
        });
        assert_eq!(asked.load(Ordering::SeqCst), 10, "{mode}: nobody decided twice");
        engine.close().unwrap();
    }
}

/// For a client that knows two states only, what is held is not available, until the moment at which it is.
#[test]
fn what_is_held_is_not_available() {
    for (mode, options) in modes() {
        let clock = Arc::new(ManualClock::new(Timestamp(1_000)));
        let (engine, shows) = opened(builder(options).clock(Arc::clone(&clock)));
        let hold = VenueCommand::hold("ada".into(), ["A1", "A2"], Duration::from_micros(100));
        assert_eq!(reason(&shows, SHOW, &hold), None);
        let seat = layout().seat("A1").unwrap();
        let view = shows.read(SHOW).unwrap();
        assert!(matches!(view.status(seat, Timestamp(1_099)), Some(SeatStatus::Held { .. })), "{mode}");
        let free = |now| (view.is_free(seat, Timestamp(now)), view.available(Timestamp(now)));
        assert_eq!((free(1_099), free(1_100)), ((false, 232), (true, 234)), "{mode}");
        clock.set(Timestamp(1_099));
        assert_eq!(reason(&shows, SHOW, &book("bob", ["A3", "A2"])), Some("seat_held"), "{mode}");
        clock.set(Timestamp(1_100));
        assert_eq!(reason(&shows, SHOW, &book("bob", ["A3", "A2"])), None, "{mode}");
        audited(&shows, SHOW);
        engine.close().unwrap();
    }
}

/// As after `reset-demo`: what was booked and held is free, and the eighteen are booked again, at one moment.
#[test]
fn a_show_can_be_set_back() {
    for (mode, options) in modes() {
        let (engine, shows) = opened(builder(options));
        let hold = VenueCommand::hold("ada".into(), ["A1"], Duration::from_secs(3_600));
        for command in [hold, book("bob", ["A2", "M1"])] {
            assert_eq!(reason(&shows, SHOW, &command), None);
        }
        let now = Timestamp(0);
        let cinema = layout();
        let (_, committed) = engine
            .transact(options, |unit| {
                let view = unit.read_for_update(&shows, SHOW, boxoffice::Scope::Whole)?;
                let taken: Vec<_> = view
                    .statuses(now)
                    .filter(|(_, status)| *status != SeatStatus::Free)
                    .filter_map(|(seat, _)| cinema.label(seat))
                    .collect();
                drop(view);
                assert_eq!(taken.len(), 21, "{mode}");
                let free = VenueCommand::force_release(&taken, "set back");
                assert!(unit.execute(&shows, SHOW, &free)?.is_accepted(), "{mode}");
                assert!(unit.execute(&shows, SHOW, &book("seed", seeded()))?.is_accepted(), "{mode}");
                Ok::<_, Error>(())
            })
            .unwrap();
        assert_eq!(committed.position(), Some(engine.position()), "{mode}: one entry");
        let view = shows.read(SHOW).unwrap();
        assert_eq!((view.sold(), view.available(now)), (18, 234), "{mode}");
        assert_eq!(holder(&view, "L3").as_deref(), Some("seed"), "{mode}");
        audited(&shows, SHOW);
        engine.close().unwrap();
    }
}

async fn next(feed: &mut AsyncFeed) -> Option<Result<boxoffice::history::FeedEntry, Error>> {
    std::future::poll_fn(|cx| std::pin::Pin::new(&mut *feed).poll_next(cx)).await
}

/// A page that waits for news is told when somebody else books, and of what.
#[test]
fn whoever_looks_on_is_told_when_somebody_books() {
    for (mode, options) in modes() {
        let (engine, shows) = opened(builder(options));
        let mut feed = engine.feed(engine.position() + 1).unwrap().into_async();
        for seat in ["A1", "M12"] {
            let told = {
                let mut waiting = Polled::new(next(&mut feed));
                assert!(waiting.poll().is_none(), "{mode}: there is no news yet");
                let woken = waiting.woken();
                assert_eq!(reason(&shows, SHOW, &book("ada", [seat])), None);
                waiting.await_wake(woken);
                waiting.finish().unwrap().unwrap()
            };
            let seats: Vec<_> = told
                .events::<Cinema>()
                .map(|event| event.unwrap())
                .flat_map(|event| match event.what {
                    boxoffice::history::Happened::Event(event) => event.seats().to_vec(),
                    boxoffice::history::Happened::Rejection(no) => panic!("{no}"),
                })
                .collect();
            assert_eq!(seats, [layout().seat(seat).unwrap()], "{mode}");
        }
        engine.close().unwrap();
    }
}
