//! Ticket booking: the first free of 1,000 seats, for 1,200 customers.
//!
//! The application here forgets as much as one can forget: it has a command that claims a seat without looking
//! (`simple`), and one that looks at the seat's version and gives up (`occ`). Both show the damage that theirs did.
//! Then the same customers ask for the first free seat, and the engine does the rest; and a policy (`zen`) stops
//! the command that does not look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use boxoffice::cow::CowArray;
use boxoffice::history::Happened;
use boxoffice::options::{Builder, Concurrency, Exhausted};
use boxoffice::testing::Prng;
use boxoffice::{Aggregate, Context, Engine, Error, Events, Handle, Options, Part, Scope};
use serde::{Deserialize, Serialize};

use crate::halls::{all_at_once, file};
use crate::support::{HookClock, Meeting, Polled, at_next_look, modes};

/// The tickets of one show.
struct Tickets;

#[derive(Clone, Debug, Default, PartialEq)]
struct Seat {
    holder: Option<u64>,
    /// How often it was changed.
    version: u64,
}

#[derive(Clone, Debug)]
enum Command {
    Open(u32),
    /// The first free seat, whichever that is.
    TakeFirst(u64),
    /// This seat, whoever has it.
    Claim(u64, u32),
    /// This seat, if it is what was seen.
    ClaimIf(u64, u32, u64),
    Release(u32),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Opened(u32),
    Claimed(u64, u32),
    Released(u32),
}

fn seat(number: u32) -> Part {
    Part::number(0, number.into())
}

fn first_free(seats: &CowArray<Seat>) -> Option<u32> {
    (0..).zip(seats.iter()).find(|(_, seat)| seat.holder.is_none()).map(|(number, _)| number)
}

impl Aggregate for Tickets {
    const TYPE: &'static str = "tickets";
    type State = CowArray<Seat>;
    type Command = Command;
    type Event = Event;
    type Rejection = String;
    type Services = ();

    fn creates(command: &Command) -> bool {
        matches!(command, Command::Open(_))
    }

    fn scope(seats: &CowArray<Seat>, command: &Command) -> Scope {
        match command {
            Command::Open(_) => Scope::Whole,
            // That none is free is true of all of them.
            Command::TakeFirst(_) => {
                first_free(seats).map_or(Scope::Whole, |free| Scope::parts([seat(free)]))
            }
            Command::Claim(_, number) | Command::ClaimIf(_, number, _) | Command::Release(number) => {
                Scope::parts([seat(*number)])
            }
        }
    }

    fn decide(
        seats: &CowArray<Seat>,
        command: &Command,
        context: &Context<'_, ()>,
    ) -> Result<Events<Event>, String> {
        match *command {
            Command::Open(seats) => Ok(Event::Opened(seats).into()),
            Command::TakeFirst(customer) => match context.scope().named() {
                [free] => Ok(Event::Claimed(customer, free.as_number().unwrap() as u32).into()),
                _ if first_free(seats).is_none() => Err("sold out".into()),
                // Locked as a whole, since the first free one kept moving.
                _ => Ok(Event::Claimed(customer, first_free(seats).unwrap()).into()),
            },
            Command::Claim(customer, number) => Ok(Event::Claimed(customer, number).into()),
            Command::ClaimIf(_, number, seen) if seats.get(number as usize).unwrap().version != seen => {
                Err("ticket gone".into())
            }
            Command::ClaimIf(customer, number, _) => Ok(Event::Claimed(customer, number).into()),
            Command::Release(number) => Ok(Event::Released(number).into()),
        }
    }

    fn touches(event: &Event) -> Scope {
        match event {
            Event::Opened(_) => Scope::Whole,
            Event::Claimed(_, number) | Event::Released(number) => Scope::parts([seat(*number)]),
        }
    }

    fn apply(seats: &mut CowArray<Seat>, event: &Event) {
        let (number, holder) = match *event {
            Event::Opened(count) => {
                *seats = CowArray::filled(count as usize, Seat::default());
                return;
            }
            Event::Claimed(customer, number) => (number, Some(customer)),
            Event::Released(number) => (number, None),
        };
        if let Some(seat) = seats.get_mut(number as usize) {
            *seat = Seat { holder, version: seat.version + 1 };
        }
    }
}

const SEATS: u32 = 1_000;
const CUSTOMERS: u64 = 1_200;
const SHOW: &str = "tonight";

fn show(builder: Builder, seats: u32) -> (Engine, Handle<Tickets>) {
    let engine = builder.in_memory().unwrap();
    let tickets = engine.handle::<Tickets>(()).unwrap();
    assert!(tickets.execute(SHOW, &Command::Open(seats)).unwrap().is_accepted());
    (engine, tickets)
}

/// `zen`: the version after the update must be 1.
fn sold_once(builder: Builder) -> Builder {
    builder.policy::<Tickets>("sold once", |_, event, after| match event {
        Event::Claimed(_, number) => after.get(*number as usize).is_some_and(|seat| seat.version == 1),
        _ => true,
    })
}

/// What each customer was told: the seat, or `sold out`. Compared with the history, in which no seat is claimed twice.
#[track_caller]
fn sold_exactly(tickets: &Handle<Tickets>, told: &BTreeMap<u64, Result<u32, String>>, what: &str) {
    let got: BTreeMap<u64, u32> =
        told.iter().filter_map(|(who, told)| Some((*who, *told.as_ref().ok()?))).collect();
    assert!(told.values().all(|told| told.as_ref().err().is_none_or(|no| no == "sold out")), "{what}");
    assert_eq!((told.len(), got.len()), (CUSTOMERS as usize, SEATS as usize), "{what}");
    let (mut claimed, mut refused) = (BTreeMap::new(), 0);
    for recorded in tickets.history(SHOW).unwrap().skip(1).map(Result::unwrap) {
        match recorded.what {
            Happened::Event(Event::Claimed(customer, number)) => {
                assert_eq!(claimed.insert(number, customer), None, "{what}: seat {number} is sold twice");
                assert_eq!(refused, 0, "{what}: somebody was told sold out too early");
            }
            Happened::Event(event) => panic!("{what}: {event:?}"),
            Happened::Rejection(_) => refused += 1,
        }
    }
    assert_eq!((claimed.len(), refused), (SEATS as usize, (CUSTOMERS - u64::from(SEATS)) as usize), "{what}");
    assert!(claimed.iter().all(|(number, customer)| got.get(customer) == Some(number)), "{what}");
}

fn told(outcome: &boxoffice::Outcome<Tickets>) -> Result<u32, String> {
    match (outcome.events(), outcome.rejection()) {
        ([Event::Claimed(_, number)], None) => Ok(*number),
        ([], Some(no)) => Err(no.clone()),
        other => panic!("{other:?}"),
    }
}

/// As they come, from a few callers or from many at the same moment, with locks, with checks, and mixed.
#[test]
fn a_thousand_seats_and_1200_customers() {
    let [pessimistic, optimistic] = modes().map(|(_, options)| options);
    for (what, options) in
        [("locks", [pessimistic; 2]), ("checks", [optimistic; 2]), ("mixed", [pessimistic, optimistic])]
    {
        for threads in [2, 16] {
            let (_folder, path) = file();
            let engine = Engine::builder().aggregate::<Tickets>().open(&path).unwrap();
            let tickets = engine.handle::<Tickets>(()).unwrap();
            assert!(tickets.execute(SHOW, &Command::Open(SEATS)).unwrap().is_accepted());
            // Whoever comes when is drawn; the seed is the number of threads.
            let mut customers: Vec<u64> = (0..CUSTOMERS).collect();
            Prng::new(threads as u64).shuffle(&mut customers);
            let start = Meeting::new(threads);
            let told: BTreeMap<_, _> = thread::scope(|scope| {
                let callers: Vec<_> = customers
                    .chunks(customers.len() / threads)
                    .zip(options.iter().cycle())
                    .map(|(customers, options)| {
                        let (tickets, start) = (tickets.with(*options), Arc::clone(&start));
                        scope.spawn(move || {
                            start.wait();
                            let ask = |who: &u64| tickets.submit(SHOW, &Command::TakeFirst(*who)).unwrap();
                            let receipts: Vec<_> = customers.iter().map(ask).collect();
                            let waited = receipts.into_iter().map(|receipt| told(&receipt.wait().unwrap()));
                            customers.iter().copied().zip(waited).collect::<Vec<_>>()
                        })
                    })
                    .collect();
                callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
            });
            sold_exactly(&tickets, &told, &format!("{what}, {threads} threads"));
            engine.close().unwrap();
            let engine = Engine::builder().aggregate::<Tickets>().open(&path).unwrap();
            let tickets = engine.handle::<Tickets>(()).unwrap();
            sold_exactly(&tickets, &told, &format!("{what}, {threads} threads, opened again"));
            engine.close().unwrap();
        }
    }
}

/// The window of zero: all 1,200 are under way at once, behind somebody who looks at the whole show. Nobody pays for a
/// policy with a seat: theirs sold 587.
#[test]
fn a_thousand_seats_and_1200_customers_at_the_same_moment() {
    for ((mode, options), zen) in modes().into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
        let builder = Engine::builder().aggregate_with::<Tickets>(options);
        let (engine, tickets) = show(if zen { sold_once(builder) } else { builder }, SEATS);
        let mut looks = engine.begin(Options::pessimistic());
        assert_eq!(first_free(&looks.read_for_update(&tickets, SHOW, Scope::Whole).unwrap()), Some(0));
        let asks: Vec<Command> = (0..CUSTOMERS).map(Command::TakeFirst).collect();
        // A task is not the caller who holds the lock.
        let tasks = asks.iter().map(|ask| Polled::new(tickets.execute_async(SHOW, ask)));
        let outcomes = all_at_once(tasks, || {
            assert_eq!(engine.position(), 1, "{mode}: all of them wait");
            drop(looks);
        });
        let answers = outcomes.into_iter().map(|outcome| told(&outcome.unwrap()));
        sold_exactly(&tickets, &(0..).zip(answers).collect(), mode);
        engine.close().unwrap();
    }
}

const CROWD: u64 = 8;

/// Lets everybody of a crowd see the show before any of them asks for what it saw.
fn at_one_moment<T: Send>(
    tickets: &Handle<Tickets>,
    ask: impl Fn(u64, u32, u64) -> Command + Sync,
    ends: impl Fn(Result<boxoffice::Outcome<Tickets>, Error>) -> T + Sync,
) -> Vec<T> {
    let meeting = Meeting::new(CROWD as usize);
    thread::scope(|scope| {
        let (ask, ends, meeting) = (&ask, &ends, &meeting);
        let threads: Vec<_> = (0..CROWD)
            .map(|customer| {
                scope.spawn(move || {
                    let seats = tickets.read(SHOW).unwrap();
                    let free = first_free(&seats).unwrap();
                    let version = seats.get(free as usize).unwrap().version;
                    meeting.wait();
                    ends(tickets.execute(SHOW, &ask(customer, free, version)))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn claimed(tickets: &Handle<Tickets>) -> usize {
    tickets.read(SHOW).unwrap().iter().filter(|seat| seat.holder.is_some()).count()
}

/// `simple`, as theirs: everybody is told that it worked.
#[test]
fn control_without_a_look_everybody_succeeds_and_one_has_the_seat() {
    for (mode, options) in modes() {
        let (engine, tickets) = show(Engine::builder().aggregate_with::<Tickets>(options), SEATS);
        let ask = |customer, free, _| Command::Claim(customer, free);
        let succeeded = at_one_moment(&tickets, ask, |outcome| outcome.unwrap().is_accepted());
        assert_eq!((succeeded.iter().filter(|it| **it).count(), claimed(&tickets)), (8, 1), "{mode}");
        engine.close().unwrap();
    }
}

/// `occ`, as theirs: seven are told that the ticket is gone, while 999 seats are left.
#[test]
fn control_with_a_version_and_no_second_try_seats_are_left() {
    for (mode, options) in modes() {
        let (engine, tickets) = show(Engine::builder().aggregate_with::<Tickets>(options), SEATS);
        let told = at_one_moment(&tickets, Command::ClaimIf, |outcome| {
            outcome.unwrap().rejection().map(String::as_str) == Some("ticket gone")
        });
        assert_eq!((told.iter().filter(|gone| **gone).count(), claimed(&tickets)), (7, 1), "{mode}");
        engine.close().unwrap();
    }
}

/// The same moment, left to the engine: everybody gets a seat, also when all of them lose every attempt together.
#[test]
fn nobody_is_told_that_a_seat_is_gone_while_others_are_left() {
    for (mode, options) in modes() {
        for retries in [0, 1, 5] {
            let options = Options { retries, exhausted: Exhausted::Turn, ..options };
            let builder = Engine::builder().aggregate_with::<Tickets>(options).clock(HookClock::default());
            let (engine, tickets) = show(builder, SEATS);
            let snapshots = Meeting::new(CROWD as usize);
            let got = at_one_moment(
                &tickets,
                |customer, _, _| {
                    let snapshots = Arc::clone(&snapshots);
                    if options.concurrency == Concurrency::Optimistic {
                        at_next_look(move || snapshots.wait());
                    }
                    Command::TakeFirst(customer)
                },
                |outcome| told(&outcome.unwrap()).unwrap(),
            );
            let mut got: Vec<u32> = got;
            got.sort_unstable();
            assert_eq!(got, (0..CROWD as u32).collect::<Vec<_>>(), "{mode}, {retries} retries");
            engine.close().unwrap();
        }
    }
}

/// A seat's version is the seat's: whoever wants another one is not in conflict.
#[test]
fn versions_are_per_seat() {
    for (mode, options) in modes() {
        let builder = Engine::builder().aggregate_with::<Tickets>(options).clock(HookClock::default());
        let (engine, tickets) = show(builder, CROWD as u32);
        let snapshots = Meeting::new(CROWD as usize);
        // All are inside at once, in either mode, or the meeting never ends.
        let efforts = at_one_moment(
            &tickets,
            |customer, _, version| {
                let snapshots = Arc::clone(&snapshots);
                at_next_look(move || snapshots.wait());
                Command::ClaimIf(customer, customer as u32, version)
            },
            |outcome| {
                let outcome = outcome.unwrap();
                (outcome.is_accepted(), outcome.effort().conflicts, outcome.effort().lock_waits)
            },
        );
        assert_eq!(efforts, [(true, 0, 0); CROWD as usize], "{mode}");
        engine.close().unwrap();
    }
}

/// The command that does not look is stopped at the commit: at the same moment, after a release, and after a restart.
#[test]
fn a_policy_sells_a_seat_once_whatever_the_command_forgets() {
    for (mode, options) in modes() {
        let (_folder, path) = file();
        let open = || {
            let builder = sold_once(Engine::builder().aggregate_with::<Tickets>(options));
            let engine = builder.open(&path).unwrap();
            let tickets = engine.handle::<Tickets>(()).unwrap();
            (engine, tickets)
        };
        let stopped = |result: &Result<boxoffice::Outcome<Tickets>, Error>| match result {
            Ok(outcome) => !outcome.is_accepted(),
            Err(Error::PolicyViolated { policy, stream }) => {
                assert_eq!((*policy, &*stream.id), ("sold once", SHOW), "{mode}");
                true
            }
            Err(error) => panic!("{mode}: {error}"),
        };
        let (engine, tickets) = open();
        assert!(tickets.execute(SHOW, &Command::Open(SEATS)).unwrap().is_accepted());
        let ask = |customer, free, _| Command::Claim(customer, free);
        let results = at_one_moment(&tickets, ask, |result| stopped(&result));
        assert_eq!((results.iter().filter(|it| !**it).count(), claimed(&tickets)), (1, 1), "{mode}");
        let holder = tickets.read(SHOW).unwrap().get(0).unwrap().holder;
        assert!(tickets.execute(SHOW, &Command::Release(0)).unwrap().is_accepted());
        assert!(stopped(&tickets.execute(SHOW, &Command::Claim(9, 0))), "{mode}: sold again after a release");
        assert_eq!(engine.position(), 3, "{mode}: what was stopped is not stored");
        engine.close().unwrap();

        let (engine, tickets) = open();
        for command in [Command::Claim(9, 0), Command::TakeFirst(9), Command::ClaimIf(9, 0, 2)] {
            assert!(stopped(&tickets.execute(SHOW, &command)), "{mode}: {command:?}");
        }
        assert!(!stopped(&tickets.execute(SHOW, &Command::Claim(9, 1))), "{mode}: another seat is free");
        let first = tickets.history(SHOW).unwrap().nth(1).unwrap().unwrap().what;
        assert!(
            matches!(first, Happened::Event(Event::Claimed(customer, 0)) if Some(customer) == holder),
            "{mode}: it stays his in the history"
        );
        engine.close().unwrap();
    }
}
