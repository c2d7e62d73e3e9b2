use std::time::Duration;

use super::gc::Limits;
use crate::cache::memory::BoundedMap;
use crate::image::Digest;

/// How long after it was served first a manifest is looked at: what is pulled once makes no request.
const FIRST: Duration = Duration::from_hours(1);
/// How old what is in use may become where nothing limits ages.
const USUAL: Duration = Duration::from_hours(24 * 7);
/// How old it may become where size is limited: the oldest images go then.
const BY_SIZE: Duration = Duration::from_hours(24);
/// Of how many manifests it is remembered that they are in use.
const MOST: usize = 1 << 16;

/// Which manifests are in use, and when they are to be looked at so that they stay young in the bucket.
///
/// Ages in a bucket are those of what was written. An image that is served from folders for months would seem to be of no
/// use: so its manifests are written again now and then.
#[derive(Debug)]
pub(super) struct Renewals {
    /// When to look at those that were served since, by the clock of the bucket's place.
    due: BoundedMap<Digest, (Duration, State)>,
    /// How old what is in use may become.
    every: Duration,
}

/// Whether a manifest is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It was not served since that was done last.
    Rests,
    Due(Renew),
}

/// How a manifest is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renew {
    /// It is written again if it is old.
    IfOld,
    /// It is written again with all that it refers to: nobody knows whether what was written last is there.
    Anyway,
}

impl Renewals {
    pub(super) fn new(limits: &Limits) -> Self {
        let by_age = limits.age.map_or(USUAL, |age| age / 4);
        let by_size = limits.bytes.map_or(USUAL, |_| BY_SIZE);
        Self { due: BoundedMap::new(MOST), every: USUAL.min(by_age).min(by_size) }
    }

    /// Takes note that a manifest is served at a time.
    pub(super) fn served(&mut self, digest: Digest, now: Duration) {
        match self.due.get(&digest) {
            Some((_, State::Due(_))) => {}
            Some((due, State::Rests)) => self.due.put(digest, (due, State::Due(Renew::IfOld)), 1),
            None => {
                // Not all at once.
                let spread = FIRST / 256 * u32::from(digest.bytes().first().copied().unwrap_or_default());
                let due = now + FIRST.min(self.every) + spread;
                self.due.put(digest, (due, State::Due(Renew::IfOld)), 1);
            }
        }
    }

    /// Takes those that are to be looked at.
    pub(super) fn take(&mut self, now: Duration) -> Vec<(Digest, Renew)> {
        let due = self.due.iter().filter_map(|(digest, (due, state))| match state {
            State::Due(how) if *due <= now => Some((*digest, *how)),
            State::Due(_) | State::Rests => None,
        });
        let due: Vec<(Digest, Renew)> = due.collect();
        for (digest, _) in &due {
            self.due.put(*digest, (now + self.every, State::Rests), 1);
        }
        due
    }

    /// Has one looked at again at a time.
    pub(super) fn again(&mut self, digest: Digest, due: Duration, how: Renew) {
        self.due.put(digest, (due, State::Due(how)), 1);
    }

    /// Returns how old what is in use may become.
    pub(super) const fn every(&self) -> Duration {
        self.every
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_is_looked_at_now_and_then() {
        let hours = |hours| Duration::from_hours(hours);
        let limits = Limits { age: Some(hours(24 * 8)), ..Limits::default() };
        let (mut renewals, digest) = (Renewals::new(&limits), Digest::sha256([128; 32]));
        renewals.served(digest, hours(10));
        assert_eq!(renewals.take(hours(11)), []);
        assert_eq!(renewals.take(hours(12)), [(digest, Renew::IfOld)]);
        assert_eq!(renewals.take(hours(12 + 48)), [], "it was not served since");
        renewals.served(digest, hours(12 + 49));
        renewals.served(digest, hours(12 + 50));
        assert_eq!(renewals.take(hours(12 + 50)), [(digest, Renew::IfOld)]);
        renewals.served(digest, hours(12 + 51));
        assert_eq!(renewals.take(hours(12 + 97)), []);
        assert_eq!(renewals.take(hours(12 + 98)), [(digest, Renew::IfOld)]);
        // What was not sure stays so, whoever is served it meanwhile.
        renewals.again(digest, hours(12 + 99), Renew::Anyway);
        renewals.served(digest, hours(12 + 99));
        assert_eq!(renewals.take(hours(12 + 99)), [(digest, Renew::Anyway)]);
    }

    #[test]
    fn what_is_in_use_stays_younger_than_what_goes() {
        let hours = |hours| Duration::from_hours(hours);
        let every = |age, bytes| Renewals::new(&Limits { age, bytes, ..Limits::default() }).every;
        assert_eq!(every(None, None), hours(24 * 7));
        assert_eq!(every(Some(hours(24)), None), hours(6));
        assert_eq!(every(Some(hours(24 * 365)), None), hours(24 * 7));
        assert_eq!(every(None, Some(1)), hours(24));
    }
}
