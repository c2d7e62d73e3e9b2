//! Talos' registry model: mirrors, endpoints, auth, TLS; its two schemas; which Talos version understands what.
//!
//! [`Registries`] is the meaning that legacy `.machine.registries` and the `Registry*Config` documents share.

mod containerd_auth;
mod documents;
mod endpoint;
mod hosts_toml;
mod known;
mod legacy;
mod model;
mod not_run;
mod version;

pub use containerd_auth::{CRI_TOML, containerd_auth, containerd_auth_differences, read_containerd_auth};
pub use documents::{Kind, RegistryDocument, documents};
pub use endpoint::{Endpoint, EndpointFlaw, PullAttempt, request_url};
pub use hosts_toml::{
    HOSTS_DIRECTORY, Host, HostsError, HostsToml, IMAGE_CACHE_ENDPOINT, hosts_directory, hosts_path,
    hosts_registries,
};
pub use known::{KNOWN_HOSTS, foreign_upstream, near_known};
pub use legacy::{legacy, legacy_host, legacy_mirror};
pub use model::{Auth, ClientIdentity, Mirror, Registries, Tls};
pub use version::{TalosVersion, VersionError};
