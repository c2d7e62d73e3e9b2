#![expect(clippy::disallowed_methods, reason = "goes by the clock here where nothing may be written")]

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::bucket_place::BucketPlace;
use super::collector::{Outcome, collect, take};
use super::leftovers::{Leftovers, tidy};
use super::mark::{Limits, Snapshot, Unit, plan};
use super::outcome::{Collected, Stage};
use super::place::{Answer, Failed, Place as _};
use super::timing::Timing;
use crate::cache::bucket::client::Client;
use crate::cache::bucket::key::{Audience, Keys};
use crate::cache::store::Object;

/// A cycle of a collection, with what belongs to it.
pub(in crate::cache::bucket) struct Cycle {
    place: BucketPlace,
    timing: Timing,
    limits: Limits,
}

/// What came of a cycle.
#[derive(Clone, Debug)]
pub(in crate::cache::bucket) enum Cycled {
    /// It took something away, or found nothing to take away; what could not be tidied up beside it, and why.
    Collected(Collected, Result<Leftovers, Failed>),
    /// Another one is under way.
    UnderWay,
    /// It was given up by others, as it was silent for too long.
    GivenUp,
}

/// What a collection would take away.
#[derive(Clone, Debug)]
pub(in crate::cache::bucket) struct Removal {
    pub(in crate::cache::bucket) collected: Collected,
    pub(in crate::cache::bucket) leftovers: Leftovers,
    /// Blobs and manifests, their bytes, and repositories that have them.
    pub(in crate::cache::bucket) objects: Vec<(Object, u64, Vec<String>)>,
}

impl Cycle {
    pub(in crate::cache::bucket) fn new(client: &Client, keys: Keys, timing: Timing, limits: Limits) -> Self {
        Self { place: BucketPlace::new(client.for_collection(), keys, timing), timing, limits }
    }

    /// Has something told how far it has come.
    pub(in crate::cache::bucket) fn watched(self, watch: Arc<dyn Fn(Stage) + Send + Sync>) -> Self {
        Self { place: self.place.watched(watch), ..self }
    }

    /// Takes away what is not needed.
    pub(in crate::cache::bucket) async fn run(&self) -> Answer<Cycled> {
        match collect(&self.place, &self.timing, self.limits).await? {
            Outcome::Collected(collected) => {
                let tidied = async { tidy(&self.place, self.place.clock().await?, true).await };
                Ok(Cycled::Collected(collected, tidied.await))
            }
            Outcome::UnderWay(_) => Ok(Cycled::UnderWay),
            Outcome::GivenUp(_) => Ok(Cycled::GivenUp),
        }
    }

    /// Says what would be taken away, and changes nothing.
    pub(in crate::cache::bucket) async fn look(self) -> Answer<Removal> {
        let place = self.place;
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
        let before = take(&place, None).await?;
        let plan = plan(&before, now, self.limits, &self.timing);
        let mut collected = Collected {
            superseded: plan.superseded.len(),
            kept: plan.kept,
            kept_bytes: plan.kept_bytes,
            ..Collected::default()
        };
        let mut objects = Vec::new();
        for unit in &plan.condemned {
            collected.count(unit, &before);
            if let Unit::Object(object) = unit
                && let Some(stored) = before.objects.get(object)
            {
                objects.push((*object, stored.bytes, repositories(place.keys(), &before, object)));
            }
        }
        let leftovers = tidy(&place, now, false).await?;
        Ok(Removal { collected, leftovers, objects })
    }
}

/// Returns the repositories of which it was noted that they have something.
fn repositories(keys: &Keys, snapshot: &Snapshot, object: &Object) -> Vec<String> {
    let grants: Option<&BTreeMap<String, u64>> = snapshot.grants.get(object);
    let origin = |key: &String| {
        let found = Audience::ALL.into_iter().find_map(|audience| keys.origin(object, audience, key));
        found.map(|origin| format!("{}/{}", origin.registry, origin.repository))
    };
    let mut all: Vec<String> = grants.into_iter().flat_map(BTreeMap::keys).filter_map(origin).collect();
    all.sort();
    all.dedup();
    all
}
