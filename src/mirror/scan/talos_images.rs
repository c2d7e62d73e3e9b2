use crate::image::Reference;
use crate::registries::TalosVersion;

/// What a minor version of Talos runs by default.
struct Release {
    minor: u16,
    kubernetes: &'static str,
    etcd: &'static str,
    coredns: &'static str,
    flannel: &'static str,
    /// The sandbox image of its containerd.
    pause: &'static str,
}

/// Source: `pkg/machinery/constants/constants.go` of 1.9.0, 1.11.6, 1.12.7, 1.13.9 and 1.14.1. A patch release may move
/// any of them, so that what nodes have counts before this table.
const RELEASES: [Release; 5] = [
    Release {
        minor: 9,
        kubernetes: "v1.32.0",
        etcd: "gcr.io/etcd-development/etcd:v3.5.17",
        coredns: "v1.12.0",
        flannel: "v0.26.1",
        pause: "3.10",
    },
    Release {
        minor: 11,
        kubernetes: "v1.34.1",
        etcd: "gcr.io/etcd-development/etcd:v3.6.5",
        coredns: "v1.12.4",
        flannel: "v0.27.4",
        pause: "3.10",
    },
    Release {
        minor: 12,
        kubernetes: "v1.35.4",
        etcd: "registry.k8s.io/etcd:v3.6.9",
        coredns: "v1.13.2",
        flannel: "v0.27.4",
        pause: "3.10",
    },
    Release {
        minor: 13,
        kubernetes: "v1.36.3",
        etcd: "registry.k8s.io/etcd:v3.6.12",
        coredns: "v1.14.6",
        flannel: "v0.28.8",
        pause: "3.10.1",
    },
    Release {
        minor: 14,
        kubernetes: "v1.37.0",
        etcd: "registry.k8s.io/etcd:3.7.1",
        coredns: "v1.14.7",
        flannel: "v0.28.9",
        pause: "3.10.1",
    },
];

/// The schematic of an installer without extensions: the digest of `customization: {}`.
const PLAIN_SCHEMATIC: &str = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";

/// The images of a Talos version are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the images of Talos {0} are not known: it is older or newer than v1.9 to v1.14")]
pub struct UnknownTalos(pub TalosVersion);

/// The images that a Talos version pulls by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TalosImages {
    /// Each with what it is for.
    pub images: Vec<(&'static str, Reference)>,
    /// What it runs besides, in versions that are not known here: it is newer than this program.
    pub unknown: Vec<&'static str>,
}

/// Finds what a version runs; [`None`]: it is newer than the table.
fn release(version: &TalosVersion) -> Result<Option<&'static Release>, UnknownTalos> {
    let (major, minor) = version.number();
    // 1.10 has what 1.9 has, in later versions; what is newer than the table is not guessed.
    let found = RELEASES.iter().rev().find(|release| release.minor <= minor);
    let newest = RELEASES.last().map_or(0, |release| release.minor);
    match found {
        Some(release) if major == 1 => Ok((minor <= newest).then_some(release)),
        Some(_) | None => Err(UnknownTalos(version.clone())),
    }
}

/// Returns the images that a Talos version pulls by itself.
///
/// `version` has to name its patch for the installer to be there. The installer comes from the image factory where a
/// schematic is named, and always since 1.14; before, from ghcr.io. Fails where nothing of the version is known.
pub fn talos_images(
    version: &TalosVersion,
    kubernetes: Option<&str>,
    schematic: Option<&str>,
) -> Result<TalosImages, UnknownTalos> {
    let release = release(version)?;
    let (_, minor) = version.number();
    let mut names = Vec::new();
    let mut unknown = Vec::new();
    match release {
        Some(release) => names.extend([
            ("etcd", release.etcd.to_owned()),
            ("pause", format!("registry.k8s.io/pause:{}", release.pause)),
            ("CoreDNS", format!("registry.k8s.io/coredns/coredns:{}", release.coredns)),
            ("flannel", format!("ghcr.io/siderolabs/flannel:{}", release.flannel)),
        ]),
        None => unknown.extend(["etcd", "pause", "CoreDNS", "flannel"]),
    }
    let kubernetes = kubernetes.or(release.map(|release| release.kubernetes));
    let kubernetes = kubernetes.map(|version| format!("v{}", version.trim_start_matches('v')));
    for (what, repository) in [
        ("kubelet", "ghcr.io/siderolabs/kubelet"),
        ("kube-apiserver", "registry.k8s.io/kube-apiserver"),
        ("kube-controller-manager", "registry.k8s.io/kube-controller-manager"),
        ("kube-scheduler", "registry.k8s.io/kube-scheduler"),
        ("kube-proxy", "registry.k8s.io/kube-proxy"),
    ] {
        match &kubernetes {
            Some(kubernetes) => names.push((what, format!("{repository}:{kubernetes}"))),
            None => unknown.push(what),
        }
    }
    let tag = version.to_string();
    // `v1.13` is not a tag of an installer.
    if tag.matches('.').count() == 2 {
        names.push((
            "installer",
            match (schematic, minor) {
                (None, ..14) => format!("ghcr.io/siderolabs/installer:{tag}"),
                (schematic, minor) => {
                    let kind = if minor >= 10 { "metal-installer" } else { "installer" };
                    format!("factory.talos.dev/{kind}/{}:{tag}", schematic.unwrap_or(PLAIN_SCHEMATIC))
                }
            },
        ));
    }
    // What the user gave may break the grammar; what stands above does not.
    let images: Vec<(&str, Reference)> =
        names.into_iter().filter_map(|(what, name)| Some((what, name.parse().ok()?))).collect();
    if images.is_empty() {
        return Err(UnknownTalos(version.clone()));
    }
    Ok(TalosImages { images, unknown })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(version: &str, kubernetes: Option<&str>, schematic: Option<&str>) -> Vec<String> {
        let images = talos_images(&version.parse().unwrap(), kubernetes, schematic).unwrap();
        images.images.into_iter().map(|(what, image)| format!("{what} {image}")).collect()
    }

    #[test]
    fn installers_by_version() {
        let installer = |version: &str, schematic| {
            let all = images(version, None, schematic);
            all.into_iter().find_map(|line| line.strip_prefix("installer ").map(str::to_owned))
        };
        assert_eq!(installer("v1.13", None), None);
        for (version, schematic, want) in [
            ("v1.13.9", None, "ghcr.io/siderolabs/installer:v1.13.9"),
            ("v1.13.9", Some("abc"), "factory.talos.dev/metal-installer/abc:v1.13.9"),
            ("v1.9.0", Some("abc"), "factory.talos.dev/installer/abc:v1.9.0"),
            (
                "v1.14.1",
                None,
                "factory.talos.dev/metal-installer/376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba:v1.14.1",
            ),
        ] {
            assert_eq!(installer(version, schematic).as_deref(), Some(want), "{version}");
        }
    }

    #[test]
    fn kubernetes_by_version() {
        assert!(
            images("v1.13.9", None, None).contains(&"kubelet ghcr.io/siderolabs/kubelet:v1.36.3".to_owned())
        );
        let chosen = images("v1.13.9", Some("1.35.1"), None);
        assert!(chosen.contains(&"kube-proxy registry.k8s.io/kube-proxy:v1.35.1".to_owned()), "{chosen:?}");
        assert!(
            images("v1.10.9", None, None).contains(&"kubelet ghcr.io/siderolabs/kubelet:v1.32.0".to_owned())
        );
        for unknown in ["v1.8.0", "v1.15", "v2.0.0"] {
            let version: TalosVersion = unknown.parse().unwrap();
            assert_eq!(talos_images(&version, None, None), Err(UnknownTalos(version)));
        }
    }

    /// An upgrade to what is newer than this program: what is sure is listed, the rest is named.
    #[test]
    fn a_version_that_is_newer() {
        let of = |version: &str, kubernetes: Option<&str>| {
            let found = talos_images(&version.parse().unwrap(), kubernetes, Some("abc")).unwrap();
            let names: Vec<&str> = found.images.iter().map(|(what, _)| *what).collect();
            (names.join(" "), found.unknown.len())
        };
        assert_eq!(of("v1.15.0", None), ("installer".to_owned(), 9));
        let kubernetes = "kubelet kube-apiserver kube-controller-manager kube-scheduler kube-proxy";
        assert_eq!(of("v1.15", Some("1.38.0")), (kubernetes.to_owned(), 4));
        assert_eq!(
            images("v1.15.0", None, Some("abc")),
            ["installer factory.talos.dev/metal-installer/abc:v1.15.0"]
        );
    }
}
