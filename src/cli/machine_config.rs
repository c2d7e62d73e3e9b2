use super::args::{Global, TargetArgs};
use super::encryption;
use super::input::display_name;
use super::inventory::LoadedInventory;
use super::meant::SettingsOf;
use crate::finding::{Problem, Problems};
use crate::machineconfig::{LiveConfig, MachineConfig, live_configs};
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
    /// Whether the file is what talosctl prints of a node, and so holds more than the config.
    pub(super) is_live: bool,
    /// The node's address, as talosctl prints it.
    pub(super) node: Option<String>,
}

impl MachineConfigFile {
    /// Reads a machine config, or standard input for `-`; of what `talosctl get machineconfig` prints, every node's.
    pub(super) fn read_all(file: &str, global: &Global) -> Result<Vec<Self>, CliError> {
        let name = display_name(file);
        let (text, encrypted) = encryption::read(file, global)?;
        let failed = |error: CliError| error.context(format!("cannot read the machine config `{name}`"));
        let live = live_configs(text.expose()).map_err(|error| failed(error.into()))?;
        if live.is_empty() {
            return Ok(vec![Self::of(name.to_owned(), text, encrypted)?]);
        }
        let of = |LiveConfig { node, text }: LiveConfig| {
            let name = node.as_ref().map_or_else(|| name.to_owned(), |node| format!("{name}: {node}"));
            Ok(Self { is_live: true, node, ..Self::of(name, Secret::new(text), encrypted)? })
        };
        live.into_iter().map(of).collect()
    }

    fn of(name: String, text: Secret<String>, encrypted: bool) -> Result<Self, CliError> {
        let failed = |error: CliError| error.context(format!("cannot read the machine config `{name}`"));
        let config = MachineConfig::parse(text.expose()).map_err(|error| failed(error.into()))?;
        if !config.has_machine() && config.registry_trees().is_empty() {
            return Err(CliError::new(exit::INVALID, format!("`{name}` is not a Talos machine config"))
                .help(
                    "it has neither `machine:` nor a registry document; `talmirror import` reads other files",
                ));
        }
        Ok(Self { name, text, config, encrypted, is_live: false, node: None })
    }

    /// Takes the one that is meant, and says whose settings it gets: where flags choose several nodes, those of its own node.
    pub(super) fn one_of_meant(
        mut files: Vec<Self>,
        loaded: &LoadedInventory,
        which: &SettingsOf,
    ) -> Result<(Self, TargetArgs), CliError> {
        if let Some(file) = Self::of_unlisted(&mut files, loaded, which)? {
            return Ok((file, TargetArgs::default()));
        }
        let meant = which.meant(loaded)?;
        if let Some(target) = meant.one() {
            return Ok((Self::one_of(files, loaded, &target)?, target));
        }
        let names = meant.names();
        files.retain(|file| file.known_node(loaded).is_some_and(|own| names.iter().any(|name| name == own)));
        let own = files.first().and_then(|file| file.known_node(loaded)).map(str::to_owned);
        match (files.len(), own) {
            (1, Some(own)) => {
                let target = TargetArgs { node: Some(own), group: None };
                Ok((Self::one_of(files, loaded, &target)?, target))
            }
            _ => Err(CliError::usage(format!(
                "one machine config is one node's, and {} are meant",
                names.join(", ")
            ))
            .help("name its node with --nodes")),
        }
    }

    /// Takes the config of a node that talosctl's output alone names: all nodes have the settings of an inventory without nodes.
    pub(super) fn of_unlisted(
        files: &mut Vec<Self>,
        loaded: &LoadedInventory,
        which: &SettingsOf,
    ) -> Result<Option<Self>, CliError> {
        let inventory = &loaded.inventory;
        let is_for_all = inventory.nodes.is_empty() && inventory.groups.is_empty();
        let is_meant = is_for_all && files.iter().any(|file| file.is_live);
        let Some(name) = which.only_node().filter(|_| is_meant) else { return Ok(None) };
        let is = |file: &Self| file.node.as_deref() == Some(name) || file.config.hostname() == Some(name);
        if let Some(at) = files.iter().position(is) {
            return Ok(Some(files.swap_remove(at)));
        }
        let nodes: Vec<String> = files.iter().filter_map(|file| file.node_name(loaded)).collect();
        Err(CliError::usage(format!("none of the machine configs is of the node `{name}`"))
            .help(format!("they are of {}", nodes.join(", "))))
    }

    /// Takes the one that is meant out of those of several nodes.
    pub(super) fn one_of(
        mut files: Vec<Self>,
        loaded: &LoadedInventory,
        target: &TargetArgs,
    ) -> Result<Self, CliError> {
        if let ([file], Some(name)) = (files.as_slice(), &target.node)
            && let Some(own) = file.known_node(loaded).filter(|own| file.is_live && own != name)
        {
            let file = &file.name;
            return Err(CliError::usage(format!(
                "`{file}` is the machine config of `{own}`, not of `{name}`"
            )));
        }
        if files.len() < 2 {
            return files.pop().ok_or_else(|| CliError::new(exit::INVALID, "there is no machine config"));
        }
        let nodes: Vec<String> =
            files.iter().map(|file| file.node_name(loaded).unwrap_or_default()).collect();
        let of = |name: &String| {
            files.iter().zip(&nodes).position(|(file, node)| {
                node == name || file.node.as_ref() == Some(name) || file.config.hostname() == Some(name)
            })
        };
        let Some(name) = &target.node else {
            return Err(CliError::usage(format!("these are the machine configs of {}", nodes.join(", ")))
                .help("name one of them with --nodes"));
        };
        match of(name) {
            Some(at) => Ok(files.swap_remove(at)),
            None => Err(CliError::usage(format!("none of the machine configs is of the node `{name}`"))
                .help(format!("they are of {}", nodes.join(", ")))),
        }
    }

    /// Returns what the node is called: in the inventory, else by itself, else its address.
    pub(super) fn node_name(&self, loaded: &LoadedInventory) -> Option<String> {
        let known = self.known_node(loaded).map(str::to_owned);
        known.or_else(|| self.config.hostname().map(str::to_owned)).or_else(|| self.node.clone())
    }

    /// Returns the inventory's node that this is the config of.
    pub(super) fn known_node<'a>(&self, loaded: &'a LoadedInventory) -> Option<&'a str> {
        let address = self.node.as_ref().and_then(|node| node.parse().ok());
        let addresses: Vec<std::net::IpAddr> = address.into_iter().collect();
        let by = |name: Option<&str>| loaded.inventory.node_of(name, &addresses);
        by(self.config.hostname()).or_else(|| by(self.node.as_deref()))
    }

    /// Returns what the config says about registries, and what is wrong with it.
    pub(super) fn registries(&self) -> (Registries, Vec<Problem>) {
        let mut problems = Problems::new(&self.name, self.text.expose());
        let registries = self.config.registries(&mut problems);
        (registries, problems.into_sorted())
    }

    /// Returns what the config says about registries, for a patch against it.
    pub(super) fn current(&self) -> Current {
        Current {
            documents: self.config.documents(),
            legacy: self.config.legacy_tree(),
            registry_documents: self.config.registry_trees(),
        }
    }
}
