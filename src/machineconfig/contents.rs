use super::config::Role;
use crate::yaml::{Node, Stream};

/// Returns whether a text holds registries and nothing else: an inventory, registry documents, a patch of registries.
///
/// Of such a file it is known which values are secrets; of any other, every value is sealed where no rule says less.
pub fn holds_registries_only(stream: &Stream) -> bool {
    !stream.documents.is_empty() && stream.documents.iter().all(|document| is_ours(&document.root))
}

/// Returns whether a document is an inventory of registries and mirrors.
pub fn is_inventory(root: &Node) -> bool {
    let version = root.get("apiVersion").and_then(Node::as_str).unwrap_or_default();
    let named = root.get("mirror").is_some() || root.get("mirrors").is_some();
    version.starts_with("talmirror/")
        || root.get("machine").is_none() && named && root.get("registries").is_some()
}

fn is_ours(root: &Node) -> bool {
    if is_inventory(root) || matches!(Role::of(root), Role::Registry(..)) {
        return true;
    }
    let operations = root.get("patch").map(Node::items).unwrap_or_default();
    let path = |operation: &Node| operation.get("path").and_then(Node::as_str).unwrap_or_default().to_owned();
    if !operations.is_empty() {
        return operations.iter().all(|operation| path(operation).starts_with("/machine/registries"));
    }
    let only =
        |node: &Node, known: &[&str]| node.entries().iter().all(|entry| known.contains(&entry.key.as_str()));
    root.at(&["machine", "registries"]).is_some()
        && only(root, &["machine", "version", "debug", "persist"])
        && root.get("machine").is_some_and(|machine| only(machine, &["registries"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    #[test]
    fn what_is_ours_is_known_by_its_keys() {
        let ours = |text: &str| holds_registries_only(&parse(text).unwrap());
        assert!(ours("apiVersion: talmirror/v1\nkind: Inventory\n"));
        assert!(ours("mirror: https://h\nregistries: [docker.io]\n"));
        assert!(ours("machine: {registries: {$patch: delete}}\n---\nmachine: {registries: {mirrors: {}}}\n"));
        assert!(ours("kind: RegistryAuthConfig\nname: h\npassword: p\n"));
        assert!(ours("patch: [{op: add, path: /machine/registries/config, value: {}}]\n"));
        for other in [
            "machine: {type: worker, registries: {}}\n",
            "machine: {registries: {}}\ncluster: {secret: s}\n",
            "mirrors: {docker.io: {endpoint: []}}\nconfigs: {}\n",
            "kind: Secret\ndata: {a: eA==}\n",
            "a: 1\n",
            "patch: [{op: add, path: /cluster/secret, value: s}]\n",
        ] {
            assert!(!ours(other), "{other}");
        }
    }
}
