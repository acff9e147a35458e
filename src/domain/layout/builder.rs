//! Builds a layout piece by piece; every claim is checked before memory is spent on it.

use std::collections::HashMap;

use smol_str::SmolStr;

use super::chart::{Chart, Lookup, RowHead, Run, UNNUMBERED, join, split};
use super::error::start_of;
use super::{Category, Layout, LayoutError};

/// Describes a hall section by section and row by row: see [`Layout::builder`].
///
/// The first mistake is remembered, and [`build`](Self::build) reports it.
#[derive(Debug)]
pub struct LayoutBuilder {
    chart: Chart,
    categories: HashMap<SmolStr, u32>,
    /// The section of the rows to come, as in [`RowHead`].
    section: u32,
    mistake: Option<LayoutError>,
}

impl LayoutBuilder {
    pub(super) fn new(adjacent: bool) -> Self {
        let chart = Chart { adjacent, ..Chart::default() };
        Self { chart, categories: HashMap::new(), section: 0, mistake: None }
    }

    /// Describes a category, before the first row of that category. `price` is for one seat, in minor
    /// units (cents), up to [`Layout::MAX_PRICE`].
    #[must_use]
    pub fn category(self, name: impl AsRef<str>, price: u64) -> Self {
        self.attempt(|builder| builder.add_category(name.as_ref(), price))
    }

    /// Begins a section (a stand, a balcony) that the rows after it belong to. Rows before the first
    /// section belong to none.
    #[must_use]
    pub fn section(self, name: impl AsRef<str>) -> Self {
        self.attempt(|builder| builder.add_section(name.as_ref()))
    }

    /// Describes a row by its blocks, which are what an aisle separates. Each block is the number of
    /// its first and of its last seat as one walks along the row: `(1, 9)` counts up, `(9, 1)` down.
    ///
    /// Seats of one block are neighbours if they follow each other; seats of different blocks never are.
    #[must_use]
    pub fn row(
        self,
        name: impl AsRef<str>,
        category: impl AsRef<str>,
        blocks: impl IntoIterator<Item = (u32, u32)>,
    ) -> Self {
        self.attempt(|builder| builder.add_row(name.as_ref(), category.as_ref(), blocks))
    }

    /// The layout.
    ///
    /// # Errors
    ///
    /// The first mistake in the description, or else a label that two seats share.
    pub fn build(self) -> Result<Layout, LayoutError> {
        self.finish().map_err(|(error, _)| error)
    }

    /// Like [`build`](Self::build), and says in which row a label appears for the second time.
    pub(super) fn finish(self) -> Result<Layout, (LayoutError, Option<u32>)> {
        if let Some(mistake) = self.mistake {
            return Err((mistake, None));
        }
        if self.chart.seats == 0 {
            return Err((LayoutError::Empty, None));
        }
        let mut chart = self.chart;
        chart.rows.shrink_to_fit();
        chart.runs.shrink_to_fit();
        let lookup = Lookup::of(&chart).map_err(|(error, row)| (error, Some(row)))?;
        Ok(Layout { chart, lookup })
    }

    fn attempt(mut self, add: impl FnOnce(&mut Self) -> Result<(), LayoutError>) -> Self {
        if self.mistake.is_none() {
            self.mistake = add(&mut self).err();
        }
        self
    }

    /// How many rows there are so far.
    pub(super) fn rows(&self) -> usize {
        self.chart.rows.len()
    }

    pub(super) fn add_category(&mut self, name: &str, price: u64) -> Result<(), LayoutError> {
        LayoutError::check_name("category", name)?;
        let name = SmolStr::new(name);
        if price > Layout::MAX_PRICE {
            return Err(LayoutError::PriceTooLarge { name });
        }
        let index = count(self.chart.categories.len())?;
        if self.categories.insert(name.clone(), index).is_some() {
            return Err(LayoutError::DuplicateCategory { name });
        }
        self.chart.categories.push(Category { name, price });
        Ok(())
    }

    pub(super) fn add_section(&mut self, name: &str) -> Result<(), LayoutError> {
        LayoutError::check_name("section", name)?;
        self.chart.sections.push(SmolStr::new(name));
        self.section = count(self.chart.sections.len())?;
        Ok(())
    }

    /// The rows to come belong to no section.
    pub(super) fn end_section(&mut self) {
        self.section = 0;
    }

    pub(super) fn add_row(
        &mut self,
        name: &str,
        category: &str,
        blocks: impl IntoIterator<Item = (u32, u32)>,
    ) -> Result<(), LayoutError> {
        LayoutError::check_name("row", name)?;
        let Some(&category) = self.categories.get(category) else {
            return Err(LayoutError::UnknownCategory { name: start_of(category) });
        };
        let row = self.push_row(self.section, category, name)?;
        let before = self.chart.runs.len();
        for (block, (first, last)) in (0..).zip(blocks) {
            self.push_block(row, block, first, last)?;
        }
        if self.chart.runs.len() == before {
            return Err(LayoutError::EmptyRow { name: SmolStr::new(name) });
        }
        Ok(())
    }

    /// A seat of a plain list. Labels that count up by one are kept as one run.
    pub(super) fn add_label(&mut self, label: &str, category: u32) -> Result<(), LayoutError> {
        LayoutError::check_name("label", label)?;
        let (prefix, number) = split(label);
        if let (Some(row), Some(run)) = (self.chart.rows.last(), self.chart.runs.last_mut())
            && number != UNNUMBERED
            && run.last.checked_add(1) == Some(number)
            && row.name == prefix
        {
            if self.chart.seats >= Layout::MAX_SEATS {
                return Err(LayoutError::TooManySeats);
            }
            run.last = number;
            self.chart.seats += 1;
            return Ok(());
        }
        let row = self.push_row(0, category, prefix)?;
        self.push_run(row, 0, number, number)
    }

    /// A row as it was stored, by somebody who may not have used this builder.
    pub(super) fn add_stored_row(
        &mut self,
        section: u32,
        category: u32,
        name: &str,
        blocks: &[(u32, u32)],
    ) -> Result<(), LayoutError> {
        let plain = !self.chart.adjacent;
        if section as usize > self.chart.sections.len() || (plain && section != 0) {
            return Err(LayoutError::Malformed { what: "a row of an unknown section" });
        }
        if category as usize >= self.chart.categories.len() {
            return Err(LayoutError::Malformed { what: "a row of an unknown category" });
        }
        // In a plain list the name is the labels' prefix, and "1", "2", "3" have none.
        if !plain || blocks.is_empty() {
            LayoutError::check_name("row", name)?;
        }
        if !plain && blocks.is_empty() {
            return Err(LayoutError::EmptyRow { name: SmolStr::new(name) });
        }
        let row = self.push_row(section, category, name)?;
        for (block, &(first, last)) in (0..).zip(blocks) {
            self.push_block(row, block, first, last)?;
        }
        if blocks.is_empty() {
            self.push_run(row, 0, UNNUMBERED, UNNUMBERED)?;
        }
        Ok(())
    }

    fn push_row(&mut self, section: u32, category: u32, name: &str) -> Result<u32, LayoutError> {
        let row = count(self.chart.rows.len())?;
        self.chart.rows.push(RowHead { section, category, name: SmolStr::new(name) });
        Ok(row)
    }

    /// Adds the seats `first` to `last` of the newest row.
    fn push_block(&mut self, row: u32, block: u32, first: u32, last: u32) -> Result<(), LayoutError> {
        self.check_room(first.abs_diff(last))?;
        if first.max(last) > Layout::MAX_NUMBER {
            return Err(LayoutError::NumberTooLarge);
        }
        self.push_run(row, block, first, last)
    }

    /// Like [`push_block`](Self::push_block), and also takes [`UNNUMBERED`] twice for a seat without a number.
    fn push_run(&mut self, row: u32, block: u32, first: u32, last: u32) -> Result<(), LayoutError> {
        self.check_room(first.abs_diff(last))?;
        let start = self.chart.seats;
        let run = Run { row, block, start, first, last };
        let Some(head) = self.chart.row(&run) else {
            return Err(LayoutError::Malformed { what: "seats without a row" });
        };
        let prefix = self.chart.prefix(head);
        for number in [run.low(), run.high()] {
            let label = join(&prefix, number);
            LayoutError::check_name("label", &label)?;
            // Only stored data can fail this: a label that would be looked up under another prefix.
            if split(&label) != (prefix.as_str(), number) {
                return Err(LayoutError::Malformed { what: "a label that is stored in two ways" });
            }
        }
        self.chart.seats = run.end();
        self.chart.runs.push(run);
        Ok(())
    }

    /// Refuses one seat and `more` if they are too many.
    fn check_room(&self, more: u32) -> Result<(), LayoutError> {
        let free = Layout::MAX_SEATS - self.chart.seats;
        if more < free { Ok(()) } else { Err(LayoutError::TooManySeats) }
    }
}

/// Rows, sections and categories are each bounded like seats, long before a `u32` is full.
fn count(len: usize) -> Result<u32, LayoutError> {
    u32::try_from(len).ok().filter(|len| *len <= Layout::MAX_SEATS).ok_or(LayoutError::TooManySeats)
}
