#![expect(clippy::disallowed_methods, reason = "asks whether there is an inventory")]

use std::path::Path;

use super::args::{Global, TargetArgs, VersionArgs};
use super::encryption;
use super::input::{directory_of, display_name, environment, read};
use super::permission::{Use, permission};
use crate::finding::{Problem, Problems, Severity, did_you_mean};
use crate::inventory::{self, Inventory, Target};
use crate::registries::TalosVersion;
use crate::secret::Sources;
use crate::sops::{self, SopsError, looks_encrypted};
use crate::ui::{CliError, Ui, count, exit};

/// An inventory that was read and holds no error.
#[derive(Debug)]
pub(super) struct LoadedInventory {
    pub(super) file: String,
    /// The text, decrypted.
    pub(super) text: String,
    pub(super) inventory: Inventory,
    /// Warnings and notes.
    pub(super) problems: Vec<Problem>,
    pub(super) sources: Sources,
}

/// Reads the inventory, decrypted, and tells its warnings; its errors end the command.
pub(super) fn load(ui: &mut Ui, global: &Global) -> Result<LoadedInventory, CliError> {
    load_text(ui, global, |text, name| {
        if looks_encrypted(&text) {
            Ok(encryption::open(&text, global)
                .map_err(|error| encryption::failed(error, name))?
                .expose()
                .clone())
        } else {
            Ok(text)
        }
    })
}

/// Reads the inventory for a command that needs no secret: where no key opens it, its secrets stay sealed.
pub(super) fn load_structure(ui: &mut Ui, global: &Global) -> Result<LoadedInventory, CliError> {
    let mut warnings = Vec::new();
    let loaded = load_text(ui, global, |text, name| match encryption::open_changed(&text, global) {
        _ if !looks_encrypted(&text) => Ok(text),
        Ok(changed) => {
            warnings.extend(changed.fault.map(sops::IntegrityFault::into_error));
            Ok(changed.text.expose().clone())
        }
        Err(SopsError::NoKey(_)) => Ok(text),
        Err(error) => Err(encryption::failed(error, name)),
    });
    for error in warnings {
        ui.warn(&format!("{}: {error}", display_name(&global.inventory)), error.help().as_deref());
    }
    loaded
}

fn load_text(
    ui: &mut Ui,
    global: &Global,
    decrypt: impl FnOnce(String, &str) -> Result<String, CliError>,
) -> Result<LoadedInventory, CliError> {
    let file = display_name(&global.inventory).to_owned();
    let text = decrypt(read_inventory(global)?, &file)?;
    let loaded = parse(global, file, text)?;
    for problem in loaded.problems.iter().filter(|problem| problem.code.severity() == Severity::Warning) {
        ui.problem(problem);
    }
    Ok(loaded)
}

fn parse(global: &Global, file: String, text: String) -> Result<LoadedInventory, CliError> {
    let parsed = inventory::parse(&text, &file, &environment);
    if let Some(inventory) = parsed.inventory {
        let mut sources = Sources::new(directory_of(&global.inventory));
        sources.set_permission(permission(global, Use::Sends));
        Ok(LoadedInventory { file, text, inventory, problems: parsed.problems, sources })
    } else {
        let is_error = |problem: &&Problem| problem.code.severity() == Severity::Error;
        let first = parsed.problems.iter().find(is_error).map(|problem| problem.code.as_str());
        let help = first.map(|code| format!("`talmirror explain {code}` says why the first is one"));
        Err(CliError::in_file(&file, parsed.problems).help_if(help))
    }
}

/// Reads the inventory's text; where the default is missing, the error says how to make one.
pub(super) fn read_inventory(global: &Global) -> Result<String, CliError> {
    let file = &global.inventory;
    if file != "-" && !Path::new(file).exists() {
        return Err(CliError::new(exit::INVALID, format!("there is no inventory `{file}`"))
            .help("name one with -f, or begin with `talmirror init` or `talmirror import`"));
    }
    read(file)
}

impl LoadedInventory {
    /// Starts no command of the inventory: what it gives is only looked at.
    pub(super) fn only_look(&mut self, global: &Global) {
        self.sources.set_permission(permission(global, Use::Looks));
    }

    /// Says whose secrets were not compared.
    pub(super) fn tell_not_run(&self, ui: &mut Ui) {
        let programs = self.sources.not_run();
        if !programs.is_empty() {
            let programs: Vec<String> = programs.iter().map(|program| format!("`{program}`")).collect();
            ui.note(&format!(
                "{} was not started, and what it gives was not compared; --run-commands starts it",
                programs.join(", ")
            ));
        }
    }

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

    /// Returns the groups and nodes that have settings of their own, such as `nodes.n1`.
    pub(super) fn own_settings(&self, versions: &VersionArgs) -> Vec<String> {
        self.inventory.own_settings(versions.talos_version.as_ref())
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

/// Warns of a version on a flag that is older or newer than those that are known.
pub(super) fn warn_of_version(ui: &mut Ui, args: &VersionArgs) {
    if let Some(version) = args.talos_version.as_ref().filter(|version| !version.is_known()) {
        let (oldest, newest) = (TalosVersion::OLDEST, TalosVersion::NEWEST);
        ui.warn(
            &format!("Talos {version} is not one of those that talmirror knows, {oldest} to {newest}"),
            Some("the rules of the nearest one are used; is there a newer talmirror?"),
        );
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
