//! Replays the log on several threads, each the streams of its own.

use std::any::TypeId;
use std::collections::{BTreeMap, HashMap};
use std::panic::resume_unwind;
use std::sync::Arc;

use crossbeam::channel::bounded;
use smol_str::SmolStr;

use super::builder::Recovery;
use super::ids::Ids;
use super::registry::AnyRegistry;
use super::replay::AnyFold;
use crate::error::Error;
use crate::log::{At, EntryView, Opening, Span, VerifiedRow};
use crate::sync::{ThreadBuilder as Builder, parallelism, scope};

type Types<'r> = HashMap<&'static str, &'r Arc<dyn AnyRegistry>>;

/// More threads than this only wait for the one that reads and verifies.
const MOST_THREADS: usize = 8;
/// What is handed to the threads at once: rows until there are so many entries, or bytes. Rows may be of one
/// entry each, and a thread is not to be woken for that.
const PORTION_ENTRIES: usize = 4096;
const PORTION_BYTES: usize = 4 << 20;
/// Portions that were read and wait for a thread: enough that nobody idles, few enough to bound memory.
const PORTIONS_AHEAD: usize = 4;

/// Reads the log to its end and fills the registries. `report` is told, row by row, how many entries and
/// events were read.
pub(super) fn replay_all(
    opening: &mut Opening,
    registries: &HashMap<TypeId, Arc<dyn AnyRegistry>>,
    ids: &Ids,
    report: &mut dyn FnMut(u64, u64),
) -> Result<Recovery, Error> {
    let mut types = Types::new();
    for registry in registries.values() {
        let aggregate = registry.type_name();
        if types.insert(aggregate, registry).is_some() {
            return Err(Error::RegisteredTwice { aggregate });
        }
    }
    let threads = parallelism().min(MOST_THREADS);
    let mut shares: Vec<Share<'_>> = (0..threads).map(|index| Share::new(index, threads, &types)).collect();
    // Threads come when there is more than a portion to do, and more than one can run.
    let mut next = read(opening, threads, ids, report)?;
    let mut portions = 0;
    while let Some(works) = next {
        if portions > 0 && threads > 1 {
            shares = on_threads(shares, opening, works, ids, report)?;
            break;
        }
        for (share, work) in shares.iter_mut().zip(works) {
            share.take(&work)?;
        }
        portions += 1;
        next = read(opening, threads, ids, report)?;
    }
    let (entries, events) = opening.read_so_far();
    finish(shares, Recovery { entries, events, ..Recovery::default() })
}

/// What one share has to do for one portion of the log.
struct Work {
    rows: Arc<Vec<VerifiedRow>>,
    /// The entries that concern its streams, each with the number of its row.
    entries: Vec<(usize, At)>,
}

/// Reads a portion and sorts its entries by share; none at the end of the log.
fn read(
    opening: &mut Opening,
    shares: usize,
    ids: &Ids,
    report: &mut dyn FnMut(u64, u64),
) -> Result<Option<Vec<Work>>, Error> {
    let mut sorted: Vec<Vec<(usize, At)>> = vec![Vec::new(); shares];
    let (mut rows, mut entries, mut bytes) = (Vec::new(), 0, 0);
    while entries < PORTION_ENTRIES && bytes < PORTION_BYTES {
        let number = rows.len();
        let row = opening.next_row(|at, entry| {
            entries += 1;
            if let Some(asked) = entry.sections.command()? {
                ids.remember(asked.id, asked.fingerprint, at.position);
            }
            for span in &entry.spans {
                let Some(mine) = sorted.get_mut(span.stream as usize % shares) else { continue };
                if mine.last() != Some(&(number, at)) {
                    mine.push((number, at));
                }
            }
            Ok(())
        })?;
        let Some(row) = row else { break };
        bytes += row.len();
        rows.push(row);
        let (entries, events) = opening.read_so_far();
        report(entries, events);
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let rows = Arc::new(rows);
    Ok(Some(sorted.into_iter().map(|entries| Work { rows: Arc::clone(&rows), entries }).collect()))
}

fn on_threads<'r>(
    shares: Vec<Share<'r>>,
    opening: &mut Opening,
    first: Vec<Work>,
    ids: &Ids,
    report: &mut dyn FnMut(u64, u64),
) -> Result<Vec<Share<'r>>, Error> {
    scope(|scope| {
        let mut crew = Vec::new();
        let mut lines = Vec::new();
        for mut share in shares {
            let (line, works) = bounded::<Work>(PORTIONS_AHEAD);
            let body = move || works.iter().try_for_each(|work| share.take(&work)).map(|()| share);
            let thread = Builder::new().name("boxoffice-replay".into()).spawn_scoped(scope, body);
            let none = |error| Error::Storage { cause: format!("no thread to replay: {error}").into() };
            crew.push(thread.map_err(none)?);
            lines.push(line);
        }
        let (mut next, mut ended) = (Some(first), Ok(()));
        while let Some(works) = next.take() {
            let busy = lines.iter().zip(works).filter(|(_, work)| !work.entries.is_empty());
            // Whoever is not there any more has failed, and says below why.
            if busy.into_iter().any(|(line, work)| line.send(work).is_err()) {
                break;
            }
            match read(opening, lines.len(), ids, report) {
                Ok(more) => next = more,
                Err(error) => ended = Err(error),
            }
        }
        drop(lines);
        let shares: Result<Vec<_>, _> = crew
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect();
        ended.and(shares)
    })
}

fn finish(shares: Vec<Share<'_>>, mut recovery: Recovery) -> Result<Recovery, Error> {
    let mut folds = Vec::new();
    for share in shares {
        recovery.streams += share.streams;
        for (aggregate, streams) in share.unregistered {
            *recovery.unregistered.entry(aggregate).or_default() += streams;
        }
        folds.push(share.folds.into_iter());
    }
    // In the order of their numbers, whoever folded them.
    loop {
        let mut any = false;
        for share in &mut folds {
            let Some(fold) = share.next() else { continue };
            any = true;
            if let Some(fold) = fold {
                recovery.fenced.extend(fold.finish()?);
            }
        }
        if !any {
            return Ok(recovery);
        }
    }
}

/// Every so-manieth stream, folded from its events.
struct Share<'r> {
    index: usize,
    of: usize,
    types: &'r Types<'r>,
    /// By the stream's number divided by `of`; none for a type that nobody registered.
    folds: Vec<Option<Box<dyn AnyFold>>>,
    streams: u64,
    unregistered: BTreeMap<SmolStr, u64>,
}

impl<'r> Share<'r> {
    fn new(index: usize, of: usize, types: &'r Types<'r>) -> Self {
        Self { index, of, types, folds: Vec::new(), streams: 0, unregistered: BTreeMap::new() }
    }

    fn take(&mut self, work: &Work) -> Result<(), Error> {
        for (row, at) in &work.entries {
            let Some(row) = work.rows.get(*row) else { continue };
            self.take_entry(at.position, &row.entry(*at)?)?;
        }
        Ok(())
    }

    fn take_entry(&mut self, position: u64, entry: &EntryView<'_>) -> Result<(), Error> {
        let mut events = entry.events();
        for span in &entry.spans {
            if !self.is_mine(span) {
                events.of_span(span, drop)?;
                continue;
            }
            if let Some((aggregate, id)) = span.defines {
                let fold = self.define(aggregate, id, span.stream);
                self.folds.push(fold);
            }
            // The audit has seen that the number is defined, and that numbers are given in order.
            match self.folds.get_mut(span.stream as usize / self.of) {
                Some(Some(fold)) => fold.span(position, entry.decided_at, span, &mut events)?,
                _ => events.of_span(span, drop)?,
            }
        }
        Ok(())
    }

    fn is_mine(&self, span: &Span<'_>) -> bool {
        span.stream as usize % self.of == self.index
    }

    fn define(&mut self, aggregate: &str, id: &str, number: u32) -> Option<Box<dyn AnyFold>> {
        let Some(registry) = self.types.get(aggregate) else {
            *self.unregistered.entry(SmolStr::new(aggregate)).or_default() += 1;
            return None;
        };
        self.streams += 1;
        Some(Arc::clone(registry).fold(id, number))
    }
}
