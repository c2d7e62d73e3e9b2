#![expect(clippy::disallowed_methods, reason = "says how long ago a thing was used")]

use clap::Args;
use jiff::Timestamp;

use super::args::StoreArgs;
use super::folder::of_store;
use super::record::object;
use super::runtime::runtime;
use crate::cache::Glob;
use crate::cache::admin::{ImageRecord, ListImages, ListObjects, ObjectRecord, Question as _, ask};
use crate::cache::config::ByteSize;
use crate::cache::service::ago;
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};
use crate::ui::{OutputFormat, Ui, table};

/// Arguments of `ls`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  talmirror-cache ls
  talmirror-cache ls 'ghcr.io/siderolabs/*' -o json
  talmirror-cache ls --objects")]
pub(super) struct LsArgs {
    /// Only images whose name fits, with or without the tag, such as docker.io/library/alpine, ghcr.io/siderolabs/* or */alpine:3*
    #[arg(value_name = "PATTERN", value_parser = Glob::of_images)]
    pattern: Option<Glob>,
    /// Blobs and manifests in place of images
    #[arg(long, env = "TALMIRROR_CACHE_OBJECTS", conflicts_with = "pattern", value_parser = clap::builder::FalseyValueParser::new())]
    objects: bool,
    #[command(flatten)]
    store: StoreArgs,
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
    let folder = of_store(&args.store)?;
    let runtime = runtime()?;
    if args.objects {
        let list = runtime.block_on(ask(&folder, ListObjects {}))?;
        ui.output(args.output, &object(ListObjects::KIND, &list), || objects(&list.items))?;
    } else {
        let list = runtime.block_on(ask(&folder, ListImages { pattern: args.pattern.clone() }))?;
        ui.output(args.output, &object(ListImages::KIND, &list), || images(&list.items))?;
    }
    Ok(exit::OK)
}

fn since(then: Timestamp) -> String {
    format!("{} ago", ago(then, Timestamp::now()))
}

fn images(images: &[ImageRecord]) -> String {
    let row = |image: &ImageRecord| {
        let parts = match image.missing {
            0 => "all".to_owned(),
            missing => format!("{missing} missing"),
        };
        let digest = image.digest.to_string();
        let digest = digest.get(..19).unwrap_or(&digest).to_owned();
        let stored = ByteSize(image.stored_bytes).to_string();
        vec![image.image.clone(), digest, stored, parts, since(image.checked_at)]
    };
    listing(["IMAGE", "DIGEST", "STORED", "PARTS", "CHECKED"], images.iter().map(row))
}

fn objects(objects: &[ObjectRecord]) -> String {
    let row = |object: &ObjectRecord| {
        vec![
            object.kind.clone(),
            object.digest.to_string(),
            ByteSize(object.size_bytes).to_string(),
            since(object.used_at),
            object.repositories.join(","),
        ]
    };
    listing(["KIND", "DIGEST", "SIZE", "USED", "REPOSITORIES"], objects.iter().map(row))
}

fn listing(header: [&str; 5], rows: impl Iterator<Item = Vec<String>>) -> String {
    let header = header.map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    table(&rows)
}
