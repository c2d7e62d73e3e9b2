#![expect(clippy::disallowed_methods, reason = "looks at what the arguments name")]

mod folder;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::args::{Global, VersionArgs};
use crate::cli::encryption;
use crate::cli::input::{directory_of, display_name};
use crate::cli::inventory::{problems_json, summary};
use crate::finding::Severity;
use crate::import::{
    Imported, Options, Source, SourceKind, TALENV_FILES, Variable, detect, import, read_variables,
    related_files,
};
use crate::machineconfig::separated;
use crate::sops::clear_secrets;
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads machine configs, `talosctl get machineconfig -o yaml`, JSON and strategic patches, registry documents, talhelper's \
talconfig.yaml with the patches it names and the variables of its talenv files, k3s' registries.yaml, containerd's hosts.toml and config.toml, podman's registries.conf, Docker's daemon.json, \
the templates of Omni, Sidero, Cluster API, k3d and kind, values of Helm, and a directory of patches or configs, topf's too; encrypted with SOPS or not. The inventory goes to \
standard output, findings to standard error. Ends with 1 where something of the source is not in the inventory.

Examples:
  talmirror import n1.yaml > mirrors.yaml
  talosctl get machineconfig -n 10.0.0.1 -o yaml | talmirror import -
  talmirror import certs.d"
)]
pub(crate) struct ImportArgs {
    /// The files, `-` for standard input; a directory is one of containerd's hosts, or one of patches
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// What the files are, where that cannot be seen
    #[arg(long, env = "TALMIRROR_FROM", value_name = "KIND")]
    from: Option<From>,
    /// How the result is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_IMPORT_OUTPUT",
        default_value = "yaml",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: Format,
    #[command(flatten)]
    versions: VersionArgs,
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
            sources.extend(folder::read(Path::new(file), global)?);
        } else {
            let (text, _) = encryption::read(file, global)?;
            let text = separated(text.expose()).into_owned();
            sources.push(Source::new(display_name(file), text));
        }
    }
    let kind = args.from.map(|from| match from {
        From::Talos => SourceKind::MachineConfig,
        From::Talhelper => SourceKind::Talhelper,
        From::K3s => SourceKind::K3s,
        From::Containerd => SourceKind::Containerd,
    });
    let related = related(&sources, global)?;
    let variables = variables(ui, &sources, kind, global)?;
    let imported =
        import(&sources, &Options { kind, talos: args.versions.talos_version, related, variables });
    match args.output {
        Format::Json => print_json(ui, &imported)?,
        Format::Yaml => print_yaml(ui, &imported)?,
    }
    if imported.inventory.is_none() {
        let error = CliError::new(exit::INVALID, "there is nothing to make an inventory of");
        return Err(error.help("name a file that says something about registries; --from says what it is"));
    }
    // What was wrong in the source and has been put right in the inventory is not a failure; what was lost is.
    Ok(if imported.lost { exit::FOUND } else { exit::OK })
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
        let secrets =
            crate::yaml::parse_one(inventory).is_ok_and(|document| !clear_secrets(&document.root).is_empty());
        if secrets {
            ui.warn(
                "the inventory holds secrets in clear",
                Some("encrypt it before you commit it: talmirror encrypt --in-place mirrors.yaml"),
            );
        }
    }
    let errors = imported.problems.iter().any(|problem| problem.code.severity() == Severity::Error);
    match (imported.inventory.is_some(), imported.lost) {
        (true, true) => ui.warn(
            "something of the source is not in the inventory",
            Some("the findings above name it; add it by hand, or correct the source and import it again"),
        ),
        (true, false) if errors => ui.note("errors are of the source; the inventory says what was meant"),
        (true, false) | (false, _) => {}
    }
    Ok(())
}

/// Reads the variables that talhelper fills in, of the files beside its config; one that no key opens is told.
fn variables(
    ui: &mut Ui,
    sources: &[Source],
    kind: Option<SourceKind>,
    global: &Global,
) -> Result<BTreeMap<String, Variable>, CliError> {
    let mut out = BTreeMap::new();
    let theirs =
        sources.iter().filter(|source| kind.or_else(|| detect(&source.text)) == Some(SourceKind::Talhelper));
    let folders: BTreeSet<PathBuf> = theirs.map(|source| directory_of(&source.name)).collect();
    let files = |folder: &PathBuf| TALENV_FILES.map(|name| folder.join(name));
    // One name may have another value in each of them.
    if folders.len() > 1 && folders.iter().flat_map(files).any(|file| file.is_file()) {
        let help = "import each folder by itself to have them filled in";
        ui.warn("talhelper's configs are of several folders: their variables stay", Some(help));
        return Ok(out);
    }
    for folder in &folders {
        for name in TALENV_FILES {
            let place = folder.join(name);
            if !place.is_file() {
                continue;
            }
            match encryption::read(&place.display().to_string(), global) {
                Ok((text, sealed)) => read_variables(text.expose(), name, sealed, &mut out),
                Err(error) if error.exit == exit::SECRET => {
                    let message = format!("`{}` cannot be opened: its variables stay", place.display());
                    ui.warn(&message, Some("name a key with --age-key-file, and import again"));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(out)
}

/// Reads the files that sources name, such as talhelper's `@patch.yaml`; what cannot be read is told by the import.
fn related(sources: &[Source], global: &Global) -> Result<BTreeMap<String, String>, CliError> {
    let mut out = BTreeMap::new();
    for source in sources {
        for path in related_files(&source.text) {
            let place = directory_of(&source.name).join(&path);
            if place.is_file() {
                let text = encryption::read(&place.display().to_string(), global)?.0.expose().clone();
                out.insert(path, text);
            }
        }
    }
    Ok(out)
}
