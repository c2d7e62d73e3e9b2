use clap::Args;

use super::args::StoreArgs;
use super::folder::of_store;
use super::record::object;
use super::runtime::runtime;
use crate::cache::Glob;
use crate::cache::admin::{Question as _, Verify, ask};
use crate::cache::config::ByteSize;
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};
use crate::ui::{OutputFormat, Ui, count};

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(
    after_help = "What is damaged is removed, and fetched again when a client asks for it. A running server is asked \
to do it. Ends with 1 when something was damaged.

Examples:
  talmirror-cache verify
  talmirror-cache verify ghcr.io/siderolabs/installer:v1.9.0
  talmirror-cache verify 'ghcr.io/siderolabs/*' -o json"
)]
pub(super) struct VerifyArgs {
    /// Only images and repositories whose name fits, such as nginx:1 or ghcr.io/siderolabs/*
    #[arg(value_name = "PATTERN", value_parser = Glob::of_images)]
    pattern: Option<Glob>,
    #[command(flatten)]
    store: StoreArgs,
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
    let folder = of_store(&args.store)?;
    let verified = runtime()?.block_on(ask(&folder, Verify { pattern: args.pattern.clone() }))?;
    if let Some(pattern) = args.pattern.as_ref().filter(|_| verified.checked == 0) {
        ui.warn(
            &format!("no image is stored that fits `{pattern}`"),
            Some("`talmirror-cache ls` prints the names; * stands for any text"),
        );
    }
    let list = || {
        let lines = verified.damaged.iter().map(|damaged| {
            format!("{} {} {}\n", damaged.kind, damaged.digest, damaged.repositories.join(" "))
        });
        lines.collect::<String>()
    };
    ui.output(args.output, &object(Verify::KIND, &verified), list)?;
    if args.output == OutputFormat::Table {
        let damaged = count(verified.damaged.len(), "damaged object");
        let size = ByteSize(verified.bytes);
        ui.note(&format!("checked {} blobs and manifests, {size}; removed {damaged}", verified.checked));
    }
    Ok(if verified.damaged.is_empty() { exit::OK } else { exit::FOUND })
}
