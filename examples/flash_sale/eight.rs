//! Eight buyers, five items; and somebody who wants nine.

use std::thread;

use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
use boxoffice::{Error, Handle, Outcome};

use crate::args::{Args, Mode};
use crate::ledger::{self, Heard};
use crate::support::Failure;
use crate::support::bar::Bar;
use crate::support::promises::Promises;
use crate::support::screen::Screen;
use crate::support::table::{Column, Table};
use crate::support::text::plural;
use crate::support::together::together;

pub(crate) const BUYERS: usize = 8;
pub(crate) const ITEMS: u64 = 5;

/// A buyer, and what became of the purchase.
pub(crate) type Answer = (String, Outcome<FlashSale>);

/// The same before it is known that there was no error.
pub(crate) type Told = (String, Result<Outcome<FlashSale>, Error>);

/// All eight at once.
pub(crate) fn eight_buyers(
    sales: &Handle<FlashSale>,
    mode: Mode,
    args: &Args,
    screen: &Screen,
    promises: &mut Promises,
) -> Result<(), Failure> {
    let title = format!("{}: {BUYERS} BUYERS, {ITEMS} ITEMS", mode.name().to_uppercase());
    screen.say(&format!("\n{}\n", screen.bold(&title)));
    let sales = sales.with(args.options(mode));
    let id = format!("eight, {}", mode.name());
    create(&sales, &id, ITEMS)?;

    report(&sales, &id, answered(all_at_once(&sales, &id)?)?, screen, promises)
}

/// Each of the eight, on a thread of its own, wants one.
pub(crate) fn all_at_once(sales: &Handle<FlashSale>, id: &str) -> Result<Vec<Told>, Failure> {
    let buy = |buyer: String| {
        let outcome = sales.execute(id, &FlashSaleCommand::purchase(&buyer, 1));
        (buyer, outcome)
    };
    each_on_a_thread(buy)
}

/// Lets the eight do this at the same moment.
pub(crate) fn each_on_a_thread(work: impl Fn(String) -> Told + Sync) -> Result<Vec<Told>, Failure> {
    thread::scope(|scope| {
        let threads = together(scope, names().map(|buyer| || work(buyer)))?;
        let joined = threads.into_iter().zip(names());
        Ok(joined.map(|(thread, name)| thread.join().unwrap_or((name, Err(Error::Closed)))).collect())
    })
}

/// The answers, if nobody got an error.
pub(crate) fn answered(told: Vec<Told>) -> Result<Vec<Answer>, Error> {
    told.into_iter().map(|(buyer, outcome)| Ok((buyer, outcome?))).collect()
}

fn names() -> impl Iterator<Item = String> {
    ["ada", "bob", "cat", "dan", "eve", "fay", "gus", "hal"].into_iter().map(Into::into)
}

pub(crate) fn create(sales: &Handle<FlashSale>, id: &str, items: u64) -> Result<(), Failure> {
    match sales.execute(id, &FlashSaleCommand::create(items))?.rejection() {
        None => Ok(()),
        Some(no) => Err(no.to_string().into()),
    }
}

/// A line for each answer, in the order of the log, with what was left after it. A turn is a decision made as
/// the holder of the lock: with locks every one is, with checks the last resort.
pub(crate) fn report(
    sales: &Handle<FlashSale>,
    id: &str,
    mut answers: Vec<Answer>,
    screen: &Screen,
    promises: &mut Promises,
) -> Result<(), Failure> {
    let mut heard = Heard::default();
    answers.iter().for_each(|(buyer, outcome)| heard.note(buyer, outcome));
    answers.sort_by_key(|(_, outcome)| outcome.position());
    let ledger = ledger::check(sales, id, BUYERS as u64, &heard, promises)?;

    let bar = Bar::new(screen.ink(), 2 * ledger.stock as usize, ledger.stock);
    let heads = ["buyer", "answer", "stock"].map(Column::left);
    let mut table =
        Table::new(heads.into_iter().chain(["lock waits", "conflicts", "turn"].map(Column::right)));
    for ((buyer, outcome), left) in answers.iter().zip(&ledger.left) {
        let answer = match outcome.rejection() {
            None => screen.paint("bought", "32"),
            Some(no) => screen.paint(no.reason(), "33"),
        };
        let effort = outcome.effort();
        let turn = if effort.turn { "yes" } else { "" };
        let stock = format!("{} {left}", bar.filled(*left));
        let (waits, conflicts) = (effort.lock_waits.to_string(), effort.conflicts.to_string());
        table.row([buyer.clone(), answer, stock, waits, conflicts, turn.into()]);
    }
    screen.say(&format!(
        "{table}\n  {} of {BUYERS} commands completed: {}, {}.",
        heard.completed,
        plural(ledger.purchases, "purchase"),
        plural(ledger.refused.values().sum(), "rejection"),
    ));
    Ok(())
}

/// More than there is, and more than there ever was, is refused, and nothing changes.
pub(crate) fn too_many(
    sales: &Handle<FlashSale>,
    screen: &Screen,
    promises: &mut Promises,
) -> Result<(), Failure> {
    screen.say(&format!("\n{}", screen.bold("NINE OF FIVE")));
    let id = "nine of five";
    create(sales, id, ITEMS)?;
    for (quantity, promised, left) in
        [(9, "quantity_above_stock", 5), (3, "", 2), (3, "out_of_stock", 2), (2, "", 0)]
    {
        let outcome = sales.execute(id, &FlashSaleCommand::purchase("ada", quantity))?;
        let said = outcome.rejection().map_or_else(|| "bought".to_owned(), ToString::to_string);
        screen.say(&format!("  {quantity} items: {said}"));
        let reason = outcome.rejection().map_or("", |no| no.reason());
        promises.equal(&format!("an order of {quantity}"), reason, promised);
        promises.equal(&format!("left after an order of {quantity}"), sales.read(id)?.left(), left);
    }
    // What no sale could accept is not even decided.
    let none = sales.execute(id, &FlashSaleCommand::purchase("ada", 0));
    promises.check(matches!(none, Err(Error::InvalidCommand { .. })), || "an order of 0 was decided".into());
    ledger::read(sales, id, promises)?;
    Ok(())
}
