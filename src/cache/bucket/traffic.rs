#![expect(clippy::disallowed_methods, reason = "dates faults, and draws how long pauses are")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::gate::{Closed, Gate};
use crate::cache::memory::locked;
use crate::secret::os_random;

/// How long the header of an answer takes that is late: an upstream gives it sooner.
const LATE: Duration = Duration::from_secs(2);
/// How many late ones in a row say that it is the bucket, and not one request.
const LATE_ANSWERS: u64 = 3;

/// Which way something goes: a bucket that takes no writes may still be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the bucket.
    Read,
    /// Into it.
    Write,
}

/// What goes to a bucket and comes from it, and whether it is well.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    reads: Mutex<Gate>,
    writes: Mutex<Gate>,
    /// Since when it has been far slower than upstream.
    slow_since: Mutex<Option<Instant>>,
    /// How many answers in a row came late.
    late: AtomicU64,
    requests: AtomicU64,
    failed: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

/// How much went to a bucket and came from it since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Direction {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "not asked",
            Self::Write => "not written to",
        }
    }
}

impl Traffic {
    fn gate(&self, direction: Direction) -> &Mutex<Gate> {
        match direction {
            Direction::Read => &self.reads,
            Direction::Write => &self.writes,
        }
    }

    /// Returns whether nothing is wrong that way.
    pub(super) fn is_open(&self, direction: Direction) -> bool {
        locked(self.gate(direction)).is_open()
    }

    /// Returns for how long something that way is not to be tried.
    pub(super) fn wait(&self, direction: Direction) -> Option<Duration> {
        locked(self.gate(direction)).wait(Instant::now())
    }

    /// Returns why it is left alone that way, if it is.
    pub(super) fn closed(&self, direction: Direction) -> Option<Closed> {
        locked(self.gate(direction)).closed(Instant::now())
    }

    /// Takes note that it is far slower than upstream, or no longer.
    pub(super) fn note_slow(&self, slow: bool) {
        if slow {
            tracing::warn!("the bucket is far slower than upstream: blobs come from there for now");
        } else {
            tracing::info!("the bucket is no longer far slower than upstream");
        }
        *locked(&self.slow_since) = slow.then(Instant::now);
    }

    /// Returns for how long it has been far slower than upstream, if it is.
    pub(super) fn slow_for(&self) -> Option<Duration> {
        locked(&self.slow_since).map(|since| since.elapsed())
    }

    /// Takes note of how long the header of an answer took that was well; returns what is wrong where several in a row came
    /// late, or where one did while the bucket is left alone.
    pub(super) fn timed(&self, direction: Direction, took: Duration) -> Option<Fault> {
        if direction == Direction::Write {
            return None;
        }
        if took < LATE {
            self.late.store(0, Ordering::Relaxed);
            return None;
        }
        let before = self.late.fetch_add(1, Ordering::Relaxed);
        (before + 1 >= LATE_ANSWERS || !self.is_open(direction)).then_some(Fault::Slow)
    }

    /// Takes note of a request that goes out.
    pub(super) fn asked(&self, sent: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.sent.fetch_add(sent, Ordering::Relaxed);
    }

    /// Takes note of bytes that came.
    pub(super) fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes note of how a request went: well, or what was wrong.
    pub(super) fn note(&self, direction: Direction, fault: Option<Fault>) {
        if fault.is_some() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        let mut random = [0];
        os_random(&mut random);
        let (text, jitter) = (fault.as_ref().map(Fault::to_string), f64::from(random[0]) / 255.0);
        let has_changed = locked(self.gate(direction)).note(Instant::now(), fault, jitter);
        match text {
            Some(why) if has_changed => {
                tracing::warn!("the bucket is {} for a while: {why}", direction.as_str());
            }
            None if has_changed => tracing::info!("the bucket is no longer {}", direction.as_str()),
            Some(_) | None => {}
        }
    }

    /// Takes note of a request that failed, and says nothing about others.
    pub(super) fn note_failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes note that something that was to be sent that way needed no request.
    pub(super) fn undecided(&self, direction: Direction) {
        locked(self.gate(direction)).undecided(Instant::now());
    }

    /// Takes note that credentials cannot be had, without which nothing is read or written.
    pub(super) fn without_credentials(&self, why: &str) {
        let fault = Fault::Refuses(format!("the credentials for it cannot be had: {why}"));
        self.note(Direction::Read, Some(fault.clone()));
        self.note(Direction::Write, Some(fault));
    }

    /// Returns how much there was since the start.
    pub(super) fn counts(&self) -> Counts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            requests: get(&self.requests),
            failed: get(&self.failed),
            received: get(&self.received),
            sent: get(&self.sent),
        }
    }
}
