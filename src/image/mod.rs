//! Words of an image reference: registry host, repository, tag, digest, platform; Docker Hub's aliases.

mod digest;
mod glob;
mod platform;
mod reference;
mod registry;
mod repository;
mod tag;

pub use digest::{Algorithm, Digest, DigestError};
pub use glob::glob_matches;
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError, TagOrDigest};
pub use registry::{
    DOCKER_HUB, DOCKER_HUB_API, RegistryHost, RegistryHostError, api_host, is_docker_hub_alias,
};
pub use repository::{Repository, RepositoryError};
pub use tag::{Tag, TagError};
