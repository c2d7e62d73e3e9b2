use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::number::{advance, signed};
use crate::cache::replica::ReplicaReport;

/// The numbers about the other caches on a bucket.
#[derive(Debug, Default)]
pub(super) struct ReplicaMetrics {
    members: Gauge,
    reached: Gauge,
    given: Counter,
    received: Counter,
    leases: Counter,
    taken_over: Counter,
    without_lease: Counter,
}

impl ReplicaMetrics {
    /// Makes them, all zero, and has them shown.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let own = Self::default();
        registry.register("peers", "Other caches on the bucket", own.members.clone());
        registry.register("peers_reached", "Other caches on the bucket that answer", own.reached.clone());
        registry.register(
            "peer_given",
            "Blobs, or rests of them, that came from other caches",
            own.given.clone(),
        );
        registry.register_with_unit(
            "peer_received",
            "Body bytes received from other caches",
            Unit::Bytes,
            own.received.clone(),
        );
        registry.register(
            "leases",
            "Blobs that were fetched for all caches on the bucket",
            own.leases.clone(),
        );
        registry.register(
            "leases_taken_over",
            "Blobs that were fetched in place of a cache that was gone",
            own.taken_over.clone(),
        );
        registry.register(
            "leases_missed",
            "Blobs that were fetched without a lease, as the bucket gave none in time, or the cache that has it gives nothing",
            own.without_lease.clone(),
        );
        own
    }

    pub(super) fn note(&self, report: &ReplicaReport) {
        self.members.set(signed(report.members.len() as u64));
        self.reached.set(signed(report.reached() as u64));
        advance(&self.given, report.given);
        advance(&self.received, report.received_bytes);
        advance(&self.leases, report.leases);
        advance(&self.taken_over, report.taken_over);
        advance(&self.without_lease, report.without_lease);
    }
}
