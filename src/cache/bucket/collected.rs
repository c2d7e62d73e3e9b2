use std::time::Duration;

use super::gc::Collected;
use super::report::{CollectionReport, LastCollection};

/// What a cache knows of what was collected.
#[derive(Debug, Default)]
pub(super) struct Collecting {
    report: CollectionReport,
    /// The number of the last collection that has ended.
    last: u64,
    /// When it may collect again, by the clock of the bucket's place.
    not_before: Duration,
}

impl Collecting {
    pub(super) fn report(&self) -> CollectionReport {
        self.report.clone()
    }

    /// Takes note of a collection that has ended.
    pub(super) fn ended(&mut self, at: u64, collected: &Collected) {
        // Whoever could do it, it can be done.
        self.report.trouble = None;
        self.last = collected.number;
        self.report.last = Some(LastCollection {
            ended_at: at,
            tags: collected.tags,
            manifests: collected.manifests,
            blobs: collected.blobs,
            freed_bytes: collected.bytes,
            kept: collected.kept,
            kept_bytes: collected.kept_bytes,
        });
    }

    /// Takes note of why nothing can be collected, or that something can.
    pub(super) fn trouble(&mut self, why: Option<String>) {
        if let Some(why) = &why
            && self.report.trouble.as_ref() != Some(why)
        {
            tracing::warn!("what the bucket does not need cannot be collected: {why}");
        }
        self.report.trouble = why;
    }
    /// Returns the number of the last collection that has ended.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// Takes note of whether this cache collects now.
    pub(super) const fn runs(&mut self, runs: bool) {
        self.report.is_running = runs;
    }

    /// Takes note of what this cache has taken away.
    pub(super) const fn freed(&mut self, bytes: u64) {
        self.report.freed_bytes += bytes;
    }

    /// Leaves the bucket alone until a time, by the clock of its place.
    pub(super) const fn rest_until(&mut self, time: Duration) {
        self.not_before = time;
    }

    /// Returns whether this cache may collect at a time.
    pub(super) fn may(&self, now: Duration) -> bool {
        now >= self.not_before
    }
}
