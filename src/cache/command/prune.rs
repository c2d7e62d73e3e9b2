use std::time::Duration;

use clap::Args;

use super::args::StoreArgs;
use super::folder::of_store;
use super::record::object;
use super::runtime::runtime;
use crate::cache::Glob;
use crate::cache::admin::{Prune, PruneTarget, Question as _, ask};
use crate::cache::config::ByteSize;
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};
use crate::ui::{Asking, OutputFormat, Ui, confirm, count, duration};

/// Arguments of `prune`.
#[derive(Debug, Args)]
#[command(
    after_help = "With an image goes what it alone needs; what several images share stays as long as one of them does. A running server is asked to do it; \
transfers that run are not cut.

Examples:
  talmirror-cache prune ghcr.io/siderolabs/installer:v1.9.0
  talmirror-cache prune 'ghcr.io/old/*' --dry-run
  talmirror-cache prune --unused-for 720h
  talmirror-cache prune --all --yes"
)]
pub(super) struct PruneArgs {
    /// Images whose name fits, such as nginx:1, ghcr.io/old/* or */alpine:3*
    #[arg(value_name = "PATTERN", required_unless_present_any = ["unused_for", "all"], value_parser = Glob::of_images)]
    pattern: Vec<Glob>,
    /// What was not asked for during this time
    #[arg(long, env = "TALMIRROR_CACHE_UNUSED_FOR", value_name = "TIME", value_parser = duration, conflicts_with = "pattern")]
    unused_for: Option<Duration>,
    /// Everything
    #[arg(long, env = "TALMIRROR_CACHE_ALL", conflicts_with_all = ["pattern", "unused_for"], value_parser = clap::builder::FalseyValueParser::new())]
    all: bool,
    /// Remove nothing; say what would be
    #[arg(long, env = "TALMIRROR_CACHE_DRY_RUN", value_parser = clap::builder::FalseyValueParser::new())]
    dry_run: bool,
    /// Do not ask before everything is removed
    #[arg(short, long, env = "TALMIRROR_CACHE_YES", value_parser = clap::builder::FalseyValueParser::new())]
    yes: bool,
    #[command(flatten)]
    store: StoreArgs,
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_CACHE_PRUNE_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: OutputFormat,
}

pub(super) fn run(ui: &mut Ui, args: &PruneArgs) -> Result<Exit, CliError> {
    let target = match (args.all, args.unused_for) {
        (true, _) => PruneTarget::All,
        (false, Some(time)) => PruneTarget::UnusedFor(time),
        (false, None) => PruneTarget::Named(args.pattern.clone()),
    };
    let folder = of_store(&args.store)?;
    if args.all && !args.dry_run && !args.yes {
        let question = format!("Remove everything from `{}`?", folder.display());
        confirm(Asking::here(), &question, "nothing was removed", "--yes does it without the question")?;
    }
    let pruned = runtime()?.block_on(ask(&folder, Prune { target, dry_run: args.dry_run }))?;
    if pruned.tags.is_empty() && pruned.objects == 0 && !args.pattern.is_empty() {
        let patterns: Vec<String> = args.pattern.iter().map(|pattern| format!("`{pattern}`")).collect();
        ui.warn(
            &format!("no image is stored that fits {}", patterns.join(", ")),
            Some("`talmirror-cache ls` prints the names; * stands for any text"),
        );
    }
    let list = || pruned.tags.iter().map(|tag| format!("{tag}\n")).collect::<String>();
    ui.output(args.output, &object(Prune::KIND, &pruned), list)?;
    if args.output == OutputFormat::Table {
        let verb = if pruned.dry_run { "would remove" } else { "removed" };
        let (tags, size) = (count(pruned.tags.len(), "tag"), ByteSize(pruned.bytes));
        ui.note(&format!("{verb} {tags}, {} blobs and manifests, {size}", pruned.objects));
    }
    Ok(exit::OK)
}
