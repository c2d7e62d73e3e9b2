use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::args::Cli;
use crate::ui::error::CliError;
use crate::ui::exit::Exit;
use crate::ui::{Manual, Ui, write_manual};

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

/// Variables of the environment that no flag stands for.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("XDG_DATA_HOME, STATE_DIRECTORY", "where content is kept, where --root does not say"),
    ("HTTPS_PROXY, NO_PROXY", "the proxy that upstreams are reached through, and what is reached without it"),
    ("NO_COLOR, CLICOLOR_FORCE, FORCE_COLOR", "whether text is coloured, where --color does not say"),
];
/// Files that are read or written where no flag names another.
const FILES: &[(&str, &str)] =
    &[("~/.local/share/talmirror-cache", "content, where --root names no other folder")];

pub(super) fn run(ui: &mut Ui, exits: fn(&[&str]) -> Vec<Exit>, args: &ManArgs) -> Result<Exit, CliError> {
    let manual = Manual { environment: ENVIRONMENT, files: FILES, see_also: &["talmirror(1)"], exits };
    write_manual(ui, Cli::command(), &manual, args.output_dir.as_deref())
}
