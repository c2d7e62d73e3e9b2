#![expect(clippy::disallowed_methods, reason = "says since when a bucket is left alone")]

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::cache::bucket::{BucketReport, Paused};

/// How the bucket behind a store is, and what came of it since the server started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct BucketState {
    /// The bucket.
    pub(in crate::cache) url: String,
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
        }
    }
}
