//! What the stored history says of a sale, against what its buyers heard.

use std::collections::BTreeMap;

use boxoffice::flash_sale::{FlashSale, FlashSaleEvent};
use boxoffice::history::Happened;
use boxoffice::{Handle, Outcome};

use crate::support::Failure;
use crate::support::promises::Promises;

/// What the buyers heard, added up by themselves.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) bought: u64,
    pub(crate) refused: BTreeMap<&'static str, u64>,
    pub(crate) conflicts: u64,
    pub(crate) turns: u64,
}

impl Heard {
    pub(crate) fn note(&mut self, outcome: &Outcome<FlashSale>) {
        match outcome.rejection() {
            None => self.bought += 1,
            Some(no) => *self.refused.entry(no.reason()).or_default() += 1,
        }
        self.conflicts += u64::from(outcome.effort().conflicts);
        self.turns += u64::from(outcome.effort().turn);
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.bought += other.bought;
        self.conflicts += other.conflicts;
        self.turns += other.turns;
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.values().sum()
    }
}

/// The history, added up.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) stock: u64,
    pub(crate) purchases: u64,
    pub(crate) items: u64,
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Of each answer in order: how much was left after it.
    pub(crate) left: Vec<u64>,
}

/// Reads the whole history of a sale. Sold is never more than there was, at any version.
pub(crate) fn read(sales: &Handle<FlashSale>, id: &str, promises: &mut Promises) -> Result<Ledger, Failure> {
    let mut ledger = Ledger::default();
    let mut last = 0;
    for record in sales.history(id)? {
        let record = record?;
        promises.equal(&format!("{id}: the next version"), record.version, last + 1);
        last = record.version;
        match &record.what {
            Happened::Event(FlashSaleEvent::Created { stock }) => {
                ledger.stock = *stock;
                continue;
            }
            Happened::Event(FlashSaleEvent::Purchased { quantity, .. }) => {
                ledger.purchases += 1;
                ledger.items += quantity;
            }
            Happened::Event(_) => {}
            Happened::Rejection(no) => *ledger.refused.entry(no.reason()).or_default() += 1,
        }
        let (stock, items) = (ledger.stock, ledger.items);
        promises.check(items <= stock, || format!("{id}: {items} of {stock} items are sold"));
        ledger.left.push(stock.saturating_sub(items));
    }
    let view = sales.read(id)?;
    let shown = (view.version(), view.stock(), view.sold(), view.left());
    let (stock, sold) = (ledger.stock, ledger.items);
    promises.equal(&format!("{id}: the state"), shown, (last, stock, sold, stock.saturating_sub(sold)));
    Ok(ledger)
}

/// Everybody wanted one: as many were sold as there were or were wanted, and everybody got an answer.
pub(crate) fn check(
    sales: &Handle<FlashSale>,
    id: &str,
    buyers: u64,
    heard: &Heard,
    promises: &mut Promises,
) -> Result<Ledger, Failure> {
    let ledger = read(sales, id, promises)?;
    let sold = buyers.min(ledger.stock);
    let refused = BTreeMap::from_iter((buyers > sold).then_some(("out_of_stock", buyers - sold)));
    promises.equal(&format!("{id}: commands that completed"), heard.bought + heard.refused(), buyers);
    promises.equal(
        &format!("{id}: purchases"),
        (ledger.purchases, ledger.items, heard.bought),
        (sold, sold, sold),
    );
    promises.equal(&format!("{id}: rejections that were stored"), &ledger.refused, &refused);
    promises.equal(&format!("{id}: rejections that were heard"), &heard.refused, &refused);
    Ok(ledger)
}
