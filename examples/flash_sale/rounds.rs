//! The eight buyers again and again: what is true once may be luck.
//!
//! In memory, because a round is about who meets whom, and not about the disk.

use boxoffice::flash_sale::FlashSale;
use boxoffice::{Engine, Handle};

use crate::args::{Args, Mode};
use crate::eight::{BUYERS, ITEMS, all_at_once, create};
use crate::ledger::{self, Heard};
use crate::support::Failure;
use crate::support::promises::Promises;
use crate::support::screen::Screen;
use crate::support::text::{grouped, plural};

/// Plays a mode's rounds, each a sale of its own. One in which somebody got an error, or another answer than the
/// stored one, does not count.
pub(crate) fn rounds(
    mode: Mode,
    args: &Args,
    screen: &Screen,
    promises: &mut Promises,
) -> Result<(), Failure> {
    let engine = Engine::builder().aggregate::<FlashSale>().in_memory()?;
    let sales = engine.handle::<FlashSale>(())?.with(args.options(mode));
    let (mut complete, mut conflicts, mut waits) = (0, 0, 0);
    for number in 1..=args.rounds {
        let id = format!("round {number}, {}", mode.name());
        let mut faults = Promises::default();
        let heard = round(&sales, &id, &mut faults)?;
        complete += u64::from(faults.verdict().is_ok() && heard.completed == BUYERS as u64);
        conflicts += heard.conflicts;
        waits += heard.lock_waits;
        promises.add(faults);
    }
    engine.close()?;
    screen.say(&format!(
        "  {} of {} rounds: {BUYERS} of {BUYERS}, {ITEMS} purchases each; {}, {}.",
        grouped(complete),
        grouped(args.rounds),
        plural(waits, "lock wait"),
        plural(conflicts, "conflict"),
    ));
    Ok(())
}

fn round(sales: &Handle<FlashSale>, id: &str, faults: &mut Promises) -> Result<Heard, Failure> {
    create(sales, id, ITEMS)?;
    let mut heard = Heard::default();
    for (buyer, outcome) in all_at_once(sales, id)? {
        match outcome {
            Ok(outcome) => heard.note(&buyer, &outcome),
            Err(error) => faults.check(false, || format!("{id}: {buyer} was told {error}")),
        }
    }
    ledger::check(sales, id, BUYERS as u64, &heard, faults)?;
    Ok(heard)
}
