#![expect(clippy::disallowed_methods, reason = "says since and until when an upstream is left alone")]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::bucket::BucketState;
use super::replicas::ReplicaState;
use crate::cache::service::Service;
use crate::cache::store::Store;
use crate::cache::upstream::{EndpointHealth, Transfers, Upstream};
use crate::image::RegistryHost;
use crate::oci::PausedHost;

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
    /// What records, folders and the index take.
    #[serde(default)]
    pub(in crate::cache) own_bytes: u64,
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
    /// Hosts to which registries lead, as redirect targets and token servers are, as far as they are not asked now; only
    /// a running server knows them.
    #[serde(default)]
    pub(in crate::cache) hosts: Vec<HostState>,
    /// How the bucket behind the store is, if there is one; only a running server knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cache) bucket: Option<BucketState>,
    /// The other caches on it, if they are asked; only a running server knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cache) peers: Option<ReplicaState>,
}

/// A host to which registries lead, and that is not asked now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct HostState {
    /// Its scheme, name and port.
    pub(in crate::cache) host: String,
    /// Why it is not asked.
    pub(in crate::cache) paused: String,
    /// Since when.
    pub(in crate::cache) paused_since: Option<String>,
    /// Until when at least.
    pub(in crate::cache) paused_until: Option<String>,
}

/// How an upstream is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct UpstreamState {
    /// The registry.
    pub(in crate::cache) registry: String,
    /// How many large blobs are being transferred from it.
    pub(in crate::cache) transfers: usize,
    /// How many of them there may be at once.
    pub(in crate::cache) transfers_limit: usize,
    /// How many blobs wait for their turn.
    pub(in crate::cache) queued: usize,
    /// Its endpoints, in the order in which they are asked.
    pub(in crate::cache) endpoints: Vec<EndpointState>,
}

/// How an endpoint of an upstream is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct EndpointState {
    /// Where it is.
    pub(in crate::cache) endpoint: String,
    /// Why it is not asked now; [`None`]: it is asked.
    pub(in crate::cache) paused: Option<String>,
    /// Since when.
    pub(in crate::cache) paused_since: Option<String>,
    /// Until when at least.
    pub(in crate::cache) paused_until: Option<String>,
    /// Repositories that are not asked now, or not for something of them, though the endpoint is.
    pub(in crate::cache) repositories: Vec<RepositoryState>,
    /// How many pulls it allows in its window, if it says so.
    pub(in crate::cache) quota_limit: Option<u64>,
    /// How many of them are left.
    pub(in crate::cache) quota_remaining: Option<u64>,
}

/// A repository that is not asked now, or not for something of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct RepositoryState {
    /// The repository.
    pub(in crate::cache) repository: String,
    /// The one thing that it is not asked for, such as `manifests/latest`, if that is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cache) only: Option<String>,
    /// Why it is not asked.
    pub(in crate::cache) paused: String,
    /// Since when.
    #[serde(default)]
    pub(in crate::cache) paused_since: Option<String>,
    /// Until when at least.
    pub(in crate::cache) paused_until: Option<String>,
}

impl RepositoryState {
    /// Returns what is not asked for: the repository, or something of it.
    pub(in crate::cache) fn name(&self) -> String {
        match &self.only {
            None => self.repository.clone(),
            Some(only) => format!("{} {only}", self.repository),
        }
    }
}

/// Reads how the upstreams of a service are.
pub(super) fn upstreams(service: &Service) -> Vec<UpstreamState> {
    let (now, snapshot) = (Timestamp::now(), service.snapshot());
    let of = |(registry, upstream): (&RegistryHost, &Arc<Upstream>)| {
        let Transfers { running, limit, waiting } = upstream.transfers();
        UpstreamState {
            registry: registry.to_string(),
            transfers: running,
            transfers_limit: limit,
            queued: waiting,
            endpoints: upstream.health().into_iter().map(|health| endpoint(health, now)).collect(),
        }
    };
    snapshot.upstreams().map(of).collect()
}

fn endpoint(health: EndpointHealth, now: Timestamp) -> EndpointState {
    let shown = |time: Option<Timestamp>| time.map(|time| format!("{time:.0}"));
    let after = |left: Duration| shown(now.checked_add(left).ok());
    let repositories = health.repositories.into_iter().map(|paused| RepositoryState {
        repository: paused.repository.to_string(),
        only: paused.only,
        paused: paused.why.as_str().to_owned(),
        paused_since: shown(now.checked_sub(paused.paused_for).ok()),
        paused_until: after(paused.left),
    });
    EndpointState {
        endpoint: health.endpoint,
        paused: health.paused.map(|(why, _)| why.as_str().to_owned()),
        paused_since: health.paused_for.and_then(|passed| shown(now.checked_sub(passed).ok())),
        paused_until: health.paused.and_then(|(_, left)| after(left)),
        repositories: repositories.collect(),
        quota_limit: health.quota.map(|quota| quota.limit),
        quota_remaining: health.quota.map(|quota| quota.remaining),
    }
}

/// Reads which hosts are not asked to which registries lead.
pub(super) fn hosts(service: &Service) -> Vec<HostState> {
    let now = Timestamp::now();
    let shown = |time: Option<Timestamp>| time.map(|time| format!("{time:.0}"));
    let state = |paused: PausedHost| HostState {
        host: paused.host,
        paused: paused.why.as_str().to_owned(),
        paused_since: shown(now.checked_sub(paused.paused_for).ok()),
        paused_until: shown(now.checked_add(paused.left).ok()),
    };
    let snapshot = service.snapshot();
    let paused = snapshot.upstreams().flat_map(|(_, upstream)| upstream.paused_hosts());
    let mut hosts: Vec<HostState> = paused.map(state).collect();
    hosts.sort_by(|a, b| (&a.host, &a.paused_since).cmp(&(&b.host, &b.paused_since)));
    // Most registries share what they know of other hosts.
    hosts.dedup_by(|a, b| a.host == b.host && a.paused == b.paused);
    hosts
}

/// Reads how full a store is, of which only a running server knows the cap.
pub(super) async fn stats(store: &dyn Store) -> std::io::Result<Stats> {
    let usage = store.usage().await?;
    Ok(Stats {
        cap_bytes: Some(usage.cap),
        stored_bytes: usage.stored,
        reserved_bytes: usage.reserved,
        own_bytes: usage.own,
        free_bytes: usage.free,
        blobs: usage.blobs,
        manifests: usage.manifests,
        tags: usage.tags,
        evicted: usage.evicted,
        evicted_bytes: usage.evicted_bytes,
        damaged: usage.damaged,
        full: usage.full,
        upstreams: Vec::new(),
        hosts: Vec::new(),
        bucket: None,
        peers: None,
    })
}
