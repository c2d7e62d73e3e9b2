use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; what a panic left behind is whole, as nothing that is locked here is changed in steps.
pub(in crate::cache) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A map that forgets: what has not been asked for during two fillings of half its size goes.
///
/// Two maps instead of a list of uses: a hit in the younger one changes nothing, so that readers hardly wait for each
/// other, and an entry is forgotten without a search.
#[derive(Debug)]
pub(in crate::cache) struct BoundedMap<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    weight: usize,
    half: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> BoundedMap<K, V> {
    /// Makes a map whose entries weigh `capacity` at most.
    pub(in crate::cache) fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), weight: 0, half: (capacity / 2).max(1) }
    }

    /// Returns an entry, and remembers that it was asked for.
    pub(in crate::cache) fn get<Q: ?Sized + Hash + Eq>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        if let Some((value, _)) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, (value, weight)) = self.old.remove_entry(key)?;
        self.put(key, value.clone(), weight);
        Some(value)
    }

    /// Adds an entry of some weight; one that is heavier than half of all is not kept.
    pub(in crate::cache) fn put(&mut self, key: K, value: V, weight: usize) {
        self.remove(&key);
        if weight > self.half {
            return;
        }
        if self.weight + weight > self.half {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
        self.weight += weight;
        self.young.insert(key, (value, weight));
    }

    /// Returns whether there is no entry.
    pub(in crate::cache) fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    /// Returns all entries, in no order, without remembering that they were asked for.
    pub(in crate::cache) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.young.iter().chain(&self.old).map(|(key, (value, _))| (key, value))
    }

    /// Forgets an entry; returns what it was.
    pub(in crate::cache) fn remove<Q: ?Sized + Hash + Eq>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        if let Some((value, weight)) = self.young.remove(key) {
            self.weight -= weight;
            return Some(value);
        }
        self.old.remove(key).map(|(value, _)| value)
    }

    /// Forgets what is not to be kept.
    pub(in crate::cache) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.young.retain(|key, (value, _)| keep(key, value));
        self.old.retain(|key, (value, _)| keep(key, value));
        self.weight = self.young.values().map(|(_, weight)| weight).sum();
    }

    /// Forgets everything.
    pub(in crate::cache) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.weight = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_used_stays() {
        let mut map = BoundedMap::new(4);
        for key in 0..100 {
            map.put(key, key, 1);
            assert_eq!(map.get(&0), Some(0), "after {key}");
        }
        assert_eq!(map.get(&5), None);
        map.put(7, 7, 3);
        assert_eq!(map.get(&7), None, "too heavy");
        map.remove(&0);
        assert_eq!(map.get(&0), None);
    }

    proptest! {
        #[test]
        fn weighs_no_more_than_it_may(puts in proptest::collection::vec((0u8..20, 0usize..6, any::<bool>()), 0..100)) {
            let mut map = BoundedMap::new(10);
            for (key, weight, get) in puts {
                if get {
                    let _ = map.get(&key);
                } else {
                    map.put(key, weight, weight);
                }
                let young: usize = map.young.values().map(|(_, weight)| weight).sum();
                let old: usize = map.old.values().map(|(_, weight)| weight).sum();
                prop_assert_eq!(young, map.weight);
                prop_assert!(young + old <= 10);
            }
        }
    }
}
