#![expect(clippy::disallowed_methods, reason = "dates tags, and waits for upstream")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Response;
use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use super::authorize::Authorizer;
use super::errors::{overloaded, staleness, within_wait_budget};
use super::freshness::{BUDGET, Freshness, fresh_until, freshness, servable_stale};
use super::manifest::{Fetched, Keep, Manifests, unknown};
use super::ready::{Believed, ReadyAnswers};
use super::request::RepositoryRequest;
use super::response::{PreparedManifest, RequestedBy, Staleness};
use super::single_flight::SingleFlight;
use super::snapshot::Snapshot;
use crate::cache::download::FetchError;
use crate::cache::memory::{BoundedMap, locked};
use crate::cache::observe::{Metrics, Outcome, Revalidation};
use crate::cache::store::{Object, Origin, Store, TagRecord};
use crate::http::Body;
use crate::image::{Digest, Tag, TagOrDigest};
use crate::oci::Refusal;

/// A tag of a repository of a registry.
type TagKey = (Origin, Tag);

/// What asking upstream about a tag gave.
#[derive(Clone, Debug)]
enum Revalidated {
    /// It stands where it stood.
    Unchanged,
    /// It has moved, and what it is now is fetched.
    Moved(Fetched),
    /// There is no such tag any more.
    Gone,
    /// Upstream does not say.
    Failed(&'static str, Refusal),
}

/// What a tag stands for.
struct Resolved {
    prepared: Arc<PreparedManifest>,
    outcome: Outcome,
    /// What the answer says of it, if it is older than it should be.
    stale: Option<Staleness>,
    /// For how long the same holds for others, where nothing need be done meanwhile.
    believed: Option<Believed>,
}

impl Resolved {
    fn now(prepared: Arc<PreparedManifest>, outcome: Outcome) -> Self {
        Self { prepared, outcome, stale: None, believed: None }
    }
}

/// What a registry said of a tag that it was asked for on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// It stands where it stood.
    Unchanged,
    /// It has moved; to which manifest, where that can be kept.
    Moved(Option<Digest>),
    /// There is no such tag any more.
    Gone,
    /// The registry does not say, and why.
    Failed(String),
}

/// How many tags are kept in memory.
const TAGS: usize = 32_768;
/// How many tags that are not there are remembered.
const ABSENT: usize = 4096;
/// For how long a tag that is not there is not asked for again.
const ABSENT_FOR: Duration = Duration::from_secs(10);
/// How many repositories are remembered whose registry was too slow.
const SLOW: usize = 4096;
/// For how long no client waits for a registry that was too slow.
const SLOW_FOR: Duration = Duration::from_secs(10);

/// Tags: what they stood for last, and whether upstream still says so.
pub(super) struct Tags {
    store: Arc<dyn Store>,
    manifests: Arc<Manifests>,
    ready: Arc<ReadyAnswers>,
    authorizer: Arc<Authorizer>,
    metrics: Arc<Metrics>,
    cached: Mutex<BoundedMap<TagKey, Arc<TagRecord>>>,
    /// Tags of which upstream said that they are not there, and when.
    absent: Mutex<BoundedMap<TagKey, Instant>>,
    /// Repositories whose registry did not say within its time whether a tag has moved, and when.
    slow: Mutex<BoundedMap<Origin, Instant>>,
    fetching: SingleFlight<TagKey, Result<Fetched, Refusal>>,
    checking: SingleFlight<TagKey, Revalidated>,
}

impl Tags {
    pub(super) fn new(
        store: Arc<dyn Store>,
        manifests: Arc<Manifests>,
        ready: Arc<ReadyAnswers>,
        authorizer: Arc<Authorizer>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            store,
            manifests,
            ready,
            authorizer,
            metrics,
            cached: Mutex::new(BoundedMap::new(TAGS)),
            absent: Mutex::new(BoundedMap::new(ABSENT)),
            slow: Mutex::new(BoundedMap::new(SLOW)),
            fetching: SingleFlight::default(),
            checking: SingleFlight::default(),
        }
    }

    /// Forgets what is in memory only to be quick.
    pub(super) fn forget(&self) {
        locked(&self.cached).clear();
    }

    /// Forgets what registries said and did that may be other ones now.
    pub(super) fn forget_registries(&self) {
        locked(&self.absent).clear();
        locked(&self.slow).clear();
    }

    /// Answers with the manifest that a tag stands for.
    pub(super) async fn tag(
        self: &Arc<Self>,
        request: &RepositoryRequest<'_>,
        tag: &Tag,
    ) -> Result<Response<Body>, Refusal> {
        let resolved = if let Some(found) = self.resolve_tag(request, tag).await? {
            found
        } else {
            self.reject_known_absent(&request.origin, tag)?;
            match self.fetch(request, tag).await? {
                (outcome, Fetched::Stored(prepared)) => Resolved::now(prepared, outcome),
                (outcome, fetched @ Fetched::Transient(_)) => {
                    return Ok(request.fetched(&fetched, RequestedBy::Tag, outcome));
                }
            }
        };
        let Resolved { prepared, outcome, stale, believed } = resolved;
        request.takes(&self.manifests, &prepared).await;
        let accept = request.accept();
        if !accept.allows(&prepared.media_type) {
            return self
                .manifests
                .pass_on(request, &TagOrDigest::Tag(tag.clone()), &request.accept_header())
                .await;
        }
        let response = request.manifest(&prepared, RequestedBy::Tag, outcome, stale.as_ref());
        if believed.is_some() && !self.manifests.is_unsaved(&prepared.digest) {
            self.ready.keep(request.ready_key, &response, Object::manifest(prepared.digest), believed);
        }
        Ok(response)
    }

    /// Returns what a tag stands for as far as it is known, after asking upstream where that is due.
    async fn resolve_tag(
        self: &Arc<Self>,
        request: &RepositoryRequest<'_>,
        tag: &Tag,
    ) -> Result<Option<Resolved>, Refusal> {
        let Some(record) = self.cached_tag(&request.origin, tag).await else { return Ok(None) };
        let Some(prepared) = self.manifests.stored(&record.digest).await else { return Ok(None) };
        let (snapshot, registry) = (request.snapshot, &request.origin.registry);
        let pause = snapshot.upstream(registry)?.pause_of(&request.origin.repository, tag);
        let ttl = snapshot.config.tag_ttl(registry, tag.as_str());
        let age =
            freshness(record.checked_at, Timestamp::now(), ttl, snapshot.config.tags.stale, pause.is_none());
        let may_ask_now = matches!(age, Freshness::Fresh | Freshness::FreshAskMeanwhile) && pause.is_none();
        let age = if may_ask_now && request.wants_fresh() { Freshness::Ask } else { age };
        let stale = |why| {
            let stale = Some(staleness(why, &record));
            Some(Resolved { stale, ..Resolved::now(Arc::clone(&prepared), Outcome::Stale) })
        };
        match age {
            Freshness::Fresh => {
                let believed = fresh_until(record.checked_at, ttl).map(|until| Believed { record, until });
                Ok(Some(Resolved { believed, ..Resolved::now(prepared, Outcome::Hit) }))
            }
            Freshness::FreshAskMeanwhile => {
                drop(self.check(request, &record));
                Ok(Some(Resolved::now(prepared, Outcome::Hit)))
            }
            Freshness::Stale => {
                self.metrics.revalidated(registry.as_str(), Revalidation::Stale);
                Ok(stale(pause.map_or("unreachable", |pause| pause.as_str())))
            }
            Freshness::TooOld => Ok(None),
            Freshness::Ask => {
                let run = self.check(request, &record);
                let servable =
                    servable_stale(record.checked_at, Timestamp::now(), snapshot.config.tags.stale);
                let checked = if servable {
                    let wait_budget = self.wait_budget(&request.origin).unwrap_or(Duration::ZERO);
                    let Ok(checked) = timeout(wait_budget, run).await else {
                        locked(&self.slow).put(request.origin.clone(), Instant::now(), 1);
                        self.metrics.revalidated(registry.as_str(), Revalidation::Stale);
                        return Ok(stale("does not answer in time"));
                    };
                    checked
                } else {
                    within_wait_budget(registry, run).await?
                };
                match checked.ok_or_else(overloaded)? {
                    Revalidated::Unchanged => Ok(Some(Resolved::now(prepared, Outcome::Revalidated))),
                    Revalidated::Moved(Fetched::Stored(prepared)) => {
                        Ok(Some(Resolved::now(prepared, Outcome::Miss)))
                    }
                    // What upstream has now cannot be kept: it is fetched again for each client that wants it.
                    Revalidated::Moved(Fetched::Transient(_)) => Ok(None),
                    Revalidated::Gone => Err(Refusal::ManifestUnknown(tag.to_string())),
                    Revalidated::Failed(why, refusal) => {
                        // Access that was taken away is gone; credentials that have run out take no public image away.
                        let denies = matches!(refusal, Refusal::UpstreamDenied { .. });
                        if servable && !(denies && snapshot.is_private(registry)) {
                            Ok(stale(why))
                        } else {
                            Err(refusal)
                        }
                    }
                }
            }
        }
    }

    /// Returns how long a client waits for what a registry says about a tag; not at all, if it was slow just now about
    /// one of the same repository.
    fn wait_budget(&self, origin: &Origin) -> Option<Duration> {
        let slow = locked(&self.slow).get(origin);
        slow.is_none_or(|since| since.elapsed() > SLOW_FOR).then_some(BUDGET)
    }

    /// Returns what is known about a tag, from memory or from the store.
    async fn cached_tag(&self, origin: &Origin, tag: &Tag) -> Option<Arc<TagRecord>> {
        let key = (origin.clone(), tag.clone());
        let found = locked(&self.cached).get(&key);
        if let Some(record) = found {
            return Some(record);
        }
        let record = self.store.tag(origin, tag).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read what a tag is");
            None
        })?;
        let record = Arc::new(record);
        locked(&self.cached).put(key, Arc::clone(&record), 1);
        Some(record)
    }

    /// Notes what a tag is.
    async fn put_tag(&self, record: TagRecord) {
        let record = Arc::new(record);
        let key = (record.origin.clone(), record.tag.clone());
        locked(&self.absent).remove(&key);
        let has_moved = {
            let mut cached = locked(&self.cached);
            let known = cached.get(&key);
            cached.put(key, Arc::clone(&record), 1);
            known.is_none_or(|known| known.digest != record.digest)
        };
        if has_moved {
            self.ready.forget_tag(&record.origin, &record.tag);
        }
        if self.manifests.hold_tag(&record) {
            return;
        }
        if let Err(error) = self.store.put_tag(&record).await {
            tracing::warn!(%error, "cannot note what a tag is");
        }
    }

    /// Notes that upstream has no such tag, and forgets what it was.
    async fn note_absent(&self, origin: &Origin, tag: &Tag) {
        let key = (origin.clone(), tag.clone());
        locked(&self.cached).remove(&key);
        self.ready.forget_tag(origin, tag);
        locked(&self.absent).put(key, Instant::now(), 1);
        self.manifests.drop_tag(origin, tag);
        if let Err(error) = self.store.remove_tag(origin, tag).await {
            tracing::warn!(%error, "cannot forget a tag");
        }
    }

    /// Refuses a tag of which upstream has just said that it is not there.
    fn reject_known_absent(&self, origin: &Origin, tag: &Tag) -> Result<(), Refusal> {
        let since = locked(&self.absent).get(&(origin.clone(), tag.clone()));
        if since.is_some_and(|since| since.elapsed() < ABSENT_FOR) {
            return Err(Refusal::ManifestUnknown(tag.to_string()));
        }
        Ok(())
    }

    /// Asks upstream about a tag, once for all who want to know at the same time.
    fn check(
        self: &Arc<Self>,
        request: &RepositoryRequest<'_>,
        record: &Arc<TagRecord>,
    ) -> impl Future<Output = Option<Revalidated>> + use<> {
        let key = (request.origin.clone(), record.tag.clone());
        let (_, run) = self.checking.run(key, || {
            let (tags, snapshot, record) =
                (Arc::clone(self), Arc::clone(request.snapshot), Arc::clone(record));
            async move { tags.check_now(&snapshot, &record).await }
        });
        run
    }

    /// Asks upstream about a tag because that is wanted, however old what is known is.
    pub(super) async fn refresh(self: &Arc<Self>, snapshot: &Arc<Snapshot>, record: TagRecord) -> Refreshed {
        let registry = record.origin.registry.clone();
        let (_, run) = self.checking.run((record.origin.clone(), record.tag.clone()), || {
            let (tags, snapshot) = (Arc::clone(self), Arc::clone(snapshot));
            async move { tags.check_now(&snapshot, &record).await }
        });
        match run.await {
            Some(Revalidated::Unchanged) => Refreshed::Unchanged,
            Some(Revalidated::Moved(Fetched::Stored(prepared))) => Refreshed::Moved(Some(prepared.digest)),
            Some(Revalidated::Moved(Fetched::Transient(_))) => Refreshed::Moved(None),
            Some(Revalidated::Gone) => Refreshed::Gone,
            Some(Revalidated::Failed(why, _)) => Refreshed::Failed(format!("{registry} {why}")),
            None => Refreshed::Failed("the request was ended".to_owned()),
        }
    }

    async fn check_now(self: &Arc<Self>, snapshot: &Snapshot, record: &TagRecord) -> Revalidated {
        let registry = &record.origin.registry;
        let checked = self.check_once(snapshot, record).await;
        let result = match &checked {
            Revalidated::Unchanged => Revalidation::Unchanged,
            Revalidated::Moved(_) | Revalidated::Gone => Revalidation::Changed,
            Revalidated::Failed(..) => Revalidation::Failed,
        };
        if !matches!(checked, Revalidated::Failed(..)) {
            locked(&self.slow).remove(&record.origin);
        }
        self.metrics.revalidated(registry.as_str(), result);
        checked
    }

    async fn check_once(self: &Arc<Self>, snapshot: &Snapshot, record: &TagRecord) -> Revalidated {
        let (origin, tag) = (&record.origin, &record.tag);
        let upstream = match snapshot.upstream(&origin.registry) {
            Ok(upstream) => upstream,
            Err(refusal) => return Revalidated::Failed("is not served any more", refusal),
        };
        let reference = TagOrDigest::Tag(tag.clone());
        let failed = |why, error: &FetchError| Revalidated::Failed(why, unknown(origin, &reference, error));
        let digest = match upstream.resolve(&origin.repository, tag).await {
            Ok(digest) => digest,
            Err(FetchError::NotFound) => {
                self.note_absent(origin, tag).await;
                return Revalidated::Gone;
            }
            Err(error) => return failed(error.as_str(), &error),
        };
        let now = Timestamp::now();
        if digest == record.digest {
            self.put_tag(TagRecord { checked_at: now, ..record.clone() }).await;
            return Revalidated::Unchanged;
        }
        // What another tag or another repository brought is here already.
        let object = Object::manifest(digest);
        if self.authorizer.head_counts(snapshot, origin, &object).await
            && let Some(prepared) = self.manifests.stored(&digest).await
        {
            self.manifests.grant(origin, &digest).await;
            let media_type = prepared.media_type.clone();
            self.put_tag(TagRecord { digest, media_type, checked_at: now, ..record.clone() }).await;
            return Revalidated::Moved(Fetched::Stored(prepared));
        }
        let keep = if self.manifests.is_unsaved(&record.digest) { Keep::OnceTaken } else { Keep::Now };
        match self.fetch_now(snapshot, origin, tag, keep).await {
            Ok(fetched) => Revalidated::Moved(fetched),
            Err(FetchError::NotFound) => Revalidated::Gone,
            Err(error) => failed("cannot be fetched from", &error),
        }
    }

    /// Fetches what a tag stands for, once for all clients that want it at the same time.
    async fn fetch(
        self: &Arc<Self>,
        request: &RepositoryRequest<'_>,
        tag: &Tag,
    ) -> Result<(Outcome, Fetched), Refusal> {
        let (part, run) = self.fetching.run((request.origin.clone(), tag.clone()), || {
            let (tags, snapshot) = (Arc::clone(self), Arc::clone(request.snapshot));
            let (origin, tag) = (request.origin.clone(), tag.clone());
            async move {
                let fetched = tags.fetch_now(&snapshot, &origin, &tag, Keep::OnceTaken).await;
                fetched.map_err(|error| unknown(&origin, &TagOrDigest::Tag(tag), &error))
            }
        });
        let fetched = within_wait_budget(&request.origin.registry, run).await?.ok_or_else(overloaded)??;
        Ok((part.outcome(), fetched))
    }

    /// Fetches what a tag stands for, and notes what that is.
    async fn fetch_now(
        &self,
        snapshot: &Snapshot,
        origin: &Origin,
        tag: &Tag,
        keep: Keep,
    ) -> Result<Fetched, FetchError> {
        let reference = TagOrDigest::Tag(tag.clone());
        let fetched = self.manifests.fetch_now(snapshot, origin, &reference, keep).await;
        match &fetched {
            Ok(Fetched::Stored(prepared)) => {
                self.put_tag(TagRecord {
                    origin: origin.clone(),
                    tag: tag.clone(),
                    digest: prepared.digest,
                    media_type: prepared.media_type.clone(),
                    checked_at: Timestamp::now(),
                })
                .await;
            }
            Err(FetchError::NotFound) => self.note_absent(origin, tag).await,
            Ok(Fetched::Transient(_)) | Err(_) => {}
        }
        fetched
    }
}
