use super::super::endpoint::Endpoint;
use super::super::model::{Mirror, Registries};
use super::super::version::TalosVersion;
use crate::image::{DOCKER_HUB, DOCKER_HUB_API};

/// Where containerd looks for a directory a registry.
pub const HOSTS_DIRECTORY: &str = "/etc/cri/conf.d/hosts";
/// Where Talos' own image cache listens; it stands before every mirror's endpoints once it is ready.
pub const IMAGE_CACHE_ENDPOINT: &str = "http://127.0.0.1:3172";

/// A `hosts.toml`: what containerd tries for one registry, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostsToml {
    /// The last one, in place of the upstream.
    pub server: Option<Host>,
    /// Those before it.
    pub hosts: Vec<Host>,
}

/// One host of a `hosts.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its URL, as the endpoint was written.
    pub url: String,
    /// What it is used for, such as `pull`.
    pub capabilities: Vec<String>,
    /// Whether the URL's path is used as it is.
    pub override_path: bool,
    /// The file of its authorities' certificates.
    pub ca: Option<String>,
    /// The files of the client's certificate and key.
    pub client: Option<(String, String)>,
    /// Whether its certificate goes unchecked.
    pub skip_verify: bool,
}

/// Returns the name of the directory in which containerd looks for a registry.
///
/// Source: Talos `internal/pkg/containers/cri/containerd/hosts.go`, `hostDirectory`.
pub fn hosts_directory(registry: &str) -> String {
    match registry.rfind(':') {
        _ if registry == "*" => "_default".to_owned(),
        Some(at) if at > 0 => {
            let (host, port) = registry.split_at(at);
            format!("{host}_{}_", port.trim_start_matches(':'))
        }
        Some(_) | None => registry.to_owned(),
    }
}

/// Returns the path of a registry's `hosts.toml`.
pub fn hosts_path(registry: &str) -> String {
    format!("{HOSTS_DIRECTORY}/{}/hosts.toml", hosts_directory(registry))
}

/// Returns every registry that Talos writes a `hosts.toml` for, sorted.
pub fn hosts_registries(registries: &Registries, image_cache: bool) -> Vec<String> {
    let mut names: Vec<String> = registries.mirrors.keys().cloned().collect();
    names.extend(image_cache.then(|| "*".to_owned()));
    names.extend(registries.tls.keys().cloned());
    names.sort_unstable();
    names.dedup();
    names.retain(|name| HostsToml::of(registries, name, &TalosVersion::minor(1, 14), image_cache).is_some());
    names
}

impl HostsToml {
    /// Returns the `hosts.toml` that Talos writes for a registry; [`None`] where it writes none.
    ///
    /// `registries` are those that the node's config says, as it says them: legacy config has one `overridePath` for a
    /// whole mirror. `image_cache` is whether the node's own cache is ready. An endpoint that is no URL makes Talos
    /// write nothing at all, which is not told here.
    ///
    /// Source: Talos `internal/pkg/containers/cri/containerd/hosts.go` and `controllers/cri/registries_config.go`.
    pub fn of(
        registries: &Registries,
        registry: &str,
        version: &TalosVersion,
        image_cache: bool,
    ) -> Option<Self> {
        let synthesised = Mirror::default();
        let cached = image_cache && version.has_image_cache();
        let mirror = registries.mirrors.get(registry).or((cached && registry == "*").then_some(&synthesised));
        let Some(mirror) = mirror else { return Self::of_tls(registries, registry) };
        let mut endpoints = mirror.endpoints.clone();
        if cached {
            // Before 1.10 a mirror had one overridePath for all of its endpoints, the cache's included.
            let inherited = !version.has_override_by_endpoint()
                && mirror.endpoints.iter().any(|endpoint| endpoint.override_path);
            endpoints.insert(0, Endpoint::new(IMAGE_CACHE_ENDPOINT, inherited));
        }
        let mut hosts: Vec<Host> = endpoints
            .iter()
            .map(|endpoint| Host {
                url: endpoint.url.clone(),
                capabilities: vec!["pull".to_owned(), "resolve".to_owned()],
                override_path: endpoint.override_path,
                // Without a scheme Go finds no host in the URL.
                ..Host::with_tls(
                    registries,
                    if endpoint.url.contains("://") { endpoint.host() } else { "" },
                    registry,
                )
            })
            .collect();
        let server = if mirror.skip_fallback && version.has_skip_fallback() { hosts.pop() } else { None };
        Some(Self { server, hosts })
    }

    /// A host without a mirror, but with settings of its own: its upstream, with them.
    fn of_tls(registries: &Registries, registry: &str) -> Option<Self> {
        registries.tls.get(registry).filter(|_| registry != "*")?;
        let upstream = if registry == DOCKER_HUB { DOCKER_HUB_API } else { registry };
        let server =
            Host { url: format!("https://{upstream}"), ..Host::with_tls(registries, registry, registry) };
        let empty = server.ca.is_none() && server.client.is_none() && !server.skip_verify;
        (!empty).then(|| Self { server: Some(server), hosts: Vec::new() })
    }

    /// Writes the file byte for byte as Talos does.
    pub fn render(&self) -> String {
        let mut out = String::new();
        if let Some(server) = &self.server {
            if !server.url.is_empty() {
                out.push_str(&format!("server = {}\n", quote(&server.url)));
            }
            out.push_str(&server.settings(""));
        }
        for (at, host) in self.hosts.iter().enumerate() {
            let head = if at == 0 { "[host]\n" } else { "" };
            out.push_str(&format!("{head}  [host.{}]\n{}", key(&host.url), host.settings("    ")));
        }
        out
    }
}

impl Host {
    fn with_tls(registries: &Registries, host: &str, registry: &str) -> Self {
        let Some(tls) = registries.tls.get(host) else { return Self::default() };
        let directory = hosts_directory(registry);
        let file = |ending: &str| format!("{HOSTS_DIRECTORY}/{directory}/{host}-{ending}");
        Self {
            ca: tls.ca.as_ref().map(|_| file("ca.crt")),
            client: tls.client_identity.as_ref().map(|_| (file("client.crt"), file("client.key"))),
            skip_verify: tls.insecure_skip_verify,
            ..Self::default()
        }
    }

    fn settings(&self, indent: &str) -> String {
        let quoted: Vec<String> = self.capabilities.iter().map(|word| quote(word)).collect();
        let lines = [
            (!quoted.is_empty()).then(|| format!("capabilities = [{}]", quoted.join(", "))),
            self.override_path.then(|| "override_path = true".to_owned()),
            self.ca.as_ref().map(|file| format!("ca = {}", quote(file))),
            self.client.as_ref().map(|(crt, key)| format!("client = [[{}, {}]]", quote(crt), quote(key))),
            self.skip_verify.then(|| "skip_verify = true".to_owned()),
        ];
        lines.into_iter().flatten().map(|line| format!("{indent}{line}\n")).collect()
    }
}

/// A key as go-toml writes it: bare where it may be.
fn key(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !text.is_empty() && text.chars().all(bare) { text.to_owned() } else { quote(text) }
}

/// A text as go-toml writes it: literal where it may be.
fn quote(text: &str) -> String {
    if !text.contains(['\'', '\n', '\r', '\t']) {
        return format!("'{text}'");
    }
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
