use serde::Deserialize;

use crate::image::Platform;

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    items: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    node_info: Option<NodeInfo>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeInfo {
    operating_system: String,
    architecture: String,
}

/// Returns the platforms of the nodes of a list, as the API server gives it; a node that does not say is left out.
pub fn node_platforms(list: &[u8]) -> Vec<Platform> {
    let list: List = serde_json::from_slice(list).unwrap_or(List { items: Vec::new() });
    let infos = list.items.into_iter().filter_map(|node| node.status?.node_info);
    infos.filter_map(|info| format!("{}/{}", info.operating_system, info.architecture).parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_of_nodes() {
        let list =
            br#"{"items":[{"status":{"nodeInfo":{"operatingSystem":"linux","architecture":"arm64"}}},{}]}"#;
        assert_eq!(node_platforms(list), ["linux/arm64".parse().unwrap()]);
        assert_eq!(node_platforms(b"<html>"), []);
    }
}
