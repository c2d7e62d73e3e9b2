use std::path::PathBuf;

use clap::Args;

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  talmirror-cache man | man -l -
  talmirror-cache man --output-dir /usr/local/share/man/man1")]
pub(super) struct ManArgs {
    /// Where to write a page for each command; without it the main page goes to standard output
    #[arg(long, env = "TALMIRROR_CACHE_OUTPUT_DIR", value_name = "DIR")]
    pub(super) output_dir: Option<PathBuf>,
}
