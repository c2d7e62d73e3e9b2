use clap::Args;

use super::args::StoreArgs;
use super::folder::of_store;
use super::record::object;
use super::runtime::runtime;
use crate::cache::admin::{
    BucketState, CollectionState, EndpointState, HostState, MemberState, Question as _, ReadStats,
    ReplicaState, Stats, UpstreamState, ask,
};
use crate::cache::config::ByteSize;
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};
use crate::ui::{OutputFormat, Ui, table};

/// Arguments of `stats`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  talmirror-cache stats --root /var/lib/talmirror-cache
  talmirror-cache stats -o json")]
pub(super) struct StatsArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_CACHE_STATS_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: OutputFormat,
}

pub(super) fn run(ui: &mut Ui, args: &StatsArgs) -> Result<Exit, CliError> {
    let folder = of_store(&args.store)?;
    let stats = runtime()?.block_on(ask(&folder, ReadStats {}))?;
    ui.output(args.output, &object(ReadStats::KIND, &stats), || as_table(&stats))?;
    if stats.full {
        ui.warn(
            "there is no room: what is fetched is passed on without being kept",
            Some("raise --size-cap, or free the disk"),
        );
    }
    Ok(exit::OK)
}

fn as_table(stats: &Stats) -> String {
    let size = |bytes: u64| ByteSize(bytes).to_string();
    let known = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), size);
    let rows = [
        ("CAP", known(stats.cap_bytes)),
        ("STORED", size(stats.stored_bytes)),
        ("BEING FETCHED", size(stats.reserved_bytes)),
        ("RECORDS AND FOLDERS", size(stats.own_bytes)),
        ("FREE ON DISK", known(stats.free_bytes)),
        ("BLOBS", stats.blobs.to_string()),
        ("MANIFESTS", stats.manifests.to_string()),
        ("TAGS", stats.tags.to_string()),
        ("EVICTED SINCE START", format!("{} ({})", stats.evicted, size(stats.evicted_bytes))),
        ("DAMAGED SINCE START", stats.damaged.to_string()),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    let mut out = table(&rows);
    if let Some(bucket) = &stats.bucket {
        out.push('\n');
        out.push_str(&bucket_table(bucket));
    }
    if let Some(peers) = &stats.peers {
        out.push('\n');
        out.push_str(&replica_table(peers));
    }
    if !stats.upstreams.is_empty() {
        let header = ["REGISTRY", "ENDPOINT", "STATE", "SINCE", "UNTIL", "TRANSFERS", "QUEUED", "QUOTA LEFT"];
        let states = stats
            .upstreams
            .iter()
            .flat_map(|upstream| upstream.endpoints.iter().map(move |endpoint| state(upstream, endpoint)));
        out.push('\n');
        out.push_str(&rows_below(&header, states));
    }
    let mut paused = stats.upstreams.iter().flat_map(paused_repositories).peekable();
    if paused.peek().is_some() {
        out.push('\n');
        out.push_str(&rows_below(&["REGISTRY", "REPOSITORY", "STATE", "SINCE", "UNTIL"], paused));
    }
    if !stats.hosts.is_empty() {
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let row = |host: &HostState| {
            let (since, until) = (known(&host.paused_since), known(&host.paused_until));
            vec![host.host.clone(), host.paused.clone(), since, until]
        };
        out.push('\n');
        let header = ["HOST THAT A REGISTRY LEADS TO", "STATE", "SINCE", "UNTIL"];
        out.push_str(&rows_below(&header, stats.hosts.iter().map(row)));
    }
    out
}

fn bucket_table(bucket: &BucketState) -> String {
    let size = |bytes: u64| ByteSize(bytes).to_string();
    let since = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".to_owned());
    let rows = [
        ("BUCKET", bucket.url.clone()),
        ("STATE", bucket.trouble.clone().unwrap_or_else(|| "well".to_owned())),
        ("NOT READ SINCE", since(&bucket.unread_since)),
        ("NOT WRITTEN SINCE", since(&bucket.unwritten_since)),
        ("CAME FROM IT", format!("{} ({})", bucket.given, size(bucket.received_bytes))),
        ("WRITTEN TO IT", format!("{} ({})", bucket.written, size(bucket.sent_bytes))),
        ("WAITS TO BE WRITTEN", bucket.pending.to_string()),
        ("NOT WRITTEN", bucket.dropped.to_string()),
        ("REQUESTS", format!("{} ({} failed)", bucket.requests, bucket.failed)),
        ("LAST COLLECTION", last_collection(&bucket.collection)),
        ("FREED BY IT", format!("{} ({})", size(bucket.collection.freed_bytes), bucket.collection.freed())),
        (
            "LEFT BY IT",
            format!("{} ({} objects)", size(bucket.collection.kept_bytes), bucket.collection.kept),
        ),
    ];
    table(&rows.map(|(name, value)| vec![name.to_owned(), value]))
}

/// Returns when a bucket was collected last, or why it cannot be.
fn last_collection(collection: &CollectionState) -> String {
    let last = collection.ended_at.clone().unwrap_or_else(|| "none yet".to_owned());
    match (&collection.trouble, collection.running) {
        (Some(why), _) => format!("{last}; this cache cannot collect: {why}"),
        (None, true) => format!("{last}; one is under way"),
        (None, false) => last,
    }
}

fn replica_table(peers: &ReplicaState) -> String {
    let rows = [
        ("OTHER CACHES ASK AT", peers.url.clone()),
        ("CAME FROM THEM", format!("{} ({})", peers.given, ByteSize(peers.received_bytes))),
        ("FETCHED FOR ALL", format!("{} ({} taken over)", peers.leases, peers.taken_over)),
        ("FETCHED WITHOUT A LEASE", peers.without_lease.to_string()),
    ];
    let mut out = table(&rows.map(|(name, value)| vec![name.to_owned(), value]));
    if !peers.members.is_empty() {
        let row = |member: &MemberState| {
            let state =
                member.trouble.as_ref().map_or_else(|| "asked".to_owned(), |why| format!("not asked: {why}"));
            vec![member.url.clone(), state]
        };
        out.push('\n');
        out.push_str(&rows_below(&["OTHER CACHE", "STATE"], peers.members.iter().map(row)));
    }
    out
}

fn rows_below(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let header = header.iter().map(ToString::to_string).collect();
    table(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

/// Returns a row about an endpoint of an upstream.
fn state(upstream: &UpstreamState, endpoint: &EndpointState) -> Vec<String> {
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let quota = match (endpoint.quota_remaining, endpoint.quota_limit) {
        (Some(left), Some(limit)) => format!("{left} of {limit}"),
        (Some(_) | None, _) => "-".to_owned(),
    };
    vec![
        upstream.registry.clone(),
        endpoint.endpoint.clone(),
        endpoint.paused.clone().unwrap_or_else(|| "asked".to_owned()),
        known(&endpoint.paused_since),
        known(&endpoint.paused_until),
        format!("{} of {}", upstream.transfers, upstream.transfers_limit),
        upstream.queued.to_string(),
        quota,
    ]
}

/// Returns the rows about repositories of an upstream that are not asked.
fn paused_repositories(upstream: &UpstreamState) -> impl Iterator<Item = Vec<String>> {
    upstream.endpoints.iter().flat_map(|endpoint| &endpoint.repositories).map(|repository| {
        vec![
            upstream.registry.clone(),
            repository.name(),
            repository.paused.clone(),
            repository.paused_since.clone().unwrap_or_else(|| "-".to_owned()),
            repository.paused_until.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    })
}
