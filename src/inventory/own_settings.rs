use super::model::{Inventory, Layer, Node};
use crate::registries::TalosVersion;

impl Inventory {
    /// Returns the places of groups and nodes that have settings of their own, such as `nodes.n1`.
    ///
    /// A Talos version of a node's own is a setting, unless one version, `of_all`, holds for all nodes.
    pub fn own_settings(&self, of_all: Option<&TalosVersion>) -> Vec<String> {
        let own = |layer: &Layer| *layer != Layer::default();
        let version =
            |node: &Node| of_all.is_none() && node.version.is_some() && node.version != self.talos.version;
        let groups = self.groups.iter().filter(|(_, group)| own(&group.layer));
        let nodes = self.nodes.iter().filter(|(_, node)| own(&node.layer) || version(node));
        let groups = groups.map(|(name, _)| format!("groups.{name}"));
        groups.chain(nodes.map(|(name, _)| format!("nodes.{name}"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::parse;

    #[test]
    fn a_version_is_a_setting_unless_one_holds_for_all() {
        let text = "\
mirror: https://h.example
registries: [ghcr.io]
talos: {version: v1.13}
groups: {edge: {registries: {ghcr.io: {fallback: never}}}, plain: {}}
nodes: {n1: {version: v1.12}, n2: {version: v1.13}, n3: {}}
";
        let inventory = parse(text, "mirrors.yaml", &|_| None).inventory.unwrap();
        assert_eq!(inventory.own_settings(None), ["groups.edge", "nodes.n1"]);
        assert_eq!(inventory.own_settings(Some(&TalosVersion::minor(1, 14))), ["groups.edge"]);
    }
}
