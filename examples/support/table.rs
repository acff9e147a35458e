//! A table: a head, rows and rules, each column as wide as its widest cell.

use std::fmt;

use super::text::width;

const INDENT: &str = "  ";
const GAP: &str = "  ";

pub(crate) struct Table {
    columns: Vec<Column>,
    lines: Vec<Line>,
}

pub(crate) struct Column {
    head: String,
    is_right: bool,
    least: usize,
}

enum Line {
    Row(Vec<String>),
    Rule,
}

impl Column {
    /// For words: they begin below each other.
    pub(crate) fn left(head: impl Into<String>) -> Self {
        Self { head: head.into(), is_right: false, least: 0 }
    }

    /// For numbers: they end below each other.
    pub(crate) fn right(head: impl Into<String>) -> Self {
        Self { is_right: true, ..Self::left(head) }
    }

    /// Not narrower than this, so that tables which follow each other look alike.
    #[must_use]
    pub(crate) fn at_least(self, least: usize) -> Self {
        Self { least, ..self }
    }
}

impl Table {
    pub(crate) fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        let columns: Vec<Column> = columns.into_iter().collect();
        let head = columns.iter().map(|column| column.head.clone()).collect();
        Self { columns, lines: vec![Line::Row(head), Line::Rule] }
    }

    /// Adds a row. A cell may be painted.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.lines.push(Line::Row(cells.into_iter().map(Into::into).collect()));
    }

    /// Adds a line across all columns.
    pub(crate) fn rule(&mut self) {
        self.lines.push(Line::Rule);
    }

    /// The width of a column: that of its widest cell.
    fn width_of(&self, index: usize, column: &Column) -> usize {
        let cells = self.lines.iter().filter_map(|line| match line {
            Line::Row(cells) => cells.get(index),
            Line::Rule => None,
        });
        cells.map(|cell| width(cell)).fold(column.least, usize::max)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.columns.iter().enumerate();
        let widths: Vec<usize> = columns.map(|(index, column)| self.width_of(index, column)).collect();
        let all = widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
        for line in &self.lines {
            let Line::Row(cells) = line else {
                writeln!(f, "{INDENT}{}", "-".repeat(all))?;
                continue;
            };
            let mut text = String::new();
            for ((column, most), cell) in self.columns.iter().zip(&widths).zip(cells) {
                let blanks = " ".repeat(most.saturating_sub(width(cell)));
                let (before, after) = if column.is_right { (&*blanks, "") } else { ("", &*blanks) };
                let gap = if text.is_empty() { INDENT } else { GAP };
                text.extend([gap, before, cell, after]);
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}
