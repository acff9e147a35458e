//! The hall: its rows, blocks and prices, and what is booked before the doors open.

use std::collections::BTreeMap;
use std::sync::Arc;

use boxoffice::layout::{Layout, LayoutError, SeatIndex};
use serde::Serialize;
use smol_str::{SmolStr, format_smolstr};

/// Every film that runs. A show is a venue of the engine, by this id.
pub(crate) const SHOWS: [Show; 1] = [Show { id: "tonight", title: "The Last Reel" }];

/// Who has the seats that are booked beforehand.
pub(crate) const SEED: &str = "seed";

#[derive(Clone, Copy, Serialize)]
pub(crate) struct Show {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
}

/// Name and price in cents.
const CATEGORIES: [(&str, u64); 4] =
    [("classic", 17_796), ("extra_legroom", 23_656), ("prime", 29_546), ("recliner", 47_296)];

type Block = (u32, u32);
const TWO: &[Block] = &[(9, 1), (18, 10)];
const THREE: &[Block] = &[(7, 1), (14, 8), (21, 15)];
const ONE: &[Block] = &[(12, 1)];

/// From the screen to the back: row, category, and its blocks from left to right.
const ROWS: [(&str, usize, &[Block]); 13] = [
    ("A", 0, TWO),
    ("B", 0, TWO),
    ("C", 0, TWO),
    ("D", 1, TWO),
    ("E", 2, THREE),
    ("F", 2, THREE),
    ("G", 2, THREE),
    ("H", 2, THREE),
    ("I", 2, THREE),
    ("J", 2, THREE),
    ("K", 2, THREE),
    ("L", 2, THREE),
    ("M", 3, ONE),
];

/// The rows in the order in which one would like to sit in them.
const BEST_ROWS: &str = "IHJKGLFEMDCBA";

/// A seat as the wire shows it, but for its status.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Seat {
    pub(crate) id: SmolStr,
    pub(crate) row: &'static str,
    pub(crate) number: u32,
    pub(crate) block_index: usize,
    pub(crate) category: &'static str,
    pub(crate) price_cents: u64,
}

impl Seat {
    pub(crate) fn is_recliner(&self) -> bool {
        self.category == "recliner"
    }
}

pub(crate) struct Cinema {
    /// The engine's chart: the best blocks first, because it takes "the best" from the front.
    pub(crate) layout: Arc<Layout>,
    /// By index in the layout.
    seats: Vec<Seat>,
    /// Row by row from the screen on, as people would count them.
    in_order: Vec<SeatIndex>,
}

impl Cinema {
    pub(crate) fn new() -> Result<Self, LayoutError> {
        let mut builder = Layout::builder();
        for (name, price) in CATEGORIES {
            builder = builder.category(name, price);
        }
        let mut seats = Vec::new();
        for (row, category, blocks) in best_first() {
            let (category, price_cents) = CATEGORIES[category];
            for block_index in middle_first(blocks) {
                let (first, last) = blocks[block_index];
                builder = builder.row(row, category, [(first, last)]);
                seats.extend((last..=first).rev().map(|number| Seat {
                    id: format_smolstr!("{row}{number}"),
                    row,
                    number,
                    block_index,
                    category,
                    price_cents,
                }));
            }
        }
        let layout = Arc::new(builder.build()?);
        let mut in_order: Vec<SeatIndex> = layout.seats().collect();
        in_order.sort_by_key(|seat| {
            let Seat { row, block_index, number, .. } = &seats[seat.index()];
            (*row, *block_index, std::cmp::Reverse(*number))
        });
        Ok(Self { layout, seats, in_order })
    }

    pub(crate) fn in_order(&self) -> impl Iterator<Item = (SeatIndex, &Seat)> {
        self.in_order.iter().map(|seat| (*seat, &self.seats[seat.index()]))
    }

    pub(crate) fn seat(&self, seat: SeatIndex) -> Option<&Seat> {
        self.seats.get(seat.index())
    }

    pub(crate) fn label(&self, seat: SeatIndex) -> SmolStr {
        self.seat(seat).map_or_else(SmolStr::default, |seat| seat.id.clone())
    }

    pub(crate) fn labels(&self, seats: &[SeatIndex]) -> Vec<SmolStr> {
        seats.iter().map(|seat| self.label(*seat)).collect()
    }

    /// What is booked beforehand: three seats at the wall in the rows G to L.
    pub(crate) fn booked_beforehand(&self) -> Vec<SmolStr> {
        let seats = self.in_order().map(|(_, seat)| seat);
        let booked =
            seats.filter(|seat| ("G"..="L").contains(&seat.row) && seat.block_index == 0 && seat.number <= 3);
        booked.map(|seat| seat.id.clone()).collect()
    }
}

fn best_first() -> impl Iterator<Item = (&'static str, usize, &'static [Block])> {
    let by_name: BTreeMap<&str, _> = ROWS.iter().map(|row| (row.0, *row)).collect();
    BEST_ROWS.chars().filter_map(move |name| by_name.get(name.to_string().as_str()).copied())
}

/// The blocks of a row, the one in the middle before those at the walls.
fn middle_first(blocks: &[Block]) -> impl Iterator<Item = usize> {
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|block| (2 * block + 1).abs_diff(blocks.len()));
    order.into_iter()
}
