//! What the stored history says of a sale, against what its buyers heard.

use std::collections::BTreeMap;

use boxoffice::flash_sale::{FlashSale, FlashSaleEvent};
use boxoffice::history::Happened;
use boxoffice::{Handle, Outcome};
use smol_str::SmolStr;

use crate::support::Failure;
use crate::support::promises::Promises;

/// Of each buyer: the reason of the refusal, or nothing for who has bought.
type Answers = BTreeMap<SmolStr, &'static str>;

/// What the buyers heard, and what it took.
#[derive(Default)]
pub(crate) struct Heard {
    answers: Answers,
    /// How many answers there were, also if somebody got two.
    pub(crate) completed: u64,
    pub(crate) lock_waits: u64,
    pub(crate) conflicts: u64,
    pub(crate) turns: u64,
}

impl Heard {
    pub(crate) fn note(&mut self, buyer: &str, outcome: &Outcome<FlashSale>) {
        self.answers.insert(buyer.into(), outcome.rejection().map_or("", |no| no.reason()));
        self.completed += 1;
        self.lock_waits += u64::from(outcome.effort().lock_waits);
        self.conflicts += u64::from(outcome.effort().conflicts);
        self.turns += u64::from(outcome.effort().turn);
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.answers.extend(other.answers);
        self.completed += other.completed;
        self.lock_waits += other.lock_waits;
        self.conflicts += other.conflicts;
        self.turns += other.turns;
    }
}

/// The history, added up.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) stock: u64,
    pub(crate) purchases: u64,
    pub(crate) items: u64,
    pub(crate) refused: BTreeMap<&'static str, u64>,
    answers: Answers,
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
            Happened::Event(FlashSaleEvent::Purchased { buyer, quantity, .. }) => {
                ledger.purchases += 1;
                ledger.items += quantity;
                ledger.answers.insert(buyer.clone(), "");
            }
            Happened::Event(_) => {}
            Happened::Rejection(no) => {
                *ledger.refused.entry(no.reason()).or_default() += 1;
                ledger.answers.extend(no.buyer.clone().map(|buyer| (buyer, no.reason())));
            }
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

/// Everybody wanted one: as many were sold as there were or were wanted, everybody got an answer, and it is the one
/// that is stored.
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
    promises.equal(&format!("{id}: commands that completed"), heard.completed, buyers);
    promises.equal(&format!("{id}: buyers in the history"), ledger.answers.len() as u64, buyers);
    promises.equal(&format!("{id}: purchases"), (ledger.purchases, ledger.items), (sold, sold));
    promises.equal(&format!("{id}: rejections that were stored"), &ledger.refused, &refused);
    // Buyer by buyer. The first who heard something else is enough.
    let differs = |buyer: &&SmolStr| heard.answers.get(*buyer) != ledger.answers.get(*buyer);
    let differs = heard.answers.keys().chain(ledger.answers.keys()).find(differs);
    promises.check(differs.is_none(), || {
        let both = differs.map(|buyer| (buyer, heard.answers.get(buyer), ledger.answers.get(buyer)));
        format!("{id}: a buyer, what was heard and what is stored: {both:?}")
    });
    Ok(ledger)
}
