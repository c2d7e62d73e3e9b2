use super::declared::{is_reference, reference};
use super::readers::{NodeInfo, Purpose, Reading, Role, Scope};
use super::source_file::SourceFile;
use super::{shapes, talos};
use crate::finding::Code;
use crate::yaml::{Node, Value};

/// Reads a talhelper `talconfig.yaml`: the patches for all, for each role, for each node.
pub(super) fn read(reading: &mut Reading, file: &SourceFile<'_>, root: &Node) {
    if let Some(node) = root.get("talosVersion")
        && let Some(version) = node.as_str()
    {
        if is_reference(version) {
            let at = file.at(&node.span, "talosVersion");
            let message = format!("`talosVersion` is the variable `{version}`");
            reading.findings.add(Code::Reference, &at, message).help =
                Some("the version is left out: name it with --talos-version".to_owned());
        } else {
            reading.version = Some(version.to_owned());
        }
    }
    // talhelper's order: the patches of the role, then the node's, then those for all (`pkg/generate/config.go`).
    for (key, role) in [("controlPlane", Role::Controlplane), ("worker", Role::Worker)] {
        if let Some(node) = root.get(key) {
            patches(reading, file, node, key, &Scope::Role(role));
        }
    }
    for (at, node) in root.get("nodes").map(Node::items).unwrap_or_default().iter().enumerate() {
        let text = |key: &str| node.get(key).and_then(Node::as_str).map(str::to_owned);
        let Some(name) = text("hostname").or_else(|| text("ipAddress")) else { continue };
        let controlplane = node.get("controlPlane").and_then(Node::as_bool);
        let role = controlplane.map(|yes| if yes { Role::Controlplane } else { Role::Worker });
        for key in ["hostname", "ipAddress"] {
            if let Some(value) = node.get(key)
                && let Some(text) = value.as_str().filter(|text| is_reference(text))
            {
                let place = file.at(&value.span, format!("nodes[{at}].{key}"));
                reference(&format!("`{key}`"), text, &place, &mut reading.findings);
            }
        }
        let address =
            text("ipAddress").and_then(|list| list.split(',').next().map(|first| first.trim().to_owned()));
        // talhelper's own default: a node is a worker unless it says otherwise.
        let role = role.or(Some(Role::Worker));
        let overrides_group = node.get("overridePatches").and_then(Node::as_bool).unwrap_or(false);
        reading.nodes.push(NodeInfo { name: name.clone(), address, role, overrides_group });
        patches(reading, file, node, &format!("nodes[{at}]"), &Scope::Node(name));
    }
    patches(reading, file, root, "", &Scope::All);
}

fn patches(reading: &mut Reading, file: &SourceFile<'_>, node: &Node, path: &str, scope: &Scope) {
    let dot = if path.is_empty() { "" } else { "." };
    let inline = reading.mapping(file, node.get("inlinePatch"), &format!("{path}{dot}inlinePatch"));
    if let Some(inline) = inline.filter(|inline| inline.at(&["machine", "registries"]).is_some()) {
        let (declared, _) = reading.talos(file, &[inline], Purpose::Config);
        reading.push(scope.clone(), declared, file);
    }
    if let Some(list) = node.get("configPatches") {
        talos::json_patch(reading, file, list, scope);
    }
    let list = reading.items(file, node.get("patches"), &format!("{path}{dot}patches"));
    for (at, patch) in list.iter().enumerate() {
        let at = file.at(&patch.span, format!("{path}{dot}patches[{at}]"));
        match &patch.value {
            Value::Scalar(scalar) if scalar.text.trim_start().starts_with('@') => {
                shapes::related(reading, scalar.text.trim().trim_start_matches('@').trim(), &at, scope);
            }
            Value::Scalar(_) => {
                if let Some(inner) = file.within(patch) {
                    talos::patch(reading, &inner, scope);
                }
            }
            Value::Mapping { .. } if patch.get("op").is_none() => {
                let (declared, _) = reading.talos(file, &[patch], Purpose::Config);
                reading.push(scope.clone(), declared, file);
            }
            Value::Sequence { .. } | Value::Mapping { .. } => {
                reading.findings.lose(
                    Code::WrongType,
                    &at,
                    format!("found {} where a string belongs", patch.kind()),
                );
            }
        }
    }
}
