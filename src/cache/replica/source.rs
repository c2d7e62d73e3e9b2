#![expect(clippy::disallowed_methods, reason = "bounds how long other members are waited for")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _};

use super::client::{Part, PeerFault};
use super::gate::{Asks, Member, Readers};
use super::holding::Held;
use super::lease::LASTS;
use super::leases::Leased;
use super::replicas::{Replicas, SILENT};
use crate::cache::download::{CameFrom, FetchError, Opened, Provenance, Source};
use crate::cache::memory::locked;
use crate::cache::store::Origin;
use crate::image::Digest;

/// The number of other members among a source's endpoints.
const PEER: usize = usize::MAX - 1;
/// How many holders of a lease are asked before upstream is, though another cache has the lease.
const HOLDERS: u32 = 6;
/// How long other members may give no header, in all, until upstream is asked. It is longer than a lease lasts, so that one
/// of a member that is gone is taken over, and so short that upstream can still answer before a client is told to come back.
const PATIENCE: Duration = SILENT.saturating_add(LASTS).saturating_add(Duration::from_secs(2));
/// How many transfers in a row may end as nothing came, until upstream is asked for the rest.
const STALLS: u32 = 2;

/// A blob's bytes from the member that fetches it, else from upstream, with the lease of the blob.
///
/// Where that member is gone, this one goes on at the first byte that is missing, unless another one already does.
pub struct ReplicaSource {
    replicas: Replicas,
    origin: Origin,
    digest: Digest,
    readers: Readers,
    asker: Asker,
    upstream: Arc<dyn Source>,
    provenance: Provenance,
    state: Mutex<State>,
    /// How many transfers in a row another member was there for, and gave nothing any more.
    stalls: Arc<AtomicU32>,
}

/// Who wants a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A client.
    Client,
    /// Another member: its request is not sent on to a third one.
    Member,
}

/// How far a download is.
#[derive(Debug, Default)]
struct State {
    /// Upstream is asked, and stays so: others may read from here.
    is_upstream: bool,
    /// Another member gave some of it.
    has_read: bool,
    /// The lease, where there is one.
    held: Option<Held>,
}

/// Where the bytes come from.
enum Place {
    /// From another member.
    Member(Opened),
    /// From upstream, with a lease or without.
    Upstream(Option<Held>),
}

impl ReplicaSource {
    /// Puts the other members before upstream.
    pub fn new(
        replicas: Replicas,
        origin: Origin,
        digest: Digest,
        readers: Readers,
        asker: Asker,
        upstream: Arc<dyn Source>,
    ) -> Self {
        let (provenance, state) = (Provenance::default(), Mutex::default());
        let stalls = Arc::default();
        Self { replicas, origin, digest, readers, asker, upstream, provenance, state, stalls }
    }

    /// Opens it at another member; [`None`] where upstream is to be asked.
    async fn open_member(&self, from: u64, end: Option<u64>) -> Result<Option<Opened>, FetchError> {
        if locked(&self.state).is_upstream {
            self.provenance.set(CameFrom::Upstream);
            return Ok(None);
        }
        if self.stalls.load(Ordering::Relaxed) >= STALLS {
            tracing::info!(digest = %self.digest, from, "other caches give nothing any more: asking upstream");
            self.replicas.leases().without();
            locked(&self.state).is_upstream = true;
            self.provenance.set(CameFrom::Upstream);
            return Ok(None);
        }
        self.provenance.set(CameFrom::Unknown);
        let part = Part { origin: &self.origin, digest: &self.digest, from, end };
        match self.place(part).await? {
            Place::Member(opened) => {
                locked(&self.state).has_read = true;
                self.provenance.set(CameFrom::Member);
                Ok(Some(opened))
            }
            Place::Upstream(held) => {
                let mut state = locked(&self.state);
                (state.is_upstream, state.held) = (true, held);
                self.provenance.set(CameFrom::Upstream);
                Ok(None)
            }
        }
    }

    async fn place(&self, part: Part<'_>) -> Result<Place, FetchError> {
        let deadline = Instant::now() + PATIENCE;
        let leases = self.replicas.leases();
        let mut silent = None;
        if self.asker == Asker::Client
            && let Some(first) = self.replicas.first(&self.digest)
        {
            // Where some of it is here, no member is to begin it again from the first byte.
            let asks = if locked(&self.state).has_read { Asks::Have } else { Asks::Fetch };
            match self.ask(&first, asks, part, deadline).await {
                Ok(opened) => return Ok(Place::Member(opened)),
                Err(PeerFault::Late) => {
                    leases.without();
                    return Ok(Place::Upstream(None));
                }
                Err(PeerFault::Silent) => silent = Some(first),
                Err(PeerFault::Gone(_) | PeerFault::Denied(_) | PeerFault::WithoutIt(_)) => {}
            }
        }
        let registry = &self.origin.registry;
        let mut leased = leases.take(&self.digest, registry).await;
        for _ in 0..HOLDERS {
            let taken = match leased {
                Leased::Ours(held) => return Ok(Place::Upstream(Some(held))),
                Leased::Unable => return Ok(Place::Upstream(None)),
                Leased::Others(taken) => taken,
            };
            if let Some(lease) = &taken.lease
                && lease.url != self.replicas.url()
                && !(silent.as_ref() == Some(&lease.url) && taken.left(Instant::now()).is_zero())
            {
                if self.asker == Asker::Member {
                    return Err(FetchError::unavailable("another cache fetches it"));
                }
                if lease.registry != registry.as_str() {
                    leases.without();
                    return Ok(Place::Upstream(None));
                }
                match self.ask(&lease.url, Asks::Have, part, deadline).await {
                    Ok(opened) => return Ok(Place::Member(opened)),
                    // It goes on with it, for others; or its way to upstream hangs, and it goes on renewing its lease.
                    Err(PeerFault::Denied(_) | PeerFault::Late) => {
                        leases.without();
                        return Ok(Place::Upstream(None));
                    }
                    // It is gone, hangs, or has ended without having it.
                    Err(PeerFault::Gone(_) | PeerFault::Silent | PeerFault::WithoutIt(_)) => {}
                }
            }
            leased = leases.take_over(&self.digest, registry, &taken).await;
        }
        match leased {
            Leased::Ours(held) => return Ok(Place::Upstream(Some(held))),
            Leased::Unable => {}
            Leased::Others(_) => drop(leases.without()),
        }
        Ok(Place::Upstream(None))
    }

    async fn ask(
        &self,
        member: &str,
        asks: Asks,
        part: Part<'_>,
        deadline: Instant,
    ) -> Result<Opened, PeerFault> {
        let asks = Member { asks, readers: self.readers };
        let asked = self.replicas.ask(member, asks, part, deadline).await;
        let found = asked.inspect_err(|fault| {
            tracing::debug!(digest = %self.digest, member, "another cache gives nothing: {fault}");
        })?;
        let body = counted(found.body, Arc::clone(&self.stalls));
        Ok(Opened { total: Some(found.total), starts_at: part.from, endpoint: PEER, body })
    }
}

/// Counts in a row the transfers in which nothing came any more, though the member is there.
fn counted(
    body: BoxStream<'static, Result<Bytes, PeerFault>>,
    stalls: Arc<AtomicU32>,
) -> BoxStream<'static, Result<Bytes, FetchError>> {
    let counted = body.map(move |next| match next {
        Ok(bytes) => {
            stalls.store(0, Ordering::Relaxed);
            Ok(bytes)
        }
        Err(fault) => {
            if fault == PeerFault::Late {
                stalls.fetch_add(1, Ordering::Relaxed);
            }
            Err(FetchError::Broken(format!("another cache: {fault}")))
        }
    });
    counted.boxed()
}

impl std::fmt::Debug for ReplicaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicaSource")
            .field("digest", &self.digest)
            .field("asker", &self.asker)
            .finish_non_exhaustive()
    }
}

impl Source for ReplicaSource {
    fn open(&self, from: u64) -> BoxFuture<'_, Result<Opened, FetchError>> {
        Box::pin(async move {
            match self.open_member(from, None).await? {
                Some(opened) => Ok(opened),
                None => self.upstream.open(from).await,
            }
        })
    }

    fn open_part(&self, from: u64, end: u64) -> BoxFuture<'_, Result<Opened, FetchError>> {
        Box::pin(async move {
            match self.open_member(from, Some(end)).await? {
                Some(opened) => Ok(opened),
                None => self.upstream.open_part(from, end).await,
            }
        })
    }

    fn complete(&self) -> BoxFuture<'_, ()> {
        self.upstream.complete()
    }

    fn kept(&self) -> BoxFuture<'_, ()> {
        let held = locked(&self.state).held.take();
        if let Some(held) = held {
            held.until_written();
        }
        self.upstream.kept()
    }

    fn provenance(&self) -> Option<&Provenance> {
        Some(&self.provenance)
    }

    fn mismatch(&self, endpoints: &[usize]) {
        let upstream: Vec<usize> = endpoints.iter().copied().filter(|endpoint| *endpoint != PEER).collect();
        if !upstream.is_empty() || endpoints.is_empty() {
            self.upstream.mismatch(&upstream);
        }
        if endpoints.contains(&PEER) {
            // What another member has is not to be asked for again: upstream gives it.
            let mut state = locked(&self.state);
            state.is_upstream = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn transfers_that_stall_count_until_bytes_come() {
        let stalls = Arc::<AtomicU32>::default();
        let pull = async |items: Vec<Result<Bytes, PeerFault>>| {
            let body = counted(stream::iter(items).boxed(), Arc::clone(&stalls));
            let _ = body.collect::<Vec<_>>().await;
            stalls.load(Ordering::Relaxed)
        };
        let bytes = || Ok(Bytes::from_static(b"x"));
        assert_eq!(pull(vec![bytes(), Err(PeerFault::Late)]).await, 1);
        // A member that is killed is another matter: its lease is taken over.
        assert_eq!(pull(vec![Err(PeerFault::Gone("reset".to_owned()))]).await, 1);
        assert_eq!(pull(vec![Err(PeerFault::Late)]).await, STALLS);
        assert_eq!(pull(vec![bytes()]).await, 0);
    }
}
