use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::timing::Timing;
use crate::cache::store::{Kind, Object};
use crate::image::Digest;

/// What a bucket holds, as it was listed; times are by the store's clock, in seconds.
#[derive(Clone, Debug, Default)]
pub(in crate::cache::bucket) struct Snapshot {
    pub(in crate::cache::bucket) tags: Vec<Entry>,
    pub(in crate::cache::bucket) objects: BTreeMap<Object, Stored>,
    /// The keys of grants, and when they were written.
    pub(in crate::cache::bucket) grants: BTreeMap<Object, BTreeMap<String, u64>>,
    /// What manifests refer to.
    pub(in crate::cache::bucket) links: HashMap<Digest, Links>,
}

/// An entry of a tag. Keys of one tag are in the order of time, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cache::bucket) struct Entry {
    /// Which tag it is of.
    pub(in crate::cache::bucket) tag: String,
    pub(in crate::cache::bucket) key: String,
    /// What the tag was; [`None`]: it was gone.
    pub(in crate::cache::bucket) what: Option<Digest>,
    pub(in crate::cache::bucket) written: u64,
}

/// A blob or a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache::bucket) struct Stored {
    pub(in crate::cache::bucket) bytes: u64,
    pub(in crate::cache::bucket) written: u64,
}

/// What a manifest refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cache::bucket) struct Links {
    pub(in crate::cache::bucket) refers: Vec<Object>,
    pub(in crate::cache::bucket) subject: Option<Digest>,
}

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

/// What is condemned, by what may refer to what.
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

/// What is to be taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cache::bucket) struct Plan {
    /// What is condemned, in the order in which it goes.
    pub(in crate::cache::bucket) condemned: Vec<Unit>,
    /// Entries that say what a tag was before, in the order in which they go.
    pub(in crate::cache::bucket) superseded: Vec<String>,
    /// How many bytes the condemned things have.
    pub(in crate::cache::bucket) bytes: u64,
    /// How many bytes are kept.
    pub(in crate::cache::bucket) kept_bytes: u64,
    /// How many blobs and manifests are kept.
    pub(in crate::cache::bucket) kept: usize,
}

struct Root<'a> {
    time: u64,
    manifest: Digest,
    entry: Option<&'a Entry>,
}

struct Graph<'a> {
    snapshot: &'a Snapshot,
    referrers: HashMap<Digest, Vec<Digest>>,
}

impl Graph<'_> {
    /// Returns a manifest and all that belongs to it, as far as it is there.
    fn closure(&self, manifest: Digest) -> BTreeSet<Object> {
        let (mut found, mut left) = (BTreeSet::new(), vec![Object::manifest(manifest)]);
        while let Some(object) = left.pop() {
            if !self.snapshot.objects.contains_key(&object) || !found.insert(object) {
                continue;
            }
            if object.kind == Kind::Manifest {
                let links = self.snapshot.links.get(&object.digest);
                left.extend(links.into_iter().flat_map(|links| links.refers.iter().copied()));
                let referrers = self.referrers.get(&object.digest).into_iter().flatten();
                left.extend(referrers.map(|digest| Object::manifest(*digest)));
            }
        }
        found
    }
}

/// Decides what is garbage at a time.
pub(in crate::cache::bucket) fn plan(snapshot: &Snapshot, now: u64, limits: Limits, timing: &Timing) -> Plan {
    let grace = timing.grace.as_secs();
    let is_young = |written: u64| now.saturating_sub(written) <= grace;
    let mut graph = Graph { snapshot, referrers: HashMap::new() };
    let mut has_parent = HashSet::new();
    for (digest, links) in &snapshot.links {
        if let Some(subject) = links.subject {
            graph.referrers.entry(subject).or_default().push(*digest);
            if snapshot.objects.contains_key(&Object::manifest(subject)) {
                has_parent.insert(*digest);
            }
        }
        let manifests = links.refers.iter().filter(|object| object.kind == Kind::Manifest);
        has_parent.extend(manifests.map(|object| object.digest));
    }
    let mut tags: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in &snapshot.tags {
        tags.entry(&entry.tag).or_default().push(entry);
    }
    let mut plan = Plan::default();
    let (mut roots, mut tagged) = (Vec::new(), HashSet::new());
    let time_of = |manifest: Digest| {
        let closure = graph.closure(manifest);
        let manifests = closure.iter().filter(|object| object.kind == Kind::Manifest);
        manifests.filter_map(|object| snapshot.objects.get(object)).map(|stored| stored.written).max()
    };
    for entries in tags.values_mut() {
        entries.sort_by(|a, b| b.key.cmp(&a.key));
        let Some((newest, older)) = entries.split_last() else { continue };
        let old = older.iter().filter(|entry| !is_young(entry.written));
        plan.superseded.extend(old.map(|entry| entry.key.clone()));
        match newest.what {
            Some(manifest) => {
                tagged.insert(manifest);
                let time = time_of(manifest).unwrap_or(0).max(newest.written);
                roots.push(Root { time, manifest, entry: Some(newest) });
            }
            // Older entries would count again without it: it goes once they have gone.
            None if older.is_empty() && !is_young(newest.written) => plan.superseded.push(newest.key.clone()),
            None => {}
        }
    }
    let mut live: BTreeSet<Object> = BTreeSet::new();
    for (object, stored) in &snapshot.objects {
        let granted = snapshot.grants.get(object).and_then(|grants| grants.values().max()).copied();
        if is_young(stored.written.max(granted.unwrap_or(0))) {
            match object.kind {
                Kind::Blob => drop(live.insert(*object)),
                Kind::Manifest => live.extend(graph.closure(object.digest)),
            }
        }
        let is_root = object.kind == Kind::Manifest
            && !tagged.contains(&object.digest)
            && !has_parent.contains(&object.digest);
        if is_root && let Some(time) = time_of(object.digest) {
            roots.push(Root { time, manifest: object.digest, entry: None });
        }
    }
    roots.sort_by_key(|root| std::cmp::Reverse((root.time, root.manifest)));
    let size = |object: &Object| snapshot.objects.get(object).map_or(0, |stored| stored.bytes);
    let mut total: u64 = live.iter().map(size).sum();
    let most = limits.bytes.filter(|_| now.saturating_sub(limits.since) >= limits.every.as_secs());
    let mut is_full = false;
    for root in &roots {
        let age = now.saturating_sub(root.time.max(limits.since));
        let is_aged = limits.age.is_some_and(|limit| age > limit.as_secs().max(grace));
        let is_forgotten = root.entry.is_none() && age > timing.untagged.as_secs().max(grace);
        let closure = graph.closure(root.manifest);
        let more: u64 = closure.difference(&live).map(size).sum();
        is_full |= most.is_some_and(|limit| total.saturating_add(more) > limit) && more > 0;
        if is_aged || is_forgotten || is_full {
            let entry = root.entry.filter(|entry| !is_young(entry.written));
            plan.condemned.extend(entry.map(|entry| Unit::Tag(entry.key.clone())));
            continue;
        }
        total += more;
        live.extend(closure);
    }
    let dead = snapshot.objects.keys().filter(|object| !live.contains(object));
    plan.condemned.extend(dead.map(|object| Unit::Object(*object)));
    plan.kept = live.len();
    plan.bytes = snapshot.objects.keys().filter(|object| !live.contains(object)).map(size).sum();
    plan.kept_bytes = total;
    let orphans = snapshot.grants.iter().filter(|(object, grants)| {
        !snapshot.objects.contains_key(object) && !grants.values().any(|written| is_young(*written))
    });
    plan.condemned.extend(orphans.map(|(object, _)| Unit::Object(*object)));
    plan.condemned.sort_by_key(|unit| rank(snapshot, unit));
    plan
}

/// Returns in which order something goes: what refers to something is never left where that is taken away.
pub(in crate::cache::bucket) fn rank(snapshot: &Snapshot, unit: &Unit) -> Rank {
    let object = match unit {
        Unit::Tag(_) => return Rank::Tag,
        Unit::Object(object) => object,
    };
    match object.kind {
        _ if !snapshot.objects.contains_key(object) => Rank::Grants,
        Kind::Blob => Rank::Blob,
        Kind::Manifest => {
            let links = snapshot.links.get(&object.digest);
            let is_index =
                links.is_some_and(|links| links.refers.iter().any(|one| one.kind == Kind::Manifest));
            if is_index { Rank::Index } else { Rank::Manifest }
        }
    }
}

/// Returns what of the condemned things is still garbage, and was neither written nor granted meanwhile.
pub(in crate::cache::bucket) fn sweep(
    first: &Plan,
    before: &Snapshot,
    second: &Plan,
    after: &Snapshot,
) -> Vec<Unit> {
    let still: HashSet<&Unit> = second.condemned.iter().collect();
    let is_same = |unit: &&Unit| match unit {
        Unit::Tag(_) => true,
        Unit::Object(object) => {
            before.objects.get(object) == after.objects.get(object)
                && before.grants.get(object) == after.grants.get(object)
        }
    };
    first.condemned.iter().filter(|unit| still.contains(unit)).filter(is_same).cloned().collect()
}

#[cfg(test)]
#[path = "mark_tests.rs"]
mod tests;
