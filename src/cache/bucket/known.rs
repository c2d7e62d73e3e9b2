#![expect(clippy::disallowed_methods, reason = "draws by what names are hashed")]

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use crate::cache::memory::BoundedMap;
use crate::cache::store::Object;

/// How much is remembered: an object weighs one, and so does each of its grants. A million takes 40 MiB.
const MOST: usize = 1 << 20;

/// What is known to be in a bucket.
///
/// Of names it keeps what they are hashed to, with a key that is drawn by chance at the start: nobody can choose two names
/// that are taken for each other, and by accident it happens never.
#[derive(Debug)]
pub(super) struct Known {
    objects: BoundedMap<u64, Arc<KnownObject>>,
    hasher: RandomState,
}

#[derive(Clone, Debug, Default)]
struct KnownObject {
    is_there: bool,
    /// The keys of grants that are there, in the order of their hashes.
    grants: Vec<u64>,
}

impl Default for Known {
    fn default() -> Self {
        Self { objects: BoundedMap::new(MOST), hasher: RandomState::new() }
    }
}

impl Known {
    pub(super) fn has(&mut self, object: &Object) -> bool {
        self.get(object).is_some_and(|known| known.is_there)
    }

    pub(super) fn has_grant(&mut self, object: &Object, key: &str) -> bool {
        let grant = self.hasher.hash_one(key);
        self.get(object).is_some_and(|known| known.grants.binary_search(&grant).is_ok())
    }

    pub(super) fn note(&mut self, object: Object) {
        self.change(object, |known| known.is_there = true);
    }

    pub(super) fn note_grant(&mut self, object: Object, key: &str) {
        let grant = self.hasher.hash_one(key);
        self.change(object, |known| {
            if let Err(at) = known.grants.binary_search(&grant) {
                known.grants.insert(at, grant);
            }
        });
    }

    /// Takes note that something is not there. Its grants are as they were.
    pub(super) fn is_absent(&mut self, object: &Object) {
        if self.has(object) {
            self.change(*object, |known| known.is_there = false);
        }
    }

    /// Forgets something, and who has it.
    pub(super) fn forget(&mut self, object: &Object) {
        self.objects.remove(&self.hasher.hash_one(object));
    }

    pub(super) fn clear(&mut self) {
        self.objects.clear();
    }

    fn get(&mut self, object: &Object) -> Option<Arc<KnownObject>> {
        self.objects.get(&self.hasher.hash_one(object))
    }

    fn change(&mut self, object: Object, change: impl FnOnce(&mut KnownObject)) {
        let object = self.hasher.hash_one(object);
        // Taken out, so that what may be long is not copied.
        let known = self.objects.remove(&object).unwrap_or_default();
        let mut known = Arc::unwrap_or_clone(known);
        change(&mut known);
        let weight = 1 + known.grants.len();
        self.objects.put(object, Arc::new(known), weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;

    #[test]
    fn an_object_is_forgotten_with_its_grants() {
        let (a, b) = (Object::blob(Digest::sha256([1; 32])), Object::manifest(Digest::sha256([1; 32])));
        let mut known = Known::default();
        for object in [a, b] {
            known.note(object);
            known.note_grant(object, "x");
            known.note_grant(object, "y");
        }
        known.is_absent(&a);
        assert_eq!((known.has(&a), known.has_grant(&a, "x"), known.has_grant(&a, "z")), (false, true, false));
        known.forget(&b);
        assert_eq!((known.has(&b), known.has_grant(&b, "y")), (false, false));
        known.clear();
        assert!(!known.has_grant(&a, "x"));
    }

    #[test]
    fn all_of_a_large_folder_stays_known_in_the_order_in_which_it_is_looked_through() {
        let object = |n: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.to_le_bytes());
            Object::blob(Digest::sha256(bytes))
        };
        let mut known = Known::default();
        for n in 0..200_000 {
            known.note(object(n));
            known.note_grant(object(n), "x");
        }
        for _ in 0..2 {
            let lost = (0..200_000).filter(|n| !known.has(&object(*n)) || !known.has_grant(&object(*n), "x"));
            assert_eq!(lost.count(), 0);
        }
        // A layer that very many repositories have.
        for n in 0..3000 {
            known.note_grant(object(0), &n.to_string());
        }
        assert!(known.has_grant(&object(0), "0") && known.has_grant(&object(0), "2999"));
    }
}
