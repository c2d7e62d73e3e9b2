use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::access_log;
use super::bucket_metrics::BucketMetrics;
use super::failures::{Failure, Failures};
use super::history::{History, Traffic};
use super::number::{advance, signed};
use super::outcome::{Kind, Outcome, Served};
use super::replica_metrics::ReplicaMetrics;
use crate::cache::bucket::BucketReport;
use crate::cache::download::Stats as DownloadStats;
use crate::cache::memory::locked;
use crate::cache::replica::ReplicaReport;
use crate::cache::store::Usage;
use crate::http::{End, Exchange, Observer};

type Labels<const N: usize> = [(&'static str, String); N];

/// How a request to an upstream registry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamResult {
    /// With what was asked for.
    Ok,
    /// It has no such thing.
    NotFound,
    /// It denied access.
    Denied,
    /// It limits requests, and too many were sent.
    TooMany,
    /// Its bytes were not those of their digest.
    Mismatch,
    /// It did not answer, or with an error of its own.
    Unavailable,
}

impl UpstreamResult {
    /// Returns the word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::TooMany => "too_many",
            Self::Mismatch => "mismatch",
            Self::Unavailable => "unavailable",
        }
    }
}

/// How asking upstream about a tag ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revalidation {
    /// The tag stands where it stood.
    Unchanged,
    /// The tag has moved.
    Changed,
    /// Upstream did not say in time, so what is stored was served.
    Stale,
    /// Upstream did not say, and nothing is stored.
    Failed,
}

impl Revalidation {
    /// Returns the word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
            Self::Stale => "stale",
            Self::Failed => "failed",
        }
    }
}

/// Whether an upstream is asked at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Circuit {
    /// It is.
    Closed,
    /// One request tries whether it is back.
    HalfOpen,
    /// It failed too often and is left alone for a while.
    Open,
}

/// The numbers that this process shows; all methods are cheap and may be called from anywhere.
///
/// No label names a repository: that would show who uses what, and grow without bound.
pub struct Metrics {
    registry: Registry,
    /// By [`Kind`], then [`Outcome`].
    requests: Vec<Counter>,
    /// By hundreds of the status.
    responses: Vec<Counter>,
    ends: Vec<Counter>,
    sent: Counter,
    connections: Gauge,
    refused: Counter,
    displaced: Counter,
    upstream_requests: Family<Labels<2>, Counter>,
    upstream_bytes: Family<Labels<1>, Counter>,
    upstream_seconds: Family<Labels<1>, Counter<f64, AtomicU64>>,
    circuit: Family<Labels<1>, Gauge>,
    quota_limit: Family<Labels<1>, Gauge>,
    quota_remaining: Family<Labels<1>, Gauge>,
    revalidations: Family<Labels<2>, Counter>,
    flights: Gauge,
    flights_started: Counter,
    flights_failed: Counter,
    flights_resumed: Counter,
    followers: Counter,
    store_used: Gauge,
    store_cap: Gauge,
    store_blobs: Gauge,
    evicted_blobs: Counter,
    evicted_bytes: Counter,
    unstored: Counter,
    /// What upstream registries sent, all together.
    received: AtomicU64,
    history: Mutex<History>,
    failures: Failures,
    /// Where there is a bucket.
    bucket: Option<BucketMetrics>,
    /// Where there are other caches on it that are asked.
    replicas: Option<ReplicaMetrics>,
}

/// Whether there is a bucket behind the store, so that there are numbers about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tiers {
    /// There is only the store.
    Local,
    /// There is.
    WithBucket,
    /// There is, and other caches on it are asked.
    WithReplicas,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the counters of every combination of words, all of them there from the start.
fn counters(
    family: &Family<Labels<1>, Counter>,
    name: &'static str,
    words: impl IntoIterator<Item = &'static str>,
) -> Vec<Counter> {
    words.into_iter().map(|word| family.get_or_create_owned(&[(name, word.to_owned())])).collect()
}

/// The metrics of a server's connections and answers; the latter are logged, too.
impl Observer for Metrics {
    fn connected(&self) {
        self.connections.inc();
    }

    fn gone(&self) {
        self.connections.dec();
    }

    fn refused(&self) {
        self.refused.inc();
    }

    fn displaced(&self) {
        self.displaced.inc();
    }

    fn wants_request(&self) -> bool {
        access_log::wanted()
    }

    fn answered(&self, exchange: &Exchange<'_>) {
        let served = exchange.extensions.get().copied().unwrap_or(Served::OTHER);
        self.count(served, exchange.status, exchange.end, exchange.sent);
        self.failures.note(exchange);
        access_log::log(exchange);
    }
}

impl Metrics {
    /// Makes them, all zero, for a cache without a bucket.
    pub fn new() -> Self {
        Self::of(Tiers::Local)
    }

    /// Makes them, all zero.
    #[expect(clippy::too_many_lines, reason = "a list")]
    pub fn of(tiers: Tiers) -> Self {
        let mut registry = Registry::with_prefix("talmirror_cache");
        let requests = Family::<Labels<2>, Counter>::default();
        let responses = Family::<Labels<1>, Counter>::default();
        let ends = Family::<Labels<1>, Counter>::default();
        registry.register(
            "requests",
            "Requests by what they ask for and where the answer came from",
            requests.clone(),
        );
        registry.register("responses", "Answers by the first digit of their status", responses.clone());
        registry.register("response_ends", "Answers by how they ended", ends.clone());
        let metrics = Self {
            requests: Kind::ALL
                .into_iter()
                .flat_map(|kind| Outcome::ALL.map(|outcome| (kind, outcome)))
                .map(|(kind, outcome)| {
                    let is_hidden = match (outcome, tiers) {
                        (Outcome::Bucket | Outcome::Redirect | Outcome::Peer, Tiers::Local)
                        | (Outcome::Peer, Tiers::WithBucket) => true,
                        (_, Tiers::Local | Tiers::WithBucket | Tiers::WithReplicas) => false,
                    };
                    if is_hidden {
                        return Counter::default();
                    }
                    requests.get_or_create_owned(&[
                        ("kind", kind.as_str().to_owned()),
                        ("outcome", outcome.as_str().to_owned()),
                    ])
                })
                .collect(),
            responses: counters(&responses, "status", ["1xx", "2xx", "3xx", "4xx", "5xx"]),
            ends: counters(&ends, "end", End::ALL.map(End::as_str)),
            registry: Registry::default(),
            sent: Counter::default(),
            connections: Gauge::default(),
            refused: Counter::default(),
            displaced: Counter::default(),
            upstream_requests: Family::default(),
            upstream_bytes: Family::default(),
            upstream_seconds: Family::default(),
            circuit: Family::default(),
            quota_limit: Family::default(),
            quota_remaining: Family::default(),
            revalidations: Family::default(),
            flights: Gauge::default(),
            flights_started: Counter::default(),
            flights_failed: Counter::default(),
            flights_resumed: Counter::default(),
            followers: Counter::default(),
            store_used: Gauge::default(),
            store_cap: Gauge::default(),
            store_blobs: Gauge::default(),
            evicted_blobs: Counter::default(),
            evicted_bytes: Counter::default(),
            unstored: Counter::default(),
            received: AtomicU64::default(),
            history: Mutex::default(),
            failures: Failures::default(),
            bucket: match tiers {
                Tiers::Local => None,
                Tiers::WithBucket | Tiers::WithReplicas => Some(BucketMetrics::register(&mut registry)),
            },
            replicas: match tiers {
                Tiers::Local | Tiers::WithBucket => None,
                Tiers::WithReplicas => Some(ReplicaMetrics::register(&mut registry)),
            },
        };
        registry.register_with_unit("sent", "Body bytes sent to clients", Unit::Bytes, metrics.sent.clone());
        registry.register("connections", "Connections of clients", metrics.connections.clone());
        registry.register(
            "connections_refused",
            "Connections answered 503 or closed at once because there were too many",
            metrics.refused.clone(),
        );
        registry.register(
            "connections_displaced",
            "Idle connections closed to make room for others",
            metrics.displaced.clone(),
        );
        registry.register(
            "upstream_requests",
            "Requests to upstream registries by how they ended",
            metrics.upstream_requests.clone(),
        );
        registry.register_with_unit(
            "upstream_received",
            "Body bytes received from upstream registries",
            Unit::Bytes,
            metrics.upstream_bytes.clone(),
        );
        registry.register_with_unit(
            "upstream_waited",
            "Time until upstream registries answered, added up",
            Unit::Seconds,
            metrics.upstream_seconds.clone(),
        );
        registry.register(
            "upstream_circuit",
            "Whether an upstream registry is asked: 0 it is, 1 one request tries, 2 it is left alone",
            metrics.circuit.clone(),
        );
        registry.register(
            "upstream_quota_limit",
            "Pulls that an upstream registry allows in its window",
            metrics.quota_limit.clone(),
        );
        registry.register(
            "upstream_quota_remaining",
            "Pulls that are left of it",
            metrics.quota_remaining.clone(),
        );
        registry.register(
            "tag_revalidations",
            "Tags that upstream was asked about, by how it ended",
            metrics.revalidations.clone(),
        );
        registry.register("flights", "Downloads from upstream that run now", metrics.flights.clone());
        registry.register(
            "flights_started",
            "Downloads from upstream that were begun",
            metrics.flights_started.clone(),
        );
        registry.register(
            "flights_failed",
            "Downloads from upstream that came to nothing",
            metrics.flights_failed.clone(),
        );
        registry.register(
            "flights_resumed",
            "Times that a broken download was resumed",
            metrics.flights_resumed.clone(),
        );
        registry.register(
            "followers",
            "Clients that joined a download that was running",
            metrics.followers.clone(),
        );
        registry.register_with_unit(
            "store_used",
            "Size of what is stored",
            Unit::Bytes,
            metrics.store_used.clone(),
        );
        registry.register_with_unit(
            "store_cap",
            "Size that the store may have",
            Unit::Bytes,
            metrics.store_cap.clone(),
        );
        registry.register("store_blobs", "Blobs and manifests stored", metrics.store_blobs.clone());
        registry.register(
            "evicted_blobs",
            "Blobs and manifests removed to make room",
            metrics.evicted_blobs.clone(),
        );
        registry.register_with_unit(
            "evicted",
            "Size of what was removed to make room",
            Unit::Bytes,
            metrics.evicted_bytes.clone(),
        );
        registry.register(
            "unstored",
            "Blobs that went to clients without being stored, for want of room",
            metrics.unstored.clone(),
        );
        Self { registry, ..metrics }
    }

    /// Returns all numbers in the text format of `OpenMetrics` 1.0.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Counts an answer whose body has ended; `sent` are bytes of its body.
    fn count(&self, served: Served, status: StatusCode, end: End, sent: u64) {
        let index = served.kind.index() * Outcome::ALL.len() + served.outcome.index();
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        let counters = [self.requests.get(index), self.responses.get(class), self.ends.get(end.index())];
        for counter in counters.into_iter().flatten() {
            counter.inc();
        }
        self.sent.inc_by(sent);
    }

    /// Counts a request to an upstream registry, and how long its answer took to begin.
    pub fn upstream(&self, registry: &str, result: UpstreamResult, waited: Duration) {
        let labels = [("registry", registry.to_owned()), ("result", result.as_str().to_owned())];
        self.upstream_requests.get_or_create(&labels).inc();
        self.upstream_seconds
            .get_or_create(&[("registry", registry.to_owned())])
            .inc_by(waited.as_secs_f64());
    }

    /// Counts bytes of bodies that an upstream registry sent.
    pub fn upstream_received(&self, registry: &str, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
        self.upstream_bytes.get_or_create(&[("registry", registry.to_owned())]).inc_by(bytes);
    }

    /// Notes whether an upstream registry is asked.
    pub fn circuit(&self, registry: &str, circuit: Circuit) {
        let state = match circuit {
            Circuit::Closed => 0,
            Circuit::HalfOpen => 1,
            Circuit::Open => 2,
        };
        self.circuit.get_or_create(&[("registry", registry.to_owned())]).set(state);
    }

    /// Notes what an upstream registry says about how much may still be pulled.
    pub fn quota(&self, registry: &str, limit: u64, remaining: u64) {
        let labels = [("registry", registry.to_owned())];
        self.quota_limit.get_or_create(&labels).set(signed(limit));
        self.quota_remaining.get_or_create(&labels).set(signed(remaining));
    }

    /// Counts a tag that upstream was asked about.
    pub fn revalidated(&self, registry: &str, result: Revalidation) {
        let labels = [("registry", registry.to_owned()), ("result", result.as_str().to_owned())];
        self.revalidations.get_or_create(&labels).inc();
    }

    /// Notes what downloads have come to since the start.
    pub fn flights(&self, stats: &DownloadStats) {
        self.flights.set(signed(stats.running as u64));
        advance(&self.flights_started, stats.begun);
        advance(&self.flights_failed, stats.failed);
        advance(&self.flights_resumed, stats.resumed);
        advance(&self.followers, stats.followers);
        advance(&self.unstored, stats.passed_through);
    }

    /// Returns what was served and received since the start.
    pub fn traffic(&self) -> Traffic {
        let count = |outcome: Outcome| {
            let of = |kind: Kind| {
                let index = kind.index() * Outcome::ALL.len() + outcome.index();
                self.requests.get(index).map_or(0, Counter::get)
            };
            of(Kind::Manifest).saturating_add(of(Kind::Blob))
        };
        Traffic {
            hits: count(Outcome::Hit)
                .saturating_add(count(Outcome::Bucket))
                .saturating_add(count(Outcome::Redirect))
                .saturating_add(count(Outcome::Stale))
                .saturating_add(count(Outcome::Revalidated)),
            misses: count(Outcome::Miss),
            joined: count(Outcome::Follow).saturating_add(count(Outcome::Peer)),
            sent_bytes: self.sent.get(),
            received_bytes: self.received.load(Ordering::Relaxed),
        }
    }

    /// Notes in the history what has been counted by `seconds` since 1970.
    pub fn note_traffic(&self, seconds: u64) {
        locked(&self.history).note(seconds, self.traffic());
    }

    /// Returns the traffic of the last day.
    pub fn history(&self) -> History {
        locked(&self.history).clone()
    }

    /// Returns the last requests that failed by a fault of this server or of an upstream, the latest first.
    pub fn failures(&self) -> Vec<Failure> {
        self.failures.all()
    }

    /// Notes how the bucket is, and what came of it.
    pub fn bucket(&self, report: &BucketReport) {
        if let Some(bucket) = &self.bucket {
            bucket.note(report);
        }
    }

    /// Notes which other caches there are, and what came of asking them.
    pub fn replicas(&self, report: &ReplicaReport) {
        if let Some(replicas) = &self.replicas {
            replicas.note(report);
        }
    }

    /// Notes how full the store is, and what it has removed since the start.
    pub fn usage(&self, usage: &Usage) {
        self.store_used.set(signed(usage.stored.saturating_add(usage.reserved)));
        self.store_cap.set(signed(usage.cap));
        self.store_blobs.set(signed(usage.blobs.saturating_add(usage.manifests)));
        advance(&self.evicted_blobs, usage.evicted);
        advance(&self.evicted_bytes, usage.evicted_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_by_name() {
        let metrics = Metrics::new();
        let served = Served { kind: Kind::Blob, outcome: Outcome::Follow };
        metrics.count(served, StatusCode::PARTIAL_CONTENT, End::Gone, 7);
        metrics.upstream("docker.io", UpstreamResult::TooMany, Duration::from_millis(1500));
        metrics.quota("docker.io", 100, 20);
        metrics.circuit("docker.io", Circuit::Open);
        metrics.flights(&DownloadStats { begun: 2, failed: 1, ..DownloadStats::default() });
        metrics.flights(&DownloadStats { begun: 3, failed: 1, ..DownloadStats::default() });
        metrics.usage(&Usage { stored: 5, cap: 10, ..Usage::default() });
        let text = metrics.encode();
        for line in [
            r#"talmirror_cache_requests_total{kind="blob",outcome="follow"} 1"#,
            r#"talmirror_cache_requests_total{kind="manifest",outcome="hit"} 0"#,
            r#"talmirror_cache_responses_total{status="2xx"} 1"#,
            r#"talmirror_cache_response_ends_total{end="gone"} 1"#,
            "talmirror_cache_sent_bytes_total 7",
            r#"talmirror_cache_upstream_requests_total{registry="docker.io",result="too_many"} 1"#,
            r#"talmirror_cache_upstream_waited_seconds_total{registry="docker.io"} 1.5"#,
            r#"talmirror_cache_upstream_quota_remaining{registry="docker.io"} 20"#,
            r#"talmirror_cache_upstream_circuit{registry="docker.io"} 2"#,
            "talmirror_cache_flights 0",
            "talmirror_cache_flights_started_total 3",
            "talmirror_cache_flights_failed_total 1",
            "talmirror_cache_store_used_bytes 5",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
    }
}
