use std::collections::VecDeque;

use serde::Serialize;

/// How many minutes are kept: a day of them.
const KEPT: usize = 24 * 60;

/// What was served, and what was received for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Manifests and blobs that came from the store.
    pub hits: u64,
    /// Manifests and blobs that were downloaded for the client that asked.
    pub misses: u64,
    /// Blobs and manifests that came from a download which another client had begun.
    pub joined: u64,
    /// Body bytes that were sent to clients.
    pub sent_bytes: u64,
    /// Body bytes that were received from upstream registries.
    pub received_bytes: u64,
}

/// The traffic of one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minute {
    /// Its first second, since 1970.
    pub start: u64,
    /// What was counted in it.
    pub traffic: Traffic,
}

/// The traffic of the last day, minute by minute.
#[derive(Clone, Debug, Default)]
pub struct History {
    minutes: VecDeque<Minute>,
    before: Traffic,
}

impl Traffic {
    /// Returns the sum of two.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            hits: self.hits.saturating_add(other.hits),
            misses: self.misses.saturating_add(other.misses),
            joined: self.joined.saturating_add(other.joined),
            sent_bytes: self.sent_bytes.saturating_add(other.sent_bytes),
            received_bytes: self.received_bytes.saturating_add(other.received_bytes),
        }
    }

    const fn since(self, before: Self) -> Self {
        Self {
            hits: self.hits.saturating_sub(before.hits),
            misses: self.misses.saturating_sub(before.misses),
            joined: self.joined.saturating_sub(before.joined),
            sent_bytes: self.sent_bytes.saturating_sub(before.sent_bytes),
            received_bytes: self.received_bytes.saturating_sub(before.received_bytes),
        }
    }

    /// Returns how many of a hundred objects came from the store; [`None`] where there were none.
    pub const fn hit_percent(self) -> Option<u64> {
        let all = self.hits.saturating_add(self.misses).saturating_add(self.joined);
        self.hits.saturating_mul(100).checked_div(all)
    }
}

impl History {
    /// Notes what has been counted in all by `seconds` since 1970; a clock that goes back changes the last minute only.
    pub fn note(&mut self, seconds: u64, total: Traffic) {
        let (start, more) = (seconds - seconds % 60, total.since(self.before));
        self.before = total;
        match self.minutes.back_mut().filter(|last| last.start >= start) {
            Some(last) => last.traffic = last.traffic.and(more),
            None => self.minutes.push_back(Minute { start, traffic: more }),
        }
        while self.minutes.len() > KEPT {
            self.minutes.pop_front();
        }
    }

    /// Returns the minutes in which something was noted, the oldest first.
    pub fn minutes(&self) -> impl Iterator<Item = &Minute> {
        self.minutes.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(hits: u64) -> Traffic {
        Traffic { hits, sent_bytes: hits * 10, ..Traffic::default() }
    }

    #[test]
    fn minutes_hold_what_was_counted_in_them() {
        let mut history = History::default();
        for (at, hits) in [(600, 1), (659, 3), (660, 3), (719, 10), (600, 11), (905, 12)] {
            history.note(at, total(hits));
        }
        let minutes: Vec<_> = history.minutes().map(|minute| (minute.start, minute.traffic.hits)).collect();
        assert_eq!(minutes, [(600, 3), (660, 8), (900, 1)]);
    }

    #[test]
    fn a_day_is_kept() {
        let mut history = History::default();
        for minute in 0..3000 {
            history.note(minute * 60, total(minute));
        }
        assert_eq!(history.minutes().count(), 1440);
        assert_eq!(history.minutes().next().unwrap().start, 1560 * 60);
    }

    #[test]
    fn ratio() {
        assert_eq!(Traffic::default().hit_percent(), None);
        assert_eq!(Traffic { hits: 2, misses: 1, ..Traffic::default() }.hit_percent(), Some(66));
        let most = Traffic { hits: u64::MAX, misses: u64::MAX, ..Traffic::default() };
        assert!(most.hit_percent().unwrap() <= 100);
    }
}
