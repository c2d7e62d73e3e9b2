//! Words of an image reference: registry host, repository, tag, digest; Docker Hub's aliases.

mod reference;
mod registry;

pub use reference::{Reference, ReferenceError};
pub use registry::{
    DOCKER_HUB, DOCKER_HUB_API, RegistryHost, RegistryHostError, api_host, is_docker_hub_alias,
};
