#![expect(clippy::disallowed_methods, reason = "says how old a thing is")]

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::list::timestamp;
use super::parts::{fits_digest, fits_repository, fits_tag, image, parts, reachable};
use super::tier::TierName;
use crate::cache::Glob;
use crate::cache::store::{Kind, Listed, Object, Origin, Store, TagRecord};

/// Asks to remove what is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::cache) struct Prune {
    /// What is removed.
    pub(in crate::cache) target: PruneTarget,
    /// Whether it is only said what would be removed.
    pub(in crate::cache) dry_run: bool,
    /// Where.
    #[serde(default, skip_serializing_if = "TierName::is_local")]
    pub(in crate::cache) tier: TierName,
}

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) enum PruneTarget {
    /// Images whose name fits one of these.
    Named(Vec<Glob>),
    /// What was not asked for during this time.
    UnusedFor(Duration),
    /// Everything.
    All,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct Pruned {
    /// Whether nothing was removed.
    pub(in crate::cache) dry_run: bool,
    /// Tags, with registry and repository.
    pub(in crate::cache) tags: Vec<String>,
    /// How many blobs and manifests.
    pub(in crate::cache) objects: u64,
    /// Their bytes.
    pub(in crate::cache) bytes: u64,
    /// How much of that was in which tier.
    #[serde(default)]
    pub(in crate::cache) tiers: Vec<TierPruned>,
    /// How much of what is named is younger than a day, and stays in the bucket.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(in crate::cache) young: usize,
    /// How much could not be removed from the bucket, each with what it refers to.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(in crate::cache) failed: usize,
    /// Why that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cache) trouble: Option<String>,
}

/// What was removed from a tier, or would be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cache) struct TierPruned {
    /// The tier.
    pub(in crate::cache) tier: TierName,
    /// How many tags.
    pub(in crate::cache) tags: usize,
    /// How many blobs and manifests.
    pub(in crate::cache) objects: u64,
    /// Their bytes.
    pub(in crate::cache) bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
const fn is_none(count: &usize) -> bool {
    *count == 0
}

impl Pruned {
    /// Makes one of what was removed from a tier.
    pub(super) fn of(tier: TierName, dry_run: bool, tags: Vec<String>, objects: u64, bytes: u64) -> Self {
        let tiers = vec![TierPruned { tier, tags: tags.len(), objects, bytes }];
        Self { dry_run, tags, objects, bytes, tiers, ..Self::default() }
    }

    /// Adds what was removed from another tier.
    pub(in crate::cache) fn and(mut self, other: Self) -> Self {
        self.tags.extend(other.tags);
        self.tags.sort_unstable();
        self.tags.dedup();
        self.tiers.extend(other.tiers);
        let (objects, bytes) = (self.objects + other.objects, self.bytes + other.bytes);
        Self { tags: self.tags, tiers: self.tiers, objects, bytes, ..other }
    }
}

impl PruneTarget {
    /// Returns whether a tag goes.
    fn takes_tag(&self, record: &TagRecord) -> bool {
        match self {
            Self::Named(globs) => fits_tag(globs, record),
            // It leads to what is not there any more, and is fetched again when a client asks for it.
            Self::UnusedFor(_) => false,
            Self::All => true,
        }
    }

    /// Returns whether a blob or a manifest goes, whatever images it is part of.
    fn takes(&self, listed: &Listed, origins: &[Origin], now: Timestamp) -> bool {
        match self {
            Self::Named(globs) => {
                let fits = |origin: &Origin| fits_repository(globs, origin);
                !origins.is_empty() && origins.iter().all(fits)
            }
            Self::UnusedFor(time) => {
                let age = Duration::try_from(now.duration_since(timestamp(listed.used_at)));
                age.is_ok_and(|age| age >= *time)
            }
            Self::All => true,
        }
    }
}

/// Removes what is wanted, and returns what that was.
pub(super) async fn prune(store: &dyn Store, wanted: &Prune) -> io::Result<Pruned> {
    let (target, dry_run, now) = (&wanted.target, wanted.dry_run, Timestamp::now());
    let (gone, stay): (Vec<_>, Vec<_>) =
        store.tags().await?.into_iter().partition(|record| target.takes_tag(record));
    let all = store.list().await?;
    let own = match target {
        PruneTarget::Named(globs) => only_needed_by(store, globs, &all, &gone, &stay).await?,
        PruneTarget::UnusedFor(_) | PruneTarget::All => HashSet::new(),
    };
    let mut tags = Vec::new();
    for record in gone {
        tags.push(image(&record));
        if !dry_run {
            store.remove_tag(&record.origin, &record.tag).await?;
        }
    }
    tags.sort_unstable();
    let (mut objects, mut bytes) = (0u64, 0);
    for listed in all {
        let origins = store.origins(&listed.object).await?;
        let goes = own.contains(&listed.object) || target.takes(&listed, &origins, now);
        if goes && (dry_run || store.remove(&listed.object).await?) {
            objects += 1;
            bytes += listed.size;
        }
    }
    Ok(Pruned::of(TierName::Local, dry_run, tags, objects, bytes))
}

/// Returns the blobs and manifests that tags or names of digests lead to, and that nothing else needs: no other tag, no manifest that was
/// pulled by its digest, and no other repository.
async fn only_needed_by(
    store: &dyn Store,
    globs: &[Glob],
    all: &[Listed],
    gone: &[TagRecord],
    stay: &[TagRecord],
) -> io::Result<HashSet<Object>> {
    let parts = parts(store, all).await?;
    let tagged = |records: &[TagRecord]| -> Vec<Object> {
        records.iter().map(|record| Object::manifest(record.digest)).collect()
    };
    let mut named = tagged(gone);
    let mut repositories: HashSet<Origin> = gone.iter().map(|record| record.origin.clone()).collect();
    for listed in all.iter().filter(|listed| listed.object.kind == Kind::Manifest) {
        for origin in store.origins(&listed.object).await? {
            if fits_digest(globs, &origin, &listed.object) {
                named.push(listed.object);
                repositories.insert(origin);
            }
        }
    }
    let mut own = reachable(named, &parts);
    let mut roots = tagged(stay);
    for listed in all {
        let object = listed.object;
        let is_shared = store.origins(&object).await?.iter().any(|origin| !repositories.contains(origin));
        if is_shared || (object.kind == Kind::Manifest && !own.contains(&object)) {
            roots.push(object);
        }
    }
    for object in reachable(roots, &parts) {
        own.remove(&object);
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;

    fn origin(name: &str) -> Origin {
        let (registry, repository) = name.split_once('/').unwrap();
        Origin { registry: registry.parse().unwrap(), repository: repository.parse().unwrap() }
    }

    #[test]
    fn what_is_shared_stays() {
        let named = PruneTarget::Named(vec!["ghcr.io/old/*".parse().unwrap()]);
        let listed = Listed { object: Object::blob(Digest::sha256([0; 32])), size: 1, used_at: 100, hits: 0 };
        let now = timestamp(200);
        let takes = |origins: &[&str]| {
            let origins: Vec<Origin> = origins.iter().map(|name| origin(name)).collect();
            named.takes(&listed, &origins, now)
        };
        assert!(takes(&["ghcr.io/old/a", "ghcr.io/old/b"]));
        assert!(!takes(&["ghcr.io/old/a", "ghcr.io/new/b"]));
        assert!(!takes(&[]));
        let unused = |seconds| PruneTarget::UnusedFor(Duration::from_secs(seconds)).takes(&listed, &[], now);
        assert_eq!((unused(100), unused(101)), (true, false));
    }
}
