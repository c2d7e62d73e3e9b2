use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use http::Response;

use super::access::Grants;
use super::errors::{overloaded, refusal, within_wait_budget};
use super::request::RepositoryRequest;
use super::response::{PreparedManifest, RequestedBy};
use super::single_flight::SingleFlight;
use super::snapshot::Snapshot;
use crate::cache::download::FetchError;
use crate::cache::memory::{BoundedMap, locked};
use crate::cache::observe::Outcome;
use crate::cache::store::{Document, Object, Origin, Store, TagRecord};
use crate::cache::upstream::FetchedManifest;
use crate::http::Body;
use crate::image::{Digest, Tag, TagOrDigest};
use crate::oci::{Manifest, Method, Refusal};

/// How much memory manifests may take, in bytes.
const MEMORY: usize = 64 << 20;

/// Of how many blobs it is remembered how large they are.
const SIZES: usize = 65_536;

/// What upstream gave for a reference.
#[derive(Clone, Debug)]
pub(super) enum Fetched {
    /// A manifest, which is stored.
    Stored(Arc<PreparedManifest>),
    /// One whose digest is not that of its bytes: it goes to the client that asked, and to no other.
    Transient(Arc<FetchedManifest>),
}

/// When what was fetched goes to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// At once.
    Now,
    /// When a client takes it: what is only asked about makes no file.
    OnceTaken,
}

/// What goes to the store together with a manifest that is only in memory.
#[derive(Clone, Debug, Default)]
struct Unsaved {
    origins: Vec<Origin>,
    tags: Vec<TagRecord>,
}

/// How many manifests may be in memory only.
const UNSAVED: usize = 1 << 16;

/// Manifests: stored under their digest, the recent ones in memory too, and fetched where they are not there.
pub(super) struct Manifests {
    store: Arc<dyn Store>,
    grants: Arc<Grants>,
    prepared: Mutex<BoundedMap<Digest, Arc<PreparedManifest>>>,
    /// What is in memory only.
    unsaved: Mutex<BoundedMap<Digest, Unsaved>>,
    /// Whether there is anything: if not, a hit needs no second lock. Changed only under the lock of what it is about.
    has_unsaved: AtomicBool,
    /// How large blobs are, and which manifest says so.
    sizes: Mutex<BoundedMap<Digest, (Digest, u64)>>,
    fetching: SingleFlight<(Origin, Digest), Result<Fetched, Refusal>>,
    /// Manifests that come from the tier behind the store.
    arriving: SingleFlight<Digest, Option<Arc<PreparedManifest>>>,
}

impl Manifests {
    pub(super) fn new(store: Arc<dyn Store>, grants: Arc<Grants>) -> Self {
        Self {
            store,
            grants,
            prepared: Mutex::new(BoundedMap::new(MEMORY)),
            unsaved: Mutex::new(BoundedMap::new(UNSAVED)),
            has_unsaved: AtomicBool::new(false),
            sizes: Mutex::new(BoundedMap::new(SIZES)),
            fetching: SingleFlight::default(),
            arriving: SingleFlight::default(),
        }
    }

    /// Forgets what is in memory only to be quick.
    pub(super) fn forget(&self) {
        locked(&self.prepared).clear();
        locked(&self.unsaved).clear();
    }

    /// Returns whether a manifest is in memory only.
    pub(super) fn is_unsaved(&self, digest: &Digest) -> bool {
        self.has_unsaved.load(Ordering::Relaxed) && locked(&self.unsaved).get(digest).is_some()
    }

    /// Has a manifest in memory only, until a client takes it.
    fn hold_back(&self, digest: &Digest) {
        let mut unsaved = locked(&self.unsaved);
        let held = unsaved.get(digest).unwrap_or_default();
        unsaved.put(*digest, held, 1);
        self.has_unsaved.store(true, Ordering::Relaxed);
    }

    /// Notes what goes to the store together with a manifest, if that is in memory only.
    fn hold(&self, digest: &Digest, add: impl FnOnce(&mut Unsaved)) -> bool {
        if !self.has_unsaved.load(Ordering::Relaxed) {
            return false;
        }
        let mut all = locked(&self.unsaved);
        let Some(mut unsaved) = all.get(digest) else { return false };
        add(&mut unsaved);
        all.put(*digest, unsaved, 1);
        true
    }

    /// Holds back what a tag is as long as its manifest is in memory only; returns whether it is.
    pub(super) fn hold_tag(&self, record: &TagRecord) -> bool {
        self.hold(&record.digest, |unsaved| {
            unsaved.tags.retain(|other| other.origin != record.origin || other.tag != record.tag);
            unsaved.tags.push(record.clone());
        })
    }

    /// Forgets what a tag was, wherever that is held back.
    pub(super) fn drop_tag(&self, origin: &Origin, tag: &Tag) {
        if !self.has_unsaved.load(Ordering::Relaxed) {
            return;
        }
        let is_it = |record: &TagRecord| record.origin == *origin && record.tag == *tag;
        let mut all = locked(&self.unsaved);
        let held = all.iter().filter(|(_, unsaved)| unsaved.tags.iter().any(is_it));
        let held: Vec<Digest> = held.map(|(digest, _)| *digest).collect();
        for digest in held {
            if let Some(mut unsaved) = all.remove(&digest) {
                unsaved.tags.retain(|record| !is_it(record));
                all.put(digest, unsaved, 1);
            }
        }
    }

    /// Notes that a repository has a manifest.
    pub(super) async fn grant(&self, origin: &Origin, digest: &Digest) {
        let is_held = self.hold(digest, |unsaved| {
            if !unsaved.origins.contains(origin) {
                unsaved.origins.push(origin.clone());
            }
        });
        let object = Object::manifest(*digest);
        if is_held {
            self.grants.note(origin, &object);
        } else {
            self.grants.grant(origin, &object).await;
        }
    }

    /// Stores a manifest that a client takes, with what is known of it, as far as that is not stored.
    async fn take(self: &Arc<Self>, prepared: &Arc<PreparedManifest>) {
        self.save(prepared).await;
        if self.store.has_tier() {
            self.store.taken(&prepared.digest).await;
        }
    }

    /// Stores a manifest that a client takes, with what is known of it, if it is in memory only.
    pub(super) async fn save(self: &Arc<Self>, prepared: &Arc<PreparedManifest>) {
        if !self.has_unsaved.load(Ordering::Relaxed) {
            return;
        }
        let unsaved = {
            let mut all = locked(&self.unsaved);
            let unsaved = all.remove(&prepared.digest);
            if all.is_empty() {
                self.has_unsaved.store(false, Ordering::Relaxed);
            }
            unsaved
        };
        let Some(unsaved) = unsaved else { return };
        let (manifests, prepared) = (Arc::clone(self), Arc::clone(prepared));
        // A client that leaves meanwhile leaves no half of it.
        let saving = tokio::spawn(async move { manifests.save_now(&prepared, unsaved).await });
        drop(saving.await);
    }

    async fn save_now(&self, prepared: &PreparedManifest, unsaved: Unsaved) {
        let (digest, bytes) = (prepared.digest, prepared.bytes.clone());
        let document = Document { media_type: prepared.media_type.clone(), bytes };
        if let Err(error) = self.store.put_manifest(&digest, &document).await {
            // In memory it is served anyway.
            tracing::warn!(%digest, %error, "cannot store a manifest");
            return;
        }
        for origin in &unsaved.origins {
            self.grants.grant(origin, &Object::manifest(digest)).await;
        }
        for tag in &unsaved.tags {
            // It may have moved on since.
            let known = self.store.tag(&tag.origin, &tag.tag).await.ok().flatten();
            if known.is_some_and(|known| known.checked_at > tag.checked_at) {
                continue;
            }
            if let Err(error) = self.store.put_tag(tag).await {
                tracing::warn!(%error, "cannot note what a tag is");
            }
        }
    }

    /// Returns a manifest that is stored: from memory, from the store, or from the tier behind it.
    pub(super) async fn stored(self: &Arc<Self>, digest: &Digest) -> Option<Arc<PreparedManifest>> {
        match self.at_hand(digest).await {
            None if self.store.has_tier() => self.arrive(*digest).await,
            found => found,
        }
    }

    /// Returns a manifest that is stored here, whatever the tier behind the store has.
    pub(super) async fn at_hand(&self, digest: &Digest) -> Option<Arc<PreparedManifest>> {
        let found = locked(&self.prepared).get(digest);
        if let Some(prepared) = found {
            self.store.touch(&Object::manifest(*digest));
            return Some(prepared);
        }
        match self.store.manifest(digest).await {
            Ok(Some(document)) => Some(self.remember(*digest, document)),
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(%digest, %error, "cannot read a stored manifest");
                None
            }
        }
    }

    /// Returns whether a tier behind the store may have what is not here.
    pub(super) fn has_tier(&self) -> bool {
        self.store.has_tier()
    }

    /// Reads a manifest from the tier behind the store, once for all clients that want it at the same time.
    async fn arrive(self: &Arc<Self>, digest: Digest) -> Option<Arc<PreparedManifest>> {
        let (_, run) = self.arriving.run(digest, || {
            let manifests = Arc::clone(self);
            async move {
                let read = manifests.store.tier_manifest(&digest).await;
                let prepared = manifests.remember(digest, read?);
                prepared.note_tier();
                manifests.hold_back(&digest);
                Some(prepared)
            }
        });
        run.await.flatten()
    }

    fn remember(&self, digest: Digest, document: Document) -> Arc<PreparedManifest> {
        if let Ok(manifest) = Manifest::parse(&document.bytes, Some(&document.media_type)) {
            let mut sizes = locked(&self.sizes);
            for blob in manifest.blobs() {
                sizes.put(blob.digest, (digest, blob.size), 1);
            }
        }
        let prepared = Arc::new(PreparedManifest::new(digest, document.media_type, document.bytes));
        locked(&self.prepared).put(digest, Arc::clone(&prepared), prepared.weight());
        prepared
    }

    /// Returns how large a blob is, if a manifest says so that this repository was seen to have.
    pub(super) async fn blob_size(&self, origin: &Origin, blob: &Digest) -> Option<u64> {
        let (manifest, size) = locked(&self.sizes).get(blob)?;
        self.grants.is_granted(origin, &Object::manifest(manifest)).await.then_some(size)
    }

    /// Fetches the manifest of a digest, once for all clients that want it at the same time, and stores it.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
    ) -> Result<(Outcome, Fetched), Refusal> {
        let digest = *digest;
        let (part, run) = self.fetching.run((request.origin.clone(), digest), || {
            let (manifests, snapshot) = (Arc::clone(self), Arc::clone(request.snapshot));
            let origin = request.origin.clone();
            async move {
                let reference = TagOrDigest::Digest(digest);
                let fetched = manifests.fetch_now(&snapshot, &origin, &reference, Keep::OnceTaken).await;
                fetched.map_err(|error| unknown(&origin, &reference, &error))
            }
        });
        let fetched = within_wait_budget(&request.origin.registry, run).await?.ok_or_else(overloaded)??;
        Ok((part.outcome(), fetched))
    }

    /// Fetches a manifest, and keeps it under its digest: in the store, or in memory until a client takes it.
    pub(super) async fn fetch_now(
        &self,
        snapshot: &Snapshot,
        origin: &Origin,
        reference: &TagOrDigest,
        keep: Keep,
    ) -> Result<Fetched, FetchError> {
        let Ok(upstream) = snapshot.upstream(&origin.registry) else { return Err(FetchError::NotFound) };
        let fetched = upstream.manifest(&origin.repository, reference, None).await?;
        let Some(digest) = fetched.digest else { return Ok(Fetched::Transient(Arc::new(fetched))) };
        let document = Document { media_type: fetched.media_type, bytes: fetched.bytes };
        let prepared = self.remember(digest, document);
        match keep {
            Keep::Now => {
                let origins = vec![origin.clone()];
                self.save_now(&prepared, Unsaved { origins, tags: Vec::new() }).await;
            }
            Keep::OnceTaken => {
                self.hold_back(&digest);
                self.grant(origin, &digest).await;
            }
        }
        Ok(Fetched::Stored(prepared))
    }

    /// Fetches what a client asks for that does not take the kind of manifest that is stored; nothing of it is kept.
    pub(super) async fn pass_on(
        &self,
        request: &RepositoryRequest<'_>,
        reference: &TagOrDigest,
        accept: &str,
    ) -> Result<Response<Body>, Refusal> {
        let upstream = request.snapshot.upstream(&request.origin.registry)?;
        let fetched = upstream.manifest(&request.origin.repository, reference, Some(accept));
        let fetched = within_wait_budget(&request.origin.registry, fetched).await?;
        let fetched = fetched.map_err(|error| unknown(&request.origin, reference, &error))?;
        Ok(request.context.passed_on(&fetched.media_type, fetched.digest.as_ref(), fetched.bytes))
    }
}

/// Returns what a client is told that could not be given a manifest.
pub(super) fn unknown(origin: &Origin, reference: &TagOrDigest, error: &FetchError) -> Refusal {
    refusal(&origin.registry, error, || Refusal::ManifestUnknown(reference.to_string()))
}

impl RepositoryRequest<'_> {
    /// Stores what the client takes; a HEAD takes nothing.
    pub(super) async fn takes(&self, manifests: &Arc<Manifests>, prepared: &Arc<PreparedManifest>) {
        match self.context.method {
            Method::Get => manifests.take(prepared).await,
            Method::Head => {}
        }
    }

    /// Answers with what upstream gave.
    pub(super) fn fetched(&self, fetched: &Fetched, by: RequestedBy, outcome: Outcome) -> Response<Body> {
        match fetched {
            Fetched::Stored(prepared) => self.manifest(prepared, by, outcome, None),
            Fetched::Transient(fetched) => {
                self.context.passed_on(&fetched.media_type, fetched.digest.as_ref(), fetched.bytes.clone())
            }
        }
    }
}
