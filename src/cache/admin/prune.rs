#![expect(clippy::disallowed_methods, reason = "says how old a thing is")]

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::list::timestamp;
use crate::cache::Glob;
use crate::cache::store::{Kind, Listed, Object, Origin, Store, TagRecord};
use crate::image::Digest;
use crate::oci::Manifest;

/// Asks to remove what is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::cache) struct Prune {
    /// What is removed.
    pub(in crate::cache) target: PruneTarget,
    /// Whether it is only said what would be removed.
    pub(in crate::cache) dry_run: bool,
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
#[derive(Clone, Debug, Serialize, Deserialize)]
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
}

impl PruneTarget {
    /// Returns whether a tag goes.
    fn takes_tag(&self, record: &TagRecord) -> bool {
        match self {
            Self::Named(globs) => {
                let repository = format!("{}/{}", record.origin.registry, record.origin.repository);
                let image = format!("{repository}:{}", record.tag);
                globs.iter().any(|glob| glob.matches(&image) || glob.matches(&repository))
            }
            // It leads to what is not there any more, and is fetched again when a client asks for it.
            Self::UnusedFor(_) => false,
            Self::All => true,
        }
    }

    /// Returns whether a blob or a manifest goes.
    fn takes(&self, listed: &Listed, origins: &[Origin], now: Timestamp) -> bool {
        match self {
            Self::Named(globs) => {
                let fits = |origin: &Origin| {
                    let name = format!("{}/{}", origin.registry, origin.repository);
                    globs.iter().any(|glob| glob.matches(&name))
                };
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
    let (mut tags, mut gone, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for record in store.tags().await? {
        if target.takes_tag(&record) {
            gone.push(record.digest);
            tags.push(format!("{}/{}:{}", record.origin.registry, record.origin.repository, record.tag));
            if !dry_run {
                store.remove_tag(&record.origin, &record.tag).await?;
            }
        } else {
            kept.push(record.digest);
        }
    }
    tags.sort_unstable();
    let listed = store.list().await?;
    let only = only_of(store, &listed, &gone, &kept).await?;
    let (mut objects, mut bytes) = (0u64, 0);
    for listed in listed {
        let origins = store.origins(&listed.object).await?;
        let goes = only.contains(&listed.object) || target.takes(&listed, &origins, now);
        if goes && (dry_run || store.remove(&listed.object).await?) {
            objects += 1;
            bytes += listed.size;
        }
    }
    Ok(Pruned { dry_run, tags, objects, bytes })
}

/// Returns what only the images of tags that go need: nothing that another image lists which is stored, with a tag or
/// without.
async fn only_of(
    store: &dyn Store,
    listed: &[Listed],
    gone: &[Digest],
    kept: &[Digest],
) -> io::Result<HashSet<Object>> {
    if gone.is_empty() {
        return Ok(HashSet::new());
    }
    let needed = parts(store, gone).await?;
    let others = listed.iter().map(|listed| listed.object).filter(|object| object.kind == Kind::Manifest);
    let others = others.filter(|object| !needed.contains(object)).map(|object| object.digest);
    let roots: Vec<Digest> = others.chain(kept.iter().copied()).collect();
    let still_needed = parts(store, &roots).await?;
    Ok(needed.difference(&still_needed).copied().collect())
}

/// Returns all manifests and blobs of images, as far as their manifests are stored.
async fn parts(store: &dyn Store, images: &[Digest]) -> io::Result<HashSet<Object>> {
    let mut seen = HashSet::new();
    let mut queue: Vec<Object> = images.iter().map(|digest| Object::manifest(*digest)).collect();
    while let Some(object) = queue.pop() {
        if !seen.insert(object) || object.kind != Kind::Manifest {
            continue;
        }
        let Some(document) = store.manifest(&object.digest).await? else { continue };
        if let Ok(manifest) = Manifest::parse(&document.bytes, Some(&document.media_type)) {
            queue.extend(manifest.children().iter().map(|child| Object::manifest(child.digest)));
            queue.extend(manifest.blobs().map(|blob| Object::blob(blob.digest)));
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

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
