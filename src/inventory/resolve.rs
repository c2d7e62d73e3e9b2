use std::ops::Range;
use std::path::Path;

use indexmap::IndexMap;

use super::model::{
    Credentials, Fallback, Inventory, Layer, Mirror, MirrorKind, Node, Set, Text, Tls, Upstream, Via,
};
use super::pem;
use crate::image::api_host;
use crate::registries::{
    Auth, ClientIdentity, Endpoint, Mirror as TalosMirror, Registries, TalosVersion, Tls as TalosTls,
};
use crate::secret::{Secret, SecretRef, SourceError, Values};

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
pub struct Route {
    /// The hops, in order.
    pub via: Vec<Via>,
    /// What happens when all have failed.
    pub fallback: Fallback,
    /// The registry itself.
    pub upstream: Upstream,
    /// Which part of the inventory decided `via`.
    pub origin: String,
    /// Where the file names the registry.
    pub span: Range<usize>,
}

/// Why an inventory does not become registries.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// A secret or file cannot be had.
    #[error("cannot get `{path}`")]
    Source {
        /// The place in the inventory.
        path: String,
        /// Why.
        source: SourceError,
    },
    /// A certificate or key is no PEM.
    #[error("`{path}` {message}")]
    Pem {
        /// The place in the inventory.
        path: String,
        /// What is wrong with it.
        message: String,
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
            Self::Source { .. } => {
                "paths are relative to the inventory; commands start without a shell".to_owned()
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
        let address = node.address.as_deref().and_then(|address| address.parse::<std::net::IpAddr>().ok());
        let member = |group: &super::model::Group| {
            group.nodes.iter().any(|member| member == name)
                || group.role.is_some() && group.role == node.role
                || address
                    .is_some_and(|address| group.addresses.iter().any(|network| network.contains(&address)))
        };
        self.groups.iter().filter(|(_, group)| member(group)).map(|(name, _)| name.as_str()).collect()
    }

    /// Returns the layers of a target, each with the name of its part of the inventory.
    fn layers(&self, target: Target<'_>) -> Vec<(String, &Layer)> {
        let mut layers = vec![(String::new(), &self.base)];
        let mut group = |name: &str| {
            if let Some((name, group)) = self.groups.get_key_value(name) {
                layers.push((format!("groups.{name}"), &group.layer));
            }
        };
        match target {
            Target::Base => {}
            Target::Group(name) => group(name),
            Target::Node(name) => {
                if let Some((name, node)) = self.nodes.get_key_value(name) {
                    self.groups_of(name, node).into_iter().for_each(group);
                    layers.push((format!("nodes.{name}"), &node.layer));
                }
            }
        }
        layers
    }

    /// Lays defaults, registries, groups and node over each other, and returns the route of every registry.
    ///
    /// Settings of a registry win over defaults, whichever layer has them; of two layers the later wins.
    pub fn routes(&self, target: Target<'_>) -> IndexMap<String, Route> {
        let (mut via, mut via_origin) = (Set::Keep, "no `via` and no `defaults.via`".to_owned());
        let mut fallback = Set::Keep;
        let mut merged: IndexMap<&str, (super::model::Registry, String, Range<usize>)> = IndexMap::new();
        for (label, layer) in self.layers(target) {
            let place =
                |what: &str| if label.is_empty() { what.to_owned() } else { format!("{label}.{what}") };
            if layer.via != Set::Keep {
                via_origin = place("defaults.via");
            }
            via = via.then(&layer.via);
            fallback = fallback.then(&layer.fallback);
            for (name, placed) in &layer.registries {
                let Some(registry) = &placed.value else {
                    merged.shift_remove(name.as_str());
                    continue;
                };
                let entry = merged.entry(name).or_insert_with(|| {
                    (super::model::Registry::default(), String::new(), placed.span.clone())
                });
                if registry.via != Set::Keep {
                    entry.1 = place(&format!("registries.{name}.via"));
                }
                entry.0.via = entry.0.via.then(&registry.via);
                entry.0.fallback = entry.0.fallback.then(&registry.fallback);
                entry.0.upstream.url = entry.0.upstream.url.then(&registry.upstream.url);
                entry.0.upstream.credentials =
                    entry.0.upstream.credentials.then(&registry.upstream.credentials);
                entry.0.upstream.tls = entry.0.upstream.tls.then(&registry.upstream.tls);
                if !label.is_empty() {
                    entry.2 = placed.span.clone();
                }
            }
        }
        let route =
            |(name, (registry, origin, span)): (&str, (super::model::Registry, String, Range<usize>))| {
                let own = registry.via.get();
                let only_upstream = own.is_none()
                    && registry.upstream.url.get().is_some_and(|url| url.starts_with("http://"));
                let hops = match own {
                    Some(hops) => hops.clone(),
                    // A plain http registry is mirrored to itself: a mirror for it must be asked for by name.
                    None if only_upstream => Vec::new(),
                    None => via.get().cloned().unwrap_or_default(),
                };
                let route = Route {
                    via: hops,
                    fallback: *registry.fallback.get().or(fallback.get()).unwrap_or(&Fallback::Upstream),
                    upstream: registry.upstream,
                    origin: if own.is_some() { origin } else { via_origin.clone() },
                    span,
                };
                (name.to_owned(), route)
            };
        merged.into_iter().map(route).collect()
    }

    /// Returns the endpoints of a registry as Talos gets them.
    ///
    /// The upstream is left to Talos where Talos tries it by itself (1.9 and later, and only at its own address), and
    /// listed last where it does not.
    pub fn mirror(&self, registry: &str, route: &Route, version: &TalosVersion) -> TalosMirror {
        let upstream = upstream_endpoint(registry, &route.upstream);
        let mut endpoints = Vec::new();
        for hop in &route.via {
            let endpoint = match hop {
                Via::Upstream => upstream.clone(),
                Via::Mirror(name) => self.mirrors.get(name).map(|mirror| mirror.endpoint(registry)),
            };
            endpoints.extend(endpoint.filter(|endpoint| !endpoints.contains(endpoint)));
        }
        let implicit = route.upstream.url.get().is_none();
        let left_to_talos = implicit && (version.puller_falls_back() || endpoints.is_empty());
        if route.fallback == Fallback::Upstream && !left_to_talos {
            endpoints.extend(upstream.filter(|endpoint| !endpoints.contains(endpoint)));
        }
        let skip_fallback = route.fallback == Fallback::Never && !endpoints.is_empty();
        TalosMirror { endpoints, skip_fallback }
    }

    /// Returns all that a target's nodes are told about registries, secrets included.
    pub fn registries(
        &self,
        target: Target<'_>,
        version: &TalosVersion,
        values: &mut dyn Values,
    ) -> Result<Registries, ResolveError> {
        let mut out = Registries::default();
        let routes = self.routes(target);
        for (name, route) in &routes {
            let mirror = self.mirror(name, route, version);
            if !mirror.endpoints.is_empty() {
                out.mirrors.insert(name.clone(), mirror);
            }
            let Some(upstream) = upstream_endpoint(name, &route.upstream) else { continue };
            let path = format!("registries.\"{name}\".upstream");
            let (credentials, tls) = (route.upstream.credentials.get(), route.upstream.tls.get());
            add_host(&mut out, upstream.host(), &path, credentials, tls, values)?;
        }
        for (name, mirror) in &self.mirrors {
            let used =
                |route: &Route| route.via.iter().any(|hop| matches!(hop, Via::Mirror(via) if via == name));
            if !routes.values().any(used) {
                continue;
            }
            let host = Endpoint::new(mirror.url.clone(), false);
            let path = format!("mirrors.{name}");
            add_host(&mut out, host.host(), &path, mirror.credentials.as_ref(), mirror.tls.as_ref(), values)?;
        }
        Ok(out)
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

/// Fills a template of a project or path.
pub(super) fn fill(template: &str, registry: &str) -> String {
    template.replace("{registry_dashed}", &registry.replace(['.', ':'], "-")).replace("{registry}", registry)
}

/// Returns the endpoint of a registry itself; `*` has none.
pub(super) fn upstream_endpoint(registry: &str, upstream: &Upstream) -> Option<Endpoint> {
    if registry == "*" {
        return None;
    }
    Some(match upstream.url.get() {
        Some(url) => Endpoint::new(url.clone(), false),
        None => Endpoint::new(format!("https://{}", api_host(registry)), false),
    })
}

fn add_host(
    out: &mut Registries,
    host: &str,
    path: &str,
    credentials: Option<&Credentials>,
    tls: Option<&Tls>,
    values: &mut dyn Values,
) -> Result<(), ResolveError> {
    if let Some(credentials) = credentials {
        out.auth.insert(host.to_owned(), auth(credentials, &format!("{path}.credentials"), values)?);
    }
    if let Some(tls) = tls {
        out.tls.insert(host.to_owned(), talos_tls(tls, &format!("{path}.tls"), values)?);
    }
    Ok(())
}

fn secret(
    reference: &SecretRef,
    path: String,
    values: &mut dyn Values,
) -> Result<Secret<String>, ResolveError> {
    let secret = match values.secret(reference) {
        Ok(secret) => secret,
        Err(source) => return Err(ResolveError::Source { path, source }),
    };
    if secret.expose().starts_with("ENC[") {
        return Err(ResolveError::Encrypted { path });
    }
    Ok(secret)
}

fn auth(credentials: &Credentials, path: &str, values: &mut dyn Values) -> Result<Auth, ResolveError> {
    Ok(match credentials {
        Credentials::Pair { username, password } => Auth {
            username: Some(username.clone()),
            password: Some(secret(password, format!("{path}.password"), values)?),
            ..Auth::default()
        },
        Credentials::Raw(raw) => {
            let auth = Some(secret(raw, format!("{path}.auth"), values)?);
            Auth { auth, ..Auth::default() }.with_plain_pair()
        }
        Credentials::IdentityToken(token) => Auth {
            identity_token: Some(secret(token, format!("{path}.identityToken"), values)?),
            ..Auth::default()
        },
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
            let mut key = secret(key, path.clone(), values)?;
            if !values.hides_secrets() {
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
