//! One copy of immutable data that many streams have in common.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Weak};

use crate::sync::Mutex;

/// Keeps one copy of equal immutable values, for as long as somebody uses it.
///
/// See [`Aggregate::intern`](crate::Aggregate::intern).
#[derive(Debug, Default)]
pub struct Interner(Arc<Mutex<Pool>>);

#[derive(Debug)]
struct Pool {
    values: HashMap<(TypeId, u64), Vec<Weak<dyn Any + Send + Sync>>>,
    hasher: std::hash::RandomState,
    /// So many keys, and those whose values nobody uses any more are dropped.
    sweep_at: usize,
}

const SWEEP_AT_LEAST: usize = 64;

impl Default for Pool {
    fn default() -> Self {
        Self { values: HashMap::new(), hasher: std::hash::RandomState::default(), sweep_at: SWEEP_AT_LEAST }
    }
}

impl Interner {
    /// The copy that is already in use if there is an equal one, otherwise `value`. `Hash` and `Eq` of
    /// the value run under the pool's mutex.
    ///
    /// ```
    /// use boxoffice::aggregate::Interner;
    /// use std::sync::Arc;
    ///
    /// let mut pool = Interner::default();
    /// let first = pool.share(Arc::new(String::from("chart")));
    /// let second = pool.share(Arc::new(String::from("chart")));
    /// assert!(Arc::ptr_eq(&first, &second));
    /// ```
    pub fn share<T: Hash + Eq + Send + Sync + 'static>(&mut self, value: Arc<T>) -> Arc<T> {
        // Declared before the guard and dropped after it: they may be the last of their value.
        let mut others: Vec<Arc<T>> = Vec::new();
        let mut pool = self.0.lock();
        let key = (TypeId::of::<T>(), pool.hasher.hash_one(&*value));
        let same_hash = pool.values.entry(key).or_default();
        // Or values that are shared often and kept never would pile up under their one key.
        same_hash.retain(|known| known.strong_count() > 0);
        for known in same_hash.iter().filter_map(Weak::upgrade) {
            let Ok(known) = known.downcast::<T>() else { continue };
            if *known == *value {
                return known;
            }
            others.push(known);
        }
        let erased: Arc<dyn Any + Send + Sync> = Arc::clone(&value) as _;
        same_hash.push(Arc::downgrade(&erased));
        pool.sweep();
        value
    }

    /// The same pool, for another thread.
    pub(crate) fn again(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl Pool {
    fn sweep(&mut self) {
        if self.values.len() < self.sweep_at {
            return;
        }
        self.values.retain(|_, same_hash| {
            same_hash.retain(|known| known.strong_count() > 0);
            !same_hash.is_empty()
        });
        self.sweep_at = SWEEP_AT_LEAST.max(self.values.len() * 2);
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn values_that_nobody_uses_are_forgotten() {
        let mut pool = Interner::default();
        let kept: Vec<_> = (0..10u32).map(|value| pool.share(Arc::new(value))).collect();
        for value in 10..100_000u32 {
            drop(pool.share(Arc::new(value)));
            assert!(pool.0.lock().values.len() <= SWEEP_AT_LEAST);
        }
        for _ in 0..100_000 {
            drop(pool.share(Arc::new(7_000_000_u32)));
        }
        let most = pool.0.lock().values.values().map(Vec::len).max();
        assert_eq!(most, Some(1), "dead values piled up under one key");
        for value in kept {
            assert!(Arc::ptr_eq(&value, &pool.share(Arc::new(*value))));
        }
    }
}
