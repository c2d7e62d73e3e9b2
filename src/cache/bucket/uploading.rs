#![expect(clippy::disallowed_methods, reason = "waits while much is to be written")]

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use tokio::time::sleep;

use super::gc::Place as _;
use super::pending::Pending;
use super::shared_bucket::{Bucket, Inner};
use crate::cache::memory::locked;
use crate::cache::store::{Kind, Object, RecordKind, TagRecord};

/// How much may wait to be written while more of a folder is added.
const WAITING: usize = 20_000;
/// How often it is looked whether less waits.
const LOOK: Duration = Duration::from_millis(100);

/// What of a folder is not in a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cache) struct Missing {
    /// How many blobs.
    pub(in crate::cache) blobs: usize,
    /// How many manifests.
    pub(in crate::cache) manifests: usize,
    /// How many bytes blobs and manifests have.
    pub(in crate::cache) bytes: u64,
    /// How many tags there are: what they are is written in any case.
    pub(in crate::cache) tags: usize,
}

/// What is in a bucket.
struct There {
    objects: HashSet<Object>,
    /// The keys of grants.
    grants: HashSet<String>,
}

impl Bucket {
    /// Has all of the local store written that the bucket does not have; returns once all of it is to be written.
    pub(in crate::cache) async fn upload(&self) -> io::Result<Missing> {
        let inner = self.inner();
        let there = there(inner).await?;
        let (objects, tags) = here(inner).await?;
        let missing = count(&there, &objects, &tags);
        for (object, _) in objects {
            while locked(&inner.queue).len() > WAITING {
                sleep(LOOK).await;
            }
            if !there.objects.contains(&object) {
                inner.push(Pending::Object(object));
            }
            for origin in inner.local.origins(&object).await? {
                let key = inner.keys.grant(&object, &origin, inner.audience(&origin.registry));
                if !there.grants.contains(&key) {
                    inner.push(Pending::Grant(object, origin));
                }
            }
        }
        for tag in tags {
            while locked(&inner.queue).len() > WAITING {
                sleep(LOOK).await;
            }
            inner.push(Pending::Tag(tag));
        }
        Ok(missing)
    }

    /// Returns what of the local store the bucket does not have.
    pub(in crate::cache) async fn missing(&self) -> io::Result<Missing> {
        let (objects, tags) = here(self.inner()).await?;
        Ok(count(&there(self.inner()).await?, &objects, &tags))
    }
}

fn count(there: &There, objects: &[(Object, u64)], tags: &[TagRecord]) -> Missing {
    let mut missing = Missing { tags: tags.len(), ..Missing::default() };
    for (object, bytes) in objects.iter().filter(|(object, _)| !there.objects.contains(object)) {
        missing.bytes += bytes;
        match object.kind {
            Kind::Blob => missing.blobs += 1,
            Kind::Manifest => missing.manifests += 1,
        }
    }
    missing
}

/// Lists what is in the bucket: one request for a thousand keys, in place of one for each.
async fn there(inner: &Inner) -> io::Result<There> {
    let failed = |error: super::gc::Failed| io::Error::other(format!("the bucket {}: {error}", inner.url));
    let mut objects = HashSet::new();
    for kind in [Kind::Blob, Kind::Manifest] {
        inner.place.objects(kind, |object, _| objects.extend([object])).await.map_err(failed)?;
    }
    let mut grants = HashSet::new();
    inner.place.grants(|_, key, _| grants.extend([key])).await.map_err(failed)?;
    Ok(There { objects, grants })
}

/// Lists what is here, and what tags are.
async fn here(inner: &Inner) -> io::Result<(Vec<(Object, u64)>, Vec<TagRecord>)> {
    let objects = inner.local.list().await?.into_iter().map(|listed| (listed.object, listed.size)).collect();
    let tags = inner.local.records(RecordKind::Tag).await?;
    Ok((objects, tags.iter().filter_map(|record| TagRecord::read(record)).collect()))
}
