use super::entries::{Entries, Entry, Key, Pin};
use super::eviction::Candidate;
use super::journal_entry::{JournalEntry, Trust};
use crate::cache::store::local::{Kind, Listed, Object};

/// What a store holds and when it was used: a few dozen bytes for each thing.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Entries,
    stored: u64,
    blobs: u64,
    manifests: u64,
    /// What was used since it was last written down.
    used: Vec<Key>,
}

/// Files take whole blocks.
const BLOCK: u64 = 4096;

/// Returns how many bytes of disk a file of a size takes.
pub(super) const fn blocks(size: u64) -> u64 {
    size.div_ceil(BLOCK).saturating_mul(BLOCK)
}

impl Index {
    /// Returns what is known of a thing.
    pub(super) fn get(&self, object: &Object) -> Option<Entry> {
        self.entries.get(&Key::of(object))
    }

    /// Returns whether a thing is there.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.entries.contains(key)
    }

    /// Notes a use; returns what is known of the thing.
    pub(super) fn touch(&mut self, object: &Object, now: u32) -> Option<Entry> {
        let key = Key::of(object);
        let used = &mut self.used;
        self.entries.change(&key, |entry| {
            entry.used_at = entry.used_at.max(now);
            entry.hits = entry.hits.saturating_add(1);
            if !std::mem::replace(&mut entry.noted, true) {
                used.push(key.clone());
            }
        })
    }

    /// Adds a thing, in place of what was there by that name.
    pub(super) fn put(&mut self, object: &Object, size: u64, now: u32, trust: Trust) {
        self.insert(object, Entry { size, used_at: now, hits: 0, trust, pin: Pin::Unknown, noted: false });
    }

    fn insert(&mut self, object: &Object, entry: Entry) {
        self.remove(object);
        self.stored = self.stored.saturating_add(blocks(entry.size));
        *self.count(object.kind) += 1;
        self.entries.insert(Key::of(object), entry);
    }

    /// Removes a thing; returns what was known of it.
    pub(super) fn remove(&mut self, object: &Object) -> Option<Entry> {
        let entry = self.entries.remove(&Key::of(object))?;
        self.stored = self.stored.saturating_sub(blocks(entry.size));
        let count = self.count(object.kind);
        *count = count.saturating_sub(1);
        Some(entry)
    }

    fn count(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Blob => &mut self.blobs,
            Kind::Manifest => &mut self.manifests,
        }
    }

    /// Notes how sure it is that a file holds what it should.
    pub(super) fn set_trust(&mut self, object: &Object, trust: Trust) {
        self.entries.change(&Key::of(object), |entry| entry.trust = trust);
    }

    /// Notes whether a thing may be evicted.
    pub(super) fn set_pin(&mut self, object: &Object, pin: Pin) {
        self.entries.change(&Key::of(object), |entry| entry.pin = pin);
    }

    /// Forgets what may be evicted and what not.
    pub(super) fn forget_pins(&mut self) {
        self.entries.change_all(|entry| entry.pin = Pin::Unknown);
    }

    /// Doubts every file that was not known to be on the disk when the machine went down.
    pub(super) fn distrust(&mut self) {
        self.entries.change_all(|entry| {
            if entry.trust == Trust::Written {
                entry.trust = Trust::Doubtful;
            }
        });
    }

    /// Doubts every file: the last process did not end in order.
    pub(super) fn distrust_all(&mut self) {
        self.entries.change_all(|entry| entry.trust = Trust::Doubtful);
    }

    /// Takes a line of the journal.
    pub(super) fn apply(&mut self, line: JournalEntry) {
        match line {
            JournalEntry::Put { object, size, used_at, hits, trust } => {
                self.insert(&object, Entry { size, used_at, hits, trust, pin: Pin::Unknown, noted: false });
            }
            JournalEntry::Gone(object) => {
                self.remove(&object);
            }
            JournalEntry::Used { object, used_at, hits } => {
                self.entries.change(&Key::of(&object), |entry| (entry.used_at, entry.hits) = (used_at, hits));
            }
            JournalEntry::Start(_) | JournalEntry::End => {}
        }
    }

    /// Returns lines for what was used since the last call.
    pub(super) fn take_used(&mut self) -> Vec<JournalEntry> {
        let used = std::mem::take(&mut self.used);
        used.iter()
            .filter_map(|key| {
                let entry = self.entries.change(key, |entry| entry.noted = false)?;
                Some(JournalEntry::Used { object: key.object(), used_at: entry.used_at, hits: entry.hits })
            })
            .collect()
    }

    /// Returns the things whose name is not among those given.
    pub(super) fn missing_from(&self, there: &std::collections::HashSet<Object>) -> Vec<Object> {
        self.entries.iter().map(|(key, _)| key.object()).filter(|object| !there.contains(object)).collect()
    }

    /// Returns the whole of it as lines; a copy, so that no request waits while they are written.
    pub(super) fn lines(&self) -> impl Iterator<Item = JournalEntry> + use<> {
        let all: Vec<(Key, Entry)> = self.entries.iter().collect();
        all.into_iter().map(|(key, entry)| JournalEntry::Put {
            object: key.object(),
            size: entry.size,
            used_at: entry.used_at,
            hits: entry.hits,
            trust: entry.trust,
        })
    }

    /// Lists everything.
    pub(super) fn list(&self) -> Vec<Listed> {
        self.entries
            .iter()
            .map(|(key, entry)| Listed {
                object: key.object(),
                size: entry.size,
                used_at: u64::from(entry.used_at),
                hits: u32::from(entry.hits),
            })
            .collect()
    }

    /// Returns everything that is not known to be pinned; `with` is how many bytes go with a manifest.
    pub(super) fn candidates(&self, now: u32, with: impl Fn(&Key) -> u64) -> Vec<Candidate<Object>> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.pin != Pin::Yes)
            .map(|(key, entry)| {
                let object = key.object();
                Candidate {
                    key: object,
                    size: blocks(entry.size).saturating_add(match object.kind {
                        Kind::Manifest => with(&key),
                        Kind::Blob => 0,
                    }),
                    idle: u64::from(now.saturating_sub(entry.used_at)),
                    hits: u32::from(entry.hits),
                    manifest: object.kind == Kind::Manifest,
                }
            })
            .collect()
    }

    /// Returns how many bytes of disk everything takes.
    pub(super) const fn stored(&self) -> u64 {
        self.stored
    }

    /// Returns how many things there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns how many blobs there are.
    pub(super) const fn blobs(&self) -> u64 {
        self.blobs
    }

    /// Returns how many manifests there are.
    pub(super) const fn manifests(&self) -> u64 {
        self.manifests
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::image::Algorithm;
    use crate::oci::digest_of;

    fn object(n: u8) -> Object {
        let algorithm = if n.is_multiple_of(3) { Algorithm::Sha512 } else { Algorithm::Sha256 };
        let digest = digest_of(algorithm, &[n]);
        if n.is_multiple_of(2) { Object::blob(digest) } else { Object::manifest(digest) }
    }

    #[test]
    fn a_use_is_written_once() {
        let mut index = Index::default();
        index.put(&object(1), 5, 100, Trust::Durable);
        index.touch(&object(1), 101);
        index.touch(&object(1), 99);
        assert_eq!(index.touch(&object(2), 1), None);
        assert_eq!(index.take_used(), [JournalEntry::Used { object: object(1), used_at: 101, hits: 2 }]);
        assert_eq!(index.take_used(), []);
        index.touch(&object(1), 102);
        index.remove(&object(1));
        assert_eq!(index.take_used(), []);
    }

    proptest! {
        #[test]
        fn sums_hold_and_lines_make_the_same_index(
            steps in proptest::collection::vec((0u8..3, 0u8..12, 0u64..20_000), 0..60)
        ) {
            let mut index = Index::default();
            let mut replayed = Index::default();
            for (now, (what, n, size)) in (0u32..).zip(steps) {
                let object = object(n);
                match what {
                    0 => {
                        index.put(&object, size, now, Trust::Written);
                        replayed.apply(JournalEntry::Put { object, size, used_at: now, hits: 0, trust: Trust::Written });
                    }
                    1 => {
                        index.remove(&object);
                        replayed.apply(JournalEntry::Gone(object));
                    }
                    _ => {
                        index.touch(&object, now);
                    }
                }
            }
            for line in index.take_used() {
                replayed.apply(line);
            }
            let mut copy = Index::default();
            for line in index.lines() {
                copy.apply(line);
            }
            for other in [&replayed, &copy] {
                let (mut a, mut b) = (index.list(), other.list());
                a.sort_by_key(|listed| listed.object);
                b.sort_by_key(|listed| listed.object);
                prop_assert_eq!(&a, &b);
                prop_assert_eq!(other.stored(), a.iter().map(|listed| blocks(listed.size)).sum::<u64>());
                prop_assert_eq!(other.blobs() + other.manifests(), a.len() as u64);
            }
        }
    }
}
