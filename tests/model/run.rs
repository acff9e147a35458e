//! Runs seeded workloads on real threads, and writes down who was told what, and when.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use boxoffice::flash_sale::{self, FlashSale, FlashSaleCommand, FlashSaleEvent};
use boxoffice::history::Happened;
use boxoffice::layout::Layout;
use boxoffice::options::{Exhausted, Wait};
use boxoffice::venue::{self, Venue, VenueCommand, VenueEvent, VenueServices};
use boxoffice::{Aggregate, Decision, Engine, Error, Handle, Options, Outcome};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};

use super::check::{Entries, Response, events};
use super::spec::{Answer, Ask};
use crate::support::{block_on, modes};

pub(crate) const STREAMS: [&str; 3] = ["open hall", "limited hall", "sale"];

/// How a run's threads call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) threads: usize,
    pub(crate) steps: usize,
    /// Which of [`modes`] a thread uses: always one, or each thread its own.
    pub(crate) mode: Option<usize>,
    /// Whether the rejections of all, of none, or of every second thread are stored.
    pub(crate) recorded: Option<bool>,
}

struct Run<'r> {
    venues: Handle<Venue>,
    sales: Handle<FlashSale>,
    layout: &'r Layout,
    clock: &'r AtomicU64,
    log: &'r Mutex<Vec<Response>>,
}

pub(crate) fn layout() -> Layout {
    let layout = Layout::builder().category("near", 700).category("far", 40);
    layout.row("A", "near", [(1, 3)]).row("B", "far", [(6, 4)]).build().expect("a layout")
}

fn seats(layout: &Layout) -> Vec<(String, u64)> {
    let seat = |seat| Some((layout.label(seat)?.to_string(), layout.price(seat)?));
    layout.seats().filter_map(seat).collect()
}

/// Runs a plan; gives what everybody was told, and what the log holds.
pub(crate) fn run(plan: Plan) -> (Vec<Response>, Entries) {
    let engine = Engine::builder().aggregate::<Venue>().aggregate::<FlashSale>().in_memory().expect("opens");
    let (layout, clock, log) = (layout(), AtomicU64::new(0), Mutex::default());
    let venues = engine.handle::<Venue>(VenueServices::default()).expect("registered");
    let sales = engine.handle::<FlashSale>(()).expect("registered");
    thread::scope(|scope| {
        for worker in 0..plan.threads {
            let (_, mode) = modes()[plan.mode.unwrap_or(worker % 2)];
            let record_rejections = plan.recorded.unwrap_or(worker % 4 < 2);
            // Some give up early: what they did not get done must not be seen anywhere.
            let options = match worker % 5 {
                3 => Options { wait: Wait::Never, record_rejections, ..mode },
                4 => Options { retries: 1, exhausted: Exhausted::Conflict, record_rejections, ..mode },
                _ => Options { record_rejections, ..mode },
            };
            let (venues, sales) = (venues.with(options), sales.with(options));
            let run = Run { venues, sales, layout: &layout, clock: &clock, log: &log };
            scope.spawn(move || run.worker(plan, worker));
        }
    });
    engine.wait_durable(engine.position()).expect("durable");
    let entries = entries(&venues, &sales, &layout);
    engine.close().expect("closes");
    (log.into_inner().expect("nobody panicked"), entries)
}

impl Run<'_> {
    fn worker(&self, plan: Plan, worker: usize) {
        let mut random = StdRng::seed_from_u64(plan.seed.wrapping_mul(1000) + worker as u64);
        for (stream, limit) in [(STREAMS[0], None), (STREAMS[1], Some(2))] {
            self.seat(&mut random, stream, Ask::Open { seats: seats(self.layout), limit });
        }
        self.sale(&mut random, Ask::Stock(40));
        let labels: Vec<String> = seats(self.layout).into_iter().map(|(label, _)| label).collect();
        for _ in 0..plan.steps {
            let who = random.random_range(0..4);
            let mut cart: Vec<String> = {
                let count = random.random_range(1..=3);
                labels.iter().cloned().choose_multiple(&mut random, count)
            };
            if random.random_bool(0.05) {
                cart.push("nowhere".into());
            }
            let stream = STREAMS[random.random_range(0..2)];
            match random.random_range(0..10) {
                0..4 => self.seat(&mut random, stream, Ask::Reserve { who, seats: cart }),
                4..7 => self.seat(&mut random, stream, Ask::Release { who, seats: cart }),
                7 => self.seat(&mut random, stream, Ask::Force { seats: cart }),
                _ => {
                    let count = *[1, 1, 2, 41].choose(&mut random).expect("not empty");
                    self.sale(&mut random, Ask::Buy { who: format!("b{who}"), count });
                }
            }
        }
    }

    fn seat(&self, random: &mut StdRng, stream: &'static str, ask: Ask) {
        let command = match &ask {
            Ask::Open { limit: None, .. } => VenueCommand::create(layout()),
            Ask::Open { limit: Some(limit), .. } => VenueCommand::create_with_limit(layout(), *limit as u32),
            Ask::Reserve { who, seats } => VenueCommand::reserve(*who, seats),
            Ask::Release { who, seats } => VenueCommand::release(*who, seats),
            Ask::Force { seats } => VenueCommand::force_release(seats, "swept"),
            Ask::Stock(_) | Ask::Buy { .. } => panic!("not for a venue"),
        };
        let answer = |outcome: &Outcome<Venue>| match outcome.decision() {
            Decision::Accepted(events) => accepted(events, self.layout),
            Decision::Rejected(no) => refused(no),
        };
        self.call(random, &self.venues, stream, ask, &command, answer);
    }

    fn sale(&self, random: &mut StdRng, ask: Ask) {
        let command = match &ask {
            Ask::Stock(stock) => FlashSaleCommand::create(*stock),
            Ask::Buy { who, count } => FlashSaleCommand::purchase(who, *count),
            _ => panic!("not for a sale"),
        };
        let answer = |outcome: &Outcome<FlashSale>| match outcome.decision() {
            Decision::Accepted(events) => sold(&events[0]),
            Decision::Rejected(no) => unsold(no),
        };
        self.call(random, &self.sales, STREAMS[2], ask, &command, answer);
    }

    /// Asks in one of the four ways, between two looks at the counter.
    fn call<A: Aggregate>(
        &self,
        random: &mut StdRng,
        handle: &Handle<A>,
        stream: &'static str,
        ask: Ask,
        command: &A::Command,
        answer: impl Fn(&Outcome<A>) -> Answer,
    ) {
        let way = random.random_range(0..4);
        let began = self.clock.fetch_add(1, Ordering::SeqCst);
        let result = match way {
            0 => handle.execute(stream, command).map(Ok),
            1 => block_on(handle.execute_async(stream, command)).map(Ok),
            2 => handle.submit(stream, command).map(Err),
            _ => block_on(handle.submit_async(stream, command)).map(Err),
        };
        let ended = self.clock.fetch_add(1, Ordering::SeqCst);
        let outcome = match result {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(receipt)) => receipt.wait().expect("durable"),
            Err(Error::Conflict { .. } | Error::WouldBlock { .. }) => return,
            // Whoever does not wait may come before the stream is there.
            Err(Error::UnknownStream { .. }) => return,
            Err(other) => panic!("{other}"),
        };
        let (version, position, answer) = (outcome.version(), outcome.position(), answer(&outcome));
        let response = Response { stream, ask, answer, version, position, began, ended };
        self.log.lock().expect("nobody panicked").push(response);
    }
}

fn named(seats: &venue::SeatList, layout: &Layout) -> Vec<String> {
    seats.iter().map(|seat| layout.label(*seat).expect("of this layout").to_string()).collect()
}

fn accepted(events: &[VenueEvent], layout: &Layout) -> Answer {
    let mut released = Vec::new();
    for event in events {
        match event {
            VenueEvent::Created { .. } => return Answer::Opened,
            VenueEvent::Reserved { customer, seats, price_total, .. } => {
                return Answer::Reserved(*customer, named(seats, layout), *price_total);
            }
            VenueEvent::Released { holder, seats, .. } => released.push((*holder, named(seats, layout))),
            other => panic!("{other:?}"),
        }
    }
    released.sort();
    Answer::Released(released)
}

fn refused(no: &venue::Rejection) -> Answer {
    let one = |what: String| vec![(what, no.reason())];
    Answer::No(match &no.refusal {
        venue::Refusal::Seats(seats) => {
            seats.iter().map(|seat| (seat.label.to_string(), seat.cause.reason())).collect()
        }
        venue::Refusal::LimitReached { has, wants, .. } => one(format!("{has}+{wants}")),
        _ => one(String::new()),
    })
}

fn sold(event: &FlashSaleEvent) -> Answer {
    match event {
        FlashSaleEvent::Created { .. } => Answer::Opened,
        FlashSaleEvent::Purchased { buyer, quantity } => Answer::Sold(buyer.to_string(), *quantity),
        other => panic!("{other:?}"),
    }
}

fn unsold(no: &flash_sale::Rejection) -> Answer {
    let buyer = no.buyer.as_ref().map(ToString::to_string);
    Answer::No(vec![(buyer.unwrap_or_default(), no.reason())])
}

/// The log, put together again from every stream's history.
fn entries(venues: &Handle<Venue>, sales: &Handle<FlashSale>, layout: &Layout) -> Entries {
    let mut entries = Entries::new();
    for stream in &STREAMS[..2] {
        // Events of one entry follow each other.
        let mut open: Option<(u64, Vec<VenueEvent>)> = None;
        let mut version = 0;
        for recorded in venues.history(stream).expect("exists") {
            let recorded = recorded.expect("readable");
            version += 1;
            assert_eq!(recorded.version, version, "{stream}: a version is missing");
            let answer = match recorded.what {
                Happened::Event(event) => {
                    let mut together = match open.take() {
                        Some((position, events)) if position == recorded.position => events,
                        _ => Vec::new(),
                    };
                    together.push(event);
                    let answer = accepted(&together, layout);
                    assert_eq!(events(&answer), together.len() as u64);
                    open = Some((recorded.position, together));
                    answer
                }
                Happened::Rejection(no) => refused(&no),
            };
            entries.insert(recorded.position, (stream, version, answer));
        }
    }
    for recorded in sales.history(STREAMS[2]).expect("exists") {
        let recorded = recorded.expect("readable");
        let answer = match recorded.what {
            Happened::Event(event) => sold(&event),
            Happened::Rejection(no) => unsold(&no),
        };
        entries.insert(recorded.position, (STREAMS[2], recorded.version, answer));
    }
    entries
}
