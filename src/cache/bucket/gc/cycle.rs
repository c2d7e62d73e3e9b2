#![expect(clippy::disallowed_methods, reason = "goes by the clock here where nothing may be written")]

use std::collections::HashSet;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use jiff::Timestamp;

use super::bucket_place::BucketPlace;
use super::collector::{Outcome, collect, take};
use super::leftovers::{Leftovers, tidy};
use super::mark::{Limits, Unit};
use super::named::{Named, What};
use super::outcome::{Collected, Stage};
use super::place::{Answer, Failed, Place as _};
use super::snapshot::LinkMap;
use super::timing::Timing;
use crate::cache::bucket::client::Client;
use crate::cache::bucket::key::Keys;
use crate::cache::memory::locked;
use crate::cache::store::Object;

/// A cycle of a collection, with what belongs to it.
pub(in crate::cache::bucket) struct Cycle {
    place: BucketPlace,
    timing: Timing,
    what: What,
    links: Arc<Mutex<LinkMap>>,
}

/// What came of a cycle.
#[derive(Clone, Debug)]
pub(in crate::cache::bucket) enum Cycled {
    /// It took something away, or found nothing to take away; what was tidied up beside it, and why something is still
    /// there.
    Collected(Collected, Leftovers, Option<Failed>),
    /// Another one is under way.
    UnderWay,
    /// It was given up by others, as it was silent for too long.
    GivenUp,
    /// It was told to stop.
    Stopped,
}

/// What a collection would take away.
#[derive(Clone, Debug)]
pub(in crate::cache::bucket) struct Removal {
    pub(in crate::cache::bucket) collected: Collected,
    pub(in crate::cache::bucket) leftovers: Leftovers,
    /// The keys of the newest entries of tags.
    pub(in crate::cache::bucket) tags: Vec<String>,
    /// Blobs and manifests, their bytes, and repositories that have them.
    pub(in crate::cache::bucket) objects: Vec<(Object, u64, Vec<String>)>,
}

impl Cycle {
    pub(in crate::cache::bucket) fn new(client: &Client, keys: Keys, timing: Timing, limits: Limits) -> Self {
        let place = BucketPlace::new(client.for_collection(), keys, timing);
        Self { place, timing, what: What::Garbage(limits), links: Arc::default() }
    }

    /// Takes away what is named, in place of what no image needs.
    pub(in crate::cache::bucket) fn named(self, named: Named) -> Self {
        Self { what: What::Named(Arc::new(named)), ..self }
    }

    /// Has something told how far it has come.
    pub(in crate::cache::bucket) fn watched(self, watch: Arc<dyn Fn(Stage) + Send + Sync>) -> Self {
        Self { place: self.place.watched(watch), ..self }
    }

    /// Goes by what is known already: of what manifests refer to, and of keys that were written not long ago.
    pub(in crate::cache::bucket) fn knowing(self, links: Arc<Mutex<LinkMap>>, written: Vec<String>) -> Self {
        Self { place: self.place.knowing(written), links, ..self }
    }

    /// Takes away what is not needed, again at once where it is too much for one collection; ends when `stop` does.
    pub(in crate::cache::bucket) async fn run(
        &self,
        stop: impl Future<Output = ()> + Send,
    ) -> Answer<Cycled> {
        let stop = pin!(stop);
        let stop = stop.shared();
        let (mut all, mut trouble) = (None::<Collected>, None);
        loop {
            let mut links = std::mem::take(&mut *locked(&self.links));
            let ended = collect(&self.place, &self.timing, self.what.clone(), &mut links, stop.clone()).await;
            *locked(&self.links) = links;
            let (one, why) = match ended? {
                Outcome::Collected(one, why) => (one, why),
                Outcome::Stopped => return Ok(Cycled::Stopped),
                Outcome::UnderWay(_) if all.is_none() => return Ok(Cycled::UnderWay),
                Outcome::GivenUp(_) if all.is_none() => return Ok(Cycled::GivenUp),
                // Another one goes on with what is left; with what somebody named, nobody does.
                Outcome::UnderWay(_) | Outcome::GivenUp(_) => {
                    if let What::Named(_) = self.what {
                        let why = "another collection came first before all of it was removed: run it again";
                        trouble = trouble.or_else(|| Some(Failed(why.to_owned())));
                    }
                    break;
                }
            };
            let has_removed = one.tags + one.manifests + one.blobs > 0;
            let is_all = one.left == 0 || !has_removed || one.failed > 0;
            all = Some(all.unwrap_or_default().and(one));
            trouble = trouble.or(why);
            if is_all {
                break;
            }
        }
        if let What::Named(_) = self.what {
            return Ok(Cycled::Collected(all.unwrap_or_default(), Leftovers::default(), trouble));
        }
        let tidied = async { tidy(&self.place, self.place.clock().await?, true).await };
        let (leftovers, why) = match tidied.await {
            Ok(leftovers) => (leftovers, None),
            Err(error) => (Leftovers::default(), Some(error)),
        };
        Ok(Cycled::Collected(all.unwrap_or_default(), leftovers, trouble.or(why)))
    }

    /// Says what would be taken away, and changes nothing.
    pub(in crate::cache::bucket) async fn look(self) -> Answer<Removal> {
        let place = self.place.reading();
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
        let old = now.saturating_sub(self.timing.grace.as_secs());
        let mut links = LinkMap::new();
        let before = take(&place, &mut links, &HashSet::new(), old).await?.snapshot;
        let (what, timing) = (self.what.clone(), self.timing);
        let thought = place.think(move || {
            let judged = what.judge(&before, &links, now, &timing);
            let mut plan = judged.plan(&before, &links, usize::MAX);
            let (kept, kept_bytes, young) = (judged.kept, judged.kept_bytes, judged.young);
            let collected = Collected { kept_bytes, kept, young, ..Collected::of(&plan) };
            let tags = plan.condemned.iter().filter_map(|one| match &one.unit {
                Unit::Tag(key) => Some(key.clone()),
                Unit::Object(_) => None,
            });
            let tags = tags.collect();
            plan.condemned.retain(|one| one.stored.is_some());
            (plan.condemned, tags, collected)
        });
        let (condemned, tags, collected) = thought.await;
        if let What::Named(_) = self.what {
            return Ok(Removal { collected, tags, leftovers: Leftovers::default(), objects: Vec::new() });
        }
        let mut objects = Vec::new();
        let repositories = place.repositories(&condemned).await?;
        for one in condemned {
            if let (Unit::Object(object), Some(stored)) = (one.unit, one.stored) {
                let repositories = repositories.get(&object).cloned().unwrap_or_default();
                objects.push((object, stored.bytes, repositories.into_iter().collect()));
            }
        }
        let leftovers = tidy(&place, now, false).await?;
        Ok(Removal { collected, leftovers, tags, objects })
    }
}
