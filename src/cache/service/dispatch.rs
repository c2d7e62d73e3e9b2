use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::{Request, Response};

use super::access::Grants;
use super::authorize::{Authorized, Authorizer};
use super::blob::Blobs;
use super::list::Lists;
use super::manifest::{Fetched, Manifests};
use super::ready::ReadyAnswers;
use super::request::RepositoryRequest;
use super::response::{PreparedManifest, RequestedBy, ResponseContext};
use super::snapshot::Snapshot;
use super::tag::{Refreshed, Tags};
use crate::cache::auth::Identity;
use crate::cache::download::Downloads;
use crate::cache::observe::{Kind, Metrics, Outcome, Seldom};
use crate::cache::refusal::rejection;
use crate::cache::replica::{Member, Replicas};
use crate::cache::store::{Object, Origin, Store, TagRecord};
use crate::http::{Body, Handler, PlainRequest, PreparedResponse, Rejected};
use crate::image::{Digest, TagOrDigest};
use crate::oci::{self, Method, Refusal, RepositoryLocation, Route};

/// How often the log says that a registry is asked for which is not configured.
const SAY: Duration = Duration::from_secs(10);

/// Answers requests from the store and from upstream registries; a copy is the same service.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

/// What all requests share.
struct Inner {
    snapshot: RwLock<Arc<Snapshot>>,
    grants: Arc<Grants>,
    manifests: Arc<Manifests>,
    ready: Arc<ReadyAnswers>,
    tags: Arc<Tags>,
    authorizer: Arc<Authorizer>,
    blobs: Blobs,
    lists: Lists,
    /// That a registry is asked for which is not configured.
    unconfigured: Seldom,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("snapshot", &self.snapshot()).finish_non_exhaustive()
    }
}

impl Service {
    /// Makes a service of a store and what is downloaded into it, perhaps from other caches.
    pub fn new(
        store: Arc<dyn Store>,
        downloads: Downloads,
        metrics: Arc<Metrics>,
        snapshot: Snapshot,
        replicas: Option<Replicas>,
    ) -> Self {
        let grants = Arc::new(Grants::new(Arc::clone(&store)));
        let manifests = Arc::new(Manifests::new(Arc::clone(&store), Arc::clone(&grants)));
        let authorizer =
            Arc::new(Authorizer::new(Arc::clone(&store), Arc::clone(&grants), Arc::clone(&manifests)));
        let ready = Arc::new(ReadyAnswers::new(Arc::clone(&store)));
        let tags = Tags::new(
            Arc::clone(&store),
            Arc::clone(&manifests),
            Arc::clone(&ready),
            Arc::clone(&authorizer),
            metrics,
        );
        let blobs = Blobs::new(
            Arc::clone(&store),
            downloads,
            Arc::clone(&grants),
            Arc::clone(&manifests),
            Arc::clone(&ready),
            Arc::clone(&authorizer),
            replicas,
        );
        Self(Arc::new(Inner {
            snapshot: RwLock::new(Arc::new(snapshot)),
            grants,
            manifests,
            ready,
            tags: Arc::new(tags),
            authorizer,
            blobs,
            lists: Lists::new(store),
            unconfigured: Seldom::new(SAY),
        }))
    }

    /// Returns what is served now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves something else from now on; requests that have begun end as they began.
    pub fn replace(&self, snapshot: Snapshot) {
        *self.0.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
        self.0.tags.forget_registries();
        self.0.authorizer.forget();
        self.0.ready.forget();
    }

    /// Asks upstream now what a stored tag stands for.
    pub async fn refresh(&self, record: TagRecord) -> Refreshed {
        self.0.tags.refresh(&self.snapshot(), record).await
    }

    /// Forgets what is in memory only to be quick: the store has changed without this service's doing.
    pub fn forget(&self) {
        self.0.manifests.forget();
        self.0.tags.forget();
        self.0.grants.forget();
        self.0.ready.forget();
    }
}

impl Handler for Service {
    async fn handle(&self, request: Request<()>, peer: SocketAddr) -> Response<Body> {
        // Before the snapshot: should another one take its place meanwhile, the answer is not kept.
        let changes = self.0.ready.changes();
        let snapshot = self.snapshot();
        let method = if request.method() == http::Method::HEAD { Method::Head } else { Method::Get };
        let mut context = ResponseContext::new(method, None);
        let uri = request.uri();
        let is_user = request.extensions().get::<Identity>().is_some();
        let route = match oci::parse_route(request.method().as_str(), uri.path(), uri.query()) {
            Ok(route) => route,
            Err(refusal) => return context.refused(&refusal),
        };
        context.kind = Kind::of_route(&route);
        let (name, object) = match route {
            Route::Object { name, object, .. } => (name, object),
            Route::Ping { registry, .. } => {
                let answer = ping(&snapshot, registry, is_user).map(|()| context.pong());
                return answer.unwrap_or_else(|refusal| context.refused(&refusal));
            }
        };
        let place = match snapshot.namespaces.place(&name) {
            Ok(place) => place,
            Err(refusal) => {
                self.0.note_unconfigured(&refusal);
                return context.refused(&refusal);
            }
        };
        context.set_namespace(place.oci_namespace());
        context.registry = Some(place.registry.clone());
        context.is_private = snapshot.is_private(place.registry);
        let answer = self.0.answer(&snapshot, (&request, peer.ip()), &context, place, object, changes).await;
        answer.unwrap_or_else(|refusal| context.refused(&refusal))
    }

    fn prepared(&self, request: &PlainRequest<'_>) -> Option<Arc<PreparedResponse>> {
        self.0.ready.get(request, |digest| self.0.manifests.is_unsaved(digest))
    }

    fn reject(&self, rejected: Rejected) -> Response<Body> {
        rejection(rejected)
    }
}

/// Says whether a client may know that a registry is served here.
fn ping(snapshot: &Snapshot, registry: Option<String>, is_user: bool) -> Result<(), Refusal> {
    snapshot.audience.may_ping(is_user)?;
    match registry.filter(|registry| snapshot.namespaces.get(registry).is_none()) {
        Some(registry) => Err(Refusal::NameUnknown(registry)),
        None => Ok(()),
    }
}

impl Inner {
    /// Says in the log, now and then, that a registry is asked for which is not configured.
    fn note_unconfigured(&self, refusal: &Refusal) {
        if let Refusal::NameUnknown(registry) = refusal
            && self.unconfigured.is_due()
        {
            tracing::warn!(
                registry,
                "no upstream is configured for a registry that is asked for: add it, or take it out of the nodes' mirrors"
            );
        }
    }

    async fn answer(
        &self,
        snapshot: &Arc<Snapshot>,
        (request, client): (&Request<()>, IpAddr),
        context: &ResponseContext,
        place: RepositoryLocation<'_>,
        object: oci::Object,
        changes: u64,
    ) -> Result<Response<Body>, Refusal> {
        let is_user = request.extensions().get::<Identity>().is_some();
        snapshot.may_read(&place, is_user)?;
        let origin = Origin { registry: place.registry.clone(), repository: place.repository };
        let (member, headers) = (request.extensions().get::<Member>().copied(), request.headers());
        let is_stored = matches!(object, oci::Object::Manifest(_) | oci::Object::Blob(_));
        let is_for_all = !is_user && member.is_none() && is_stored;
        let ready_key = if is_for_all { ReadyAnswers::key(request, changes) } else { None };
        let ready_key = ready_key.as_ref();
        let request =
            RepositoryRequest { snapshot, origin, context, headers, client, is_user, member, ready_key };
        match object {
            oci::Object::Manifest(TagOrDigest::Tag(tag)) => self.tags.tag(&request, &tag).await,
            oci::Object::Manifest(TagOrDigest::Digest(digest)) => self.manifest(&request, &digest).await,
            oci::Object::Blob(digest) => self.blobs.blob(&request, &digest).await,
            oci::Object::Tags { n, last } => self.lists.tag_list(&request, n, last.as_deref()).await,
            oci::Object::Referrers { digest, artifact_type } => {
                self.lists.referrers(&request, &digest, artifact_type.as_deref()).await
            }
        }
    }

    /// Returns a manifest that is stored. One of the tier comes here only for those who may have it, or whose registry's
    /// word counts: nothing is kept for others, nor does the time tell them whether it is there.
    async fn stored_manifest(
        &self,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
    ) -> Option<Arc<PreparedManifest>> {
        let found = self.manifests.at_hand(digest).await;
        if found.is_some() || !self.manifests.has_tier() {
            return found;
        }
        let object = Object::manifest(*digest);
        let counts = self.authorizer.head_counts(request.snapshot, &request.origin, &object).await;
        if counts { self.manifests.stored(digest).await } else { None }
    }

    /// Answers with the manifest of a digest.
    async fn manifest(
        &self,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
    ) -> Result<Response<Body>, Refusal> {
        let object = Object::manifest(*digest);
        if let Some(prepared) = self.stored_manifest(request, digest).await {
            let authorized = self.authorizer.authorize_object(request, &object).await?;
            if authorized != Authorized::OnceFetched {
                request.takes(&self.manifests, &prepared).await;
                let response = request.manifest(&prepared, RequestedBy::Digest, Outcome::Hit, None);
                if authorized == Authorized::Stored && !self.manifests.is_unsaved(digest) {
                    self.ready.keep(request.ready_key, &response, object, None);
                }
                return Ok(response);
            }
        }
        self.authorizer.reject_known_missing(request, &object)?;
        let fetched = self.manifests.fetch(request, digest).await;
        let (outcome, fetched) = fetched.inspect_err(|refusal| {
            self.authorizer.note_missing(request, &object, refusal);
        })?;
        if let Fetched::Stored(prepared) = &fetched {
            request.takes(&self.manifests, prepared).await;
        }
        Ok(request.fetched(&fetched, RequestedBy::Digest, outcome))
    }
}
