use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use indexmap::IndexMap;

use super::access::auth_flaw;
use super::harbor::HarborProject;
use super::model::{
    Credentials, Fallback, Inventory, Layer, Mirror, MirrorKind, Node, Role, Set, Text, Tls, Via,
};
use super::pem;
use crate::image::api_host;
use crate::registries::{
    Auth, ClientIdentity, Endpoint, Mirror as TalosMirror, Registries, TalosVersion, Tls as TalosTls,
};
use crate::secret::{NOT_RUN, Secret, SecretRef, SourceError, Values};

/// Whose settings are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target<'a> {
    /// A node that is in no group and has no settings of its own.
    Base,
    /// A node that is in one group only.
    Group(&'a str),
    /// A node of the inventory.
    Node(&'a str),
}

/// Where one registry's images come from, on one target.
#[derive(Clone, Debug)]
pub struct Route<'a> {
    /// The hops, in order.
    pub via: &'a [Via],
    /// What happens when all have failed.
    pub fallback: Fallback,
    /// The URL of the registry itself, where it is not what its name says.
    pub upstream_url: Option<&'a str>,
    /// The registry's own credentials.
    pub credentials: Option<&'a Credentials>,
    /// The registry's own TLS settings.
    pub tls: Option<&'a Tls>,
    /// How Harbor keeps it, where not like the others.
    pub harbor: Option<&'a HarborProject>,
    /// Which part of the inventory decided `via`.
    pub origin: Origin<'a>,
    /// Where the file names the registry.
    pub span: &'a Range<usize>,
}

/// A part of the inventory that decides `via`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// Nothing does.
    Nowhere,
    /// The defaults of a layer.
    Defaults(Part<'a>),
    /// A registry of a layer.
    Registry(Part<'a>, &'a str),
}

/// A part of the inventory that has settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The top.
    Base,
    /// A group.
    Group(&'a str),
    /// A node.
    Node(&'a str),
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => Ok(()),
            Self::Group(name) => write!(f, "groups.{name}."),
            Self::Node(name) => write!(f, "nodes.{name}."),
        }
    }
}

/// Prints the path in the inventory.
impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("no `via` and no `defaults.via`"),
            Self::Defaults(part) => write!(f, "{part}defaults.via"),
            Self::Registry(part, name) => write!(f, "{part}registries.{name}.via"),
        }
    }
}

/// Why an inventory does not become registries.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what its fields are")]
pub enum ResolveError {
    /// A secret or file cannot be had.
    #[error("cannot get `{path}`")]
    Source {
        /// The place in the inventory.
        path: String,
        source: SourceError,
    },
    /// A certificate or key is not PEM.
    #[error("`{path}` {message}")]
    Pem {
        /// The place in the inventory.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// What was fetched as `auth` is not user and password.
    #[error("`{path}`: {message}")]
    Auth {
        /// The place in the inventory.
        path: String,
        /// What is wrong with it.
        message: &'static str,
    },
    /// A secret is still encrypted.
    #[error("`{path}` is still encrypted")]
    Encrypted {
        /// The place in the inventory.
        path: String,
    },
}

impl ResolveError {
    /// Returns what to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Source { source: SourceError::NoVariable(name), .. } => {
                format!("set {name}, or change the reference")
            }
            Self::Source { source: SourceError::NotPermitted { help, .. }, .. } => help.clone(),
            Self::Source { source: SourceError::Empty(_), .. } => {
                "it is there and empty: give it a value, or change the reference".to_owned()
            }
            Self::Source { .. } => {
                "paths are relative to the inventory; commands start without a shell".to_owned()
            }
            Self::Auth { .. } => {
                "give base64 of `user:password`, such as the `auth` of Docker's config.json; or username and password"
                    .to_owned()
            }
            Self::Pem { .. } => "give PEM text: -----BEGIN CERTIFICATE----- …".to_owned(),
            Self::Encrypted { .. } => {
                "the file has no `sops:` block to open it with; restore it from git".to_owned()
            }
        }
    }
}

impl Inventory {
    /// Returns the names of the groups a node is in, in the inventory's order.
    pub fn groups_of(&self, name: &str, node: &Node) -> Vec<&str> {
        let own = address_in(node.address.as_deref().unwrap_or(name));
        // The one that is written says which is meant, where the node has several.
        let addresses: Vec<_> = own.map_or_else(|| node.reported.clone(), |address| vec![address]);
        let has = |network: &ipnet::IpNet| addresses.iter().any(|address| network.contains(address));
        let member = |group: &super::model::Group| {
            group.nodes.iter().any(|member| member == name)
                || group.role.is_some() && group.role == node.role
                || group.addresses.iter().any(has)
        };
        self.groups.iter().filter(|(_, group)| member(group)).map(|(name, _)| name.as_str()).collect()
    }

    /// Returns which of the inventory's nodes a node is, by what it says itself: by its name, or by one of its addresses.
    pub fn node_of(&self, nodename: Option<&str>, addresses: &[std::net::IpAddr]) -> Option<&str> {
        let named = nodename.and_then(|name| self.nodes.get_key_value(name));
        let has = |node: &Node| {
            let address = node.address.as_deref();
            address.is_some_and(|address| {
                Some(address) == nodename
                    || address_in(address).is_some_and(|address| addresses.contains(&address))
            })
        };
        named.or_else(|| self.nodes.iter().find(|(_, node)| has(node))).map(|(name, _)| name.as_str())
    }

    /// Takes note of the addresses that a listed node reports: groups match by them where it is listed by a name.
    pub fn report(&mut self, name: &str, addresses: &[std::net::IpAddr]) {
        if let Some(node) = self.nodes.get_mut(name) {
            addresses.clone_into(&mut node.reported);
        }
    }

    /// Takes in a node that is not listed, and that groups know by its address or role; returns whether one does.
    pub fn adopt(&mut self, name: &str, addresses: &[std::net::IpAddr], role: Option<Role>) -> bool {
        let node = |address: Option<&std::net::IpAddr>| Node {
            address: address.map(ToString::to_string),
            role,
            ..Node::default()
        };
        let candidates = addresses.iter().map(Some).chain([None]).map(node);
        let found = candidates.into_iter().find(|node| !self.groups_of(name, node).is_empty());
        found.is_some_and(|node| self.nodes.insert(name.to_owned(), node).is_none())
    }

    /// Returns the layers of a target, each with its part of the inventory.
    pub(super) fn layers<'a>(&'a self, target: Target<'_>) -> Vec<(Part<'a>, &'a Layer)> {
        let mut layers = vec![(Part::Base, &self.base)];
        let mut group = |name: &str| {
            if let Some((name, group)) = self.groups.get_key_value(name) {
                layers.push((Part::Group(name), &group.layer));
            }
        };
        match target {
            Target::Base => {}
            Target::Group(name) => group(name),
            Target::Node(name) => {
                if let Some((name, node)) = self.nodes.get_key_value(name) {
                    self.groups_of(name, node).into_iter().for_each(group);
                    layers.push((Part::Node(name), &node.layer));
                }
            }
        }
        layers
    }

    /// Returns every part of the inventory whose nodes may get settings of their own: the base, groups, nodes.
    pub fn targets(&self) -> impl Iterator<Item = Target<'_>> {
        let groups = self.groups.keys().map(|name| Target::Group(name));
        let nodes = self.nodes.keys().map(|name| Target::Node(name));
        std::iter::once(Target::Base).chain(groups).chain(nodes)
    }

    /// Lays defaults, registries, groups and node over each other, and returns the route of every registry.
    ///
    /// Settings of a registry win over defaults, whichever layer has them; of two layers the later wins.
    pub fn routes(&self, target: Target<'_>) -> IndexMap<&str, Route<'_>> {
        let (mut via, mut via_origin, mut fallback) = (None, Origin::Nowhere, None);
        let mut merged: IndexMap<&str, Merged<'_>> = IndexMap::with_capacity(self.base.registries.len());
        for (part, layer) in self.layers(target) {
            if layer.via != Set::Keep {
                via_origin = Origin::Defaults(part);
            }
            lay(&mut via, &layer.via);
            lay(&mut fallback, &layer.fallback);
            for (name, placed) in &layer.registries {
                let Some(registry) = &placed.value else {
                    merged.shift_remove(name.as_str());
                    continue;
                };
                let entry = merged.entry(name).or_insert_with(|| Merged::new(&placed.span));
                entry.span = &placed.span;
                if registry.via != Set::Keep {
                    entry.origin = Origin::Registry(part, name);
                }
                lay(&mut entry.via, &registry.via);
                lay(&mut entry.fallback, &registry.fallback);
                lay(&mut entry.url, &registry.upstream.url);
                lay(&mut entry.credentials, &registry.upstream.credentials);
                lay(&mut entry.tls, &registry.upstream.tls);
                lay(&mut entry.harbor, &registry.harbor);
            }
        }
        // A registry with settings alone goes the way of `*`, as Talos sends what has no mirror of its own.
        let wild = merged.get("*").and_then(|wild| {
            let route = wild.via.or(via).filter(|via| !via.is_empty())?;
            let origin = if wild.via.is_some() { wild.origin } else { via_origin };
            Some((route, wild.fallback, origin))
        });
        let routes = merged.into_iter().map(|(name, mut merged)| {
            let plain = merged.url.is_some();
            if let (None, None, false, Some((route, of_wild, origin))) = (merged.via, via, plain, wild)
                && name != "*"
            {
                merged.via = Some(route);
                merged.fallback = merged.fallback.or(of_wild);
                merged.origin = origin;
            }
            // A plain http registry is mirrored to itself: a mirror for it must be asked for by name.
            let itself = merged.via.is_none() && merged.url.is_some_and(|url| url.starts_with("http://"));
            let route = Route {
                via: merged.via.or(via.filter(|_| !itself)).map_or(&[], Vec::as_slice),
                fallback: *merged.fallback.or(fallback).unwrap_or(&Fallback::Upstream),
                upstream_url: merged.url.map(String::as_str),
                credentials: merged.credentials,
                tls: merged.tls,
                harbor: merged.harbor,
                origin: if merged.via.is_some() { merged.origin } else { via_origin },
                span: merged.span,
            };
            (name, route)
        });
        routes.collect()
    }

    /// Returns the endpoints of a registry as Talos gets them.
    ///
    /// The upstream is left to Talos where Talos tries it by itself (1.9 and later, and only at its own address), and
    /// listed last where it does not.
    fn mirror(&self, registry: &str, route: &Route<'_>, version: &TalosVersion) -> TalosMirror {
        let upstream = || upstream_endpoint(registry, route.upstream_url);
        let mut endpoints = Vec::new();
        for hop in route.via {
            let endpoint = match hop {
                Via::Upstream => upstream(),
                Via::Mirror(name) => self.mirrors.get(name).map(|mirror| mirror.endpoint(registry)),
            };
            endpoints.extend(endpoint.filter(|endpoint| is_new(&endpoints, endpoint)));
        }
        let implicit = route.upstream_url.is_none();
        let left_to_talos = implicit && (version.puller_falls_back() || endpoints.is_empty());
        if route.fallback == Fallback::Upstream && !left_to_talos {
            endpoints.extend(upstream().filter(|endpoint| is_new(&endpoints, endpoint)));
        }
        let skip_fallback = route.fallback == Fallback::Never && !endpoints.is_empty();
        TalosMirror { endpoints, skip_fallback }
    }

    /// Returns the mirrors of a target as Talos gets them; a registry that goes to itself has none.
    ///
    /// Beside `*` there is no such thing: Talos would send the registry through the mirror of `*`, so one that is to go
    /// to itself, by `via: []`, is mirrored to itself.
    pub fn mirrors_of(
        &self,
        routes: &IndexMap<&str, Route<'_>>,
        version: &TalosVersion,
    ) -> BTreeMap<String, TalosMirror> {
        let wildcard = routes.get("*").is_some_and(|route| !route.via.is_empty());
        let mirror = |(name, route): (&&str, &Route<'_>)| {
            let mut mirror = self.mirror(name, route, version);
            if wildcard && mirror.endpoints.is_empty() {
                mirror.endpoints.extend(upstream_endpoint(name, route.upstream_url));
            }
            (!mirror.endpoints.is_empty()).then(|| ((*name).to_owned(), mirror))
        };
        routes.iter().filter_map(mirror).collect()
    }

    /// Returns all that a target's nodes are told about registries, secrets included.
    pub fn registries(
        &self,
        target: Target<'_>,
        version: &TalosVersion,
        values: &mut dyn Values,
    ) -> Result<Registries, ResolveError> {
        let routes = self.routes(target);
        let mut out = Registries { mirrors: self.mirrors_of(&routes, version), ..Registries::default() };
        for settings in self.host_settings(&routes) {
            add_host(&mut out, &settings, values)?;
        }
        Ok(out)
    }

    /// Returns the credentials and TLS settings of hosts that nodes with these routes get; of two for one host, the later
    /// counts.
    pub(crate) fn host_settings<'a>(
        &'a self,
        routes: &IndexMap<&'a str, Route<'a>>,
    ) -> Vec<HostSettings<'a>> {
        let mut out = Vec::new();
        for (name, route) in routes {
            if route.credentials.is_none() && route.tls.is_none() {
                continue;
            }
            let Some(upstream) = upstream_endpoint(name, route.upstream_url) else { continue };
            let (host, place) = (upstream.host().to_owned(), SettingsPlace::Registry(name));
            out.push(HostSettings { host, place, credentials: route.credentials, tls: route.tls });
        }
        for (name, mirror) in &self.mirrors {
            let used = |route: &Route<'_>| {
                route.via.iter().any(|hop| matches!(hop, Via::Mirror(via) if via == name))
            };
            let (credentials, tls) = (mirror.credentials.as_ref(), mirror.tls.as_ref());
            if (credentials.is_none() && tls.is_none()) || !routes.values().any(used) {
                continue;
            }
            let host = Endpoint::new(mirror.url.clone(), false).host().to_owned();
            out.push(HostSettings { host, place: SettingsPlace::Mirror(name), credentials, tls });
        }
        out
    }

    /// Returns the version that a target's nodes run, as far as the inventory says.
    pub fn version(&self, target: Target<'_>) -> Option<&TalosVersion> {
        let own = match target {
            Target::Node(name) => self.nodes.get(name).and_then(|node| node.version.as_ref()),
            Target::Base | Target::Group(_) => None,
        };
        own.or(self.talos.version.as_ref())
    }
}

impl Mirror {
    /// Returns the project of a registry in this mirror, if it is a Harbor.
    pub fn harbor_project(&self, registry: &str) -> Option<String> {
        match &self.kind {
            MirrorKind::Harbor { project, projects } => {
                Some(projects.get(registry).cloned().unwrap_or_else(|| fill(project, registry)))
            }
            MirrorKind::Path { .. } | MirrorKind::Plain | MirrorKind::Cache | MirrorKind::Raw { .. } => None,
        }
    }

    /// Returns the endpoint of a registry behind this mirror.
    pub fn endpoint(&self, registry: &str) -> Endpoint {
        let own = |names: &IndexMap<String, String>, template: &str| {
            names.get(registry).cloned().unwrap_or_else(|| fill(template, registry))
        };
        match &self.kind {
            MirrorKind::Harbor { project, projects } => {
                Endpoint::new(format!("{}/v2/{}", self.url, own(projects, project)), true)
            }
            MirrorKind::Path { path, paths } => {
                let path = own(paths, path);
                Endpoint::new(format!("{}/{}", self.url, path.trim_matches('/')), true)
            }
            MirrorKind::Plain | MirrorKind::Cache => Endpoint::new(self.url.clone(), false),
            MirrorKind::Raw { override_path } => Endpoint::new(self.url.clone(), *override_path),
        }
    }
}

/// A registry's settings while layers are laid over each other.
struct Merged<'a> {
    via: Option<&'a Vec<Via>>,
    fallback: Option<&'a Fallback>,
    url: Option<&'a String>,
    credentials: Option<&'a Credentials>,
    tls: Option<&'a Tls>,
    harbor: Option<&'a HarborProject>,
    origin: Origin<'a>,
    span: &'a Range<usize>,
}

impl<'a> Merged<'a> {
    fn new(span: &'a Range<usize>) -> Self {
        Self {
            via: None,
            fallback: None,
            url: None,
            credentials: None,
            tls: None,
            harbor: None,
            origin: Origin::Nowhere,
            span,
        }
    }
}

/// Returns the address in `ADDRESS`, `ADDRESS:PORT`, `[ADDRESS]` or `[ADDRESS]:PORT`; [`None`] for a name.
fn address_in(text: &str) -> Option<std::net::IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| Some(text.parse::<std::net::SocketAddr>().ok()?.ip()))
}

/// Lays a setting of a later layer over that of the earlier ones.
fn lay<'a, T>(under: &mut Option<&'a T>, over: &'a Set<T>) {
    match over {
        Set::Keep => {}
        Set::Clear => *under = None,
        Set::To(value) => *under = Some(value),
    }
}

fn is_new(endpoints: &[Endpoint], endpoint: &Endpoint) -> bool {
    // Two that mean the same would be the same in legacy config, and containerd reads no file that has them.
    !endpoints.iter().any(|other| other.means_the_same(endpoint))
}

/// Fills a template of a project or path.
pub(super) fn fill(template: &str, registry: &str) -> String {
    if template == "{registry}" {
        return registry.to_owned(); // most are
    }
    let dashed = || registry.replace(['.', ':'], "-");
    let filled = template.replace("{registry}", registry);
    if filled.contains("{registry_dashed}") { filled.replace("{registry_dashed}", &dashed()) } else { filled }
}

/// Returns the endpoint of a registry itself; `*` has none.
pub(super) fn upstream_endpoint(registry: &str, url: Option<&str>) -> Option<Endpoint> {
    if registry == "*" {
        return None;
    }
    Some(match url {
        Some(url) => Endpoint::new(url, false),
        None => Endpoint::new(format!("https://{}", api_host(registry)), false),
    })
}

/// Where the settings of a host stand in an inventory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SettingsPlace<'a> {
    Registry(&'a str),
    Mirror(&'a str),
}

/// What nodes need to talk to a host.
#[derive(Clone, Debug)]
pub(crate) struct HostSettings<'a> {
    /// With its port, as the URL has it.
    pub(crate) host: String,
    place: SettingsPlace<'a>,
    pub(crate) credentials: Option<&'a Credentials>,
    pub(crate) tls: Option<&'a Tls>,
}

fn add_host(
    out: &mut Registries,
    settings: &HostSettings<'_>,
    values: &mut dyn Values,
) -> Result<(), ResolveError> {
    let path = || match settings.place {
        SettingsPlace::Registry(name) => format!("registries.\"{name}\".upstream"),
        SettingsPlace::Mirror(name) => format!("mirrors.{name}"),
    };
    if let Some(credentials) = settings.credentials {
        out.auth.insert(settings.host.clone(), auth(credentials, &path, values)?);
    }
    if let Some(tls) = settings.tls {
        out.tls.insert(settings.host.clone(), talos_tls(tls, &format!("{}.tls", path()), values)?);
    }
    Ok(())
}

/// Gets a secret; the place is only put into words where it cannot be had.
fn secret(
    reference: &SecretRef,
    path: &dyn Fn() -> String,
    values: &mut dyn Values,
) -> Result<Secret<String>, ResolveError> {
    let secret = match values.secret(reference) {
        Ok(secret) => secret,
        Err(source) => return Err(ResolveError::Source { path: path(), source }),
    };
    if secret.expose().starts_with("ENC[") {
        return Err(ResolveError::Encrypted { path: path() });
    }
    Ok(secret)
}

fn auth(
    credentials: &Credentials,
    path: &dyn Fn() -> String,
    values: &mut dyn Values,
) -> Result<Auth, ResolveError> {
    let mut field =
        |reference, name: &str| secret(reference, &|| format!("{}.credentials.{name}", path()), values);
    Ok(match credentials {
        Credentials::Pair { username, password } => Auth {
            username: Some(match username {
                SecretRef::Inline(name) => name.expose().clone(),
                reference => field(reference, "username")?.expose().clone(),
            }),
            password: Some(field(password, "password")?),
            ..Auth::default()
        },
        Credentials::Raw(raw) => {
            let raw = field(raw, "auth")?;
            if raw.expose() == NOT_RUN {
                // In the form that a pair gets, so that it fits what was written before.
                return Ok(Auth {
                    username: Some(NOT_RUN.to_owned()),
                    password: Some(raw),
                    ..Auth::default()
                });
            }
            // What stands in the file was looked at when it was read.
            if let Some(message) = auth_flaw(&raw) {
                return Err(ResolveError::Auth { path: format!("{}.credentials", path()), message });
            }
            Auth { auth: Some(raw), ..Auth::default() }.with_plain_pair()
        }
        Credentials::IdentityToken(token) => {
            Auth { identity_token: Some(field(token, "identityToken")?), ..Auth::default() }
        }
    })
}

fn talos_tls(tls: &Tls, path: &str, values: &mut dyn Values) -> Result<TalosTls, ResolveError> {
    let mut text = |text: &Text, key: &str| {
        let path = format!("{path}.{key}");
        match text {
            Text::Inline(text) => Ok((path, text.clone())),
            Text::File(file) => match values.file(Path::new(file)) {
                Ok(text) => Ok((path, text)),
                Err(source) => Err(ResolveError::Source { path, source }),
            },
        }
    };
    let certificates = |(path, text): (String, String)| match pem::check_certificates(&text) {
        Ok(()) => Ok(text),
        Err(message) => Err(ResolveError::Pem { path, message }),
    };
    let ca = tls.ca.as_ref().map(|ca| text(ca, "ca").and_then(certificates)).transpose()?;
    let cert = tls
        .client_identity
        .as_ref()
        .map(|(cert, _)| text(cert, "clientIdentity.cert").and_then(certificates));
    let client_identity = match (cert.transpose()?, &tls.client_identity) {
        (Some(cert), Some((_, key))) => {
            let path = format!("{path}.clientIdentity.key");
            let mut key = secret(key, &|| path.clone(), values)?;
            if !values.hides_secrets() && key.expose() != NOT_RUN {
                pem::check_key(key.expose()).map_err(|message| ResolveError::Pem { path, message })?;
                // What ends a file's last line belongs to PEM; a source that drops it gives the same key.
                if !key.expose().ends_with('\n') {
                    key = Secret::new(format!("{}\n", key.expose()));
                }
            }
            Some(ClientIdentity { cert, key })
        }
        _ => None,
    };
    Ok(TalosTls { ca, client_identity, insecure_skip_verify: tls.insecure_skip_verify })
}
