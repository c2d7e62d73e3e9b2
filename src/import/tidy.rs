use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::page::Findings;
use super::sheet::{At, Listed, Located, Sheet, is_reference, reference};
use crate::finding::{Code, did_you_mean};
use crate::image::{
    DOCKER_HUB, DOCKER_HUB_API, RegistryHost, RegistryHostError, api_host, is_docker_hub_alias,
};
use crate::registries::{Endpoint, EndpointFlaw};
use crate::secret::without_userinfo;

/// Registries that mirrors are often confused with, and public mirrors that serve Docker Hub alone.
const KNOWN: [&str; 12] = [
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
/// Names that look like a registry, and what was meant.
const MEANT: [(&str, &str); 7] = [
    ("cgr.io", "cgr.dev"),
    ("docker", DOCKER_HUB),
    ("gcr", "gcr.io"),
    ("ghcr", "ghcr.io"),
    ("k8s.io", "registry.k8s.io"),
    ("mcr", "mcr.microsoft.com"),
    ("quay", "quay.io"),
];

/// One step on the way of a pull.
#[derive(Clone, Debug)]
pub(super) enum Hop {
    /// The registry itself; the URL where it is not `https://` and its API's host.
    Upstream(Option<String>),
    /// Another host.
    Mirror(Located<Endpoint>),
}

/// The way of a registry's images: what is tried in order, and whether the upstream comes last by itself.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) hops: Vec<Hop>,
    pub(super) never: bool,
    /// Whether it takes the place of what is there.
    pub(super) replaces: bool,
    pub(super) at: At,
}

impl Hop {
    /// Returns what two hops are told apart by.
    pub(super) fn key(&self) -> (String, String) {
        match self {
            Self::Upstream(url) => ("upstream".to_owned(), url.clone().unwrap_or_default()),
            Self::Mirror(listed) => (listed.value.host().to_owned(), listed.value.prefix()),
        }
    }
}

impl Way {
    /// Adds hops behind those that are there, as a strategic merge patch does.
    pub(super) fn append(&mut self, other: &Self) {
        for hop in &other.hops {
            if !self.hops.iter().any(|own| own.key() == hop.key()) {
                self.hops.push(hop.clone());
            }
        }
        self.never |= other.never;
    }

    /// Tells whether two ways are one.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.never == other.never && self.hops.iter().map(Hop::key).eq(other.hops.iter().map(Hop::key))
    }
}

/// Corrects what a sheet says about mirrors, and says what was wrong.
pub(super) fn ways(sheet: &Sheet, findings: &mut Findings) -> BTreeMap<String, Way> {
    let mut ways = BTreeMap::new();
    for (name, mirror) in &sheet.mirrors {
        let Some(registry) = registry(name, &mirror.at, findings) else { continue };
        let way = Way { replaces: sheet.replaces, ..way(&registry, mirror, findings) };
        match ways.entry(registry) {
            Entry::Vacant(entry) => {
                entry.insert(way);
            }
            Entry::Occupied(entry) => {
                let message =
                    format!("`{name}` is `{}`, which is there too; this one is left out", entry.key());
                findings.add(Code::Dropped, &mirror.at, message);
            }
        }
    }
    ways
}

/// Returns the name that image references use for a registry.
fn registry(name: &str, at: &At, findings: &mut Findings) -> Option<String> {
    if name == "*" {
        return Some(name.to_owned());
    }
    if is_reference(name) {
        reference("the name of a mirror", name, at, findings);
        return Some(name.to_owned());
    }
    let bare = name.split_once("://").map_or(name, |(_, rest)| rest);
    let bare = bare.split('/').next().unwrap_or_default().to_lowercase();
    let meant = if is_docker_hub_alias(&bare) { DOCKER_HUB.to_owned() } else { bare };
    match (name.parse::<RegistryHost>(), meant.parse::<RegistryHost>()) {
        (Ok(host), _) if !host.can_start_a_reference() || MEANT.iter().any(|(wrong, _)| *wrong == name) => {
            let problem =
                findings.add(Code::UnreachableName, at, format!("no image reference begins with `{name}`"));
            problem.help = MEANT
                .iter()
                .find(|(wrong, _)| *wrong == name)
                .map(|(_, right)| *right)
                .or_else(|| did_you_mean(name, KNOWN))
                .map(|right| format!("did you mean `{right}`?"));
            Some(name.to_owned())
        }
        (Ok(_), Ok(_)) if meant == name => {
            if name == "k8s.gcr.io" {
                findings.add(Code::FrozenRegistry, at, "`k8s.gcr.io` gets no new images").help =
                    Some("use `registry.k8s.io` in image references".to_owned());
            }
            Some(meant)
        }
        (wrong, Ok(_)) => {
            let reason = wrong.err().filter(|error| *error != RegistryHostError::Empty);
            let problem = findings.add(Code::RegistryName, at, format!("`{name}` is no name of a registry"));
            problem.reason = reason.map(|error| error.to_string());
            problem.help = Some(format!("image references use `{meant}`, and so does the inventory"));
            Some(meant)
        }
        (_, Err(error)) => {
            let problem = findings.add(
                Code::RegistryName,
                at,
                format!("`{name}` is no name of a registry, and is left out"),
            );
            problem.reason = Some(error.to_string());
            None
        }
    }
}

fn way(registry: &str, mirror: &Located<Listed>, findings: &mut Findings) -> Way {
    let mixed = mixed_override(mirror, findings);
    let mut way = Way { hops: Vec::new(), never: mirror.value.never, replaces: false, at: mirror.at.clone() };
    let mut seen: Vec<(String, String)> = Vec::new();
    for listed in &mirror.value.endpoints {
        let Some(endpoint) = endpoint(registry, listed, mixed, findings) else { continue };
        let key = (endpoint.host().to_owned(), endpoint.prefix());
        let shown = without_userinfo(&endpoint.url);
        if seen.contains(&key) {
            findings.add(Code::DuplicateEndpoint, &listed.at, format!("`{shown}` is listed twice")).help =
                Some("it is kept once".to_owned());
            continue;
        }
        seen.push(key);
        way.hops.push(hop(registry, endpoint, &listed.at));
    }
    let only = way.hops.len() == 1;
    if let (Some(Hop::Upstream(None)), Some(last)) = (way.hops.last(), mirror.value.endpoints.last())
        && !way.never
        && !only
    {
        let message = format!("the upstream of {registry} is listed, and Talos tries it last by itself");
        findings.add(Code::RedundantUpstream, &last.at, message).help = Some("it is left out".to_owned());
        way.hops.pop();
    }
    if way.never && way.hops.is_empty() {
        way.never = false; // found before, as NoEndpoint, or made so by what was left out
    }
    way
}

/// Tells whether one `overridePath` was written over endpoints that need different ones, and says so.
fn mixed_override(mirror: &Located<Listed>, findings: &mut Findings) -> bool {
    let listed = &mirror.value.endpoints;
    if !mirror.value.one_override || listed.len() < 2 {
        return false;
    }
    let broken: Vec<String> = listed
        .iter()
        .filter(|listed| {
            matches!(listed.value.flaw(), Some(EndpointFlaw::PathIsExtended | EndpointFlaw::VersionIsLost))
                && !listed.value.url.contains("/api/docker/")
        })
        .map(|listed| format!("`{}`", without_userinfo(&listed.value.url)))
        .collect();
    if broken.is_empty() || broken.len() == listed.len() {
        return false;
    }
    let value = listed.first().is_some_and(|listed| listed.value.override_path);
    let message = format!("`overridePath: {value}` for all endpoints breaks {}", broken.join(", "));
    findings.add(Code::MixedOverride, &mirror.at, message).help =
        Some("the inventory has one for each endpoint".to_owned());
    true
}

/// Corrects an endpoint where it is known what was meant; `None` where nothing can be.
fn endpoint(
    registry: &str,
    listed: &Located<Endpoint>,
    mixed: bool,
    findings: &mut Findings,
) -> Option<Endpoint> {
    let (at, mut endpoint) = (&listed.at, listed.value.clone());
    if !endpoint.url.contains("://") {
        endpoint.url = format!("https://{}", endpoint.url);
    } else if !endpoint.is_plain_http() && !endpoint.url.starts_with("https://") {
        let message =
            format!("`{}` is left out: Talos pulls by http and https only", without_userinfo(&endpoint.url));
        findings.add(Code::Dropped, at, message);
        return None;
    }
    let shown = without_userinfo(&endpoint.url);
    if shown != endpoint.url {
        findings.add(Code::Dropped, at, "the user and password in the URL are left out").reason =
            Some("Talos takes credentials from `RegistryAuthConfig` and its like only".to_owned());
        endpoint.url.clone_from(&shown);
    }
    if endpoint.host().is_empty() {
        findings.add(Code::UrlScheme, at, format!("`{shown}` has no host, and is left out"));
        return None;
    }
    if is_reference(&shown) {
        reference("the URL", &shown, at, findings);
    }
    let port = if endpoint.is_plain_http() { ":80" } else { ":443" };
    if endpoint.host().ends_with(port) {
        findings.add(Code::DefaultPort, at, format!("`{shown}` names the port that it has anyway"));
    }
    foreign(registry, &endpoint, at, findings);
    let (code, fixed) = match endpoint.flaw() {
        None => return Some(plainest(&endpoint)),
        Some(EndpointFlaw::NotARegistry) => return not_a_registry(registry, &endpoint, at, findings),
        // A path by which Artifactory serves its API: `/v2` behind it is right.
        Some(EndpointFlaw::PathIsExtended) if shown.contains("/api/docker/") => {
            return Some(plainest(&endpoint));
        }
        Some(EndpointFlaw::PathIsExtended) => {
            let known = shown.split('/').skip(3).any(|part| part == "v2");
            (Code::PathWithoutOverride, known.then(|| Endpoint::new(&shown, true)))
        }
        Some(EndpointFlaw::VersionIsLost) => (Code::OverrideWithoutPath, Some(Endpoint::new(&shown, false))),
        Some(EndpointFlaw::NoVersionInPath) => {
            let (scheme, rest) = shown.split_once("://").unwrap_or(("https", &shown));
            let path = endpoint.prefix();
            let single = !path.trim_matches('/').contains('/');
            let host = rest.split('/').next().unwrap_or_default();
            let fixed = single.then(|| Endpoint::new(format!("{scheme}://{host}/v2{path}"), true));
            (Code::OverrideWithoutV2, fixed)
        }
    };
    let told = mixed && code != Code::OverrideWithoutV2 && fixed.is_some();
    if !told {
        let message = match code {
            Code::PathWithoutOverride => {
                format!("`{shown}` without overridePath becomes `{}`", endpoint.with_override().url)
            }
            Code::OverrideWithoutPath => format!("`{shown}` with overridePath loses its `/v2`"),
            _ => format!("`{shown}` with overridePath has no `/v2` in its path"),
        };
        let problem = findings.add(code, at, message);
        problem.help = Some(match &fixed {
            Some(fixed) if fixed.override_path => format!("it is taken as `{}` with overridePath", fixed.url),
            Some(_) => "it is taken without overridePath".to_owned(),
            None => "it is kept as it is; a Harbor serves `/v2/PROJECT`, with overridePath".to_owned(),
        });
    }
    Some(fixed.map_or(endpoint, |fixed| plainest(&fixed)))
}

/// Writes an endpoint that serves images in one of two ways: a host alone, or a path that is used as it is.
fn plainest(endpoint: &Endpoint) -> Endpoint {
    let full = endpoint.with_override();
    match full.url.strip_suffix("/v2") {
        Some(base) if full.prefix() == "/v2" => Endpoint::new(base, false),
        Some(_) | None => full,
    }
}

/// Puts Docker Hub's API in the place of its web sites.
fn not_a_registry(registry: &str, endpoint: &Endpoint, at: &At, findings: &mut Findings) -> Option<Endpoint> {
    let problem =
        findings.add(Code::NotARegistry, at, format!("`{}` is a web site, not a registry", endpoint.url));
    if registry == DOCKER_HUB || registry == "*" {
        problem.help = Some(format!("it is taken as `https://{DOCKER_HUB_API}`"));
        return Some(Endpoint::new(format!("https://{DOCKER_HUB_API}"), false));
    }
    problem.help = Some("it is left out".to_owned());
    None
}

/// Says when an endpoint serves another registry's images.
fn foreign(registry: &str, endpoint: &Endpoint, at: &At, findings: &mut Findings) {
    let host = endpoint.host();
    let fronts = matches!((registry, host), ("k8s.gcr.io", "registry.k8s.io") | ("lscr.io", "ghcr.io"));
    let hub = registry == DOCKER_HUB && host == "mirror.gcr.io";
    if registry == "*" || host == api_host(registry) || fronts || hub || endpoint.prefix() != "/v2" {
        return;
    }
    if KNOWN.contains(&host) {
        let serves = match host {
            DOCKER_HUB_API | "mirror.gcr.io" => DOCKER_HUB,
            host => host,
        };
        let message = format!("`{host}` serves the images of {serves}, not those of {registry}");
        findings.add(Code::ForeignUpstream, at, message);
    }
}

fn hop(registry: &str, endpoint: Endpoint, at: &At) -> Hop {
    if endpoint.host() == api_host(registry) && endpoint.prefix() == "/v2" {
        let http = endpoint.is_plain_http().then(|| format!("http://{}", endpoint.host()));
        return Hop::Upstream(http);
    }
    Hop::Mirror(Located { value: endpoint, at: at.clone() })
}
