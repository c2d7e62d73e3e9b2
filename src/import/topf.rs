use super::readers::{NodeInfo, Reading, Role};
use super::source_file::SourceFile;
use crate::finding::{Code, did_you_mean};
use crate::yaml::Node;

/// Reads a topf `topf.yaml`: which nodes there are. Its patches are files beside it, in a folder for each set of nodes.
///
/// Source: topf `docs/configuration.md`.
pub(super) fn read(reading: &mut Reading, file: &SourceFile<'_>, root: &Node) {
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
            Some(other) => {
                let span = node.get("role").map_or(&node.span, |role| &role.span);
                let message = format!(
                    "the role `{other}` of `{name}` is not known, and patches of a role are not for it"
                );
                let at = file.at(span, "nodes.role");
                let near = did_you_mean(other, ["control-plane", "worker"]);
                reading.findings.lose(Code::Dropped, &at, message).help = Some(match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "topf has the roles `control-plane` and `worker`".to_owned(),
                });
                None
            }
            None => None,
        };
        reading.nodes.push(NodeInfo { name, address: text("ip"), role, overrides_group: false });
    }
}
