#![expect(clippy::disallowed_methods, reason = "says how old a thing is")]

use std::collections::{HashMap, HashSet};

use futures_util::FutureExt as _;
use jiff::Timestamp;

use super::parts::{fits_digest, fits_repository, fits_tag, image, reachable};
use super::prune::{Prune, PruneTarget, Pruned};
use super::tier::TierName;
use crate::cache::Glob;
use crate::cache::bucket::{CollectionError, Contents, HeldTag, Named, Origins, Removed, Tell};
use crate::cache::store::{Kind, Listed, Object, Origin};

/// Removes from a bucket what is wanted and nothing else needs, as a collection does; ends early when `stop` does.
pub(in crate::cache) async fn prune_bucket(
    contents: &Contents,
    wanted: &Prune,
    stop: impl Future<Output = ()> + Send,
    tell: Tell<'_>,
) -> Result<Pruned, CollectionError> {
    let stop = stop.shared();
    let (named, tags) = tokio::select! {
        named = select(contents, wanted, tell) => named?,
        () = stop.clone() => return Err(CollectionError::Stopped(contents.url().to_owned())),
    };
    let removed = if named.tags.is_empty() && named.objects.is_empty() {
        Removed::default()
    } else if wanted.dry_run {
        contents.plan_removal(named, tell).await?
    } else {
        contents.remove(named, stop, tell).await?
    };
    let gone = tags.iter().filter(|tag| removed.tags.contains(&tag.id));
    let mut names: Vec<String> = gone.map(|tag| image(&tag.record)).collect();
    names.sort_unstable();
    // For everyone, and for the users of some.
    names.dedup();
    Ok(Pruned {
        young: removed.young,
        failed: removed.failed,
        trouble: removed.trouble,
        ..Pruned::of(TierName::Bucket, wanted.dry_run, names, removed.objects as u64, removed.bytes)
    })
}

/// Names what is wanted, and returns it with all tags that there are.
async fn select(
    contents: &Contents,
    wanted: &Prune,
    tell: Tell<'_>,
) -> Result<(Named, Vec<HeldTag>), CollectionError> {
    let all = contents.objects(tell).await?;
    let tags = contents.tags(tell).await?.all;
    let there: HashSet<Object> = all.iter().map(|listed| listed.object).collect();
    let there = |object: &Object| there.contains(object);
    let named = match &wanted.target {
        PruneTarget::All => all_of(&all, &tags),
        PruneTarget::UnusedFor(time) => {
            let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
            let before = now.saturating_sub(time.as_secs());
            let manifests: Vec<Object> = old(&all, Kind::Manifest, before).collect();
            let parts = contents.parts(manifests, &there, tell).await?;
            unused_since(&all, &tags, &parts, before)
        }
        PruneTarget::Named(globs) => {
            let origins = contents.origins(tell).await?;
            let roots = Roots::of(globs, &all, &tags, &origins);
            let parts = contents.parts(roots.manifests.iter().copied(), &there, tell).await?;
            roots.named(globs, &all, &origins, &parts)
        }
    };
    Ok((named, tags))
}

/// Names everything.
fn all_of(all: &[Listed], tags: &[HeldTag]) -> Named {
    Named {
        tags: tags.iter().map(|tag| tag.id.clone()).collect(),
        objects: all.iter().map(|listed| listed.object).collect(),
    }
}

fn old(all: &[Listed], kind: Kind, before: u64) -> impl Iterator<Item = Object> {
    let is_old = move |listed: &&Listed| listed.object.kind == kind && listed.used_at < before;
    all.iter().filter(is_old).map(|listed| listed.object)
}

/// Names the images of which no manifest was written since a time, and blobs that were written before: those that are part of
/// what stays stay with it.
fn unused_since(
    all: &[Listed],
    tags: &[HeldTag],
    parts: &HashMap<Object, Vec<Object>>,
    before: u64,
) -> Named {
    let aged: HashSet<Object> = old(all, Kind::Manifest, before).collect();
    let there: HashSet<Object> = all.iter().map(|listed| listed.object).collect();
    let is_young =
        |object: &Object| object.kind == Kind::Manifest && there.contains(object) && !aged.contains(object);
    let is_unused = |object: &&Object| !reachable(vec![**object], parts).iter().any(is_young);
    let mut objects: HashSet<Object> = aged.iter().filter(is_unused).copied().collect();
    let goes = |tag: &&HeldTag| {
        let manifest = Object::manifest(tag.record.digest);
        tag.written < before && (objects.contains(&manifest) || !there.contains(&manifest))
    };
    let tags = tags.iter().filter(goes).map(|tag| tag.id.clone()).collect();
    objects.extend(old(all, Kind::Blob, before));
    Named { tags, objects }
}

/// What patterns mean by itself.
struct Roots {
    tags: HashSet<String>,
    manifests: Vec<Object>,
    /// The repositories that they are of.
    repositories: HashSet<Origin>,
}

impl Roots {
    fn of(globs: &[Glob], all: &[Listed], tags: &[HeldTag], origins: &Origins) -> Self {
        let mut own = Self { tags: HashSet::new(), manifests: Vec::new(), repositories: HashSet::new() };
        for tag in tags.iter().filter(|tag| fits_tag(globs, &tag.record)) {
            own.tags.insert(tag.id.clone());
            own.manifests.push(Object::manifest(tag.record.digest));
            own.repositories.insert(tag.record.origin.clone());
        }
        for listed in all.iter().filter(|listed| listed.object.kind == Kind::Manifest) {
            for origin in origins.get(&listed.object) {
                if fits_digest(globs, &origin, &listed.object) {
                    own.manifests.push(listed.object);
                    own.repositories.insert(origin);
                }
            }
        }
        own
    }

    /// Names them with what they are made of, but for what another repository has, and what is of repositories that are meant
    /// alone. What else is in use of that, the collection finds out.
    fn named(
        self,
        globs: &[Glob],
        all: &[Listed],
        origins: &Origins,
        parts: &HashMap<Object, Vec<Object>>,
    ) -> Named {
        let is_own =
            |object: &Object| origins.get(object).iter().all(|origin| self.repositories.contains(origin));
        let mut objects = reachable(self.manifests, parts);
        objects.retain(is_own);
        for listed in all {
            let origins = origins.get(&listed.object);
            if !origins.is_empty() && origins.iter().all(|origin| fits_repository(globs, origin)) {
                objects.insert(listed.object);
            }
        }
        Named { tags: self.tags, objects }
    }
}
