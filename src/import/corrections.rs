use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::declared::{Declared, Listed, Onto, is_reference, reference};
use super::place::{At, Located};
use super::source_file::Findings;
use crate::finding::{Code, did_you_mean};
use crate::image::{
    DOCKER_HUB, DOCKER_HUB_API, RegistryHost, RegistryHostError, api_host, is_docker_hub_alias,
};
use crate::inventory::url_flaw;
use crate::registries::{Endpoint, EndpointFlaw, KNOWN_HOSTS, foreign_upstream};
use crate::secret::without_userinfo;

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
pub(super) enum Step {
    /// The registry itself; the URL where it is not `https://` and its API's host.
    Upstream(Option<String>),
    /// Another host.
    Mirror(Located<Endpoint>),
}

/// The way of a registry's images: what is tried in order, and whether the upstream comes last by itself.
#[derive(Clone, Debug)]
pub(super) struct PullRoute {
    pub(super) steps: Vec<Step>,
    pub(super) never: bool,
    /// What of a way that is there it takes the place of.
    pub(super) replaces: Onto,
    pub(super) at: At,
    /// The source it comes from.
    pub(super) source: String,
}

impl Step {
    /// Returns what two hops are told apart by.
    pub(super) fn key(&self) -> (String, String) {
        match self {
            Self::Upstream(url) => ("upstream".to_owned(), url.clone().unwrap_or_default()),
            Self::Mirror(listed) => (listed.value.host().to_owned(), listed.value.prefix()),
        }
    }
}

impl PullRoute {
    /// Adds hops behind those that are there, as a strategic merge patch does, or takes their place, as a JSON patch.
    pub(super) fn append(&mut self, other: &Self) {
        if other.replaces.endpoints {
            self.steps.clear();
        }
        if other.replaces.fallback {
            self.never = false;
        }
        for step in &other.steps {
            if !self.steps.iter().any(|own| own.key() == step.key()) {
                self.steps.push(step.clone());
            }
        }
        self.never |= other.never;
    }

    /// Tells whether two ways are one.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.never == other.never && self.steps.iter().map(Step::key).eq(other.steps.iter().map(Step::key))
    }
}

/// Corrects what a sheet says about mirrors, and says what was wrong.
pub(super) fn routes(declared: &Declared, findings: &mut Findings) -> BTreeMap<String, PullRoute> {
    let mut routes = BTreeMap::new();
    // A name that is right comes before one that has to be corrected.
    let right =
        |name: &String| *name == name.to_lowercase() && !name.contains('/') && !is_docker_hub_alias(name);
    let first = declared.mirrors.iter().filter(|(name, _)| right(name));
    for (name, mirror) in first.chain(declared.mirrors.iter().filter(|(name, _)| !right(name))) {
        let Some(registry) = registry(name, &mirror.at, findings) else { continue };
        let route = PullRoute {
            replaces: declared.replaces.of(name),
            source: declared.source.clone(),
            ..route(&registry, mirror, findings)
        };
        match routes.entry(registry) {
            Entry::Vacant(entry) => {
                entry.insert(route);
            }
            Entry::Occupied(entry) => {
                let message = format!("`{name}` is left out: `{}` is there under its own name", entry.key());
                findings.add(Code::Dropped, &mirror.at, message);
            }
        }
    }
    routes
}

/// Returns the name that image references use for a registry.
fn registry(name: &str, at: &At, findings: &mut Findings) -> Option<String> {
    if name == "*" {
        return Some(name.to_owned());
    }
    if is_reference(name) {
        let message = format!("the name of a mirror, `{name}`, holds a variable; it is left out");
        findings.lose(Code::Reference, at, message).help = Some("write the name in its place".to_owned());
        return None;
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
                .or_else(|| did_you_mean(name, KNOWN_HOSTS))
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
            let problem =
                findings.add(Code::RegistryName, at, format!("`{name}` is not a valid registry name"));
            problem.reason = reason.map(|error| error.to_string());
            problem.help = Some(format!("image references use `{meant}`, and so does the inventory"));
            Some(meant)
        }
        (_, Err(error)) => {
            let problem = findings.lose(
                Code::RegistryName,
                at,
                format!("`{name}` is not a valid registry name, and is left out"),
            );
            problem.reason = Some(error.to_string());
            None
        }
    }
}

fn route(registry: &str, mirror: &Located<Listed>, findings: &mut Findings) -> PullRoute {
    let mixed = mixed_override(mirror, findings);
    let mut route = PullRoute {
        steps: Vec::new(),
        never: mirror.value.never,
        replaces: Onto::default(),
        at: mirror.at.clone(),
        source: String::new(),
    };
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
        route.steps.push(step(registry, endpoint, &listed.at));
    }
    let only = route.steps.len() == 1;
    if let (Some(Step::Upstream(None)), Some(last)) = (route.steps.last(), mirror.value.endpoints.last())
        && !route.never
        && !only
    {
        let message = format!("the upstream of {registry} is listed, and Talos tries it last by itself");
        findings.add(Code::RedundantUpstream, &last.at, message).help = Some("it is left out".to_owned());
        route.steps.pop();
    }
    route
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
        findings.lose(Code::Dropped, at, message);
        return None;
    }
    let shown = without_userinfo(&endpoint.url);
    if shown != endpoint.url {
        findings.add(Code::Dropped, at, "the user and password in the URL are left out").reason =
            Some("Talos takes credentials from `RegistryAuthConfig` and its like only".to_owned());
        endpoint.url.clone_from(&shown);
    }
    if endpoint.host().is_empty() {
        findings.lose(Code::UrlScheme, at, format!("`{shown}` has no host, and is left out"));
        return None;
    }
    if is_reference(&shown) {
        reference("the URL", &shown, at, findings);
    } else if let Some(flaw) = url_flaw(&shown) {
        findings.lose(Code::UrlScheme, at, format!("`{shown}` is left out: {flaw}")).help =
            Some("write a host name or an address, and a port from 1 to 65535".to_owned());
        return None;
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
    if let Some(serves) = foreign_upstream(registry, endpoint) {
        let message = format!("`{}` serves the images of {serves}, not those of {registry}", endpoint.host());
        findings.add(Code::ForeignUpstream, at, message);
    }
}

fn step(registry: &str, endpoint: Endpoint, at: &At) -> Step {
    if endpoint.host() == api_host(registry) && endpoint.prefix() == "/v2" {
        let http = endpoint.is_plain_http().then(|| format!("http://{}", endpoint.host()));
        return Step::Upstream(http);
    }
    Step::Mirror(Located { value: endpoint, at: at.clone() })
}
