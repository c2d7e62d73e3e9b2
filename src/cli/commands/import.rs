#![expect(clippy::disallowed_methods, reason = "looks at what the arguments name")]

use std::path::Path;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::args::{Global, VersionArgs};
use crate::cli::encryption;
use crate::cli::input::display_name;
use crate::cli::inventory::{problems_json, summary};
use crate::finding::Severity;
use crate::import::{Imported, Options, Source, SourceKind, import};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads machine configs, `talosctl get machineconfig -o yaml`, JSON and strategic patches, registry documents, talhelper's \
talconfig.yaml, k3s' registries.yaml, and a directory of containerd's hosts.toml; encrypted with SOPS or not. The inventory goes to standard output, findings to standard error.

Examples:
  talmirror import n1.yaml > mirrors.yaml
  talosctl get machineconfig -n 10.0.0.1 -o yaml | talmirror import -
  talmirror import /etc/containerd/certs.d"
)]
pub(crate) struct ImportArgs {
    /// The files, `-` for standard input; a directory is one of containerd's hosts
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    #[command(flatten)]
    versions: VersionArgs,
    /// What the files are, where that cannot be seen
    #[arg(long, env = "TALMIRROR_FROM", value_name = "KIND")]
    from: Option<From>,
    /// How the result is printed
    #[arg(short, long, env = "TALMIRROR_IMPORT_OUTPUT", default_value = "yaml", value_name = "FORMAT")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    Talos,
    Talhelper,
    K3s,
    Containerd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The inventory
    Yaml,
    /// One object with the inventory and the findings
    Json,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: ImportArgs) -> Result<Exit, CliError> {
    let mut sources = Vec::new();
    for file in &args.files {
        if Path::new(file).is_dir() {
            sources.extend(hosts(Path::new(file), global)?);
        } else {
            let text = encryption::read(file, global)?.0.expose().clone();
            sources.push(Source { name: display_name(file).to_owned(), text });
        }
    }
    let kind = args.from.map(|from| match from {
        From::Talos => SourceKind::MachineConfig,
        From::Talhelper => SourceKind::Talhelper,
        From::K3s => SourceKind::K3s,
        From::Containerd => SourceKind::Containerd,
    });
    let imported = import(&sources, &Options { kind, talos: args.versions.talos_version });
    match args.output {
        Format::Json => print_json(ui, &imported)?,
        Format::Yaml => print_yaml(ui, &imported)?,
    }
    if imported.inventory.is_none() {
        let error = CliError::new(exit::INVALID, "there is nothing to make an inventory of");
        return Err(error.help("name a file that says something about registries; --from says what it is"));
    }
    // What was wrong in the source has been put right in the inventory: findings are not a failure.
    Ok(exit::OK)
}

fn print_json(ui: &mut Ui, imported: &Imported) -> Result<(), CliError> {
    ui.json(&json!({
        "apiVersion": "talmirror/v1",
        "kind": "ImportResult",
        "source": imported.kind.map(SourceKind::as_str),
        "inventory": imported.inventory,
        "items": problems_json(&imported.problems),
    }))
}

fn print_yaml(ui: &mut Ui, imported: &Imported) -> Result<(), CliError> {
    for problem in &imported.problems {
        ui.problem(problem);
    }
    if let Some(inventory) = &imported.inventory {
        ui.result(inventory)?;
        ui.note(&format!("imported with {}", summary(&imported.problems)));
        let secrets = crate::yaml::parse_one(inventory).is_ok_and(|document| holds_secret(&document.root));
        if secrets {
            ui.warn(
                "the inventory holds secrets in clear",
                Some("encrypt it before you commit it: talmirror encrypt --in-place mirrors.yaml"),
            );
        }
    }
    let errors = imported.problems.iter().any(|problem| problem.code.severity() == Severity::Error);
    if errors && imported.inventory.is_some() {
        ui.note("errors are of the source; the inventory says what was meant");
    }
    Ok(())
}

fn holds_secret(node: &crate::yaml::Node) -> bool {
    let here = node.entries().iter().any(|entry| {
        let secret = matches!(entry.key.as_str(), "password" | "identityToken" | "auth" | "key");
        secret && entry.value.as_str().is_some_and(|text| !text.is_empty())
    });
    here || node.entries().iter().any(|entry| holds_secret(&entry.value))
}

/// Reads every `hosts.toml` of a directory of containerd's.
fn hosts(dir: &Path, global: &Global) -> Result<Vec<Source>, CliError> {
    let failed = |error: std::io::Error| {
        CliError::from_error(exit::INVALID, error).context(format!("cannot read `{}`", dir.display()))
    };
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path().join("hosts.toml");
        if path.is_file() {
            let text = encryption::read(&path.display().to_string(), global)?.0.expose().clone();
            let name = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
            sources.push(Source { name, text });
        }
    }
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    if sources.is_empty() {
        return Err(CliError::new(exit::INVALID, format!("`{}` holds no hosts.toml", dir.display()))
            .help("containerd's directory has one below each registry's name"));
    }
    Ok(sources)
}
