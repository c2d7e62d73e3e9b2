use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{Either, join_all, select};

use super::mark::{Limits, Plan, Snapshot, Unit, plan, rank, sweep};
use super::outcome::{Collected, Stage};
use super::place::{Answer, Body, Created, Failed, Listed, Part, Place};
use super::timing::{Rule, Timing};
use crate::cache::memory::locked;
use crate::cache::store::{Kind, Object};

/// How much is condemned at once: every cache keeps it in memory as long as a collection runs.
const MOST: usize = 50_000;
/// How much is asked for at once.
const AT_ONCE: usize = 16;

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

/// How a collector shows that it runs.
struct Heart<'a, P> {
    place: &'a P,
    timing: &'a Timing,
    number: u64,
    shown: Mutex<Duration>,
    /// It has begun to take away what was condemned.
    removes: AtomicBool,
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

    /// Removes a key, if others believe that it runs; returns whether they do.
    async fn remove(&self, run: impl Future<Output = Answer<()>> + Send) -> Answer<bool> {
        if !self.is_alive() {
            return Ok(false);
        }
        self.removes.store(true, Ordering::Relaxed);
        run.await?;
        Ok(true)
    }
}

/// Reads what a bucket holds; what manifests refer to is kept from an earlier look.
///
/// Tags come first: what is written before what it refers to is then seen with it, or is seen in neither.
pub(super) async fn take<P: Place>(place: &P, before: Option<&Snapshot>) -> Answer<Snapshot> {
    place.note(Stage::Lists);
    let mut snapshot = Snapshot { tags: place.tags().await?, ..Snapshot::default() };
    for kind in [Kind::Manifest, Kind::Blob] {
        snapshot.objects.extend(place.objects(kind).await?);
    }
    snapshot.grants = place.grants().await?;
    let mut unread = Vec::new();
    for object in snapshot.objects.keys().filter(|object| object.kind == Kind::Manifest) {
        match before.and_then(|before| before.links.get(&object.digest)) {
            Some(links) => drop(snapshot.links.insert(object.digest, links.clone())),
            None => unread.push(object.digest),
        }
    }
    let mut read = 0;
    for some in unread.chunks(AT_ONCE) {
        place.note(Stage::Reads { read, of: unread.len() });
        for (digest, links) in some.iter().zip(join_all(some.iter().map(|one| place.links(*one))).await) {
            match links? {
                Some(links) => drop(snapshot.links.insert(*digest, links)),
                // It has gone since it was listed.
                None => drop(snapshot.objects.remove(&Object::manifest(*digest))),
            }
        }
        read += some.len();
    }
    Ok(snapshot)
}

/// Runs a collection where none is under way.
pub(super) async fn collect<P: Place>(place: &P, timing: &Timing, limits: Limits) -> Answer<Outcome> {
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
        place.create(number, Part::Done, Body::Empty).await?;
    }
    let (number, begun) = (highest + 1, place.moment());
    if place.create(number, Part::Claim, Body::Empty).await? == Created::Existed {
        return Ok(Outcome::UnderWay(number));
    }
    let heart = Heart { place, timing, number, shown: Mutex::new(begun), removes: AtomicBool::new(false) };
    let work = pin!(async {
        tidy(place, timing, &listed, clock).await?;
        run(place, timing, limits, &heart, clock).await
    });
    match select(work, pin!(heart.run())).await {
        Either::Left((Err(error), _)) => {
            // What was asked to be removed may go yet: then others wait until it cannot.
            if !heart.removes.load(Ordering::Relaxed) {
                drop(place.create(number, Part::Done, Body::Empty).await);
            }
            Err(error)
        }
        Either::Left((outcome, _)) => outcome,
        Either::Right(((), _)) => Ok(Outcome::GivenUp(number)),
    }
}

/// Removes the keys of collections that ended long ago.
async fn tidy<P: Place>(place: &P, timing: &Timing, listed: &[Listed], clock: u64) -> Answer<()> {
    let ended = listed.iter().filter(|one| one.part == Part::Done);
    // Those who have just listed them may still read them.
    let long_ago = ended.filter(|one| clock.saturating_sub(one.written) > 4 * timing.dead.as_secs());
    for number in long_ago.map(|one| one.number) {
        let has = |part| listed.iter().any(|one| one.number == number && one.part == part);
        // A collection without its end would be one that is under way: the end goes last.
        for part in [Part::Claim, Part::Beat, Part::Condemned, Part::Done] {
            if has(part) {
                place.remove_part(number, part).await?;
            }
        }
    }
    Ok(())
}

async fn run<P: Place>(
    place: &P,
    timing: &Timing,
    limits: Limits,
    heart: &Heart<'_, P>,
    now: u64,
) -> Result<Outcome, Failed> {
    let number = heart.number;
    let given_up = Ok(Outcome::GivenUp(number));
    let before = take(place, None).await?;
    let mut first = plan(&before, now, limits, timing);
    let mut collected = Collected { number, kept: first.kept, ..Collected::default() };
    collected.kept_bytes = first.kept_bytes;
    collected.left = first.condemned.len().saturating_sub(MOST);
    first.condemned.truncate(MOST);
    for key in &first.superseded {
        // It says nothing that counts: that it goes late does no harm.
        if !heart.is_alive() {
            return given_up;
        }
        place.remove_key(key.clone()).await?;
        collected.superseded += 1;
    }
    if !first.condemned.is_empty() {
        let condemned = Body::Condemned(first.condemned.clone());
        // What others would read there is not what is to go.
        if place.create(number, Part::Condemned, condemned).await? == Created::Existed {
            return given_up;
        }
        place.note(Stage::Waits(timing.window));
        place.sleep(timing.window).await;
        let (after, second): (Snapshot, Plan) = if timing.keeps(Rule::SecondLook) {
            let after = take(place, Some(&before)).await?;
            let second = plan(&after, now, limits, timing);
            (after, second)
        } else {
            (before.clone(), first.clone())
        };
        let swept = sweep(&first, &before, &second, &after);
        // What refers to something goes before that does.
        for alike in swept.chunk_by(|a, b| rank(&before, a) == rank(&before, b)) {
            for some in alike.chunks(AT_ONCE) {
                let of = swept.len();
                let removed = collected.tags + collected.manifests + collected.blobs;
                place.note(Stage::Removes { removed, of });
                for removed in join_all(some.iter().map(|unit| remove(heart, unit, &before))).await {
                    if !removed? {
                        return given_up;
                    }
                }
                for unit in some {
                    collected.count(unit, &before);
                }
            }
        }
    }
    place.create(number, Part::Done, Body::Ended(collected)).await?;
    Ok(Outcome::Collected(collected))
}

/// Removes what was condemned as a whole; returns whether others believe that the collector runs.
async fn remove<P: Place>(heart: &Heart<'_, P>, unit: &Unit, before: &Snapshot) -> Answer<bool> {
    let object = match unit {
        Unit::Tag(key) => return heart.remove(heart.place.remove_key(key.clone())).await,
        Unit::Object(object) => object,
    };
    if before.objects.contains_key(object) && !heart.remove(heart.place.remove(*object)).await? {
        return Ok(false);
    }
    for key in before.grants.get(object).into_iter().flat_map(|grants| grants.keys()) {
        if !heart.remove(heart.place.remove_key(key.clone())).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Collected {
    /// Adds something that was taken away.
    pub(super) fn count(&mut self, unit: &Unit, before: &Snapshot) {
        match unit {
            Unit::Tag(_) => self.tags += 1,
            Unit::Object(object) => {
                // Grants of what is not there are no object.
                let Some(stored) = before.objects.get(object) else { return };
                self.bytes += stored.bytes;
                match object.kind {
                    Kind::Manifest => self.manifests += 1,
                    Kind::Blob => self.blobs += 1,
                }
            }
        }
    }
}
