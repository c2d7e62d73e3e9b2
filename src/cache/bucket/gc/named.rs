use std::collections::HashSet;
use std::sync::Arc;

use super::mark::{Graph, Judged, Limits, Live, judge};
use super::snapshot::{LinkMap, Snapshot};
use super::timing::Timing;
use crate::cache::store::{Kind, Object};

/// What somebody wants to have removed from a bucket: it goes as far as nothing else needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cache) struct Named {
    /// The beginnings of the keys of tags' entries.
    pub(in crate::cache) tags: HashSet<String>,
    /// Blobs and manifests.
    pub(in crate::cache) objects: HashSet<Object>,
}

/// What a collection takes away.
#[derive(Clone, Debug)]
pub(in crate::cache::bucket) enum What {
    /// What no image needs, and what is more than may be kept.
    Garbage(Limits),
    /// What is named, and nothing else.
    Named(Arc<Named>),
}

impl From<Limits> for What {
    fn from(limits: Limits) -> Self {
        Self::Garbage(limits)
    }
}

impl What {
    /// Decides what goes at a time.
    pub(super) fn judge(&self, snapshot: &Snapshot, links: &LinkMap, now: u64, timing: &Timing) -> Judged {
        match self {
            Self::Garbage(limits) => judge(snapshot, links, now, *limits, timing),
            Self::Named(named) => judge_named(snapshot, links, now, named, timing),
        }
    }
}

/// Decides what of the things that are named goes.
///
/// All that is not named stays, with all that belongs to it, and so does what was written or granted, or what a tag was said to
/// stand for, less than the grace ago. So it does no harm that things were named by what was in the bucket some minutes before:
/// what came since is young.
fn judge_named(snapshot: &Snapshot, links: &LinkMap, now: u64, named: &Named, timing: &Timing) -> Judged {
    let grace = timing.grace.as_secs();
    let is_young = |written: u64| now.saturating_sub(written) <= grace;
    let (mut graph, rows) = (Graph::new(snapshot, links), snapshot.rows());
    let mut live = Live::new(rows);
    let (mut tags, mut superseded, mut first, mut young) = (Vec::new(), Vec::new(), 0, 0);
    for entries in snapshot.tags().chunk_by(|a, b| a.tag() == b.tag()) {
        let at = first;
        first += entries.len();
        let Some((newest, older)) = entries.split_first() else { continue };
        let Some(digest) = newest.what else { continue };
        let is_named = named.tags.contains(newest.tag());
        // An older entry that stayed would count again.
        let is_kept = entries.iter().any(|entry| is_young(entry.written));
        if is_named && !is_kept {
            tags.push(at);
            superseded.extend((1..=older.len()).rev().map(|n| at + n));
            continue;
        }
        young += usize::from(is_named);
        if let Some(row) = snapshot.find(&Object::manifest(digest)) {
            live.add(graph.closure(row));
        }
    }
    for (at, row) in rows.iter().enumerate() {
        let is_named = named.objects.contains(&row.object);
        let is_kept = is_young(row.stored.written.max(row.grants.newest));
        if is_named && !is_kept {
            continue;
        }
        young += usize::from(is_named);
        live.add(match row.object.kind {
            Kind::Manifest => graph.closure(at),
            Kind::Blob => vec![at],
        });
    }
    live.judged(tags, superseded, Vec::new(), young)
}
