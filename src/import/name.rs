use std::collections::HashSet;

use super::mirror::{Mirror, Shape};
use crate::registries::Endpoint;

/// First parts of host names that say nothing.
const GENERIC: [&str; 11] =
    ["cache", "cr", "docker", "images", "mirror", "mirrors", "oci", "proxy", "pull", "registry", "www"];

/// Gives every mirror a name that a person would give: by its kind where it is the only one, else by its host.
pub(super) fn give(mirrors: &mut [Mirror]) {
    let only = |shape: fn(&Shape) -> bool| mirrors.iter().filter(|mirror| shape(&mirror.shape)).count() == 1;
    let one_harbor = only(|shape| matches!(shape, Shape::Harbor(_)));
    let one_cache = only(|shape| matches!(shape, Shape::Cache));
    let mut taken: HashSet<String> = HashSet::from(["upstream".to_owned()]);
    for mirror in mirrors {
        let name = match &mirror.shape {
            Shape::Harbor(_) if one_harbor => "harbor".to_owned(),
            Shape::Cache if one_cache => "cache".to_owned(),
            Shape::Plain(serves) => match serves.as_slice() {
                [only] => short(only, &mirror.url),
                _ => by_host(&mirror.url),
            },
            Shape::Harbor(_) | Shape::Cache | Shape::Path(_) | Shape::Raw { .. } => by_host(&mirror.url),
        };
        let mut unique = name.clone();
        let mut count = 1;
        while !taken.insert(unique.clone()) {
            count += 1;
            unique = format!("{name}-{count}");
        }
        mirror.name = unique;
    }
}

/// The short name of a registry that a mirror serves alone.
fn short(registry: &str, url: &str) -> String {
    if url.ends_with("://mirror.gcr.io") {
        return "gar".to_owned(); // Google Artifact Registry's cache of Docker Hub
    }
    let name = match registry {
        "docker.io" => "hub",
        "gcr.io" => "gcr",
        "ghcr.io" => "ghcr",
        "quay.io" => "quay",
        "registry.k8s.io" => "k8s",
        _ => return by_host(url),
    };
    name.to_owned()
}

fn by_host(url: &str) -> String {
    let endpoint = Endpoint::new(url, true);
    let host = endpoint.host();
    let host =
        host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(host, _)| host);
    let address = host.parse::<std::net::Ipv4Addr>().is_ok() || host.starts_with('[');
    let labels: Vec<&str> = host.split('.').collect();
    let name = match labels.as_slice() {
        _ if address => format!("mirror-{host}"),
        [first, second, _, ..] if GENERIC.contains(first) => format!("{first}-{second}"),
        [first, ..] => (*first).to_owned(),
        [] => String::new(),
    };
    let plain: String =
        name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "mirror".to_owned() } else { words.join("-") }
}
