use std::collections::BTreeMap;

use super::error::Refusal;
use super::route::Name;
use crate::image::{DOCKER_HUB, DOCKER_HUB_API, RegistryHost, Repository};

/// The registries that may be asked for, by every name they go by. What is not in here is never dialled.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    names: BTreeMap<String, RegistryHost>,
    default: Option<RegistryHost>,
}

/// Where a name points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryLocation<'a> {
    /// The registry, as it is configured.
    pub registry: &'a RegistryHost,
    /// The repository there; on Docker Hub a short name is in `library/`.
    pub repository: Repository,
    /// How the request said so.
    pub shape: Shape,
    /// What became of the query's `ns`.
    pub ns: Ns,
}

/// The shapes of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `/v2/<name>/…?ns=<registry>`: containerd with an endpoint that has no path.
    Namespace,
    /// `/v2/<registry>/<name>/…`: Talos with `overridePath`, podman, `BuildKit`, people.
    Prefix,
    /// `/<registry>/v2/<name>/…`: containerd with a path but without `override_path`; Docker since 25.
    Before,
    /// `/v2/<registry>/v2/<name>/…`: `overridePath` is missing.
    PrefixThenV2,
    /// `/v2/<name>/…`: Docker's `registry-mirrors`, which knows one registry only.
    Bare,
}

impl Shape {
    /// Returns the word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Prefix => "prefix",
            Self::Before => "before",
            Self::PrefixThenV2 => "prefix-then-v2",
            Self::Bare => "bare",
        }
    }
}

/// What became of `ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ns {
    /// There was none.
    Absent,
    /// It chose the registry.
    Chose,
    /// The path chose, and `ns` says the same.
    Agrees,
    /// The path chose, and `ns` says something else.
    Disagrees,
}

impl RepositoryLocation<'_> {
    /// Returns the value of the `OCI-Namespace` header, where the answer has one.
    pub fn oci_namespace(&self) -> Option<&str> {
        match self.ns {
            Ns::Chose | Ns::Agrees => Some(self.registry.as_str()),
            Ns::Absent | Ns::Disagrees => None,
        }
    }
}

impl Namespaces {
    /// Makes the closed world of some registries; a request that names none means `default`, if that is one of them.
    pub fn new(registries: impl IntoIterator<Item = RegistryHost>, default: Option<&RegistryHost>) -> Self {
        let mut names = BTreeMap::new();
        for registry in registries {
            if registry.as_str() == DOCKER_HUB {
                for alias in ["index.docker.io", DOCKER_HUB_API] {
                    names.entry(alias.to_owned()).or_insert_with(|| registry.clone());
                }
            }
            names.insert(registry.to_string(), registry);
        }
        let default = default.and_then(|registry| names.get(registry.as_str())).cloned();
        Self { names, default }
    }

    /// Returns the registry of a name, in whatever case; `None` if there is none of that name.
    pub fn get(&self, name: &str) -> Option<&RegistryHost> {
        match self.names.get(name) {
            None if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                self.names.get(&name.to_ascii_lowercase())
            }
            found => found,
        }
    }

    /// Returns which repository of which registry a request means: the path counts first, then `ns`, then the default.
    pub fn place(&self, name: &Name) -> Result<RepositoryLocation<'_>, Refusal> {
        if let Some((registry, repository, shape)) = self.by_path(name)? {
            let ns = match name.ns.as_deref() {
                None => Ns::Absent,
                Some(ns) if self.get(ns) == Some(registry) => Ns::Agrees,
                Some(_) => Ns::Disagrees,
            };
            return Ok(RepositoryLocation { registry, repository: on(registry, repository)?, shape, ns });
        }
        let (registry, shape, ns) = match (name.ns.as_deref(), &self.default) {
            (Some(ns), _) => (
                self.get(ns).ok_or_else(|| Refusal::NameUnknown(ns.to_owned()))?,
                Shape::Namespace,
                Ns::Chose,
            ),
            (None, Some(default)) if !names_a_registry(&name.path, default) => {
                (default, Shape::Bare, Ns::Absent)
            }
            (None, _) => return Err(Refusal::NameUnknown(name.path.clone())),
        };
        Ok(RepositoryLocation { registry, repository: on(registry, &name.path)?, shape, ns })
    }

    fn by_path<'a>(&self, name: &'a Name) -> Result<Option<(&RegistryHost, &'a str, Shape)>, Refusal> {
        if let Some(before) = &name.before {
            let registry = self.get(before).ok_or_else(|| Refusal::NameUnknown(before.clone()))?;
            return Ok(Some((registry, &name.path, Shape::Before)));
        }
        let (first, rest) = name.path.split_once('/').unwrap_or((&name.path, ""));
        let Some(registry) = self.names.get(first) else { return Ok(None) };
        Ok(Some(match (rest, rest.strip_prefix("v2/")) {
            ("", _) => return Err(Refusal::NameInvalid(name.path.clone())),
            (_, Some(rest)) => (registry, rest, Shape::PrefixThenV2),
            (rest, None) => (registry, rest, Shape::Prefix),
        }))
    }
}

/// Returns the repository as its registry has it; what is not a repository begins with the name of a registry.
fn on(registry: &RegistryHost, path: &str) -> Result<Repository, Refusal> {
    let repository: Repository = path.parse().map_err(|_| Refusal::NameUnknown(path.to_owned()))?;
    if registry.as_str() == DOCKER_HUB {
        repository.on_docker_hub().map_err(|_| Refusal::NameInvalid(path.to_owned()))
    } else {
        Ok(repository)
    }
}

/// Returns whether a path begins with a registry that is not configured, rather than with an owner on Docker Hub:
/// those have no dots, and asking for them there costs a request and gives a misleading answer.
fn names_a_registry(path: &str, default: &RegistryHost) -> bool {
    default.as_str() == DOCKER_HUB
        && path.split_once('/').is_some_and(|(first, _)| {
            first.parse::<RegistryHost>().is_ok_and(|host| host.can_start_a_reference())
        })
}

#[cfg(test)]
mod tests {
    use super::super::route::{Route, parse};
    use super::*;

    fn namespaces(default: Option<&str>) -> Namespaces {
        let hosts =
            ["docker.io", "ghcr.io", "registry.k8s.io", "registry.gitlab.com", "reg.example.com:5000"];
        let default = default.map(|text| text.parse::<RegistryHost>().unwrap());
        Namespaces::new(hosts.map(|host| host.parse().unwrap()), default.as_ref())
    }

    fn place(namespaces: &Namespaces, url: &str) -> String {
        let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
        let name = match parse("GET", path, query) {
            Ok(Route::Object { name, .. }) => name,
            other => return format!("{other:?}"),
        };
        match namespaces.place(&name) {
            Ok(place) => {
                let shape = place.shape.as_str();
                format!("{}/{} {shape} {:?}", place.registry, place.repository, place.ns)
            }
            Err(refusal) => format!("{} {}", refusal.status(), refusal.code().as_str()),
        }
    }

    #[test]
    fn every_shape_of_every_name() {
        let world = namespaces(Some("docker.io"));
        for (registry, asked, want) in [
            ("docker.io", "alpine", "docker.io/library/alpine"),
            ("docker.io", "rook/ceph", "docker.io/rook/ceph"),
            ("index.docker.io", "alpine", "docker.io/library/alpine"),
            ("registry-1.docker.io", "library/alpine", "docker.io/library/alpine"),
            ("registry.gitlab.com", "a/b/c/d", "registry.gitlab.com/a/b/c/d"),
            ("registry.k8s.io", "pause", "registry.k8s.io/pause"),
            ("reg.example.com:5000", "a", "reg.example.com:5000/a"),
        ] {
            let encoded = registry.replace(':', "%3A");
            for (url, how) in [
                (format!("/v2/{asked}/manifests/1?ns={encoded}"), "namespace Chose"),
                (format!("/v2/{asked}/manifests/1?ns={}", encoded.to_uppercase()), "namespace Chose"),
                (format!("/v2/{registry}/{asked}/manifests/1"), "prefix Absent"),
                (format!("/v2/{registry}/{asked}/manifests/1?ns={encoded}"), "prefix Agrees"),
                (format!("/v2/{registry}/{asked}/manifests/1?ns=quay.io"), "prefix Disagrees"),
                (format!("/{registry}/v2/{asked}/manifests/1"), "before Absent"),
                (format!("/{registry}/v2/{asked}/manifests/1?ns={registry}"), "before Agrees"),
                (format!("/v2/{registry}/v2/{asked}/manifests/1"), "prefix-then-v2 Absent"),
            ] {
                assert_eq!(place(&world, &url), format!("{want} {how}"), "{url}");
            }
        }
    }

    #[test]
    fn the_world_is_closed() {
        let (hub, none) = (namespaces(Some("docker.io")), namespaces(None));
        let unknown = "404 NAME_UNKNOWN";
        for (url, with_default, without) in [
            ("/v2/alpine/manifests/1", "docker.io/library/alpine bare Absent", unknown),
            ("/v2/library/alpine/manifests/1", "docker.io/library/alpine bare Absent", unknown),
            ("/v2/alpine/manifests/1?ns=evil.example", unknown, unknown),
            ("/v2/alpine/manifests/1?ns=169.254.169.254", unknown, unknown),
            ("/v2/alpine/manifests/1?ns=https://docker.io", unknown, unknown),
            (
                "/v2/alpine/manifests/1?ns=docker.io%00",
                "Err(Request(\"a query parameter is not encoded well\"))",
                "Err(Request(\"a query parameter is not encoded well\"))",
            ),
            ("/v2/evil.example/a/manifests/1", unknown, unknown),
            ("/v2/localhost/a/manifests/1", unknown, unknown),
            ("/v2/evil:5000/a/manifests/1", unknown, unknown),
            ("/v2/evil:5000/a/manifests/1?ns=ghcr.io", unknown, unknown),
            ("/evil.example/v2/a/manifests/1?ns=ghcr.io", unknown, unknown),
            ("/v2/ghcr.io/manifests/1", "400 NAME_INVALID", "400 NAME_INVALID"),
            ("/v2/ghcr.io/v2/manifests/1", "ghcr.io/v2 prefix Absent", "ghcr.io/v2 prefix Absent"),
            (
                "/v2/a.b/c/manifests/1?ns=ghcr.io",
                "ghcr.io/a.b/c namespace Chose",
                "ghcr.io/a.b/c namespace Chose",
            ),
        ] {
            assert_eq!(place(&hub, url), with_default, "{url}");
            assert_eq!(place(&none, url), without, "{url}");
        }
        let elsewhere: RegistryHost = "quay.io".parse().unwrap();
        assert_eq!(Namespaces::new([], Some(&elsewhere)).default, None);
    }

    #[test]
    fn only_the_configured_name_goes_out() {
        let world = namespaces(None);
        let Ok(Route::Object { name, .. }) = parse("GET", "/v2/a/manifests/1", Some("ns=INDEX.docker.io"))
        else {
            panic!()
        };
        assert_eq!(world.place(&name).unwrap().oci_namespace(), Some("docker.io"));
    }
}
