use crate::cache::memory::BoundedMap;
use crate::cache::store::Object;

/// How much is remembered: an object weighs one, and so does each of its grants.
const MOST: usize = 1 << 17;

/// What is known to be in a bucket.
#[derive(Debug)]
pub(super) struct Known(BoundedMap<Object, KnownObject>);

#[derive(Clone, Debug, Default)]
struct KnownObject {
    is_there: bool,
    /// The keys of grants that are there.
    grants: Vec<String>,
}

impl Default for Known {
    fn default() -> Self {
        Self(BoundedMap::new(MOST))
    }
}

impl Known {
    pub(super) fn has(&mut self, object: &Object) -> bool {
        self.0.get(object).is_some_and(|known| known.is_there)
    }

    pub(super) fn has_grant(&mut self, object: &Object, key: &str) -> bool {
        self.0.get(object).is_some_and(|known| known.grants.iter().any(|grant| grant == key))
    }

    pub(super) fn note(&mut self, object: Object) {
        self.change(object, |known| known.is_there = true);
    }

    pub(super) fn note_grant(&mut self, object: Object, key: String) {
        self.change(object, |known| {
            if !known.grants.contains(&key) {
                known.grants.push(key);
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
        self.0.remove(object);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn change(&mut self, object: Object, change: impl FnOnce(&mut KnownObject)) {
        let mut known = self.0.get(&object).unwrap_or_default();
        change(&mut known);
        let weight = 1 + known.grants.len();
        self.0.put(object, known, weight);
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
            known.note_grant(object, "x".to_owned());
            known.note_grant(object, "y".to_owned());
        }
        known.is_absent(&a);
        assert_eq!((known.has(&a), known.has_grant(&a, "x"), known.has_grant(&a, "z")), (false, true, false));
        known.forget(&b);
        assert_eq!((known.has(&b), known.has_grant(&b, "y")), (false, false));
        known.clear();
        assert!(!known.has_grant(&a, "x"));
    }
}
