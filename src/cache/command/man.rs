use std::path::PathBuf;

use clap::Args;

use crate::ui::Manual;
use crate::ui::exit::Exit;

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  talmirror-cache man | man -l -
  talmirror-cache man --output-dir ~/.local/share/man/man1")]
pub(super) struct ManArgs {
    /// Where to write a page for each command; without it the main page goes to standard output
    #[arg(long, env = "TALMIRROR_CACHE_OUTPUT_DIR", value_name = "DIR")]
    pub(super) output_dir: Option<PathBuf>,
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

/// Returns what the manual pages say beside the help of the commands.
pub(super) fn manual(exits: fn(&[&str]) -> Vec<Exit>) -> Manual {
    Manual { environment: ENVIRONMENT, files: FILES, see_also: &["talmirror(1)"], exits }
}
