use super::talenv::parse_unfilled;
use crate::machineconfig::{Role, is_resource};
use crate::yaml::{Node, Stream, parse};

/// What a foreign file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A whole machine config, of one or several documents.
    MachineConfig,
    /// What `talosctl get machineconfig -o yaml` prints.
    Resource,
    /// RFC 6902 operations, as a list or under `patch:`.
    JsonPatch,
    /// A strategic merge patch.
    StrategicPatch,
    /// `Registry*Config` documents alone.
    Documents,
    /// talhelper's `talconfig.yaml`.
    Talhelper,
    /// topf's `topf.yaml`.
    Topf,
    /// The `registries.yaml` of k3s and RKE2.
    K3s,
    /// A `hosts.toml` of containerd.
    Containerd,
    /// A `config.toml` of containerd.
    ContainerdConfig,
    /// A `ServerClass` of Sidero.
    ServerClass,
    /// Resources of Cluster API's providers for Talos.
    ClusterApi,
    /// A cluster template or `ConfigPatches` of Omni.
    Omni,
    /// A config of k3d.
    K3d,
    /// A config of kind.
    KindCluster,
    /// The `daemon.json` of Docker.
    DockerDaemon,
    /// The `registries.conf` of podman and CRI-O.
    Podman,
    /// Values of Helm, or any other mapping that holds registries somewhere.
    HelmValues,
}

impl SourceKind {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MachineConfig => "machine config",
            Self::Resource => "talosctl resource",
            Self::JsonPatch => "JSON patch",
            Self::StrategicPatch => "strategic merge patch",
            Self::Documents => "registry documents",
            Self::Talhelper => "talhelper config",
            Self::Topf => "topf config",
            Self::K3s => "k3s registries",
            Self::Containerd => "containerd hosts",
            Self::ContainerdConfig => "containerd config",
            Self::ServerClass => "Sidero server class",
            Self::ClusterApi => "Cluster API resources",
            Self::Omni => "Omni template",
            Self::K3d => "k3d config",
            Self::KindCluster => "kind config",
            Self::DockerDaemon => "Docker daemon config",
            Self::Podman => "podman registries",
            Self::HelmValues => "Helm values",
        }
    }
}

/// Finds out what a text is; `None` for a text that is nothing of this kind, or no YAML.
pub fn detect(text: &str) -> Option<SourceKind> {
    let stream = parse(text).ok().or_else(|| unfilled(text).map(|(stream, _)| stream));
    stream.and_then(|stream| of_stream(&stream)).or_else(|| of_other_text(text))
}

/// Parses a file of talhelper, which fills variables in before it reads a file.
pub(super) fn unfilled(text: &str) -> Option<(Stream, SourceKind)> {
    let stream = parse_unfilled(text).ok()?;
    let kind = of_stream(&stream).filter(|kind| *kind == SourceKind::Talhelper)?;
    Some((stream, kind))
}

/// Finds out what a text is that is nothing of YAML.
pub(super) fn of_other_text(text: &str) -> Option<SourceKind> {
    // A machine config may hold a hosts.toml among its files, further to the right.
    let toml = |line: &str| {
        let key = line.split_once('=').map(|(key, _)| key.trim_end());
        line.starts_with("[host") || matches!(key, Some("server" | "capabilities"))
    };
    of_toml(text).or_else(|| text.lines().any(toml).then_some(SourceKind::Containerd))
}

/// Finds out what a parsed text is.
pub(super) fn of_stream(stream: &Stream) -> Option<SourceKind> {
    let roots = || stream.documents.iter().map(|document| &document.root);
    if let Some(kind) = roots().find_map(of_other_tools) {
        return Some(kind);
    }
    if roots().any(|root| is_patch_list(root) || root.get("patch").is_some_and(Node::is_sequence)) {
        return Some(SourceKind::JsonPatch);
    }
    if roots().any(is_resource) {
        return Some(SourceKind::Resource);
    }
    let mut lists =
        roots().filter(|root| root.get("apiVersion").is_none()).filter_map(|root| root.get("nodes"));
    if let Some(nodes) = lists.find(|nodes| nodes.is_sequence()) {
        let is_topf = nodes.items().iter().any(|node| node.get("host").is_some());
        return Some(if is_topf { SourceKind::Topf } else { SourceKind::Talhelper });
    }
    // Values of Helm may have mirrors beside the registries of Talos.
    let of_talos = |root: &Node| root.get("registries").is_some_and(is_block);
    let own = |root: &Node| root.get("kind").is_some() || root.get("mirror").is_some() || of_talos(root);
    if roots().any(|root| !own(root) && (root.get("mirrors").is_some() || root.get("configs").is_some())) {
        return Some(SourceKind::K3s);
    }
    let machines: Vec<&Node> = roots().filter(|root| Role::of(root) == Role::Machine).collect();
    if machines.iter().any(|root| root.at(&["machine", "type"]).is_some()) {
        return Some(SourceKind::MachineConfig);
    }
    // Values have registries where Talos has none.
    let values = |root: &Node| {
        let (patch, document) = (root.get("machine").is_some(), matches!(Role::of(root), Role::Registry(..)));
        let version = root.get("apiVersion").and_then(Node::as_str).unwrap_or_default();
        // Talos' own documents, and ours, are none.
        let own = version == "v1alpha1" || version.starts_with("talmirror/");
        !patch && !document && !own && holds_registries(root)
    };
    if roots().any(values) {
        return Some(SourceKind::HelmValues);
    }
    if !machines.is_empty() || roots().any(|root| root.get("$patch").is_some()) {
        return Some(SourceKind::StrategicPatch);
    }
    let registry = |root: &Node| matches!(Role::of(root), Role::Registry(..));
    roots().any(registry).then_some(SourceKind::Documents)
}

/// Knows the files of other tools by what they call themselves.
fn of_other_tools(root: &Node) -> Option<SourceKind> {
    let text = |key: &str| root.get(key).and_then(Node::as_str).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if version.starts_with("k3d.io/") {
        return Some(SourceKind::K3d);
    }
    if version.starts_with("kind.x-k8s.io/") {
        return Some(SourceKind::KindCluster);
    }
    if version.starts_with("metal.sidero.dev/") {
        return Some(SourceKind::ServerClass);
    }
    if version.contains("cluster.x-k8s.io/") {
        return Some(SourceKind::ClusterApi);
    }
    let resource = root.at(&["metadata", "type"]).and_then(Node::as_str).unwrap_or_default();
    let template = version.is_empty() && matches!(kind, "Cluster" | "ControlPlane" | "Workers" | "Machine");
    if resource.starts_with("ConfigPatches.") || template {
        return Some(SourceKind::Omni);
    }
    let docker = ["registry-mirrors", "insecure-registries"].iter().any(|key| root.get(key).is_some());
    docker.then_some(SourceKind::DockerDaemon)
}

/// Tells whether a node is a list of RFC 6902 operations; an empty list is one.
pub(super) fn is_patch_list(node: &Node) -> bool {
    node.is_sequence() && node.items().iter().all(is_operation)
}

/// Tells whether a node is meant as an RFC 6902 operation.
pub(super) fn is_operation(node: &Node) -> bool {
    node.get("op").is_some() || node.get("path").is_some()
}

/// Tells whether a node is a block of registries, Talos' or k3s'.
pub(super) fn is_block(node: &Node) -> bool {
    ["mirrors", "config", "configs"].iter().any(|key| node.get(key).is_some_and(Node::is_mapping))
}

/// Tells whether registries stand anywhere in a tree.
fn holds_registries(node: &Node) -> bool {
    node.get("registries").is_some_and(is_block)
        || is_k3s_block(node)
        || matches!(Role::of(node), Role::Registry(..))
        || node.entries().iter().any(|entry| holds_registries(&entry.value))
        || node.items().iter().any(holds_registries)
        || node.as_str().is_some_and(is_text_of_registries)
}

/// Tells whether a mapping is what k3s has in a file of its own, whatever it is called here.
pub(super) fn is_k3s_block(node: &Node) -> bool {
    let mirrors = node.get("mirrors").map(Node::entries).unwrap_or_default();
    mirrors.iter().any(|entry| entry.value.get("endpoint").is_some())
}

/// Tells whether a text may be a patch, a document or a file with registries.
pub(super) fn is_text_of_registries(text: &str) -> bool {
    ["registries", "RegistryMirrorConfig", "RegistryAuthConfig", "RegistryTLSConfig", "mirrors:"]
        .iter()
        .any(|word| text.contains(word))
        && parse(text).is_ok_and(|stream| {
            let mut roots = stream.documents.iter().map(|document| &document.root);
            roots.any(|root| {
                let patch = root.get("machine").is_some() || is_patch_list(root) && !root.items().is_empty();
                patch || is_k3s_block(root) || matches!(Role::of(root), Role::Registry(..))
            })
        })
}

/// Finds out which of containerd's and podman's files a text is.
fn of_toml(text: &str) -> Option<SourceKind> {
    let begins = |word: &str| text.lines().any(|line| line.trim_start().starts_with(word));
    if begins("[[registry]]")
        || begins("[[registry.mirror]]")
        || begins("unqualified-search-registries")
        || begins("[registries.")
    {
        return Some(SourceKind::Podman);
    }
    let plugin =
        text.lines().any(|line| line.trim_start().starts_with("[plugins") && line.contains("registry"));
    plugin.then_some(SourceKind::ContainerdConfig)
}
