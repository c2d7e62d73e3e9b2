use clap::Args;
use clap::builder::FalseyValueParser;
use serde::Serialize;
use tokio::sync::watch;

use super::args::BucketArgs;
use super::record::object;
use super::runtime::runtime;
use crate::cache::bucket::{Collection, CollectionError, Progress, collect, plan_collection};
use crate::cache::config::{BucketConfig, ByteSize, ConfigSource, Overlay};
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};
use crate::ui::{OutputFormat, Signals, Ui, count, table};

/// Arguments of `gc`.
#[derive(Debug, Args)]
#[command(
    after_help = "Caches that have --bucket-max-age or --bucket-max-size collect by themselves, one of them every six hours. This is for all others, \
for in between, and for a look: from any machine that has the bucket's credentials, beside caches that run. Images stay that a tag stands for, or that were written or served in the last 30 days; \
what is younger than a day stays in any case. It waits three minutes until all caches know what is to go.

Examples:
  talmirror-cache gc --bucket s3://images/talmirror --dry-run
  talmirror-cache gc --config /etc/talmirror-cache.yaml -o json
  talmirror-cache gc --bucket s3://images --bucket-max-age 720h --bucket-max-size 1TiB"
)]
pub(super) struct GcArgs {
    /// The configuration file, which names the bucket
    #[arg(short, long, env = "TALMIRROR_CACHE_CONFIG", value_name = "FILE", help_heading = "Configuration")]
    config: Option<std::path::PathBuf>,
    #[command(flatten)]
    bucket: BucketArgs,
    /// Remove nothing; say what would be
    #[arg(long, env = "TALMIRROR_CACHE_DRY_RUN", value_parser = FalseyValueParser::new())]
    dry_run: bool,
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_CACHE_GC_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: OutputFormat,
}

/// What is printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Printed<'a> {
    bucket: String,
    dry_run: bool,
    tags: usize,
    superseded_tags: usize,
    manifests: usize,
    blobs: usize,
    freed_bytes: u64,
    kept: usize,
    kept_bytes: u64,
    /// What was too much for one collection.
    left: usize,
    /// What could not be removed.
    failed: usize,
    leftovers: usize,
    uploads: usize,
    trouble: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<PrintedObject<'a>>>,
}

/// A blob or a manifest that would go.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PrintedObject<'a> {
    kind: &'static str,
    digest: String,
    bytes: u64,
    repositories: &'a [String],
}

pub(super) fn run(ui: &mut Ui, args: &GcArgs) -> Result<Exit, CliError> {
    let overlay = Overlay { bucket: args.bucket.overlay(), ..Overlay::default() };
    let loaded = ConfigSource { file: args.config.clone(), overlay }.load()?;
    for problem in &loaded.problems {
        ui.problem(problem);
    }
    let Some(bucket) = loaded.config.bucket else {
        return Err(CliError::usage("nothing says which bucket").help("name it: --bucket s3://NAME/PREFIX"));
    };
    let stop = if args.dry_run { None } else { Some(interrupted()?) };
    let collection = runtime()?.block_on(run_watched(ui, &bucket, stop))?;
    ui.output(args.output, &object("CacheCollected", &printed(&collection, &bucket, args.dry_run)), || {
        as_table(&collection)
    })?;
    if args.output == OutputFormat::Table {
        note(ui, &collection, args.dry_run);
    }
    if let Some(trouble) = &collection.trouble {
        let what = match collection.failed {
            0 => "what caches left behind".to_owned(),
            failed => count(failed, "key"),
        };
        ui.warn(
            &format!("{what} could not be removed, and is left for the next collection: {trouble}"),
            None,
        );
    }
    Ok(exit::OK)
}

/// Waits for Ctrl-C and the like: one that is let go of holds up no other; a second one ends the process.
pub(super) fn interrupted() -> Result<impl Future<Output = ()> + Send, CliError> {
    let mut signals = Signals::new()
        .map_err(|error| CliError::from_error(exit::REMOTE, error).context("cannot listen for Ctrl-C"))?;
    Ok(async move {
        let _ = signals.next().await;
    })
}

/// Collects until it is told to stop, or looks what would be, and says how far it has come.
async fn run_watched(
    ui: &mut Ui,
    bucket: &BucketConfig,
    stop: Option<impl Future<Output = ()> + Send>,
) -> Result<Collection, CollectionError> {
    let (told, mut seen) = watch::channel(None);
    let progress = move |progress: Progress| {
        told.send_replace(Some(progress));
    };
    let run = async {
        match stop {
            None => plan_collection(bucket, progress).await,
            Some(stop) => collect(bucket, stop, progress).await,
        }
    };
    tokio::pin!(run);
    let collected = loop {
        tokio::select! {
            collected = &mut run => break collected,
            Ok(()) = seen.changed() => {
                let now = *seen.borrow_and_update();
                match now {
                    Some(stage) if ui.is_live() => ui.live(&[stage.to_string()]),
                    // In a log, that nothing happens for minutes is said.
                    Some(stage @ Progress::Waits(_)) => ui.note(&stage.to_string()),
                    Some(_) | None => {}
                }
            }
        }
    };
    ui.live(&[]);
    collected
}

fn printed<'a>(collection: &'a Collection, bucket: &BucketConfig, dry_run: bool) -> Printed<'a> {
    let items = collection.objects.iter().map(|(object, bytes, repositories)| PrintedObject {
        kind: object.kind.as_str(),
        digest: object.digest.to_string(),
        bytes: *bytes,
        repositories,
    });
    Printed {
        bucket: bucket.address.to_string(),
        dry_run,
        tags: collection.tags,
        superseded_tags: collection.superseded,
        manifests: collection.manifests,
        blobs: collection.blobs,
        freed_bytes: collection.freed_bytes,
        kept: collection.kept,
        kept_bytes: collection.kept_bytes,
        left: collection.left,
        failed: collection.failed,
        leftovers: collection.leftovers,
        uploads: collection.uploads,
        trouble: collection.trouble.as_deref(),
        items: dry_run.then(|| items.collect()),
    }
}

fn as_table(collection: &Collection) -> String {
    if collection.objects.is_empty() {
        return String::new();
    }
    let header = ["KIND", "DIGEST", "SIZE", "REPOSITORIES"].map(str::to_owned).to_vec();
    let rows = collection.objects.iter().map(|(object, bytes, repositories)| {
        let repositories = if repositories.is_empty() { "-".to_owned() } else { repositories.join(" ") };
        let size = ByteSize(*bytes).to_string();
        vec![object.kind.as_str().to_owned(), object.digest.to_string(), size, repositories]
    });
    table(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

/// Says what came of it.
fn note(ui: &mut Ui, collection: &Collection, dry_run: bool) {
    let verb = if dry_run { "would remove" } else { "removed" };
    let (tags, size) = (count(collection.tags, "tag"), ByteSize(collection.freed_bytes));
    let objects =
        format!("{} and {}", count(collection.manifests, "manifest"), count(collection.blobs, "blob"));
    ui.note(&format!("{verb} {tags}, {objects}, {size}"));
    let old = collection.superseded + collection.leftovers + collection.uploads;
    if old > 0 {
        ui.note(&format!(
            "{verb} {} of what tags were before, {} that caches left behind, {}",
            count(collection.superseded, "entry"),
            count(collection.leftovers, "key"),
            count(collection.uploads, "unfinished upload"),
        ));
    }
    let kept = count(collection.kept, "blob and manifest");
    ui.note(&format!("{} of {kept} stay", ByteSize(collection.kept_bytes)));
    if collection.left > 0 {
        ui.note(&format!("{} more are left for the next collection", collection.left));
    }
}
