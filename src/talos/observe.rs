use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::client::{NodeClient, Version};
use super::customization::{CUSTOMIZATION, customized_credentials};
use super::error::TalosError;
use super::foreign_hosts::foreign_hosts;
use super::identity::Identity;
use super::resource::{self, ConfigResource, MachineStatus, Pending, Resource};
use super::virtual_addresses::virtual_addresses;
use crate::finding::Problems;
use crate::machineconfig::{Change, MachineConfig, diff};
use crate::registries::{
    Auth, CRI_TOML, Registries, TalosVersion, containerd_auth, hosts_path, read_containerd_auth,
};
use crate::secret::Secret;
use crate::yaml::Node;

/// What a node is and does.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Its Talos.
    pub version: Version,
    /// `controlplane` or `worker`.
    pub role: Option<String>,
    /// Which machine it is.
    pub identity: Identity,
    /// What it does.
    pub status: Option<MachineStatus>,
    /// The config that it runs with, if the certificate's role may read it.
    pub active: Result<ConfigResource, TalosError>,
    /// The config that it will boot with; [`None`] where none was applied since it booted.
    pub persistent: Option<ConfigResource>,
    /// The state of its image cache, where it has one.
    pub image_cache: Option<String>,
    /// What is under way between both configs; [`None`] where they may not be read.
    pending: Option<Pending>,
    /// What the registries of the config that runs differ in from those of the one on disk, where a config is on trial or
    /// staged.
    pub pending_changes: Vec<Change>,
    /// Addresses that the node may have now and another one tomorrow, as its config says.
    pub virtual_addresses: Vec<IpAddr>,
    /// Whether what runs may be on trial though the node shows no other config: none was applied for good since it booted,
    /// and what it booted with was replaced anyway.
    pub may_be_on_trial: bool,
    /// Whether its containerd may run with credentials from before the last change, which a reboot ends: Talos has written
    /// them again since containerd started, and does not restart it (before 1.14). [`None`]: it does not tell.
    pub owes_reboot: Option<bool>,
    /// Hosts in containerd's directory that Talos did not put there, such as Spegel's.
    pub foreign_hosts: Vec<String>,
    /// Hosts for which containerd has credentials that no registries of the machine config gave it, or not they alone.
    pub foreign_credentials: Vec<String>,
    /// The credentials that other parts of containerd's config give it by host: they count more than those of registries.
    pub customized: BTreeMap<String, Auth>,
}

impl Observation {
    /// Returns the version in the form that rules know.
    pub fn talos_version(&self) -> Option<TalosVersion> {
        self.version.tag.parse().ok()
    }

    /// Returns what is under way between both configs; [`None`] where they may not be read.
    pub fn pending(&self) -> Option<Pending> {
        self.pending
    }

    /// Lets go of both configs' texts, which is what takes memory when there are many nodes.
    #[must_use]
    pub fn without_texts(mut self) -> Self {
        if let Ok(active) = &mut self.active {
            active.text = Secret::new(String::new());
        }
        self.persistent = None;
        self
    }
}

/// Asks a node all that there is to know before its registries are changed.
///
/// What its version lacks or the certificate's role may not see is left out; a node that stops answering is an error.
pub async fn observe(node: &NodeClient) -> Result<Observation, TalosError> {
    let version = node.version().await?;
    let role = optional(node.resource(resource::MACHINE_TYPE).await)?.flatten();
    let mut identity = node.identity().await?;
    let status = optional(node.resource(resource::MACHINE_STATUS).await)?.flatten();
    let active = match node.active_config().await {
        Err(error) if !is_partial(&error) => return Err(error),
        result => result,
    };
    let persistent = optional(node.persistent_config().await)?.flatten();
    let image_cache = optional(node.resource(resource::IMAGE_CACHE).await)?.flatten();
    let (foreign_hosts, (foreign_credentials, customized)) = match &active {
        Ok(active) => {
            let tag = version.tag.parse::<TalosVersion>().ok();
            (foreign(node, active).await?, credentials(node, active, tag).await?)
        }
        Err(_) => Default::default(),
    };
    let owes_reboot = match (&active, version.tag.parse::<TalosVersion>()) {
        (Ok(active), Ok(version)) => owes_reboot(node, active, &version).await?,
        (Ok(_) | Err(_), Ok(_) | Err(_)) => None,
    };
    let pending = active.as_ref().ok().map(|active| Pending::between(active, persistent.as_ref()));
    let pending_changes = match (&active, &persistent, pending) {
        (Ok(active), Some(persistent), Some(Pending::Trial | Pending::Staged)) => {
            diff(&registries_of(persistent), &registries_of(active))
        }
        _ => Vec::new(),
    };
    let virtual_addresses = active.as_ref().map(|active| virtual_addresses(active.text.expose()));
    let virtual_addresses = virtual_addresses.unwrap_or_default();
    identity.addresses.retain(|address| !virtual_addresses.contains(address));
    let may_be_on_trial = persistent.is_none()
        && active.as_ref().is_ok_and(ConfigResource::was_set_again)
        && version.tag.parse::<TalosVersion>().is_ok_and(|version| version.has_persistent_config());
    Ok(Observation {
        may_be_on_trial,
        owes_reboot,
        pending_changes,
        virtual_addresses,
        version,
        pending,
        identity,
        role: role.and_then(|role| role.word().ok()),
        status: status.and_then(|status| status.machine_status().ok()),
        active,
        persistent,
        image_cache: image_cache.as_ref().and_then(cache_status),
        foreign_hosts,
        foreign_credentials,
        customized,
    })
}

fn registries_of(config: &ConfigResource) -> Registries {
    let text = config.text.expose();
    let parsed = MachineConfig::parse(text);
    parsed.map(|config| config.registries(&mut Problems::new("", text))).unwrap_or_default()
}

fn is_partial(error: &TalosError) -> bool {
    matches!(
        error,
        TalosError::Denied { .. }
            | TalosError::NotFound { .. }
            | TalosError::Unimplemented { .. }
            | TalosError::Answer { .. }
    )
}

fn optional<T>(result: Result<T, TalosError>) -> Result<Option<T>, TalosError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_partial(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn cache_status(resource: &Resource) -> Option<String> {
    let spec = resource.spec().ok()?;
    let status = spec.get("status").and_then(Node::as_str)?;
    (status != "disabled").then(|| status.to_owned())
}

/// Returns whether a node's containerd may run with credentials from before the last change, which a reboot ends; [`None`]: it
/// does not tell.
pub async fn owes_reboot(
    node: &NodeClient,
    active: &ConfigResource,
    version: &TalosVersion,
) -> Result<Option<bool>, TalosError> {
    if active.was_set_again() && !version.reloads_auth() {
        has_older_credentials(node).await
    } else {
        Ok(Some(false))
    }
}

/// Returns whether containerd started before the file with its credentials was written last. Talos itself relies on the file
/// being there first when it boots.
async fn has_older_credentials(node: &NodeClient) -> Result<Option<bool>, TalosError> {
    let file = optional(node.resource(resource::CRI_FILE).await)?.flatten();
    let service = optional(node.resource(resource::CRI_SERVICE).await)?.flatten();
    Ok(file.zip(service).map(|(file, service)| file.updated > service.created))
}

/// Registries that Spegel writes a file for unless it is told others (its chart's `spegel.mirroredRegistries` of old), beside
/// the one for all.
const SPEGEL: [&str; 10] = [
    "cgr.dev",
    "docker.io",
    "gcr.io",
    "ghcr.io",
    "k8s.gcr.io",
    "lscr.io",
    "mcr.microsoft.com",
    "public.ecr.aws",
    "quay.io",
    "registry.k8s.io",
];

/// Looks where Spegel writes: the file for all registries, those for the best known, and those that Talos has written for
/// the mirrors of the config. All are asked for at once.
async fn foreign(node: &NodeClient, active: &ConfigResource) -> Result<Vec<String>, TalosError> {
    let text = active.text.expose();
    let Ok(config) = MachineConfig::parse(text) else { return Ok(Vec::new()) };
    let registries = config.registries(&mut Problems::new("", text));
    let mut names: BTreeSet<&str> = SPEGEL.into_iter().chain(["*"]).collect();
    names.extend(registries.mirrors.keys().map(String::as_str));
    let read = names.into_iter().map(|name| async move {
        let bytes = optional(node.read(&hosts_path(name)).await)?.flatten();
        Ok::<_, TalosError>(bytes.map(|bytes| (name, bytes)))
    });
    let mut found = Vec::new();
    for (name, bytes) in futures_util::future::try_join_all(read).await?.into_iter().flatten() {
        let hosts = String::from_utf8_lossy(bytes.expose());
        for host in foreign_hosts(&hosts, name, registries.mirrors.get(name)) {
            if !found.contains(&host) {
                found.push(host);
            }
        }
    }
    Ok(found)
}

/// Looks for credentials that come from elsewhere, such as from a part of containerd's config of the node's own: which hosts
/// have some, and what such parts say.
///
/// While a config is on trial or was just taken back, what Talos wrote may be of the config before.
async fn credentials(
    node: &NodeClient,
    active: &ConfigResource,
    version: Option<TalosVersion>,
) -> Result<(Vec<String>, BTreeMap<String, Auth>), TalosError> {
    let text = active.text.expose();
    let mut customized = customized_credentials(text, None);
    let (Ok(config), Some(version)) = (MachineConfig::parse(text), version) else {
        return Ok((customized.keys().cloned().collect(), customized));
    };
    let own = containerd_auth(&config.registries(&mut Problems::new("", text)), &version);
    let bytes = optional(node.read(CRI_TOML).await)?.flatten();
    let found = bytes.and_then(|bytes| read_containerd_auth(&String::from_utf8_lossy(bytes.expose())).ok());
    let found = found.unwrap_or_default();
    if !found.is_empty() {
        let part = optional(node.read(CUSTOMIZATION).await)?.flatten();
        let part = part.map(|part| String::from_utf8_lossy(part.expose()).into_owned());
        customized = customized_credentials(text, part.as_deref());
    }
    let mut foreign: BTreeSet<String> = customized.keys().cloned().collect();
    foreign.extend(found.into_keys().filter(|host| !own.contains_key(host)));
    Ok((foreign.into_iter().collect(), customized))
}
