use std::net::IpAddr;

use crate::yaml::{self, Node};

/// Documents whose name is an address that moves between control plane nodes (Talos `config/types/network`).
const DOCUMENTS: [&str; 2] = ["Layer2VIPConfig", "HCloudVIPConfig"];

/// Returns the virtual addresses that a machine config names: whichever control plane node holds one has it now.
pub(super) fn virtual_addresses(config: &str) -> Vec<IpAddr> {
    let Ok(stream) = yaml::parse(config) else { return Vec::new() };
    let mut found = Vec::new();
    for document in &stream.documents {
        let root = &document.root;
        let kind = root.get("kind").and_then(Node::as_str).unwrap_or_default();
        if DOCUMENTS.contains(&kind) {
            found.extend(address(root.get("name")));
        }
        let network = root.at(&["machine", "network", "interfaces"]);
        for interface in network.map_or(&[][..], Node::items) {
            let vlans = interface.get("vlans").map_or(&[][..], Node::items);
            let holders = std::iter::once(interface).chain(vlans);
            found.extend(holders.filter_map(|holder| address(holder.at(&["vip", "ip"]))));
        }
    }
    found
}

fn address(node: Option<&Node>) -> Option<IpAddr> {
    node?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_addresses_stand_in_interfaces_vlans_and_documents() {
        let config = "machine:\n    network:\n        interfaces:\n            - interface: eth0\n              vip: {ip: 10.0.0.5}\n              \
                      vlans:\n                  - vlanId: 3\n                    vip: {ip: 'fd00::5'}\n            - {interface: eth1}\n---\n\
                      apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 10.0.0.6\nlink: eth0\n---\nkind: LinkConfig\nname: eth0\n";
        let want: Vec<IpAddr> =
            ["10.0.0.5", "fd00::5", "10.0.0.6"].map(|text| text.parse().unwrap()).to_vec();
        assert_eq!(virtual_addresses(config), want);
        assert!(virtual_addresses("machine: {}\n").is_empty() && virtual_addresses("a: [").is_empty());
    }
}
