use clap::Args;
use serde_json::json;

use crate::registries::TalosVersion;
use crate::ui::exit::{self, Exit};
use crate::ui::{COMMIT, CliError, OutputFormat, Ui, table};

/// Arguments of `version`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  talmirror version
  talmirror version -o json")]
pub(crate) struct VersionArgs {
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_VERSION_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: OutputFormat,
}

pub(crate) fn run(ui: &mut Ui, args: VersionArgs) -> Result<Exit, CliError> {
    let (oldest, newest) = (TalosVersion::OLDEST.to_string(), TalosVersion::NEWEST.to_string());
    let version = env!("CARGO_PKG_VERSION");
    let value = json!({
        "apiVersion": "talmirror/v1",
        "kind": "Version",
        "version": version,
        "commit": COMMIT,
        "talos": {"oldest": oldest, "newest": newest},
    });
    ui.output(args.output, &value, || {
        let rows = [
            ["talmirror", version].map(str::to_owned).to_vec(),
            ["commit", COMMIT].map(str::to_owned).to_vec(),
            vec!["Talos".to_owned(), format!("{oldest} to {newest}")],
        ];
        table(&rows)
    })?;
    Ok(exit::OK)
}
