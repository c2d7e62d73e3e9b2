use jiff::Timestamp;
use serde::Serialize;

use crate::cache::admin::{BucketState, HostState, ReplicaState, UpstreamState};
use crate::cache::observe::{Minute, Traffic};

/// How a running cache is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    /// The program's version.
    pub(super) version: &'static str,
    #[serde(serialize_with = "as_text")]
    pub(super) now: Timestamp,
    #[serde(serialize_with = "as_text")]
    pub(super) started_at: Timestamp,
    /// What does not work as it should.
    pub(super) degraded: Vec<Degraded>,
    pub(super) store: StoreState,
    pub(super) traffic: TrafficState,
    pub(super) upstreams: Vec<UpstreamState>,
    /// Repositories that are not asked now, and that not anyone may know of.
    pub(super) hidden_repositories: usize,
    pub(super) hosts: Vec<HostState>,
    /// Hosts that are not asked now, and to which only registries lead of which not anyone may know more than the name.
    pub(super) hidden_hosts: usize,
    /// The bucket behind the store, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bucket: Option<BucketState>,
    /// The other caches on it, if they are asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peers: Option<ReplicaState>,
    pub(super) downloads: Vec<DownloadState>,
    /// The last requests that failed by a fault of this server or of an upstream, the latest first.
    pub(super) failures: Vec<FailureState>,
}

/// A part of the server that does not work as it should.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Degraded {
    pub(super) part: &'static str,
    pub(super) why: String,
}

/// How full the store is.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoreState {
    pub(super) cap_bytes: Option<u64>,
    pub(super) stored_bytes: u64,
    /// What is set aside for running downloads.
    pub(super) reserved_bytes: u64,
    pub(super) free_bytes: Option<u64>,
    pub(super) blobs: u64,
    pub(super) manifests: u64,
    pub(super) tags: usize,
    pub(super) evicted: u64,
    pub(super) evicted_bytes: u64,
    pub(super) damaged: u64,
}

/// What was served, in all and over time.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TrafficState {
    pub(super) since_start: Traffic,
    /// How many of a hundred objects came from the store.
    pub(super) hit_percent: Option<u64>,
    /// How long each slot is.
    pub(super) slot_seconds: u64,
    /// The last hour, six hours or day, the oldest first; the last slot is not over yet.
    pub(super) slots: Vec<Slot>,
}

/// The traffic of a part of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Slot {
    #[serde(serialize_with = "as_text")]
    pub(super) start: Timestamp,
    pub(super) hit_percent: Option<u64>,
    #[serde(flatten)]
    pub(super) traffic: Traffic,
}

/// A download that runs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DownloadState {
    /// Registry and repository; of what not anyone may know, the registry alone, if there is one.
    pub(super) from: Option<String>,
    /// [`None`] of what not anyone may know.
    pub(super) digest: Option<String>,
    pub(super) received_bytes: u64,
    pub(super) total_bytes: Option<u64>,
    /// How many clients wait or read.
    pub(super) readers: usize,
}

/// A request that failed, and how often that happened in the same way.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FailureState {
    #[serde(serialize_with = "as_text")]
    pub(super) at: Timestamp,
    pub(super) status: u16,
    pub(super) registry: Option<String>,
    /// What was asked for last; [`None`] of what not anyone may know.
    pub(super) path: Option<String>,
    pub(super) why: String,
    pub(super) times: u64,
}

/// A page of the list of what is cached.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Images {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) version: &'static str,
    /// What was searched for.
    pub(super) query: String,
    /// How many were found.
    pub(super) found: usize,
    /// How many are stored in all, without the hidden ones.
    pub(super) total: usize,
    /// How many are stored that not anyone may know of.
    pub(super) hidden: usize,
    /// How many come before the first of this page.
    pub(super) from: usize,
    pub(super) items: Vec<ImageState>,
}

/// An image that is stored.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageState {
    pub(super) image: String,
    pub(super) digest: String,
    pub(super) stored_bytes: u64,
    /// How many of its manifests and blobs are not stored.
    pub(super) missing: usize,
    #[serde(serialize_with = "as_text")]
    pub(super) checked_at: Timestamp,
}

/// How many images a page has.
pub(super) const PAGE: usize = 100;

fn as_text<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.0}"))
}

/// The spans of time that are shown, and how long a slot of each is, in seconds.
const SPANS: [(u64, u64); 3] = [(3600, 60), (6 * 3600, 300), (24 * 3600, 900)];

/// Returns the traffic in slots that cover the time since the first minute, up to a day; and how long a slot is.
pub(super) fn slots<'a>(minutes: impl Iterator<Item = &'a Minute> + Clone, now: u64) -> (u64, Vec<Slot>) {
    let first = minutes.clone().next().map_or(now, |minute| minute.start);
    let age = now.saturating_sub(first);
    let (span, width) = SPANS.into_iter().find(|(span, _)| age < *span).unwrap_or((24 * 3600, 900));
    let last = now - now % width;
    let begin = (last + width).saturating_sub(span);
    let count = usize::try_from(span / width).unwrap_or_default();
    let mut traffic = vec![Traffic::default(); count];
    for minute in minutes {
        let at = minute.start.checked_sub(begin).and_then(|since| usize::try_from(since / width).ok());
        if let Some(slot) = at.and_then(|at| traffic.get_mut(at)) {
            *slot = slot.and(minute.traffic);
        }
    }
    let slots =
        (begin..).step_by(usize::try_from(width).unwrap_or(1)).zip(traffic).map(|(start, traffic)| {
            let start = i64::try_from(start).ok().and_then(|start| Timestamp::from_second(start).ok());
            Slot { start: start.unwrap_or_default(), hit_percent: traffic.hit_percent(), traffic }
        });
    (width, slots.collect())
}

/// How much of a digest is searched for at least where it is written without its algorithm.
const LEAST_HEX: usize = 4;

/// Returns the images that fit a search: each word is in the image's name, or begins its digest, with or without the
/// algorithm.
pub(super) fn search<'a>(all: &'a [ImageState], query: &str) -> impl Iterator<Item = &'a ImageState> {
    let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
    all.iter().filter(move |image| {
        let name = image.image.to_lowercase();
        let hex = image.digest.split_once(':').map_or("", |(_, hex)| hex);
        words.iter().map(String::as_str).all(|word| {
            let is_of_hex = word.len() >= LEAST_HEX && hex.starts_with(word);
            name.contains(word) || image.digest.starts_with(word) || is_of_hex
        })
    })
}
