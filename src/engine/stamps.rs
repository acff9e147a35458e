//! What changed since a snapshot: exact stamps, kept only as long as a running attempt needs them.

use std::collections::{HashMap, VecDeque};

use foldhash::quality::RandomState;
use smallvec::SmallVec;

use crate::scope::{Part, Scope};

/// The versions at which parts of one stream last changed.
#[derive(Default)]
pub(crate) struct Stamps {
    /// The versions of the running attempts' snapshots, ascending, and how many run on each.
    running: SmallVec<[(u64, u32); 4]>,
    /// The last version that touched anything, and the last that touched everything, since the open.
    any: u64,
    whole: u64,
    /// The last version that touched a part, if it is above the oldest running snapshot.
    parts: HashMap<Part, u64, RandomState>,
    /// The keys of `parts`, in the order of the version that they had when they were queued.
    order: VecDeque<(u64, Part)>,
}

impl Stamps {
    /// An attempt took its snapshot at `version`, which is the stream's newest.
    pub(crate) fn begin(&mut self, version: u64) {
        match self.running.last_mut() {
            Some((last, count)) if *last == version => *count += 1,
            _ => self.running.push((version, 1)),
        }
    }

    /// That attempt is over.
    pub(crate) fn end(&mut self, version: u64) {
        if let [(only, 1)] = self.running[..]
            && only == version
        {
            // The common case: nobody else is at work on this stream.
            self.running.clear();
            self.forget();
            return;
        }
        let Ok(index) = self.running.binary_search_by_key(&version, |(version, _)| *version) else {
            debug_assert!(false, "an attempt ended twice");
            return;
        };
        self.running[index].1 -= 1;
        if self.running[index].1 == 0 {
            self.running.remove(index);
            if index == 0 {
                self.forget();
            }
        }
    }

    /// Whether a part of `scope` changed after `version`, at which an attempt is running.
    pub(crate) fn changed_since(&self, version: u64, scope: &Scope) -> bool {
        match scope {
            Scope::Whole => self.any > version,
            // What depends on nothing does not depend on the whole either.
            Scope::Parts(parts) if self.whole > version => !parts.is_empty(),
            Scope::Parts(_) if self.parts.is_empty() => false,
            Scope::Parts(parts) => {
                parts.iter().any(|part| self.parts.get(part).is_some_and(|last| *last > version))
            }
        }
    }

    /// `version` touched this.
    #[inline]
    pub(crate) fn touch(&mut self, version: u64, touched: &Scope) {
        match touched {
            Scope::Whole => {
                self.any = version;
                self.whole = version;
            }
            Scope::Parts(parts) => {
                if !parts.is_empty() {
                    self.any = version;
                }
                if !self.running.is_empty() {
                    self.stamp(version, parts);
                }
            }
        }
    }

    fn stamp(&mut self, version: u64, parts: &[Part]) {
        for part in parts {
            if self.parts.insert(part.clone(), version).is_none() {
                self.order.push_back((version, part.clone()));
            }
        }
    }

    /// Drops the stamps that no running attempt can ask for.
    #[inline]
    fn forget(&mut self) {
        if !self.parts.is_empty() {
            self.forget_some();
        }
    }

    fn forget_some(&mut self) {
        let Some((oldest, _)) = self.running.first() else {
            self.parts.clear();
            self.order.clear();
            return;
        };
        while let Some((queued, _)) = self.order.front() {
            if queued > oldest {
                return;
            }
            let Some((_, part)) = self.order.pop_front() else { return };
            match self.parts.get(&part) {
                Some(last) if last > oldest => self.order.push_back((*last, part)),
                _ => {
                    self.parts.remove(&part);
                }
            }
        }
    }

    #[cfg(all(test, shuttle))]
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.parts.is_empty() && self.order.is_empty()
    }

    #[cfg(test)]
    fn kept(&self) -> (usize, usize) {
        (self.parts.len(), self.order.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Begin,
        End(prop::sample::Index),
        Touch(Vec<u64>),
        Whole,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Begin),
            any::<prop::sample::Index>().prop_map(Step::End),
            prop::collection::vec(0..6u64, 0..4).prop_map(Step::Touch),
            Just(Step::Whole),
        ]
    }

    proptest! {
        /// Against the full history of touches: no change missed, none invented, nothing kept when
        /// nobody runs, and never more stamps than parts.
        #[test]
        fn agrees_with_the_full_history(steps in prop::collection::vec(step(), 1..120)) {
            let mut stamps = Stamps::default();
            let mut history: Vec<Scope> = Vec::new();
            let mut running: Vec<u64> = Vec::new();
            for step in steps {
                let version = history.len() as u64;
                match step {
                    Step::Begin => { stamps.begin(version); running.push(version); }
                    Step::End(which) if !running.is_empty() => {
                        let version = running.swap_remove(which.index(running.len()));
                        stamps.end(version);
                    }
                    Step::End(_) => {}
                    Step::Touch(parts) => {
                        let scope = Scope::parts(parts.into_iter().map(|n| Part::number(0, n)));
                        stamps.touch(version + 1, &scope);
                        history.push(scope);
                    }
                    Step::Whole => { stamps.touch(version + 1, &Scope::Whole); history.push(Scope::Whole); }
                }
                let (parts, order) = stamps.kept();
                prop_assert!(parts <= 6 && parts == order);
                prop_assert!(!running.is_empty() || parts == 0);
                for &since in &running {
                    let later = &history[since as usize..];
                    let any = later.iter().any(|scope| *scope == Scope::Whole || !scope.named().is_empty());
                    prop_assert_eq!(stamps.changed_since(since, &Scope::Whole), any);
                    prop_assert!(!stamps.changed_since(since, &Scope::parts([])));
                    for n in 0..6 {
                        let part = Part::number(0, n);
                        let changed = later.iter().any(|scope| *scope == Scope::Whole || scope.named().contains(&part));
                        prop_assert_eq!(stamps.changed_since(since, &Scope::parts([part])), changed);
                    }
                }
            }
        }
    }
}
