#![expect(clippy::disallowed_methods, reason = "dates what is not there")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::access::{Grant, Grants, head_suffices, listed_suffices};
use super::errors::{WAIT_BUDGET, overloaded, refusal, within, within_wait_budget};
use super::freshness::BUDGET;
use super::manifest::Manifests;
use super::request::RepositoryRequest;
use super::single_flight::SingleFlight;
use super::snapshot::Snapshot;
use crate::cache::download::FetchError;
use crate::cache::memory::{BoundedMap, locked};
use crate::cache::observe::Seldom;
use crate::cache::store::{Kind, Object, Origin, Store};
use crate::image::{Digest, RegistryHost};
use crate::oci::{Manifest, Method, Refusal};

/// How many things are remembered that are not there.
const MISSING: usize = 4096;
/// For how long something that is not there is not asked for again.
const MISSING_FOR: Duration = Duration::from_secs(5);
/// How often the log says that a registry does not say how large its blobs are.
const SAY: Duration = Duration::from_mins(1);

/// How stored content may go out through a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authorized {
    /// As it is stored.
    Stored,
    /// As it is stored, as long as upstream does not say whether it is there.
    StoredMeanwhile,
    /// Once this repository has given it: as if it were not stored.
    OnceFetched,
}

/// Tells whether stored content may go out through the repository that a request names.
pub(super) struct Authorizer {
    store: Arc<dyn Store>,
    grants: Arc<Grants>,
    manifests: Arc<Manifests>,
    /// What upstream said that is not there, and when.
    missing: Mutex<BoundedMap<(Origin, Object), Instant>>,
    /// How large blobs are, as registries are being asked.
    sizing: SingleFlight<(Origin, Digest), Result<Option<u64>, FetchError>>,
    /// A search through all manifests takes a while: one at a time.
    searching: tokio::sync::Mutex<()>,
    /// That a registry does not say how large something is.
    without_length: Seldom,
}

impl Authorizer {
    pub(super) fn new(store: Arc<dyn Store>, grants: Arc<Grants>, manifests: Arc<Manifests>) -> Self {
        Self {
            store,
            grants,
            manifests,
            missing: Mutex::new(BoundedMap::new(MISSING)),
            sizing: SingleFlight::default(),
            searching: tokio::sync::Mutex::default(),
            without_length: Seldom::new(SAY),
        }
    }

    /// Makes sure that a client may have what is stored through the repository that it names: upstream was seen to
    /// have it there, or says so now.
    pub(super) async fn authorize_object(
        &self,
        request: &RepositoryRequest<'_>,
        object: &Object,
    ) -> Result<Authorized, Refusal> {
        match self.grants.granted(&request.origin, object).await {
            Some(Grant::Kept) => return Ok(Authorized::Stored),
            // That it is there was only asked; what goes out now is known for good.
            Some(Grant::Noted) => {
                self.grant(request, object).await;
                return Ok(Authorized::Stored);
            }
            None => {}
        }
        if !self.head_counts(request.snapshot, &request.origin, object).await {
            return Ok(Authorized::OnceFetched);
        }
        let verdict = async {
            match object.kind {
                Kind::Blob => self.blob_size(request, &object.digest).await.map(drop),
                Kind::Manifest => self.upstream_has_manifest(request, &object.digest).await,
            }
        };
        // Upstream has the first word; but what may go out without it does not wait for it as long as a client may.
        let is_known = object.kind == Kind::Blob
            && self.manifests.blob_size(&request.origin, &object.digest).await.is_some();
        let patience = if is_known { BUDGET } else { WAIT_BUDGET };
        let registry = &request.origin.registry;
        let verdict = within(patience, registry, verdict).await.and_then(|verdict| verdict);
        match verdict {
            Ok(()) => Ok(Authorized::Stored),
            // Upstream does not say: what the manifests list that are stored may go out.
            Err(Refusal::UpstreamDown { .. } | Refusal::UpstreamBusy { .. })
                if self.is_listed(request.snapshot, &request.origin, object).await =>
            {
                Ok(Authorized::StoredMeanwhile)
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Returns whether a repository was seen to have something, or its registry's word is enough that it has.
    pub(super) async fn head_counts(&self, snapshot: &Snapshot, asked: &Origin, object: &Object) -> bool {
        if self.grants.is_granted(asked, object).await {
            return true;
        }
        let origins = self.store.origins(object).await.unwrap_or_default();
        head_suffices(asked, |registry| snapshot.is_private(registry), &origins)
    }

    /// Asks upstream how large a blob is, and with it whether this repository has it.
    pub(super) async fn blob_size(
        &self,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
    ) -> Result<u64, Refusal> {
        let (registry, object) = (&request.origin.registry, Object::blob(*digest));
        self.reject_known_missing(request, &object)?;
        let upstream = Arc::clone(request.snapshot.upstream(registry)?);
        let (_, run) = self.sizing.run((request.origin.clone(), *digest), || {
            let (repository, digest) = (request.origin.repository.clone(), *digest);
            async move { upstream.blob_size(&repository, &digest).await }
        });
        let size = within_wait_budget(registry, run).await?.ok_or_else(overloaded)?;
        let size = size.map_err(|error| {
            let refusal = refusal(registry, &error, || Refusal::BlobUnknown(digest.to_string()));
            self.note_missing(request, &object, &refusal);
            refusal
        })?;
        if self.head_counts(request.snapshot, &request.origin, &object).await {
            self.grant(request, &object).await;
        }
        // Some say of everything that it is empty, and mean that they do not know.
        if let Some(size) = size.filter(|size| *size > 0) {
            return Ok(size);
        }
        if size.is_none() && self.without_length.is_due() {
            let what = "upstream does not say how large a blob is: its length is that in the manifest";
            tracing::info!(%registry, %digest, "{what}");
        }
        self.manifests.blob_size(&request.origin, digest).await.or(size).ok_or_else(|| {
            Refusal::UpstreamDown {
                registry: registry.clone(),
                reason: "it does not say how large it is".to_owned(),
            }
        })
    }

    async fn upstream_has_manifest(
        &self,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
    ) -> Result<(), Refusal> {
        let (registry, object) = (&request.origin.registry, Object::manifest(*digest));
        self.reject_known_missing(request, &object)?;
        let upstream = request.snapshot.upstream(registry)?;
        let has =
            within_wait_budget(registry, upstream.has_manifest(&request.origin.repository, digest)).await?;
        has.map_err(|error| {
            let refusal = refusal(registry, &error, || Refusal::ManifestUnknown(digest.to_string()));
            self.note_missing(request, &object, &refusal);
            refusal
        })?;
        self.grant(request, &object).await;
        Ok(())
    }

    /// Notes that a repository has something: for good where it goes out now, for a while where a client only asks
    /// whether it is there.
    async fn grant(&self, request: &RepositoryRequest<'_>, object: &Object) {
        match request.context.method {
            Method::Get => self.grants.grant(&request.origin, object).await,
            Method::Head => self.grants.note(&request.origin, object),
        }
    }

    /// Refuses something of which upstream has just said that it is not there.
    pub(super) fn reject_known_missing(
        &self,
        request: &RepositoryRequest<'_>,
        object: &Object,
    ) -> Result<(), Refusal> {
        let since = locked(&self.missing).get(&(request.origin.clone(), *object));
        if since.is_none_or(|since| since.elapsed() >= MISSING_FOR) {
            return Ok(());
        }
        Err(match object.kind {
            Kind::Blob => Refusal::BlobUnknown(object.digest.to_string()),
            Kind::Manifest => Refusal::ManifestUnknown(object.digest.to_string()),
        })
    }

    /// Notes what upstream says that is not there.
    pub(super) fn note_missing(&self, request: &RepositoryRequest<'_>, object: &Object, refusal: &Refusal) {
        if matches!(refusal, Refusal::BlobUnknown(_) | Refusal::ManifestUnknown(_)) {
            locked(&self.missing).put((request.origin.clone(), *object), Instant::now(), 1);
        }
    }

    /// Forgets what upstream said that is not there.
    pub(super) fn forget(&self) {
        locked(&self.missing).clear();
    }

    /// Returns whether a manifest of a repository lists something that may be believed to be there for that.
    async fn is_listed(&self, snapshot: &Snapshot, asked: &Origin, object: &Object) -> bool {
        let origins = self.store.origins(object).await.unwrap_or_default();
        let is_private = |registry: &RegistryHost| snapshot.is_private(registry);
        let is_served = |origin: &Origin| snapshot.allows(&origin.registry, &origin.repository).is_ok();
        if !listed_suffices(asked, is_private, is_served, &origins) {
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
