use std::sync::Arc;

use super::access::{Grants, listed_suffices};
use super::errors::refusal;
use super::manifest::Manifests;
use super::request::RepositoryRequest;
use super::snapshot::Snapshot;
use crate::cache::store::{Kind, Object, Origin, Store};
use crate::image::{Digest, RegistryHost};
use crate::oci::{Manifest, Refusal};

/// Tells whether stored content may go out through the repository that a request names.
pub(super) struct Authorizer {
    store: Arc<dyn Store>,
    grants: Arc<Grants>,
    manifests: Arc<Manifests>,
    /// A search through all manifests takes a while: one at a time.
    searching: tokio::sync::Mutex<()>,
}

impl Authorizer {
    pub(super) fn new(store: Arc<dyn Store>, grants: Arc<Grants>, manifests: Arc<Manifests>) -> Self {
        Self { store, grants, manifests, searching: tokio::sync::Mutex::default() }
    }

    /// Makes sure that a client may have what is here through the repository that it names: upstream was seen to
    /// have it there, or says so now.
    pub(super) async fn authorize_object(
        &self,
        request: &RepositoryRequest<'_>,
        object: &Object,
    ) -> Result<(), Refusal> {
        if self.grants.is_granted(&request.origin, object).await {
            return Ok(());
        }
        let verdict = match object.kind {
            Kind::Blob => self.blob_size(request, &object.digest).await.map(drop),
            Kind::Manifest => self.upstream_has_manifest(request, &object.digest).await,
        };
        match verdict {
            // Upstream does not say: what a public repository's manifests list, and is public anyway, may go out.
            Err(Refusal::UpstreamDown { .. } | Refusal::UpstreamBusy { .. })
                if self.is_listed(request.snapshot, &request.origin, object).await =>
            {
                Ok(())
            }
            verdict => verdict,
        }
    }

    /// Asks upstream how large a blob is, and with it whether this repository has it.
    pub(super) async fn blob_size(
        &self,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
    ) -> Result<u64, Refusal> {
        let registry = &request.origin.registry;
        let upstream = request.snapshot.upstream(registry)?;
        let size = upstream.blob_size(&request.origin.repository, digest).await;
        let size =
            size.map_err(|error| refusal(registry, &error, || Refusal::BlobUnknown(digest.to_string())))?;
        self.grants.grant(&request.origin, &Object::blob(*digest)).await;
        Ok(size)
    }

    async fn upstream_has_manifest(
        &self,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
    ) -> Result<(), Refusal> {
        let registry = &request.origin.registry;
        let upstream = request.snapshot.upstream(registry)?;
        let has = upstream.has_manifest(&request.origin.repository, digest).await;
        has.map_err(|error| refusal(registry, &error, || Refusal::ManifestUnknown(digest.to_string())))?;
        self.grants.grant(&request.origin, &Object::manifest(*digest)).await;
        Ok(())
    }

    /// Returns whether a manifest of a repository lists something that may be believed to be there for that.
    async fn is_listed(&self, snapshot: &Snapshot, asked: &Origin, object: &Object) -> bool {
        let origins = self.store.origins(object).await.unwrap_or_default();
        let is_private = |registry: &RegistryHost| snapshot.is_private(registry);
        if !listed_suffices(asked, is_private, &origins) {
            return false;
        }
        let _one = self.searching.lock().await;
        for listed in self.store.list().await.unwrap_or_default() {
            if listed.object.kind != Kind::Manifest || !self.grants.is_granted(asked, &listed.object).await {
                continue;
            }
            let Some(prepared) = self.manifests.stored(&listed.object.digest).await else { continue };
            if let Ok(manifest) = Manifest::parse(&prepared.bytes, Some(&prepared.media_type))
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
