//! Command ids: who is deciding one now, and where those that were decided lately are in the log.

use std::collections::{HashMap, VecDeque};

use foldhash::quality::RandomState;
use smol_str::SmolStr;

use crate::sync::{Line, Mutex, Place};

/// The ids of an engine's commands. One decision per id: it is claimed before the command looks at anything.
pub(crate) struct Ids {
    table: Mutex<Table>,
    keep: usize,
}

#[derive(Default)]
struct Table {
    known: HashMap<SmolStr, Known, RandomState>,
    /// The decided ones, the oldest first.
    order: VecDeque<SmolStr>,
}

struct Known {
    fingerprint: u64,
    state: State,
}

enum State {
    /// Being decided, and who waits for that.
    Deciding(Line),
    /// Decided at this position.
    Decided(u64),
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
    id: Option<SmolStr>,
}

impl Ids {
    /// Remembers the last `keep` ids.
    pub(crate) fn new(keep: usize) -> Self {
        Self { table: Mutex::new(Table::default()), keep }
    }

    pub(crate) fn claim(&self, id: &SmolStr, fingerprint: u64) -> Claim<'_> {
        let mut table = self.table.lock();
        if let Some(known) = table.known.get_mut(id) {
            return match &mut known.state {
                _ if known.fingerprint != fingerprint => Claim::Reused,
                State::Deciding(line) => Claim::Deciding(line.enter()),
                State::Decided(position) => Claim::Decided(*position),
            };
        }
        let state = State::Deciding(Line::default());
        table.known.insert(id.clone(), Known { fingerprint, state });
        Claim::Mine(Claimed { ids: self, id: Some(id.clone()) })
    }

    /// An id that was decided at this position: read from the log, in its order.
    pub(crate) fn remember(&self, id: &str, fingerprint: u64, position: u64) {
        let id = SmolStr::new(id);
        let known = Known { fingerprint, state: State::Decided(position) };
        let mut table = self.table.lock();
        // Older than what was kept when it came again: then it has a later decision.
        if table.known.insert(id.clone(), known).is_some() {
            table.order.retain(|other| *other != id);
        }
        table.push(id, self.keep);
    }

    fn end(&self, id: SmolStr, position: Option<u64>) {
        let line = {
            let mut table = self.table.lock();
            let before = match position {
                None => table.known.remove(&id).map(|known| known.state),
                Some(position) => {
                    let known = table.known.get_mut(&id);
                    let before =
                        known.map(|known| std::mem::replace(&mut known.state, State::Decided(position)));
                    table.push(id, self.keep);
                    before
                }
            };
            match before {
                Some(State::Deciding(line)) => line,
                _ => return,
            }
        };
        let mut line = line;
        line.leave().fire();
    }

    #[cfg(all(test, shuttle))]
    pub(crate) fn is_idle(&self) -> bool {
        let table = self.table.lock();
        table.known.values().all(|known| matches!(known.state, State::Decided(_)))
            && table.known.len() == table.order.len()
    }
}

impl Table {
    fn push(&mut self, id: SmolStr, keep: usize) {
        self.order.push_back(id);
        while self.order.len() > keep {
            let Some(oldest) = self.order.pop_front() else { return };
            self.known.remove(&oldest);
        }
    }
}

impl Claimed<'_> {
    /// It was decided at this position.
    pub(crate) fn decided(mut self, position: u64) {
        if let Some(id) = self.id.take() {
            self.ids.end(id, Some(position));
        }
    }
}

impl Drop for Claimed<'_> {
    /// Given up, whether by an error, a panic or a dropped future: whoever waits decides instead.
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.ids.end(id, None);
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
        assert_eq!(read.table.lock().known.len(), 3);
    }
}
