//! The stadium: its layout file, its stands, and how to find seats side by side.

use std::sync::Arc;

use boxoffice::layout::{Layout, LayoutError, SeatIndex};

/// The layout file, which ships with the example.
const LAYOUT: &str = include_str!("stadium.layout");

/// Most seats that one fan may have.
pub(crate) const MOST_SEATS: u32 = 6;

pub(crate) struct Stadium {
    /// The stadium as it was built, for the map.
    pub(crate) whole: Layout,
    /// What is for sale: all of it, or its first seats.
    pub(crate) layout: Arc<Layout>,
    pub(crate) stands: Vec<Stand>,
}

/// A tier of one side, or of a corner: a section of the layout.
pub(crate) struct Stand {
    name: String,
    /// The seats between two aisles, row by row from the pitch.
    pub(crate) blocks: Vec<Vec<SeatIndex>>,
}

/// What a fan looks for.
pub(crate) struct Wish {
    pub(crate) seats: usize,
    /// How many free places the fan looks at before taking one.
    pub(crate) looks_at: usize,
    /// The stands to look in, and the block in each to begin with.
    pub(crate) places: [(usize, usize); 2],
}

impl Stadium {
    /// Opens `seats` seats for sale.
    pub(crate) fn new(seats: u32) -> Result<Self, LayoutError> {
        let whole = Layout::parse(LAYOUT)?;
        let layout = first_seats(&whole, seats)?;
        let mut stands: Vec<Stand> = Vec::new();
        for row in layout.rows() {
            let name = row.section().unwrap_or_default();
            let block = row.seats().collect();
            match stands.last_mut() {
                Some(stand) if stand.name == name => stand.blocks.push(block),
                _ => stands.push(Stand { name: name.to_owned(), blocks: vec![block] }),
            }
        }
        Ok(Self { whole, layout: Arc::new(layout), stands })
    }

    /// Seats side by side that look free, in one of the places that the fan would like.
    pub(crate) fn find(&self, wish: &Wish, is_free: impl Fn(SeatIndex) -> bool) -> Option<&[SeatIndex]> {
        wish.places.iter().find_map(|&(stand, first)| {
            let (before, after) = self.stands.get(stand)?.blocks.split_at_checked(first)?;
            let blocks = after.iter().chain(before);
            let places = blocks.flat_map(|block| block.windows(wish.seats));
            let free = places.filter(|seats| seats.iter().all(|seat| is_free(*seat)));
            free.step_by(wish.seats).take(wish.looks_at).last()
        })
    }

    /// The labels of these seats, by which commands name them.
    pub(crate) fn labels(&self, seats: &[SeatIndex]) -> impl Iterator<Item: AsRef<str>> {
        seats.iter().filter_map(|seat| self.layout.label(*seat))
    }
}

/// A smaller stadium: the same seats up to a number, the last row cut short.
fn first_seats(whole: &Layout, seats: u32) -> Result<Layout, LayoutError> {
    let mut builder = Layout::builder();
    for category in whole.categories() {
        builder = builder.category(&category.name, category.price);
    }
    let mut section = None;
    for row in whole.rows() {
        let mut open = row.seats().filter(|seat| seat.0 < seats);
        let Some(first) = open.next() else { break };
        let last = open.next_back().unwrap_or(first);
        if section != row.section() {
            section = row.section();
            builder = builder.section(section.unwrap_or_default());
        }
        let numbers = row.number(first).zip(row.number(last));
        builder = builder.row(row.name(), &row.category().name, numbers);
    }
    builder.build()
}
