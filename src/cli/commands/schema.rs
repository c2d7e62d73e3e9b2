use clap::Args;

use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};

/// The JSON schema of the inventory.
pub(crate) const SCHEMA: &str = include_str!("../../../templates/mirrors.v1.schema.json");

/// Arguments of `schema`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  talmirror schema > mirrors.v1.schema.json
  # yaml-language-server: $schema=./mirrors.v1.schema.json")]
pub(crate) struct SchemaArgs {}

pub(crate) fn run(ui: &mut Ui, _args: SchemaArgs) -> Result<Exit, CliError> {
    ui.result(SCHEMA)?;
    Ok(exit::OK)
}
