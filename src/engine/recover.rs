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
use crate::log::{Dealer, Hand, Opening};
use crate::sync::{ThreadBuilder as Builder, parallelism, scope};

type Types<'r> = HashMap<&'static str, &'r Arc<dyn AnyRegistry>>;

/// More threads than this only wait for the one that reads and verifies.
const MOST_THREADS: usize = 8;
/// What is handed to the threads at once: rows until the streams of all entries add up to so many, first few and then
/// more, or so many bytes. The more there is of a stream at once the less memory has to be fetched for each event, and
/// rows may be of one entry each, for which no thread is to be woken.
const FIRST_PARTS: usize = 1 << 12;
const MOST_PARTS: usize = 1 << 18;
const MOST_BYTES: usize = 16 << 20;
/// What a stream takes in a portion, beside its events.
const STREAM_BYTES: usize = 256;
/// Portions that were read and wait for each thread: enough that nobody idles, few enough to bound memory.
const PORTIONS_AHEAD: usize = 1;

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
    let mut shares: Vec<Share<'_>> = (0..threads).map(|_| Share::new(threads, &types)).collect();
    let mut portions = Portions { opening, dealer: Dealer::new(threads), ids, report, parts: FIRST_PARTS };
    let ready: Vec<_> = [portions.next()?, portions.next()?].into_iter().flatten().collect();
    // Threads come when there is more than a portion to do, and more than one can run.
    if ready.len() > 1 && threads > 1 {
        shares = on_threads(shares, ready, &mut portions)?;
    } else {
        for hands in ready {
            take(&mut shares, hands)?;
        }
        while let Some(hands) = portions.next()? {
            take(&mut shares, hands)?;
        }
    }
    let (entries, events) = portions.opening.read_so_far();
    finish(shares, Recovery { entries, events, ..Recovery::default() })
}

/// The log, portion by portion.
struct Portions<'r> {
    opening: &'r mut Opening,
    dealer: Dealer,
    ids: &'r Ids,
    report: &'r mut dyn FnMut(u64, u64),
    /// How many streams' parts of entries the next one is to have.
    parts: usize,
}

impl Portions<'_> {
    /// Reads the next portion and deals it out; none at the end of the log.
    fn next(&mut self) -> Result<Option<Vec<Hand>>, Error> {
        let Self { opening, dealer, ids, .. } = self;
        let (mut parts, mut bytes) = (0, 0);
        while parts < self.parts && bytes + dealer.streams() * STREAM_BYTES < MOST_BYTES {
            let row = opening.next_row(|position, entry| {
                parts += entry.spans.len().max(1);
                if let Some(asked) = entry.sections.command()? {
                    ids.remember(asked.id, asked.fingerprint, position);
                }
                dealer.deal(position, entry)
            })?;
            let Some(row_bytes) = row else { break };
            bytes += row_bytes;
            let (entries, events) = opening.read_so_far();
            (self.report)(entries, events);
        }
        self.parts = MOST_PARTS.min(self.parts * 2);
        Ok((parts > 0).then(|| dealer.hands()))
    }
}

fn take(shares: &mut [Share<'_>], hands: Vec<Hand>) -> Result<(), Error> {
    shares.iter_mut().zip(hands).try_for_each(|(share, hand)| share.take(hand))
}

/// What was read already, and then the rest of the log.
fn on_threads<'r>(
    shares: Vec<Share<'r>>,
    ready: Vec<Vec<Hand>>,
    portions: &mut Portions<'_>,
) -> Result<Vec<Share<'r>>, Error> {
    scope(|scope| {
        let mut crew = Vec::new();
        let mut lines = Vec::new();
        for mut share in shares {
            let (line, hands) = bounded::<Hand>(PORTIONS_AHEAD);
            let body = move || hands.iter().try_for_each(|hand| share.take(hand)).map(|()| share);
            let thread = Builder::new().name("boxoffice-replay".into()).spawn_scoped(scope, body);
            let none = |error| Error::Storage { cause: format!("no thread to replay: {error}").into() };
            crew.push(thread.map_err(none)?);
            lines.push(line);
        }
        // Whoever is not there any more has failed, and says below why. An empty hand is sent too: the shares stay in
        // step, and few portions are alive at once.
        let send = |hands: Vec<Hand>| lines.iter().zip(hands).all(|(line, hand)| line.send(hand).is_ok());
        let send_all = || {
            if !ready.into_iter().all(&send) {
                return Ok(());
            }
            while let Some(hands) = portions.next()? {
                if !send(hands) {
                    break;
                }
            }
            Ok(())
        };
        let ended = send_all();
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
    of: usize,
    types: &'r Types<'r>,
    /// By the stream's number divided by `of`; none for a type that nobody registered.
    folds: Vec<Option<Box<dyn AnyFold>>>,
    streams: u64,
    unregistered: BTreeMap<SmolStr, u64>,
}

impl<'r> Share<'r> {
    fn new(of: usize, types: &'r Types<'r>) -> Self {
        Self { of, types, folds: Vec::new(), streams: 0, unregistered: BTreeMap::new() }
    }

    fn take(&mut self, hand: Hand) -> Result<(), Error> {
        for dealt in hand {
            if let Some((aggregate, id)) = &dealt.defines {
                let fold = self.define(aggregate, id, dealt.stream);
                self.folds.push(fold);
            }
            // The audit has seen that the number is defined, and that numbers are given in order.
            if let Some(Some(fold)) = self.folds.get_mut(dealt.stream as usize / self.of) {
                fold.run(&dealt.run)?;
            }
        }
        Ok(())
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
