use std::time::{Duration, Instant};

/// Over what time that bytes are waited for a rate is measured.
const WINDOW: Duration = Duration::from_secs(3);
/// What a tier gives at least, in bytes a second, where it is not known how fast upstream is.
const LEAST_RATE: u64 = 512 << 10;
/// How much slower than upstream a tier may be.
const SLOWER: u64 = 8;
/// From how many bytes on a rate says something.
const SAMPLE: u64 = 256 << 10;
/// For how long a tier that was far slower is asked after upstream only; then one download finds out how it is.
const PAUSE: Duration = Duration::from_secs(8);

/// How fast something gives bytes: how long they were waited for, and how many came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Came {
    pub(super) bytes: u64,
    pub(super) waited: Duration,
}

impl Came {
    /// Takes note of bytes, and of how long they were waited for.
    pub(super) fn add(&mut self, bytes: usize, waited: Duration) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.waited = self.waited.saturating_add(waited);
    }

    /// Returns whether it has been waited long enough for the rate to say something.
    pub(super) fn is_whole(&self) -> bool {
        self.waited >= WINDOW
    }

    /// Returns how many bytes came a second.
    pub(super) fn rate(self) -> u64 {
        let millis = u64::try_from(self.waited.as_millis()).unwrap_or(u64::MAX).max(1);
        self.bytes.saturating_mul(1000) / millis
    }
}

/// Whether a tier is worth asking before upstream, by how fast both were lately.
#[derive(Debug, Default)]
pub(super) struct TierPace {
    /// How many bytes a second upstream gave last.
    upstream: Option<u64>,
    /// Until when the tier is left alone, as it was far slower.
    slow_until: Option<Instant>,
}

impl TierPace {
    /// Returns whether the tier is asked first; of those that come when its pause is over, one finds out how it is.
    pub(super) fn is_first(&mut self, now: Instant) -> bool {
        match self.slow_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.slow_until = Some(now + PAUSE);
                true
            }
        }
    }

    /// Returns whether it is known to be slow.
    pub(super) fn is_slow(&self) -> bool {
        self.slow_until.is_some()
    }

    /// Takes note of what the tier gave within a window, or to its end; returns whether that is far too slow.
    pub(super) fn tier_gave(&mut self, came: Came, now: Instant) -> bool {
        let least = self.upstream.map_or(LEAST_RATE, |upstream| upstream / SLOWER);
        let is_slow = came.rate() < least;
        match (is_slow, came.is_whole(), came.bytes >= SAMPLE) {
            (true, true, _) => self.slow_until = Some(now + PAUSE),
            (false, true, _) | (false, _, true) => self.slow_until = None,
            // Too little to tell.
            (true, false, _) | (false, false, false) => {}
        }
        is_slow && came.is_whole()
    }

    /// Takes note of what upstream gave.
    pub(super) fn upstream_gave(&mut self, came: Came) {
        if came.bytes >= SAMPLE || came.is_whole() {
            self.upstream = Some(came.rate());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(kib_a_second: u64, seconds: u64) -> Came {
        Came { bytes: (kib_a_second * seconds) << 10, waited: Duration::from_secs(seconds) }
    }

    #[test]
    fn a_tier_that_is_far_slower_comes_after_upstream_for_a_while() {
        let (mut pace, now) = (TierPace::default(), Instant::now());
        assert!(pace.is_first(now) && !pace.tier_gave(came(600, 3), now));
        // Nothing is known of upstream: what any network gives counts.
        assert!(pace.tier_gave(came(100, 3), now) && pace.is_slow());
        assert!(!pace.is_first(now + Duration::from_secs(7)));
        let later = now + Duration::from_secs(9);
        assert!(pace.is_first(later) && !pace.is_first(later), "one finds out");
        let tiny = Came { bytes: 2000, waited: Duration::from_millis(1) };
        assert!(!pace.tier_gave(tiny, later) && pace.is_slow(), "too little to tell");
        assert!(!pace.tier_gave(came(5000, 1), later) && pace.is_first(later), "it is well again");
    }

    #[test]
    fn what_is_slow_upstream_says() {
        let (mut pace, now) = (TierPace::default(), Instant::now());
        pace.upstream_gave(came(200, 10));
        assert!(!pace.tier_gave(came(100, 3), now), "upstream is hardly faster");
        pace.upstream_gave(came(1, 1));
        assert!(!pace.tier_gave(came(100, 3), now), "too little to tell");
        pace.upstream_gave(came(50_000, 1));
        assert!(pace.tier_gave(came(5000, 3), now));
    }
}
