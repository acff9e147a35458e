//! The best free seats side by side.

use std::collections::VecDeque;

use serde::Serialize;
use smol_str::SmolStr;

use super::slot::Slot;
use super::{CustomerId, SeatList, VenueState};
use crate::clock::Timestamp;
use crate::layout::{Layout, Row, SeatIndex};

/// A wish for seats that the venue chooses: so many side by side, in a category or anywhere. A number is one too.
///
/// The best are those in the first block of the layout, in the order of its description, that has so many free
/// seats side by side; in that block the most central, and of two equally central ones those that come first. So
/// describe the best rows first. Seats of different blocks are never side by side, and those of a layout made from
/// a plain list are not known to be: there, only one seat at a time can be chosen.
///
/// A seat whose hold has lapsed is chosen like any other once the venue has stored an event about a hold since,
/// and before that only if nothing else is left: the choice is made before the time is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Best {
    /// How many, at least 1.
    pub seats: u32,
    /// The name of their category; `None` for any.
    pub category: Option<SmolStr>,
}

impl Best {
    /// So many seats.
    pub fn of(seats: u32) -> Self {
        Self { seats, category: None }
    }

    /// In this category only.
    #[must_use]
    pub fn in_category(self, name: impl AsRef<str>) -> Self {
        Self { category: Some(SmolStr::new(name)), ..self }
    }
}

impl From<u32> for Best {
    fn from(seats: u32) -> Self {
        Self::of(seats)
    }
}

/// Seats side by side that are free, or will be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    first: SeatIndex,
    seats: u32,
    /// When the last hold on them lapses; 0 if all are known to be free.
    ready: Timestamp,
}

impl Block {
    pub(super) fn seats(&self) -> impl Iterator<Item = SeatIndex> + use<> {
        (self.first.0..).take(self.seats as usize).map(SeatIndex)
    }

    pub(super) fn list(&self) -> SeatList {
        self.seats().collect()
    }

    /// Whether nobody has any of them, as far as was known when they were chosen.
    pub(super) fn is_free(&self) -> bool {
        self.ready == Timestamp(0)
    }
}

/// The best block of free seats; if there is none, the one that will be free first, so that nothing is free if
/// that one is not. A hold counts as lapsed by `known`. Looks at each seat at most once.
pub(super) fn choose<C: CustomerId>(
    state: &VenueState<C>,
    best: &Best,
    known: Timestamp,
    may_have: impl Fn(SeatIndex) -> bool,
) -> Option<Block> {
    let layout = state.layout()?;
    if state.sold >= layout.len() || !exists(layout, best) {
        return None;
    }
    let mut slots = state.slots.iter();
    let mut window = VecDeque::new();
    let mut soonest: Option<Block> = None;
    for row in layout.rows() {
        let seats = row.seats();
        if seats.len() < best.seats as usize || !is_wanted(&row, best) {
            slots.by_ref().take(seats.len()).for_each(drop);
            continue;
        }
        let ready = slots.by_ref().zip(seats.clone()).take(seats.len()).map(|(slot, seat)| {
            let ready = match slot {
                Slot::Free { .. } => Timestamp(0),
                Slot::Held { hold, .. } if !hold.is_live(known) => Timestamp(0),
                Slot::Held { hold, .. } => hold.deadline,
                Slot::Reserved { .. } => return None,
            };
            may_have(seat).then_some(ready)
        });
        let Some(block) = best_of_row(&row, ready, best.seats, &mut window) else { continue };
        if block.is_free() {
            return Some(block);
        }
        if soonest.as_ref().is_none_or(|soonest| block.ready < soonest.ready) {
            soonest = Some(block);
        }
    }
    soonest
}

/// The block that is ready first, and of those the most central.
fn best_of_row(
    row: &Row<'_>,
    ready: impl Iterator<Item = Option<Timestamp>>,
    wanted: u32,
    window: &mut VecDeque<(u32, Timestamp)>,
) -> Option<Block> {
    let (first, last) = (row.seats().next()?.0, row.seats().next_back()?.0);
    let (mut open, mut best) = (first, None);
    // Ascending places and descending times, so that the latest of the last `wanted` seats stands in front.
    window.clear();
    for (seat, ready) in (first..).zip(ready) {
        let Some(ready) = ready else {
            window.clear();
            open = seat + 1;
            continue;
        };
        while window.back().is_some_and(|(_, earlier)| *earlier <= ready) {
            window.pop_back();
        }
        window.push_back((seat, ready));
        if seat + 1 - open < wanted {
            continue;
        }
        let start = seat + 1 - wanted;
        while window.front().is_some_and(|(place, _)| *place < start) {
            window.pop_front();
        }
        let latest = window.front().map_or(ready, |(_, latest)| *latest);
        let off_centre = (start + seat).abs_diff(first + last);
        if best.is_none_or(|(known, centre, _)| (latest, off_centre) < (known, centre)) {
            best = Some((latest, off_centre, start));
        }
    }
    best.map(|(ready, _, start)| Block { first: SeatIndex(start), seats: wanted, ready })
}

fn is_wanted(row: &Row<'_>, best: &Best) -> bool {
    best.category.as_ref().is_none_or(|name| row.category().name == *name)
}

/// Whether the layout says who sits beside whom: all of its rows do, or none.
fn knows_neighbours(layout: &Layout) -> bool {
    let pair = layout.rows().map(|row| row.seats()).find(|seats| seats.len() > 1);
    pair.and_then(|mut seats| seats.next()).is_some_and(|seat| layout.neighbours(seat)[1].is_some())
}

/// Whether the layout has such a block at all.
pub(super) fn exists(layout: &Layout, best: &Best) -> bool {
    let fits = |row: Row<'_>| row.seats().len() >= best.seats as usize && is_wanted(&row, best);
    layout.rows().any(fits) && (best.seats == 1 || knows_neighbours(layout))
}

/// Whether the layout has no such category.
pub(super) fn unknown_category(layout: &Layout, best: &Best) -> Option<SmolStr> {
    let name = best.category.as_ref()?;
    let known = layout.categories().iter().any(|category| category.name == *name);
    (!known).then(|| name.clone())
}
