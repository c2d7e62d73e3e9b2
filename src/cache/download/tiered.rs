use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;

use super::provenance::{CameFrom, Provenance};
use super::source::{FetchError, Opened, Source};
use crate::cache::store::{Origin, Tier};
use crate::image::Digest;
use futures_util::future::BoxFuture;

/// The number of the tier among a source's endpoints.
const TIER: usize = usize::MAX;

/// A blob's bytes from a tier as long as that gives them, else from upstream.
pub(super) struct TieredSource {
    tier: Arc<dyn Tier>,
    digest: Digest,
    upstream: Arc<dyn Source>,
    /// The tier was asked: it is not asked again for this download.
    is_passed_over: AtomicBool,
    /// Where it notes that the tier gives some of it.
    provenance: Provenance,
}

impl TieredSource {
    pub(super) fn new(
        tier: Arc<dyn Tier>,
        digest: Digest,
        upstream: Arc<dyn Source>,
        provenance: Provenance,
    ) -> Self {
        Self { tier, digest, upstream, is_passed_over: AtomicBool::new(false), provenance }
    }

    async fn open_tier(&self, from: u64) -> Option<Opened> {
        if self.is_passed_over.load(Ordering::Relaxed) {
            return None;
        }
        // Until its body has come to an end, it is not sure that the tier will do: a resumed transfer asks upstream.
        self.is_passed_over.store(true, Ordering::Relaxed);
        // It may have come there through another repository.
        if !self.upstream.may_use_stored().await {
            return None;
        }
        match self.tier.open(&self.digest, from).await {
            Ok(Some(found)) => {
                self.provenance.set(CameFrom::Tier);
                let body =
                    found.body.map(|piece| piece.map_err(|error| FetchError::Broken(error.to_string())));
                Some(Opened { total: Some(found.total), starts_at: from, endpoint: TIER, body: body.boxed() })
            }
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(digest = %self.digest, "the tier failed, asking upstream: {error}");
                None
            }
        }
    }
}

impl Source for TieredSource {
    fn open(&self, from: u64) -> BoxFuture<'_, Result<Opened, FetchError>> {
        Box::pin(async move {
            match self.open_tier(from).await {
                Some(opened) => Ok(opened),
                None => self.upstream.open(from).await,
            }
        })
    }

    fn open_part(&self, from: u64, end: u64) -> BoxFuture<'_, Result<Opened, FetchError>> {
        Box::pin(async move {
            match self.open_tier(from).await {
                Some(opened) => Ok(opened),
                None => self.upstream.open_part(from, end).await,
            }
        })
    }

    fn complete(&self) -> BoxFuture<'_, ()> {
        self.upstream.complete()
    }

    fn kept(&self) -> BoxFuture<'_, ()> {
        self.upstream.kept()
    }

    fn may_use_stored(&self) -> BoxFuture<'_, bool> {
        self.upstream.may_use_stored()
    }

    fn provenance(&self) -> Option<&Provenance> {
        Some(&self.provenance)
    }

    fn origin(&self) -> Option<&Origin> {
        self.upstream.origin()
    }

    fn mismatch(&self, endpoints: &[usize]) {
        if endpoints.contains(&TIER) {
            let (tier, digest) = (Arc::clone(&self.tier), self.digest);
            tokio::spawn(async move { tier.mismatch(&digest).await });
        }
        let upstream: Vec<usize> = endpoints.iter().copied().filter(|endpoint| *endpoint != TIER).collect();
        if !upstream.is_empty() || endpoints.is_empty() {
            self.upstream.mismatch(&upstream);
        }
    }
}
