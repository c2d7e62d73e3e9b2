use std::time::Duration;

use clap::Args;

use super::gc::interrupted;
use super::record::object;
use super::runtime::runtime;
use super::tier::{Tier, TierArgs};
use crate::cache::Glob;
use crate::cache::admin::{Prune, PruneTarget, Pruned, Question as _, TierName, prune_bucket};
use crate::cache::bucket::{Contents, Tell};
use crate::cache::config::ByteSize;
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};
use crate::ui::{Asking, OutputFormat, Ui, confirm, count, duration};

/// What is in use is written again by then.
const LEAST_UNUSED: Duration = Duration::from_hours(24 * 14);

/// Arguments of `prune`.
#[derive(Debug, Args)]
#[command(
    after_help = "With an image goes what it alone needs; what several images share stays as long as one of them does. A running server is asked to do it; \
transfers that run are not cut.

From a bucket, with --tier bucket or both, it goes for all caches that share it, so nothing does unless that is said. It is done as `gc` does it, beside caches that run: \
after three minutes, in which all of them learn what is to go. What is younger than a day stays, and so does what was written or pulled meanwhile, or what another tag or \
repository needs. A cache that has an image in its folder writes it again when it is used: remove it from the folders, too. By --unused-for go images whose manifests \
no cache wrote during this time, two weeks at least: caches look at what is in use once a week, and write it again where it is a week old.

Examples:
  talmirror-cache prune ghcr.io/siderolabs/installer:v1.9.0
  talmirror-cache prune 'ghcr.io/old/*' --dry-run
  talmirror-cache prune --unused-for 720h
  talmirror-cache prune --all --yes
  talmirror-cache prune 'ghcr.io/old/*' --tier both --dry-run
  talmirror-cache prune 'ghcr.io/old/*' --tier bucket --bucket s3://images/talmirror"
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
    /// From where: the folder, the bucket behind it, which all caches share, or both
    #[arg(long, env = "TALMIRROR_CACHE_PRUNE_TIER", value_name = "TIER", default_value = "local")]
    tier: Tier,
    #[command(flatten)]
    place: TierArgs,
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
    let runtime = runtime()?;
    let tiers = runtime.block_on(args.place.find(Some(args.tier)))?;
    if let (Some(time), true) = (args.unused_for, tiers.bucket.is_some()) {
        check_unused_for(time)?;
    }
    if args.all && !args.dry_run && !args.yes {
        let question = format!("Remove everything from {}?", tiers.name());
        confirm(Asking::here(), &question, "nothing was removed", "--yes does it without the question")?;
    }
    let wanted = |tier| Prune { target: target.clone(), dry_run: args.dry_run, tier };
    // The folder first: what is in it would be written to the bucket again.
    let local = runtime.block_on(tiers.ask_local(wanted(TierName::Local)))?;
    let bucket = runtime.block_on(async {
        if tiers.bucket.is_some() && !args.dry_run && !ui.is_live() {
            ui.note("removes from the bucket: that takes minutes, in which all caches learn what is to go");
        }
        // A server goes on by itself, and of what is only looked at, nobody has to let go.
        let stop = if tiers.is_own() && !args.dry_run { Some(interrupted()?) } else { None };
        let own = async |contents: &Contents, wanted: &Prune, tell: Tell<'_>| match stop {
            Some(stop) => prune_bucket(contents, wanted, stop, tell).await,
            None => prune_bucket(contents, wanted, std::future::pending(), tell).await,
        };
        tiers.ask_bucket(ui, wanted(TierName::Bucket), own).await
    });
    let (bucket, failed) = match bucket {
        Ok(pruned) => (pruned, None),
        Err(error) => (None, Some(error)),
    };
    let pruned = match (local, bucket, failed) {
        (None, None, Some(error)) => return Err(error),
        // What was removed from the folder is said all the same.
        (Some(local), None, Some(error)) => {
            print(ui, args, &local)?;
            return Err(error);
        }
        (Some(local), Some(pruned), _) => local.and(pruned),
        (local, pruned, _) => local.or(pruned).unwrap_or_default(),
    };
    print(ui, args, &pruned)?;
    Ok(if pruned.trouble.is_some() { exit::REMOTE } else { exit::OK })
}

/// Refuses a time after which images in use may seem to be of no use: what is in use is looked at once a week, and written
/// again where it is a week old by then.
fn check_unused_for(time: Duration) -> Result<(), CliError> {
    if time >= LEAST_UNUSED {
        return Ok(());
    }
    Err(CliError::usage(format!(
        "--unused-for: a bucket says when an image was written last, and one that is in use may be written again only after two weeks: \
         name {}h or more, or take it from the folder alone (--tier local)",
        LEAST_UNUSED.as_secs() / 3600
    )))
}

/// Prints what was removed, and says what came of it.
fn print(ui: &mut Ui, args: &PruneArgs, pruned: &Pruned) -> Result<(), CliError> {
    let is_nothing = pruned.tags.is_empty() && pruned.objects == 0 && pruned.young == 0;
    if is_nothing && !args.pattern.is_empty() {
        let patterns: Vec<String> = args.pattern.iter().map(|pattern| format!("`{pattern}`")).collect();
        ui.warn(
            &format!("no image is stored that fits {}", patterns.join(", ")),
            Some("`talmirror-cache ls` prints the names; * stands for any text"),
        );
    }
    let list = || pruned.tags.iter().map(|tag| format!("{tag}\n")).collect::<String>();
    ui.output(args.output, &object(Prune::KIND, pruned), list)?;
    if args.output == OutputFormat::Table {
        let verb = if pruned.dry_run { "would remove" } else { "removed" };
        for tier in &pruned.tiers {
            let place = match args.tier {
                Tier::Local => String::new(),
                Tier::Bucket | Tier::Both => format!("{}: ", tier.tier),
            };
            let (tags, size) = (count(tier.tags, "tag"), ByteSize(tier.bytes));
            ui.note(&format!("{place}{verb} {tags}, {} blobs and manifests, {size}", tier.objects));
        }
        if pruned.young > 0 {
            let young = pruned.young;
            ui.note(&format!(
                "bucket: {young} tags, blobs and manifests that fit are younger than a day, and stay"
            ));
        }
    }
    if let Some(trouble) = &pruned.trouble {
        let what = match pruned.failed {
            0 => "not all of it was removed from the bucket".to_owned(),
            failed => format!("{} could not be removed from the bucket", count(failed, "key")),
        };
        ui.warn(&format!("{what}: {trouble}"), None);
    }
    Ok(())
}
