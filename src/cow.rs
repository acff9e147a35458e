//! The chunked copy-on-write array that keeps large states cheap to clone and cheap to change.

use std::fmt;
use std::hint::black_box;

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
// Whether a chunk is shared is asked at every level of every change: with this `Arc` that is a plain
// load, with the standard one, which has weak pointers, two locked instructions.
use triomphe::Arc;

/// Elements of a leaf. 128 keep a leaf of 16-byte seats at 2 KiB, which is copied in about 100 ns, and the
/// pointers to the leaves of many venues in the second-level cache: to reach a seat then takes one trip to
/// memory and not two.
const LEAF: usize = 128;
const LEAF_BITS: u32 = LEAF.trailing_zeros();
/// Children of a branch. To copy a branch is to touch the count of every child, each in another cache line:
/// few children are better than few levels.
const BRANCH: usize = 16;
const BRANCH_BITS: u32 = BRANCH.trailing_zeros();
/// A processor can have about a dozen trips to memory under way: these keep it at that, and a group has as many.
const AT_ONCE: usize = 16;

/// An array of fixed length whose `clone` is O(1).
///
/// A clone shares everything. A change copies only the chunk of 128 elements it falls into, and the
/// path to it, and only if a clone still uses them; otherwise it happens in place.
///
/// ```
/// use boxoffice::cow::CowArray;
///
/// let mut seats = CowArray::filled(100_000, None);
/// let before = seats.clone();
/// *seats.get_mut(70_000).unwrap() = Some("ada");
/// assert_eq!(seats.get(70_000), Some(&Some("ada")));
/// assert_eq!(before.get(70_000), Some(&None));
/// assert_eq!(seats.get(100_000), None);
/// ```
pub struct CowArray<T> {
    root: Root<T>,
    len: usize,
}

type Chunk<T> = Arc<[T]>;

/// A tree of chunks, by its height: the type of a level says what is below it, so that a pointer to a
/// chunk is all that a branch holds.
enum Root<T> {
    Leaf(Chunk<T>),
    One(Chunk<Chunk<T>>),
    Two(Chunk<Chunk<Chunk<T>>>),
    Three(Chunk<Chunk<Chunk<Chunk<T>>>>),
    /// As wide as it has to be.
    Four(Chunk<Chunk<Chunk<Chunk<Chunk<T>>>>>),
}

impl<T> Clone for CowArray<T> {
    fn clone(&self) -> Self {
        let root = match &self.root {
            Root::Leaf(chunk) => Root::Leaf(Arc::clone(chunk)),
            Root::One(chunk) => Root::One(Arc::clone(chunk)),
            Root::Two(chunk) => Root::Two(Arc::clone(chunk)),
            Root::Three(chunk) => Root::Three(Arc::clone(chunk)),
            Root::Four(chunk) => Root::Four(Arc::clone(chunk)),
        };
        Self { root, len: self.len }
    }
}

impl<T> Default for CowArray<T> {
    fn default() -> Self {
        Self { root: Root::Leaf(Arc::from(Vec::new())), len: 0 }
    }
}

/// Where in its leaf an element is.
fn in_leaf(index: usize) -> usize {
    index % LEAF
}

/// Which child of a branch of this level an element is below; the branches over the leaves are level 1.
fn in_branch(index: usize, level: u32) -> usize {
    wide(index, level) % BRANCH
}

/// The same in a branch that has as many children as it has to.
fn wide(index: usize, level: u32) -> usize {
    index >> (LEAF_BITS + BRANCH_BITS * (level - 1))
}

impl<T> CowArray<T> {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The element at `index`, or `None` beyond the end.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        let leaf = self.leaf(index)?;
        // Who looks at an element is often about to change it, and will then ask whether the chunk is
        // shared. That count is in another cache line: fetching it now, beside the element, takes one
        // trip to memory instead of two.
        black_box(Arc::count(leaf));
        leaf.get(in_leaf(index))
    }

    /// Looks at these elements, and at what has to be known to change them, so that all of it comes to the cache at
    /// once: first their places are found, then a short loop asks for one after the other and waits for none. Indices
    /// beyond the end are passed over.
    ///
    /// `look` reads the element; what it returns is not used. Worth it for arrays of many megabytes.
    ///
    /// ```
    /// use boxoffice::cow::CowArray;
    ///
    /// let seats = CowArray::filled(1_000_000, 0u64);
    /// let wanted = [7, 700_000, 70_000];
    /// seats.prefetch(wanted, |seat| *seat);
    /// assert!(wanted.iter().all(|index| seats.get(*index) == Some(&0)));
    /// ```
    #[inline]
    pub fn prefetch<R>(&self, indices: impl IntoIterator<Item = usize>, look: impl Fn(&T) -> R) {
        let mut places = SmallVec::<[(&Chunk<T>, &T); AT_ONCE]>::new();
        let look_at = |places: &[(&Chunk<T>, &T)]| {
            for (leaf, element) in places {
                black_box((Arc::count(leaf), look(element)));
            }
        };
        indices.into_iter().for_each(|index| {
            let Some(leaf) = self.leaf(index) else { return };
            // Addresses only: nothing of a leaf has been read.
            places.extend(leaf.get(in_leaf(index)).map(|element| (leaf, element)));
            if places.len() == AT_ONCE {
                look_at(&places);
                places.clear();
            }
        });
        look_at(&places);
    }

    fn leaf(&self, index: usize) -> Option<&Chunk<T>> {
        fn below<C>(chunk: &Chunk<C>, index: usize, level: u32) -> Option<&C> {
            chunk.get(in_branch(index, level))
        }
        if index >= self.len {
            return None;
        }
        match &self.root {
            Root::Leaf(leaf) => Some(leaf),
            Root::One(one) => below(one, index, 1),
            Root::Two(two) => below(below(two, index, 2)?, index, 1),
            Root::Three(three) => below(below(below(three, index, 3)?, index, 2)?, index, 1),
            Root::Four(four) => {
                let three = four.get(wide(index, 4))?;
                below(below(below(three, index, 3)?, index, 2)?, index, 1)
            }
        }
    }

    /// The elements in order.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { array: self, chunk: [].iter(), next: 0 }
    }
}

impl<T: Clone> CowArray<T> {
    /// `len` copies of `value`, in time and memory that hardly depend on `len`: equal chunks are the same
    /// one until somebody writes to it.
    pub fn filled(len: usize, value: T) -> Self {
        let leaves = Level { whole: value, wholes: len, rest: None }.above(LEAF);
        let root = match leaves.only() {
            Ok(leaf) => Root::Leaf(leaf),
            Err(leaves) => match leaves.above(BRANCH).only() {
                Ok(one) => Root::One(one),
                Err(ones) => match ones.above(BRANCH).only() {
                    Ok(two) => Root::Two(two),
                    Err(twos) => match twos.above(BRANCH).only() {
                        Ok(three) => Root::Three(three),
                        Err(threes) => Root::Four(threes.all().collect()),
                    },
                },
            },
        };
        Self { root, len }
    }

    /// The element at `index` for changing, or `None` beyond the end. Copies what a clone shares.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        #[inline]
        fn below<C: Clone>(chunk: &mut Chunk<C>, index: usize, level: u32) -> Option<&mut C> {
            own(chunk)?.get_mut(in_branch(index, level))
        }
        if index >= self.len {
            return None;
        }
        let leaf = match &mut self.root {
            Root::Leaf(leaf) => leaf,
            Root::One(one) => below(one, index, 1)?,
            Root::Two(two) => below(below(two, index, 2)?, index, 1)?,
            Root::Three(three) => below(below(below(three, index, 3)?, index, 2)?, index, 1)?,
            Root::Four(four) => {
                let three = own(four)?.get_mut(wide(index, 4))?;
                below(below(below(three, index, 3)?, index, 2)?, index, 1)?
            }
        };
        own(leaf)?.get_mut(in_leaf(index))
    }
}

/// The nodes of one level of a tree of equal elements: so many that are the same, and perhaps a shorter
/// one after them.
struct Level<C> {
    whole: C,
    wholes: usize,
    rest: Option<C>,
}

impl<C: Clone> Level<C> {
    fn above(self, size: usize) -> Level<Chunk<C>> {
        let Self { whole, wholes, rest } = self;
        let copies = |count: usize| std::iter::repeat_n(whole.clone(), count);
        let last: Chunk<C> = copies(wholes % size).chain(rest).collect();
        Level {
            whole: copies(wholes.min(size)).collect(),
            wholes: wholes / size,
            rest: (!last.is_empty()).then_some(last),
        }
    }

    fn only(self) -> Result<C, Self> {
        match self {
            Self { wholes: 0, rest: Some(only), .. } | Self { whole: only, wholes: 1, rest: None } => {
                Ok(only)
            }
            // No elements at all: an empty chunk.
            Self { whole, wholes: 0, rest: None } => Ok(whole),
            more => Err(more),
        }
    }

    fn all(self) -> impl Iterator<Item = C> {
        std::iter::repeat_n(self.whole, self.wholes).chain(self.rest)
    }
}

/// A chunk for changing: itself if nobody shares it, otherwise a copy in its place.
#[inline]
fn own<T: Clone>(chunk: &mut Chunk<T>) -> Option<&mut [T]> {
    #[cold]
    fn copy<T: Clone>(chunk: &mut Chunk<T>) {
        *chunk = chunk.iter().cloned().collect();
    }
    if !Arc::is_unique(chunk) {
        copy(chunk);
    }
    Arc::get_mut(chunk)
}

/// Chunks of these nodes, the last one shorter if need be.
fn above<C>(nodes: impl IntoIterator<Item = C>, size: usize) -> Vec<Chunk<C>> {
    let mut nodes = nodes.into_iter();
    std::iter::from_fn(|| {
        let chunk: Chunk<C> = nodes.by_ref().take(size).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
    .collect()
}

/// The chunk that is alone on its level, or all of them.
fn only<C>(mut level: Vec<C>) -> Result<C, Vec<C>> {
    match (level.len(), level.pop()) {
        (1, Some(only)) => Ok(only),
        (_, last) => Err(level.into_iter().chain(last).collect()),
    }
}

impl<T> FromIterator<T> for CowArray<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut len = 0;
        // Fused: a chunk that comes out short ends the array, and nothing may come after it.
        let leaves = above(elements.into_iter().fuse().inspect(|_| len += 1), LEAF);
        if leaves.is_empty() {
            return Self::default();
        }
        let root = match only(leaves) {
            Ok(leaf) => Root::Leaf(leaf),
            Err(leaves) => match only(above(leaves, BRANCH)) {
                Ok(one) => Root::One(one),
                Err(ones) => match only(above(ones, BRANCH)) {
                    Ok(two) => Root::Two(two),
                    Err(twos) => match only(above(twos, BRANCH)) {
                        Ok(three) => Root::Three(three),
                        Err(threes) => Root::Four(threes.into()),
                    },
                },
            },
        };
        Self { root, len }
    }
}

/// Iterates over a [`CowArray`].
pub struct Iter<'a, T> {
    array: &'a CowArray<T>,
    chunk: std::slice::Iter<'a, T>,
    next: usize,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        if let Some(element) = self.chunk.next() {
            return Some(element);
        }
        let leaf = self.array.leaf(self.next)?;
        self.next += leaf.len();
        self.chunk = leaf.iter();
        self.chunk.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.chunk.len() + self.array.len.saturating_sub(self.next);
        (left, Some(left))
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}

impl<'a, T> IntoIterator for &'a CowArray<T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T: fmt::Debug> fmt::Debug for CowArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<T: PartialEq> PartialEq for CowArray<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other)
    }
}

impl<T: Eq> Eq for CowArray<T> {}

impl<T: Serialize> Serialize for CowArray<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for CowArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain vector: every change is seen by the array that made it and by no clone.
        #[test]
        fn behaves_like_a_vector_and_clones_keep_their_values(
            len in prop_oneof![0usize..200, Just(2048), 2049usize..40_000],
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), prop::bool::weighted(0.2)), 0..60),
        ) {
            let mut array = CowArray::filled(len, 0u8);
            let mut model = vec![0u8; len];
            let mut clones = Vec::new();
            for (index, value, keep) in changes {
                if keep {
                    clones.push((array.clone(), model.clone()));
                }
                if len > 0 {
                    let index = index.index(len);
                    *array.get_mut(index).unwrap() = value;
                    model[index] = value;
                }
            }
            clones.push((array, model));
            for (array, model) in clones {
                prop_assert_eq!(array.len(), model.len());
                prop_assert!(array.iter().eq(model.iter()));
                prop_assert_eq!(array.iter().len(), model.len());
                prop_assert_eq!(array.get(len), None);
                prop_assert_eq!(&model.into_iter().collect::<CowArray<u8>>(), &array);
            }
        }
    }

    /// Across chunks, over what is beyond the end, and when the last look fills up what is asked at once.
    #[test]
    fn what_is_prefetched_is_looked_at_once_and_in_order() {
        let array: CowArray<usize> = (0..1000).collect();
        for count in [0, 1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE] {
            let wanted = (0..count).map(|n| n * 389 % 1000);
            let looked = std::cell::RefCell::new(Vec::new());
            array.prefetch(wanted.clone().flat_map(|n| [n, n + 1000]), |n| looked.borrow_mut().push(*n));
            assert!(wanted.eq(looked.into_inner()));
        }
    }

    #[test]
    fn more_elements_than_memory_can_hold_cost_nothing_while_they_are_equal() {
        let len = (1 << 36) + 5;
        let mut array = CowArray::filled(len, 0u8);
        let before = array.clone();
        for index in [0, LEAF * BRANCH.pow(4), len - 6, len - 1] {
            *array.get_mut(index).unwrap() = 1;
            assert_eq!((array.get(index), before.get(index)), (Some(&1), Some(&0)));
        }
        assert_eq!((array.get(1), array.get(len)), (Some(&0), None));
    }

    #[test]
    fn what_an_iterator_yields_after_its_end_is_not_in_the_array() {
        let array: CowArray<_> = [Some(1), None, Some(2)].into_iter().map_while(|x| x).collect();
        assert_eq!((array.len(), array.iter().collect::<Vec<_>>()), (1, vec![&1]));
    }

    #[test]
    fn the_widest_level_is_reached_and_left_alone_by_a_clone() {
        let len = LEAF * BRANCH * BRANCH * BRANCH + 1;
        let mut array: CowArray<u32> = (0..len as u32).collect();
        let before = array.clone();
        for index in [0, LEAF - 1, LEAF, len / 2, len - 2, len - 1] {
            *array.get_mut(index).unwrap() = u32::MAX;
            assert_eq!((array.get(index), before.get(index)), (Some(&u32::MAX), Some(&(index as u32))));
        }
        assert!(before.iter().copied().eq(0..len as u32));
    }
}
