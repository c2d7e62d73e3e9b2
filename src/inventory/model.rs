use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;

use super::harbor::{HarborProject, HarborSettings};
use super::verification::VerificationRule;
use crate::image::Reference;
use crate::registries::TalosVersion;
use crate::secret::SecretRef;

/// An inventory: which registries go through which mirrors, on which nodes.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// A label for people.
    pub cluster: Option<String>,
    /// What is known about Talos.
    pub talos: Talos,
    /// Where images can be pulled from, by name.
    pub mirrors: IndexMap<String, Mirror>,
    /// The settings that every node starts from.
    pub base: Layer,
    /// Groups of nodes with settings of their own, in order: of two that disagree the later wins.
    pub groups: IndexMap<String, Group>,
    /// The nodes, by name.
    pub nodes: IndexMap<String, Node>,
    /// What `generate` writes.
    pub output: Output,
    /// How `rollout` goes about it.
    pub rollout: Rollout,
    /// What proves that a mirror works.
    pub verify: Verify,
    /// Talos' rules for the verification of images, in order: the first that matches counts.
    pub verification: Vec<VerificationRule>,
    /// Findings that the user knows about, by code.
    pub allow: Vec<String>,
    /// Whether warnings count as errors.
    pub deny_warnings: bool,
}

impl Inventory {
    /// Returns the rule that verifies an image; [`None`]: it is pulled as it is.
    pub fn verification_rule(&self, image: &Reference, version: &TalosVersion) -> Option<&VerificationRule> {
        self.verification.iter().find(|rule| rule.matches(image, version))
    }
}

/// What the inventory says about Talos.
#[derive(Clone, Debug, Default)]
pub struct Talos {
    /// The version of nodes that do not name theirs.
    pub version: Option<TalosVersion>,
    /// The talosconfig file.
    pub talosconfig: Option<PathBuf>,
    /// The context in it.
    pub context: Option<String>,
}

/// Settings that apply to some nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// The mirrors of registries that name none.
    pub via: Set<Vec<Via>>,
    /// What happens when every mirror fails, for registries that do not say.
    pub fallback: Set<Fallback>,
    /// Settings by registry; `None`: the registry has none on these nodes.
    pub registries: IndexMap<String, Placed<Option<Registry>>>,
}

/// A value and where the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// The bytes of its key.
    pub span: Range<usize>,
}

/// What a layer does to a setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Set<T> {
    /// Leaves it.
    #[default]
    Keep,
    /// Takes it away: `null`.
    Clear,
    /// Sets it.
    To(T),
}

impl<T: Clone> Set<T> {
    /// Returns the setting after another layer was laid over it.
    #[must_use]
    pub fn then(&self, over: &Self) -> Self {
        if matches!(over, Self::Keep) { self.clone() } else { over.clone() }
    }

    /// Returns the value, if it is set.
    pub fn get(&self) -> Option<&T> {
        match self {
            Self::To(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }
}

/// A hop of `via`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// A mirror, by name.
    Mirror(String),
    /// The registry itself.
    Upstream,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mirror(name) => name,
            Self::Upstream => "upstream",
        })
    }
}

/// What happens when every endpoint has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// The registry itself is tried.
    #[default]
    Upstream,
    /// The pull fails.
    Never,
}

impl Fallback {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Never => "never",
        }
    }
}

/// Settings of one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// Where its images are pulled from, in order.
    pub via: Set<Vec<Via>>,
    /// What happens when every mirror fails.
    pub fallback: Set<Fallback>,
    /// The registry itself.
    pub upstream: Upstream,
    /// How Harbor keeps it, where not like the others; a later layer replaces it whole.
    pub harbor: Set<HarborProject>,
}

/// A registry itself, where it is not what its name says or wants credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// Its URL.
    pub url: Set<String>,
    /// Its credentials; a later layer replaces them whole.
    pub credentials: Set<Credentials>,
    /// Its TLS settings; a later layer replaces them whole.
    pub tls: Set<Tls>,
}

/// A mirror.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// How URLs are made from it.
    pub kind: MirrorKind,
    /// Its URL, without a slash at the end.
    pub url: String,
    /// The registries that it serves; `None`: any.
    pub serves: Option<Vec<String>>,
    /// Its credentials.
    pub credentials: Option<Credentials>,
    /// Its TLS settings.
    pub tls: Option<Tls>,
    /// Whether it runs on the nodes that pull through it.
    pub in_cluster: bool,
    /// Who sets it up, for kind harbor; nodes never get these.
    pub admin: Option<Credentials>,
    /// How it is set up, for kind harbor.
    pub harbor: HarborSettings,
    /// Where the file defines it.
    pub span: Range<usize>,
    /// Where the file has its URL.
    pub url_span: Range<usize>,
}

/// How a mirror maps registries to URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorKind {
    /// A Harbor with one project a registry: `URL/v2/PROJECT`.
    Harbor {
        /// The project's name, with `{registry}` or `{registry_dashed}` in it.
        project: String,
        /// Projects of registries that do not follow it.
        projects: IndexMap<String, String>,
    },
    /// Anything with one path a registry: zot, Nexus, Artifactory.
    Path {
        /// The path, with `{registry}` or `{registry_dashed}` in it.
        path: String,
        /// Paths of registries that do not follow it.
        paths: IndexMap<String, String>,
    },
    /// A registry that mirrors one other: `URL/v2`.
    Plain,
    /// A cache that looks at the `ns` of a request, and so serves any registry: `URL/v2`.
    Cache,
    /// A URL that is used as it stands.
    Raw {
        /// Whether Talos is told not to append `/v2`.
        override_path: bool,
    },
}

impl MirrorKind {
    /// The words for them, in the order of the documentation.
    pub const NAMES: &[&str] = &["harbor", "path", "plain", "cache", "raw"];

    /// Returns the word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Harbor { .. } => "harbor",
            Self::Path { .. } => "path",
            Self::Plain => "plain",
            Self::Cache => "cache",
            Self::Raw { .. } => "raw",
        }
    }
}

/// Credentials, and where their secret part comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// User and password.
    Pair {
        /// The user.
        username: SecretRef,
        /// The password.
        password: SecretRef,
    },
    /// Base64 of `user:password`.
    Raw(SecretRef),
    /// An `OAuth2` refresh token.
    IdentityToken(SecretRef),
}

impl Credentials {
    /// Returns the user, where it is known without looking at a secret.
    pub fn username(&self) -> Option<&str> {
        match self {
            Self::Pair { username: SecretRef::Inline(username), .. } => Some(username.expose()),
            Self::Pair { .. } | Self::Raw(_) | Self::IdentityToken(_) => None,
        }
    }

    /// Returns where the secret part comes from.
    pub fn secret(&self) -> &SecretRef {
        match self {
            Self::Pair { password, .. } => password,
            Self::Raw(secret) | Self::IdentityToken(secret) => secret,
        }
    }
}

/// TLS settings of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of authorities.
    pub ca: Option<Text>,
    /// The client's certificate and key.
    pub client_identity: Option<(Text, SecretRef)>,
    /// Whether the server's certificate goes unchecked.
    pub insecure_skip_verify: bool,
}

/// A text that stands in the file or in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// In this file.
    Inline(String),
    /// In a file, relative to the inventory.
    File(PathBuf),
}

/// Nodes that share settings.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Its nodes, by name.
    pub nodes: Vec<String>,
    /// All nodes of a role.
    pub role: Option<Role>,
    /// All nodes whose address lies in one of these networks.
    pub addresses: Vec<ipnet::IpNet>,
    /// Their settings.
    pub layer: Layer,
}

/// A node.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Its address or name.
    pub address: Option<String>,
    /// The addresses that it reports itself, where it was asked; no file has them.
    pub reported: Vec<std::net::IpAddr>,
    /// Its role.
    pub role: Option<Role>,
    /// Its Talos version.
    pub version: Option<TalosVersion>,
    /// Its settings.
    pub layer: Layer,
}

/// What a node is to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A control plane node.
    ControlPlane,
    /// A worker.
    Worker,
}

impl Role {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => "controlplane",
            Self::Worker => "worker",
        }
    }
}

/// What `generate` writes, where its flags do not say.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// The directory, relative to the inventory.
    pub dir: Option<PathBuf>,
    /// The format.
    pub format: Option<String>,
    /// The layout.
    pub layout: Option<String>,
    /// Whether secrets are encrypted.
    pub encrypt: Option<bool>,
}

/// How a rollout goes about its nodes.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// What comes first: `canary`, `workers`, `controlplane`.
    pub order: Vec<String>,
    /// The nodes that go first.
    pub canary: Vec<String>,
    /// How many workers at once.
    pub max_parallel: usize,
    /// How many nodes may fail before the rest is left alone.
    pub max_failures: usize,
    /// How long a node may try a config.
    pub try_timeout: Duration,
    /// Whether a node may be rebooted for credentials to reach its pods: `never` or `if-needed`.
    pub reboot: String,
    /// How long to wait between nodes.
    pub pause: Duration,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            order: ["canary", "workers", "controlplane"].map(str::to_owned).to_vec(),
            canary: Vec::new(),
            max_parallel: 1,
            max_failures: 0,
            try_timeout: Duration::from_mins(5),
            reboot: "never".to_owned(),
            pause: Duration::ZERO,
        }
    }
}

/// What proves that a mirror works.
#[derive(Clone, Debug)]
pub struct Verify {
    /// Images that are pulled.
    pub images: Vec<String>,
    /// Whether the mirror itself must have served them.
    pub require_mirror_hit: bool,
    /// How long one image may take.
    pub timeout: Duration,
}

impl Default for Verify {
    fn default() -> Self {
        Self { images: Vec::new(), require_mirror_hit: true, timeout: Duration::from_secs(30) }
    }
}
