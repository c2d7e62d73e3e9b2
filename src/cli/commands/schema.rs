#![expect(clippy::disallowed_methods, reason = "asks whether there is an inventory")]

use std::path::Path;

use clap::Args;

use crate::cli::args::Global;
use crate::cli::input::{directory_of, read};
use crate::file::{self, Privacy};
use crate::sops::looks_encrypted;
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};

/// The JSON schema of the inventory.
pub(crate) const SCHEMA: &str = include_str!("../../../templates/mirrors.v1.schema.json");
/// What the schema's file is called.
const FILE: &str = "mirrors.v1.schema.json";
/// What the line begins with that tells editors the schema.
const LINE: &str = "# yaml-language-server: $schema=";

/// Arguments of `schema`.
#[derive(Debug, Args)]
#[command(
    after_help = "With --write, the schema goes beside the inventory, and the inventory's first line names it for editors.

Examples:
  talmirror schema > mirrors.v1.schema.json
  talmirror schema --write"
)]
pub(crate) struct SchemaArgs {
    /// Write the schema beside the inventory, and name it in the inventory's first line
    #[arg(long, env = "TALMIRROR_SCHEMA_WRITE", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Output")]
    write: bool,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: SchemaArgs) -> Result<Exit, CliError> {
    if !args.write {
        ui.result(SCHEMA)?;
        return Ok(exit::OK);
    }
    if global.inventory == "-" {
        return Err(CliError::usage("standard input cannot be written to").help("name the inventory with -f"));
    }
    let schema = directory_of(&global.inventory).join(FILE);
    file::replace(&schema, SCHEMA.as_bytes(), Privacy::Open)?;
    ui.note(&format!("wrote {}", schema.display()));
    let inventory = Path::new(&global.inventory);
    if !inventory.exists() {
        return Ok(exit::OK);
    }
    let text = read(&global.inventory)?;
    let line = format!("{LINE}{FILE}");
    if text.lines().any(|other| other == line) {
        return Ok(exit::OK);
    }
    if looks_encrypted(&text) {
        // Its MAC is the business of those who can open it.
        ui.note(&format!(
            "{} is encrypted and was left as it is; its first line may be: {line}",
            global.inventory
        ));
        return Ok(exit::OK);
    }
    let rest = match text.split_once('\n') {
        Some((first, rest)) if first.starts_with(LINE) => rest,
        Some(_) | None => text.as_str(),
    };
    file::replace(inventory, format!("{line}\n{rest}").as_bytes(), Privacy::Open)?;
    ui.note(&format!("{}: its first line names the schema", global.inventory));
    Ok(exit::OK)
}
