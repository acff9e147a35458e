//! Command ids: who is deciding one now, and where those that were decided lately are in the log.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;

use foldhash::quality::RandomState;
use slab::Slab;
use smol_str::SmolStr;

use crate::sync::{Line, Mutex, Place};

/// The ids of an engine's commands. One decision per id: it is claimed before the command looks at anything.
pub(crate) struct Ids {
    table: Mutex<Table>,
    keep: usize,
}

#[derive(Default)]
struct Table {
    slots: Slab<Known>,
    by_id: HashMap<SmolStr, usize, RandomState>,
    /// Who waits for the decision of an id, by its slot: apart, because hardly any of those that are kept is waited for.
    waiting: HashMap<usize, Line, RandomState>,
    /// The slots of the decided ones, the oldest first.
    order: VecDeque<usize>,
}

struct Known {
    id: SmolStr,
    fingerprint: u64,
    /// Where it was decided; none while it is being decided.
    position: Option<NonZeroU64>,
}

/// What an id is at the moment.
pub(crate) enum Claim<'i> {
    /// Nobody else's: decide.
    Mine(Claimed<'i>),
    /// Being decided: wait, and ask again.
    Deciding(Place),
    /// Decided at this position.
    Decided(u64),
    /// Another command's.
    Reused,
}

/// The right to decide the command with this id, until it has a position or is given up.
pub(crate) struct Claimed<'i> {
    ids: &'i Ids,
    /// Absent once there is a position.
    slot: Option<usize>,
}

impl Ids {
    /// Remembers the last `keep` ids.
    pub(crate) fn new(keep: usize) -> Self {
        Self { table: Mutex::new(Table::default()), keep }
    }

    pub(crate) fn claim(&self, id: &SmolStr, fingerprint: u64) -> Claim<'_> {
        let mut table = self.table.lock();
        let Table { slots, by_id, waiting, .. } = &mut *table;
        match by_id.entry(id.clone()) {
            Entry::Occupied(known) => match slots.get(*known.get()) {
                Some(Known { fingerprint: before, position, .. }) if *before == fingerprint => match position
                {
                    None => Claim::Deciding(waiting.entry(*known.get()).or_default().enter()),
                    Some(position) => Claim::Decided(position.get()),
                },
                _ => Claim::Reused,
            },
            Entry::Vacant(new) => {
                let slot = slots.insert(Known { id: id.clone(), fingerprint, position: None });
                new.insert(slot);
                Claim::Mine(Claimed { ids: self, slot: Some(slot) })
            }
        }
    }

    /// An id that was decided at this position: read from the log, in its order.
    pub(crate) fn remember(&self, id: &str, fingerprint: u64, position: u64) {
        let id = SmolStr::new(id);
        let mut table = self.table.lock();
        let position = NonZeroU64::new(position);
        let slot = table.slots.insert(Known { id: id.clone(), fingerprint, position });
        // Older than what was kept when it came again: then it has a later decision.
        if let Some(before) = table.by_id.insert(id, slot) {
            table.slots.try_remove(before);
            table.order.retain(|other| *other != before);
        }
        table.push(slot, self.keep);
    }

    /// `position`: none if it was given up.
    fn end(&self, slot: usize, position: Option<u64>) {
        let line = {
            let mut table = self.table.lock();
            match position {
                None => table.forget(slot),
                Some(position) => {
                    if let Some(known) = table.slots.get_mut(slot) {
                        known.position = NonZeroU64::new(position);
                    }
                    table.push(slot, self.keep);
                }
            }
            if table.waiting.is_empty() {
                return;
            }
            table.waiting.remove(&slot)
        };
        if let Some(mut line) = line {
            line.leave().fire();
        }
    }

    #[cfg(all(test, shuttle))]
    pub(crate) fn is_idle(&self) -> bool {
        let table = self.table.lock();
        table.slots.iter().all(|(_, known)| known.position.is_some())
            && table.waiting.is_empty()
            && table.slots.len() == table.order.len()
            && table.slots.len() == table.by_id.len()
    }
}

impl Table {
    fn push(&mut self, slot: usize, keep: usize) {
        self.order.push_back(slot);
        while self.order.len() > keep {
            let Some(oldest) = self.order.pop_front() else { return };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, slot: usize) {
        if let Some(known) = self.slots.try_remove(slot) {
            self.by_id.remove(&known.id);
        }
    }
}

impl Claimed<'_> {
    /// It was decided at this position.
    pub(crate) fn decided(mut self, position: u64) {
        if let Some(slot) = self.slot.take() {
            self.ids.end(slot, Some(position));
        }
    }
}

impl Drop for Claimed<'_> {
    /// Given up, whether by an error, a panic or a dropped future: whoever waits decides instead.
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.ids.end(slot, None);
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    fn position(ids: &Ids, id: &str) -> Option<u64> {
        match ids.claim(&id.into(), 1) {
            Claim::Decided(position) => Some(position),
            Claim::Mine(_) => None,
            Claim::Deciding(_) | Claim::Reused => panic!("{id} is somebody's"),
        }
    }

    #[test]
    fn the_latest_are_remembered_and_no_more() {
        let ids = Ids::new(3);
        for (position, id) in (1..).zip(["a", "b", "c", "d"]) {
            let Claim::Mine(claimed) = ids.claim(&id.into(), 1) else { panic!("{id}") };
            assert!(matches!(ids.claim(&id.into(), 1), Claim::Deciding(_)));
            claimed.decided(position);
        }
        assert_eq!(["a", "b", "c", "d"].map(|id| position(&ids, id)), [None, Some(2), Some(3), Some(4)]);
        assert!(matches!(ids.claim(&"d".into(), 2), Claim::Reused));
        // Read from a log in which "b" was decided again after it had been forgotten.
        let read = Ids::new(3);
        for (position, id) in (1..).zip(["b", "c", "d", "b", "e"]) {
            read.remember(id, 1, position);
        }
        assert_eq!(["b", "c", "d", "e"].map(|id| position(&read, id)), [Some(4), None, Some(3), Some(5)]);
        let table = read.table.lock();
        assert_eq!((table.slots.len(), table.by_id.len(), table.order.len()), (3, 3, 3));
    }
}
