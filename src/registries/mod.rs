//! Talos' registry model: mirrors, endpoints, auth, TLS; its two schemas; which Talos version understands what.
//!
//! [`Registries`] is the meaning that legacy `.machine.registries` and the `Registry*Config` documents share.

mod documents;
mod endpoint;
mod legacy;
mod model;
mod version;

pub use documents::{Kind, RegistryDocument, documents};
pub use endpoint::{Endpoint, EndpointFlaw, Hop, request_url};
pub use legacy::{legacy, legacy_host, legacy_mirror};
pub use model::{Auth, ClientIdentity, Mirror, Registries, Tls};
pub use version::{TalosVersion, VersionError};
