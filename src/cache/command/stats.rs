use clap::Args;
use serde_json::{Value, json};

use super::Format;
use super::args::RootArgs;
use super::control::{Verb, ask};
use crate::cache::config::ByteSize;
use crate::cache::store::Store;
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};
use crate::ui::{Ui, table};

/// Arguments of `stats`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  talmirror-cache stats --root /var/lib/talmirror-cache
  talmirror-cache stats -o json")]
pub(super) struct StatsArgs {
    #[command(flatten)]
    root: RootArgs,
    /// How it is printed
    #[arg(short, long, env = "TALMIRROR_CACHE_STATS_OUTPUT", default_value = "table", value_name = "FORMAT")]
    output: Format,
}

/// Returns how full a store is.
pub(super) async fn stats(store: &dyn Store) -> std::io::Result<Value> {
    let usage = store.usage().await?;
    Ok(json!({
        "apiVersion": "talmirror/v1",
        "kind": "CacheStats",
        "capBytes": usage.cap,
        "storedBytes": usage.stored,
        "reservedBytes": usage.reserved,
        "freeBytes": usage.free,
        "blobs": usage.blobs,
        "manifests": usage.manifests,
        "tags": store.tags().await?.len(),
        "evicted": usage.evicted,
        "evictedBytes": usage.evicted_bytes,
        "damaged": usage.damaged,
        "full": usage.full,
    }))
}

pub(super) fn run(ui: &mut Ui, args: &StatsArgs) -> Result<Exit, CliError> {
    let stats = ask(args.root.root.as_deref(), &Verb::Stats)?;
    if args.output == Format::Json {
        ui.json(&stats)?;
        return Ok(exit::OK);
    }
    let number = |key: &str| stats.get(key).and_then(Value::as_u64);
    let size = |key: &str| number(key).map_or_else(|| "-".to_owned(), |bytes| ByteSize(bytes).to_string());
    let count = |key: &str| number(key).unwrap_or(0).to_string();
    let rows = [
        ("CAP", size("capBytes")),
        ("STORED", size("storedBytes")),
        ("BEING FETCHED", size("reservedBytes")),
        ("FREE ON DISK", size("freeBytes")),
        ("BLOBS", count("blobs")),
        ("MANIFESTS", count("manifests")),
        ("TAGS", count("tags")),
        ("EVICTED SINCE START", format!("{} ({})", count("evicted"), size("evictedBytes"))),
        ("DAMAGED SINCE START", count("damaged")),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    ui.result(&table(&rows))?;
    if stats.get("full").and_then(Value::as_bool) == Some(true) {
        ui.warn(
            "there is no room: what is fetched is passed on without being kept",
            Some("raise --size-cap, or free the disk"),
        );
    }
    Ok(exit::OK)
}
