#![expect(clippy::disallowed_methods, reason = "says until when an upstream is left alone")]

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cache::service::Service;
use crate::cache::store::Store;
use crate::cache::upstream::Upstream;
use crate::image::RegistryHost;

/// Asks how full the store is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cache) struct ReadStats {}

/// How full a store is, and what was removed from it since the server started.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct Stats {
    /// The most that the content may take up; only a running server knows it.
    pub(in crate::cache) cap_bytes: Option<u64>,
    /// What the content takes up, in whole blocks of the file system.
    pub(in crate::cache) stored_bytes: u64,
    /// What is set aside for running downloads.
    pub(in crate::cache) reserved_bytes: u64,
    /// What is free on the disk.
    pub(in crate::cache) free_bytes: Option<u64>,
    /// How many blobs are stored.
    pub(in crate::cache) blobs: u64,
    /// How many manifests are stored.
    pub(in crate::cache) manifests: u64,
    /// How many tags are stored.
    pub(in crate::cache) tags: usize,
    /// How many blobs and manifests were removed to make room.
    pub(in crate::cache) evicted: u64,
    /// Their bytes.
    pub(in crate::cache) evicted_bytes: u64,
    /// How many blobs and manifests were removed because their bytes were wrong.
    pub(in crate::cache) damaged: u64,
    /// Whether there is no room for more.
    pub(in crate::cache) full: bool,
    /// How the upstreams are; only a running server knows it.
    #[serde(default)]
    pub(in crate::cache) upstreams: Vec<UpstreamState>,
}

/// How an endpoint of an upstream is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct UpstreamState {
    /// The registry that it is an endpoint of.
    pub(in crate::cache) registry: String,
    /// Where it is.
    pub(in crate::cache) endpoint: String,
    /// Why it is not asked now; [`None`]: it is asked.
    pub(in crate::cache) paused: Option<String>,
    /// Until when at least that stays so.
    pub(in crate::cache) paused_until: Option<String>,
    /// How many pulls it allows in its window, if it says so.
    pub(in crate::cache) quota_limit: Option<u64>,
    /// How many of them are left.
    pub(in crate::cache) quota_remaining: Option<u64>,
}

/// Reads how the upstreams of a service are.
pub(super) fn upstreams(service: &Service) -> Vec<UpstreamState> {
    let (now, snapshot) = (Timestamp::now(), service.snapshot());
    let of = |(registry, upstream): (&RegistryHost, &Arc<Upstream>)| {
        let registry = registry.to_string();
        upstream.health().into_iter().map(move |health| UpstreamState {
            registry: registry.clone(),
            endpoint: health.endpoint,
            paused: health.paused.map(|(reason, _)| reason.as_str().to_owned()),
            paused_until: health.paused.and_then(|(_, time)| now.checked_add(time).ok()).map(|time| time.to_string()),
            quota_limit: health.quota.map(|quota| quota.limit),
            quota_remaining: health.quota.map(|quota| quota.remaining),
        })
    };
    snapshot.upstreams().flat_map(of).collect()
}

/// Reads how full a store is, of which only a running server knows the cap.
pub(super) async fn stats(store: &dyn Store) -> std::io::Result<Stats> {
    let usage = store.usage().await?;
    Ok(Stats {
        cap_bytes: Some(usage.cap),
        stored_bytes: usage.stored,
        reserved_bytes: usage.reserved,
        free_bytes: usage.free,
        blobs: usage.blobs,
        manifests: usage.manifests,
        tags: store.tags().await?.len(),
        evicted: usage.evicted,
        evicted_bytes: usage.evicted_bytes,
        damaged: usage.damaged,
        full: usage.full,
        upstreams: Vec::new(),
    })
}
