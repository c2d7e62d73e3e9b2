use std::collections::HashMap;
use std::ops::Range;

use super::code::Code;
use super::model::{Credentials, Fallback, Inventory, Layer, Mirror, MirrorKind, Text, Tls, Via};
use super::pem;
use super::problem::{Problems, did_you_mean};
use super::resolve::{Route, Target, upstream_endpoint};
use crate::image::{RegistryHost, RegistryHostError, is_docker_hub_alias};
use crate::registries::{Endpoint, EndpointFlaw, TalosVersion};

/// Finds everything that can be told without a node and without a network.
pub(super) fn check(inventory: &Inventory, problems: &mut Problems<'_>) {
    for (name, mirror) in &inventory.mirrors {
        check_mirror(name, mirror, problems);
    }
    for (label, layer) in layers(inventory) {
        check_layer(&label, layer, problems);
    }
    check_hosts(inventory, problems);
    check_nodes(inventory, problems);
    let groups = inventory.groups.iter().filter(|(_, group)| group.layer != Layer::default());
    let nodes = inventory.nodes.iter().filter(|(_, node)| node.layer != Layer::default());
    let targets = std::iter::once(Target::Base)
        .chain(groups.map(|(name, _)| Target::Group(name)))
        .chain(nodes.map(|(name, _)| Target::Node(name)));
    for target in targets {
        for (name, route) in inventory.routes(target) {
            check_route(inventory, name, &route, problems);
        }
    }
    let estimate =
        inventory.verify.timeout * u32::try_from(inventory.verify.images.len()).unwrap_or(u32::MAX);
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
            .help =
            Some(format!("set rollout.tryTimeout to {} s or more, or verify fewer images", needed + 60));
    }
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
    check_host(&mirror.url, mirror.credentials.as_ref(), mirror.tls.as_ref(), span, &path, problems);
    if let MirrorKind::Harbor { projects, .. } = &mirror.kind {
        for (registry, project) in projects {
            check_project(name, registry, project, span, problems);
        }
    }
}

fn check_url(url: &str, span: &Range<usize>, path: &str, problems: &mut Problems<'_>) -> Option<url::Url> {
    let shown = crate::secret::without_userinfo(url);
    if url.contains("${") || url.contains("{{") || url.starts_with('$') {
        problems
            .add(Code::Reference, span, path, format!("`{shown}` holds a variable that nothing fills in"))
            .help = Some("write the URL, or `{env: NAME}` to read it from the environment".to_owned());
        return None;
    }
    let parsed =
        url::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(parsed) = parsed else {
        let problem = problems.add(Code::UrlScheme, span, path, format!("`{shown}` is no http or https URL"));
        problem.help = (!url.contains("://")).then(|| format!("did you mean https://{shown}?"));
        return None;
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        problems.add(Code::UrlScheme, span, path, format!("`{shown}` holds a user or password")).help =
            Some("move them to `credentials`".to_owned());
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        problems.add(Code::UrlScheme, span, path, format!("`{shown}` holds a query or fragment"));
    }
    let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let default = if parsed.scheme() == "https" { ":443" } else { ":80" };
    if authority.ends_with(default) {
        problems.add(Code::DefaultPort, span, path, format!("`{shown}` names the scheme's own port")).help =
            Some(format!("leave `{default}` out"));
    }
    Some(parsed)
}

fn check_endpoint(endpoint: &Endpoint, span: &Range<usize>, path: &str, problems: &mut Problems<'_>) {
    let Some(flaw) = endpoint.flaw() else { return };
    let url = &endpoint.url;
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
            "a registry's path begins with /v2, such as /v2/project",
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
    let plain_http = url.starts_with("http://");
    if let Some(tls) = tls {
        if plain_http {
            let message = format!("`{path}` has TLS settings, but `{url}` is plain http");
            let problem = problems.add(Code::TlsOnHttp, span, format!("{path}.tls"), message);
            problem.reason =
                Some("Talos then refuses every pull: TLS config specified for non-HTTPS registry".to_owned());
            problem.help = Some("drop `tls`, or use https".to_owned());
        }
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
    let legal = project.len() <= 255
        && project.split(['.', '_', '-']).all(|word| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        });
    if !legal {
        let message = format!("`{project}` is no name that Harbor takes for a project");
        let problem =
            problems.add(Code::ProjectName, span, format!("mirrors.{mirror}.projects.{registry}"), message);
        let dashed = project.to_lowercase().replace([':', '/'], "-");
        problem.help = Some(format!("name it in mirrors.{mirror}: projects: {{\"{registry}\": {dashed}}}"));
    }
}

fn check_layer(label: &str, layer: &Layer, problems: &mut Problems<'_>) {
    for (name, placed) in &layer.registries {
        let (span, path) = (&placed.span, format!("{label}registries.{name}"));
        check_registry_name(name, span, &path, problems);
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
    if name == "k8s.gcr.io" {
        problems.add(Code::FrozenRegistry, span, path, "`k8s.gcr.io` is frozen since April 2023").help =
            Some("images have moved to registry.k8s.io".to_owned());
    }
}

/// Finds two owners of one host that disagree: Talos keeps one credential and one TLS setting a host.
fn check_hosts(inventory: &Inventory, problems: &mut Problems<'_>) {
    type Owner<'a> = (String, Option<&'a Credentials>, Option<&'a Tls>, &'a Range<usize>);
    let mut owners: HashMap<String, Vec<Owner<'_>>> = HashMap::new();
    for (name, mirror) in &inventory.mirrors {
        let host = Endpoint::new(mirror.url.clone(), false).host().to_owned();
        let owner =
            (format!("mirrors.{name}"), mirror.credentials.as_ref(), mirror.tls.as_ref(), &mirror.span);
        owners.entry(host).or_default().push(owner);
    }
    for (name, placed) in &inventory.base.registries {
        let Some(registry) = &placed.value else { continue };
        let Some(endpoint) = upstream_endpoint(name, registry.upstream.url.get().map(String::as_str)) else {
            continue;
        };
        let upstream = &registry.upstream;
        let owner = (
            format!("registries.{name}.upstream"),
            upstream.credentials.get(),
            upstream.tls.get(),
            &placed.span,
        );
        owners.entry(endpoint.host().to_owned()).or_default().push(owner);
    }
    for (host, owners) in &owners {
        for (at, (path, credentials, tls, span)) in owners.iter().enumerate() {
            let differs = |other: &&Owner<'_>| {
                (credentials.is_some() && other.1.is_some() && *credentials != other.1)
                    || (tls.is_some() && other.2.is_some() && *tls != other.2)
            };
            if let Some(other) = owners.iter().take(at).find(differs) {
                let message =
                    format!("`{path}` and `{}` are both {host} and have different settings", other.0);
                let problem = problems.add(Code::HostConflict, span, path.clone(), message);
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
        let groups = inventory.groups_of(name, node);
        for (at, later) in groups.iter().enumerate() {
            let registries = |group: &str| inventory.groups.get(group).map(|group| &group.layer.registries);
            let Some(own) = registries(later) else { continue };
            for earlier in groups.iter().take(at) {
                let shared =
                    registries(earlier).and_then(|other| own.keys().find(|name| other.contains_key(*name)));
                if let Some(registry) = shared {
                    let span = own.get(registry).map(|placed| placed.span.clone()).unwrap_or_default();
                    let message =
                        format!("node `{name}` is in `{earlier}` and `{later}`, and both set `{registry}`");
                    problems
                        .add(
                            Code::SeveralGroups,
                            &span,
                            format!("groups.{later}.registries.{registry}"),
                            message,
                        )
                        .help = Some(format!("`{later}` wins, because it stands later"));
                }
            }
        }
    }
}

fn check_route(inventory: &Inventory, name: &str, route: &Route<'_>, problems: &mut Problems<'_>) {
    let (span, path) = (route.span, || format!("registries.{name}"));
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
