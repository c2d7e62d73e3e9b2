use super::readers::{NodeInfo, Reading, Role};
use crate::yaml::Node;

/// Reads a topf `topf.yaml`: which nodes there are. Its patches are files beside it, in a folder for each set of nodes.
///
/// Source: topf `docs/configuration.md`.
pub(super) fn read(reading: &mut Reading, root: &Node) {
    if let Some(version) = root.get("talosVersion").and_then(Node::as_str) {
        let v = if version.starts_with('v') { "" } else { "v" };
        reading.version = Some(format!("{v}{version}"));
    }
    for node in root.get("nodes").map(Node::items).unwrap_or_default() {
        let text = |key: &str| node.get(key).and_then(Node::as_str).map(str::to_owned);
        let Some(name) = text("host") else { continue };
        let role = match text("role").as_deref() {
            Some("control-plane") => Some(Role::Controlplane),
            Some("worker") => Some(Role::Worker),
            Some(_) | None => None,
        };
        reading.nodes.push(NodeInfo { name, address: text("ip"), role, overrides_group: false });
    }
}
