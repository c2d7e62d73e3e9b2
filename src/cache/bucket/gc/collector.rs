use std::pin::pin;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::mark::{Limits, Plan, Snapshot, Unit, plan, sweep};
use super::place::{Created, Failed, Part, Place};
use super::timing::{Rule, Timing};
use crate::cache::memory::locked;
use crate::cache::store::Kind;

/// What came of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It took something away, or found nothing to take away.
    Collected(Collected),
    /// Another one is under way.
    UnderWay(u64),
    /// It was given up by others, as it was silent for too long.
    GivenUp(u64),
}

/// What a collection took away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Collected {
    pub(super) number: u64,
    pub(super) units: usize,
    pub(super) bytes: u64,
}

/// How a collector shows that it runs.
struct Heart<'a, P> {
    place: &'a P,
    timing: &'a Timing,
    number: u64,
    shown: Mutex<Duration>,
}

impl<P: Place> Heart<'_, P> {
    /// Shows it now and then; ends when others have given the collection up.
    async fn run(&self) {
        loop {
            self.place.sleep(self.timing.beat).await;
            let now = self.place.moment();
            if self.place.beat(self.number).await.is_err() {
                continue;
            }
            let Ok(listed) = self.place.collections().await else { continue };
            if listed.iter().any(|one| one.number == self.number && one.part == Part::Done) {
                return;
            }
            *locked(&self.shown) = now;
        }
    }

    /// Returns whether others believe that it runs.
    fn is_alive(&self) -> bool {
        let silent = self.place.moment().saturating_sub(*locked(&self.shown));
        silent < self.timing.alive || !self.timing.keeps(Rule::Alive)
    }
}

/// Reads what a bucket holds; what manifests refer to is kept from an earlier look.
///
/// Tags come first: what is written before what it refers to is then seen with it, or is seen in neither.
pub(super) async fn take<P: Place>(place: &P, before: Option<&Snapshot>) -> Result<Snapshot, Failed> {
    let mut snapshot = Snapshot { tags: place.tags().await?, ..Snapshot::default() };
    for kind in [Kind::Manifest, Kind::Blob] {
        snapshot.objects.extend(place.objects(kind).await?);
    }
    snapshot.grants = place.grants().await?;
    let manifests = snapshot.objects.keys().filter(|object| object.kind == Kind::Manifest);
    let manifests: Vec<_> = manifests.map(|object| object.digest).collect();
    for digest in manifests {
        let links = match before.and_then(|before| before.links.get(&digest)) {
            Some(links) => Some(links.clone()),
            None => place.links(digest).await?,
        };
        snapshot.links.extend(links.map(|links| (digest, links)));
    }
    Ok(snapshot)
}

/// Runs a collection where none is under way.
pub(super) async fn collect<P: Place>(place: &P, timing: &Timing, limits: Limits) -> Result<Outcome, Failed> {
    let clock = place.clock().await?;
    let listed = place.collections().await?;
    let highest = listed.iter().map(|one| one.number).max().unwrap_or(0);
    let is_done = |number| listed.iter().any(|one| one.number == number && one.part == Part::Done);
    for number in listed.iter().map(|one| one.number).filter(|number| !is_done(*number)) {
        let last = listed.iter().filter(|one| one.number == number).map(|one| one.written).max();
        // A second is what dates are cut to.
        if clock.saturating_sub(last.unwrap_or(0)) <= timing.dead.as_secs() + 1 {
            return Ok(Outcome::UnderWay(number));
        }
        place.create(number, Part::Done, Vec::new()).await?;
    }
    let (number, begun) = (highest + 1, place.moment());
    if place.create(number, Part::Claim, Vec::new()).await? == Created::Existed {
        return Ok(Outcome::UnderWay(number));
    }
    let heart = Heart { place, timing, number, shown: Mutex::new(begun) };
    let work = pin!(run(place, timing, limits, &heart, clock));
    match select(work, pin!(heart.run())).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(((), _)) => Ok(Outcome::GivenUp(number)),
    }
}

async fn run<P: Place>(
    place: &P,
    timing: &Timing,
    limits: Limits,
    heart: &Heart<'_, P>,
    now: u64,
) -> Result<Outcome, Failed> {
    let number = heart.number;
    let before = take(place, None).await?;
    let first = plan(&before, now, limits, timing);
    for key in &first.superseded {
        if !heart.is_alive() {
            return Ok(Outcome::GivenUp(number));
        }
        place.remove_key(key.clone()).await?;
    }
    let mut collected = Collected { number, ..Collected::default() };
    if !first.condemned.is_empty() {
        place.create(number, Part::Condemned, first.condemned.clone()).await?;
        place.sleep(timing.window).await;
        let (after, second): (Snapshot, Plan) = if timing.keeps(Rule::SecondLook) {
            let after = take(place, Some(&before)).await?;
            let second = plan(&after, now, limits, timing);
            (after, second)
        } else {
            (before.clone(), first.clone())
        };
        for unit in sweep(&first, &before, &second, &after) {
            if !heart.is_alive() {
                return Ok(Outcome::GivenUp(number));
            }
            match &unit {
                Unit::Tag(key) => place.remove_key(key.clone()).await?,
                Unit::Object(object) => {
                    if let Some(stored) = before.objects.get(object) {
                        place.remove(*object).await?;
                        collected.bytes += stored.bytes;
                    }
                    for key in before.grants.get(object).into_iter().flat_map(|grants| grants.keys()) {
                        if !heart.is_alive() {
                            return Ok(Outcome::GivenUp(number));
                        }
                        place.remove_key(key.clone()).await?;
                    }
                }
            }
            collected.units += 1;
        }
    }
    place.create(number, Part::Done, Vec::new()).await?;
    Ok(Outcome::Collected(collected))
}
