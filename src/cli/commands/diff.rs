use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::args::{Global, TargetArgs, VersionArgs};
use crate::cli::current::ConfigFile;
use crate::cli::error::CliError;
use crate::cli::exit::{self, Exit};
use crate::cli::load::{count, default_version, load};
use crate::cli::ui::Ui;
use crate::machineconfig::{Change, diff};

/// Arguments of `diff`.
#[derive(Debug, Args)]
#[command(
    after_help = "Ends with 0 when nothing differs and with 1 when something does. Secrets are compared, never shown.

Examples:
  talmirror diff --against n1.yaml --node n1
  talosctl get mc v1alpha1 -n 10.0.0.1 -o jsonpath='{.spec}' | talmirror diff --against -"
)]
pub(crate) struct DiffArgs {
    /// The machine config to compare with, `-` for standard input
    #[arg(long, env = "TALMIRROR_AGAINST", value_name = "FILE")]
    against: String,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    versions: VersionArgs,
    /// How it is printed
    #[arg(short, long, env = "TALMIRROR_DIFF_OUTPUT", default_value = "text", value_name = "FORMAT")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Markdown,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: DiffArgs) -> Result<Exit, CliError> {
    let mut loaded = load(ui, global)?;
    let target = loaded.target(&args.target)?;
    let version = loaded.talos_version(&args.versions, target).unwrap_or_else(default_version);
    let wanted = loaded.inventory.registries(target, &version, &mut loaded.sources)?;
    let file = ConfigFile::read(&args.against, global)?;
    let (current, problems) = file.registries();
    for problem in &problems {
        ui.problem(problem);
    }
    let changes = diff(&current, &wanted);
    match args.output {
        Format::Json => ui.json(&json!({
            "apiVersion": "talmirror/v1",
            "kind": "Diff",
            "file": file.name,
            "changed": !changes.is_empty(),
            "items": changes.iter().map(Change::to_json).collect::<Vec<_>>(),
        }))?,
        Format::Text => {
            for change in &changes {
                ui.result(&format!("{change}\n"))?;
            }
        }
        Format::Markdown => {
            let lines: Vec<String> = changes.iter().map(|change| format!("{change}\n")).collect();
            let body = if lines.is_empty() { "no differences\n".to_owned() } else { lines.concat() };
            ui.result(&format!("**{}**\n\n```diff\n{body}```\n", file.name))?;
        }
    }
    ui.note(&format!("{}: {}", file.name, count(changes.len(), "difference")));
    Ok(if changes.is_empty() { exit::OK } else { exit::FOUND })
}
