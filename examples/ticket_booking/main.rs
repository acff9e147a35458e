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
//!   checks. 1,000 are served and 200 hear that it is sold out. Then once more, **skipping** locked seats.
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
use boxoffice::venue::Venue;

use args::Args;
use audit::Findings;
use crowd::{Crowd, Tally};
use never_again::Policed;
use paper::Paper;
use sellers::{PaperSeller, Seller, VenueSeller, Way};
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
        for way in Way::ALL {
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
    never_again::show(&engine, screen, &mut promises)?;
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
    fn check(&self, promises: &mut Promises) {
        let Self { tally, findings, .. } = self;
        let name = format!("{} in {}", self.way.name(), duration(self.window));
        let about = |what: &str| format!("{name}: {what}");
        let answers = tally.sold + tally.gone + tally.sold_out;
        promises.equal(&about("customers who got an answer"), answers, CUSTOMERS);
        promises.equal(&about("sales in the history"), findings.sales, tally.sold);
        promises.equal(&about("the seats as they are shown"), findings.shown, findings.claimed);
        match self.way {
            Way::Simple => {
                let lost = findings.sold_twice > 0 && findings.claimed < tally.sold;
                promises.check(lost, || about("no seat was sold twice, although it must"));
            }
            Way::Occ | Way::Zen => promises.equal(&about("seats sold twice"), findings.sold_twice, 0),
            Way::Pessimistic | Way::Optimistic | Way::Skipping => {
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
