use std::path::PathBuf;

use clap::Args;

use crate::ui::exit::Exit;
use crate::ui::{CliError, Ui, manual};

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  talmirror man | man -l -
  talmirror man --output-dir /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Where to write a page for each command; without it the main page goes to standard output
    #[arg(long, env = "TALMIRROR_OUTPUT_DIR", value_name = "DIR")]
    output_dir: Option<PathBuf>,
}

pub(crate) fn run(ui: &mut Ui, command: clap::Command, args: ManArgs) -> Result<Exit, CliError> {
    manual(ui, command, args.output_dir.as_deref())
}
