use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::ClientConfig;
use tonic::Status;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::Channel;

use super::config::Context;
use super::dial::Dialer;
use super::endpoint::{Endpoint, Target};
use super::error::{SetupError, TalosError};
use super::link::Link;
use super::proto::cosi::resource::state_client::StateClient;
use super::proto::cosi::resource::{GetRequest, ListRequest};
use super::proto::machine::machine_service_client::MachineServiceClient;
use super::proto::machine::{ApplyConfigurationRequest, ReadRequest};
use super::proxy::Proxy;
use super::registry_configs::read_registry_configs;
use super::resource::{self, ConfigResource, Kind, Resource};
use super::tls;
use crate::registries::Registries;
use crate::secret::Secret;

/// The largest message, as Talos and talosctl have it since 1.5.
pub(super) const MAX_MESSAGE: usize = 32 * 1024 * 1024;

/// How long is waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the answer to a call, connections included.
    pub call: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), call: Duration::from_secs(20) }
    }
}

/// Finds the proxy on the way to an endpoint.
pub type ProxyFor = dyn Fn(&Endpoint) -> Option<Proxy> + Send + Sync;

/// A cluster's API: its endpoints, and what admits to them.
#[derive(Clone)]
pub struct Client(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) endpoints: Vec<Arc<Link>>,
    /// The endpoint that answered last: the next call begins there.
    pub(super) preferred: AtomicUsize,
    /// Nodes that are reached themselves.
    direct: Mutex<HashMap<Endpoint, Arc<Link>>>,
    tls: Arc<ClientConfig>,
    certificate: bool,
    proxy: Box<ProxyFor>,
    pub(super) patience: Patience,
    /// What goes with every call.
    pub(super) metadata: MetadataMap,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.endpoints.iter().map(|link| link.dialer.endpoint.to_string())).finish()
    }
}

/// Whether a call does the same when it is made twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    Yes,
    No,
}

/// How a machine config is applied. There is no mode that reboots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For a while: taken back by the node itself, unless it is applied for good in time.
    Try {
        /// How long.
        timeout: Duration,
    },
    /// For good, at once.
    NoReboot,
    /// At the next boot.
    Staged,
}

/// Whether anything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRun {
    /// Nothing is done; the node only says what would be.
    Yes,
    /// It is done.
    No,
}

/// What a node says to a config that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What it did, in its own words, without the diff that it may add: that holds secrets.
    pub details: String,
    /// What it has to say about the config.
    pub warnings: Vec<String>,
}

/// What a node says about its Talos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The version, such as `v1.13.9`.
    pub tag: String,
    /// The processor, such as `amd64`.
    pub arch: String,
    /// The platform, such as `metal`.
    pub platform: String,
}

/// A service of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name, such as `cri`.
    pub id: String,
    /// Its state, such as `Running`.
    pub state: String,
    /// Whether it is healthy; [`None`] where nothing checks it.
    pub healthy: Option<bool>,
}

impl Client {
    /// Makes a client of a context, whose endpoints may be others than the context's own. Nothing is dialled yet.
    pub fn new(
        name: &str,
        context: &Context,
        endpoints: &[Endpoint],
        proxy: Box<ProxyFor>,
        patience: Patience,
    ) -> Result<Self, SetupError> {
        let tls = tls::config(context);
        let tls = tls.map_err(|source| SetupError::Certificate { context: name.to_owned(), source })?;
        let mut metadata = MetadataMap::new();
        metadata.insert("runtime", AsciiMetadataValue::from_static("Talos"));
        let value = |text: &str, field| text.parse().map_err(|_| SetupError::Characters(field));
        if let Some(cluster) = &context.cluster {
            metadata.insert("context", value(cluster, "cluster")?);
        }
        if let Some(basic) = &context.basic {
            let pair = Secret::new(format!("{}:{}", basic.username, basic.password.expose()));
            let text = Secret::new(format!("Basic {}", BASE64.encode(pair.expose())));
            let mut value: AsciiMetadataValue = value(text.expose(), "auth.basic")?;
            value.set_sensitive(true);
            metadata.insert("authorization", value);
        }
        let mut inner = Inner {
            endpoints: Vec::new(),
            preferred: AtomicUsize::new(0),
            direct: Mutex::new(HashMap::new()),
            tls: Arc::new(tls),
            certificate: context.crt.is_some(),
            proxy,
            patience,
            metadata,
        };
        inner.endpoints = endpoints.iter().map(|endpoint| inner.link(endpoint)).collect();
        Ok(Self(Arc::new(inner)))
    }

    /// Returns the API of one node.
    pub fn node(&self, target: &Target) -> NodeClient {
        NodeClient { client: self.clone(), target: target.clone() }
    }
}

impl Inner {
    fn link(&self, endpoint: &Endpoint) -> Arc<Link> {
        Link::new(Dialer {
            endpoint: endpoint.clone(),
            tls: Arc::clone(&self.tls),
            certificate: self.certificate,
            proxy: (self.proxy)(endpoint),
            timeout: self.patience.connect,
        })
    }

    pub(super) fn direct(&self, endpoint: &Endpoint) -> Arc<Link> {
        let mut links = self.direct.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(links.entry(endpoint.clone()).or_insert_with(|| self.link(endpoint)))
    }

    /// Returns the ways to a node in the order in which they are tried, and the endpoint's number.
    pub(super) fn ways(&self, target: &Target) -> Vec<(Option<usize>, Arc<Link>)> {
        match target {
            Target::At(endpoint) => vec![(None, self.direct(endpoint))],
            // Without endpoints, a node is its own.
            Target::Through(host) if self.endpoints.is_empty() => {
                vec![(None, self.direct(&Endpoint::of_node(host)))]
            }
            Target::Through(_) => {
                let first = self.preferred.load(Ordering::Relaxed);
                let numbers = (0..self.endpoints.len()).cycle().skip(first).take(self.endpoints.len());
                numbers.filter_map(|at| Some((Some(at), Arc::clone(self.endpoints.get(at)?)))).collect()
            }
        }
    }
}

/// The API of one node.
#[derive(Clone, Debug)]
pub struct NodeClient {
    pub(super) client: Client,
    pub(super) target: Target,
}

impl NodeClient {
    /// Returns how long the answer to a call is waited for.
    pub fn patience(&self) -> Duration {
        self.client.0.patience.call
    }

    /// Returns the node's version.
    pub async fn version(&self) -> Result<Version, TalosError> {
        let what = "Version";
        let answer = self.call(what, Repeat::Yes, |channel| async move {
            machine(channel).version(self.request(())).await
        });
        let message = first(what, answer.await?.into_inner().messages)?;
        let version = message.version.unwrap_or_default();
        let platform = message.platform.unwrap_or_default();
        Ok(Version { tag: version.tag, arch: version.arch, platform: platform.name })
    }

    /// Returns the node's services.
    pub async fn services(&self) -> Result<Vec<Service>, TalosError> {
        let what = "ServiceList";
        let answer = self.call(what, Repeat::Yes, |channel| async move {
            machine(channel).service_list(self.request(())).await
        });
        let services = first(what, answer.await?.into_inner().messages)?.services.into_iter();
        let service = services.map(|service| Service {
            id: service.id,
            state: service.state,
            healthy: service.health.filter(|health| !health.unknown).map(|health| health.healthy),
        });
        Ok(service.collect())
    }

    /// Returns a resource; [`None`] where it is not there.
    pub async fn resource(&self, kind: Kind) -> Result<Option<Resource>, TalosError> {
        let what = format!("{}/{}", kind.kind, kind.id);
        let answer = self.call(&what, Repeat::Yes, |channel| async move {
            let request = GetRequest {
                namespace: kind.namespace.to_owned(),
                r#type: kind.kind.to_owned(),
                id: kind.id.to_owned(),
                options: None,
            };
            let mut state = StateClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
            state.get(self.request(request)).await
        });
        match answer.await {
            Ok(answer) => match Resource::from_message(answer.into_inner().resource) {
                Some(resource) => Ok(Some(resource)),
                None => Err(TalosError::Answer { what, flaw: "is empty".to_owned() }),
            },
            Err(TalosError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns all resources of a kind, whatever their ids.
    pub async fn resources(&self, kind: Kind) -> Result<Vec<Resource>, TalosError> {
        let answer = self.call(kind.kind, Repeat::Yes, |channel| async move {
            let request = ListRequest {
                namespace: kind.namespace.to_owned(),
                r#type: kind.kind.to_owned(),
                options: None,
            };
            let mut state = StateClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
            let mut stream = state.list(self.request(request)).await?.into_inner();
            let mut resources = Vec::new();
            while let Some(message) = stream.message().await? {
                resources.extend(Resource::from_message(message.resource));
            }
            Ok(resources)
        });
        answer.await
    }

    /// Returns the config that the node runs with.
    pub async fn active_config(&self) -> Result<ConfigResource, TalosError> {
        let found = self.config(resource::ACTIVE_CONFIG).await?;
        found.ok_or_else(|| TalosError::NotFound {
            what: "the machine config".to_owned(),
            message: "is the node still in maintenance mode?".to_owned(),
        })
    }

    /// Returns the config that the node will boot with; [`None`] where none was applied since it booted.
    pub async fn persistent_config(&self) -> Result<Option<ConfigResource>, TalosError> {
        self.config(resource::PERSISTENT_CONFIG).await
    }

    async fn config(&self, kind: Kind) -> Result<Option<ConfigResource>, TalosError> {
        let config = self.resource(kind).await?.map(Resource::machine_config).transpose();
        config.map_err(|flaw| TalosError::Answer { what: format!("{}/{}", kind.kind, kind.id), flaw })
    }

    /// Returns the registries as both of the node's pullers see them, the image cache's endpoint included where it is
    /// ready; [`None`] where there is no such resource yet. Before Talos 1.9 there is none: [`TalosError::Denied`].
    pub async fn registry_configs(&self) -> Result<Option<Registries>, TalosError> {
        let kind = resource::REGISTRY_CONFIGS;
        let Some(resource) = self.resource(kind).await? else { return Ok(None) };
        let read = resource.spec().and_then(|spec| read_registry_configs(&spec));
        let flawed = |flaw| TalosError::Answer { what: format!("{}/{}", kind.kind, kind.id), flaw };
        read.map(Some).map_err(flawed)
    }

    /// Returns what a regular file holds; [`None`] where it is not there.
    pub async fn read(&self, path: &str) -> Result<Option<Secret<Vec<u8>>>, TalosError> {
        let what = format!("reading {path}");
        let answer = self.call(&what, Repeat::Yes, |channel| async move {
            let request = self.request(ReadRequest { path: path.to_owned() });
            let mut stream = machine(channel).read(request).await?.into_inner();
            // Chunks of 1,024 bytes.
            let mut bytes = Vec::new();
            while let Some(chunk) = stream.message().await? {
                bytes.extend_from_slice(&chunk.bytes);
                if bytes.len() > MAX_MESSAGE {
                    return Err(Status::out_of_range("the file is too large"));
                }
            }
            Ok(Secret::new(bytes))
        });
        match answer.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(TalosError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Applies a whole machine config.
    ///
    /// It is sent once: where the connection breaks under way, what the node did is not known, and the error is
    /// [`TalosError::Lost`]. Any mode but a trial ends a trial that runs, up to Talos 1.13 a dry run does so too.
    pub async fn apply(
        &self,
        config: &Secret<String>,
        mode: Mode,
        dry_run: DryRun,
    ) -> Result<Applied, TalosError> {
        use super::proto::machine::apply_configuration_request::Mode as Number;
        let what = "ApplyConfiguration";
        let (number, timeout) = match mode {
            Mode::Try { timeout } => (Number::Try, Some(timeout)),
            Mode::NoReboot => (Number::NoReboot, None),
            Mode::Staged => (Number::Staged, None),
        };
        let timeout = timeout.map(prost_types::Duration::try_from).transpose();
        let timeout = timeout.map_err(|_| TalosError::Answer {
            what: what.to_owned(),
            flaw: "would come too late: the timeout is too long".to_owned(),
        })?;
        let answer = self.call(what, Repeat::No, |channel| async move {
            let request = ApplyConfigurationRequest {
                data: config.expose().as_bytes().to_vec(),
                mode: number.into(),
                dry_run: dry_run == DryRun::Yes,
                try_mode_timeout: timeout,
            };
            machine(channel).apply_configuration(self.request(request)).await
        });
        let message = first(what, answer.await?.into_inner().messages)?;
        Ok(Applied { details: without_diff(&message.mode_details).to_owned(), warnings: message.warnings })
    }
}

pub(super) fn machine(channel: Channel) -> MachineServiceClient<Channel> {
    MachineServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE)
}

pub(super) fn first<T>(what: &str, messages: Vec<T>) -> Result<T, TalosError> {
    let empty = || TalosError::Answer { what: what.to_owned(), flaw: "is empty".to_owned() };
    messages.into_iter().next().ok_or_else(empty)
}

/// Cuts off the diff of machine configs that Talos adds to what it says: it shows every secret that changed.
pub(super) fn without_diff(text: &str) -> &str {
    let ends = ["\ndiff:", "\nConfig diff:", "\n--- a"].into_iter().filter_map(|mark| text.find(mark));
    text.get(..ends.min().unwrap_or(text.len())).unwrap_or_default().trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diffs_are_cut_off() {
        for (text, want) in [
            ("Applied configuration without a reboot", "Applied configuration without a reboot"),
            (
                "can't be applied in immediate mode\ndiff:\n--- a\n+password: x",
                "can't be applied in immediate mode",
            ),
            (
                "Dry run summary:\nx (skipped in dry-run).\nConfig diff:\n\n+ x",
                "Dry run summary:\nx (skipped in dry-run).",
            ),
        ] {
            assert_eq!(without_diff(text), want);
        }
    }
}
