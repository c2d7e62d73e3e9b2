use clap::Args;

use super::args::StoreArgs;
use super::folder::of_store;
use super::record::object;
use super::runtime::runtime;
use crate::cache::admin::{Question as _, ReadStats, Stats, UpstreamState, ask};
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
    #[arg(short, long, env = "TALMIRROR_CACHE_STATS_OUTPUT", default_value = "table", value_name = "FORMAT")]
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
        ("FREE ON DISK", known(stats.free_bytes)),
        ("BLOBS", stats.blobs.to_string()),
        ("MANIFESTS", stats.manifests.to_string()),
        ("TAGS", stats.tags.to_string()),
        ("EVICTED SINCE START", format!("{} ({})", stats.evicted, size(stats.evicted_bytes))),
        ("DAMAGED SINCE START", stats.damaged.to_string()),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    let mut out = table(&rows);
    if !stats.upstreams.is_empty() {
        let header = ["REGISTRY", "ENDPOINT", "STATE", "UNTIL", "QUOTA LEFT"].map(str::to_owned).to_vec();
        let states = stats.upstreams.iter().map(state);
        out.push('\n');
        out.push_str(&table(&std::iter::once(header).chain(states).collect::<Vec<_>>()));
    }
    out
}

/// Returns a row about an endpoint of an upstream.
fn state(upstream: &UpstreamState) -> Vec<String> {
    let quota = match (upstream.quota_remaining, upstream.quota_limit) {
        (Some(left), Some(limit)) => format!("{left} of {limit}"),
        _ => "-".to_owned(),
    };
    vec![
        upstream.registry.clone(),
        upstream.endpoint.clone(),
        upstream.paused.clone().unwrap_or_else(|| "asked".to_owned()),
        upstream.paused_until.clone().unwrap_or_else(|| "-".to_owned()),
        quota,
    ]
}
