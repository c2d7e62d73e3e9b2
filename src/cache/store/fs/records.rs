use std::collections::{BTreeSet, HashMap};

use super::entries::Key;
use super::index::{Index, blocks};
use crate::cache::store::local::Object;
use crate::cache::store::record::{RecordKey, RecordKind, ReferrersRecord, TagRecord};

/// The small files of a store, as far as they were seen: what they take, and which of them go with which manifest.
#[derive(Debug, Default)]
pub(super) struct Records {
    files: HashMap<RecordName, Record>,
    /// Those that say something of a manifest, by that.
    about: BTreeSet<(Key, RecordName)>,
    stored: u64,
    tags: usize,
    /// How many notes there are that an origin has an object.
    grants: u64,
    /// How many of them are of which origin, by the hash of its record.
    granted: HashMap<[u8; 32], u32>,
}

/// The name of a record: its kind, and its hash.
pub(super) type RecordName = (RecordKind, [u8; 32]);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    bytes: u64,
    about: Option<Key>,
}

/// What a note that an origin has an object takes: a name in a folder.
const GRANT: u64 = 192;

impl Records {
    /// Adds a record of so many bytes, in place of what had its name; `about` is the manifest that it goes with.
    pub(super) fn put(&mut self, name: RecordName, bytes: u64, about: Option<&Object>) {
        self.remove(&name);
        let (bytes, about) = (blocks(bytes), about.map(Key::of));
        self.stored += bytes;
        self.tags += usize::from(name.0 == RecordKind::Tag);
        self.about.extend(about.clone().map(|about| (about, name)));
        self.files.insert(name, Record { bytes, about });
    }

    /// Takes a record away.
    pub(super) fn remove(&mut self, name: &RecordName) {
        let Some(Record { bytes, about }) = self.files.remove(name) else { return };
        self.stored = self.stored.saturating_sub(bytes);
        self.tags = self.tags.saturating_sub(usize::from(name.0 == RecordKind::Tag));
        if let Some(about) = about {
            self.about.remove(&(about, *name));
        }
    }

    /// Returns how many tags there are.
    pub(super) const fn tags(&self) -> usize {
        self.tags
    }

    /// Returns whether there is a record.
    pub(super) fn has(&self, name: &RecordName) -> bool {
        self.files.contains_key(name)
    }

    /// Returns the records that go with a manifest.
    pub(super) fn about(&self, object: &Object) -> Vec<RecordName> {
        let about = Key::of(object);
        let first = (about.clone(), (RecordKind::FIRST, [0; 32]));
        self.about.range(first..).take_while(|(key, _)| *key == about).map(|(_, name)| *name).collect()
    }

    /// Returns how many bytes of disk the records take that go with a manifest.
    pub(super) fn bytes_about(&self, key: &Key) -> u64 {
        let first = (key.clone(), (RecordKind::FIRST, [0; 32]));
        let names = self.about.range(first..).take_while(|(about, _)| about == key).map(|(_, name)| name);
        names.filter_map(|name| self.files.get(name)).map(|record| record.bytes).sum()
    }

    /// Returns the records that go with a manifest which is not there.
    pub(super) fn orphans(&self, index: &Index) -> Vec<RecordName> {
        self.about.iter().filter(|(about, _)| !index.has(about)).map(|(_, name)| *name).collect()
    }

    /// Returns the origins.
    pub(super) fn origins(&self) -> Vec<RecordName> {
        self.files.keys().filter(|(kind, _)| *kind == RecordKind::Origin).copied().collect()
    }

    /// Adds a note that an origin has an object.
    pub(super) fn add_grant(&mut self, origin: [u8; 32]) {
        self.grants += 1;
        *self.granted.entry(origin).or_default() += 1;
    }

    /// Takes such a note away; returns whether it was the origin's last, as far as they were counted.
    pub(super) fn remove_grant(&mut self, origin: [u8; 32]) -> bool {
        self.grants = self.grants.saturating_sub(1);
        let Some(count) = self.granted.get_mut(&origin) else { return false };
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            self.granted.remove(&origin);
        }
        is_last
    }

    /// Takes note of how many notes there are, by the hashes of their origins.
    pub(super) fn set_grants(&mut self, counts: HashMap<[u8; 32], u32>) {
        for (origin, count) in counts {
            // One that was added meanwhile may have been counted or not: too many is harmless.
            let known = self.granted.entry(origin).or_default();
            *known = count.max(*known);
        }
        self.grants = self.granted.values().map(|count| u64::from(*count)).sum();
    }

    /// Returns how many bytes of disk all of them take.
    pub(super) const fn stored(&self) -> u64 {
        self.stored.saturating_add(self.grants.saturating_mul(GRANT))
    }
}

/// Returns the key that a record has by its name.
pub(super) fn key(name: &RecordName) -> RecordKey {
    RecordKey::from_hash(name.0, name.1)
}

/// Returns the manifest that a record goes with, by what is in it.
pub(super) fn subject(kind: RecordKind, bytes: &[u8]) -> Option<Object> {
    match kind {
        RecordKind::Tag => TagRecord::read(bytes).map(|record| Object::manifest(record.digest)),
        RecordKind::Referrers => ReferrersRecord::read(bytes).map(|record| Object::manifest(record.subject)),
        RecordKind::Origin => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::journal_entry::Trust;
    use super::*;
    use crate::image::Algorithm;
    use crate::oci::digest_of;

    #[test]
    fn tags_go_with_their_manifests_and_all_is_counted_by_blocks() {
        let manifest = |n: u8| Object::manifest(digest_of(Algorithm::Sha256, &[n]));
        let tag = |n: u8| (RecordKind::Tag, [n; 32]);
        let (mut records, mut index) = (Records::default(), Index::default());
        records.put(tag(1), 200, Some(&manifest(1)));
        records.put(tag(2), 5000, Some(&manifest(1)));
        records.put(tag(3), 200, Some(&manifest(2)));
        records.put((RecordKind::Origin, [9; 32]), 50, None);
        assert_eq!((records.stored(), records.tags()), (5 * 4096, 3));
        assert_eq!(records.about(&manifest(1)), [tag(1), tag(2)]);
        assert_eq!(records.bytes_about(&Key::of(&manifest(1))), 3 * 4096);
        records.put(tag(2), 200, Some(&manifest(2)));
        assert_eq!((records.about(&manifest(1)), records.about(&manifest(2)).len()), (vec![tag(1)], 2));
        index.put(&manifest(2), 10, 0, Trust::Written);
        assert_eq!(records.orphans(&index), [tag(1)]);
        records.remove(&tag(1));
        records.remove(&tag(1));
        assert_eq!(
            (records.stored(), records.tags(), records.has(&tag(1)), records.orphans(&index)),
            (3 * 4096, 2, false, vec![])
        );
        assert_eq!(records.origins(), [(RecordKind::Origin, [9; 32])]);
        records.set_grants(HashMap::from([([9; 32], 1)]));
        records.add_grant([9; 32]);
        assert_eq!(records.stored(), 3 * 4096 + 2 * GRANT);
        assert!(
            !records.remove_grant([9; 32]) && records.remove_grant([9; 32]) && !records.remove_grant([9; 32])
        );
        assert_eq!(records.stored(), 3 * 4096);
        // What is added while they are counted stays counted.
        records.add_grant([7; 32]);
        records.set_grants(HashMap::from([([9; 32], 2)]));
        assert_eq!(records.stored(), 3 * 4096 + 3 * GRANT);
    }
}
