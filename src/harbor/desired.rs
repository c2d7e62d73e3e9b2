use std::path::Path;

use super::actual::Registry;
use super::version::HarborVersion;
use crate::image::api_host;
use crate::inventory::{
    Credentials, HarborSettings, Inventory, Mirror, Quota, ResolveError, Retention, Text, Via,
};
use crate::secret::{SecretRef, Values};

/// How descriptions begin of what talmirror keeps in a Harbor.
pub const MARK: &str = "managed-by: talmirror";

/// The robot's name where neither the inventory nor its credentials have one.
const ROBOT: &str = "talos-pull";

/// What a Harbor should hold, as an inventory has it.
#[derive(Clone, Debug)]
pub struct Desired {
    /// The description of what is ours: [`MARK`], and the cluster's name where the inventory has one.
    pub mark: String,
    /// The registries and their projects, in the inventory's order.
    pub projects: Vec<WantedProject>,
    /// The robot.
    pub robot: WantedRobot,
    /// When garbage is collected.
    pub gc: Option<String>,
}

/// A project, and the registry that it passes on.
#[derive(Clone, Debug)]
pub struct WantedProject {
    /// The project's name.
    pub project: String,
    /// The registry, as image references name it; Harbor's name for it, too.
    pub registry: String,
    /// What Harbor may ask it as: the first is taken for a new one, the others are left as they are.
    pub adapters: Vec<Adapter>,
    /// Whether the certificate of the upstream goes unchecked.
    pub insecure: bool,
    /// The upstream's credentials: the user, and where the password comes from.
    pub credentials: Option<(String, SecretRef)>,
    /// Authorities of the upstream, PEM.
    pub ca: Option<String>,
    /// Whether it can be read without a login.
    pub public: bool,
    /// What is kept.
    pub retention: Option<Retention>,
    /// How large it may grow.
    pub quota: Option<Quota>,
    /// The most kilobits a second.
    pub speed_kbps: Option<u32>,
    /// The most connections for one artifact.
    pub max_connections: Option<u32>,
}

/// Harbor's type for a registry, and the URL that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// The type, such as `docker-registry`.
    pub kind: String,
    /// The URL, without a slash at the end.
    pub url: String,
}

/// The robot account that nodes pull with.
#[derive(Clone, Debug)]
pub struct WantedRobot {
    /// The name that the inventory asks for, without Harbor's prefix.
    pub name: Option<String>,
    /// The name where nothing says one.
    pub default_name: String,
    /// The user of the mirror's credentials.
    pub username: Option<String>,
}

/// An inventory that no Harbor can be set up from.
#[derive(Debug, thiserror::Error)]
pub enum DesiredError {
    /// There is no such mirror.
    #[error("there is no mirror `{0}` of kind harbor")]
    NoMirror(String),
    /// A certificate cannot be had.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The upstream's credentials are of a form that Harbor has no field for.
    #[error("`{0}` is not a username and a password, and Harbor takes nothing else")]
    CredentialForm(String),
}

impl DesiredError {
    /// Returns what to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::NoMirror(_) => "name one of `mirrors` with --mirror".to_owned(),
            Self::Resolve(error) => error.help(),
            Self::CredentialForm(_) => "write `username` and `password` or `passwordFrom`".to_owned(),
        }
    }
}

impl Desired {
    /// Returns what a mirror of an inventory should be; secrets are not looked at.
    ///
    /// Fails if the mirror is not a Harbor, or a certificate of an upstream cannot be read.
    pub fn new(inventory: &Inventory, name: &str, values: &mut dyn Values) -> Result<Self, DesiredError> {
        let mirror = inventory.mirrors.get(name);
        let mirror = mirror.filter(|mirror| mirror.kind.as_str() == "harbor");
        let mirror = mirror.ok_or_else(|| DesiredError::NoMirror(name.to_owned()))?;
        let mut projects: Vec<WantedProject> = Vec::new();
        for target in inventory.targets() {
            for (registry, route) in inventory.routes(target) {
                let here = route.via.iter().any(|hop| matches!(hop, Via::Mirror(via) if via == name));
                if !here || projects.iter().any(|project| project.registry == registry) {
                    continue;
                }
                let Some(project) = mirror.harbor_project(registry) else {
                    return Err(DesiredError::NoMirror(name.to_owned()));
                };
                let path = format!("registries.\"{registry}\".upstream");
                let own = route.harbor.cloned().unwrap_or_default();
                let HarborSettings { retention, quota, public, speed_kbps, max_connections, .. } =
                    mirror.harbor;
                projects.push(WantedProject {
                    project,
                    registry: registry.to_owned(),
                    adapters: adapters(registry, route.upstream_url, own.adapter.as_deref()),
                    insecure: route.tls.is_some_and(|tls| tls.insecure_skip_verify),
                    credentials: route.credentials.map(|given| pair(given, &path, values)).transpose()?,
                    ca: match route.tls.and_then(|tls| tls.ca.as_ref()) {
                        Some(ca) => Some(text(ca, &format!("{path}.tls.ca"), values)?),
                        None => None,
                    },
                    public,
                    retention: own.retention.or(retention),
                    quota: own.quota.or(quota),
                    speed_kbps: own.speed_kbps.or(speed_kbps),
                    max_connections: own.max_connections.or(max_connections),
                });
            }
        }
        Ok(Self {
            mark: mark(inventory.cluster.as_deref()),
            projects,
            robot: robot(inventory, mirror),
            gc: mirror.harbor.gc.clone(),
        })
    }

    /// Returns the names of the projects.
    pub fn project_names(&self) -> impl Iterator<Item = &str> {
        self.projects.iter().map(|project| project.project.as_str())
    }

    /// Returns whether a registry of Harbor is what a new one would be, or is left as it is.
    pub(super) fn takes(registry: &str, found: &Registry, version: HarborVersion) -> bool {
        let url = found.url.starts_with("http://").then(|| found.url.trim_end_matches('/'));
        let mut known = adapters(registry, url, None).into_iter();
        version.proxies(&found.kind) && known.any(|adapter| adapter.kind == found.kind)
    }

    /// Returns the project of a registry.
    pub fn of_registry(&self, registry: &str) -> Option<&WantedProject> {
        self.projects.iter().find(|project| project.registry == registry)
    }
}

impl WantedProject {
    /// Returns the adapter for a new registry.
    pub fn adapter(&self, version: HarborVersion) -> Option<&Adapter> {
        self.adapters.iter().find(|adapter| version.proxies(&adapter.kind))
    }
}

fn mark(cluster: Option<&str>) -> String {
    match cluster {
        Some(cluster) => format!("{MARK} ({cluster})"),
        None => MARK.to_owned(),
    }
}

/// Clusters that share a Harbor have a robot each.
fn robot(inventory: &Inventory, mirror: &Mirror) -> WantedRobot {
    let fits = |name: &&str| {
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && name.split('-').all(|part| !part.is_empty())
    };
    let cluster = inventory.cluster.as_deref().filter(fits);
    WantedRobot {
        name: mirror.harbor.robot.clone(),
        default_name: cluster.map_or_else(|| ROBOT.to_owned(), |cluster| format!("{ROBOT}-{cluster}")),
        username: mirror.credentials.as_ref().and_then(Credentials::username).map(str::to_owned),
    }
}

fn pair(
    credentials: &Credentials,
    path: &str,
    values: &mut dyn Values,
) -> Result<(String, SecretRef), DesiredError> {
    match credentials {
        Credentials::Pair { username, password } => {
            let failed =
                |source| ResolveError::Source { path: format!("{path}.credentials.username"), source };
            Ok((values.secret(username).map_err(failed)?.expose().clone(), password.clone()))
        }
        Credentials::Raw(_) | Credentials::IdentityToken(_) => {
            Err(DesiredError::CredentialForm(format!("{path}.credentials")))
        }
    }
}

fn text(text: &Text, path: &str, values: &mut dyn Values) -> Result<String, ResolveError> {
    match text {
        Text::Inline(text) => Ok(text.clone()),
        Text::File(file) => values
            .file(Path::new(file))
            .map_err(|source| ResolveError::Source { path: path.to_owned(), source }),
    }
}

/// Returns what Harbor may ask a registry as.
///
/// `quay` is never taken for a new one: 2.14 and later refuse a proxy project of it, and `docker-registry` works in every
/// version. What the registry's own type does besides, such as Docker Hub's `library/`, containerd does not need.
fn adapters(registry: &str, url: Option<&str>, pinned: Option<&str>) -> Vec<Adapter> {
    let adapter = |kind: &str, url: String| Adapter { kind: kind.to_owned(), url };
    let own = || url.map_or_else(|| format!("https://{}", api_host(registry)), str::to_owned);
    let hub = || adapter("docker-hub", "https://hub.docker.com".to_owned());
    match pinned {
        Some("docker-hub") => return vec![hub()],
        Some(kind) => return vec![adapter(kind, own())],
        None => {}
    }
    let plain = adapter("docker-registry", own());
    match registry {
        _ if url.is_some() => vec![plain],
        "docker.io" => vec![hub(), plain],
        "ghcr.io" => vec![adapter("github-ghcr", own()), plain],
        "quay.io" => vec![plain, adapter("quay", own())],
        "gcr.io" => vec![plain, adapter("google-gcr", own())],
        _ => vec![plain],
    }
}

/// Returns the mirrors of kind harbor that an inventory has, by name.
pub fn harbors(inventory: &Inventory) -> Vec<&str> {
    let mirrors = inventory.mirrors.iter();
    mirrors.filter(|(_, mirror)| mirror.kind.as_str() == "harbor").map(|(name, _)| name.as_str()).collect()
}
