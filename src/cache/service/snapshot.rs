use std::collections::HashMap;
use std::sync::Arc;

use super::access::Audience;
use crate::cache::config::{Config, UpstreamConfig};
use crate::cache::observe::Metrics;
use crate::cache::upstream::{Upstream, UpstreamError};
use crate::image::{RegistryHost, Repository};
use crate::oci::{Http, Namespaces, Refusal, RepositoryLocation};

/// What is served: a configuration, and the registries that it names. It never changes; another takes its place.
#[derive(Debug)]
pub struct Snapshot {
    /// The configuration.
    pub config: Config,
    pub(super) namespaces: Namespaces,
    pub(super) audience: Audience,
    upstreams: HashMap<RegistryHost, Arc<Upstream>>,
}

impl Snapshot {
    /// Makes a snapshot of a configuration.
    ///
    /// A registry that is configured as it was in the snapshot `before` stays the same one: what it has learnt about
    /// its endpoints, its tokens, and what is being fetched from it go on.
    pub fn new(
        config: Config,
        before: Option<&Self>,
        http: &Http,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, UpstreamError> {
        let upstream = |(registry, own): (&RegistryHost, &UpstreamConfig)| {
            let same = before.filter(|before| {
                before.config.upstreams.get(registry) == Some(own) && before.config.limits == config.limits
            });
            if let Some(upstream) = same.and_then(|before| before.upstreams.get(registry))
                && upstream.has_same_files(own)
            {
                return Ok((registry.clone(), Arc::clone(upstream)));
            }
            let limits = config.limits.of(own);
            let upstream = Upstream::new(registry.clone(), own, http, Arc::clone(metrics), limits)?;
            Ok((registry.clone(), Arc::new(upstream)))
        };
        Ok(Self {
            upstreams: config.upstreams.iter().map(upstream).collect::<Result<_, UpstreamError>>()?,
            namespaces: Namespaces::new(config.upstreams.keys().cloned(), config.default_registry()),
            audience: Audience::new(&config),
            config,
        })
    }

    /// Returns the upstream of a registry.
    pub fn upstream(&self, registry: &RegistryHost) -> Result<&Arc<Upstream>, Refusal> {
        self.upstreams.get(registry).ok_or_else(|| Refusal::NameUnknown(registry.to_string()))
    }

    /// Returns every registry and its upstream, in the order of the configuration.
    pub fn upstreams(&self) -> impl Iterator<Item = (&RegistryHost, &Arc<Upstream>)> {
        self.config.upstreams.keys().filter_map(|registry| self.upstreams.get_key_value(registry))
    }

    /// Ends all pauses of all upstreams: the operator says that they are well.
    pub fn end_pauses(&self) {
        for upstream in self.upstreams.values() {
            upstream.end_pauses();
        }
    }

    /// Returns whether a registry's content is for authorised clients only; that of a registry that is not configured is.
    pub(super) fn is_private(&self, registry: &RegistryHost) -> bool {
        self.config.upstreams.get(registry).is_none_or(UpstreamConfig::is_private)
    }

    /// Returns whether anyone may read what comes from a registry, and so may know of it.
    pub(in crate::cache) fn is_open(&self, registry: &RegistryHost) -> bool {
        self.audience.may_read(registry, self.is_private(registry), false).is_ok()
    }

    /// Returns whether a client may read from a repository: by its patterns, and by who the client is.
    pub(super) fn may_read(&self, place: &RepositoryLocation<'_>, is_user: bool) -> Result<(), Refusal> {
        self.audience.may_read(place.registry, self.is_private(place.registry), is_user)?;
        self.allows(place.registry, &place.repository)
    }

    /// Returns whether a repository is served, by the patterns of its registry.
    pub(super) fn allows(&self, registry: &RegistryHost, repository: &Repository) -> Result<(), Refusal> {
        let Some(upstream) = self.config.upstreams.get(registry) else { return Ok(()) };
        let name = repository.as_str();
        if let Some(deny) = upstream.deny.iter().find(|deny| deny.matches(name)) {
            return Err(Refusal::Policy(format!("deny {deny}")));
        }
        if !upstream.allow.is_empty() && !upstream.allow.iter().any(|allow| allow.matches(name)) {
            return Err(Refusal::Policy(format!("{name} is not in allow")));
        }
        Ok(())
    }
}
