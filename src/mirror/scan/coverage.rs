use std::collections::BTreeSet;

use super::images::Images;
use crate::inventory::{Fallback, Inventory, Target, Via};
use crate::registries::Endpoint;

/// How a registry's images come to the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The mirrors they come through, in order, by name; on several targets those of the first that has any.
    pub mirrors: Vec<String>,
    /// What happens when every mirror fails.
    pub fallback: Fallback,
    /// Whether a mirror is in the way.
    pub status: Status,
}

/// Whether a mirror is between a registry and the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is one.
    Covered,
    /// The registry is a mirror itself.
    MirrorItself,
    /// There is none on these of the targets.
    Missing {
        /// The targets by name; none where all lack it.
        on: Vec<String>,
        /// Where the registry moved to, if it did.
        moved_to: Option<&'static str>,
    },
}

impl Status {
    /// Returns whether images come through a mirror, or from one.
    pub fn is_covered(&self) -> bool {
        match self {
            Self::Covered | Self::MirrorItself => true,
            Self::Missing { .. } => false,
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Covered => f.write_str("ok"),
            Self::MirrorItself => f.write_str("direct: the mirror's own host"),
            Self::Missing { on, moved_to } => {
                f.write_str("no mirror")?;
                if !on.is_empty() {
                    write!(f, " on {}", on.join(", "))?;
                }
                match moved_to {
                    Some(name) => write!(f, "; the registry moved to {name}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Registries that were replaced by others and get no new images.
const MOVED: [(&str, &str); 1] = [("k8s.gcr.io", "registry.k8s.io")];

/// Returns how a registry is covered on some targets of an inventory.
pub fn cover(inventory: &Inventory, targets: &[Target<'_>], registry: &str) -> Coverage {
    let mut coverage =
        Coverage { mirrors: Vec::new(), fallback: Fallback::Upstream, status: Status::Covered };
    let itself =
        inventory.mirrors.values().any(|mirror| Endpoint::new(mirror.url.clone(), false).host() == registry);
    let mut missing = Vec::new();
    for target in targets {
        let routes = inventory.routes(*target);
        let route = routes.get(registry).or_else(|| routes.get("*"));
        let via = route.map_or(&[][..], |route| route.via);
        let mirrors: Vec<String> =
            via.iter().filter(|hop| matches!(hop, Via::Mirror(_))).map(ToString::to_string).collect();
        if mirrors.is_empty() {
            missing.push(match target {
                Target::Base => "other nodes".to_owned(),
                Target::Group(name) | Target::Node(name) => (*name).to_owned(),
            });
        } else if coverage.mirrors.is_empty() {
            coverage.mirrors = mirrors;
            coverage.fallback = route.map_or(Fallback::Upstream, |route| route.fallback);
        }
    }
    coverage.status = if missing.is_empty() {
        Status::Covered
    } else if itself {
        Status::MirrorItself
    } else {
        let moved_to = MOVED.iter().find(|(old, _)| *old == registry).map(|(_, new)| *new);
        let on = if missing.len() == targets.len() { Vec::new() } else { missing };
        Status::Missing { on, moved_to }
    };
    coverage
}

/// What is known of one registry's images.
#[derive(Clone, Debug)]
pub struct RegistryRow<'a> {
    /// The registry.
    pub registry: &'a str,
    /// How many images there are.
    pub images: usize,
    /// What uses them.
    pub users: BTreeSet<&'a str>,
}

/// Returns the images by registry, in order of the registries' names.
pub fn rows(images: &Images) -> Vec<RegistryRow<'_>> {
    let mut rows: Vec<RegistryRow<'_>> = Vec::new();
    for (image, uses) in images.iter() {
        let registry = image.registry();
        if rows.last().is_none_or(|row| row.registry != registry) {
            rows.push(RegistryRow { registry, images: 0, users: BTreeSet::new() });
        }
        if let Some(row) = rows.last_mut() {
            row.images += 1;
            row.users.extend(uses.users.iter().map(String::as_str));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory() -> Inventory {
        let text = "apiVersion: talmirror/v1
kind: Inventory
mirrors:
  harbor: {kind: harbor, url: https://harbor.example}
registries:
  docker.io: {}
  ghcr.io: {via: [upstream]}
defaults: {via: [harbor]}
nodes:
  n1: {address: 10.0.0.1}
  n2: {address: 10.0.0.2, registries: {quay.io: {}}}
";
        let parsed = crate::inventory::parse(text, "mirrors.yaml", &|_| None);
        parsed.inventory.unwrap_or_else(|| panic!("{:?}", parsed.problems))
    }

    #[test]
    fn registries_by_what_covers_them() {
        let inventory = inventory();
        let nodes = [Target::Node("n1"), Target::Node("n2")];
        let status = |registry| cover(&inventory, &nodes, registry).status.to_string();
        assert_eq!(cover(&inventory, &nodes, "docker.io").mirrors, ["harbor"]);
        assert_eq!(status("docker.io"), "ok");
        assert_eq!(status("ghcr.io"), "no mirror");
        assert_eq!(status("quay.io"), "no mirror on n1");
        assert_eq!(status("harbor.example"), "direct: the mirror's own host");
        assert_eq!(status("k8s.gcr.io"), "no mirror; the registry moved to registry.k8s.io");
        assert!(cover(&inventory, &[Target::Node("n2")], "quay.io").status.is_covered());
    }
}
