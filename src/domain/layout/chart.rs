//! The rows of a layout, as they are kept and stored, and the table from labels to seats.

use std::collections::HashMap;

use foldhash::quality::RandomState;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use smol_str::{SmolStr, format_smolstr};

use super::builder::LayoutBuilder;
use super::{Category, LayoutError};

/// In place of a number, for the one seat of a run whose label has none.
pub(super) const UNNUMBERED: u32 = u32::MAX;
const MAX_DIGITS: usize = 9;

/// Everything that distinguishes one layout from another. Memory follows the number of rows, not of
/// seats: a stadium stand is a prefix and two numbers.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Chart {
    /// Whether consecutive seats of a run are known to be neighbours.
    pub(super) adjacent: bool,
    pub(super) categories: Vec<Category>,
    pub(super) sections: Vec<SmolStr>,
    pub(super) rows: Vec<RowHead>,
    pub(super) runs: Vec<Run>,
    pub(super) seats: u32,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct RowHead {
    /// 0 for none, otherwise one more than the index of the section.
    pub(super) section: u32,
    pub(super) category: u32,
    pub(super) name: SmolStr,
}

/// Seats of one row whose numbers count up or down by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Run {
    pub(super) row: u32,
    pub(super) block: u32,
    pub(super) start: u32,
    pub(super) first: u32,
    pub(super) last: u32,
}

impl Run {
    pub(super) fn low(&self) -> u32 {
        self.first.min(self.last)
    }

    pub(super) fn high(&self) -> u32 {
        self.first.max(self.last)
    }

    /// How many seats: never 0, and no overflow, since a number has at most nine digits or stands alone.
    pub(super) fn len(&self) -> u32 {
        self.first.abs_diff(self.last) + 1
    }

    pub(super) fn end(&self) -> u32 {
        self.start + self.len()
    }

    pub(super) fn number(&self, seat: u32) -> u32 {
        let offset = seat - self.start;
        if self.first <= self.last { self.first + offset } else { self.first - offset }
    }
}

impl Chart {
    pub(super) fn row(&self, run: &Run) -> Option<&RowHead> {
        self.rows.get(run.row as usize)
    }

    pub(super) fn section(&self, row: &RowHead) -> Option<&SmolStr> {
        self.sections.get((row.section as usize).checked_sub(1)?)
    }

    /// What the labels of a row have in common. In a described row it never ends in a digit, so that
    /// the digits at the end of a label are always the seat's number and row 1 seat 12 is not row 11
    /// seat 2.
    pub(super) fn prefix(&self, row: &RowHead) -> SmolStr {
        let name = &row.name;
        match self.section(row) {
            _ if !self.adjacent => name.clone(),
            Some(section) => format_smolstr!("{section}-{name}-"),
            None if name.ends_with(|last: char| last.is_ascii_digit()) => format_smolstr!("{name}-"),
            None => name.clone(),
        }
    }
}

pub(super) fn join(prefix: &SmolStr, number: u32) -> SmolStr {
    if number == UNNUMBERED { prefix.clone() } else { format_smolstr!("{prefix}{number}") }
}

/// Takes a label apart: the number at its end, without leading zeros, and what stands before it.
/// Every label has exactly one such form, and [`join`] gives the label back.
pub(super) fn split(label: &str) -> (&str, u32) {
    let (mut digits, mut significant) = (0, 0);
    let (mut number, mut scale) = (0, 1);
    for byte in label.bytes().rev().take_while(u8::is_ascii_digit) {
        digits += 1;
        if byte != b'0' {
            significant = digits;
        }
        if digits <= MAX_DIGITS {
            number += u32::from(byte - b'0') * scale;
            scale = scale.saturating_mul(10);
        }
    }
    // The last of nothing but zeros is the number 0.
    let significant = significant.max(digits.min(1));
    match label.split_at_checked(label.len() - significant) {
        Some((prefix, _)) if (1..=MAX_DIGITS).contains(&significant) => (prefix, number),
        _ => (label, UNNUMBERED),
    }
}

/// From label to seat: one hash of the prefix, then the run that holds the number.
#[derive(Debug)]
pub(super) struct Lookup {
    // Seeded at random, because a chart may come from a stranger: made-up prefixes that collide must
    // not slow a sale down.
    prefixes: HashMap<SmolStr, (u32, u32), RandomState>,
    /// The runs again, those of one prefix together and by ascending number: not their indices, which would be one
    /// more trip to memory for every seat that is named.
    runs: Box<[Run]>,
    /// The run of every [`STRIDE`]th seat, so that finding a seat's run looks at few of them.
    marks: Box<[u32]>,
}

const STRIDE: u32 = 64;

impl Lookup {
    /// # Errors
    ///
    /// The label that two seats share, and the later of their rows. Found by comparing ranges, so the
    /// work follows the number of rows.
    pub(super) fn of(chart: &Chart) -> Result<Self, (LayoutError, u32)> {
        let prefixes: Vec<SmolStr> = chart.rows.iter().map(|row| chart.prefix(row)).collect();
        let mut keys: Vec<(&SmolStr, u32, u32)> = Vec::with_capacity(chart.runs.len());
        for (index, run) in (0..).zip(&chart.runs) {
            if let Some(prefix) = prefixes.get(run.row as usize) {
                keys.push((prefix, run.low(), index));
            }
        }
        keys.sort_unstable();
        let mut table: HashMap<SmolStr, (u32, u32), RandomState> = HashMap::default();
        let mut previous: Option<(&SmolStr, &Run)> = None;
        for (place, &(prefix, low, index)) in (0..).zip(&keys) {
            let Some(run) = chart.runs.get(index as usize) else { continue };
            match previous {
                Some((same, before)) if same == prefix => {
                    if low <= before.high() {
                        let label = join(prefix, low);
                        return Err((LayoutError::DuplicateLabel { label }, run.row.max(before.row)));
                    }
                    table.entry(prefix.clone()).and_modify(|(_, end)| *end = place + 1);
                }
                _ => {
                    table.insert(prefix.clone(), (place, place + 1));
                }
            }
            previous = Some((prefix, run));
        }
        table.shrink_to_fit();
        let marked = |seat: u32| chart.runs.partition_point(|run| run.end() <= seat) as u32;
        Ok(Self {
            prefixes: table,
            runs: keys.iter().filter_map(|&(_, _, index)| chart.runs.get(index as usize).copied()).collect(),
            marks: (0..chart.seats).step_by(STRIDE as usize).map(marked).collect(),
        })
    }

    pub(super) fn run_of<'c>(&self, chart: &'c Chart, seat: u32) -> Option<&'c Run> {
        let mark = (seat / STRIDE) as usize;
        let first = *self.marks.get(mark)? as usize;
        let last = self.marks.get(mark + 1).map_or(chart.runs.len(), |run| *run as usize + 1);
        let near = chart.runs.get(first..last)?;
        near.get(near.partition_point(|run| run.end() <= seat)).filter(|run| run.start <= seat)
    }

    pub(super) fn find(&self, label: &str) -> Option<u32> {
        let (prefix, number) = split(label);
        let &(start, end) = self.prefixes.get(prefix)?;
        let run = match self.runs.get(start as usize..end as usize)? {
            [only] => only,
            runs => runs.get(runs.partition_point(|run| run.low() <= number).checked_sub(1)?)?,
        };
        (run.low()..=run.high()).contains(&number).then(|| run.start + number.abs_diff(run.first))
    }
}

/// A chart as it is stored: no labels, and no table.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    adjacent: bool,
    categories: Vec<Category>,
    sections: Vec<SmolStr>,
    rows: Vec<StoredRow>,
}

#[derive(Serialize, Deserialize)]
struct StoredRow {
    section: u32,
    category: u32,
    name: SmolStr,
    /// First and last number of each block; none for a label without a number.
    blocks: SmallVec<[(u32, u32); 2]>,
}

impl From<&Chart> for Stored {
    fn from(chart: &Chart) -> Self {
        let stored = |row: &RowHead| StoredRow {
            section: row.section,
            category: row.category,
            name: row.name.clone(),
            blocks: SmallVec::new(),
        };
        let mut rows: Vec<StoredRow> = chart.rows.iter().map(stored).collect();
        for run in chart.runs.iter().filter(|run| run.first != UNNUMBERED) {
            if let Some(row) = rows.get_mut(run.row as usize) {
                row.blocks.push((run.first, run.last));
            }
        }
        Self {
            adjacent: chart.adjacent,
            categories: chart.categories.clone(),
            sections: chart.sections.clone(),
            rows,
        }
    }
}

impl TryFrom<Stored> for LayoutBuilder {
    type Error = LayoutError;

    fn try_from(stored: Stored) -> Result<Self, LayoutError> {
        let mut builder = LayoutBuilder::new(stored.adjacent);
        for category in &stored.categories {
            builder.add_category(&category.name, category.price)?;
        }
        for section in &stored.sections {
            builder.add_section(section)?;
        }
        for row in stored.rows {
            builder.add_stored_row(row.section, row.category, &row.name, &row.blocks)?;
        }
        Ok(builder)
    }
}
