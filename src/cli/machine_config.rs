use super::args::Global;
use super::encryption;
use super::input::display_name;
use crate::finding::{Problem, Problems};
use crate::machineconfig::MachineConfig;
use crate::patch::Current;
use crate::registries::Registries;
use crate::secret::Secret;
use crate::ui::{CliError, exit};

/// A machine config that was read, decrypted where it had to be.
#[derive(Debug)]
pub(super) struct MachineConfigFile {
    pub(super) name: String,
    pub(super) text: Secret<String>,
    pub(super) config: MachineConfig,
    /// Whether the file is encrypted with SOPS.
    pub(super) encrypted: bool,
}

impl MachineConfigFile {
    /// Reads a machine config, or standard input for `-`.
    pub(super) fn read(file: &str, global: &Global) -> Result<Self, CliError> {
        let name = display_name(file).to_owned();
        let (text, encrypted) = encryption::read(file, global)?;
        let failed = |error: CliError| error.context(format!("cannot read the machine config `{name}`"));
        let config = MachineConfig::parse(text.expose()).map_err(|error| failed(error.into()))?;
        if !config.has_machine() && config.registry_trees().is_empty() {
            return Err(CliError::new(exit::INVALID, format!("`{name}` is not a Talos machine config"))
                .help(
                    "it has neither `machine:` nor a registry document; `talmirror import` reads other files",
                ));
        }
        Ok(Self { name, text, config, encrypted })
    }

    /// Returns what the config says about registries, and what is wrong with it.
    pub(super) fn registries(&self) -> (Registries, Vec<Problem>) {
        let mut problems = Problems::new(&self.name, self.text.expose());
        let registries = self.config.registries(&mut problems);
        (registries, problems.into_sorted())
    }
}

/// Reads what a machine config says about registries, for a patch against it.
pub(super) fn read(file: &str, global: &Global) -> Result<Current, CliError> {
    let file = MachineConfigFile::read(file, global)?;
    Ok(Current {
        documents: file.config.documents(),
        legacy: file.config.legacy_tree(),
        registry_documents: file.config.registry_trees(),
    })
}
