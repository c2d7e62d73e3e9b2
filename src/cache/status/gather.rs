#![expect(clippy::disallowed_methods, reason = "says when what is shown was so")]

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Mutex;
use url::Url;

use super::view::{
    Degraded, DownloadState, FailureState, ImageState, Images, PAGE, Status, StoreState, TrafficState,
    search, slots,
};
use crate::cache::admin::{ListImages, OpenCache, Question as _, ReadStats, Stats, TierName};
use crate::cache::bucket::Bucket;
use crate::cache::download::{Downloads, Progress};
use crate::cache::observe::{Failure, Health, Metrics};
use crate::cache::replica::Replicas;
use crate::cache::service::{Service, Snapshot};
use crate::cache::store::Store;
use crate::image::RegistryHost;

/// How long what the store says is shown at least before it is asked again.
const FRESH: Duration = Duration::from_secs(1);
/// The same for the list of images, for which all of their manifests are read.
const IMAGES_FRESH: Duration = Duration::from_secs(5);
/// How much longer than reading it took the list of images is shown before it is read again.
const SHARE: u32 = 20;

/// What the status is gathered from.
pub(in crate::cache) struct Sources {
    store: Arc<dyn Store>,
    service: Service,
    bucket: Option<Bucket>,
    replicas: Option<Replicas>,
    downloads: Downloads,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    started_at: Timestamp,
    stats: Mutex<Option<Kept<Stats>>>,
    images: Mutex<Option<Kept<Vec<ImageState>>>>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("started_at", &self.started_at).finish_non_exhaustive()
    }
}

/// Something that is shown for a while, so that asking often costs little.
#[derive(Debug)]
struct Kept<T> {
    value: Arc<T>,
    until: Instant,
}

impl<T> Kept<T> {
    fn fresh(kept: Option<&Self>) -> Option<Arc<T>> {
        kept.filter(|kept| Instant::now() < kept.until).map(|kept| Arc::clone(&kept.value))
    }
}

impl Sources {
    /// Makes it of the parts of a server.
    pub(in crate::cache) fn new(
        store: Arc<dyn Store>,
        service: Service,
        bucket: Option<Bucket>,
        replicas: Option<Replicas>,
        downloads: Downloads,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
    ) -> Self {
        let started_at = Timestamp::now();
        let (stats, images) = (Mutex::default(), Mutex::default());
        Self { store, service, bucket, replicas, downloads, metrics, health, started_at, stats, images }
    }

    fn cache(&self) -> OpenCache<'_> {
        OpenCache::running(&*self.store, &self.service, self.bucket.as_ref(), self.replicas.as_ref())
    }

    async fn stats(&self) -> io::Result<Arc<Stats>> {
        let mut kept = self.stats.lock().await;
        if let Some(stats) = Kept::fresh(kept.as_ref()) {
            return Ok(stats);
        }
        let value = Arc::new(ReadStats {}.answer(&self.cache()).await?);
        *kept = Some(Kept { value: Arc::clone(&value), until: Instant::now() + FRESH });
        Ok(value)
    }

    async fn all_images(&self) -> io::Result<Arc<Vec<ImageState>>> {
        // Held while it is read: those who ask at the same time wait for the one list.
        let mut kept = self.images.lock().await;
        if let Some(images) = Kept::fresh(kept.as_ref()) {
            return Ok(images);
        }
        let begun = Instant::now();
        let wanted = ListImages { pattern: None, tier: TierName::Local };
        let list = wanted.answer(&self.cache()).await?;
        let images = list.items.into_iter().map(|record| ImageState {
            image: record.image,
            digest: record.digest.to_string(),
            stored_bytes: record.stored_bytes,
            missing: record.missing,
            checked_at: record.checked_at,
        });
        let value = Arc::new(images.collect::<Vec<_>>());
        let fresh = IMAGES_FRESH.max(begun.elapsed().saturating_mul(SHARE));
        *kept = Some(Kept { value: Arc::clone(&value), until: Instant::now() + fresh });
        Ok(value)
    }

    /// Returns how the server is.
    pub(super) async fn status(&self) -> io::Result<Status> {
        let (stats, snapshot, now) = (self.stats().await?, self.service.snapshot(), Timestamp::now());
        let stats = Stats::clone(&stats);
        let history = self.metrics.history();
        let (slot_seconds, slots) = slots(
            history.minutes().collect::<Vec<_>>().into_iter(),
            u64::try_from(now.as_second()).unwrap_or_default(),
        );
        let since_start = self.metrics.traffic();
        let (mut upstreams, mut hidden_repositories) = (stats.upstreams, 0);
        for upstream in &mut upstreams {
            if !is_open(&snapshot, &upstream.registry) {
                for endpoint in &mut upstream.endpoints {
                    endpoint.endpoint = origin(&endpoint.endpoint);
                    let mut hidden = std::mem::take(&mut endpoint.repositories);
                    // They are sorted by it.
                    hidden.dedup_by(|next, before| next.repository == before.repository);
                    hidden_repositories += hidden.len();
                }
            }
        }
        let open = snapshot.upstreams().filter(|(registry, _)| snapshot.is_open(registry));
        let open_hosts: HashSet<String> =
            open.flat_map(|(_, upstream)| upstream.paused_hosts()).map(|paused| paused.host).collect();
        let (hosts, hidden_hosts): (Vec<_>, Vec<_>) =
            stats.hosts.into_iter().partition(|host| open_hosts.contains(&host.host));
        let parts = self.health.degraded_parts().into_iter();
        let downloads = self.downloads.progress();
        let failures = self.metrics.failures();
        Ok(Status {
            api_version: "talmirror/v1",
            kind: "CacheStatus",
            version: env!("CARGO_PKG_VERSION"),
            now,
            started_at: self.started_at,
            degraded: parts.map(|(part, why)| Degraded { part, why }).collect(),
            store: StoreState {
                cap_bytes: stats.cap_bytes,
                stored_bytes: stats.stored_bytes,
                reserved_bytes: stats.reserved_bytes,
                free_bytes: stats.free_bytes,
                blobs: stats.blobs,
                manifests: stats.manifests,
                tags: stats.tags,
                evicted: stats.evicted,
                evicted_bytes: stats.evicted_bytes,
                damaged: stats.damaged,
            },
            traffic: TrafficState {
                since_start,
                hit_percent: since_start.hit_percent(),
                slot_seconds,
                slots,
            },
            upstreams,
            hidden_repositories,
            hosts,
            hidden_hosts: hidden_hosts.len(),
            bucket: stats.bucket,
            peers: stats.peers,
            downloads: downloads.into_iter().map(|one| download(&snapshot, one)).collect(),
            failures: failures.into_iter().map(|one| failure(&snapshot, one)).collect(),
        })
    }

    /// Returns a page of the images that are stored and searched for, from the `from`th found on.
    pub(super) async fn images(&self, query: String, from: usize) -> io::Result<Images> {
        let (all, snapshot) = (self.all_images().await?, self.service.snapshot());
        let is_shown = |image: &&ImageState| {
            image.image.split_once('/').is_some_and(|(registry, _)| is_open(&snapshot, registry))
        };
        let shown: Vec<ImageState> = all.iter().filter(is_shown).cloned().collect();
        let found: Vec<&ImageState> = search(&shown, &query).collect();
        let page = found.iter().skip(from).take(PAGE).map(|image| ImageState::clone(image));
        Ok(Images {
            api_version: "talmirror/v1",
            kind: "CacheImages",
            version: env!("CARGO_PKG_VERSION"),
            found: found.len(),
            total: shown.len(),
            hidden: all.len() - shown.len(),
            from,
            items: page.collect(),
            query,
        })
    }
}

/// Returns the origin of an endpoint: what is below it may be the name of a project.
fn origin(endpoint: &str) -> String {
    Url::parse(endpoint).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

fn is_open(snapshot: &Snapshot, registry: &str) -> bool {
    registry.parse::<RegistryHost>().is_ok_and(|registry| snapshot.is_open(&registry))
}

fn download(snapshot: &Snapshot, progress: Progress) -> DownloadState {
    let open = progress.origin.as_ref().filter(|origin| snapshot.is_open(&origin.registry));
    DownloadState {
        from: match (open, &progress.origin) {
            (Some(origin), _) => Some(format!("{}/{}", origin.registry, origin.repository)),
            (None, origin) => origin.as_ref().map(|origin| origin.registry.to_string()),
        },
        digest: open.map(|_| progress.digest.to_string()),
        received_bytes: progress.received_bytes,
        total_bytes: progress.total_bytes,
        readers: progress.readers,
    }
}

fn failure(snapshot: &Snapshot, failure: Failure) -> FailureState {
    let is_hidden = failure.upstream.as_ref().is_some_and(|registry| !snapshot.is_open(registry));
    // Whose repository is named in a path that leads to no registry, is not known.
    let path = failure.path.filter(|_| failure.upstream.is_some() && !is_hidden);
    FailureState {
        at: failure.at,
        status: failure.status,
        registry: failure.upstream.map(|registry| registry.to_string()),
        path,
        why: if is_hidden { "the log tells why".to_owned() } else { failure.why },
        times: failure.times,
    }
}
