use clap::Args;
use clap::builder::FalseyValueParser;

use super::args::{BucketArgs, ConfigArgs, RootArgs};
use super::folder::root;
use super::record::object;
use super::runtime::runtime;
use crate::cache::admin::{Question as _, Upload, Uploaded, ask, is_running, upload_folder};
use crate::cache::config::{ByteSize, ConfigSource, Overlay};
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};
use crate::ui::{OutputFormat, Ui, count};

/// Arguments of `upload`.
#[derive(Debug, Args)]
#[command(
    after_help = "For a folder that was filled before it had a bucket. What is in the bucket is not sent again, so that it can be run again after it was \
interrupted. A running server is asked to do it, into its own bucket and in the background; `stats` says what is left. The upstreams have to \
be given as `serve` has them: what needs credentials is not noted for everyone.

Examples:
  talmirror-cache upload --root /var/lib/talmirror-cache --bucket s3://images/talmirror --dry-run
  talmirror-cache upload --config /etc/talmirror-cache.yaml"
)]
pub(super) struct UploadArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    root: RootArgs,
    #[command(flatten)]
    bucket: BucketArgs,
    /// Write nothing; say what would be
    #[arg(long, env = "TALMIRROR_CACHE_DRY_RUN", value_parser = FalseyValueParser::new())]
    dry_run: bool,
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_CACHE_UPLOAD_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: OutputFormat,
}

pub(super) fn run(ui: &mut Ui, args: &UploadArgs) -> Result<Exit, CliError> {
    let source = args.config.source();
    let overlay = Overlay { root: args.root.root.clone(), bucket: args.bucket.overlay(), ..source.overlay };
    let loaded = ConfigSource { overlay, ..source }.load()?;
    for problem in &loaded.problems {
        ui.problem(problem);
    }
    let config = loaded.config;
    let folder = root(config.root.as_deref())?;
    let wanted = Upload { dry_run: args.dry_run };
    let runtime = runtime()?;
    let is_running = runtime.block_on(is_running(&folder));
    let uploaded: Uploaded = if is_running {
        runtime.block_on(ask(&folder, wanted))?
    } else {
        let Some(bucket) = config.bucket.clone() else {
            return Err(
                CliError::usage("nothing says which bucket").help("name it: --bucket s3://NAME/PREFIX")
            );
        };
        let progress = |left: usize| {
            if ui.is_live() {
                ui.live(&[format!("{left} left to be written")]);
            }
        };
        let uploaded = runtime.block_on(upload_folder(&folder, &bucket, &config, wanted, progress));
        ui.live(&[]);
        uploaded?
    };
    ui.output(args.output, &object(Upload::KIND, &uploaded), String::new)?;
    if args.output == OutputFormat::Table {
        let verb = match (args.dry_run, is_running) {
            (true, _) => "would write",
            (false, true) => "the server writes",
            (false, false) => "wrote",
        };
        let objects =
            format!("{} and {}", count(uploaded.manifests, "manifest"), count(uploaded.blobs, "blob"));
        let (tags, size) = (count(uploaded.tags, "tag"), ByteSize(uploaded.bytes));
        ui.note(&format!("{verb} {objects}, {size}, and what {tags} stand for, to {}", uploaded.bucket));
    }
    Ok(exit::OK)
}
