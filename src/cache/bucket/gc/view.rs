use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::mark::Unit;
use super::place::{Body, Failed, Listed, Part, Place};
use super::timing::{Rule, Timing};
use crate::cache::memory::locked;

/// What a replica has seen of the collections.
#[derive(Debug, Default)]
pub(in crate::cache::bucket) struct View {
    /// When the list was asked for that it has seen last.
    seen: Option<Duration>,
    open: BTreeMap<u64, Open>,
    /// How often something was forgotten.
    forgotten: u64,
}

#[derive(Debug)]
struct Open {
    /// What it condemns, as far as that is known.
    units: Option<Arc<HashSet<Unit>>>,
    /// When its newest key was written, by the store's clock, and when that was seen first, by the clock here.
    newest: u64,
    since: Duration,
}

/// What a replica is to believe no more.
#[derive(Clone, Copy, Debug)]
pub(in crate::cache::bucket) enum Forget<'a> {
    /// All that it knows to be in the bucket.
    All,
    /// What was condemned.
    These(&'a HashSet<Unit>),
}

/// What is to be done about a list of collections.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::cache::bucket) struct Noted {
    /// Collections whose condemned things are to be read.
    pub(in crate::cache::bucket) read: Vec<u64>,
    /// Collections that nobody goes on with.
    pub(in crate::cache::bucket) dead: Vec<u64>,
    /// The list before this one was too long ago: a whole collection may have come and gone.
    pub(in crate::cache::bucket) is_late: bool,
}

impl View {
    /// Takes note of a list that was asked for at a time.
    pub(in crate::cache::bucket) fn note(
        &mut self,
        listed: &[Listed],
        asked: Duration,
        timing: &Timing,
    ) -> Noted {
        let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
        for one in listed {
            let last = newest.entry(one.number).or_default();
            *last = one.written.max(*last);
        }
        let has = |number: u64, part| listed.iter().any(|one| one.number == number && one.part == part);
        self.open.retain(|number, _| newest.contains_key(number) && !has(*number, Part::Done));
        let mut noted = Noted {
            is_late: self.seen.is_none_or(|seen| asked.saturating_sub(seen) + timing.within >= timing.window),
            ..Noted::default()
        };
        for (number, newest) in newest {
            if has(number, Part::Done) {
                continue;
            }
            let open = self.open.entry(number).or_insert(Open { units: None, newest, since: asked });
            if open.newest != newest {
                (open.newest, open.since) = (newest, asked);
            }
            if asked.saturating_sub(open.since) > timing.dead {
                noted.dead.push(number);
            }
            if open.units.is_none() && has(number, Part::Condemned) {
                noted.read.push(number);
            }
        }
        noted
    }

    /// Returns a mark of what was forgotten so far: an answer of the store from before something was forgotten says nothing
    /// any more.
    pub(in crate::cache::bucket) const fn mark(&self) -> u64 {
        self.forgotten
    }

    fn condemn(&mut self, number: u64, units: Arc<HashSet<Unit>>) {
        if let Some(open) = self.open.get_mut(&number) {
            open.units = Some(units);
        }
    }

    /// Returns whether what the store said of something may be believed, which was asked for at a mark: nothing was
    /// forgotten since, what was seen of the collections is fresh, and none of them condemns it.
    pub(in crate::cache::bucket) fn may_believe(
        &self,
        unit: &Unit,
        mark: u64,
        now: Duration,
        timing: &Timing,
    ) -> bool {
        self.until(timing).is_some_and(|until| now < until) && self.mark() == mark && !self.is_condemned(unit)
    }

    /// Returns until when something that relies on what is known may be done.
    pub(in crate::cache::bucket) fn until(&self, timing: &Timing) -> Option<Duration> {
        self.seen.map(|seen| seen + timing.fresh)
    }

    /// Returns whether a collection that is under way condemns something.
    pub(in crate::cache::bucket) fn is_condemned(&self, unit: &Unit) -> bool {
        self.open.values().any(|open| open.units.as_ref().is_some_and(|units| units.contains(unit)))
    }
}

/// Looks which collections there are, and forgets what they condemn before it counts as known. One at a time: a list that
/// is older than one that was noted already would hide what that one said.
pub(in crate::cache::bucket) async fn look<P: Place>(
    place: &P,
    view: &Mutex<View>,
    timing: &Timing,
    forget: impl Fn(Forget<'_>) + Send,
) -> Result<(), Failed> {
    let asked = place.moment();
    let listed = place.collections().await?;
    let noted = locked(view).note(&listed, asked, timing);
    if noted.is_late || !noted.read.is_empty() {
        locked(view).forgotten += 1;
    }
    if noted.is_late {
        forget(Forget::All);
    }
    // Before any is read: what one condemns that has ended counts no more, also where it cannot be read.
    for number in noted.dead {
        place.create(number, Part::Done, Body::Empty).await?;
    }
    for number in noted.read {
        if let Some(units) = place.condemned(number).await? {
            let units = Arc::new(units);
            // Before it is forgotten: what is asked for in between is not to be believed again.
            locked(view).condemn(number, Arc::clone(&units));
            forget(Forget::These(&units));
        } else {
            // It has ended meanwhile, and others have tidied up.
            locked(view).forgotten += 1;
            forget(Forget::All);
        }
    }
    let mut view = locked(view);
    view.seen = view.seen.max(Some(asked));
    Ok(())
}

/// Sees to it that what is known can be relied on; returns by when what relies on it has to be done.
pub(in crate::cache::bucket) async fn ready<P: Place>(
    place: &P,
    view: &Mutex<View>,
    timing: &Timing,
    forget: impl Fn(Forget<'_>) + Send + Sync,
) -> Result<Duration, Failed> {
    loop {
        let now = place.moment();
        let known = locked(view).until(timing);
        match known {
            _ if !timing.keeps(Rule::Look) => return Ok(now + timing.within),
            Some(until) if now < until => return Ok(until + timing.within),
            // What was seen may have become old before it is here.
            Some(_) | None => look(place, view, timing, &forget).await?,
        }
    }
}
