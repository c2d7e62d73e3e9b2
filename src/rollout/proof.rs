//! What the pulls of images can prove about mirrors, and what they cannot.

use crate::image::{Reference, api_host};
use crate::machineconfig::{Change, ChangeKind};
use crate::registries::{Kind, Registries};

/// Returns whether an image comes from a mirror, or from nowhere, once there is no fallback: [`None`], and else why not.
fn suspicion(image: &str, wanted: &Registries) -> Option<String> {
    let Ok(reference) = image.parse::<Reference>() else {
        return Some(format!("{image} is not a valid image reference"));
    };
    let registry = reference.registry();
    let Some((_, mirror)) = wanted.mirror_of(registry) else {
        return Some(format!("{image} comes from its upstream: nothing mirrors {registry}"));
    };
    let upstream = api_host(registry);
    let mirrored = mirror.endpoints.iter().any(|endpoint| endpoint.host() != upstream);
    (!mirrored)
        .then(|| format!("{image} comes from its upstream: the only mirror of {registry} is {registry}"))
}

/// Returns whether pulls of one of the images prove something.
pub fn proves(images: &[String], wanted: &Registries) -> bool {
    images.iter().any(|image| suspicion(image, wanted).is_none())
}

/// Returns what the pulls of images do not prove though they were to, and why: each of them must go through a mirror.
///
/// A node's image cache is asked before any mirror (Talos `internal/pkg/containers/image/resolver.go`).
pub fn unproven(images: &[String], wanted: &Registries, image_cache: Option<&str>) -> Vec<String> {
    let mut found: Vec<String> = images.iter().filter_map(|image| suspicion(image, wanted)).collect();
    if image_cache == Some("ready") && proves(images, wanted) {
        found.push("the node's own image cache may have served the images".to_owned());
    }
    found
}

/// Returns the mirrors that are new or other than before, and that none of the images goes through.
pub fn unasked(images: &[String], wanted: &Registries, changes: &[Change]) -> Vec<String> {
    let images = images.iter().filter_map(|image| image.parse::<Reference>().ok());
    let asked: Vec<&str> = images
        .filter_map(|image| {
            wanted.mirrors.get_key_value(image.registry()).or(wanted.mirrors.get_key_value("*"))
        })
        .map(|(name, _)| name.as_str())
        .collect();
    let changed = changes.iter().filter(|change| {
        change.kind == Kind::Mirror
            && !matches!(change.what, ChangeKind::Removed(_))
            && !asked.contains(&change.name.as_str())
    });
    changed.map(|change| change.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machineconfig::diff;
    use crate::registries::{Endpoint, Mirror};

    fn registries(mirrors: &[(&str, &str)]) -> Registries {
        let mut out = Registries::default();
        for (name, url) in mirrors {
            let endpoints = vec![Endpoint::new(*url, true)];
            out.mirrors.insert((*name).to_owned(), Mirror { endpoints, skip_fallback: false });
        }
        out
    }

    #[test]
    fn only_a_pull_through_a_mirror_proves_something() {
        let wanted = registries(&[
            ("docker.io", "https://h.example/v2/hub"),
            ("ghcr.io", "https://ghcr.io/v2"),
            ("quay.io", "https://h.example/v2/quay"),
        ]);
        let images = |images: &[&str]| images.iter().map(|image| (*image).to_owned()).collect::<Vec<_>>();
        let hub = images(&["docker.io/library/busybox:1"]);
        assert!(proves(&hub, &wanted) && unproven(&hub, &wanted, None).is_empty());
        assert!(unproven(&hub, &wanted, Some("preparing")).is_empty());
        assert_eq!(
            unproven(&hub, &wanted, Some("ready")),
            ["the node's own image cache may have served the images"]
        );
        let others = images(&["registry.k8s.io/pause:3.10", "ghcr.io/a/b:1"]);
        assert!(!proves(&others, &wanted));
        assert_eq!(
            unproven(&others, &wanted, None),
            [
                "registry.k8s.io/pause:3.10 comes from its upstream: nothing mirrors registry.k8s.io",
                "ghcr.io/a/b:1 comes from its upstream: the only mirror of ghcr.io is ghcr.io"
            ]
        );
        let before =
            registries(&[("gone.example", "https://h.example"), ("quay.io", "https://h.example/v2/quay")]);
        assert_eq!(unasked(&hub, &wanted, &diff(&before, &wanted)), ["ghcr.io"]);
        let rest = registries(&[("*", "https://h.example")]);
        assert!(unasked(&hub, &rest, &diff(&before, &rest)).is_empty() && proves(&hub, &rest));
    }
}
