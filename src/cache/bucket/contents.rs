#![expect(clippy::disallowed_methods, reason = "asks the store, and waits before it asks again")]

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::sleep;

use super::client::Client;
use super::collection::{CollectionError, open};
use super::gc::{BucketPlace, Failed, Place as _, Timing};
use super::key::{Audience, Keys};
use super::shared_bucket::{Bucket, Inner, timing};
use super::transport::Purpose;
use crate::cache::config::BucketConfig;
use crate::cache::store::{Document, Kind, Listed, Object, Origin, TagRecord};
use crate::image::Digest;

/// How much that is small is asked for at once.
pub(super) const AT_ONCE: usize = 16;
/// How often something is asked for.
pub(super) const TRIES: u32 = 3;
/// How long it is waited before it is asked for again.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// After how many keys of a list it is told how far that is.
const TOLD: usize = 1000;

/// Is told how far something that may take long has come, in a line.
pub(in crate::cache) type Tell<'a> = &'a (dyn Fn(String) + Send + Sync);

/// What is in a bucket, for those who look into it: a command, or a cache that uses it.
///
/// It is read as a collection reads it: what fails says nothing to those who wait for a pull.
#[derive(Clone)]
pub(in crate::cache) struct Contents {
    pub(super) url: String,
    pub(super) client: Client,
    pub(super) keys: Keys,
    pub(super) timing: Timing,
    /// The cache that uses it, which is to know what becomes of it.
    pub(super) cache: Option<Arc<Inner>>,
}

/// A tag, as the newest of its entries says.
#[derive(Clone, Debug)]
pub(in crate::cache) struct HeldTag {
    /// What it says.
    pub(in crate::cache) record: TagRecord,
    /// The beginning of the keys of its entries.
    pub(in crate::cache) id: String,
    /// When its newest entry was written, by the store's clock, in seconds since 1970.
    pub(in crate::cache) written: u64,
    /// The newest entry's key.
    pub(in crate::cache) key: String,
}

/// An entry of a tag that does not say what its name says.
#[derive(Clone, Debug)]
pub(in crate::cache) struct WrongTag {
    /// Its key.
    pub(in crate::cache) key: String,
    /// What the tag stands for by the name of the entry.
    pub(in crate::cache) digest: Digest,
}

/// The tags of a bucket.
#[derive(Clone, Debug, Default)]
pub(in crate::cache) struct HeldTags {
    /// Those that can be read.
    pub(in crate::cache) all: Vec<HeldTag>,
    /// The newest entries of those that cannot.
    pub(in crate::cache) wrong: Vec<WrongTag>,
}

/// Which repositories have what.
#[derive(Debug, Default)]
pub(in crate::cache) struct Origins {
    repositories: Vec<Origin>,
    of: HashMap<Object, Vec<u32>>,
}

impl Origins {
    /// Returns the repositories that have something, in no order.
    pub(in crate::cache) fn get(&self, object: &Object) -> Vec<Origin> {
        let numbers = self.of.get(object).map_or(&[][..], Vec::as_slice);
        let origin = |number: &u32| self.repositories.get(usize::try_from(*number).ok()?).cloned();
        numbers.iter().filter_map(origin).collect()
    }
}

impl Contents {
    /// Makes ready to look into a bucket; fails where that cannot be done, or no cache has written to it.
    pub(in crate::cache) async fn open(config: &BucketConfig) -> Result<Self, CollectionError> {
        let (client, keys) = open(config).await?;
        let client = client.for_collection();
        Ok(Self { url: config.address.to_string(), client, keys, timing: timing(), cache: None })
    }

    /// Makes ready to look into the bucket that a cache uses.
    pub(in crate::cache) fn of(bucket: &Bucket) -> Self {
        let inner = bucket.inner();
        let (client, keys) = (inner.client.for_collection(), inner.keys.clone());
        let cache = Some(Arc::clone(inner));
        Self { url: inner.url.clone(), client, keys, timing: inner.timing, cache }
    }

    /// Returns which bucket it is.
    pub(in crate::cache) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn place(&self) -> BucketPlace {
        BucketPlace::new(self.client.clone(), self.keys.clone(), self.timing).reading()
    }

    pub(super) fn failed(&self, error: impl fmt::Display) -> CollectionError {
        CollectionError::Read { url: self.url.clone(), why: error.to_string() }
    }

    /// Asks for something, again where that fails.
    pub(super) async fn again<T, E: fmt::Display, F: Future<Output = Result<T, E>>>(
        &self,
        run: impl Fn() -> F,
    ) -> Result<T, Failed> {
        let mut tries = 1;
        loop {
            match run().await {
                Ok(found) => return Ok(found),
                Err(error) if tries >= TRIES => return Err(Failed(error.to_string())),
                Err(_) => sleep(self.timing.pace(PAUSE)).await,
            }
            tries += 1;
        }
    }

    /// Reads something small; [`None`] where it is not there.
    pub(super) async fn get(&self, key: &str) -> Result<Option<Bytes>, Failed> {
        self.again(|| self.client.get(Purpose::Care, key)).await
    }

    /// Lists blobs and manifests, in no order; when one was used is when it was written, which caches do again now and then.
    pub(in crate::cache) async fn objects(&self, tell: Tell<'_>) -> Result<Vec<Listed>, CollectionError> {
        let (place, mut all) = (self.place(), Vec::new());
        for kind in [Kind::Manifest, Kind::Blob] {
            let listed = place.objects(kind, |object, stored| {
                all.push(Listed { object, size: stored.bytes, used_at: stored.written, hits: 0 });
                if all.len() % TOLD == 0 {
                    tell(format!("lists what is in the bucket: {} blobs and manifests", all.len()));
                }
            });
            listed.await.map_err(|error| self.failed(error))?;
        }
        Ok(all)
    }

    /// Lists which repositories have what.
    pub(in crate::cache) async fn origins(&self, tell: Tell<'_>) -> Result<Origins, CollectionError> {
        let (mut origins, mut numbers, mut count) = (Origins::default(), HashMap::new(), 0_usize);
        let listed = self.place();
        let listed = listed.grants(|object, key, _| {
            count += 1;
            if count % TOLD == 0 {
                tell(format!("lists which repositories have what: {count}"));
            }
            let mut each = Audience::ALL.into_iter();
            let Some(origin) = each.find_map(|audience| self.keys.origin(&object, audience, &key)) else {
                return;
            };
            let next = u32::try_from(origins.repositories.len()).unwrap_or(u32::MAX);
            let number = *numbers.entry(origin.clone()).or_insert_with(|| {
                origins.repositories.push(origin);
                next
            });
            let own = origins.of.entry(object).or_default();
            // For everyone, and for the users of some.
            if !own.contains(&number) {
                own.push(number);
            }
        });
        listed.await.map_err(|error| self.failed(error))?;
        Ok(origins)
    }

    /// Reads what tags stand for; those that are gone are left out.
    pub(in crate::cache) async fn tags(&self, tell: Tell<'_>) -> Result<HeldTags, CollectionError> {
        tell("lists tags".to_owned());
        let mut entries = Vec::new();
        let listed = self.place();
        let listed = listed.tags(|entry| entries.push(entry));
        listed.await.map_err(|error| self.failed(error))?;
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let newest = entries.chunk_by(|a, b| a.tag() == b.tag()).filter_map(|entries| {
            let first = entries.first()?;
            Some((first.key.to_string(), first.tag().to_owned(), first.what?, first.written))
        });
        let newest: Vec<_> = newest.collect();
        let (of, mut read, mut tags) = (newest.len(), 0, HeldTags::default());
        let bodies = stream::iter(newest).map(|(key, id, digest, written)| async move {
            let body = self.get(&key).await;
            (key, id, digest, written, body)
        });
        let mut bodies = bodies.buffer_unordered(AT_ONCE);
        while let Some((key, id, digest, written, body)) = bodies.next().await {
            read += 1;
            if read % AT_ONCE == 0 {
                tell(format!("reads tags: {read} of {of}"));
            }
            // One that is not there any more was written again.
            let Some(body) = body.map_err(|error| self.failed(error))? else { continue };
            let record = TagRecord::read(&body).filter(|record| {
                let is_own =
                    |audience| self.keys.tag(&record.origin, &record.tag, audience) == format!("{id}/");
                record.digest == digest && Audience::ALL.into_iter().any(is_own)
            });
            match record {
                Some(record) => tags.all.push(HeldTag { record, id, written, key }),
                None => tags.wrong.push(WrongTag { key, digest }),
            }
        }
        Ok(tags)
    }

    /// Reads what some manifests are made of, and what those of them are made of that are manifests; `there` is what is in the
    /// bucket. What cannot be read as a manifest is made of nothing.
    pub(in crate::cache) async fn parts(
        &self,
        manifests: impl IntoIterator<Item = Object> + Send,
        there: &(dyn Fn(&Object) -> bool + Sync),
        tell: Tell<'_>,
    ) -> Result<HashMap<Object, Vec<Object>>, CollectionError> {
        let is_manifest = |object: &Object| object.kind == Kind::Manifest && there(object);
        let mut wave: Vec<Object> = manifests.into_iter().filter(is_manifest).collect();
        let (mut seen, mut all): (HashSet<Object>, _) = (HashSet::new(), HashMap::new());
        wave.retain(|object| seen.insert(*object));
        while !wave.is_empty() {
            let bodies = stream::iter(std::mem::take(&mut wave));
            let bodies =
                bodies.map(|object| async move { (object, self.get(&self.keys.object(&object)).await) });
            let mut bodies = bodies.buffer_unordered(AT_ONCE);
            while let Some((object, body)) = bodies.next().await {
                let body = body.map_err(|error| self.failed(error))?;
                let document = body.and_then(|body| Document::read(Vec::from(body), &object.digest));
                let parts = document.map(|document| document.parts()).unwrap_or_default();
                wave.extend(parts.iter().filter(|part| is_manifest(part) && seen.insert(**part)));
                all.insert(object, parts);
                if all.len() % AT_ONCE == 0 {
                    tell(format!("reads manifests: {} of {}", all.len(), seen.len()));
                }
            }
        }
        Ok(all)
    }
}
