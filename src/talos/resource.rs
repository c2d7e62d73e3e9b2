use std::net::IpAddr;

use prost::Message as _;
use prost_types::Timestamp;

use super::proto::cosi::resource::Resource as Message;
use super::proto::definitions::MachineConfigSpec;
use crate::secret::Secret;
use crate::yaml::{self, Node};

/// What a resource is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its namespace.
    pub namespace: &'static str,
    /// Its type.
    pub kind: &'static str,
    /// Its only id, or the one that matters.
    pub id: &'static str,
}

/// The machine config that the node runs with.
pub const ACTIVE_CONFIG: Kind =
    Kind { namespace: "config", kind: "MachineConfigs.config.talos.dev", id: "v1alpha1" };
/// The machine config that the node will boot with; not there until one was applied since it booted.
pub const PERSISTENT_CONFIG: Kind = Kind { id: "persistent", ..ACTIVE_CONFIG };
/// Whether a node is a control plane node.
pub const MACHINE_TYPE: Kind =
    Kind { namespace: "config", kind: "MachineTypes.config.talos.dev", id: "machine-type" };
/// What a node is about.
pub const MACHINE_STATUS: Kind =
    Kind { namespace: "runtime", kind: "MachineStatuses.runtime.talos.dev", id: "machine" };
/// Registries as both of a node's pullers see them; since Talos 1.9.
pub const REGISTRY_CONFIGS: Kind =
    Kind { namespace: "cri", kind: "RegistryConfigs.cri.talos.dev", id: "registries" };
/// What a node is called in Kubernetes.
pub(super) const NODENAME: Kind =
    Kind { namespace: "k8s", kind: "Nodenames.kubernetes.talos.dev", id: "nodename" };
/// What tells a machine from others, as long as it keeps its disk.
pub(super) const IDENTITY: Kind =
    Kind { namespace: "cluster", kind: "Identities.cluster.talos.dev", id: "local" };
/// The addresses that a node has now, those of pods and of Kubernetes' own networks too.
pub(super) const ADDRESSES: Kind =
    Kind { namespace: "network", kind: "NodeAddresses.net.talos.dev", id: "current" };
/// The addresses that a node has now, without those of pods and services: there once Kubernetes is configured
/// (Talos 1.8 `resources/network/node_address.go`, `FilteredNodeAddressID`, and `resources/k8s`, `NodeAddressFilterNoK8s`).
pub(super) const OWN_ADDRESSES: Kind = Kind { id: "current-no-k8s", ..ADDRESSES };
/// The file with the credentials of containerd's pulls, as Talos has written it.
pub(super) const CRI_FILE: Kind =
    Kind { namespace: "files", kind: "EtcFileStatuses.files.talos.dev", id: "cri/conf.d/cri.toml" };
/// The service that pulls pods' images; there as long as it runs.
pub(super) const CRI_SERVICE: Kind =
    Kind { namespace: "runtime", kind: "Services.v1alpha1.talos.dev", id: "cri" };
/// Whether a node's time is synchronised.
pub const TIME_STATUS: Kind =
    Kind { namespace: "runtime", kind: "TimeStatuses.v1alpha1.talos.dev", id: "node" };
/// The image cache; since Talos 1.9.
pub const IMAGE_CACHE: Kind =
    Kind { namespace: "cri", kind: "ImageCacheConfigs.cri.talos.dev", id: "image-cache" };

/// A resource, as a node gave it.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its id.
    pub id: String,
    /// Counts how often it was set since the node booted.
    pub version: String,
    /// When it was first set, in nanoseconds of the node's clock.
    pub(super) created: i128,
    /// When it was set last, in nanoseconds of the node's clock.
    pub(super) updated: i128,
    /// Its spec as protobuf; it may hold secrets.
    proto: Secret<Vec<u8>>,
    /// Its spec as YAML; it may hold secrets.
    yaml: Secret<String>,
}

/// A node's stage, and what it lacks to be ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineStatus {
    /// What it does: `running`, `booting`, `maintenance`.
    pub stage: String,
    /// Whether all is as it should be.
    pub ready: bool,
    /// What is not, and why.
    pub unmet: Vec<(String, String)>,
}

/// A config that a node runs with or will boot with.
#[derive(Clone, Debug)]
pub struct ConfigResource {
    /// The bytes that were applied.
    pub text: Secret<String>,
    /// Counts how often it was set since the node booted.
    pub version: String,
    updated: i128,
}

/// What is under way between the config that runs and the one on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Nothing: both are the same, or none was applied since the node booted.
    Nothing,
    /// A config is on trial, and will be taken back.
    Trial,
    /// A config waits for the next boot.
    Staged,
}

impl ConfigResource {
    /// Returns how often it was set since the node booted, which sets it once, where the node tells it.
    pub fn times_set(&self) -> Option<u64> {
        self.version.parse().ok()
    }

    /// Returns whether it was set more than once since the node booted.
    pub fn was_set_again(&self) -> bool {
        self.times_set().is_some_and(|times| times > 1)
    }

    /// Makes one that was set so many times.
    #[cfg(test)]
    pub fn set(text: &str, times: u64) -> Self {
        Self { text: text.into(), version: times.to_string(), updated: i128::from(times) }
    }
}

impl Pending {
    /// Compares both configs: the one that was set last tells a trial from a staged config.
    pub fn between(active: &ConfigResource, persistent: Option<&ConfigResource>) -> Self {
        match persistent {
            Some(persistent) if persistent.text != active.text => {
                if active.updated > persistent.updated {
                    Self::Trial
                } else {
                    Self::Staged
                }
            }
            Some(_) | None => Self::Nothing,
        }
    }

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Trial => "trial",
            Self::Staged => "staged",
        }
    }
}

impl Resource {
    /// Takes over a message; [`None`] where it holds no resource.
    pub(super) fn from_message(message: Option<Message>) -> Option<Self> {
        let Message { metadata, spec } = message?;
        let (metadata, spec) = (metadata?, spec.unwrap_or_default());
        let nanoseconds = |at: Timestamp| i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
        Some(Self {
            id: metadata.id,
            version: metadata.version,
            created: metadata.created.map_or(0, nanoseconds),
            updated: metadata.updated.map_or(0, nanoseconds),
            proto: Secret::new(spec.proto_spec),
            yaml: Secret::new(spec.yaml_spec),
        })
    }

    /// Returns the spec as a YAML tree.
    pub fn spec(&self) -> Result<Node, String> {
        // The parser's own words name keys only; still, this text may hold secrets.
        Ok(yaml::parse_one(self.yaml.expose()).map_err(|_| "is not valid YAML".to_owned())?.root)
    }

    /// Reads the spec as a machine config.
    pub fn machine_config(self) -> Result<ConfigResource, String> {
        let spec = MachineConfigSpec::decode(self.proto.expose().as_slice());
        let spec = Secret::new(spec.map_err(|_| "is not a machine config".to_owned())?.yaml_marshalled);
        let text = std::str::from_utf8(spec.expose()).map_err(|_| "is not UTF-8".to_owned())?;
        Ok(ConfigResource { text: text.into(), version: self.version, updated: self.updated })
    }

    /// Reads the spec as a node's status.
    pub fn machine_status(&self) -> Result<MachineStatus, String> {
        let spec = self.spec()?;
        let text =
            |node: &Node, key: &str| node.get(key).and_then(Node::as_str).unwrap_or_default().to_owned();
        let stage = text(&spec, "stage");
        if stage.is_empty() {
            return Err("names no stage".to_owned());
        }
        let unmet = spec.at(&["status", "unmetConditions"]).map_or(&[][..], Node::items);
        Ok(MachineStatus {
            stage,
            ready: spec.at(&["status", "ready"]).and_then(Node::as_bool).unwrap_or(false),
            unmet: unmet.iter().map(|unmet| (text(unmet, "name"), text(unmet, "reason"))).collect(),
        })
    }

    /// Reads a text of the spec.
    pub fn text(&self, key: &str) -> Option<String> {
        self.spec().ok()?.get(key).and_then(Node::as_str).map(str::to_owned)
    }

    /// Reads the spec as addresses, each of which has a prefix length behind it.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let Ok(spec) = self.spec() else { return Vec::new() };
        let items = spec.at(&["addresses"]).map_or(&[][..], Node::items).iter().filter_map(Node::as_str);
        items.filter_map(|text| text.split('/').next()?.parse().ok()).collect()
    }

    /// Reads the spec as one word, such as a machine type.
    pub fn word(&self) -> Result<String, String> {
        self.spec()?.as_str().map(str::to_owned).ok_or_else(|| "is not one word".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::cosi::resource::{Metadata, Spec};
    use super::*;

    fn resource(yaml: &str, proto: &[u8], second: i64) -> Resource {
        let updated = Some(Timestamp { seconds: second, nanos: 5 });
        Resource::from_message(Some(Message {
            metadata: Some(Metadata { version: "2".to_owned(), updated, ..Metadata::default() }),
            spec: Some(Spec { proto_spec: proto.to_vec(), yaml_spec: yaml.to_owned() }),
        }))
        .unwrap()
    }

    fn config(text: &str, second: i64) -> ConfigResource {
        let spec = MachineConfigSpec { yaml_marshalled: text.as_bytes().to_vec() };
        resource("", &spec.encode_to_vec(), second).machine_config().unwrap()
    }

    #[test]
    fn a_config_keeps_its_bytes() {
        let config = config("# c\nmachine: {}\n", 1);
        assert_eq!((config.text.expose().as_str(), config.version.as_str()), ("# c\nmachine: {}\n", "2"));
        assert_eq!(resource("", b"\xff", 1).machine_config().unwrap_err(), "is not a machine config");
        assert!(Resource::from_message(None).is_none());
    }

    #[test]
    fn what_was_set_last_tells_what_is_pending() {
        let (old, new) = (config("old", 5), config("new", 9));
        assert_eq!(Pending::between(&new, Some(&old)), Pending::Trial);
        assert_eq!(Pending::between(&old, Some(&new)), Pending::Staged);
        assert_eq!(Pending::between(&old, Some(&config("old", 9))), Pending::Nothing);
        assert_eq!(Pending::between(&old, None), Pending::Nothing);
    }

    #[test]
    fn a_status_names_what_is_unmet() {
        let yaml = "stage: booting\nstatus:\n    ready: false\n    unmetConditions:\n        - name: services\n          reason: kubelet\n";
        let status = resource(yaml, b"", 0).machine_status().unwrap();
        assert_eq!((status.stage.as_str(), status.ready), ("booting", false));
        assert_eq!(status.unmet, [("services".to_owned(), "kubelet".to_owned())]);
        assert_eq!(resource("a: b", b"", 0).machine_status().unwrap_err(), "names no stage");
        assert_eq!(resource("worker\n", b"", 0).word().unwrap(), "worker");
        assert_eq!(resource("[", b"", 0).word().unwrap_err(), "is not valid YAML");
    }
}
