use clap::Args;

use super::record::object;
use super::runtime::runtime;
use super::tier::{Tier, TierArgs};
use crate::cache::Glob;
use crate::cache::admin::{DamagedRecord, Question as _, TierName, Verified, Verify, verify_bucket};
use crate::cache::config::ByteSize;
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};
use crate::ui::{OutputFormat, Ui, count};

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(
    after_help = "What is damaged is removed, and fetched again when a client asks for it. A running server is asked \
to do it. Ends with 1 when something was damaged.

With a bucket, that of a running server or one that is named, all that is wanted of it is read, too, which may take long and be charged for: --tier \
local leaves it out. Something that is damaged in it is read three times before it is removed. Tags whose manifests are not there, and manifests whose \
blobs are not, are no damage: they are fetched when a client asks for them. Ends with 5 when something could not be read.

Examples:
  talmirror-cache verify
  talmirror-cache verify ghcr.io/siderolabs/installer:v1.9.0
  talmirror-cache verify 'ghcr.io/siderolabs/*' -o json
  talmirror-cache verify --tier bucket --bucket s3://images/talmirror"
)]
pub(super) struct VerifyArgs {
    /// Only images and repositories whose name fits, such as nginx:1 or ghcr.io/siderolabs/*
    #[arg(value_name = "PATTERN", value_parser = Glob::of_images)]
    pattern: Option<Glob>,
    /// Only what is in the folder, or in the bucket behind it; without it, both where there is a bucket
    #[arg(long, env = "TALMIRROR_CACHE_VERIFY_TIER", value_name = "TIER")]
    tier: Option<Tier>,
    #[command(flatten)]
    place: TierArgs,
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_CACHE_VERIFY_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: OutputFormat,
}

pub(super) fn run(ui: &mut Ui, args: &VerifyArgs) -> Result<Exit, CliError> {
    let runtime = runtime()?;
    // Before anything is checked: what is found out is not to be lost because the bucket cannot be reached.
    let tiers = runtime.block_on(args.place.find(args.tier))?;
    let wanted = |tier| Verify { pattern: args.pattern.clone(), tier };
    let local = runtime.block_on(tiers.ask_local(wanted(TierName::Local)))?;
    let bucket = runtime.block_on(tiers.ask_bucket(ui, wanted(TierName::Bucket), verify_bucket));
    let (bucket, failed) = match bucket {
        Ok(found) => (found, None),
        Err(error) => (None, Some(error)),
    };
    let verified = match (local, bucket, failed) {
        (None, None, Some(error)) => return Err(error),
        // What was found and removed in the folder is said all the same.
        (Some(local), None, Some(error)) => {
            print(ui, args, &local)?;
            return Err(error);
        }
        (Some(local), Some(found), _) => local.and(found),
        (local, found, _) => local.or(found).unwrap_or_default(),
    };
    print(ui, args, &verified)?;
    Ok(if !verified.damaged.is_empty() {
        exit::FOUND
    } else if verified.unread.is_empty() {
        exit::OK
    } else {
        exit::REMOTE
    })
}

/// Prints what was found, and says what came of it.
fn print(ui: &mut Ui, args: &VerifyArgs, verified: &Verified) -> Result<(), CliError> {
    let is_nothing = verified.checked == 0 && verified.unread.is_empty();
    if let Some(pattern) = args.pattern.as_ref().filter(|_| is_nothing) {
        ui.warn(
            &format!("no image is stored that fits `{pattern}`"),
            Some("`talmirror-cache ls` prints the names; * stands for any text"),
        );
    }
    let list = || verified.damaged.iter().map(line).collect::<String>();
    ui.output(args.output, &object(Verify::KIND, verified), list)?;
    if args.output == OutputFormat::Table {
        note(ui, verified);
    }
    for damaged in &verified.damaged {
        if let (Some(key), Some(why)) = (&damaged.key, &damaged.kept) {
            ui.warn(&format!("`{key}` in the bucket is damaged, and still there: {why}"), None);
        }
    }
    if let Some(first) = verified.unread.first() {
        let unread = count(verified.unread.len(), "object");
        let rest = match verified.unchecked {
            0 => String::new(),
            rest => format!(", and {rest} were left alone for that"),
        };
        ui.warn(
            &format!(
                "{unread} in the bucket could not be read{rest}; the first, {}: {}",
                first.digest, first.why
            ),
            Some("run it again when the bucket is well: `talmirror-cache check` says whether it can be used"),
        );
    }
    Ok(())
}

fn line(damaged: &DamagedRecord) -> String {
    let repositories = damaged.repositories.join(" ");
    let key = damaged.key.as_ref().map_or_else(String::new, |key| format!(" bucket:{key}"));
    format!("{} {} {repositories}{key}\n", damaged.kind, damaged.digest)
}

fn note(ui: &mut Ui, verified: &Verified) {
    let is_both = verified.tiers.len() > 1;
    for tier in &verified.tiers {
        let damaged = verified.damaged.iter().filter(|one| one.tier == tier.tier && one.kept.is_none());
        let damaged = count(damaged.count(), "damaged object");
        let place =
            if is_both || tier.tier == TierName::Bucket { format!("{}: ", tier.tier) } else { String::new() };
        let size = ByteSize(tier.bytes);
        ui.note(&format!("{place}checked {} blobs and manifests, {size}; removed {damaged}", tier.checked));
    }
    if !verified.dangling_tags.is_empty() {
        let tags = count(verified.dangling_tags.len(), "tag");
        let first =
            verified.dangling_tags.first().map_or_else(String::new, |tag| format!(", such as {}", tag.image));
        ui.note(&format!(
            "bucket: {tags} whose manifest is not there{first}: it is fetched when a client asks for it"
        ));
    }
    if !verified.incomplete.is_empty() {
        let manifests = count(verified.incomplete.len(), "manifest");
        ui.note(&format!(
            "bucket: {manifests} of which blobs are not there: they are fetched when a client asks for them"
        ));
    }
}
