use std::sync::Arc;

use super::client::Client;
use super::gc::{Collected, Cycle, Cycled, Failed, Leftovers};
use super::key::Keys;
use super::probe::{self, ProbeError};
use super::shared_bucket::{limits, timing, variable};
use crate::cache::config::BucketConfig;
use crate::cache::store::Object;

pub use super::gc::Stage as Progress;

/// What a collection took away from a bucket, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    /// How many entries said what tags were before.
    pub superseded: usize,
    /// How many tags went with their images.
    pub tags: usize,
    /// How many manifests went.
    pub manifests: usize,
    /// How many blobs went.
    pub blobs: usize,
    /// How many bytes they had.
    pub freed_bytes: u64,
    /// How many blobs and manifests stay.
    pub kept: usize,
    /// How many bytes they have.
    pub kept_bytes: u64,
    /// How much is left for the next collection.
    pub left: usize,
    /// How much could not be removed, each with what it refers to.
    pub failed: usize,
    /// How many keys went that caches left behind which ended without a word.
    pub leftovers: usize,
    /// How many uploads were begun and not ended, and are given up.
    pub uploads: usize,
    /// Why something of that could not be removed.
    pub trouble: Option<String>,
    /// What would go, where nothing is removed: blobs and manifests, their bytes, and the repositories that have them.
    pub objects: Vec<(Object, u64, Vec<String>)>,
}

/// Why nothing was collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectionError {
    /// Something about how the bucket is reached is missing or wrong.
    #[error("cannot use the bucket `{url}`: {why}")]
    Configuration {
        /// The bucket.
        url: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// It does not answer, or refuses to.
    #[error("cannot look into the bucket `{url}`: {why}")]
    Unreachable {
        /// The bucket.
        url: String,
        /// What it says.
        why: String,
    },
    /// There is nothing of a cache.
    #[error("there is nothing of talmirror-cache in `{0}`")]
    Empty(String),
    /// Two may collect at the same time there.
    #[error(
        "the store of the bucket `{0}` does not look at the conditions of writes, so that two might collect at once"
    )]
    Unconditional(String),
    /// Somebody else collects.
    #[error("a collection of the bucket `{0}` is under way")]
    UnderWay(String),
    /// It was told to stop.
    #[error("the collection of the bucket `{0}` was stopped; what was removed until then is not needed")]
    Stopped(String),
    /// It was silent for too long.
    #[error("the collection of the bucket `{0}` took too long, and others have given it up")]
    GivenUp(String),
    /// What is in it cannot be read.
    #[error("cannot read what is in the bucket `{url}`: {why}")]
    Read {
        /// The bucket.
        url: String,
        /// What failed.
        why: String,
    },
    /// What is named cannot be removed.
    #[error("cannot remove what is named from the bucket `{url}`: {why}")]
    Remove {
        /// The bucket.
        url: String,
        /// What failed.
        why: String,
    },
    /// Something failed on the way.
    #[error("cannot collect what the bucket `{url}` does not need: {why}")]
    Failed {
        /// The bucket.
        url: String,
        /// What failed.
        why: String,
    },
}

impl Collection {
    fn new(collected: &Collected, leftovers: Leftovers) -> Self {
        Self {
            superseded: collected.superseded,
            tags: collected.tags,
            manifests: collected.manifests,
            blobs: collected.blobs,
            freed_bytes: collected.bytes,
            kept: collected.kept,
            kept_bytes: collected.kept_bytes,
            left: collected.left,
            failed: collected.failed,
            leftovers: leftovers.keys,
            uploads: leftovers.uploads,
            ..Self::default()
        }
    }
}

/// Looks whether a bucket is one of caches.
pub(super) async fn open(config: &BucketConfig) -> Result<(Client, Keys), CollectionError> {
    let url = || config.address.to_string();
    let client =
        Client::new(config, &variable).map_err(|why| CollectionError::Configuration { url: url(), why })?;
    let keys = Keys::new(config.address.prefix());
    match probe::look(&client, &keys).await {
        Ok((true, _)) => Ok((client, keys)),
        Ok((false, _)) => Err(CollectionError::Empty(url())),
        Err(error @ ProbeError::Ill(_)) => {
            Err(CollectionError::Unreachable { url: url(), why: error.to_string() })
        }
        Err(error @ (ProbeError::Newer(_) | ProbeError::Foreign)) => {
            Err(CollectionError::Configuration { url: url(), why: error.to_string() })
        }
    }
}

/// Takes away what a bucket does not need, beside the caches that use it; ends early when `stop` does.
pub async fn collect(
    config: &BucketConfig,
    stop: impl Future<Output = ()> + Send,
    progress: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<Collection, CollectionError> {
    let (client, keys) = open(config).await?;
    let url = || config.address.to_string();
    let probed = probe::probe(&client, &keys).await;
    let failed = |why: String| CollectionError::Failed { url: url(), why };
    let probed = probed.map_err(|error| failed(error.to_string()))?;
    // Where nothing can be written, the collection says why.
    if probed.is_conditional == Some(false) {
        return Err(CollectionError::Unconditional(url()));
    }
    let cycle = Cycle::new(&client, keys, timing(), limits(config)).watched(Arc::new(progress));
    match cycle.run(stop).await.map_err(|error: Failed| failed(error.to_string()))? {
        Cycled::UnderWay => Err(CollectionError::UnderWay(url())),
        Cycled::GivenUp => Err(CollectionError::GivenUp(url())),
        Cycled::Stopped => Err(CollectionError::Stopped(url())),
        Cycled::Collected(collected, leftovers, trouble) => {
            let trouble = trouble.map(|error| error.to_string());
            Ok(Collection { trouble, ..Collection::new(&collected, leftovers) })
        }
    }
}

/// Says what would be taken away from a bucket, and changes nothing.
pub async fn plan_collection(
    config: &BucketConfig,
    progress: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<Collection, CollectionError> {
    let (client, keys) = open(config).await?;
    let cycle = Cycle::new(&client, keys, timing(), limits(config)).watched(Arc::new(progress));
    let url = config.address.to_string();
    let removal = cycle.look().await;
    let removal = removal.map_err(|error| CollectionError::Failed { url, why: error.to_string() })?;
    Ok(Collection { objects: removal.objects, ..Collection::new(&removal.collected, removal.leftovers) })
}

#[cfg(test)]
#[path = "collection_tests.rs"]
mod tests;
