#![expect(clippy::disallowed_methods, reason = "reads files and the environment")]

use std::path::{Path, PathBuf};

use super::args::{Global, TargetArgs, VersionArgs};
use super::crypt;
use super::error::CliError;
use super::exit;
use super::ui::Ui;
use crate::finding::{Problem, Problems, Severity, did_you_mean};
use crate::inventory::{self, Inventory, Layer, Node, Target};
use crate::registries::TalosVersion;
use crate::secret::{Sources, read_limited, read_stdin};
use crate::sops::{SopsError, looks_encrypted};
use crate::yaml::LineIndex;

/// The largest file that is read: far above any inventory or machine config.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Reads a text file, or standard input for `-`.
pub(super) fn read(file: &str) -> Result<String, CliError> {
    let failed = |error: std::io::Error| {
        CliError::from_error(exit::INVALID, error).context(format!("cannot read `{file}`"))
    };
    let bytes = if file == "-" {
        read_stdin(MAX_BYTES).map_err(failed)?
    } else {
        std::fs::File::open(file).and_then(|opened| read_limited(opened, MAX_BYTES)).map_err(failed)?
    };
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes().get(..valid).unwrap_or_default()).into_owned();
        let position = LineIndex::new(&text).position(valid);
        let place = format!("{file}:{}:{}", position.line, position.column);
        CliError::new(exit::INVALID, format!("`{file}` is not UTF-8, first at {place}"))
            .help("is it a binary file, or text in another encoding?")
    })
}

/// Returns the directory that a file's relative paths start at.
pub(super) fn directory_of(file: &str) -> PathBuf {
    match Path::new(file).parent() {
        Some(parent) if file != "-" && !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// Returns how a file is called in messages.
pub(super) fn display_name(file: &str) -> &str {
    if file == "-" { "<stdin>" } else { file }
}

/// An inventory that was read and holds no error.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) file: String,
    /// The text, decrypted.
    pub(super) text: String,
    pub(super) inventory: Inventory,
    /// Warnings and notes.
    pub(super) problems: Vec<Problem>,
    pub(super) sources: Sources,
}

/// Reads the inventory, decrypted, and tells its warnings; its errors end the command.
pub(super) fn load(ui: &mut Ui, global: &Global) -> Result<Loaded, CliError> {
    load_text(ui, global, |text, name| {
        if looks_encrypted(&text) {
            Ok(crypt::open(&text, global).map_err(|error| crypt::failed(error, name))?.expose().clone())
        } else {
            Ok(text)
        }
    })
}

/// Reads the inventory for a command that needs no secret: where no key opens it, its secrets stay sealed.
pub(super) fn load_structure(ui: &mut Ui, global: &Global) -> Result<Loaded, CliError> {
    load_text(ui, global, |text, name| match crypt::open(&text, global) {
        _ if !looks_encrypted(&text) => Ok(text),
        Ok(plaintext) => Ok(plaintext.expose().clone()),
        Err(SopsError::NoKey(_)) => Ok(text),
        Err(error) => Err(crypt::failed(error, name)),
    })
}

fn load_text(
    ui: &mut Ui,
    global: &Global,
    decrypt: impl FnOnce(String, &str) -> Result<String, CliError>,
) -> Result<Loaded, CliError> {
    let file = display_name(&global.inventory).to_owned();
    let text = decrypt(read_inventory(global)?, &file)?;
    let loaded = parse(global, file, text)?;
    for problem in loaded.problems.iter().filter(|problem| problem.code.severity() == Severity::Warning) {
        ui.problem(problem);
    }
    Ok(loaded)
}

fn parse(global: &Global, file: String, text: String) -> Result<Loaded, CliError> {
    let parsed = inventory::parse(&text, &file, &environment);
    if let Some(inventory) = parsed.inventory {
        let sources = Sources::new(directory_of(&global.inventory));
        Ok(Loaded { file, text, inventory, problems: parsed.problems, sources })
    } else {
        let errors =
            parsed.problems.iter().filter(|problem| problem.code.severity() == Severity::Error).count();
        let mut error = CliError::new(exit::INVALID, format!("`{file}` holds {}", count(errors, "error")));
        if let Some(code) = parsed.problems.iter().find(|problem| problem.code.severity() == Severity::Error)
        {
            error =
                error.help(format!("`talmirror explain {}` says why the first is one", code.code.as_str()));
        }
        error.problems = parsed.problems;
        Err(error)
    }
}

/// Reads the inventory's text; a missing default is told how to come by one.
pub(super) fn read_inventory(global: &Global) -> Result<String, CliError> {
    let file = &global.inventory;
    if file != "-" && !Path::new(file).exists() {
        return Err(CliError::new(exit::INVALID, format!("there is no inventory `{file}`"))
            .help("name one with -f, or begin with `talmirror init` or `talmirror import`"));
    }
    read(file)
}

/// Looks up a variable of the environment.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Returns a number and its noun: `1 error`, `2 errors`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

impl Loaded {
    /// Returns the target that the flags name; names are checked.
    pub(super) fn target<'a>(&self, args: &'a TargetArgs) -> Result<Target<'a>, CliError> {
        let unknown = |what: &str, name: &str, known: Vec<&String>| {
            let error = CliError::new(exit::USAGE, format!("`{}` has no {what} `{name}`", self.file));
            match did_you_mean(name, known.iter().map(|name| name.as_str())) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None if known.is_empty() => error.help(format!("it defines no {what}s at all")),
                None => {
                    let known: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
                    error.help(format!("known: {}", known.join(", ")))
                }
            }
        };
        // A variable that is set to nothing, as CI does, names nothing.
        let named = |name: &'a Option<String>| name.as_ref().filter(|name| !name.is_empty());
        match (named(&args.node), named(&args.group)) {
            (Some(node), _) if !self.inventory.nodes.contains_key(node) => {
                Err(unknown("node", node, self.inventory.nodes.keys().collect()))
            }
            (Some(node), _) => Ok(Target::Node(node)),
            (None, Some(group)) if !self.inventory.groups.contains_key(group) => {
                Err(unknown("group", group, self.inventory.groups.keys().collect()))
            }
            (None, Some(group)) => Ok(Target::Group(group)),
            (None, None) => Ok(Target::Base),
        }
    }

    /// Returns the groups and nodes that have settings of their own, a Talos version included where no flag names one.
    pub(super) fn own_settings(&self, versions: &VersionArgs) -> Vec<String> {
        let own = |layer: &Layer| *layer != Layer::default();
        let version = |node: &Node| {
            versions.talos_version.is_none()
                && node.version.is_some()
                && node.version != self.inventory.talos.version
        };
        let groups = self.inventory.groups.iter().filter(|(_, group)| own(&group.layer));
        let nodes = self.inventory.nodes.iter().filter(|(_, node)| own(&node.layer) || version(node));
        let groups = groups.map(|(name, _)| format!("groups.{name}"));
        groups.chain(nodes.map(|(name, _)| format!("nodes.{name}"))).collect()
    }

    /// Returns the Talos version that a flag or the inventory names.
    pub(super) fn talos_version(&self, args: &VersionArgs, target: Target<'_>) -> Option<TalosVersion> {
        args.talos_version.clone().or_else(|| self.inventory.version(target).cloned())
    }

    /// Refuses what a version of Talos would refuse.
    pub(super) fn check_version(&self, target: Target<'_>, version: &TalosVersion) -> Result<(), CliError> {
        let mut problems = Problems::new(&self.file, &self.text);
        inventory::check_version(&self.inventory, target, version, &mut problems);
        let problems = problems.into_sorted();
        if problems.is_empty() {
            return Ok(());
        }
        let message = format!("`{}` asks for what Talos {version} does not have", self.file);
        let mut error = CliError::new(exit::INVALID, message);
        error.problems = problems;
        Err(error)
    }
}

/// The version whose rules apply where none is known: today's.
pub(super) fn default_version() -> TalosVersion {
    TalosVersion::minor(1, 13)
}

/// Returns the findings as an object for scripts.
pub(super) fn problems_json(problems: &[Problem]) -> serde_json::Value {
    problems.iter().map(Problem::to_json).collect()
}

/// Returns how many findings of each severity there are, in words.
pub(super) fn summary(problems: &[Problem]) -> String {
    let of = |severity| problems.iter().filter(|problem| problem.code.severity() == severity).count();
    let parts = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")];
    let parts: Vec<String> = parts
        .into_iter()
        .map(|(severity, noun)| (of(severity), noun))
        .filter(|(n, _)| *n > 0)
        .map(|(n, noun)| count(n, noun))
        .collect();
    if parts.is_empty() { "no findings".to_owned() } else { parts.join(", ") }
}
