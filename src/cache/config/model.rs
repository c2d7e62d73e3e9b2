use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use ipnet::IpNet;
use url::Url;

use super::bucket::BucketConfig;
use super::peer::PeerConfig;
use super::redirect::Redirect;
use super::size::ByteSize;
use super::tag_policy::TagPolicy;
use crate::cache::glob::Glob;
use crate::http::{self, TlsFiles};
use crate::image::{DOCKER_HUB, RegistryHost, api_host};
use crate::oci::{HttpSettings, Timeouts};
use crate::secret::Secret;

/// The registries that are served where the configuration names none.
pub const BUILTIN: &[&str] = &[
    "docker.io",
    "ghcr.io",
    "quay.io",
    "registry.k8s.io",
    "gcr.io",
    "public.ecr.aws",
    "mcr.microsoft.com",
    "lscr.io",
    "codeberg.org",
    "registry.gitlab.com",
    "nvcr.io",
    "factory.talos.dev",
];

/// Whether there is a status page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatusPage {
    /// It is served where metrics are.
    #[default]
    Shown,
    /// It is not served.
    Hidden,
}

/// All that the cache is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// Where metrics are served; [`None`] is nowhere.
    pub metrics: Option<SocketAddr>,
    /// Whether the status page is served where metrics are.
    pub status_page: StatusPage,
    /// The folder that content is kept in; [`None`] is that of the user's data.
    pub root: Option<PathBuf>,
    /// The most that content may take up; [`None`] is by the free disk.
    pub size_cap: Option<ByteSize>,
    /// What of the disk is left free in any case; [`None`] is by the size of the disk.
    pub reserve: Option<ByteSize>,
    /// A bucket that several caches share, behind the folder; [`None`] is none.
    pub bucket: Option<BucketConfig>,
    /// How the caches on that bucket ask each other; [`None`] is not at all.
    pub peers: Option<PeerConfig>,
    /// Repositories, with their registry in front, whose content is never evicted.
    pub pins: Vec<Glob>,
    /// The registry that is meant where a request names none.
    pub default: Option<RegistryHost>,
    /// The registries that are served; nothing else is ever dialled.
    pub upstreams: IndexMap<RegistryHost, UpstreamConfig>,
    /// How long tags are believed.
    pub tags: TagPolicy,
    /// Certificate and key; without them it speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// A file of users and passwords, as `htpasswd -B` writes it.
    pub htpasswd: Option<PathBuf>,
    /// Who has to say who they are, where there are users.
    pub authenticate: Authenticate,
    /// How requests are logged.
    pub log: Log,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What clients may use up.
    pub clients: http::Limits,
    /// What downloads may use up.
    pub limits: Limits,
}

/// A registry that is served.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpstreamConfig {
    /// Where it is asked, in this order.
    pub endpoints: Vec<Url>,
    /// A file of credentials, a dockerconfigjson.
    pub credentials: Option<PathBuf>,
    /// Whether its content goes to anyone although it takes credentials to get it.
    pub anonymous: bool,
    /// Whether it may lead to addresses that are not of the internet.
    pub private: bool,
    /// Token servers that are meant besides those that are the registry's by their name: `host` or `host:port`.
    pub token_servers: Vec<String>,
    /// The repositories that are served; none means all.
    pub allow: Vec<Glob>,
    /// The repositories that are not served.
    pub deny: Vec<Glob>,
    /// How long its tags are believed; it overrides what holds for all.
    pub tag_ttl: Option<Duration>,
    /// What is limited otherwise than for all.
    pub limits: OwnLimits,
    /// How it is reached otherwise than all.
    pub connection: Connection,
    /// Which clients are sent to the bucket for its blobs.
    pub redirect: Redirect,
}

/// How one upstream is reached otherwise than all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// A file of authorities that are trusted besides the system's, PEM.
    pub ca: Option<PathBuf>,
    /// Files of the certificate that is shown to it, and of its key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Through which proxy; [`None`] is as the environment says.
    pub proxy: Option<UpstreamProxy>,
    /// Headers that its own requests have, and no other host's.
    pub headers: Vec<(String, Secret<String>)>,
    /// A file of more such headers, a line `Name: value` each.
    pub header_file: Option<PathBuf>,
}

/// Through which proxy an upstream is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamProxy {
    /// Through none, whatever the environment says.
    Direct,
    /// Through this one: a URL, which may hold credentials.
    At(Secret<String>),
}

/// What is limited for one upstream otherwise than for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnLimits {
    /// How long the header of an answer may take.
    pub header: Option<Duration>,
    /// How many blobs are downloaded at once.
    pub bodies: Option<usize>,
    /// How long a request waits for others to end.
    pub queue: Option<Duration>,
    /// The longest pause that it can ask for.
    pub pause: Option<Duration>,
    /// How often a blob is asked for again that fails before its first byte.
    pub retries: Option<u32>,
}

impl OwnLimits {
    /// Writes what is said here over what holds for all.
    pub fn over(&self, limits: &mut Limits) {
        limits.header = self.header.unwrap_or(limits.header);
        limits.per_upstream = self.bodies.unwrap_or(limits.per_upstream);
        limits.queue = self.queue.unwrap_or(limits.queue);
        limits.pause = self.pause.unwrap_or(limits.pause);
        limits.retries = self.retries.unwrap_or(limits.retries);
    }

    /// Writes what is said here over what another place says of the same upstream.
    pub fn over_own(&self, own: &mut Self) {
        own.header = self.header.or(own.header);
        own.bodies = self.bodies.or(own.bodies);
        own.queue = self.queue.or(own.queue);
        own.pause = self.pause.or(own.pause);
        own.retries = self.retries.or(own.retries);
    }
}

/// What is limited for an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// How long the header of an answer may take; [`None`]: as the connections have it that all upstreams share.
    pub header: Option<Duration>,
    /// How many blobs are downloaded at once.
    pub bodies: usize,
    /// How long a request waits for others to end.
    pub queue: Duration,
    /// The longest pause that it can ask for.
    pub pause: Duration,
    /// How often a blob is asked for again that fails before its first byte.
    pub retries: u32,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Limits::default().of(&UpstreamConfig::default())
    }
}

impl UpstreamConfig {
    /// Returns a registry as its name says: at its own API, without credentials.
    pub fn named(name: &RegistryHost) -> Self {
        let url = format!("https://{}", api_host(name.as_str()));
        Self { endpoints: Url::parse(&url).into_iter().collect(), ..Self::default() }
    }

    /// Returns whether its content is for those only who may have it.
    pub fn is_private(&self) -> bool {
        self.credentials.is_some() && !self.anonymous
    }
}

/// Who has to say who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authenticate {
    /// Clients that ask for content of an upstream with credentials.
    #[default]
    Private,
    /// Everyone.
    All,
}

/// How requests are logged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// Which events, as `RUST_LOG` would say it; [`None`] is `info`.
    pub filter: Option<String>,
}

impl Log {
    /// Returns which events are logged.
    pub fn filter(&self) -> &str {
        self.filter.as_deref().unwrap_or("info")
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// What downloads may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many blobs are downloaded at once.
    pub fills: usize,
    /// How many of them from one upstream.
    pub per_upstream: usize,
    /// How long an upstream may take for the header of an answer. A client does not wait that long: it is told to come
    /// back, and then joins what is still under way.
    pub header: Duration,
    /// How long a request waits for others of its upstream to end.
    pub queue: Duration,
    /// The longest pause that an upstream can ask for.
    pub pause: Duration,
    /// How often a blob is asked for again that fails before its first byte.
    pub retries: u32,
}

impl Limits {
    /// Returns what is limited for an upstream.
    pub fn of(&self, upstream: &UpstreamConfig) -> UpstreamLimits {
        let own = upstream.limits;
        UpstreamLimits {
            header: own.header,
            bodies: own.bodies.unwrap_or(self.per_upstream),
            queue: own.queue.unwrap_or(self.queue),
            pause: own.pause.unwrap_or(self.pause),
            retries: own.retries.unwrap_or(self.retries),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fills: 256,
            per_upstream: 32,
            header: Duration::from_secs(150),
            queue: Duration::from_mins(10),
            pause: Duration::from_mins(5),
            retries: 2,
        }
    }
}

impl Default for Config {
    /// Returns what holds without a word of configuration: loopback, the well-known registries.
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 5000))],
            metrics: None,
            status_page: StatusPage::Shown,
            root: None,
            size_cap: None,
            reserve: None,
            bucket: None,
            peers: None,
            pins: Vec::new(),
            default: DOCKER_HUB.parse().ok(),
            upstreams: builtin(),
            tags: TagPolicy::default(),
            tls: None,
            htpasswd: None,
            authenticate: Authenticate::default(),
            log: Log::default(),
            trusted_proxies: Vec::new(),
            clients: http::Limits::default(),
            limits: Limits::default(),
        }
    }
}

/// Returns the well-known registries.
pub fn builtin() -> IndexMap<RegistryHost, UpstreamConfig> {
    let hosts = BUILTIN.iter().filter_map(|name| name.parse::<RegistryHost>().ok());
    hosts.map(|host| (host.clone(), UpstreamConfig::named(&host))).collect()
}

impl Config {
    /// Returns how registries are asked.
    pub fn http_settings(&self) -> HttpSettings {
        let timeouts = Timeouts { header: self.limits.header, ..Timeouts::default() };
        HttpSettings { timeouts, ..HttpSettings::default() }
    }

    /// Returns the registry that is meant where a request names none, if it is served.
    pub fn default_registry(&self) -> Option<&RegistryHost> {
        self.default.as_ref().filter(|default| self.upstreams.contains_key(*default))
    }

    /// Returns how long a registry's tag is believed.
    pub fn tag_ttl(&self, registry: &RegistryHost, tag: &str) -> Duration {
        let own = self.upstreams.get(registry).and_then(|upstream| upstream.tag_ttl);
        own.unwrap_or_else(|| self.tags.ttl(tag))
    }

    /// Returns the registries whose content no client may read: it takes credentials, and there are no users here.
    pub fn unreadable(&self) -> impl Iterator<Item = &RegistryHost> {
        let users = self.htpasswd.is_some();
        self.upstreams
            .iter()
            .filter(move |(_, upstream)| !users && upstream.is_private())
            .map(|(host, _)| host)
    }
}
