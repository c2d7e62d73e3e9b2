#![expect(clippy::disallowed_methods, reason = "dates that a tag is gone")]

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::pending::Pending;
use super::shared_bucket::Bucket;
use crate::cache::memory::{BoundedMap, locked};
use crate::cache::store::{
    Blob, Document, Kind, Listed, Object, Origin, PartialKey, RecordKey, RecordKind, Spool, Store, TagRecord,
    Touched, Usage, Verdict,
};
use crate::image::{Digest, Tag};
use crate::secret::Secret;

/// How many manifests are remembered that tags of the bucket lead to, and that no client has taken yet.
const ARRIVING: usize = 4096;

/// A local store with a bucket behind it: what it lacks is looked for there, and what it is given goes there too.
///
/// Blobs come from the bucket by downloads, as what comes from upstream does.
pub struct TieredStore {
    local: Arc<dyn Store>,
    bucket: Bucket,
    /// Tags of the bucket that are not in the local store, by their manifests, which no client has taken since.
    arriving: Mutex<BoundedMap<Digest, Vec<TagRecord>>>,
    /// Whether there are any; changed under the lock of `arriving`.
    has_arriving: AtomicBool,
}

impl TieredStore {
    /// Puts a bucket behind a local store.
    pub fn new(local: Arc<dyn Store>, bucket: Bucket) -> Self {
        let arriving = Mutex::new(BoundedMap::new(ARRIVING));
        Self { local, bucket, arriving, has_arriving: AtomicBool::new(false) }
    }

    /// Keeps a tag of the bucket whose manifest is here; where there is no room for it, it is served all the same.
    async fn keep(&self, record: &TagRecord) {
        let kept = async {
            self.local.grant(&record.origin, &Object::manifest(record.digest)).await?;
            self.local.put_tag(record).await
        };
        if let Err(error) = kept.await {
            tracing::warn!(tag = %record.tag, %error, "cannot keep a tag of the bucket");
        }
    }
}

impl Store for TieredStore {
    fn open<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, io::Result<Option<Blob>>> {
        self.local.open(digest)
    }

    fn spool(&self, size: Option<u64>) -> BoxFuture<'_, io::Result<Spool>> {
        self.local.spool(size)
    }

    fn largest(&self) -> u64 {
        self.local.largest()
    }

    fn left(&self, key: &PartialKey) -> u64 {
        self.local.left(key)
    }

    fn resume<'a>(&'a self, key: &'a PartialKey, size: Option<u64>) -> BoxFuture<'a, io::Result<Spool>> {
        self.local.resume(key, size)
    }

    fn commit<'a>(&'a self, spool: Spool, digest: &'a Digest) -> BoxFuture<'a, io::Result<()>> {
        self.local.commit(spool, digest)
    }

    fn manifest<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, io::Result<Option<Document>>> {
        self.bucket.serves(*digest);
        self.local.manifest(digest)
    }

    fn has_tier(&self) -> bool {
        true
    }

    fn tier_manifest<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Option<Document>> {
        Box::pin(self.bucket.manifest(digest))
    }

    fn tier_location<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Option<Secret<String>>> {
        Box::pin(self.bucket.location(digest))
    }

    fn taken<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if !self.has_arriving.load(Ordering::Relaxed) {
                return;
            }
            let arrived = {
                let mut arriving = locked(&self.arriving);
                let arrived = arriving.remove(digest).unwrap_or_default();
                self.has_arriving.store(!arriving.is_empty(), Ordering::Relaxed);
                arrived
            };
            for record in arrived {
                self.keep(&record).await;
            }
        })
    }

    fn put_manifest<'a>(
        &'a self,
        digest: &'a Digest,
        document: &'a Document,
    ) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.local.put_manifest(digest, document).await?;
            self.bucket.push(Pending::Object(Object::manifest(*digest)));
            Ok(())
        })
    }

    fn touch(&self, object: &Object) -> Touched {
        let touched = self.local.touch(object);
        if object.kind != Kind::Manifest {
            return touched;
        }
        self.bucket.serves(object.digest);
        let is_wanted =
            self.has_arriving.load(Ordering::Relaxed) && locked(&self.arriving).get(&object.digest).is_some();
        if is_wanted { Touched::Wanted } else { touched }
    }

    fn remove<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, io::Result<bool>> {
        self.local.remove(object)
    }

    fn verify<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, io::Result<Verdict>> {
        self.local.verify(object)
    }

    fn list(&self) -> BoxFuture<'_, io::Result<Vec<Listed>>> {
        self.local.list()
    }

    fn usage(&self) -> BoxFuture<'_, io::Result<Usage>> {
        self.local.usage()
    }

    fn grant<'a>(&'a self, origin: &'a Origin, object: &'a Object) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.local.grant(origin, object).await?;
            self.bucket.push(Pending::Grant(*object, origin.clone()));
            Ok(())
        })
    }

    fn granted<'a>(&'a self, origin: &'a Origin, object: &'a Object) -> BoxFuture<'a, io::Result<bool>> {
        Box::pin(async move {
            if self.local.granted(origin, object).await? {
                return Ok(true);
            }
            let is_granted = self.bucket.granted(origin, object).await;
            if is_granted && let Err(error) = self.local.grant(origin, object).await {
                tracing::warn!(%error, "cannot keep which repository has what");
            }
            Ok(is_granted)
        })
    }

    fn origins<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, io::Result<Vec<Origin>>> {
        Box::pin(async move {
            let mut all = self.local.origins(object).await?;
            for origin in self.bucket.origins(object).await {
                if !all.contains(&origin) {
                    all.push(origin);
                }
            }
            Ok(all)
        })
    }

    fn record<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        self.local.record(key)
    }

    fn put_record<'a>(&'a self, key: &'a RecordKey, bytes: Vec<u8>) -> BoxFuture<'a, io::Result<()>> {
        self.local.put_record(key, bytes)
    }

    fn remove_record<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, io::Result<bool>> {
        self.local.remove_record(key)
    }

    fn records(&self, kind: RecordKind) -> BoxFuture<'_, io::Result<Vec<Vec<u8>>>> {
        self.local.records(kind)
    }

    fn tag<'a>(&'a self, origin: &'a Origin, tag: &'a Tag) -> BoxFuture<'a, io::Result<Option<TagRecord>>> {
        Box::pin(async move {
            if let Some(record) = self.local.tag(origin, tag).await? {
                return Ok(Some(record));
            }
            let Some(record) = self.bucket.tag(origin, tag).await else { return Ok(None) };
            let mut arriving = locked(&self.arriving);
            let mut records = arriving.get(&record.digest).unwrap_or_default();
            records.retain(|other| other.origin != record.origin || other.tag != record.tag);
            records.push(record.clone());
            arriving.put(record.digest, records, 1);
            self.has_arriving.store(true, Ordering::Relaxed);
            drop(arriving);
            Ok(Some(record))
        })
    }

    fn put_tag<'a>(&'a self, record: &'a TagRecord) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.local.put_tag(record).await?;
            self.bucket.push(Pending::Tag(record.clone()));
            Ok(())
        })
    }

    fn remove_tag<'a>(&'a self, origin: &'a Origin, tag: &'a Tag) -> BoxFuture<'a, io::Result<bool>> {
        Box::pin(async move {
            let was_there = self.local.remove_tag(origin, tag).await?;
            // A client may ask for tags that never were: of those nothing is written.
            if was_there {
                self.bucket.push(Pending::Gone(origin.clone(), tag.clone(), Timestamp::now()));
            }
            Ok(was_there)
        })
    }
}

impl fmt::Debug for TieredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TieredStore").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}
