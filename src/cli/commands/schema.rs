#![expect(clippy::disallowed_methods, reason = "asks whether there is an inventory")]

use std::path::Path;

use clap::Args;

use crate::cli::args::Global;
use crate::cli::input::{directory_of, read};
use crate::file::{self, Privacy};
use crate::sops::looks_encrypted;
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};
use crate::yaml;

/// What the line begins with that tells editors the schema.
const LINE: &str = "# yaml-language-server: $schema=";

/// A kind of file that has a schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// The inventory
    #[default]
    Inventory,
    /// The configuration of talmirror-cache
    Cache,
}

impl Kind {
    /// Returns the JSON schema.
    pub(crate) fn schema(self) -> &'static str {
        match self {
            Self::Inventory => include_str!("../../../templates/mirrors.v1.schema.json"),
            Self::Cache => include_str!("../../../templates/cache.v1.schema.json"),
        }
    }

    /// Returns what such a file is.
    fn noun(self) -> &'static str {
        match self {
            Self::Inventory => "inventory",
            Self::Cache => "configuration of talmirror-cache",
        }
    }

    /// Returns what the schema's file is called.
    fn file_name(self) -> &'static str {
        match self {
            Self::Inventory => "mirrors.v1.schema.json",
            Self::Cache => "cache.v1.schema.json",
        }
    }
}

/// Arguments of `schema`.
#[derive(Debug, Args)]
#[command(
    after_help = "With --write, the schema goes beside the inventory, and the inventory's first line names it for editors; `schema cache`
does so with the configuration of talmirror-cache that -f names.

Examples:
  talmirror schema > mirrors.v1.schema.json
  talmirror schema --write
  talmirror schema cache --write -f cache.yaml"
)]
pub(crate) struct SchemaArgs {
    /// Which schema
    #[arg(default_value = "inventory")]
    kind: Kind,
    /// Write the schema beside the file, and name it in the file's first line
    #[arg(long, env = "TALMIRROR_SCHEMA_WRITE", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Output")]
    write: bool,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: SchemaArgs) -> Result<Exit, CliError> {
    if !args.write {
        ui.result(args.kind.schema())?;
        return Ok(exit::OK);
    }
    if global.inventory == "-" {
        return Err(CliError::usage("standard input cannot be written to").help("name the file with -f"));
    }
    let path = Path::new(&global.inventory);
    let text = path.exists().then(|| read(&global.inventory)).transpose()?;
    if let Some(other) = text.as_deref().and_then(kind_of)
        && other != args.kind
    {
        let help = format!("name the {} with -f", args.kind.noun());
        return Err(CliError::usage(format!("`{}` is the {}", global.inventory, other.noun())).help(help));
    }
    let file_name = args.kind.file_name();
    let schema = directory_of(&global.inventory).join(file_name);
    file::replace(&schema, args.kind.schema().as_bytes(), Privacy::Open)?;
    ui.note(&format!("wrote {}", schema.display()));
    let Some(text) = text else { return Ok(exit::OK) };
    let line = format!("{LINE}{file_name}");
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
    file::replace(path, format!("{line}\n{rest}").as_bytes(), Privacy::Open)?;
    ui.note(&format!("{}: its first line names the schema", global.inventory));
    Ok(exit::OK)
}

/// Returns what a file says that it is; one that does not say it is an inventory.
fn kind_of(text: &str) -> Option<Kind> {
    let document = yaml::parse_one(text).ok()?;
    if document.root.entries().is_empty() {
        return None;
    }
    let kind = document.root.get("kind").and_then(yaml::Node::as_str);
    Some(if kind == Some("Cache") { Kind::Cache } else { Kind::Inventory })
}
