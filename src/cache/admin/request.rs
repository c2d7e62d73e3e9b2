use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bucket::BucketState;
use super::list::{self, ImageRecord, List, ListImages, ListObjects, ObjectRecord};
use super::list_bucket::{list_bucket_images, list_bucket_objects};
use super::prune::{self, Prune, Pruned};
use super::prune_bucket::prune_bucket;
use super::refresh::{self, Refresh, RefreshedTags};
use super::replicas::ReplicaState;
use super::stats::{self, ReadStats, Stats};
use super::tier::TierName;
use super::upload::{self, Upload, Uploaded};
use super::verify::{self, Verified, Verify};
use super::verify_bucket::verify_bucket;
use crate::cache::bucket::{Bucket, BucketUse, Contents, Tell};
use crate::cache::replica::Replicas;
use crate::cache::service::Service;
use crate::cache::store::Store;

/// How long what may be a great deal may take.
const LONG: Duration = Duration::from_hours(24);

/// What a request is about.
pub(in crate::cache) struct OpenCache<'a> {
    /// The store.
    pub(super) store: &'a dyn Store,
    /// The service over it; [`None`] where no server has the store open.
    pub(super) service: Option<&'a Service>,
    /// The bucket behind the store, where a server runs that has one.
    pub(super) bucket: Option<&'a Bucket>,
    /// The other caches on it, where they are asked.
    pub(super) replicas: Option<&'a Replicas>,
    /// Is told how far something that may take long has come.
    pub(super) tell: Tell<'a>,
}

impl<'a> OpenCache<'a> {
    /// Makes it of what a running server has open.
    pub(in crate::cache) const fn running(
        store: &'a dyn Store,
        service: &'a Service,
        bucket: Option<&'a Bucket>,
        replicas: Option<&'a Replicas>,
    ) -> Self {
        Self { store, service: Some(service), bucket, replicas, tell: &|_| {} }
    }

    /// Has something told how far what takes long has come.
    pub(super) const fn telling(self, tell: Tell<'a>) -> Self {
        Self { tell, ..self }
    }

    /// Returns what is in the bucket; fails where there is none.
    fn contents(&self) -> io::Result<Contents> {
        let bucket =
            self.bucket.ok_or_else(|| io::Error::other("the server that runs over it has no bucket"))?;
        match bucket.report().used {
            BucketUse::Used => Ok(Contents::of(bucket)),
            BucketUse::Refused(why) => Err(io::Error::other(why)),
            BucketUse::Unseen => Err(io::Error::other("the bucket could not be looked at yet")),
        }
    }
}

/// A request about a store, and what answers it.
pub(in crate::cache) trait Question: Into<Request> {
    /// The answer.
    type Answer: Serialize + DeserializeOwned;
    /// The kind of object that the answer is printed as.
    const KIND: &'static str;
    /// How long the answer may take.
    const PATIENCE: Duration = Duration::from_mins(10);

    /// Returns how long this one may take: what is in a bucket, as all that is stored, may be a great deal.
    fn patience(&self) -> Duration {
        match self.tier() {
            TierName::Local => Self::PATIENCE,
            TierName::Bucket => LONG,
        }
    }

    /// Returns what it is about.
    fn tier(&self) -> TierName {
        TierName::Local
    }

    /// Carries it out.
    ///
    /// Fails as the store does.
    async fn answer(&self, cache: &OpenCache<'_>) -> io::Result<Self::Answer>;
}

/// A request as it is sent to a running server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "verb", content = "wanted", rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::cache) enum Request {
    /// The images that are stored.
    ListImages(ListImages),
    /// The blobs and manifests that are stored.
    ListObjects(ListObjects),
    /// Removes what is stored.
    Prune(Prune),
    /// How full the store is.
    Stats(ReadStats),
    /// Checks what is stored.
    Verify(Verify),
    /// Asks registries what stored tags stand for.
    Refresh(Refresh),
    /// Writes to the bucket what is stored.
    Upload(Upload),
}

impl Request {
    /// Returns how long the answer may take.
    pub(super) fn patience(&self) -> Duration {
        match self {
            Self::ListImages(question) => question.patience(),
            Self::ListObjects(question) => question.patience(),
            Self::Prune(question) => question.patience(),
            Self::Stats(question) => question.patience(),
            Self::Verify(question) => question.patience(),
            Self::Refresh(question) => question.patience(),
            Self::Upload(question) => question.patience(),
        }
    }

    /// Returns whether it may end where it is when nobody waits for the answer any more.
    pub(super) const fn only_looks(&self) -> bool {
        match self {
            Self::ListImages(_) | Self::ListObjects(_) | Self::Stats(_) | Self::Verify(_) => true,
            Self::Prune(_) | Self::Refresh(_) | Self::Upload(_) => false,
        }
    }

    /// Carries out a request that came over the socket.
    pub(super) async fn answer(self, cache: &OpenCache<'_>) -> io::Result<Value> {
        Ok(match self {
            Self::ListImages(question) => serde_json::to_value(question.answer(cache).await?)?,
            Self::ListObjects(question) => serde_json::to_value(question.answer(cache).await?)?,
            Self::Prune(question) => serde_json::to_value(question.answer(cache).await?)?,
            Self::Stats(question) => serde_json::to_value(question.answer(cache).await?)?,
            Self::Verify(question) => serde_json::to_value(question.answer(cache).await?)?,
            Self::Refresh(question) => serde_json::to_value(question.answer(cache).await?)?,
            Self::Upload(question) => serde_json::to_value(question.answer(cache).await?)?,
        })
    }
}

impl Question for ListImages {
    type Answer = List<ImageRecord>;
    const KIND: &'static str = "CacheImages";

    fn tier(&self) -> TierName {
        self.tier
    }

    async fn answer(&self, cache: &OpenCache<'_>) -> io::Result<Self::Answer> {
        match self.tier {
            TierName::Local => list::images(cache.store, self).await,
            TierName::Bucket => {
                let listed = list_bucket_images(&cache.contents()?, self, cache.tell).await;
                listed.map_err(io::Error::other)
            }
        }
    }
}

impl From<ListImages> for Request {
    fn from(question: ListImages) -> Self {
        Self::ListImages(question)
    }
}

impl Question for ListObjects {
    type Answer = List<ObjectRecord>;
    const KIND: &'static str = "CacheObjects";

    fn tier(&self) -> TierName {
        self.tier
    }

    async fn answer(&self, cache: &OpenCache<'_>) -> io::Result<Self::Answer> {
        match self.tier {
            TierName::Local => list::objects(cache.store).await,
            TierName::Bucket => {
                let listed = list_bucket_objects(&cache.contents()?, self, cache.tell).await;
                listed.map_err(io::Error::other)
            }
        }
    }
}

impl From<ListObjects> for Request {
    fn from(question: ListObjects) -> Self {
        Self::ListObjects(question)
    }
}

impl Question for Prune {
    type Answer = Pruned;
    const KIND: &'static str = "CachePruned";

    fn tier(&self) -> TierName {
        self.tier
    }

    async fn answer(&self, cache: &OpenCache<'_>) -> io::Result<Self::Answer> {
        if self.tier == TierName::Bucket {
            // It goes on when nobody waits for it any more: others wait for its end.
            let pruned = prune_bucket(&cache.contents()?, self, std::future::pending(), cache.tell).await;
            return pruned.map_err(io::Error::other);
        }
        let pruned = prune::prune(cache.store, self).await;
        // Also after an error: part of it may be done.
        if let Some(service) = cache.service {
            service.forget();
        }
        pruned
    }
}

impl From<Prune> for Request {
    fn from(question: Prune) -> Self {
        Self::Prune(question)
    }
}

impl Question for Verify {
    type Answer = Verified;
    const KIND: &'static str = "CacheVerified";
    // All that is stored is read, and a large disk takes hours.
    const PATIENCE: Duration = LONG;

    fn tier(&self) -> TierName {
        self.tier
    }

    async fn answer(&self, cache: &OpenCache<'_>) -> io::Result<Self::Answer> {
        if self.tier == TierName::Bucket {
            return verify_bucket(&cache.contents()?, self, cache.tell).await.map_err(io::Error::other);
        }
        let verified = verify::verify(cache.store, self).await;
        if let Some(service) = cache.service {
            service.forget();
        }
        verified
    }
}

impl From<Verify> for Request {
    fn from(question: Verify) -> Self {
        Self::Verify(question)
    }
}

impl Question for Refresh {
    type Answer = RefreshedTags;
    const KIND: &'static str = "CacheRefreshed";

    async fn answer(&self, cache: &OpenCache<'_>) -> io::Result<Self::Answer> {
        refresh::refresh(cache.store, cache.service, self).await
    }
}

impl From<Refresh> for Request {
    fn from(question: Refresh) -> Self {
        Self::Refresh(question)
    }
}

impl Question for Upload {
    type Answer = Uploaded;
    const KIND: &'static str = "CacheUploaded";
    // The answer comes when all of it is to be written: much of it is then.
    const PATIENCE: Duration = LONG;

    async fn answer(&self, cache: &OpenCache<'_>) -> io::Result<Self::Answer> {
        upload::upload(cache.bucket, *self).await
    }
}

impl From<Upload> for Request {
    fn from(question: Upload) -> Self {
        Self::Upload(question)
    }
}

impl Question for ReadStats {
    type Answer = Stats;
    const KIND: &'static str = "CacheStats";

    async fn answer(&self, cache: &OpenCache<'_>) -> io::Result<Self::Answer> {
        let stats = stats::stats(cache.store).await?;
        Ok(match cache.service {
            Some(service) => {
                let bucket = cache.bucket.map(|bucket| BucketState::of(bucket.report()));
                let peers = cache.replicas.map(|replicas| ReplicaState::of(replicas.report()));
                let (upstreams, hosts) = (stats::upstreams(service), stats::hosts(service));
                Stats { upstreams, hosts, bucket, peers, ..stats }
            }
            None => Stats { cap_bytes: None, ..stats },
        })
    }
}

impl From<ReadStats> for Request {
    fn from(question: ReadStats) -> Self {
        Self::Stats(question)
    }
}
