//! Ten thousand buyers, five hundred items: two bars, one that drains and one that fills.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
use boxoffice::{Error, Handle};

use crate::args::{Args, Mode};
use crate::eight::create;
use crate::ledger::{self, Heard};
use crate::support::Failure;
use crate::support::bar::Bar;
use crate::support::promises::Promises;
use crate::support::screen::{Frame, Screen};
use crate::support::text::{duration, grouped, plural};

const COLUMNS: usize = 28;

/// How often somebody looks at how it goes.
const TICK: Duration = Duration::from_millis(10);

/// What the threads share: who is next, how many were served, and whether somebody met an error.
#[derive(Default)]
struct Queue {
    next: AtomicU64,
    served: AtomicU64,
    closed: AtomicBool,
}

pub(crate) fn crowd(
    sales: &Handle<FlashSale>,
    mode: Mode,
    args: &Args,
    screen: &Screen,
    promises: &mut Promises,
) -> Result<(), Failure> {
    let (buyers, items) = (args.buyers, args.items);
    let title =
        format!("{}: {} BUYERS, {} ITEMS", mode.name().to_uppercase(), grouped(buyers), grouped(items));
    screen.say(&format!("\n{}", screen.bold(&title)));
    let sales = sales.with(args.options(mode));
    let id = format!("crowd, {}", mode.name());
    create(&sales, &id, items)?;

    let queue = Queue::default();
    let began = Instant::now();
    let mut show = Show { screen, args, frame: Frame::default(), said: None };
    let heard = thread::scope(|scope| {
        let mut clerks = Vec::new();
        for number in 0..args.threads {
            let clerk = Builder::new().name(format!("clerk-{number}"));
            let clerk = clerk.spawn_scoped(scope, || serve(&sales, &id, buyers, &queue));
            clerks.push(clerk.inspect_err(|_| queue.closed.store(true, Relaxed))?);
        }
        while clerks.iter().any(|clerk| !clerk.is_finished()) {
            thread::sleep(TICK);
            // What is sold counts before what is served, so that the bars never show more sold than served.
            let left = sales.read(&id).inspect_err(|_| queue.closed.store(true, Relaxed))?.left();
            show.draw(left, queue.served.load(Relaxed).max(items - left));
        }
        let mut heard = Heard::default();
        for clerk in clerks {
            heard.add(clerk.join().unwrap_or(Err(Error::Closed))?);
        }
        Ok::<Heard, Failure>(heard)
    })?;
    let took = began.elapsed();
    show.draw(sales.read(&id)?.left(), buyers);

    let ledger = ledger::check(&sales, &id, buyers, &heard, promises)?;
    screen.say(&format!(
        "  {} of {} commands completed in {}: {}, {}; {}, {}.",
        grouped(heard.completed),
        grouped(buyers),
        duration(took),
        plural(ledger.purchases, "purchase"),
        plural(ledger.refused.values().sum(), "rejection"),
        plural(heard.conflicts, "conflict"),
        plural(heard.turns, "turn"),
    ));
    Ok(())
}

/// One thread: buyer after buyer, as long as there are any.
fn serve(sales: &Handle<FlashSale>, id: &str, buyers: u64, queue: &Queue) -> Result<Heard, Error> {
    let mut heard = Heard::default();
    while !queue.closed.load(Relaxed) {
        let buyer = queue.next.fetch_add(1, Relaxed);
        if buyer >= buyers {
            break;
        }
        let buyer = format!("buyer-{buyer}");
        let purchase = FlashSaleCommand::purchase(&buyer, 1);
        let outcome = sales.execute(id, &purchase).inspect_err(|_| queue.closed.store(true, Relaxed))?;
        heard.note(&buyer, &outcome);
        queue.served.fetch_add(1, Relaxed);
    }
    Ok(heard)
}

/// The two bars: redrawn in place on a terminal, elsewhere said whenever a tenth of the buyers has been served.
struct Show<'s> {
    screen: &'s Screen,
    args: &'s Args,
    frame: Frame,
    /// How many tenths were there when it was last said.
    said: Option<u64>,
}

impl Show<'_> {
    fn draw(&mut self, left: u64, served: u64) {
        let Args { buyers, items, .. } = *self.args;
        let stock = Bar::new(self.screen.ink(), COLUMNS, items).filled(left);
        let crowd = Bar::new(self.screen.ink(), COLUMNS, buyers).filled(served);
        let tenth = served * 10 / buyers;
        let (left, served) = (grouped(left), grouped(served));
        if self.screen.is_live() {
            self.frame.draw(&[
                format!("  stock   {stock}  {left} of {} left", grouped(items)),
                format!("  buyers  {crowd}  {served} of {} served", grouped(buyers)),
            ]);
        } else if self.said.is_none_or(|said| tenth > said) {
            self.said = Some(tenth);
            self.screen.say(&format!("  stock {stock} {left:>5}   buyers {crowd} {served:>7}"));
        }
    }
}
