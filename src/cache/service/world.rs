use std::collections::HashMap;
use std::sync::Arc;

use super::grants::Audience;
use crate::cache::config::Config;
use crate::cache::upstream::Upstream;
use crate::image::RegistryHost;
use crate::oci::{Namespaces, Place, Refusal};

/// What is served: a configuration, and the registries that it names. It never changes; another takes its place.
#[derive(Debug)]
pub struct World {
    /// The configuration.
    pub config: Config,
    pub(super) namespaces: Namespaces,
    pub(super) audience: Audience,
    upstreams: HashMap<RegistryHost, Arc<Upstream>>,
}

impl World {
    /// Makes a world of a configuration and its registries, each of which has an upstream.
    pub fn new(config: Config, upstreams: HashMap<RegistryHost, Arc<Upstream>>) -> Self {
        Self {
            namespaces: Namespaces::new(config.upstreams.keys().cloned(), config.default_registry()),
            audience: Audience::new(&config),
            config,
            upstreams,
        }
    }

    /// Returns the upstream of a registry.
    pub fn upstream(&self, registry: &RegistryHost) -> Result<&Arc<Upstream>, Refusal> {
        self.upstreams.get(registry).ok_or_else(|| Refusal::NameUnknown(registry.to_string()))
    }

    /// Returns every registry and its upstream.
    pub fn upstreams(&self) -> impl Iterator<Item = (&RegistryHost, &Arc<Upstream>)> {
        self.upstreams.iter()
    }

    /// Returns whether a registry's content is for those only who may have it; what is served no more is.
    pub(super) fn is_private(&self, registry: &RegistryHost) -> bool {
        self.config.upstreams.get(registry).is_none_or(|upstream| upstream.is_private())
    }

    /// Returns whether a client may read from a repository: by its patterns, and by who the client is.
    pub(super) fn may_read(&self, place: &Place<'_>, is_user: bool) -> Result<(), Refusal> {
        self.audience.may_read(place.registry, self.is_private(place.registry), is_user)?;
        let Some(upstream) = self.config.upstreams.get(place.registry) else { return Ok(()) };
        let name = place.repository.as_str();
        if let Some(deny) = upstream.deny.iter().find(|deny| deny.matches(name)) {
            return Err(Refusal::Policy(format!("deny {deny}")));
        }
        if !upstream.allow.is_empty() && !upstream.allow.iter().any(|allow| allow.matches(name)) {
            return Err(Refusal::Policy(format!("{name} is not in allow")));
        }
        Ok(())
    }
}
