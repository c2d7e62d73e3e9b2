use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::args::Cli;
use crate::ui::error::CliError;
use crate::ui::exit::Exit;
use crate::ui::{Ui, manual};

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  talmirror-cache man | man -l -
  talmirror-cache man --output-dir /usr/local/share/man/man1")]
pub(super) struct ManArgs {
    /// Where to write a page for each command; without it the main page goes to standard output
    #[arg(long, env = "TALMIRROR_CACHE_OUTPUT_DIR", value_name = "DIR")]
    output_dir: Option<PathBuf>,
}

pub(super) fn run(ui: &mut Ui, args: &ManArgs) -> Result<Exit, CliError> {
    manual(ui, Cli::command(), args.output_dir.as_deref())
}
