use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;

use crate::cache::store::{Kind, Object};
use crate::image::Digest;

/// How many digests, and manifests that name them, are remembered from one collection to the next.
const MOST_LINKS: usize = 4 << 20;
/// What a manifest weighs in that beside the digests that it names.
const MANIFEST: usize = 12;

/// What a bucket holds, as it was listed; times are by the store's clock, in seconds. A million rows take 110 MiB.
#[derive(Debug, Default)]
pub(in crate::cache::bucket) struct Snapshot {
    /// In the order of their keys.
    tags: Vec<Entry>,
    /// In the order of their kinds and digests.
    rows: Vec<Row>,
    /// Grants of what is not there.
    orphans: BTreeMap<Object, Grants>,
}

/// An entry of a tag. Keys of one tag are in the order of time, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cache::bucket) struct Entry {
    pub(in crate::cache::bucket) key: Box<str>,
    /// How much of the key names the tag.
    pub(in crate::cache::bucket) tag: usize,
    /// What the tag was; [`None`]: it was gone.
    pub(in crate::cache::bucket) what: Option<Digest>,
    pub(in crate::cache::bucket) written: u64,
}

/// A blob or a manifest, and who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache::bucket) struct Row {
    pub(in crate::cache::bucket) object: Object,
    pub(in crate::cache::bucket) stored: Stored,
    pub(in crate::cache::bucket) grants: Grants,
}

/// A blob or a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache::bucket) struct Stored {
    pub(in crate::cache::bucket) bytes: u64,
    pub(in crate::cache::bucket) written: u64,
}

/// Who has something: not their names, but whether they are the same as at another time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cache::bucket) struct Grants {
    pub(in crate::cache::bucket) count: u32,
    /// When the newest was written.
    pub(in crate::cache::bucket) newest: u64,
    /// The sum of what their keys and dates are hashed to.
    sum: u64,
}

/// What a manifest refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cache::bucket) struct Links {
    pub(in crate::cache::bucket) refers: Vec<Object>,
    pub(in crate::cache::bucket) subject: Option<Digest>,
}

/// The beginning of a digest. What names one names all that begin so: then too much is kept, and never too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Short(u64);

/// What a manifest refers to, in few bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cache::bucket) struct ShortLinks {
    pub(super) refers: Box<[Short]>,
    pub(super) subject: Option<Short>,
    /// What it refers to may be manifests.
    pub(super) is_index: bool,
}

/// What manifests refer to: a digest names the same bytes for ever, so that none is read twice.
pub(in crate::cache::bucket) type LinkMap = HashMap<Digest, ShortLinks>;

/// What there was when it was looked first, and is to be there when it is looked again.
#[derive(Debug)]
pub(super) struct Seen {
    /// What tags are hashed to.
    tags: Vec<u64>,
    manifests: Vec<Short>,
}

impl Entry {
    /// Returns which tag it is of.
    pub(in crate::cache::bucket) fn tag(&self) -> &str {
        self.key.get(..self.tag).unwrap_or(&self.key)
    }
}

impl Short {
    pub(super) fn of(digest: &Digest) -> Self {
        let mut first = [0; 8];
        first.iter_mut().zip(digest.bytes()).for_each(|(to, from)| *to = *from);
        Self(u64::from_be_bytes(first))
    }
}

impl From<&Links> for ShortLinks {
    fn from(links: &Links) -> Self {
        let mut refers: Vec<Short> = links.refers.iter().map(|object| Short::of(&object.digest)).collect();
        refers.sort_unstable();
        refers.dedup();
        Self {
            refers: refers.into(),
            subject: links.subject.as_ref().map(Short::of),
            is_index: links.refers.iter().any(|object| object.kind == Kind::Manifest),
        }
    }
}

impl Grants {
    /// Adds one.
    pub(super) fn add(&mut self, key: &str, written: u64) {
        let mut hasher = DefaultHasher::new();
        (key, written).hash(&mut hasher);
        self.sum = self.sum.wrapping_add(hasher.finish());
        self.count = self.count.saturating_add(1);
        self.newest = self.newest.max(written);
    }
}

impl Snapshot {
    /// Puts what was listed in order.
    pub(super) fn new(mut tags: Vec<Entry>, mut rows: Vec<Row>) -> Self {
        tags.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        rows.sort_unstable_by(|a, b| place(&a.object).cmp(&place(&b.object)));
        rows.dedup_by(|a, b| a.object == b.object);
        Self { tags, rows, orphans: BTreeMap::new() }
    }

    pub(super) fn tags(&self) -> &[Entry] {
        &self.tags
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(super) const fn orphans(&self) -> &BTreeMap<Object, Grants> {
        &self.orphans
    }

    /// Returns where something is, if it is there.
    pub(super) fn find(&self, object: &Object) -> Option<usize> {
        self.rows.binary_search_by(|row| place(&row.object).cmp(&place(object))).ok()
    }

    /// Returns something, if it is there.
    pub(super) fn get(&self, object: &Object) -> Option<&Row> {
        self.rows.get(self.find(object)?)
    }

    /// Returns where those are whose digests begin so.
    pub(super) fn alike(&self, kind: Kind, short: Short) -> Range<usize> {
        let key = |row: &Row| (row.object.kind, Short::of(&row.object.digest));
        let begin = self.rows.partition_point(|row| key(row) < (kind, short));
        let alike = self.rows.iter().skip(begin).take_while(|row| key(row) == (kind, short));
        begin..begin + alike.count()
    }

    /// Takes note of who has something.
    pub(super) fn grant(&mut self, object: Object, key: &str, written: u64) {
        let row = self.find(&object).and_then(|at| self.rows.get_mut(at));
        let grants = row.map_or_else(|| self.orphans.entry(object).or_default(), |row| &mut row.grants);
        grants.add(key, written);
    }

    /// Returns who has something, whether it is there or not.
    pub(super) fn grants(&self, object: &Object) -> Grants {
        let row = self.get(object).map(|row| row.grants);
        row.or_else(|| self.orphans.get(object).copied()).unwrap_or_default()
    }

    /// Takes note that manifests have gone since they were listed.
    pub(super) fn lose(&mut self, gone: &HashSet<Digest>) {
        if gone.is_empty() {
            return;
        }
        let orphans = &mut self.orphans;
        self.rows.retain(|row| {
            let is_gone = row.object.kind == Kind::Manifest && gone.contains(&row.object.digest);
            if is_gone && row.grants.count > 0 {
                orphans.insert(row.object, row.grants);
            }
            !is_gone
        });
    }

    /// Returns the manifests that tags or grants name which are older than a time, and that are not there.
    pub(super) fn missing(&self, before: u64) -> Vec<Object> {
        let by_tags = self.tags.chunk_by(|a, b| a.tag() == b.tag()).filter_map(|entries| entries.first());
        let by_tags = by_tags.filter(|entry| entry.written < before).filter_map(|entry| entry.what);
        let by_tags = by_tags.map(Object::manifest).filter(|object| self.find(object).is_none());
        let orphans = self.orphans.iter().filter(|(_, grants)| grants.newest < before);
        let by_grants = orphans.map(|(object, _)| *object).filter(|object| object.kind == Kind::Manifest);
        let mut all: Vec<Object> = by_tags.chain(by_grants).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Returns what is to be there when it is looked again.
    pub(super) fn seen(&self) -> Seen {
        let first = self.tags.chunk_by(|a, b| a.tag() == b.tag()).filter_map(|entries| entries.first());
        let mut tags: Vec<u64> =
            first.filter(|entry| entry.what.is_some()).map(|entry| hash(entry.tag())).collect();
        tags.sort_unstable();
        let manifests = self.rows.iter().filter(|row| row.object.kind == Kind::Manifest);
        Seen { tags, manifests: manifests.map(|row| Short::of(&row.object.digest)).collect() }
    }

    /// Returns what was there before, and is not listed now.
    pub(super) fn lacks(&self, seen: &Seen) -> Option<&'static str> {
        let mut now: Vec<u64> = self.tags.iter().map(|entry| hash(entry.tag())).collect();
        now.sort_unstable();
        if seen.tags.iter().any(|tag| now.binary_search(tag).is_err()) {
            return Some("tag");
        }
        let is_missing = |short: &Short| self.alike(Kind::Manifest, *short).is_empty();
        seen.manifests.iter().any(is_missing).then_some("manifest")
    }
}

/// Forgets what manifests refer to that are not there any more, and what is too much.
pub(super) fn remember(links: &mut LinkMap, snapshot: &Snapshot) {
    let mut left = MOST_LINKS;
    links.retain(|digest, links| {
        let weight = MANIFEST + links.refers.len();
        let stays = weight <= left && snapshot.find(&Object::manifest(*digest)).is_some();
        left -= if stays { weight } else { 0 };
        stays
    });
    links.shrink_to_fit();
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Returns what rows are in the order of.
fn place(object: &Object) -> (Kind, Short, &Digest) {
    (object.kind, Short::of(&object.digest), &object.digest)
}
