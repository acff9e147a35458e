//! Picks one stream's events out of a row.

use std::ops::RangeInclusive;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::log::{EventView, RowView, Span};

/// Consecutive events of the stream that was looked for.
pub(super) struct Found<'a> {
    pub(super) position: u64,
    pub(super) decided_at: Timestamp,
    pub(super) span: &'a Span<'a>,
    pub(super) events: &'a [EventView<'a>],
}

/// Calls `visit` with every span of stream `number` at these positions of a row.
pub(super) fn spans_of(
    row: &RowView<'_>,
    number: u32,
    positions: RangeInclusive<u64>,
    mut visit: impl FnMut(Found<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    row.for_each(|position, entry| {
        let named = entry.spans.iter().any(|span| span.stream == number);
        if !named || !positions.contains(&position) {
            return Ok(());
        }
        let events = entry.events().collect::<Result<Vec<_>, _>>()?;
        let mut rest = events.as_slice();
        for span in &entry.spans {
            let (events, others) = rest.split_at(span.events as usize);
            rest = others;
            if span.stream == number {
                visit(Found { position, decided_at: entry.decided_at, span, events })?;
            }
        }
        Ok(())
    })
}
