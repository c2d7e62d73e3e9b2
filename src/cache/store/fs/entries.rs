use std::collections::HashMap;

use super::journal_entry::Trust;
use crate::cache::store::local::{Kind, Object};
use crate::image::Digest;

/// An [`Object`] in 40 bytes instead of 66.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    Blob([u8; 32]),
    Manifest([u8; 32]),
    Long(Box<(Kind, [u8; 64])>),
}

/// What is known of a stored thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// How many bytes its file has.
    pub(super) size: u64,
    /// When it was last used, in seconds since 1970.
    pub(super) used_at: u32,
    /// How often it was used after it was stored.
    pub(super) hits: u16,
    /// How sure it is that the file holds what it should.
    pub(super) trust: Trust,
    /// Whether it may be evicted.
    pub(super) pin: Pin,
    /// Whether it is on the list of what was used since that was last written down.
    pub(super) noted: bool,
}

/// Whether something may be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pin {
    /// Nobody has looked since an origin was last added.
    Unknown,
    /// It may.
    No,
    /// One of its origins is pinned.
    Yes,
}

/// Entries by their keys, of which there may be a million: 45 bytes each, and little that is not used.
///
/// A hash table would have up to twice the room that it needs, and both tables while it grows. Digests are as good as
/// random, so their first bits spread them evenly over short lists, each of them in order; when the lists are long,
/// each becomes two.
#[derive(Debug)]
pub(super) struct Entries {
    /// By the first bits of the hash.
    lists: Vec<Vec<Slot>>,
    /// How many bits.
    bits: u32,
    /// The few whose hash is longer.
    long: HashMap<Box<(Kind, [u8; 64])>, Entry>,
    len: usize,
}

/// A key of SHA-256 and its entry, as bytes, so that none lies between them.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: [u8; 32],
    size: [u8; 6],
    used_at: [u8; 4],
    hits: [u8; 2],
    /// The kind in the lowest bit, then trust and pin in two bits each, and whether it is noted.
    flags: u8,
}

/// How many entries a list has on average before each list becomes two.
const LONG: usize = 64;
/// By how many bits of the hash entries are spread at most.
const MOST_BITS: u32 = 20;
const MANIFEST: u8 = 1;
const NOTED: u8 = 1 << 5;

impl Slot {
    fn new(kind: Kind, hash: [u8; 32], entry: Entry) -> Self {
        let Entry { size, used_at, hits, trust, pin, noted } = entry;
        // No file has 2^48 bytes.
        let size = size.min((1 << 48) - 1).to_le_bytes().first_chunk().copied().unwrap_or_default();
        let trust = match trust {
            Trust::Durable => 0,
            Trust::Written => 1,
            Trust::Doubtful => 2,
        };
        let pin = match pin {
            Pin::Unknown => 0,
            Pin::No => 1,
            Pin::Yes => 2,
        };
        let flags = key_bit(kind) | trust << 1 | pin << 3 | if noted { NOTED } else { 0 };
        Self { hash, size, used_at: used_at.to_le_bytes(), hits: hits.to_le_bytes(), flags }
    }

    fn entry(&self) -> Entry {
        let mut size = [0; 8];
        size.iter_mut().zip(self.size).for_each(|(to, byte)| *to = byte);
        Entry {
            size: u64::from_le_bytes(size),
            used_at: u32::from_le_bytes(self.used_at),
            hits: u16::from_le_bytes(self.hits),
            trust: match self.flags >> 1 & 3 {
                0 => Trust::Durable,
                1 => Trust::Written,
                _ => Trust::Doubtful,
            },
            pin: match self.flags >> 3 & 3 {
                0 => Pin::Unknown,
                1 => Pin::No,
                _ => Pin::Yes,
            },
            noted: self.flags & NOTED != 0,
        }
    }

    fn kind(&self) -> Kind {
        if self.flags & MANIFEST == 0 { Kind::Blob } else { Kind::Manifest }
    }

    fn key(&self) -> Key {
        match self.kind() {
            Kind::Blob => Key::Blob(self.hash),
            Kind::Manifest => Key::Manifest(self.hash),
        }
    }
}

fn key_bit(kind: Kind) -> u8 {
    match kind {
        Kind::Blob => 0,
        Kind::Manifest => MANIFEST,
    }
}

impl Default for Entries {
    fn default() -> Self {
        Self { lists: vec![Vec::new()], bits: 0, long: HashMap::new(), len: 0 }
    }
}

impl Entries {
    /// Returns an entry.
    pub(super) fn get(&self, key: &Key) -> Option<Entry> {
        match self.place(key) {
            Place::Slot { list, at: Ok(at), .. } => self.lists.get(list)?.get(at).map(Slot::entry),
            Place::Slot { .. } => None,
            Place::Long(long) => self.long.get(long).copied(),
        }
    }

    /// Returns whether there is an entry.
    pub(super) fn contains(&self, key: &Key) -> bool {
        self.get(key).is_some()
    }

    /// Changes an entry; returns what it is then.
    pub(super) fn change(&mut self, key: &Key, change: impl FnOnce(&mut Entry)) -> Option<Entry> {
        match self.place(key) {
            Place::Slot { list, at: Ok(at), kind, hash } => {
                let slot = self.lists.get_mut(list)?.get_mut(at)?;
                let mut entry = slot.entry();
                change(&mut entry);
                *slot = Slot::new(kind, hash, entry);
                Some(entry)
            }
            Place::Slot { .. } => None,
            Place::Long(long) => {
                let entry = self.long.get_mut(long)?;
                change(entry);
                Some(*entry)
            }
        }
    }

    /// Changes all entries.
    pub(super) fn change_all(&mut self, mut change: impl FnMut(&mut Entry)) {
        for slot in self.lists.iter_mut().flatten() {
            let mut entry = slot.entry();
            change(&mut entry);
            *slot = Slot::new(slot.kind(), slot.hash, entry);
        }
        self.long.values_mut().for_each(change);
    }

    /// Adds an entry, or puts it in the place of another.
    pub(super) fn insert(&mut self, key: Key, entry: Entry) {
        if self.len >= LONG << self.bits && self.bits < MOST_BITS {
            self.split();
        }
        let is_new = match self.place(&key) {
            Place::Slot { list, at, kind, hash } => {
                let Some(list) = self.lists.get_mut(list) else { return };
                let slot = Slot::new(kind, hash, entry);
                match at {
                    Ok(at) => {
                        if let Some(old) = list.get_mut(at) {
                            *old = slot;
                        }
                        false
                    }
                    Err(at) => {
                        if list.len() == list.capacity() {
                            // Twice as much each time would leave a quarter of it unused.
                            list.reserve_exact(list.len() / 16 + 2);
                        }
                        list.insert(at, slot);
                        true
                    }
                }
            }
            Place::Long(_) => match key {
                Key::Long(long) => self.long.insert(long, entry).is_none(),
                Key::Blob(_) | Key::Manifest(_) => false,
            },
        };
        self.len += usize::from(is_new);
    }

    /// Removes an entry; returns what it was.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Entry> {
        let removed = match self.place(key) {
            Place::Slot { list, at: Ok(at), .. } => {
                self.lists.get_mut(list).map(|list| list.remove(at).entry())
            }
            Place::Slot { .. } => None,
            Place::Long(long) => self.long.remove(long),
        };
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// Returns all entries, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, Entry)> {
        let short = self.lists.iter().flatten().map(|slot| (slot.key(), slot.entry()));
        short.chain(self.long.iter().map(|(long, entry)| (Key::Long(long.clone()), *entry)))
    }

    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Makes two lists of each, by the next bit of the hash.
    fn split(&mut self) {
        self.bits += 1;
        let lists = std::mem::take(&mut self.lists);
        self.lists.reserve_exact(lists.len() * 2);
        for mut list in lists {
            let half = list.partition_point(|slot| self.list_of(&slot.hash).is_multiple_of(2));
            let second = list.get(half..).unwrap_or_default().to_vec();
            list.truncate(half);
            list.shrink_to_fit();
            self.lists.extend([list, second]);
        }
    }

    /// Returns which list a hash is in.
    fn list_of(&self, hash: &[u8; 32]) -> usize {
        let first = u32::from_be_bytes(hash.first_chunk().copied().unwrap_or_default());
        first.checked_shr(u32::BITS - self.bits).unwrap_or(0) as usize
    }

    fn place<'a>(&self, key: &'a Key) -> Place<'a> {
        let (kind, hash) = match key {
            Key::Blob(hash) => (Kind::Blob, *hash),
            Key::Manifest(hash) => (Kind::Manifest, *hash),
            Key::Long(long) => return Place::Long(long),
        };
        let list = self.list_of(&hash);
        let slots = self.lists.get(list).map_or(&[][..], Vec::as_slice);
        let at =
            slots.binary_search_by(|slot| (&slot.hash, slot.flags & MANIFEST).cmp(&(&hash, key_bit(kind))));
        Place::Slot { list, at, kind, hash }
    }
}

/// Where an entry is, or would be.
enum Place<'a> {
    Slot { list: usize, at: Result<usize, usize>, kind: Kind, hash: [u8; 32] },
    Long(&'a (Kind, [u8; 64])),
}

impl Key {
    pub(super) fn of(object: &Object) -> Self {
        let bytes = object.digest.bytes();
        if let Ok(short) = <[u8; 32]>::try_from(bytes) {
            return match object.kind {
                Kind::Blob => Self::Blob(short),
                Kind::Manifest => Self::Manifest(short),
            };
        }
        let mut long = [0; 64];
        for (to, from) in long.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self::Long(Box::new((object.kind, long)))
    }

    pub(super) fn object(&self) -> Object {
        match self {
            Self::Blob(hash) => Object::blob(Digest::sha256(*hash)),
            Self::Manifest(hash) => Object::manifest(Digest::sha256(*hash)),
            Self::Long(long) => Object { kind: long.0, digest: Digest::sha512(long.1) },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Slot>(), 45);
    }

    fn key(n: u8) -> Key {
        match n % 5 {
            0 => Key::Long(Box::new((Kind::Blob, [n; 64]))),
            1 => Key::Manifest([n / 2; 32]),
            // The same hash as a manifest's now and then, and the same list as others'.
            2 => Key::Blob([n / 2; 32]),
            _ => Key::Blob(std::array::from_fn(|at| if at == 31 { n } else { 7 })),
        }
    }

    #[test]
    fn lists_are_split_in_order() {
        let mut entries = Entries::default();
        let hash = |n: u32| {
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
            hash
        };
        let entry = |n: u32| Entry {
            size: u64::from(n),
            used_at: n,
            hits: 0,
            trust: Trust::Durable,
            pin: Pin::No,
            noted: false,
        };
        for n in 0..10_000 {
            entries.insert(Key::Blob(hash(n)), entry(n));
        }
        assert_eq!((entries.len(), entries.bits), (10_000, 8));
        for n in 0..10_000 {
            assert_eq!(entries.get(&Key::Blob(hash(n))), Some(entry(n)));
            assert_eq!(entries.get(&Key::Manifest(hash(n))), None);
        }
        assert!(entries.iter().map(|(key, _)| key).is_sorted());
        for n in 0..10_000 {
            assert_eq!(entries.remove(&Key::Blob(hash(n))), Some(entry(n)));
        }
        assert_eq!(entries.iter().count(), 0);
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((0u8..4, 0u8..24, 0u64..1 << 40), 0..120)) {
            let (mut entries, mut map) = (Entries::default(), HashMap::new());
            for (what, n, size) in steps {
                let trust = [Trust::Durable, Trust::Written, Trust::Doubtful][usize::from(n) % 3];
                let pin = [Pin::Yes, Pin::No, Pin::Unknown][usize::try_from(size).unwrap() % 3];
                let entry = Entry { size, used_at: u32::from(n) << 20, hits: 700, trust, pin, noted: n % 2 == 0 };
                match what {
                    0 | 1 => {
                        entries.insert(key(n), entry);
                        map.insert(key(n), entry);
                    }
                    2 => prop_assert_eq!(entries.remove(&key(n)), map.remove(&key(n))),
                    _ => {
                        let changed = entries.change(&key(n), |entry| entry.size = size);
                        let same = map.get_mut(&key(n)).map(|entry| {
                            entry.size = size;
                            *entry
                        });
                        prop_assert_eq!(changed, same);
                    }
                }
                prop_assert_eq!(entries.get(&key(n)), map.get(&key(n)).copied());
                prop_assert_eq!(entries.contains(&key(n)), map.contains_key(&key(n)));
            }
            entries.change_all(|entry| entry.hits += 1);
            for entry in map.values_mut() {
                entry.hits += 1;
            }
            prop_assert_eq!(entries.len(), map.len());
            prop_assert_eq!(entries.iter().collect::<HashMap<_, _>>(), map);
        }
    }
}
