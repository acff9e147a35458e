//! What a command depends on: named parts of an aggregate, or the whole of it.

use std::collections::HashSet;
use std::fmt;

use foldhash::quality::RandomState;
use smallvec::SmallVec;
use smol_str::SmolStr;

/// A keyed piece of state that a decision reads or changes: a seat, a customer's counter, a
/// category's quota.
///
/// A kind, chosen by the aggregate, and a number or a name within it. Keys are exact: two parts are
/// the same if and only if they compare equal.
///
/// ```
/// use boxoffice::Part;
/// const SEAT: u32 = 0;
/// const CUSTOMER: u32 = 1;
/// assert_ne!(Part::number(SEAT, 7), Part::number(CUSTOMER, 7));
/// assert_eq!(Part::name(CUSTOMER, "ada").to_string(), "1:ada");
/// ```
// Not a generic parameter: the engine hashes and compares parts while it holds a stream's mutex,
// where no user code may run.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    kind: u32,
    key: Key,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    Number(u64),
    Name(SmolStr),
}

impl Part {
    /// The part with this number among its kind.
    pub const fn number(kind: u32, number: u64) -> Self {
        Self { kind, key: Key::Number(number) }
    }

    /// The part with this name among its kind.
    pub fn name(kind: u32, name: impl AsRef<str>) -> Self {
        Self { kind, key: Key::Name(SmolStr::new(name)) }
    }

    /// Whether they are equal: of two numbers without the code for names.
    #[inline]
    fn is(&self, other: &Self) -> bool {
        match (&self.key, &other.key) {
            (Key::Number(mine), Key::Number(theirs)) => self.kind == other.kind && mine == theirs,
            _ => self == other,
        }
    }

    /// The kind that the aggregate chose.
    pub const fn kind(&self) -> u32 {
        self.kind
    }

    /// The number, for a part made by [`Part::number`].
    pub const fn as_number(&self) -> Option<u64> {
        match self.key {
            Key::Number(number) => Some(number),
            Key::Name(_) => None,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Key::Number(number) => write!(f, "{}:{number}", self.kind),
            Key::Name(name) => write!(f, "{}:{name}", self.kind),
        }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({self})")
    }
}

/// The parts that a command depends on, or that an event touches.
///
/// A command's scope must name everything its decision reads or changes. What it does not name may
/// change between its snapshot and its commit, and two commands with disjoint scopes commit side by
/// side: a rule over something that is in neither scope can then be broken (write skew).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything: always right, and the default. Commands with this scope take turns.
    Whole,
    /// Exactly these parts, in the order in which the aggregate named them.
    Parts(Parts),
}

/// A list of parts; up to two need no allocation.
pub(crate) type Parts = SmallVec<[Part; 2]>;

impl Scope {
    /// These parts, in this order. Naming one twice is the same as naming it once.
    pub fn parts(parts: impl IntoIterator<Item = Part>) -> Self {
        Self::Parts(parts.into_iter().collect())
    }

    /// The parts that `fill` puts there. Written in place: a list of parts is several words, and moves slowly.
    #[inline]
    pub(crate) fn gather(fill: impl FnOnce(&mut Parts)) -> Self {
        let mut scope = Self::Parts(Parts::new());
        if let Self::Parts(parts) = &mut scope {
            fill(parts);
        }
        scope
    }

    /// The named parts, or nothing for [`Scope::Whole`].
    pub fn named(&self) -> &[Part] {
        match self {
            Self::Whole => &[],
            Self::Parts(parts) => parts,
        }
    }

    /// Whether it names nothing at all.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Parts(parts) if parts.is_empty())
    }

    /// What either names.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Parts(mut mine), Self::Parts(theirs)) => {
                mine.extend(theirs);
                Self::Parts(mine)
            }
            _ => Self::Whole,
        }
    }

    /// The first part of `touched` that this scope does not cover.
    #[inline]
    pub(crate) fn first_outside<'a>(&self, touched: &'a Scope) -> Option<Outside<'a>> {
        let Self::Parts(mine) = self else { return None };
        let theirs = match touched {
            Self::Whole => return Some(Outside::Whole),
            Self::Parts(theirs) => theirs,
        };
        // Most events name the parts of their scope, in its order.
        if theirs.len() <= mine.len() && theirs.iter().zip(mine).all(|(part, other)| part.is(other)) {
            return None;
        }
        Self::look_for_outside(mine, theirs)
    }

    fn look_for_outside<'a>(mine: &[Part], theirs: &'a [Part]) -> Option<Outside<'a>> {
        // Carts are short, so the linear search is the fast one until a cart is long.
        if mine.len() <= 16 {
            return theirs.iter().find(|part| !mine.contains(part)).map(Outside::Part);
        }
        let sorted = keys(mine.into());
        theirs.iter().find(|part| sorted.binary_search(part).is_err()).map(Outside::Part)
    }

    /// The same parts, each once.
    pub(crate) fn into_keys(self) -> Self {
        match self {
            Self::Whole => Self::Whole,
            Self::Parts(parts) => Self::Parts(keys(parts)),
        }
    }

    /// What all of these name.
    pub(crate) fn of_all<'a>(scopes: impl Iterator<Item = &'a Self> + Clone) -> Self {
        debug_assert!(scopes.clone().all(|scope| *scope != Self::Whole), "the whole has no parts");
        Self::gather(|parts| {
            parts.reserve_exact(scopes.clone().map(|scope| scope.named().len()).sum());
            scopes.for_each(|scope| parts.extend(scope.named().iter().cloned()));
        })
    }
}

fn keys(mut parts: Parts) -> Parts {
    if parts.len() > 1 {
        parts.sort_unstable();
        parts.dedup();
    }
    parts
}

/// Scopes that have nothing in common. A Bloom filter of one function: that a part is new is true, that it is not may be
/// a false alarm (1 in 64 after 16 parts).
#[derive(Default)]
pub(crate) struct Disjoint {
    marks: [u64; WORDS],
    parts: usize,
}

const WORDS: usize = 16;

impl Disjoint {
    /// The most parts in all, unless the first scope has more.
    const PARTS: usize = 64;

    /// Adds a scope that has nothing in common with those before. False if it may have, or if they are too many.
    pub(crate) fn add(&mut self, scope: &Scope) -> bool {
        let Scope::Parts(parts) = scope else { return false };
        if let [part] = &parts[..]
            && self.parts < Self::PARTS
        {
            let (word, bit) = mark(part);
            let marked = &mut self.marks[word];
            let is_new = *marked & bit == 0;
            *marked |= bit;
            self.parts += 1;
            return is_new;
        }
        let first = self.parts == 0;
        if !first && self.parts + parts.len() > Self::PARTS {
            return false;
        }
        // All are asked before one is marked: a scope may name a part twice.
        if !first && parts.iter().map(mark).any(|(word, bit)| self.marks[word] & bit != 0) {
            return false;
        }
        for (word, bit) in parts.iter().map(mark) {
            self.marks[word] |= bit;
        }
        self.parts += parts.len();
        true
    }
}

/// Where a part leaves its mark.
fn mark(part: &Part) -> (usize, u64) {
    let key = match &part.key {
        Key::Number(number) => *number,
        Key::Name(name) => {
            name.bytes().fold(0, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        }
    };
    // Fibonacci hashing (Knuth): the high bits depend on all.
    let hash = (key ^ u64::from(part.kind) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((hash >> 60) as usize % WORDS, 1 << (hash >> 54 & 63))
}

/// The parts that others had locked when somebody looked. They may be free, and others locked, a moment later:
/// what is chosen by it is locked, or checked, all the same.
#[derive(Clone, Debug, Default)]
pub struct LockedParts {
    whole: bool,
    parts: HashSet<Part, RandomState>,
}

impl LockedParts {
    /// Whether somebody had locked this part, or everything.
    pub fn contains(&self, part: &Part) -> bool {
        self.whole || self.parts.contains(part)
    }
}

impl LockedParts {
    pub(crate) fn new(whole: bool, parts: impl IntoIterator<Item = Part>) -> Self {
        Self { whole, parts: parts.into_iter().collect() }
    }
}

/// For a test of [`Aggregate::scope_skipping`](crate::Aggregate::scope_skipping).
impl FromIterator<Part> for LockedParts {
    fn from_iter<I: IntoIterator<Item = Part>>(parts: I) -> Self {
        Self::new(false, parts)
    }
}

/// What an event touched although its command's scope did not name it.
#[derive(Debug)]
pub(crate) enum Outside<'a> {
    Whole,
    Part(&'a Part),
}

impl fmt::Display for Outside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("the whole aggregate"),
            Self::Part(part) => write!(f, "part {part}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is taken has nothing in common with what was taken before, and the first is taken.
        #[test]
        fn scopes_that_are_disjoint_are(
            scopes in prop::collection::vec(prop::collection::vec((0..3u32, 0..40u64), 0..4), 1..12),
        ) {
            let (mut disjoint, mut taken) = (Disjoint::default(), HashSet::new());
            for scope in scopes {
                let parts: HashSet<(u32, u64)> = scope.iter().copied().collect();
                // Some by name, some by number; one may be named twice.
                let part = |&(kind, key): &(u32, u64)| match kind {
                    0 => Part::name(kind, key.to_string()),
                    _ => Part::number(kind, key),
                };
                if disjoint.add(&Scope::parts(scope.iter().map(part))) {
                    prop_assert!(taken.is_disjoint(&parts));
                } else {
                    prop_assert!(!taken.is_empty(), "there was nothing to meet");
                    // The caller goes no further.
                    break;
                }
                taken.extend(parts);
            }
            prop_assert!(!Disjoint::default().add(&Scope::Whole));
        }
    }
}
