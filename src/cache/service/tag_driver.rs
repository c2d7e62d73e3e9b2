#![expect(clippy::disallowed_methods, reason = "dates tags, and waits for upstream")]

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use super::driver::{Asked, Inner, locked};
use super::freshness::{BUDGET, Freshness, bearable, freshness};
use super::headers::{By, Ready, Staleness};
use super::manifest_driver::Got;
use super::refusals::{of_upstream, overloaded, staleness};
use super::world::World;
use crate::cache::observe::{Outcome, Revalidation};
use crate::cache::store::{Object, Origin, TagRecord};
use crate::cache::upstream::UpstreamError;
use crate::http::Body;
use crate::image::{RegistryHost, Tag, TagOrDigest};
use crate::oci::Refusal;

/// A tag of a repository of a registry.
pub(super) type TagKey = (Origin, Tag);

/// What asking upstream about a tag gave.
#[derive(Clone, Debug)]
pub(super) enum Checked {
    /// It stands where it stood.
    Same,
    /// It has moved, and what it is now is kept.
    Moved(Got),
    /// There is no such tag any more.
    Gone,
    /// Upstream does not say.
    Failed(&'static str, Refusal),
}

/// For how long a tag that is not there is not asked for again.
const ABSENT_FOR: Duration = Duration::from_secs(10);
/// For how long nobody waits for a registry that was too slow.
const SLOW_FOR: Duration = Duration::from_secs(10);

impl Inner {
    /// Answers with the manifest that a tag stands for.
    pub(super) async fn tag(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        tag: &Tag,
    ) -> Result<Response<Body>, Refusal> {
        let (ready, outcome, stale) = if let Some(found) = self.at_hand(asked, tag).await? {
            found
        } else {
            self.not_absent(&asked.origin, tag)?;
            match self.fetch(asked, TagOrDigest::Tag(tag.clone())).await? {
                (outcome, Got::Kept(ready)) => (ready, outcome, None),
                (outcome, passing @ Got::Passing(_)) => return Ok(asked.got(&passing, By::Tag, outcome)),
            }
        };
        let accept = asked.accept();
        if !accept.allows(&ready.media_type) {
            return self.pass_on(asked, &TagOrDigest::Tag(tag.clone()), &asked.accept_header()).await;
        }
        Ok(asked.manifest(&ready, By::Tag, outcome, stale.as_ref()))
    }

    /// Returns what a tag stands for as far as it is known, after asking upstream where that is due.
    async fn at_hand(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        tag: &Tag,
    ) -> Result<Option<(Arc<Ready>, Outcome, Option<Staleness>)>, Refusal> {
        let Some(record) = self.known(&asked.origin, tag).await else { return Ok(None) };
        let Some(ready) = self.ready(&record.digest).await else { return Ok(None) };
        let (world, registry) = (asked.world, &asked.origin.registry);
        let pause = world.upstream(registry)?.pause();
        let age = freshness(
            record.checked_at,
            Timestamp::now(),
            world.config.tag_ttl(registry, tag.as_str()),
            world.config.tags.stale,
            pause.is_none(),
        );
        let stale = |why| Some((Arc::clone(&ready), Outcome::Stale, Some(staleness(why, &record))));
        match age {
            Freshness::Fresh => Ok(Some((ready, Outcome::Hit, None))),
            Freshness::FreshAskMeanwhile => {
                drop(self.check(asked, &record));
                Ok(Some((ready, Outcome::Hit, None)))
            }
            Freshness::Stale => {
                self.metrics.revalidated(registry.as_str(), Revalidation::Stale);
                Ok(stale(pause.map_or("unreachable", |pause| pause.as_str())))
            }
            Freshness::TooOld => Ok(None),
            Freshness::Ask => {
                let run = self.check(asked, &record);
                let bearable = bearable(record.checked_at, Timestamp::now(), world.config.tags.stale);
                let checked = if bearable {
                    let patience = self.patience(registry).unwrap_or(Duration::ZERO);
                    let Ok(checked) = timeout(patience, run).await else {
                        locked(&self.slow).insert(registry.clone(), Instant::now());
                        self.metrics.revalidated(registry.as_str(), Revalidation::Stale);
                        return Ok(stale("does not answer in time"));
                    };
                    checked
                } else {
                    run.await
                };
                match checked.ok_or_else(overloaded)? {
                    Checked::Same => Ok(Some((ready, Outcome::Revalidated, None))),
                    Checked::Moved(Got::Kept(ready)) => Ok(Some((ready, Outcome::Miss, None))),
                    // What upstream has now cannot be kept: it is fetched again for whoever wants it.
                    Checked::Moved(Got::Passing(_)) => Ok(None),
                    Checked::Gone => Err(Refusal::ManifestUnknown(tag.to_string())),
                    Checked::Failed(why, refusal) => {
                        // Access that was taken away is gone; credentials that have run out take no public image away.
                        let denies = matches!(refusal, Refusal::UpstreamDenied { .. });
                        if bearable && !(denies && world.is_private(registry)) {
                            Ok(stale(why))
                        } else {
                            Err(refusal)
                        }
                    }
                }
            }
        }
    }

    /// Returns how long a client waits for what a registry says about a tag; not at all, if it was slow just now.
    fn patience(&self, registry: &RegistryHost) -> Option<Duration> {
        let slow = locked(&self.slow).get(registry).copied();
        slow.is_none_or(|since| since.elapsed() > SLOW_FOR).then_some(BUDGET)
    }

    /// Returns what is known about a tag, from memory or from the store.
    async fn known(&self, origin: &Origin, tag: &Tag) -> Option<Arc<TagRecord>> {
        let key = (origin.clone(), tag.clone());
        let found = locked(&self.tags).get(&key);
        if let Some(record) = found {
            return Some(record);
        }
        let record = self.store.tag(origin, tag).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read what a tag is");
            None
        })?;
        let record = Arc::new(record);
        locked(&self.tags).put(key, Arc::clone(&record), 1);
        Some(record)
    }

    /// Notes what a tag is.
    pub(super) async fn put_tag(&self, record: TagRecord) {
        let record = Arc::new(record);
        let key = (record.origin.clone(), record.tag.clone());
        locked(&self.absent).remove(&key);
        locked(&self.tags).put(key, Arc::clone(&record), 1);
        if let Err(error) = self.store.put_tag(&record).await {
            tracing::warn!(%error, "cannot note what a tag is");
        }
    }

    /// Notes that upstream has no such tag, and forgets what it was.
    pub(super) async fn is_absent(&self, origin: &Origin, tag: &Tag) {
        let key = (origin.clone(), tag.clone());
        locked(&self.tags).remove(&key);
        locked(&self.absent).put(key, Instant::now(), 1);
        if let Err(error) = self.store.remove_tag(origin, tag).await {
            tracing::warn!(%error, "cannot forget a tag");
        }
    }

    /// Refuses a tag of which upstream has just said that it is not there.
    fn not_absent(&self, origin: &Origin, tag: &Tag) -> Result<(), Refusal> {
        let since = locked(&self.absent).get(&(origin.clone(), tag.clone()));
        if since.is_some_and(|since| since.elapsed() < ABSENT_FOR) {
            return Err(Refusal::ManifestUnknown(tag.to_string()));
        }
        Ok(())
    }

    /// Asks upstream about a tag, once for all who want to know at the same time.
    fn check(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        record: &Arc<TagRecord>,
    ) -> impl Future<Output = Option<Checked>> + use<> {
        let key = (asked.origin.clone(), record.tag.clone());
        let (_, run) = self.checking.run(key, || {
            let (inner, world, record) = (Arc::clone(self), Arc::clone(asked.world), Arc::clone(record));
            async move { inner.check_now(&world, &record).await }
        });
        run
    }

    async fn check_now(self: &Arc<Self>, world: &World, record: &TagRecord) -> Checked {
        let registry = &record.origin.registry;
        let checked = self.check_once(world, record).await;
        let result = match &checked {
            Checked::Same => Revalidation::Unchanged,
            Checked::Moved(_) | Checked::Gone => Revalidation::Changed,
            Checked::Failed(..) => Revalidation::Failed,
        };
        if !matches!(checked, Checked::Failed(..)) {
            locked(&self.slow).remove(registry);
        }
        self.metrics.revalidated(registry.as_str(), result);
        checked
    }

    async fn check_once(self: &Arc<Self>, world: &World, record: &TagRecord) -> Checked {
        let (origin, tag) = (&record.origin, &record.tag);
        let upstream = match world.upstream(&origin.registry) {
            Ok(upstream) => upstream,
            Err(refusal) => return Checked::Failed("is not served any more", refusal),
        };
        let failed = |error: &UpstreamError| {
            let absent = || Refusal::ManifestUnknown(tag.to_string());
            Checked::Failed(error.as_str(), of_upstream(&origin.registry, error, absent))
        };
        let digest = match upstream.resolve(&origin.repository, tag).await {
            Ok(digest) => digest,
            Err(UpstreamError::NotFound) => {
                self.is_absent(origin, tag).await;
                return Checked::Gone;
            }
            Err(error) => return failed(&error),
        };
        let now = Timestamp::now();
        if digest == record.digest {
            self.put_tag(TagRecord { checked_at: now, ..record.clone() }).await;
            return Checked::Same;
        }
        // What another tag or another repository brought is here already.
        if let Some(ready) = self.ready(&digest).await {
            self.grant(origin, &Object::manifest(digest)).await;
            let media_type = ready.media_type.clone();
            self.put_tag(TagRecord { digest, media_type, checked_at: now, ..record.clone() }).await;
            return Checked::Moved(Got::Kept(ready));
        }
        match self.fetch_now(world, origin, &TagOrDigest::Tag(tag.clone())).await {
            Ok(got) => Checked::Moved(got),
            Err(Refusal::ManifestUnknown(_)) => Checked::Gone,
            Err(refusal) => Checked::Failed("cannot be fetched from", refusal),
        }
    }
}
