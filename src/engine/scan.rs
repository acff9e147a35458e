//! Picks one stream's events out of a row.

use std::ops::RangeInclusive;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::log::{Events, RowView, Sections, Span};

/// Consecutive events of the stream that was looked for: as many as the span says.
pub(super) struct Found<'a> {
    pub(super) position: u64,
    pub(super) decided_at: Timestamp,
    pub(super) span: &'a Span<'a>,
    pub(super) events: Events<'a>,
    pub(super) sections: Sections<'a>,
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
        let mut events = entry.events();
        for span in &entry.spans {
            if span.stream == number {
                let events = events.clone();
                let (decided_at, sections) = (entry.decided_at, entry.sections);
                visit(Found { position, decided_at, span, events, sections })?;
            }
            events.of_span(span, drop)?;
        }
        Ok(())
    })
}
