use clap::Args;

use crate::cli::args::Global;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::ui::Ui;

/// Arguments of `import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {}

pub(crate) fn run(_ui: &mut Ui, _global: &Global, _args: ImportArgs) -> Result<Exit, CliError> {
    Err(CliError::usage("not merged yet"))
}
