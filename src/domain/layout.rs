//! The chart of a hall: labels, rows, who sits beside whom, categories and their prices.

mod builder;
mod chart;
mod error;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::{Deserializer, Error as _};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

pub use builder::LayoutBuilder;
pub use error::LayoutError;

use chart::{Chart, Lookup, RowHead, Run, Stored, UNNUMBERED, join};

/// A seat's number within its layout, counted from 0 in the order of the description.
///
/// Means nothing without the layout that it came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeatIndex(pub u32);

impl SeatIndex {
    /// The same number, for indexing arrays.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for SeatIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A kind of seat, and what one costs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Category {
    /// The name, unique in its layout.
    pub name: SmolStr,
    /// The list price of one seat in minor units (cents), up to [`Layout::MAX_PRICE`].
    pub price: u64,
}

/// The chart of a hall, immutable and shared by every show in it.
///
/// Built from a description by [`builder`](Self::builder), from a file by [`parse`](Self::parse), or
/// from a plain list by [`from_labels`](Self::from_labels). Labels are unique and compared exactly.
/// Memory and stored size follow the number of rows, not of seats.
///
/// # Labels of a described row
///
/// | section | row | seat | label |
/// |---|---|---|---|
/// | none | `A` | 1 | `A1` |
/// | none | `7` | 1 | `7-1`: a dash, because the row ends in a digit |
/// | `Stalls` | `A` | 1 | `Stalls-A-1` |
///
/// ```
/// use boxoffice::layout::Layout;
///
/// let cinema = Layout::builder()
///     .category("classic", 17_796)
///     .category("recliner", 47_296)
///     .row("A", "classic", [(9, 1), (18, 10)]) // an aisle between 1 and 18
///     .row("M", "recliner", [(12, 1)])
///     .build()?;
///
/// let seat = cinema.seat("A1").unwrap();
/// assert_eq!(cinema.len(), 30);
/// assert_eq!(cinema.price(seat), Some(17_796));
/// assert_eq!(cinema.neighbours(seat), [cinema.seat("A2"), None]);
/// # Ok::<(), boxoffice::layout::LayoutError>(())
/// ```
pub struct Layout {
    chart: Chart,
    lookup: Lookup,
}

impl Layout {
    /// Most seats that a layout may have.
    pub const MAX_SEATS: u32 = 4_194_304;
    /// Longest label, and longest name of a row, section or category, in bytes.
    pub const MAX_LABEL_BYTES: usize = 64;
    /// Highest seat number.
    pub const MAX_NUMBER: u32 = 999_999_999;
    /// Highest price of a category, in minor units. The sum over all seats of any layout fits a `u64`.
    pub const MAX_PRICE: u64 = 1_000_000_000_000;

    /// Begins a description by sections and rows.
    pub fn builder() -> LayoutBuilder {
        LayoutBuilder::new(true)
    }

    /// A layout of these labels, in this order. All seats are of category `standard` with price 0, and
    /// no seat is known to be beside another.
    ///
    /// ```
    /// use boxoffice::layout::Layout;
    /// let hall = Layout::from_labels(["A1", "A2", "Royal box"])?;
    /// assert!(hall.seat("Royal box").is_some() && hall.seat("royal box").is_none());
    /// # Ok::<(), boxoffice::layout::LayoutError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// No labels, an empty or over-long one, the same one twice, or more than
    /// [`MAX_SEATS`](Self::MAX_SEATS).
    pub fn from_labels<I>(labels: I) -> Result<Self, LayoutError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut builder = LayoutBuilder::new(false);
        builder.add_category("standard", 0)?;
        for label in labels {
            builder.add_label(label.as_ref(), 0)?;
        }
        builder.build()
    }

    /// Reads a layout file. Each line is one of these, `#` begins a comment, and names are single words:
    ///
    /// - `category NAME PRICE`: the price of one seat in minor units;
    /// - `section NAME`: the rows after it belong to it; `section` alone ends it;
    /// - `row NAME CATEGORY BLOCKS`: blocks of seats separated by `|` for an aisle; a block is `1-12`,
    ///   `12-1` when the numbers fall, or `7` for a single seat.
    ///
    /// ```
    /// use boxoffice::layout::Layout;
    ///
    /// let hall = Layout::parse("
    ///     category classic 17796
    ///     row A classic 9-1 | 18-10   # A9 to A1, an aisle, A18 to A10
    ///     section Balcony
    ///     row A classic 1-4           # Balcony-A-1 to Balcony-A-4
    /// ")?;
    /// assert_eq!(hall.len(), 22);
    /// assert!(hall.seat("A10").is_some() && hall.seat("Balcony-A-4").is_some());
    /// # Ok::<(), boxoffice::layout::LayoutError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The first mistake, as [`LayoutError::AtLine`] wherever it has a line.
    pub fn parse(text: &str) -> Result<Self, LayoutError> {
        text::parse(text)
    }

    /// How many seats there are, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a layout is never empty")]
    pub fn len(&self) -> u32 {
        self.chart.seats
    }

    /// The seat with exactly this label. One hash lookup, without allocation.
    pub fn seat(&self, label: &str) -> Option<SeatIndex> {
        self.lookup.find(label).map(SeatIndex)
    }

    /// The label of this seat; `None` for an index of another layout that is out of range here.
    pub fn label(&self, seat: SeatIndex) -> Option<SmolStr> {
        let Row { run, head, .. } = self.row(seat)?;
        Some(join(&self.chart.prefix(head), run.number(seat.0)))
    }

    /// All seats in order.
    pub fn seats(&self) -> impl ExactSizeIterator<Item = SeatIndex> + DoubleEndedIterator + Clone + use<> {
        (0..self.chart.seats).map(SeatIndex)
    }

    /// All categories, in the order of the description.
    pub fn categories(&self) -> &[Category] {
        &self.chart.categories
    }

    /// The category of this seat.
    pub fn category(&self, seat: SeatIndex) -> Option<&Category> {
        self.row(seat).map(|row| row.category())
    }

    /// The list price of this seat in minor units.
    pub fn price(&self, seat: SeatIndex) -> Option<u64> {
        // Asked for every seat that is sold, so without the rest of what a row knows.
        if let [only] = &self.chart.categories[..] {
            return (seat.0 < self.chart.seats).then_some(only.price);
        }
        let row = self.chart.row(self.lookup.run_of(&self.chart, seat.0)?)?;
        self.chart.categories.get(row.category as usize).map(|category| category.price)
    }

    /// The row that this seat is in.
    pub fn row(&self, seat: SeatIndex) -> Option<Row<'_>> {
        Row::of(&self.chart, self.lookup.run_of(&self.chart, seat.0)?)
    }

    /// All rows in order, one item for each block, for drawing a map.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = Row<'_>> + Clone {
        self.chart.runs.iter().filter_map(|run| Row::of(&self.chart, run))
    }

    /// The seats directly before and directly after this one in its block. Both are `None` in a layout
    /// made from a plain list, which does not say who sits beside whom.
    pub fn neighbours(&self, seat: SeatIndex) -> [Option<SeatIndex>; 2] {
        match self.lookup.run_of(&self.chart, seat.0) {
            Some(run) if self.chart.adjacent => [
                (seat.0 > run.start).then(|| SeatIndex(seat.0 - 1)),
                (seat.0 + 1 < run.end()).then(|| SeatIndex(seat.0 + 1)),
            ],
            _ => [None, None],
        }
    }
}

/// One block of a row: the seats between two aisles.
///
/// In a layout made from a plain list it is a stretch of labels that count up by one, named by what
/// they have in common; they are not known to be neighbours.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    run: &'a Run,
    head: &'a RowHead,
    section: Option<&'a SmolStr>,
    category: &'a Category,
}

impl<'a> Row<'a> {
    fn of(chart: &'a Chart, run: &'a Run) -> Option<Self> {
        let head = chart.row(run)?;
        let category = chart.categories.get(head.category as usize)?;
        Some(Self { run, head, section: chart.section(head), category })
    }

    /// The section that the row belongs to, if any.
    pub fn section(&self) -> Option<&'a str> {
        self.section.map(SmolStr::as_str)
    }

    /// The row's name, the same for all its blocks.
    pub fn name(&self) -> &'a str {
        &self.head.name
    }

    /// Which block of the row this is, counted from 0.
    pub fn block(&self) -> u32 {
        self.run.block
    }

    /// The category of its seats.
    pub fn category(&self) -> &'a Category {
        self.category
    }

    /// Its seats, in the order in which they stand.
    pub fn seats(&self) -> impl ExactSizeIterator<Item = SeatIndex> + DoubleEndedIterator + Clone + use<> {
        (self.run.start..self.run.end()).map(SeatIndex)
    }

    /// The number of one of its seats; `None` for a seat of another row, and for a seat of a plain list
    /// whose label does not end in a number.
    pub fn number(&self, seat: SeatIndex) -> Option<u32> {
        let here = (self.run.start..self.run.end()).contains(&seat.0);
        (here && self.run.first != UNNUMBERED).then(|| self.run.number(seat.0))
    }
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("section", &self.section())
            .field("name", &self.name())
            .field("block", &self.block())
            .field("seats", &(self.run.start..self.run.end()))
            .finish()
    }
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layout")
            .field("seats", &self.chart.seats)
            .field("rows", &self.chart.rows.len())
            .field("categories", &self.chart.categories.len())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Layout {
    fn eq(&self, other: &Self) -> bool {
        self.chart == other.chart
    }
}

impl Eq for Layout {}

impl Hash for Layout {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.chart.hash(state);
    }
}

impl Serialize for Layout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Stored::from(&self.chart).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Layout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        LayoutBuilder::try_from(stored).and_then(LayoutBuilder::build).map_err(D::Error::custom)
    }
}
