#![expect(clippy::disallowed_methods, reason = "says how long ago a thing was used")]

use clap::Args;
use jiff::Timestamp;

use super::record::object;
use super::runtime::runtime;
use super::tier::{Tier, TierArgs, Tiers};
use crate::cache::Glob;
use crate::cache::admin::{
    ImageRecord, ListImages, ListObjects, ObjectRecord, Question as _, TierName, list_bucket_images,
    list_bucket_objects,
};
use crate::cache::config::ByteSize;
use crate::cache::service::ago;
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};
use crate::ui::{OutputFormat, Ui, table};

/// Arguments of `ls`.
#[derive(Debug, Args)]
#[command(
    after_help = "With a bucket, that of a running server or one that is named, what is in it is listed, too, and where each thing is. For that all keys are listed, \
and each tag and each manifest is read. Blobs and manifests that are in the bucket alone count as used when a cache wrote them.

Examples:
  talmirror-cache ls
  talmirror-cache ls 'ghcr.io/siderolabs/*' -o json
  talmirror-cache ls --objects
  talmirror-cache ls --tier bucket --bucket s3://images/talmirror"
)]
pub(super) struct LsArgs {
    /// Only images whose name fits, with or without the tag, such as docker.io/library/alpine, ghcr.io/siderolabs/* or */alpine:3*
    #[arg(value_name = "PATTERN", value_parser = Glob::of_images)]
    pattern: Option<Glob>,
    /// Blobs and manifests in place of images
    #[arg(long, env = "TALMIRROR_CACHE_OBJECTS", conflicts_with = "pattern", value_parser = clap::builder::FalseyValueParser::new())]
    objects: bool,
    /// Only what is in the folder, or in the bucket behind it; without it, both where there is a bucket
    #[arg(long, env = "TALMIRROR_CACHE_LS_TIER", value_name = "TIER")]
    tier: Option<Tier>,
    #[command(flatten)]
    place: TierArgs,
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_CACHE_LS_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: OutputFormat,
}

pub(super) fn run(ui: &mut Ui, args: &LsArgs) -> Result<Exit, CliError> {
    let runtime = runtime()?;
    let tiers = runtime.block_on(args.place.find(args.tier))?;
    let shown = Shown::of(&tiers);
    if args.objects {
        let wanted = |tier| ListObjects { tier };
        // First what takes longer, and may fail.
        let bucket = tiers.ask_bucket(ui, wanted(TierName::Bucket), list_bucket_objects);
        let bucket = runtime.block_on(bucket)?;
        let local = runtime.block_on(tiers.ask_local(wanted(TierName::Local)))?;
        let list = match (local, bucket) {
            (Some(local), Some(bucket)) => local.and(bucket),
            (local, bucket) => local.or(bucket).unwrap_or_default(),
        };
        ui.output(args.output, &object(ListObjects::KIND, &list), || objects(&list.items, shown))?;
    } else {
        let wanted = |tier| ListImages { pattern: args.pattern.clone(), tier };
        let bucket = tiers.ask_bucket(ui, wanted(TierName::Bucket), list_bucket_images);
        let bucket = runtime.block_on(bucket)?;
        let local = runtime.block_on(tiers.ask_local(wanted(TierName::Local)))?;
        let list = match (local, bucket) {
            (Some(local), Some(bucket)) => local.and(bucket),
            (local, bucket) => local.or(bucket).unwrap_or_default(),
        };
        ui.output(args.output, &object(ListImages::KIND, &list), || images(&list.items, shown))?;
    }
    Ok(exit::OK)
}

/// Whether a table says where each thing is.
#[derive(Clone, Copy)]
enum Shown {
    Tiers,
    /// There is one place alone.
    One,
}

impl Shown {
    const fn of(tiers: &Tiers) -> Self {
        if tiers.bucket.is_some() { Self::Tiers } else { Self::One }
    }
}

fn since(then: Timestamp) -> String {
    format!("{} ago", ago(then, Timestamp::now()))
}

fn images(images: &[ImageRecord], shown: Shown) -> String {
    let row = |image: &ImageRecord| {
        let parts = match image.missing {
            0 => "all".to_owned(),
            missing => format!("{missing} missing"),
        };
        let digest = image.digest.to_string();
        let digest = digest.get(..19).unwrap_or(&digest).to_owned();
        let stored = ByteSize(image.stored_bytes).to_string();
        (vec![image.image.clone(), digest, stored, parts, since(image.checked_at)], tiers(&image.tiers))
    };
    listing(["IMAGE", "DIGEST", "STORED", "PARTS", "CHECKED"], images.iter().map(row), shown)
}

fn objects(objects: &[ObjectRecord], shown: Shown) -> String {
    let row = |object: &ObjectRecord| {
        let row = vec![
            object.kind.clone(),
            object.digest.to_string(),
            ByteSize(object.size_bytes).to_string(),
            since(object.used_at),
            object.repositories.join(","),
        ];
        (row, tiers(&object.tiers))
    };
    listing(["KIND", "DIGEST", "SIZE", "USED", "REPOSITORIES"], objects.iter().map(row), shown)
}

/// Returns where something is, as a cell of a table.
fn tiers(tiers: &[TierName]) -> String {
    tiers.iter().map(|tier| tier.as_str()).collect::<Vec<_>>().join(",")
}

fn listing(header: [&str; 5], rows: impl Iterator<Item = (Vec<String>, String)>, shown: Shown) -> String {
    let full = |mut row: Vec<String>, tiers: String| {
        if let Shown::Tiers = shown {
            row.push(tiers);
        }
        row
    };
    let header = full(header.map(str::to_owned).to_vec(), "TIERS".to_owned());
    let rows = rows.map(|(row, tiers)| full(row, tiers));
    table(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}
