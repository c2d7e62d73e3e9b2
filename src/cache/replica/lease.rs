use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cache::bucket::StoredLease;

/// How long a lease holds that is not renewed.
pub(super) const LASTS: Duration = Duration::from_secs(10);
/// The longest that any lease is believed to hold, whatever it says.
const LONGEST: Duration = Duration::from_mins(1);

/// What a lease says: which cache fetches a blob now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    /// Where the other members ask that cache.
    pub(super) url: String,
    /// The registry that it fetches from.
    pub(super) registry: String,
    /// How long the lease holds that is not renewed, in seconds, by the clock of the reader.
    seconds: u64,
    /// Which download of that cache has it.
    nonce: String,
    /// How often it was renewed, so that each renewal has another version.
    renewed: u64,
}

impl Lease {
    /// Makes the lease of a download.
    pub(super) const fn new(url: String, registry: String, nonce: String) -> Self {
        Self { url, registry, seconds: LASTS.as_secs(), nonce, renewed: 0 }
    }

    /// Returns the same lease, renewed.
    pub(super) fn renewed(self) -> Self {
        Self { renewed: self.renewed.saturating_add(1), ..self }
    }

    /// Returns whether a stored lease is of the same download, however often it was renewed.
    pub(super) fn is_in(&self, stored: &StoredLease) -> bool {
        let found: Result<Self, _> = serde_json::from_slice(&stored.content);
        found.is_ok_and(|found| found.nonce == self.nonce && found.url == self.url)
    }

    /// Writes it.
    pub(super) fn write(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    fn lasts(&self) -> Duration {
        Duration::from_secs(self.seconds).min(LONGEST)
    }
}

/// A lease that another download has, of this cache or another.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    /// What it says; [`None`] where that cannot be read.
    pub(super) lease: Option<Lease>,
    /// Its version.
    pub(super) version: String,
    /// When this version was seen first.
    pub(super) since: Instant,
}

impl Taken {
    /// Reads one, whose version was seen first at some time.
    pub(super) fn read(stored: StoredLease, since: Instant) -> Self {
        let lease = serde_json::from_slice(&stored.content).ok();
        Self { lease, version: stored.version, since }
    }

    /// Returns how long it still holds if it is not renewed.
    pub(super) fn left(&self, now: Instant) -> Duration {
        let lasts = self.lease.as_ref().map_or(Duration::ZERO, Lease::lasts);
        lasts.saturating_sub(now.saturating_duration_since(self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8], since: Instant) -> Taken {
        let stored = StoredLease { content: Bytes::copy_from_slice(content), version: "v".to_owned() };
        Taken::read(stored, since)
    }

    #[test]
    fn a_lease_holds_for_its_time_since_its_version_was_seen_first() {
        let (now, at) = (Instant::now(), |seconds| Instant::now() + Duration::from_secs(seconds));
        let lease = Lease::new("http://[::1]:5001".to_owned(), "ghcr.io".to_owned(), "n".to_owned());
        let taken = read(&lease.write(), now);
        assert_eq!(taken.lease.as_ref(), Some(&lease));
        assert!(taken.left(now) == LASTS && taken.left(at(20)).is_zero());
        let renewed = lease.clone().renewed();
        assert_ne!(renewed.write(), lease.write());
        let stored = |content| StoredLease { content, version: "v".to_owned() };
        let other = Lease { nonce: "m".to_owned(), ..lease.clone() };
        assert!(lease.is_in(&stored(renewed.write())) && !lease.is_in(&stored(other.write())));
        assert!(!lease.is_in(&stored(Bytes::new())));
        let long = Lease { seconds: u64::MAX, ..lease };
        assert_eq!(read(&long.write(), now).left(now), LONGEST);
        for bad in ["", "{}", "null", r#"{"url":"http://h","registry":"a","seconds":-1}"#] {
            let taken = read(bad.as_bytes(), now);
            assert!(taken.lease.is_none() && taken.left(now).is_zero(), "{bad}");
        }
    }
}
