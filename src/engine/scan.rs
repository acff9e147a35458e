//! Picks one stream's events out of the log.

use std::ops::RangeInclusive;

use super::replay::{AnyFold, Fold};
use crate::aggregate::Aggregate;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::log::{Events, Log, RowView, Run, Sections, Span};

/// Consecutive events of the stream that was looked for: as many as the span says.
pub(super) struct Found<'a> {
    pub(super) position: u64,
    pub(super) decided_at: Timestamp,
    pub(super) span: &'a Span<'a>,
    pub(super) events: Events<'a>,
    pub(super) sections: Sections<'a>,
}

/// Where a fold stops: after this version, and before the first batch that was committed later than this.
pub(super) struct Until {
    pub(super) version: u64,
    pub(super) committed_at: Timestamp,
}

impl Until {
    pub(super) const END: Self = Self { version: u64::MAX, committed_at: Timestamp(u64::MAX) };
}

/// Folds the events of stream `number` that are durable at these positions.
pub(super) fn fold<A: Aggregate>(
    log: &Log,
    fold: &mut Fold<A>,
    number: u32,
    positions: RangeInclusive<u64>,
    until: &Until,
) -> Result<(), Error> {
    let (mut row, mut next) = (Vec::new(), *positions.start());
    while next <= *positions.end() && fold.version() < until.version {
        let Some(view) = log.read_row(next, &mut row)? else { break };
        if view.committed_at > until.committed_at {
            break;
        }
        spans_of(&view, number, next..=*positions.end(), |mut found| {
            let mut span = found.span.clone();
            let left = until.version.saturating_sub(fold.version());
            span.events = span.events.min(u32::try_from(left).unwrap_or(u32::MAX));
            if span.events > 0 {
                let run = Run::of_span(found.position, found.decided_at, &span, &mut found.events)?;
                fold.run(&run)?;
            }
            Ok(())
        })?;
        next = view.end();
    }
    Ok(())
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
        Ok(events.finish()?)
    })
}
