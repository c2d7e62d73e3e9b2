#![expect(clippy::disallowed_methods, reason = "dates answers")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use http::header::{ACCEPT, HeaderMap, HeaderName, IF_NONE_MATCH};
use http::{Request, Response};
use tokio::time::Instant;

use super::coalesce::{Coalesce, Part};
use super::generations::Generations;
use super::headers::{By, Frame, Ready, Staleness};
use super::manifest_driver::Got;
use super::tag_driver::{Checked, TagKey};
use super::world::World;
use crate::cache::auth::Identity;
use crate::cache::flight::Flights;
use crate::cache::observe::{Kind, Metrics, Outcome};
use crate::cache::refusal::rejection;
use crate::cache::store::{Object, Origin, Store, TagRecord};
use crate::http::{Body, Handler, Rejected};
use crate::image::{Digest, RegistryHost, TagOrDigest};
use crate::oci::{self, Accept, Method, Name, Refusal, Route, if_none_match};

/// How much memory manifests may take.
const MANIFESTS: usize = 64 << 20;
/// How many tags are kept in memory.
const TAGS: usize = 32_768;
/// How many facts about who has what are kept in memory.
const GRANTS: usize = 65_536;
/// How many tags that are not there are remembered.
const ABSENT: usize = 4096;

/// Answers requests from the store and from upstream registries; a copy is the same service.
#[derive(Clone, Debug)]
pub struct Service(Arc<Inner>);

/// What all requests share.
pub(super) struct Inner {
    pub(super) store: Arc<dyn Store>,
    pub(super) flights: Flights,
    pub(super) metrics: Arc<Metrics>,
    world: RwLock<Arc<World>>,
    pub(super) manifests: Mutex<Generations<Digest, Arc<Ready>>>,
    pub(super) tags: Mutex<Generations<TagKey, Arc<TagRecord>>>,
    /// Tags of which upstream said that they are not there, and when.
    pub(super) absent: Mutex<Generations<TagKey, Instant>>,
    /// What was seen to be in a repository: what the store knows too.
    granted: Mutex<Generations<(Origin, Object), ()>>,
    /// Registries that did not say within their time whether a tag has moved, and when.
    pub(super) slow: Mutex<HashMap<RegistryHost, Instant>>,
    pub(super) fetching: Coalesce<(Origin, TagOrDigest), Result<Got, Refusal>>,
    pub(super) checking: Coalesce<TagKey, Checked>,
    /// A search through all manifests takes a while: one at a time.
    pub(super) searching: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("flights", &self.flights).finish_non_exhaustive()
    }
}

/// A request whose place is known, by a client that may ask.
pub(super) struct Asked<'a> {
    pub(super) world: &'a Arc<World>,
    pub(super) origin: Origin,
    pub(super) frame: Frame,
    pub(super) headers: &'a HeaderMap,
}

/// Locks; what a panic left behind is whole, as nothing here is changed in steps.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    /// Makes a service of a store and what is fetched into it.
    pub fn new(store: Arc<dyn Store>, flights: Flights, metrics: Arc<Metrics>, world: World) -> Self {
        Self(Arc::new(Inner {
            store,
            flights,
            metrics,
            world: RwLock::new(Arc::new(world)),
            manifests: Mutex::new(Generations::new(MANIFESTS)),
            tags: Mutex::new(Generations::new(TAGS)),
            absent: Mutex::new(Generations::new(ABSENT)),
            granted: Mutex::new(Generations::new(GRANTS)),
            slow: Mutex::default(),
            fetching: Coalesce::default(),
            checking: Coalesce::default(),
            searching: tokio::sync::Mutex::default(),
        }))
    }

    /// Returns what is served now.
    pub fn world(&self) -> Arc<World> {
        self.0.world()
    }

    /// Serves something else from now on; requests that have begun end as they began.
    pub fn replace(&self, world: World) {
        *self.0.world.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(world);
        locked(&self.0.absent).clear();
        locked(&self.0.slow).clear();
    }

    /// Forgets what is in memory only to be quick: the store has changed without this service's doing.
    pub fn forget(&self) {
        locked(&self.0.manifests).clear();
        locked(&self.0.tags).clear();
        locked(&self.0.granted).clear();
    }
}

impl Handler for Service {
    async fn handle(&self, request: Request<()>, _peer: SocketAddr) -> Response<Body> {
        let world = self.0.world();
        let method = if request.method() == http::Method::HEAD { Method::Head } else { Method::Get };
        let mut frame = Frame::new(method, None);
        match self.0.answer(&world, &request, &mut frame).await {
            Ok(response) => response,
            Err(refusal) => frame.refused(&refusal),
        }
    }

    fn reject(&self, rejected: Rejected) -> Response<Body> {
        rejection(rejected)
    }
}

impl Inner {
    fn world(&self) -> Arc<World> {
        Arc::clone(&self.world.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn answer(
        self: &Arc<Self>,
        world: &Arc<World>,
        request: &Request<()>,
        frame: &mut Frame,
    ) -> Result<Response<Body>, Refusal> {
        let uri = request.uri();
        let route = oci::parse_route(request.method().as_str(), uri.path(), uri.query())?;
        frame.kind = Kind::of_route(&route);
        let is_user = request.extensions().get::<Identity>().is_some();
        let (name, object) = match route {
            Route::Ping { registry, .. } => {
                world.audience.may_ping(is_user)?;
                if let Some(registry) = registry.filter(|registry| world.namespaces.get(registry).is_none()) {
                    return Err(Refusal::NameUnknown(registry));
                }
                return Ok(frame.pong());
            }
            Route::Object { name, object, .. } => (name, object),
        };
        let asked = asked(world, &name, is_user, frame, request.headers())?;
        match object {
            oci::Object::Manifest(TagOrDigest::Tag(tag)) => self.tag(&asked, &tag).await,
            oci::Object::Manifest(TagOrDigest::Digest(digest)) => self.manifest(&asked, &digest).await,
            oci::Object::Blob(digest) => self.blob(&asked, &digest).await,
            oci::Object::Tags { n, last } => self.tag_list(&asked, n, last.as_deref()).await,
            oci::Object::Referrers { digest, artifact_type } => {
                self.referrers(&asked, &digest, artifact_type.as_deref()).await
            }
        }
    }

    /// Returns whether a repository was seen to have something.
    pub(super) async fn is_granted(&self, origin: &Origin, object: &Object) -> bool {
        let key = (origin.clone(), *object);
        if locked(&self.granted).get(&key).is_some() {
            return true;
        }
        let granted = self.store.granted(origin, object).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read who has what");
            false
        });
        if granted {
            locked(&self.granted).put(key, (), 1);
        }
        granted
    }

    /// Notes that a repository was seen to have something.
    pub(super) async fn grant(&self, origin: &Origin, object: &Object) {
        locked(&self.granted).put((origin.clone(), *object), (), 1);
        if let Err(error) = self.store.grant(origin, object).await {
            tracing::warn!(%error, "cannot note who has what");
        }
    }
}

/// Finds the place that a request means, and whether this client may ask for it.
fn asked<'a>(
    world: &'a Arc<World>,
    name: &Name,
    is_user: bool,
    frame: &mut Frame,
    headers: &'a HeaderMap,
) -> Result<Asked<'a>, Refusal> {
    let place = world.namespaces.place(name)?;
    frame.set_namespace(place.oci_namespace());
    frame.is_private = world.is_private(place.registry);
    world.may_read(&place, is_user)?;
    let origin = Origin { registry: place.registry.clone(), repository: place.repository };
    Ok(Asked { world, origin, frame: frame.clone(), headers })
}

impl Asked<'_> {
    /// Returns a header, if it is text.
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns what the client takes.
    pub(super) fn accept(&self) -> Accept {
        Accept::parse(self.accepts())
    }

    fn accepts(&self) -> impl Iterator<Item = &str> {
        self.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok())
    }

    /// Returns what the client takes, as one header.
    pub(super) fn accept_header(&self) -> String {
        self.accepts().collect::<Vec<_>>().join(", ")
    }

    /// Returns whether the client says that it has this content.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.header(IF_NONE_MATCH).is_some_and(|header| if_none_match(header, digest))
    }

    /// Answers with a manifest that is kept.
    pub(super) fn manifest(
        &self,
        ready: &Ready,
        by: By,
        outcome: Outcome,
        stale: Option<&Staleness>,
    ) -> Response<Body> {
        let now = jiff::Timestamp::now();
        let stale = stale.map(|stale| (&self.origin.registry, stale, now));
        ready.answer(&self.frame, by, outcome, stale, self.has(&ready.digest))
    }
}

impl Part {
    /// Returns where an answer came from that is of such a run.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::Began => Outcome::Miss,
            Self::Joined => Outcome::Follow,
        }
    }
}
