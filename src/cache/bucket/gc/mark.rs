use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::snapshot::{Entry, Grants, LinkMap, Row, Short, Snapshot, Stored};
use super::timing::Timing;
use crate::cache::store::{Kind, Object};
use crate::image::Digest;

/// What is to be kept at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cache::bucket) struct Limits {
    /// Images that were not written or renewed for so long go.
    pub(in crate::cache::bucket) age: Option<Duration>,
    /// How many bytes may be kept: the oldest images go first.
    pub(in crate::cache::bucket) bytes: Option<u64>,
    /// Since when caches write what is in use again, by the store's clock: what was out of use before, nobody knows.
    pub(in crate::cache::bucket) since: u64,
    /// How often they do: before so long has passed, the oldest may be what is in use.
    pub(in crate::cache::bucket) every: Duration,
}

/// What is condemned as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::cache::bucket) enum Unit {
    /// An entry of a tag, by its key.
    Tag(String),
    /// A blob or a manifest, and its grants.
    Object(Object),
}

/// What is condemned, by what may refer to what: what refers to something is never left where that is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cache::bucket) enum Rank {
    Tag,
    /// A manifest that refers to manifests.
    Index,
    Manifest,
    Blob,
    /// Of what is not there.
    Grants,
}

/// What is condemned, as it was when that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cache::bucket) struct Condemned {
    pub(in crate::cache::bucket) unit: Unit,
    pub(in crate::cache::bucket) rank: Rank,
    /// What a tag stands for.
    pub(in crate::cache::bucket) what: Option<Digest>,
    pub(in crate::cache::bucket) stored: Option<Stored>,
    pub(in crate::cache::bucket) grants: Grants,
}

/// What is to be taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cache::bucket) struct Plan {
    /// What is condemned, in the order in which it goes.
    pub(in crate::cache::bucket) condemned: Vec<Condemned>,
    /// How much would be condemned besides.
    pub(in crate::cache::bucket) left: usize,
    /// Entries that say what a tag was before, in the order in which they go.
    pub(in crate::cache::bucket) superseded: Vec<String>,
}

/// What of a bucket is garbage.
#[derive(Debug)]
pub(in crate::cache::bucket) struct Judged {
    /// Which rows stay.
    live: Vec<bool>,
    /// Which entries of tags go with their images.
    tags: Vec<usize>,
    /// Which say what a tag was before.
    superseded: Vec<usize>,
    /// What is not there, and has grants that are not young; in their order.
    orphans: Vec<Object>,
    /// How many bytes are kept.
    pub(in crate::cache::bucket) kept_bytes: u64,
    /// How many blobs and manifests are kept.
    pub(in crate::cache::bucket) kept: usize,
    /// How much was named, and is too young to go.
    pub(in crate::cache::bucket) young: usize,
}

struct Root {
    time: u64,
    digest: Digest,
    row: Option<usize>,
    entry: Option<usize>,
}

/// What refers to what, as far as it is there.
pub(super) struct Graph<'a> {
    snapshot: &'a Snapshot,
    links: &'a LinkMap,
    referrers: HashMap<Short, Vec<usize>>,
    has_parent: Vec<bool>,
    /// In which search a row was found last.
    found: Vec<u32>,
    searches: u32,
}

impl<'a> Graph<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, links: &'a LinkMap) -> Self {
        let rows = snapshot.rows();
        let mut own = Self {
            snapshot,
            links,
            referrers: HashMap::new(),
            has_parent: vec![false; rows.len()],
            found: vec![0; rows.len()],
            searches: 0,
        };
        for (at, row) in rows.iter().enumerate().filter(|(_, row)| row.object.kind == Kind::Manifest) {
            let Some(links) = links.get(&row.object.digest) else { continue };
            if let Some(subject) = links.subject {
                own.referrers.entry(subject).or_default().push(at);
                if !snapshot.alike(Kind::Manifest, subject).is_empty() {
                    own.set_parent(at);
                }
            }
            if links.is_index {
                for short in &links.refers {
                    snapshot.alike(Kind::Manifest, *short).for_each(|at| own.set_parent(at));
                }
            }
        }
        own
    }

    fn set_parent(&mut self, at: usize) {
        if let Some(has) = self.has_parent.get_mut(at) {
            *has = true;
        }
    }

    /// Returns a row and all that belong to it.
    pub(super) fn closure(&mut self, row: usize) -> Vec<usize> {
        self.searches += 1;
        let (mut all, mut left) = (Vec::new(), vec![row]);
        while let Some(at) = left.pop() {
            let (Some(row), Some(found)) = (self.snapshot.rows().get(at), self.found.get_mut(at)) else {
                continue;
            };
            if *found == self.searches {
                continue;
            }
            *found = self.searches;
            all.push(at);
            if row.object.kind == Kind::Blob {
                continue;
            }
            if let Some(links) = self.links.get(&row.object.digest) {
                for short in &links.refers {
                    left.extend(self.snapshot.alike(Kind::Blob, *short));
                    if links.is_index {
                        left.extend(self.snapshot.alike(Kind::Manifest, *short));
                    }
                }
            }
            let referrers = self.referrers.get(&Short::of(&row.object.digest));
            left.extend(referrers.into_iter().flatten());
        }
        all
    }

    /// Returns when the youngest manifest of an image was written.
    fn time(&mut self, row: usize) -> u64 {
        let closure = self.closure(row);
        let rows = closure.into_iter().filter_map(|at| self.snapshot.rows().get(at));
        let manifests = rows.filter(|row| row.object.kind == Kind::Manifest);
        manifests.map(|row| row.stored.written).max().unwrap_or(0)
    }
}

/// What stays.
pub(super) struct Live<'a> {
    rows: &'a [Row],
    stays: Vec<bool>,
    bytes: u64,
    count: usize,
}

impl<'a> Live<'a> {
    pub(super) fn new(rows: &'a [Row]) -> Self {
        Self { rows, stays: vec![false; rows.len()], bytes: 0, count: 0 }
    }

    /// Returns what of a bucket is garbage then.
    pub(super) fn judged(
        self,
        tags: Vec<usize>,
        superseded: Vec<usize>,
        orphans: Vec<Object>,
        young: usize,
    ) -> Judged {
        let (kept_bytes, kept) = (self.bytes, self.count);
        Judged { live: self.stays, tags, superseded, orphans, kept_bytes, kept, young }
    }

    pub(super) fn add(&mut self, rows: Vec<usize>) {
        for at in rows {
            if let (Some(is_live), Some(row)) = (self.stays.get_mut(at), self.rows.get(at))
                && !std::mem::replace(is_live, true)
            {
                self.count += 1;
                self.bytes += row.stored.bytes;
            }
        }
    }
}

/// Decides what is garbage at a time.
pub(in crate::cache::bucket) fn judge(
    snapshot: &Snapshot,
    links: &LinkMap,
    now: u64,
    limits: Limits,
    timing: &Timing,
) -> Judged {
    let grace = timing.grace.as_secs();
    let is_young = |written: u64| now.saturating_sub(written) <= grace;
    let mut graph = Graph::new(snapshot, links);
    let rows = snapshot.rows();
    let (mut roots, mut tagged) = (Vec::new(), HashSet::new());
    let (mut tags, mut superseded, mut first) = (Vec::new(), Vec::new(), 0);
    for entries in snapshot.tags().chunk_by(|a, b| a.tag() == b.tag()) {
        let at = first;
        first += entries.len();
        let Some((newest, older)) = entries.split_first() else { continue };
        let old = older.iter().enumerate().rev().filter(|(_, entry)| !is_young(entry.written));
        superseded.extend(old.map(|(n, _)| at + 1 + n));
        match newest.what {
            Some(digest) => {
                let row = snapshot.find(&Object::manifest(digest));
                tagged.extend(row);
                let time = row.map_or(0, |row| graph.time(row)).max(newest.written);
                roots.push(Root { time, digest, row, entry: Some(at) });
            }
            // Older entries would count again without it: it goes once they have gone.
            None if older.is_empty() && !is_young(newest.written) => superseded.push(at),
            None => {}
        }
    }
    let mut live = Live::new(rows);
    for (at, row) in rows.iter().enumerate() {
        let is_manifest = row.object.kind == Kind::Manifest;
        if is_young(row.stored.written.max(row.grants.newest)) {
            let all = if is_manifest { graph.closure(at) } else { vec![at] };
            live.add(all);
        }
        let has_parent = graph.has_parent.get(at).is_some_and(|has| *has);
        if is_manifest && !has_parent && !tagged.contains(&at) {
            let time = graph.time(at);
            roots.push(Root { time, digest: row.object.digest, row: Some(at), entry: None });
        }
    }
    roots.sort_by_key(|root| std::cmp::Reverse((root.time, root.digest)));
    let most = limits.bytes.filter(|_| now.saturating_sub(limits.since) >= limits.every.as_secs());
    let mut is_full = false;
    for root in &roots {
        let age = now.saturating_sub(root.time.max(limits.since));
        let is_aged = limits.age.is_some_and(|limit| age > limit.as_secs().max(grace));
        let is_forgotten = root.entry.is_none() && age > timing.untagged.as_secs().max(grace);
        let mut closure = root.row.map(|row| graph.closure(row)).unwrap_or_default();
        closure.retain(|at| live.stays.get(*at) == Some(&false));
        let more: u64 = closure.iter().filter_map(|at| rows.get(*at)).map(|row| row.stored.bytes).sum();
        is_full |= most.is_some_and(|limit| live.bytes.saturating_add(more) > limit) && more > 0;
        if is_aged || is_forgotten || is_full {
            let entry = |at: &usize| snapshot.tags().get(*at).is_some_and(|entry| !is_young(entry.written));
            tags.extend(root.entry.filter(entry));
            continue;
        }
        live.add(closure);
    }
    let orphans = snapshot.orphans().iter().filter(|(_, grants)| !is_young(grants.newest));
    let orphans = orphans.map(|(object, _)| *object).collect();
    live.judged(tags, superseded, orphans, 0)
}

impl Judged {
    /// Says what is to go, of what is condemned so much at most.
    pub(in crate::cache::bucket) fn plan(&self, snapshot: &Snapshot, links: &LinkMap, most: usize) -> Plan {
        let mut dead: Vec<(Rank, usize)> = Vec::new();
        for (at, (row, is_live)) in snapshot.rows().iter().zip(&self.live).enumerate() {
            if !is_live {
                dead.push((rank(&row.object, links), at));
            }
        }
        dead.sort_unstable();
        let entry = |at: &usize| snapshot.tags().get(*at);
        let tag = |entry: &Entry| Condemned {
            unit: Unit::Tag(entry.key.to_string()),
            rank: Rank::Tag,
            what: entry.what,
            stored: None,
            grants: Grants::default(),
        };
        let tags = self.tags.iter().filter_map(entry).map(tag);
        let rows = dead.iter().filter_map(|(rank, at)| {
            let row = snapshot.rows().get(*at)?;
            let (stored, grants) = (Some(row.stored), row.grants);
            Some(Condemned { unit: Unit::Object(row.object), rank: *rank, what: None, stored, grants })
        });
        let orphans = self.orphans.iter().map(|object| Condemned {
            unit: Unit::Object(*object),
            rank: Rank::Grants,
            what: None,
            stored: None,
            grants: snapshot.grants(object),
        });
        let all = self.tags.len() + dead.len() + self.orphans.len();
        Plan {
            condemned: tags.chain(rows).chain(orphans).take(most).collect(),
            left: all.saturating_sub(most),
            superseded: self.superseded.iter().filter_map(entry).map(|entry| entry.key.to_string()).collect(),
        }
    }

    /// Returns what of the condemned things is still garbage, and was neither written nor granted meanwhile.
    pub(in crate::cache::bucket) fn sweep(&self, first: Plan, after: &Snapshot) -> Vec<Condemned> {
        let tags = self.tags.iter().filter_map(|at| after.tags().get(*at));
        let tags: HashSet<&str> = tags.map(|entry| &*entry.key).collect();
        let is_still = |one: &Condemned| match &one.unit {
            Unit::Tag(key) => tags.contains(key.as_str()),
            Unit::Object(object) => {
                let row = after.find(object);
                let is_dead = match row {
                    Some(row) => self.live.get(row) == Some(&false),
                    None => self.orphans.binary_search(object).is_ok(),
                };
                let stored = after.get(object).map(|row| row.stored);
                is_dead && stored == one.stored && after.grants(object) == one.grants
            }
        };
        first.condemned.into_iter().filter(is_still).collect()
    }
}

/// Returns in which order a thing goes that is there.
fn rank(object: &Object, links: &LinkMap) -> Rank {
    match object.kind {
        Kind::Blob => Rank::Blob,
        Kind::Manifest if links.get(&object.digest).is_some_and(|links| links.is_index) => Rank::Index,
        Kind::Manifest => Rank::Manifest,
    }
}

#[cfg(test)]
#[path = "mark_tests.rs"]
mod tests;
