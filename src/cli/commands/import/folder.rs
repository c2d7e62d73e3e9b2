#![expect(clippy::disallowed_methods, reason = "reads folders of patches and of hosts")]

use std::io;
use std::path::{Path, PathBuf};

use crate::cli::args::Global;
use crate::cli::{encryption, input};
use crate::import::{Nodes, Source, detect};
use crate::sops::looks_encrypted;
use crate::ui::{CliError, exit};
use crate::yaml;

/// How deep folders of patches are looked through.
const MAX_DEPTH: usize = 8;
/// Folders whose files are made into others before they are a node's.
const OF_CHARTS: [&str; 2] = ["charts", "templates"];
/// The folders of topf, in the order in which it applies them.
const TOPF: [(&str, Nodes); 4] = [
    ("patches", Nodes::All),
    ("all", Nodes::All),
    ("control-plane", Nodes::Controlplane),
    ("worker", Nodes::Workers),
];

/// Reads a folder: containerd's of `hosts.toml` files, one of its folders, topf's, or one of patches and configs.
pub(super) fn read(dir: &Path, global: &Global) -> Result<Vec<Source>, CliError> {
    let own = dir.join("hosts.toml");
    if own.is_file() {
        // The folder of one registry: its name is the registry's.
        let named = if dir.file_name().is_some() { dir.to_owned() } else { PathBuf::from(folder_name(dir)?) };
        let name = named.join("hosts.toml").display().to_string();
        return Ok(vec![Source::new(name, text(&own, global)?)]);
    }
    let hosts = hosts(dir, global)?;
    let sources = match () {
        () if !hosts.is_empty() => hosts,
        () if dir.join("topf.yaml").is_file() => topf(dir, global)?,
        () => patches(dir, Nodes::All, global)?,
    };
    if sources.is_empty() {
        return Err(CliError::new(
            exit::INVALID,
            format!("`{}` holds no hosts.toml and no patch", dir.display()),
        )
        .help("containerd's directory has one below each registry's name; patches end in .yaml"));
    }
    Ok(sources)
}

/// Returns what the folder is called that the path `.` or `..` leads to.
fn folder_name(dir: &Path) -> Result<String, CliError> {
    let whole = std::path::absolute(dir).and_then(|whole| whole.canonicalize());
    let whole = whole.map_err(|error| unreadable(dir, error))?;
    Ok(whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default())
}

/// Reads the `hosts.toml` of every registry.
fn hosts(dir: &Path, global: &Global) -> Result<Vec<Source>, CliError> {
    let mut hosts = Vec::new();
    for path in entries(dir)? {
        let inner = path.join("hosts.toml");
        if inner.is_file() {
            hosts.push(Source::new(inner.display().to_string(), text(&inner, global)?));
        }
    }
    Ok(hosts)
}

/// Reads topf's folders.
///
/// Source: topf `docs/configuration-model.md`.
fn topf(dir: &Path, global: &Global) -> Result<Vec<Source>, CliError> {
    let config = dir.join("topf.yaml");
    let mut sources = vec![Source::new(config.display().to_string(), text(&config, global)?)];
    for (name, nodes) in TOPF {
        let folder = dir.join(name);
        if folder.is_dir() {
            sources.extend(patches(&folder, nodes, global)?);
        }
    }
    let nodes = dir.join("node");
    for folder in if nodes.is_dir() { entries(&nodes)? } else { Vec::new() } {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        if let (true, Some(name)) = (folder.is_dir(), name) {
            sources.extend(patches(&folder, Nodes::Named(name), global)?);
        }
    }
    Ok(sources)
}

/// Reads what a folder and those in it hold of patches and configs.
fn patches(dir: &Path, nodes: Nodes, global: &Global) -> Result<Vec<Source>, CliError> {
    let mut files = Vec::new();
    collect(dir, 0, &mut files)?;
    let mut sources = Vec::new();
    for path in files {
        // The names of an encrypted file's fields are in the clear: what has none of registries needs no key.
        let raw = input::read(&path.display().to_string())?;
        if looks_encrypted(&raw) && !mentions_registries(&raw) {
            continue;
        }
        let text = text(&path, global)?;
        // Beside patches lie other files, which are nothing that is known. One that cannot be read may be of registries.
        let is_meant = match detect(&text) {
            Some(_) => !is_template(&path) || mentions_registries(&text),
            None => mentions_registries(&text) && (is_template(&path) || yaml::parse(&text).is_err()),
        };
        if is_meant {
            let name = path.display().to_string();
            sources.push(Source { nodes: nodes.clone(), ..Source::new(name, text) });
        }
    }
    Ok(sources)
}

/// Returns whether a text has a field of registries, or is one of Talos' documents for them.
fn mentions_registries(text: &str) -> bool {
    ["registries", "mirrors", "RegistryMirrorConfig", "RegistryAuthConfig", "RegistryTLSConfig"]
        .iter()
        .any(|word| text.contains(word))
}

fn collect(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), CliError> {
    for path in entries(dir)? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            let is_other = name.starts_with('.') || OF_CHARTS.contains(&name.as_str());
            if depth < MAX_DEPTH && !is_other && !path.is_symlink() {
                collect(&path, depth + 1, files)?;
            }
        } else if path.is_file()
            && !name.starts_with('.')
            && ([".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending)) || is_template(&path))
        {
            files.push(path);
        }
    }
    Ok(())
}

fn is_template(path: &Path) -> bool {
    let name = path.to_string_lossy();
    name.ends_with(".yaml.tpl") || name.ends_with(".yml.tpl")
}

/// Returns what a folder holds, by name.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, CliError> {
    let list = std::fs::read_dir(dir).map_err(|error| unreadable(dir, error))?;
    let list = list.map(|entry| entry.map(|entry| entry.path()).map_err(|error| unreadable(dir, error)));
    let mut list = list.collect::<Result<Vec<_>, _>>()?;
    list.sort();
    Ok(list)
}

fn text(path: &Path, global: &Global) -> Result<String, CliError> {
    Ok(encryption::read(&path.display().to_string(), global)?.0.expose().clone())
}

fn unreadable(dir: &Path, error: io::Error) -> CliError {
    CliError::from_error(exit::INVALID, error).context(format!("cannot read `{}`", dir.display()))
}
