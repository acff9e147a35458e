//! The chunked copy-on-write array that keeps large states cheap to clone and cheap to change.

use std::fmt;

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
// Whether a chunk is shared is asked at every level of every change: with this `Arc` that is a plain
// load, with the standard one, which has weak pointers, two locked instructions.
use triomphe::Arc;

/// Children of a branch and elements of a leaf. 64 keeps a leaf of 16-byte seats at 1 KiB, and a
/// million seats four levels deep.
const FANOUT: usize = 64;
const BITS: u32 = FANOUT.trailing_zeros();

/// An array of fixed length whose `clone` is O(1).
///
/// A clone shares everything. A change copies only the chunk of 64 elements it falls into, and the
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
    root: Node<T>,
    /// Levels of branches above the leaves.
    height: u32,
    len: usize,
}

enum Node<T> {
    Branch(Arc<[Node<T>]>),
    Leaf(Arc<[T]>),
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Branch(children) => Self::Branch(Arc::clone(children)),
            Self::Leaf(elements) => Self::Leaf(Arc::clone(elements)),
        }
    }
}

impl<T> Clone for CowArray<T> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), height: self.height, len: self.len }
    }
}

impl<T> Default for CowArray<T> {
    fn default() -> Self {
        Self { root: Node::Leaf(Arc::from(Vec::new())), height: 0, len: 0 }
    }
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
        if index >= self.len {
            return None;
        }
        let mut node = &self.root;
        let mut level = self.height;
        loop {
            match node {
                Node::Leaf(elements) => {
                    // Who looks at an element is often about to change it, and will then ask whether
                    // the chunk is shared. That count is in another cache line: fetching it now, beside
                    // the element, takes one trip to memory instead of two.
                    std::hint::black_box(Arc::count(elements));
                    return elements.get(index % FANOUT);
                }
                Node::Branch(children) => {
                    node = children.get((index >> (BITS * level)) % FANOUT)?;
                    level -= 1;
                }
            }
        }
    }

    /// The elements in order.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { array: self, chunk: [].iter(), next: 0 }
    }
}

impl<T: Clone> CowArray<T> {
    /// `len` copies of `value`.
    pub fn filled(len: usize, value: T) -> Self {
        // Every full leaf is the same one until somebody writes to it.
        let full: Arc<[T]> = vec![value.clone(); len.min(FANOUT)].into();
        let leaves = (0..len / FANOUT).map(|_| Node::Leaf(Arc::clone(&full)));
        let rest = (!len.is_multiple_of(FANOUT)).then(|| Node::Leaf(vec![value; len % FANOUT].into()));
        Self::over(leaves.chain(rest).collect(), len)
    }

    fn over(mut level: Vec<Node<T>>, len: usize) -> Self {
        let mut height = 0;
        while level.len() > 1 {
            let mut above = Vec::with_capacity(level.len().div_ceil(FANOUT));
            let mut nodes = level.into_iter();
            loop {
                let children: Arc<[Node<T>]> = nodes.by_ref().take(FANOUT).collect();
                if children.is_empty() {
                    break;
                }
                above.push(Node::Branch(children));
            }
            level = above;
            height += 1;
        }
        match level.pop() {
            Some(root) => Self { root, height, len },
            None => Self::default(),
        }
    }

    /// The element at `index` for changing, or `None` beyond the end. Copies what a clone shares.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        if index >= self.len {
            return None;
        }
        let mut node = &mut self.root;
        let mut level = self.height;
        loop {
            match node {
                Node::Leaf(elements) => return own(elements)?.get_mut(index % FANOUT),
                Node::Branch(children) => {
                    node = own(children)?.get_mut((index >> (BITS * level)) % FANOUT)?;
                    level -= 1;
                }
            }
        }
    }
}

/// A chunk for changing: itself if nobody shares it, otherwise a copy in its place.
fn own<T: Clone>(chunk: &mut Arc<[T]>) -> Option<&mut [T]> {
    if !Arc::is_unique(chunk) {
        *chunk = chunk.iter().cloned().collect();
    }
    Arc::get_mut(chunk)
}

impl<T: Clone> FromIterator<T> for CowArray<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut elements = elements.into_iter();
        let mut leaves = Vec::new();
        let mut len = 0;
        loop {
            let leaf: Arc<[T]> = elements.by_ref().take(FANOUT).collect();
            if leaf.is_empty() {
                break;
            }
            len += leaf.len();
            leaves.push(Node::Leaf(leaf));
        }
        Self::over(leaves, len)
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
        if self.next >= self.array.len {
            return None;
        }
        let mut node = &self.array.root;
        let mut level = self.array.height;
        let leaf = loop {
            match node {
                Node::Leaf(elements) => break elements,
                Node::Branch(children) => {
                    node = children.get((self.next >> (BITS * level)) % FANOUT)?;
                    level -= 1;
                }
            }
        };
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

impl<'de, T: Deserialize<'de> + Clone> Deserialize<'de> for CowArray<T> {
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
            len in prop_oneof![0usize..200, Just(4096), 4097usize..9000],
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

    #[test]
    fn a_fourth_level_is_reached_and_left_alone_by_a_clone() {
        let len = FANOUT * FANOUT * FANOUT + 1;
        let mut array: CowArray<u32> = (0..len as u32).collect();
        let before = array.clone();
        for index in [0, FANOUT - 1, FANOUT, len / 2, len - 2, len - 1] {
            *array.get_mut(index).unwrap() = u32::MAX;
            assert_eq!((array.get(index), before.get(index)), (Some(&u32::MAX), Some(&(index as u32))));
        }
        assert!(before.iter().copied().eq(0..len as u32));
    }
}
