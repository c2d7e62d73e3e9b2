#![expect(clippy::disallowed_methods, reason = "says since when a bucket is left alone")]

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::cache::bucket::{BucketReport, CollectionReport, Paused};

/// How the bucket behind a store is, and what came of it since the server started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct BucketState {
    /// The bucket.
    pub(in crate::cache) url: String,
    /// Where its store is asked for it.
    #[serde(default)]
    pub(in crate::cache) location: String,
    /// What is wrong with it, in a line; [`None`]: nothing is.
    pub(in crate::cache) trouble: Option<String>,
    /// Since when it is not read.
    pub(in crate::cache) unread_since: Option<String>,
    /// Since when it is not written.
    pub(in crate::cache) unwritten_since: Option<String>,
    /// Whether its store refuses writes that would replace something; [`None`] is not known yet.
    pub(in crate::cache) conditional_writes: Option<bool>,
    /// How long it took to answer when it was looked at, in milliseconds.
    pub(in crate::cache) answers_in_ms: Option<u64>,
    /// How many blobs and manifests came from it.
    pub(in crate::cache) given: u64,
    /// How many bytes came from it.
    pub(in crate::cache) received_bytes: u64,
    /// How many things were written to it.
    pub(in crate::cache) written: u64,
    /// How many bytes were sent to it.
    pub(in crate::cache) sent_bytes: u64,
    /// How many things wait to be written.
    pub(in crate::cache) pending: usize,
    /// How many things were not written.
    pub(in crate::cache) dropped: u64,
    /// How many requests it was sent.
    pub(in crate::cache) requests: u64,
    /// How many of them failed by its fault.
    pub(in crate::cache) failed: u64,
    /// What came of collecting what is not needed.
    #[serde(default)]
    pub(in crate::cache) collection: CollectionState,
}

/// What came of collecting what a bucket does not need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct CollectionState {
    /// Why nothing can be collected by this cache; [`None`]: it can.
    pub(in crate::cache) trouble: Option<String>,
    /// Whether this cache collects now.
    pub(in crate::cache) running: bool,
    /// When the last one ended, by whichever cache.
    pub(in crate::cache) ended_at: Option<String>,
    /// How many tags it took away.
    pub(in crate::cache) tags: usize,
    /// How many manifests.
    pub(in crate::cache) manifests: usize,
    /// How many blobs.
    pub(in crate::cache) blobs: usize,
    /// How many bytes.
    pub(in crate::cache) freed_bytes: u64,
    /// How many blobs and manifests it left in the bucket.
    pub(in crate::cache) kept: usize,
    /// How many bytes they have.
    pub(in crate::cache) kept_bytes: u64,
}

impl CollectionState {
    fn of(report: CollectionReport) -> Self {
        let own = Self { trouble: report.trouble, running: report.is_running, ..Self::default() };
        let Some(last) = report.last else { return own };
        let ended_at = i64::try_from(last.ended_at).ok().and_then(|at| Timestamp::from_second(at).ok());
        Self {
            ended_at: ended_at.map(|at| at.to_string()),
            tags: last.tags,
            manifests: last.manifests,
            blobs: last.blobs,
            freed_bytes: last.freed_bytes,
            kept: last.kept,
            kept_bytes: last.kept_bytes,
            ..own
        }
    }

    /// Returns what the last one took away, in a line.
    pub(in crate::cache) fn freed(&self) -> String {
        format!("{} tags, {} manifests, {} blobs", self.tags, self.manifests, self.blobs)
    }
}

impl BucketState {
    /// Makes it of what the bucket says.
    pub(super) fn of(report: BucketReport) -> Self {
        let now = Timestamp::now();
        let since = |paused: &Option<Paused>| {
            let seconds = i64::try_from(paused.as_ref()?.for_seconds?).ok()?;
            let since = now.checked_sub(SignedDuration::from_secs(seconds)).ok()?;
            Some(format!("{since:.0}"))
        };
        Self {
            trouble: report.trouble(),
            unread_since: since(&report.unread),
            unwritten_since: since(&report.unwritten),
            url: report.url,
            location: report.location,
            conditional_writes: report.is_conditional,
            answers_in_ms: report.answers_in_ms,
            given: report.given,
            received_bytes: report.received_bytes,
            written: report.written,
            sent_bytes: report.sent_bytes,
            pending: report.pending,
            dropped: report.dropped,
            requests: report.requests,
            failed: report.failed,
            collection: CollectionState::of(report.collection),
        }
    }
}
