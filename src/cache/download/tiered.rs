#![expect(clippy::disallowed_methods, reason = "measures how fast a tier and upstream are")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::time::Instant;

use super::parts::{Parts, PartsRoom};
use super::provenance::{CameFrom, Provenance};
use super::source::{FetchError, Opened, Source};
use super::tier_pace::{Came, TierPace};
use crate::cache::memory::locked;
use crate::cache::store::{Origin, Tier};
use crate::image::Digest;
use futures_util::future::BoxFuture;

/// The number of the tier among a source's endpoints.
const TIER: usize = usize::MAX;

/// A blob's bytes from a tier as long as that gives them, and not far more slowly than upstream, else from upstream; where
/// upstream gives nothing, a slow tier is better than none.
pub(super) struct TieredSource {
    tier: Arc<dyn Tier>,
    digest: Digest,
    upstream: Arc<dyn Source>,
    /// The tier was asked: it is not asked again for this download.
    is_passed_over: AtomicBool,
    /// It was passed over because it is slow.
    was_slow: Arc<AtomicBool>,
    pace: Arc<Mutex<TierPace>>,
    /// Room for parts that come before their turn.
    room: Arc<PartsRoom>,
    /// Where it notes that the tier gives some of it.
    provenance: Provenance,
}

/// How slowly a tier may give bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slowness {
    /// What is far slower than upstream is left for that.
    Measured,
    /// As slowly as it likes.
    Borne,
}

/// How much is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// All that is left: several transfers may give it.
    Rest,
    /// A part of it, which may be small.
    Part,
}

impl TieredSource {
    pub(super) fn new(
        tier: Arc<dyn Tier>,
        digest: Digest,
        upstream: Arc<dyn Source>,
        (pace, room): (Arc<Mutex<TierPace>>, Arc<PartsRoom>),
        provenance: Provenance,
    ) -> Self {
        let (is_passed_over, was_slow) = (AtomicBool::new(false), Arc::default());
        Self { tier, digest, upstream, is_passed_over, was_slow, pace, room, provenance }
    }

    async fn open_tier(&self, from: u64, extent: Extent) -> Option<Opened> {
        // Until its body has come to an end, it is not sure that the tier will do: a resumed transfer asks upstream.
        if self.is_passed_over.swap(true, Ordering::Relaxed) {
            return None;
        }
        if !locked(&self.pace).is_first(Instant::now().into_std()) {
            self.was_slow.store(true, Ordering::Relaxed);
            return None;
        }
        self.ask_tier(from, extent, Slowness::Measured).await
    }

    async fn ask_tier(&self, from: u64, extent: Extent, slowness: Slowness) -> Option<Opened> {
        // It may have come there through another repository.
        if !self.upstream.may_use_stored().await {
            return None;
        }
        match self.tier.open(&self.digest, from).await {
            Ok(Some(found)) => {
                self.provenance.set(CameFrom::Tier);
                let total = found.total;
                let body = match extent {
                    Extent::Rest => {
                        let (tier, room) = (Arc::clone(&self.tier), Arc::clone(&self.room));
                        Parts::new(tier, self.digest, room, from, found).into_stream()
                    }
                    Extent::Part => {
                        let broken = |error: std::io::Error| FetchError::Broken(error.to_string());
                        found.body.map(move |piece| piece.map_err(broken)).boxed()
                    }
                };
                let body = match slowness {
                    Slowness::Measured => self.measured(body, total.saturating_sub(from)),
                    Slowness::Borne => body,
                };
                Some(Opened { total: Some(total), starts_at: from, endpoint: TIER, body })
            }
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(digest = %self.digest, "the tier failed, asking upstream: {error}");
                None
            }
        }
    }

    /// Returns the tier's bytes, which break off where they come far more slowly than upstream's; so many are left.
    fn measured(
        &self,
        body: BoxStream<'static, Result<Bytes, FetchError>>,
        left: u64,
    ) -> BoxStream<'static, Result<Bytes, FetchError>> {
        let (tier, pace) = (Arc::clone(&self.tier), Arc::clone(&self.pace));
        let was_slow = Arc::clone(&self.was_slow);
        let measured =
            stream::try_unfold((body, Came::default(), left), move |(mut body, mut came, mut left)| {
                let (tier, pace, was_slow) = (Arc::clone(&tier), Arc::clone(&pace), Arc::clone(&was_slow));
                async move {
                    let begun = Instant::now();
                    let next = body.next().await.transpose()?;
                    let bytes = next.as_ref().map_or(0, Bytes::len);
                    came.add(bytes, begun.elapsed());
                    left = left.saturating_sub(bytes as u64);
                    if left == 0 || came.is_whole() {
                        let (before, is_slow) = {
                            let mut pace = locked(&pace);
                            (pace.is_slow(), pace.tier_gave(came, Instant::now().into_std()))
                        };
                        if before != is_slow {
                            tier.note_slow(is_slow);
                        }
                        if is_slow && left > 0 {
                            was_slow.store(true, Ordering::Relaxed);
                            return Err(FetchError::Broken(
                                "the tier is far slower than upstream".to_owned(),
                            ));
                        }
                        came = Came::default();
                    }
                    Ok(next.map(|bytes| (bytes, (body, came, left))))
                }
            });
        measured.boxed()
    }

    /// Returns what upstream has opened, and measures how fast it gives that; a tier that was passed over as it is slow,
    /// where upstream gives nothing.
    async fn or_tier(
        &self,
        from: u64,
        extent: Extent,
        opened: impl Future<Output = Result<Opened, FetchError>>,
    ) -> Result<Opened, FetchError> {
        let opened = match opened.await {
            Ok(opened) => opened,
            Err(error) if self.was_slow.swap(false, Ordering::Relaxed) => {
                return self.ask_tier(from, extent, Slowness::Borne).await.ok_or(error);
            }
            Err(error) => return Err(error),
        };
        let pace = Arc::clone(&self.pace);
        let left = opened.total.map(|total| total.saturating_sub(opened.starts_at));
        let begun = (opened.body, Came::default(), left);
        let body = stream::unfold(begun, move |(mut body, mut came, mut left)| {
            let pace = Arc::clone(&pace);
            async move {
                let begun = Instant::now();
                let next = body.next().await;
                let bytes = next.as_ref().map_or(0, |next| next.as_ref().map_or(0, Bytes::len));
                came.add(bytes, begun.elapsed());
                left = left.map(|left| left.saturating_sub(bytes as u64));
                if next.is_none() || left == Some(0) || came.is_whole() {
                    locked(&pace).upstream_gave(came);
                    came = Came::default();
                }
                next.map(|next| (next, (body, came, left)))
            }
        });
        Ok(Opened { body: body.boxed(), ..opened })
    }
}

impl Source for TieredSource {
    fn open(&self, from: u64) -> BoxFuture<'_, Result<Opened, FetchError>> {
        Box::pin(async move {
            match self.open_tier(from, Extent::Rest).await {
                Some(opened) => Ok(opened),
                None => self.or_tier(from, Extent::Rest, self.upstream.open(from)).await,
            }
        })
    }

    fn open_part(&self, from: u64, end: u64) -> BoxFuture<'_, Result<Opened, FetchError>> {
        Box::pin(async move {
            match self.open_tier(from, Extent::Part).await {
                Some(opened) => Ok(opened),
                None => self.or_tier(from, Extent::Part, self.upstream.open_part(from, end)).await,
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
