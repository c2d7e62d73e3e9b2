use super::endpoint::Endpoint;
use crate::image::{DOCKER_HUB, DOCKER_HUB_API, api_host};

/// Registries that mirrors are often confused with, and public mirrors that serve Docker Hub alone.
pub const KNOWN_HOSTS: [&str; 12] = [
    DOCKER_HUB_API,
    "gcr.io",
    "ghcr.io",
    "mcr.microsoft.com",
    "mirror.gcr.io",
    "nvcr.io",
    "public.ecr.aws",
    "quay.io",
    "registry.k8s.io",
    "registry.gitlab.com",
    "lscr.io",
    "factory.talos.dev",
];

/// Registries that are named in image references and are not a slip of the pen for one of the others.
const NAMES: [&str; 16] = [
    DOCKER_HUB,
    "cgr.dev",
    "docker.elastic.co",
    "factory.talos.dev",
    "gcr.io",
    "ghcr.io",
    "icr.io",
    "k8s.gcr.io",
    "lscr.io",
    "mcr.microsoft.com",
    "nvcr.io",
    "public.ecr.aws",
    "quay.io",
    "registry.gitlab.com",
    "registry.k8s.io",
    "xpkg.upbound.io",
];

/// Returns the registry whose images an endpoint serves, where that is not the one that it is an endpoint of.
pub fn foreign_upstream(registry: &str, endpoint: &Endpoint) -> Option<&'static str> {
    let host = endpoint.host();
    let fronts = matches!((registry, host), ("k8s.gcr.io", "registry.k8s.io") | ("lscr.io", "ghcr.io"));
    let hub = registry == DOCKER_HUB && host == "mirror.gcr.io";
    if registry == "*" || host == api_host(registry) || fronts || hub || endpoint.prefix() != "/v2" {
        return None;
    }
    let known = KNOWN_HOSTS.iter().find(|known| **known == host)?;
    Some(match *known {
        DOCKER_HUB_API | "mirror.gcr.io" => DOCKER_HUB,
        known => known,
    })
}

/// Returns the well-known registry that a name is one slip of the pen away from: two letters swapped, or one letter
/// wrong, missing or too many.
pub fn near_known(name: &str) -> Option<&'static str> {
    if NAMES.contains(&name) || KNOWN_HOSTS.contains(&name) {
        return None;
    }
    let letters: Vec<char> = name.chars().collect();
    NAMES.into_iter().find(|known| {
        let known: Vec<char> = known.chars().collect();
        // In a short name, another letter makes another registry.
        swapped(&letters, &known) || known.len() > 6 && one_off(&letters, &known)
    })
}

fn swapped(a: &[char], b: &[char]) -> bool {
    let differ: Vec<usize> = (0..a.len()).filter(|at| a.get(*at) != b.get(*at)).collect();
    match differ.as_slice() {
        [first, second] if a.len() == b.len() => {
            second - first == 1 && a.get(*first) == b.get(*second) && a.get(*second) == b.get(*first)
        }
        _ => false,
    }
}

fn one_off(a: &[char], b: &[char]) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let head = short.iter().zip(long).take_while(|(a, b)| a == b).count();
    let tail = short.iter().rev().zip(long.iter().rev()).take_while(|(a, b)| a == b).count();
    match long.len() - short.len() {
        0 => head + tail + 1 == long.len(),
        1 => head + tail >= short.len(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_are_seen_and_other_registries_are_not() {
        for (name, known) in [
            ("gchr.io", "ghcr.io"),
            ("quay.oi", "quay.io"),
            ("registry.k8s.oi", "registry.k8s.io"),
            ("dokcer.io", "docker.io"),
            ("docker.oi", "docker.io"),
            ("registryk8s.io", "registry.k8s.io"),
            ("quayy.io", "quay.io"),
        ] {
            assert_eq!(near_known(name), Some(known), "{name}");
        }
        for name in ["gcr.io", "icr.io", "ocr.io", "harbor.lan", "registry-1.docker.io", "quay.lan", "*"] {
            assert_eq!(near_known(name), None, "{name}");
        }
    }
}
