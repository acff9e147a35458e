//! A transaction that holds something goes before those who hold nothing.

use super::super::line::Line;
use super::{Locks, Place};
use crate::scope::Scope;
use crate::sync::Wakes;

impl Locks {
    /// Takes commands that wait in these lines, or in any, out of all their lines, for a transaction that has something
    /// here and goes before them: they hold nothing, and would wait for it, and it for them. Out of all, so that any two
    /// still stand in the same order wherever they meet. Who waited only for them is let in. In order.
    pub(super) fn take_out(&mut self, of: &Scope, wakes: &mut Wakes) -> Vec<usize> {
        let waits = |id: &usize| !self.requests[*id].stands_firm();
        let mut waiting: Vec<usize> = match of {
            Scope::Whole => self.parts.values().flat_map(Line::ids).filter(waits).collect(),
            Scope::Parts(parts) => parts
                .iter()
                .filter_map(|part| self.parts.get(part))
                .flat_map(Line::ids)
                .filter(waits)
                .collect(),
        };
        waiting.sort_unstable_by_key(|id| self.requests[*id].stands);
        waiting.dedup();
        // The last first: otherwise one would be let in by the leaving of another.
        for id in waiting.iter().rev() {
            let wants = std::mem::replace(&mut self.requests[*id].wants, Scope::Whole);
            for part in wants.named() {
                self.leave(*id, part, wakes);
            }
            self.requests[*id].wants = wants;
        }
        waiting
    }

    /// As [`take_out`](Self::take_out), for a transaction that wants the whole: those who wait go back among the arrivals.
    pub(super) fn send_back_who_only_waits(&mut self, wakes: &mut Wakes) {
        for id in self.take_out(&Scope::Whole, wakes).into_iter().rev() {
            let request = &mut self.requests[id];
            request.place = Place::Arriving;
            *self.inside.of(request.access) -= 1;
            let jumpers = self.arrivals.iter().take_while(|other| self.requests[**other].jumped).count();
            self.arrivals.insert(jumpers, id);
        }
    }
}
