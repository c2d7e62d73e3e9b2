use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::number::{advance, signed};
use crate::cache::bucket::{BucketReport, BucketUse};

/// The numbers about a bucket behind the store.
#[derive(Debug, Default)]
pub(super) struct BucketMetrics {
    requests: Counter,
    failed: Counter,
    given: Counter,
    written: Counter,
    dropped: Counter,
    received: Counter,
    sent: Counter,
    pending: Gauge,
    unread: Gauge,
    unwritten: Gauge,
    freed: Counter,
    kept: Gauge,
    kept_bytes: Gauge,
    collected_at: Gauge,
    uncollected: Gauge,
}

impl BucketMetrics {
    /// Makes them, all zero, and has them shown.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let own = Self::default();
        registry.register("bucket_requests", "Requests to the bucket", own.requests.clone());
        registry.register(
            "bucket_requests_failed",
            "Requests to the bucket that failed by its fault",
            own.failed.clone(),
        );
        registry.register("bucket_given", "Blobs and manifests that came from the bucket", own.given.clone());
        registry.register("bucket_written", "Things written to the bucket", own.written.clone());
        registry.register(
            "bucket_dropped",
            "Things that were not written to the bucket because too much waited, or it did not take them",
            own.dropped.clone(),
        );
        registry.register_with_unit(
            "bucket_received",
            "Body bytes received from the bucket",
            Unit::Bytes,
            own.received.clone(),
        );
        registry.register_with_unit(
            "bucket_sent",
            "Body bytes sent to the bucket",
            Unit::Bytes,
            own.sent.clone(),
        );
        registry.register(
            "bucket_pending",
            "Things that wait to be written to the bucket",
            own.pending.clone(),
        );
        registry.register(
            "bucket_not_read",
            "Whether the bucket is left alone by those who read: 0 it is not, 1 it is",
            own.unread.clone(),
        );
        registry.register(
            "bucket_not_written",
            "Whether the bucket is left alone by those who write: 0 it is not, 1 it is",
            own.unwritten.clone(),
        );
        registry.register_with_unit(
            "bucket_freed",
            "Bytes that this cache has removed from the bucket because no image needs them",
            Unit::Bytes,
            own.freed.clone(),
        );
        registry.register(
            "bucket_objects",
            "Blobs and manifests in the bucket after the last collection",
            own.kept.clone(),
        );
        registry.register_with_unit(
            "bucket_size",
            "Bytes of blobs and manifests in the bucket after the last collection",
            Unit::Bytes,
            own.kept_bytes.clone(),
        );
        registry.register_with_unit(
            "bucket_collected_timestamp",
            "When the last collection of what the bucket does not need ended, by whichever cache",
            Unit::Seconds,
            own.collected_at.clone(),
        );
        registry.register(
            "bucket_not_collected",
            "Whether this cache cannot remove what the bucket does not need: 0 it can, 1 it cannot",
            own.uncollected.clone(),
        );
        own
    }

    pub(super) fn note(&self, report: &BucketReport) {
        advance(&self.requests, report.requests);
        advance(&self.failed, report.failed);
        advance(&self.given, report.given);
        advance(&self.written, report.written);
        advance(&self.dropped, report.dropped);
        advance(&self.received, report.received_bytes);
        advance(&self.sent, report.sent_bytes);
        self.pending.set(signed(report.pending as u64));
        let is_used = report.used == BucketUse::Used;
        self.unread.set(i64::from(!is_used || report.unread.is_some()));
        self.unwritten.set(i64::from(!is_used || report.unwritten.is_some()));
        advance(&self.freed, report.collection.freed_bytes);
        self.uncollected.set(i64::from(report.collection.trouble.is_some()));
        if let Some(last) = report.collection.last {
            self.kept.set(signed(last.kept as u64));
            self.kept_bytes.set(signed(last.kept_bytes));
            self.collected_at.set(signed(last.ended_at));
        }
    }
}
