use super::client::NodeClient;
use super::error::TalosError;
use super::resource::{ConfigResource, Pending};
use crate::registries::TalosVersion;

/// The config that a node boots with, as far as the node tells.
#[derive(Clone, Debug)]
pub struct BootConfig {
    /// The config.
    pub config: ConfigResource,
    /// Where it comes from.
    pub origin: Origin,
    /// What is under way beside it.
    pub pending: Pending,
}

/// Where the config that a node boots with was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From what is on the node's disk.
    Disk,
    /// From what the node runs with: nothing was applied for good since it booted, and it booted with this.
    Running,
    /// From what the node runs with, which was set again after the boot: it may be on trial, and the node does not show
    /// what is on its disk until something is applied for good.
    Unsure,
}

impl Origin {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Running => "running",
            Self::Unsure => "unsure",
        }
    }
}

/// Asks a node for the config that it boots with.
///
/// That is the one on its disk: a config on trial will be taken back, a staged one will not.
pub async fn boot_config(node: &NodeClient) -> Result<BootConfig, TalosError> {
    let active = node.active_config().await?;
    if let Some(persistent) = node.persistent_config().await? {
        let pending = Pending::between(&active, Some(&persistent));
        return Ok(BootConfig { config: persistent, origin: Origin::Disk, pending });
    }
    let unsure = active.was_set_again() && {
        let version = node.version().await?.tag.parse::<TalosVersion>();
        version.is_ok_and(|version| version.shows_persistent_config())
    };
    let origin = if unsure { Origin::Unsure } else { Origin::Running };
    Ok(BootConfig { config: active, origin, pending: Pending::Nothing })
}
