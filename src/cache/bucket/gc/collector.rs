use std::collections::{HashMap, HashSet};
use std::mem::take as take_out;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{Either, join_all, select};

use super::mark::{Condemned, Graph, Plan, Rank, Unit};
use super::named::What;
use super::outcome::{Collected, Stage};
use super::place::{Answer, Body, Created, Failed, Listed, Part, Place};
use super::snapshot::{Grants, LinkMap, Row, ShortLinks, Snapshot, remember};
use super::timing::{Rule, Timing};
use crate::cache::memory::locked;
use crate::cache::store::{Kind, Object};

/// How much is asked for at once.
const AT_ONCE: usize = 16;
/// How often it is tried to remove something.
const TRIES: u32 = 3;
/// How long it is waited before that is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How much may be left that could not be removed: after that, nothing can be.
const MOST_FAILED: usize = 50;
/// Of how many manifests that should be there it is asked whether they are.
const ASKED: usize = 1000;

/// What came of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It took something away, or found nothing to take away; why something of that is still there.
    Collected(Collected, Option<Failed>),
    /// Another one is under way.
    UnderWay(u64),
    /// It was given up by others, as it was silent for too long.
    GivenUp(u64),
    /// It was told to stop.
    Stopped,
}

/// How a collector shows that it runs.
struct Heart<'a, P> {
    place: &'a P,
    timing: &'a Timing,
    number: u64,
    shown: Mutex<Duration>,
    /// It has begun to take away what was condemned.
    removes: AtomicBool,
    /// It is to stop.
    stops: AtomicBool,
    /// Something may be removed yet that was asked to be.
    is_unsure: AtomicBool,
}

/// What became of something that is to be removed.
enum Removed {
    Yes,
    /// Nothing may be removed any more.
    No,
    Failed(Failed),
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

    /// Returns whether it is to go on, and others believe that it does.
    fn is_alive(&self) -> bool {
        let silent = self.place.moment().saturating_sub(*locked(&self.shown));
        let is_alive = silent < self.timing.alive || !self.timing.keeps(Rule::Alive);
        is_alive && !self.stops.load(Ordering::Relaxed)
    }

    /// Removes something, if others believe that it runs.
    async fn remove<F>(&self, run: impl Fn() -> F + Send) -> Removed
    where
        F: Future<Output = Answer<()>> + Send,
    {
        let mut tries = 0;
        loop {
            if !self.is_alive() {
                return Removed::No;
            }
            self.removes.store(true, Ordering::Relaxed);
            tries += 1;
            match run().await {
                Ok(()) => return Removed::Yes,
                Err(error) => {
                    self.is_unsure.store(true, Ordering::Relaxed);
                    if tries >= TRIES {
                        return Removed::Failed(error);
                    }
                }
            }
            self.place.sleep(PAUSE).await;
        }
    }

    /// Removes what was condemned as a whole.
    async fn remove_unit(&self, unit: &Condemned, grants: &HashMap<Object, Vec<String>>) -> Removed {
        let object = match &unit.unit {
            Unit::Tag(key) => return self.remove(|| self.place.remove_key(key.clone())).await,
            Unit::Object(object) => *object,
        };
        if unit.stored.is_some() {
            match self.remove(|| self.place.remove(object)).await {
                Removed::Yes => {}
                other @ (Removed::No | Removed::Failed(_)) => return other,
            }
        }
        for key in grants.get(&object).into_iter().flatten() {
            match self.remove(|| self.place.remove_key(key.clone())).await {
                Removed::Yes => {}
                other @ (Removed::No | Removed::Failed(_)) => return other,
            }
        }
        Removed::Yes
    }

    /// Waits until nothing can be removed any more that was asked to be and failed.
    async fn settle(&self) {
        if self.is_unsure.load(Ordering::Relaxed) {
            self.place.sleep(self.timing.alive).await;
        }
    }
}

/// What a bucket holds, with what its manifests refer to, and the keys of some grants.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) snapshot: Snapshot,
    /// Of what was wanted.
    pub(super) grants: HashMap<Object, Vec<String>>,
}

/// Reads what a bucket holds; what manifests refer to is read where it is not known.
///
/// Tags come first: what is written before what it refers to is then seen with it, or is seen in neither.
pub(super) async fn take<P: Place>(
    place: &P,
    links: &mut LinkMap,
    wanted: &HashSet<Object>,
    old: u64,
) -> Answer<Look> {
    place.note(Stage::Lists);
    let (mut tags, mut rows) = (Vec::new(), Vec::new());
    place.tags(|entry| tags.push(entry)).await?;
    for kind in [Kind::Blob, Kind::Manifest].into_iter().rev() {
        let each = |object, stored| rows.push(Row { object, stored, grants: Grants::default() });
        place.objects(kind, each).await?;
    }
    let mut snapshot = Snapshot::new(tags, rows);
    let mut grants = HashMap::<_, Vec<_>>::new();
    place
        .grants(|object, key, written| {
            snapshot.grant(object, &key, written);
            if wanted.contains(&object) {
                grants.entry(object).or_default().push(key);
            }
        })
        .await?;
    check(place, &snapshot, old).await?;
    let manifests = snapshot.rows().iter().filter(|row| row.object.kind == Kind::Manifest);
    let unread = manifests.map(|row| row.object.digest).filter(|digest| !links.contains_key(digest));
    let unread: Vec<_> = unread.collect();
    let (mut read, mut gone) = (0, HashSet::new());
    for some in unread.chunks(AT_ONCE) {
        place.note(Stage::Reads { read, of: unread.len() });
        for (digest, found) in some.iter().zip(join_all(some.iter().map(|one| place.links(*one))).await) {
            match found? {
                Some(found) => drop(links.insert(*digest, ShortLinks::from(&found))),
                None => drop(gone.insert(*digest)),
            }
        }
        read += some.len();
    }
    snapshot.lose(&gone);
    Ok(Look { snapshot, grants })
}

/// Asks for manifests that tags and grants name which are not young, and that were not listed: where one is there, what was
/// listed is not all.
async fn check<P: Place>(place: &P, snapshot: &Snapshot, old: u64) -> Answer<()> {
    let missing = snapshot.missing(old);
    let asked: Vec<Object> = missing.iter().step_by(missing.len() / ASKED + 1).copied().collect();
    for some in asked.chunks(AT_ONCE) {
        for (object, is_there) in some.iter().zip(join_all(some.iter().map(|one| place.is_there(*one))).await)
        {
            if is_there? {
                return Err(not_whole(&format!("the manifest {}", object.digest)));
            }
        }
    }
    Ok(())
}

fn not_whole(what: &str) -> Failed {
    Failed(format!(
        "the store leaves {what} out of a list, which is there: by lists that are not whole nobody can say what is not needed"
    ))
}

/// Runs a collection where none is under way; `links` is what is known of what manifests refer to. It ends when `stop` does.
pub(super) async fn collect<P: Place>(
    place: &P,
    timing: &Timing,
    what: impl Into<What> + Send,
    links: &mut LinkMap,
    stop: impl Future<Output = ()> + Send,
) -> Answer<Outcome> {
    let what = what.into();
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
    let heart = Heart {
        place,
        timing,
        number,
        shown: Mutex::new(begun),
        removes: AtomicBool::new(false),
        stops: AtomicBool::new(false),
        is_unsure: AtomicBool::new(false),
    };
    let work = pin!(async {
        tidy(place, timing, &listed, clock).await?;
        run(place, timing, &what, &heart, clock, links).await
    });
    let beats = pin!(heart.run());
    let ended = match select(select(work, beats), pin!(stop)).await {
        Either::Left((ended, _)) => ended,
        Either::Right(((), others)) => {
            heart.stops.store(true, Ordering::Relaxed);
            if !heart.removes.load(Ordering::Relaxed) {
                drop(place.create(number, Part::Done, Body::Empty).await);
                return Ok(Outcome::Stopped);
            }
            // What was asked to be removed is waited for.
            others.await
        }
    };
    match ended {
        Either::Left((Err(error), _)) => {
            // What was asked to be removed may go yet: then others wait until it cannot.
            if !heart.removes.load(Ordering::Relaxed) {
                drop(place.create(number, Part::Done, Body::Empty).await);
            }
            Err(error)
        }
        Either::Left((Ok(Outcome::GivenUp(_)), _)) if heart.stops.load(Ordering::Relaxed) => {
            if !heart.is_unsure.load(Ordering::Relaxed) {
                drop(place.create(number, Part::Done, Body::Empty).await);
            }
            Ok(Outcome::Stopped)
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
    what: &What,
    heart: &Heart<'_, P>,
    now: u64,
    links: &mut LinkMap,
) -> Answer<Outcome> {
    let (number, times) = (heart.number, *timing);
    let given_up = Ok(Outcome::GivenUp(number));
    let mut trouble = None;
    let old = now.saturating_sub(timing.grace.as_secs());
    let before = take(place, links, &HashSet::new(), old).await?.snapshot;
    let known = take_out(links);
    // Of a large bucket that takes seconds.
    let wanted = what.clone();
    let thought = place.think(move || {
        let judged = wanted.judge(&before, &known, now, &times);
        let plan = judged.plan(&before, &known, times.most);
        let mut known = known;
        remember(&mut known, &before);
        let seen = before.seen();
        (plan, before, seen, [judged.kept, judged.young], judged.kept_bytes, known)
    });
    let (mut first, before, seen, [kept, young], kept_bytes, known) = thought.await;
    *links = known;
    let mut collected =
        Collected { number, kept, kept_bytes, young, left: first.left, ..Collected::default() };
    let mut stuck = HashSet::new();
    for key in &first.superseded {
        // It says nothing that counts: that it goes late does no harm.
        match heart.remove(|| place.remove_key(key.clone())).await {
            Removed::Yes => collected.superseded += 1,
            Removed::No => return given_up,
            Removed::Failed(error) => {
                collected.fail(&mut trouble, error)?;
                stuck.extend(tag_of(key).map(str::to_owned));
            }
        }
    }
    spare(&mut first, &stuck, &before, links);
    drop(before);
    heart.removes.store(false, Ordering::Relaxed);
    heart.is_unsure.store(false, Ordering::Relaxed);
    if !first.condemned.is_empty() {
        let units: Vec<Unit> = first.condemned.iter().map(|one| one.unit.clone()).collect();
        let count = units.len();
        // What others would read there is not what is to go.
        if place.create(number, Part::Condemned, Body::Condemned(units)).await? == Created::Existed {
            return given_up;
        }
        let read = place.condemned(number).await?;
        if read.is_none_or(|read| read.len() != count) {
            return Err(Failed(
                "what it condemns cannot be read again, so that nobody else could".to_owned(),
            ));
        }
        place.note(Stage::Waits(timing.window));
        place.sleep(timing.window).await;
        let swept = if timing.keeps(Rule::SecondLook) {
            let wanted = first.condemned.iter().filter_map(Condemned::object).collect();
            let after = take(place, links, &wanted, old).await?;
            if let Some(what) = after.snapshot.lacks(&seen) {
                return Err(not_whole(&format!("a {what} that was in it minutes ago")));
            }
            let known = take_out(links);
            let wanted = what.clone();
            let thought = place.think(move || {
                let judged = wanted.judge(&after.snapshot, &known, now, &times);
                (judged.sweep(first, &after.snapshot), after, known)
            });
            let (swept, after, known) = thought.await;
            *links = known;
            (swept, after)
        } else {
            let wanted = first.condemned.iter().filter_map(Condemned::object).collect();
            (first.condemned, take(place, links, &wanted, old).await?)
        };
        if !sweep(heart, swept, links, &mut collected, &mut trouble).await? {
            return given_up;
        }
    }
    heart.settle().await;
    place.create(number, Part::Done, Body::Ended(collected)).await?;
    Ok(Outcome::Collected(collected, trouble))
}

/// Returns of which tag an entry is.
fn tag_of(key: &str) -> Option<&str> {
    key.rsplit_once('/').map(|(tag, _)| tag)
}

/// Leaves tags of which an older entry could not be removed, which would count again, with all that they lead to.
fn spare(first: &mut Plan, stuck: &HashSet<String>, before: &Snapshot, links: &LinkMap) {
    if stuck.is_empty() {
        return;
    }
    let is_stuck = |one: &Condemned| match &one.unit {
        Unit::Tag(key) => tag_of(key).is_some_and(|tag| stuck.contains(tag)),
        Unit::Object(_) => false,
    };
    let tags = first.condemned.iter().filter(|one| is_stuck(one));
    let spared: HashSet<Object> = tags.flat_map(|one| below(before, links, one)).collect();
    first
        .condemned
        .retain(|one| !is_stuck(one) && one.object().is_none_or(|object| !spared.contains(&object)));
}

/// Takes away what was condemned; returns whether others believe that the collector runs.
async fn sweep<P: Place>(
    heart: &Heart<'_, P>,
    (swept, look): (Vec<Condemned>, Look),
    links: &mut LinkMap,
    collected: &mut Collected,
    trouble: &mut Option<Failed>,
) -> Answer<bool> {
    let of = swept.len();
    let mut spared = HashSet::<Object>::new();
    // What refers to something goes before that does.
    for alike in swept.chunk_by(|a, b| a.rank == b.rank) {
        for some in alike.chunks(AT_ONCE) {
            let removed = collected.tags + collected.manifests + collected.blobs;
            heart.place.note(Stage::Removes { removed, of });
            let is_spared = |one: &&Condemned| one.object().is_some_and(|object| spared.contains(&object));
            let some: Vec<&Condemned> = some.iter().filter(|one| !is_spared(one)).collect();
            let all = join_all(some.iter().map(|one| heart.remove_unit(one, &look.grants))).await;
            for (one, removed) in some.into_iter().zip(all) {
                match removed {
                    Removed::Yes => collected.count(one),
                    Removed::No => return Ok(false),
                    Removed::Failed(error) => {
                        // What it refers to stays with it.
                        spared.extend(below(&look.snapshot, links, one));
                        collected.fail(trouble, error)?;
                    }
                }
            }
        }
    }
    remember(links, &look.snapshot);
    Ok(true)
}

/// Returns what something refers to, all the way down.
fn below(snapshot: &Snapshot, links: &LinkMap, one: &Condemned) -> Vec<Object> {
    if matches!(one.rank, Rank::Blob | Rank::Grants) {
        return Vec::new();
    }
    let object = one.what.map(Object::manifest).or_else(|| one.object());
    let Some(row) = object.and_then(|object| snapshot.find(&object)) else { return Vec::new() };
    let rows = Graph::new(snapshot, links).closure(row);
    rows.into_iter().filter_map(|at| snapshot.rows().get(at)).map(|row| row.object).collect()
}

impl Condemned {
    fn object(&self) -> Option<Object> {
        match &self.unit {
            Unit::Tag(_) => None,
            Unit::Object(object) => Some(*object),
        }
    }
}

impl Collected {
    /// Counts what is taken away by a plan, or would be.
    pub(super) fn of(plan: &Plan) -> Self {
        let mut own = Self { superseded: plan.superseded.len(), left: plan.left, ..Self::default() };
        plan.condemned.iter().for_each(|one| own.count(one));
        own
    }

    /// Adds something that was taken away.
    fn count(&mut self, one: &Condemned) {
        match (&one.unit, one.stored) {
            (Unit::Tag(_), _) => self.tags += 1,
            // Grants of what is not there are no object.
            (Unit::Object(_), None) => {}
            (Unit::Object(object), Some(stored)) => {
                self.bytes += stored.bytes;
                match object.kind {
                    Kind::Manifest => self.manifests += 1,
                    Kind::Blob => self.blobs += 1,
                }
            }
        }
    }

    /// Adds something that could not be removed; fails where that is so of too much.
    fn fail(&mut self, trouble: &mut Option<Failed>, error: Failed) -> Answer<()> {
        self.failed += 1;
        if self.failed > MOST_FAILED {
            return Err(error);
        }
        trouble.get_or_insert(error);
        Ok(())
    }
}
