use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::Response;
use http::header::{IF_RANGE, RANGE};

use super::driver::{Asked, Inner};
use super::grants::listed_suffices;
use super::refusals::{of_source, of_upstream};
use super::world::World;
use crate::cache::flight::{Flight, Opened, Role, Source, SourceError};
use crate::cache::observe::Outcome;
use crate::cache::store::{Kind, Object, Origin};
use crate::http::Body;
use crate::image::{Digest, RegistryHost};
use crate::oci::{self, Manifest, Method, Refusal, Selection, select};

/// A blob's bytes from upstream; that they come through a repository is noted as soon as they begin to.
struct Noting {
    inner: Arc<Inner>,
    origin: Origin,
    digest: Digest,
    source: Arc<dyn Source>,
}

impl Source for Noting {
    fn open(&self, from: u64) -> BoxFuture<'_, Result<Opened, SourceError>> {
        Box::pin(async move {
            let opened = self.source.open(from).await?;
            if from == 0 {
                self.inner.grant(&self.origin, &Object::blob(self.digest)).await;
            }
            Ok(opened)
        })
    }

    fn mismatch(&self, endpoints: &[usize]) {
        self.source.mismatch(endpoints);
    }
}

impl Inner {
    /// Answers with a blob, or with a part of it.
    pub(super) async fn blob(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        digest: &Digest,
    ) -> Result<Response<Body>, Refusal> {
        let stored = self.store.open(digest).await.unwrap_or_else(|error| {
            tracing::warn!(%digest, %error, "cannot open a stored blob");
            None
        });
        if let Some(blob) = stored {
            self.may_have(asked, &Object::blob(*digest)).await?;
            if asked.has(digest) {
                return Ok(asked.frame.unchanged_blob(digest, Outcome::Hit));
            }
            let selection = asked.selection(digest, blob.len());
            return Ok(asked.frame.blob(digest, blob.len(), selection, Outcome::Hit, |span| blob.body(span)));
        }
        match asked.frame.method {
            Method::Head => self.blob_head(asked, digest).await,
            Method::Get => self.blob_in_flight(asked, digest).await,
        }
    }

    /// Answers to HEAD for what is not stored: a client that asks how large it is does not want all of it.
    async fn blob_head(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        digest: &Digest,
    ) -> Result<Response<Body>, Refusal> {
        let (outcome, total) = match self.flights.running(digest) {
            Some(flight) if self.is_granted(&asked.origin, &Object::blob(*digest)).await => {
                let total = flight.headers().await;
                (Outcome::Follow, total.map_err(|error| of_source(&asked.origin.registry, digest, &error))?)
            }
            Some(_) | None => (Outcome::Miss, self.blob_size(asked, digest).await?),
        };
        let selection = asked.selection(digest, total);
        Ok(asked.frame.blob(digest, total, selection, outcome, |_| Body::Empty))
    }

    /// Asks upstream how large a blob is, and with it whether this repository has it.
    async fn blob_size(&self, asked: &Asked<'_>, digest: &Digest) -> Result<u64, Refusal> {
        let registry = &asked.origin.registry;
        let upstream = asked.world.upstream(registry)?;
        let size = upstream.blob_size(&asked.origin.repository, digest).await;
        let size =
            size.map_err(|error| of_upstream(registry, &error, || Refusal::BlobUnknown(digest.to_string())))?;
        self.grant(&asked.origin, &Object::blob(*digest)).await;
        Ok(size)
    }

    /// Answers with a blob that is being fetched, after beginning to fetch it where nobody has.
    async fn blob_in_flight(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        digest: &Digest,
    ) -> Result<Response<Body>, Refusal> {
        let (flight, total) = self.board(asked, digest).await?;
        let object = Object::blob(*digest);
        if !self.is_granted(&asked.origin, &object).await {
            // Somebody else's repository has it. Whether this one does, upstream says.
            self.may_have(asked, &object).await?;
        }
        let outcome = match flight.role() {
            Role::Leader => Outcome::Miss,
            Role::Follower => Outcome::Follow,
        };
        let selection = asked.selection(digest, total);
        Ok(asked.frame.blob(digest, total, selection, outcome, |span| flight.body(span, total)))
    }

    /// Boards the fetch of a blob and waits for its length.
    async fn board(self: &Arc<Self>, asked: &Asked<'_>, digest: &Digest) -> Result<(Flight, u64), Refusal> {
        let registry = &asked.origin.registry;
        loop {
            let upstream = asked.world.upstream(registry)?;
            let source = Noting {
                inner: Arc::clone(self),
                origin: asked.origin.clone(),
                digest: *digest,
                source: upstream.blob(&asked.origin.repository, digest),
            };
            let flight = self.flights.get(digest, None, Arc::new(source)).map_err(|_| Refusal::Overloaded)?;
            match (flight.headers().await, flight.role()) {
                (Ok(total), _) => return Ok((flight, total)),
                (Err(error), Role::Leader) => return Err(of_source(registry, digest, &error)),
                // It failed for another repository, perhaps, or just before this client came.
                (Err(error), Role::Follower) => {
                    tracing::debug!(%digest, %error, "a fetch failed that was joined; beginning one");
                }
            }
        }
    }

    /// Makes sure that a client may have what is here through the repository that it names: upstream was seen to
    /// have it there, or says so now.
    pub(super) async fn may_have(&self, asked: &Asked<'_>, object: &Object) -> Result<(), Refusal> {
        if self.is_granted(&asked.origin, object).await {
            return Ok(());
        }
        let said = match object.kind {
            Kind::Blob => self.blob_size(asked, &object.digest).await.map(drop),
            Kind::Manifest => self.upstream_has_manifest(asked, &object.digest).await,
        };
        match said {
            // Upstream does not say: what a public repository's manifests list, and is public anyway, may go out.
            Err(Refusal::UpstreamDown { .. } | Refusal::UpstreamBusy { .. })
                if self.is_listed(asked.world, &asked.origin, object).await =>
            {
                Ok(())
            }
            said => said,
        }
    }

    async fn upstream_has_manifest(&self, asked: &Asked<'_>, digest: &Digest) -> Result<(), Refusal> {
        let registry = &asked.origin.registry;
        let upstream = asked.world.upstream(registry)?;
        let has = upstream.has_manifest(&asked.origin.repository, digest).await;
        has.map_err(|error| of_upstream(registry, &error, || Refusal::ManifestUnknown(digest.to_string())))?;
        self.grant(&asked.origin, &Object::manifest(*digest)).await;
        Ok(())
    }

    /// Returns whether a manifest of a repository lists something that may be believed to be there for that.
    async fn is_listed(&self, world: &World, asked: &Origin, object: &Object) -> bool {
        let origins = self.store.origins(object).await.unwrap_or_default();
        let is_private = |registry: &RegistryHost| world.is_private(registry);
        if !listed_suffices(asked, is_private, &origins) {
            return false;
        }
        let _one = self.searching.lock().await;
        for listed in self.store.list().await.unwrap_or_default() {
            if listed.object.kind != Kind::Manifest || !self.is_granted(asked, &listed.object).await {
                continue;
            }
            let Some(ready) = self.ready(&listed.object.digest).await else { continue };
            if let Ok(manifest) = Manifest::parse(&ready.bytes, Some(&ready.media_type))
                && lists(&manifest, object)
            {
                return true;
            }
        }
        false
    }
}

/// Returns whether a manifest lists a blob or another manifest.
fn lists(manifest: &Manifest, object: &Object) -> bool {
    match object.kind {
        Kind::Blob => manifest.blobs().any(|blob| blob.digest == object.digest),
        Kind::Manifest => manifest.children().iter().any(|child| child.digest == object.digest),
    }
}

impl Asked<'_> {
    /// Returns which bytes of a blob are wanted.
    fn selection(&self, digest: &Digest, total: u64) -> Selection {
        let counts = self.header(IF_RANGE).is_none_or(|header| oci::if_range(header, digest));
        // A range of HEAD means nothing (RFC 9110 §14.2).
        let range = if counts && self.frame.method == Method::Get { self.header(RANGE) } else { None };
        select(range, total)
    }
}
