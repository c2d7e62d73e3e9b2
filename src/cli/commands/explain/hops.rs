use crate::image::{DOCKER_HUB, Reference, api_host};
use crate::inventory::{Credentials, Inventory, Route, Via};
use crate::mirror::{PullHop, hops};
use crate::registries::{Endpoint, TalosVersion};

/// One attempt of a pull, as it is shown.
pub(super) struct Attempt {
    pub(super) via: String,
    /// The request that is made first.
    pub(super) url: String,
    /// What every request to a registry begins with there.
    pub(super) prefix: String,
    pub(super) auth_key: String,
    pub(super) username: Option<String>,
    pub(super) on_failure: &'static str,
}

impl Attempt {
    /// Returns whose credentials go along, and the key that Talos finds them by.
    pub(super) fn auth(&self) -> String {
        let user = self.username.as_ref();
        user.map_or_else(|| "-".to_owned(), |user| format!("{user} ({})", self.auth_key))
    }
}

/// Returns the attempts of a pull, in their order.
pub(super) fn attempts(
    inventory: &Inventory,
    image: &Reference,
    routes: &indexmap::IndexMap<&str, Route<'_>>,
    version: &TalosVersion,
) -> Vec<Attempt> {
    let name = |entry: &str, endpoint: &Endpoint| {
        let named = inventory.mirrors.iter().find(|(_, mirror)| mirror.endpoint(entry) == *endpoint);
        named.map_or_else(|| "upstream".to_owned(), |(name, _)| name.clone())
    };
    let attempt = |hop: PullHop| {
        let credentials = credentials_of(inventory, routes, &hop.host);
        let username = credentials.map(|credentials| credentials.username().unwrap_or("token").to_owned());
        let scheme = if hop.endpoint.is_plain_http() { "http" } else { "https" };
        let prefix = format!("{scheme}://{}{}", hop.endpoint.host(), hop.endpoint.prefix());
        let on_failure = if hop.is_last { "fail" } else { "next" };
        Attempt { via: hop.via, url: hop.url, prefix, auth_key: hop.host, username, on_failure }
    };
    hops(&inventory.mirrors_of(routes, version), image, &name).into_iter().map(attempt).collect()
}

/// Finds the credentials that Talos would look up for a host.
fn credentials_of<'a>(
    inventory: &'a Inventory,
    routes: &'a indexmap::IndexMap<&str, Route<'_>>,
    host: &str,
) -> Option<&'a Credentials> {
    let mirrors = inventory.mirrors.values().filter_map(|mirror| {
        let own = Endpoint::new(mirror.url.clone(), false);
        (own.host() == host).then_some(mirror.credentials.as_ref()?)
    });
    let upstreams = routes.iter().filter_map(|(name, route)| {
        let own = match route.upstream_url {
            Some(url) => Endpoint::new(url, false),
            None => Endpoint::new(format!("https://{}", api_host(name)), false),
        };
        (own.host() == host).then_some(route.credentials?)
    });
    mirrors.chain(upstreams).next()
}

/// Returns what should be known about a registry's way beside its hops.
pub(super) fn notes(
    inventory: &Inventory,
    found: Option<(&str, &Route<'_>)>,
    attempts: &[Attempt],
    version: &TalosVersion,
) -> Vec<String> {
    let mut notes = Vec::new();
    let Some((name, route)) = found else {
        notes.push("no entry and no `*`: every node goes to the registry itself".to_owned());
        return notes;
    };
    if attempts.len() > 1 {
        notes.push(
            "when all hops fail, the kubelet often shows the first one's error (containerd#7321)".to_owned(),
        );
    }
    if !version.puller_falls_back() && name == "*" {
        notes.push(format!(
            "on Talos {version} only pods' pulls go on to the upstream; Talos' own (kubelet, etcd, installer) stop after the mirrors"
        ));
    }
    if !version.reloads_auth() && attempts.iter().any(|attempt| attempt.username.is_some()) {
        notes.push(
            "before Talos 1.14, changed credentials reach pods' pulls only after a reboot of the node"
                .to_owned(),
        );
    }
    if name == DOCKER_HUB
        && !version.has_documents()
        && attempts.iter().any(|attempt| attempt.auth_key == "docker.io")
    {
        notes.push("credentials under docker.io are never used by Talos' own puller".to_owned());
    }
    if route.via.iter().any(
        |hop| matches!(hop, Via::Mirror(name) if inventory.mirrors.get(name).is_some_and(|m| m.in_cluster)),
    ) {
        notes.push(
            "the mirror runs in this cluster: its own images need the upstream while it starts".to_owned(),
        );
    }
    notes
}
