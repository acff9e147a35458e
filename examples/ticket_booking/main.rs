//! Ticket booking: 1,200 customers, 1,000 seats, and five ways to sell them.
//!
//! `cargo run --release --example ticket_booking` lets every customer come at a random moment within a
//! window and take the first free seat, and does so for each way of selling:
//!
//! - **simple**: read which seat is free, ask for the price, write. Everybody is served; hundreds of
//!   tickets are for somebody else's seat.
//! - **occ**: the same, but the write says which version of the seat was read. No seat is sold twice. Whoever
//!   was slower is sent away, although there are seats left.
//! - **zen**: the same, but a policy at the commit says that a seat's version after the update is 1. The
//!   same trouble; now nobody can forget the check.
//! - **pessimistic**, **optimistic**: the engine chooses, asks for the price and decides, with locks or with
//!   checks. 1,000 are served and 200 hear that it is sold out. **skip-locked** locks too, but takes the best
//!   seat that nobody else has locked.
//!
//! Each of these words is an argument that shows this way alone.
//!
//! | file | what it shows |
//! |---|---|
//! | `paper.rs` | the aggregate behind simple, occ and zen |
//! | `sellers.rs` | what a program calls, for each way |
//! | `crowd.rs` | the customers: a thread for each |
//! | `audit.rs` | what the stored history says |
//! | `never_again.rs` | the rule of zen on the built-in venue |
//! | `report.rs` | the table and the bars |

mod args;
mod audit;
mod crowd;
mod never_again;
mod paper;
mod report;
mod sellers;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use boxoffice::Engine;
use boxoffice::venue::{Venue, VenueServices};

use args::Args;
use audit::{Findings, Stored};
use crowd::{Crowd, Tally};
use never_again::Policed;
use paper::Paper;
use sellers::{PaperSeller, Seller, Told, VenueSeller, Way};
use support::Failure;
use support::home::Home;
use support::promises::Promises;
use support::screen::Screen;
use support::text::{duration, plural};

const SEATS: u32 = 1_000;
const CUSTOMERS: u64 = 1_200;

/// One sale, over: what the callers heard, and what is in the file.
struct Sale {
    way: Way,
    window: Duration,
    tally: Tally,
    findings: Findings,
}

fn main() -> ExitCode {
    support::program::run("ticket_booking", &args::command_line(), Args::default(), book)
}

fn book(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let home = Home::new("ticket_booking", args.file.as_deref())?;
    let price = args.price();
    screen.say(&format!(
        "{} want one of {} each. The price takes {}. Seed {}.",
        plural(CUSTOMERS, "customer"),
        plural(SEATS.into(), "seat"),
        duration(price),
        args.seed,
    ));
    let engine = Engine::builder()
        .aggregate::<Venue>()
        .aggregate::<Policed>()
        .policy::<Policed>(never_again::POLICY, never_again::is_kept)
        .aggregate::<Paper<false>>()
        .aggregate::<Paper<true>>()
        // The rule of zen: whatever the command, its seat is then sold for the first time.
        .policy::<Paper<true>>("the version after the update is 1", |_, event, after| {
            event.seat().is_none_or(|seat| after.version_of(seat) == 1)
        })
        .open(&home.file)?;

    let mut promises = Promises::default();
    for window in args.windows() {
        screen.say(&report::title(window, screen));
        let mut sales = Vec::new();
        let crowd = Crowd { customers: CUSTOMERS, window, seed: args.seed };
        for way in Way::ALL.into_iter().filter(|way| args.mode.includes(*way)) {
            let show = format!("{} in {}", way.name(), duration(window));
            let sale = match way {
                Way::Simple | Way::Occ => {
                    run(way, &crowd, &PaperSeller::<false>::open(&engine, way, &show, price)?, screen)
                }
                Way::Zen => run(way, &crowd, &PaperSeller::<true>::open(&engine, way, &show, price)?, screen),
                _ => run(way, &crowd, &VenueSeller::open(&engine, way, &show, price)?, screen),
            }?;
            sale.check(&mut promises);
            sales.push(sale);
        }
        screen.say(&report::report(&sales, screen));
    }
    screen.say(&format!("\n{}", report::NOTES.trim_end()));
    if args.mode.includes(Way::Zen) {
        never_again::show(&engine, screen, &mut promises)?;
    }
    // Every sale once more, from the log, by the engine's own audit.
    let found = [
        engine.handle::<Venue>(VenueServices::default())?.verify()?,
        engine.handle::<Policed>(VenueServices::default())?.verify()?,
        engine.handle::<Paper<false>>(())?.verify()?,
        engine.handle::<Paper<true>>(())?.verify()?,
    ];
    for found in found {
        promises.check(found.is_clean(), || format!("verify: {:?} {:?}", found.differences, found.findings));
    }
    engine.close()?;
    if let Some(kept) = home.kept() {
        screen.say(&format!("The log stays in {}.", kept.display()));
    }
    promises.verdict()?;
    screen.say("Every promise was kept.");
    Ok(())
}

fn run<S: Seller>(way: Way, crowd: &Crowd, seller: &S, screen: &Screen) -> Result<Sale, Failure> {
    screen.begin("");
    let tally = crowd.come(seller, |served| report::progress(way, served, screen))?;
    screen.settle(&format!(
        "  {:<12}{} served in {}",
        way.name(),
        plural(CUSTOMERS, "customer"),
        duration(tally.took)
    ));
    let findings = audit::audit(seller)?;
    Ok(Sale { way, window: crowd.window, tally, findings })
}

impl Sale {
    /// Customer by customer: who has a ticket is in the history with this seat, who heard that it is sold out with
    /// that if the engine said so, and nobody else. The first who heard something else is enough.
    fn compare(&self, name: &str, promises: &mut Promises) {
        let Tally { told, .. } = &self.tally;
        let is_paper = matches!(self.way, Way::Simple | Way::Occ | Way::Zen);
        let promised = |customer: &u64| match told.get(customer)? {
            Told::Sold(seat) => Some(Stored::Seat(*seat)),
            // On paper, who finds no free seat does not even ask.
            Told::SoldOut => (!is_paper).then_some(Stored::SoldOut),
            Told::Gone => None,
        };
        let stored = &self.findings.stored;
        let differs = |customer: &&u64| stored.get(*customer).copied() != promised(customer);
        let differs = told.keys().chain(stored.keys()).find(differs);
        promises.check(differs.is_none(), || {
            let both = differs.map(|customer| (customer, told.get(customer), stored.get(customer)));
            format!("{name}: a customer, what was told and what is stored: {both:?}")
        });
    }

    fn check(&self, promises: &mut Promises) {
        let Self { tally, findings, .. } = self;
        let name = format!("{} in {}", self.way.name(), duration(self.window));
        let about = |what: &str| format!("{name}: {what}");
        let answers = tally.sold + tally.gone + tally.sold_out;
        promises.equal(&about("customers who got an answer"), answers, CUSTOMERS);
        promises.equal(&about("sales in the history"), findings.sales, tally.sold);
        promises.equal(&about("the seats as they are shown"), findings.shown, findings.claimed);
        self.compare(&name, promises);
        let all_at_once = self.window.is_zero();
        match self.way {
            Way::Simple => {
                let lost = findings.sold_twice > 0 && findings.claimed < tally.sold;
                promises.check(lost, || about("no seat was sold twice, although it must"));
                promises.check(!all_at_once || tally.sold == CUSTOMERS, || {
                    about(&format!("{} were told yes, and not everybody", tally.sold))
                });
            }
            Way::Occ | Way::Zen => {
                promises.equal(&about("seats sold twice"), findings.sold_twice, 0);
                let in_vain = tally.gone > 0 && findings.claimed < SEATS.into();
                promises.check(!all_at_once || in_vain, || {
                    about("nobody was sent away although seats are left, and somebody must")
                });
            }
            Way::Pessimistic | Way::Optimistic | Way::SkipLocked => {
                let told = (tally.sold, tally.sold_out, tally.gone);
                promises.equal(
                    &about("sold, told that it is sold out, other failures"),
                    told,
                    (1_000, 200, 0),
                );
                let stored = (findings.claimed, findings.sold_twice, findings.sold_out);
                promises.equal(
                    &about("seats taken, sold twice, refused as sold out"),
                    stored,
                    (1_000, 0, 200),
                );
            }
        }
    }
}
