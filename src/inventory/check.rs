use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use indexmap::IndexMap;

use super::check_signatures::check_signatures;
use super::check_url::check_url;
use super::harbor::is_harbor_name;
use super::model::{Credentials, Fallback, Inventory, Layer, Mirror, MirrorKind, Text, Tls, Via};
use super::pem;
use super::resolve::{Route, Target, upstream_endpoint};
use crate::finding::Code;
use crate::finding::{Problems, did_you_mean};
use crate::image::{RegistryHost, RegistryHostError, is_docker_hub_alias};
use crate::registries::{Endpoint, EndpointFlaw, TalosVersion, near_known};
use crate::secret::{SecretRef, is_redacted, without_userinfo};

/// Finds everything that can be told without a node and without a network.
pub(super) fn check(inventory: &Inventory, problems: &mut Problems<'_>) {
    for (name, mirror) in &inventory.mirrors {
        check_mirror(name, mirror, problems);
    }
    for (label, layer) in layers(inventory) {
        check_layer(&label, layer, problems);
    }
    check_nodes(inventory, problems);
    // Of targets that are alike and in order one look is enough; each that is not is told, at its own place.
    let mut in_order = HashSet::new();
    for target in inventory.own_targets() {
        let settings = inventory.settings_of(target);
        if in_order.contains(&settings) {
            continue;
        }
        let before = problems.len();
        check_target(inventory, target, problems);
        if problems.len() == before {
            in_order.insert(settings);
        }
    }
    if layers(inventory).all(|(_, layer)| layer.registries.is_empty()) {
        problems.add(Code::NoRegistry, &(0..0), "registries", "no registry is named").reason =
            Some("patches made of this take every registry setting away".to_owned());
    }
    let images = u32::try_from(inventory.verify.images.len()).unwrap_or(u32::MAX);
    let estimate = inventory.verify.timeout.saturating_mul(images);
    if estimate >= inventory.rollout.try_timeout {
        let (window, needed) = (inventory.rollout.try_timeout.as_secs(), estimate.as_secs());
        problems
            .add(
                Code::TryTimeout,
                &(0..0),
                "rollout.tryTimeout",
                format!(
                    "the trial of {window} s is not longer than its verification, which may take {needed} s"
                ),
            )
            .help = Some(format!(
            "set rollout.tryTimeout to {} s or more, or verify fewer images",
            needed.saturating_add(60)
        ));
    }
}

fn check_target(inventory: &Inventory, target: Target<'_>, problems: &mut Problems<'_>) {
    let routes = inventory.routes(target);
    for (name, route) in &routes {
        check_route(inventory, name, route, problems);
        check_signatures(inventory, name, route, problems);
    }
    check_projects(inventory, &routes, problems);
    check_hosts(inventory, &routes, problems);
}

/// Finds what a version of Talos would refuse or do otherwise than the inventory says.
pub fn check_version(
    inventory: &Inventory,
    target: Target<'_>,
    version: &TalosVersion,
    problems: &mut Problems<'_>,
) {
    if version.has_skip_fallback() {
        return;
    }
    for (name, route) in inventory.routes(target) {
        if route.fallback == Fallback::Never {
            let message = format!("`{name}` has `fallback: never`, which Talos {version} does not know");
            let problem =
                problems.add(Code::NeedsNewerTalos, route.span, format!("registries.{name}"), message);
            problem.reason =
                Some("skipFallback exists since 1.9; an older node refuses the whole config".to_owned());
            problem.help = Some("use `fallback: upstream` for these nodes, or upgrade them".to_owned());
        }
    }
}

fn layers(inventory: &Inventory) -> impl Iterator<Item = (String, &Layer)> {
    let groups = inventory.groups.iter().map(|(name, group)| (format!("groups.{name}."), &group.layer));
    let nodes = inventory.nodes.iter().map(|(name, node)| (format!("nodes.{name}."), &node.layer));
    std::iter::once((String::new(), &inventory.base)).chain(groups).chain(nodes)
}

fn check_mirror(name: &str, mirror: &Mirror, problems: &mut Problems<'_>) {
    let (span, at_url, path) = (&mirror.span, &mirror.url_span, format!("mirrors.{name}"));
    let url_path = format!("{path}.url");
    let Some(url) = check_url(&mirror.url, at_url, &url_path, problems) else { return };
    let raw = matches!(mirror.kind, MirrorKind::Raw { .. });
    if !raw && !matches!(url.path(), "" | "/") {
        let problem = problems.add(
            Code::UrlHasPath,
            at_url,
            url_path.clone(),
            format!(
                "`{}` holds the path `{}`, and for kind {} the path is derived",
                mirror.url,
                url.path(),
                mirror.kind.as_str()
            ),
        );
        problem.help = Some(format!("remove `{}` from the URL", url.path()));
    }
    if raw {
        check_endpoint(&mirror.endpoint("*"), at_url, &path, problems);
    }
    // One is enough to be told; a Harbor that has no robot yet has its administrator.
    let credentials = mirror.credentials.as_ref().or(mirror.admin.as_ref());
    check_host(&mirror.url, credentials, mirror.tls.as_ref(), span, &path, problems);
    if let MirrorKind::Harbor { projects, .. } = &mirror.kind {
        for (registry, project) in projects {
            check_project(name, registry, project, span, problems);
        }
    }
}

fn check_endpoint(endpoint: &Endpoint, span: &Range<usize>, path: &str, problems: &mut Problems<'_>) {
    let Some(flaw) = endpoint.flaw() else { return };
    let url = &without_userinfo(&endpoint.url);
    let (code, message, help) = match flaw {
        EndpointFlaw::PathIsExtended => (
            Code::PathWithoutOverride,
            format!("Talos turns `{url}` into `…{}`", endpoint.prefix()),
            "set overridePath: true, or leave the path out",
        ),
        EndpointFlaw::VersionIsLost => (
            Code::OverrideWithoutPath,
            format!("`{url}` with overridePath has no /v2"),
            "set overridePath: false",
        ),
        EndpointFlaw::NoVersionInPath => (
            Code::OverrideWithoutV2,
            format!("`{url}` with overridePath has no /v2 in its path"),
            "a registry's path begins with /v2, such as /v2/project, or ends with it, such as /project/v2",
        ),
        EndpointFlaw::NotARegistry => (
            Code::NotARegistry,
            format!("`{url}` is a web site and not a registry"),
            "Docker Hub's API is https://registry-1.docker.io; `upstream` in `via` means it",
        ),
    };
    problems.add(code, span, path, message).help = Some(help.to_owned());
}

/// Checks what Talos keeps by host: credentials and TLS.
fn check_host(
    url: &str,
    credentials: Option<&Credentials>,
    tls: Option<&Tls>,
    span: &Range<usize>,
    path: &str,
    problems: &mut Problems<'_>,
) {
    let (plain_http, url) = (url.starts_with("http://"), without_userinfo(url));
    if let Some(tls) = tls {
        for (key, text) in [
            ("ca", tls.ca.as_ref()),
            ("clientIdentity.cert", tls.client_identity.as_ref().map(|(cert, _)| cert)),
        ] {
            if let Some(Text::Inline(text)) = text
                && let Err(message) = pem::check_certificates(text)
            {
                let path = format!("{path}.tls.{key}");
                problems.add(Code::BadPem, span, path.clone(), format!("`{path}` {message}")).help =
                    Some("give PEM text, or the file's name as caFile or certFile".to_owned());
            }
        }
        if tls.insecure_skip_verify && credentials.is_some() {
            let message = format!("`{path}` sends credentials to a host whose certificate is not checked");
            problems.add(Code::UnverifiedCredentials, span, format!("{path}.tls"), message).help =
                Some("give its CA: tls: {caFile: …}".to_owned());
        }
    }
    if let Some(SecretRef::Inline(secret)) = credentials.map(Credentials::secret)
        && is_redacted(secret.expose())
    {
        let message = format!("the secret of `{path}` reads as if it had been hidden");
        problems.add(Code::RedactedSecret, span, format!("{path}.credentials"), message).help =
            Some("write the secret itself; Talos would send what stands there".to_owned());
    }
    if credentials.is_some() && plain_http {
        let message = format!("`{path}` sends credentials in clear to `{url}`");
        problems.add(Code::PlainHttpCredentials, span, format!("{path}.credentials"), message);
    }
}

fn check_project(
    mirror: &str,
    registry: &str,
    project: &str,
    span: &Range<usize>,
    problems: &mut Problems<'_>,
) {
    if !is_harbor_name(project) {
        let (project, registry) = (without_userinfo(project), without_userinfo(registry));
        let message = format!("`{project}` is not a valid Harbor project name");
        let problem =
            problems.add(Code::ProjectName, span, format!("mirrors.{mirror}.projects.{registry}"), message);
        let dashed = project.to_lowercase().replace([':', '/'], "-");
        problem.help = Some(format!("name it in mirrors.{mirror}: projects: {{\"{registry}\": {dashed}}}"));
    }
}

/// Finds what a template left behind, and what no path has.
fn check_path(mirror: &str, endpoint: &Endpoint, span: &Range<usize>, problems: &mut Problems<'_>) {
    let odd = |c: char| matches!(c, '{' | '}' | '?' | '#' | '\\') || c.is_whitespace() || c.is_control();
    // A variable in the host is told with the mirror.
    if endpoint.prefix().contains(odd) {
        let url = without_userinfo(&endpoint.url);
        let message = format!("`{}` is not a URL that Talos can use", url.escape_debug());
        problems.add(Code::UrlScheme, span, format!("mirrors.{mirror}.path"), message).help =
            Some("a path may hold {registry} or {registry_dashed}, and nothing else in braces".to_owned());
    }
}

fn check_layer(label: &str, layer: &Layer, problems: &mut Problems<'_>) {
    for (name, placed) in &layer.registries {
        let (span, path) = (&placed.span, format!("{label}registries.{}", without_userinfo(name)));
        check_registry_name(&without_userinfo(name), span, &path, problems);
        let Some(registry) = &placed.value else { continue };
        let upstream = format!("{path}.upstream");
        if let Some(url) = registry.upstream.url.get()
            && let Some(parsed) = check_url(url, span, &format!("{upstream}.url"), problems)
        {
            let endpoint = Endpoint::new(url.clone(), false);
            if endpoint.flaw() == Some(EndpointFlaw::NotARegistry) {
                check_endpoint(&endpoint, span, &upstream, problems);
            } else if !matches!(parsed.path(), "" | "/" | "/v2" | "/v2/") {
                let message = format!("`{url}` holds a path, and a registry itself has none");
                problems.add(Code::UrlHasPath, span, format!("{upstream}.url"), message).help =
                    Some("a registry behind a path is a mirror of kind raw or path".to_owned());
            }
        }
        if name == "*"
            && (registry.upstream.credentials.get().is_some() || registry.upstream.tls.get().is_some())
        {
            let message = "`*` has no upstream of its own, so no credentials and no TLS";
            problems.add(Code::CannotServe, span, upstream.clone(), message).help =
                Some("give them to the registry they belong to".to_owned());
        }
        let url = registry.upstream.url.get().map_or("https://", String::as_str);
        check_host(
            url,
            registry.upstream.credentials.get(),
            registry.upstream.tls.get(),
            span,
            &upstream,
            problems,
        );
    }
}

fn check_registry_name(name: &str, span: &Range<usize>, path: &str, problems: &mut Problems<'_>) {
    if name == "*" {
        return;
    }
    let host = match name.parse::<RegistryHost>() {
        Ok(host) => host,
        Err(error) => {
            let stripped =
                name.split("://").last().unwrap_or(name).split('/').next().unwrap_or(name).to_lowercase();
            let problem = problems.add(Code::RegistryName, span, path, format!("`{name}`: {error}"));
            problem.help = match error {
                RegistryHostError::Scheme | RegistryHostError::Path | RegistryHostError::UpperCase => {
                    Some(format!("use `{stripped}`"))
                }
                _ => Some("a registry is named as image references name it, such as ghcr.io".to_owned()),
            };
            return;
        }
    };
    if is_docker_hub_alias(name) {
        problems
            .add(Code::RegistryName, span, path, format!("no image reference resolves to `{name}`"))
            .help = Some("use `docker.io`; the API's host is derived from it".to_owned());
    } else if !host.can_start_a_reference() {
        problems
            .add(Code::UnreachableName, span, path, format!("no image reference begins with `{name}`"))
            .help = Some("a registry's name has a dot or a port".to_owned());
    }
    if let Some(known) = near_known(name) {
        problems
            .add(Code::NearName, span, path, format!("`{name}` is one letter away from `{known}`"))
            .help = Some(format!("did you mean `{known}`?"));
    }
    if name == "k8s.gcr.io" {
        problems.add(Code::FrozenRegistry, span, path, "`k8s.gcr.io` is frozen since April 2023").help =
            Some("images have moved to registry.k8s.io".to_owned());
    }
}

/// Who has settings for a host, on one target.
struct Owner<'a> {
    path: String,
    credentials: Option<&'a Credentials>,
    tls: Option<&'a Tls>,
    span: &'a Range<usize>,
}

/// Finds two owners of one host that disagree, and TLS for a host that is asked over plain http: Talos keeps one
/// credential and one TLS setting a host, no matter which mirror they were meant for.
fn check_hosts(inventory: &Inventory, routes: &IndexMap<&str, Route<'_>>, problems: &mut Problems<'_>) {
    let mut owners: HashMap<String, Vec<Owner<'_>>> = HashMap::new();
    for (name, mirror) in &inventory.mirrors {
        let used =
            |route: &Route<'_>| route.via.iter().any(|hop| matches!(hop, Via::Mirror(via) if via == name));
        if (mirror.credentials.is_none() && mirror.tls.is_none()) || !routes.values().any(used) {
            continue;
        }
        let host = Endpoint::new(mirror.url.clone(), false).host().to_owned();
        owners.entry(host).or_default().push(Owner {
            path: format!("mirrors.{name}"),
            credentials: mirror.credentials.as_ref(),
            tls: mirror.tls.as_ref(),
            span: &mirror.span,
        });
    }
    for (name, route) in routes {
        if route.credentials.is_none() && route.tls.is_none() {
            continue;
        }
        let Some(endpoint) = upstream_endpoint(name, route.upstream_url) else { continue };
        owners.entry(endpoint.host().to_owned()).or_default().push(Owner {
            path: format!("registries.{}.upstream", without_userinfo(name)),
            credentials: route.credentials,
            tls: route.tls,
            span: route.span,
        });
    }
    let any_tls = owners.values().flatten().any(|owner| owner.tls.is_some());
    let mirrors =
        if any_tls { inventory.mirrors_of(routes, &TalosVersion::minor(1, 13)) } else { BTreeMap::new() };
    let plain: HashSet<&str> = mirrors
        .values()
        .flat_map(|mirror| &mirror.endpoints)
        .filter(|endpoint| endpoint.is_plain_http())
        .map(Endpoint::host)
        .collect();
    for (host, owners) in &owners {
        for (at, owner) in owners.iter().enumerate() {
            if owner.tls.is_some() && plain.contains(host.as_str()) {
                let (host, path) = (without_userinfo(host), format!("{}.tls", owner.path));
                let message =
                    format!("`{}` has TLS settings, but {host} is asked over plain http", owner.path);
                let problem = problems.add(Code::TlsOnHttp, owner.span, path, message);
                problem.reason = Some(
                    "Talos then refuses every pull: TLS config specified for non-HTTPS registry".to_owned(),
                );
                problem.help = Some("drop `tls`, or use https".to_owned());
            }
            let differs = |other: &&Owner<'_>| {
                (owner.credentials.is_some()
                    && other.credentials.is_some()
                    && owner.credentials != other.credentials)
                    || (owner.tls.is_some() && other.tls.is_some() && owner.tls != other.tls)
            };
            if let Some(other) = owners.iter().take(at).find(differs) {
                let host = without_userinfo(host);
                let message = format!(
                    "`{}` and `{}` are both {host} and have different settings",
                    owner.path, other.path
                );
                let problem = problems.add(Code::HostConflict, owner.span, owner.path.clone(), message);
                problem.reason = Some("Talos keeps credentials and TLS by host and port".to_owned());
                problem.help = Some("give them the same, or leave them out of one".to_owned());
            }
        }
    }
}

/// Finds user names that envsubst and its like would take for variables, in a file that such a tool seems to read.
pub(super) fn check_dollars(inventory: &Inventory, problems: &mut Problems<'_>) {
    for (name, mirror) in &inventory.mirrors {
        let user = mirror.credentials.as_ref().and_then(Credentials::username).unwrap_or_default();
        let variable =
            user.split('$').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()));
        if variable {
            let path = format!("mirrors.{name}.credentials.username");
            let message = format!("`{user}` holds a `$`, and the file has variables for another tool");
            problems.add(Code::DollarName, &mirror.span, path, message).help =
                Some("have that tool leave this name alone, or keep variables out of the file".to_owned());
        }
    }
}

fn check_nodes(inventory: &Inventory, problems: &mut Problems<'_>) {
    let known = || inventory.nodes.keys().map(String::as_str);
    let mut unknown = |place: String, node: &String| {
        if !inventory.nodes.contains_key(node) {
            let problem = problems.add(
                Code::UnknownNode,
                &(0..0),
                place.clone(),
                format!("`{place}`: there is no node `{node}`"),
            );
            problem.help = Some(match did_you_mean(node, known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "define it in `nodes`".to_owned(),
            });
        }
    };
    for (name, group) in &inventory.groups {
        group.nodes.iter().for_each(|node| unknown(format!("groups.{name}.nodes"), node));
    }
    inventory.rollout.canary.iter().for_each(|node| unknown("rollout.canary".to_owned(), node));
    let mut addresses: HashMap<&str, &str> = HashMap::new();
    for (name, node) in &inventory.nodes {
        if let Some(address) = node.address.as_deref()
            && let Some(first) = addresses.insert(address, name)
        {
            let message = format!("`{name}` and `{first}` have the same address, {address}");
            problems.add(Code::UnknownNode, &(0..0), format!("nodes.{name}.address"), message);
        }
    }
    check_groups(inventory, problems);
}

/// Finds groups that set the same registry and share nodes.
fn check_groups(inventory: &Inventory, problems: &mut Problems<'_>) {
    let members: Vec<HashSet<&str>> = inventory
        .nodes
        .iter()
        .map(|(name, node)| inventory.groups_of(name, node).into_iter().collect())
        .collect();
    for (at, (later, group)) in inventory.groups.iter().enumerate() {
        for (earlier, other) in inventory.groups.iter().take(at) {
            let own = &group.layer.registries;
            let Some(registry) = own.keys().find(|name| other.layer.registries.contains_key(*name)) else {
                continue;
            };
            let both = |groups: &&HashSet<&str>| {
                groups.contains(later.as_str()) && groups.contains(earlier.as_str())
            };
            let count = members.iter().filter(both).count();
            if count == 0 {
                continue;
            }
            let span = own.get(registry).map(|placed| placed.span.clone()).unwrap_or_default();
            let path = format!("groups.{later}.registries.{registry}");
            let message =
                format!("`{earlier}` and `{later}` share nodes ({count}), and both set `{registry}`");
            problems.add(Code::SeveralGroups, &span, path, message).help =
                Some(format!("`{later}` wins, because it stands later"));
        }
    }
}

/// Finds two registries in one project of a Harbor: a project is the proxy of one registry.
fn check_projects(inventory: &Inventory, routes: &IndexMap<&str, Route<'_>>, problems: &mut Problems<'_>) {
    let mut projects: HashMap<(&str, String), &str> = HashMap::new();
    for (name, route) in routes {
        for hop in route.via {
            let Via::Mirror(via) = hop else { continue };
            let Some(project) = inventory.mirrors.get(via).and_then(|mirror| mirror.harbor_project(name))
            else {
                continue;
            };
            let first = projects.entry((via, project.clone())).or_insert(name);
            if first != name {
                let message = format!("`{first}` and `{name}` are both the project `{project}` of `{via}`");
                problems
                    .add(Code::SharedProject, route.span, format!("mirrors.{via}.projects"), message)
                    .help = Some(
                    "give each a project of its own: `project` with {registry}, or `projects`".to_owned(),
                );
            }
        }
    }
}

fn check_route(inventory: &Inventory, name: &str, route: &Route<'_>, problems: &mut Problems<'_>) {
    let (span, path) = (route.span, || format!("registries.{}", without_userinfo(name)));
    for hop in route.via {
        let Via::Mirror(via) = hop else {
            if name == "*" {
                problems
                    .add(Code::CannotServe, span, path(), "`*` has no upstream of its own to go through")
                    .help = Some("leave `upstream` out of its `via`".to_owned());
            }
            continue;
        };
        let Some(mirror) = inventory.mirrors.get(via) else { continue };
        let by_path = match &mirror.kind {
            MirrorKind::Harbor { project, projects } => {
                let registry =
                    projects.get(name).cloned().unwrap_or_else(|| super::resolve::fill(project, name));
                if name != "*" && !projects.contains_key(name) {
                    check_project(via, name, &registry, span, problems);
                }
                true
            }
            MirrorKind::Path { .. } => {
                if name != "*" {
                    check_path(via, &mirror.endpoint(name), span, problems);
                    check_endpoint(&mirror.endpoint(name), span, &path(), problems);
                }
                true
            }
            MirrorKind::Plain | MirrorKind::Cache | MirrorKind::Raw { .. } => false,
        };
        if name == "*" && by_path {
            let message =
                format!("`*` cannot go through `{via}`: every registry needs a path of its own there");
            problems.add(Code::CannotServe, span, path(), message).help =
                Some("use a mirror of kind cache, or list the registries".to_owned());
        }
        let serves =
            mirror.serves.as_ref().is_none_or(|serves| serves.iter().any(|registry| registry == name));
        if !serves {
            let message = format!("`{via}` does not serve `{name}`");
            let problem = problems.add(Code::CannotServe, span, path(), message);
            problem.help =
                Some(format!("add it to mirrors.{via}.serves, or give `{name}` a `via` without it"));
        }
        if mirror.in_cluster && route.fallback == Fallback::Never {
            let message =
                format!("`{name}` depends on `{via}`, which runs in this cluster, and has no fallback");
            let problem = problems.add(Code::InClusterNever, span, path(), message);
            problem.reason = Some(
                "after a power cut its own images come through the mirror that is not there yet".to_owned(),
            );
            problem.help = Some("use `fallback: upstream`".to_owned());
        }
    }
    if route.fallback == Fallback::Never && route.via.is_empty() && route.upstream_url.is_none() {
        let problem =
            problems.add(Code::NoEndpoint, span, path(), format!("`{name}` has no endpoint at all"));
        problem.reason =
            Some("with no mirror and no fallback, Talos' two pullers do different things".to_owned());
        problem.help = Some("name a mirror in `via`, or use `fallback: upstream`".to_owned());
    }
    if name == "*" && route.fallback == Fallback::Never {
        problems
            .add(Code::WildcardNever, span, path(), "every registry without an entry depends on this mirror")
            .help = Some("use `fallback: upstream` for `*`".to_owned());
    }
    let implicit = route.upstream_url.is_none();
    if implicit
        && route.fallback == Fallback::Upstream
        && route.via.len() > 1
        && route.via.last() == Some(&Via::Upstream)
    {
        let message = format!("`upstream` at the end of `{name}`'s `via` is what `fallback: upstream` does");
        problems.add(Code::RedundantUpstream, span, path(), message).help =
            Some("leave `upstream` out of `via`".to_owned());
    }
    if name == "docker.io"
        && route.fallback == Fallback::Upstream
        && !route.via.is_empty()
        && route.credentials.is_none()
    {
        let message = "when its mirrors fail, Docker Hub is asked without credentials";
        problems.add(Code::AnonymousHub, span, path(), message).help =
            Some("registries.docker.io.upstream.credentials, if the nodes share one address".to_owned());
    }
}
