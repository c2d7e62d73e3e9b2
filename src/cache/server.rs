//! The whole cache as one server: store, upstreams, service, users, listeners, in the order in which they start.

#![expect(clippy::disallowed_methods, reason = "looks at the store now and then")]

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::admin::AdminSocket;
use super::auth::{Anonymous, AuthGate, UsersError, Verifier};
use super::bucket::{Bucket, BucketError, TieredStore};
use super::config::{Authenticate, Config, ConfigSource, StatusPage};
use super::download::{Downloads, Policy};
use super::observe::{Health, LogFilter, Metrics, Tiers};
use super::reload::{Reload, pins};
use super::replica::{PeerError, PeerListener, Replicas};
use super::service::{Service, Snapshot};
use super::service_manager::{notify_ready, notify_stopping};
use super::status::{AdminEndpoint, Sources};
use super::store::{FsConfig, FsStore, Store, Tier};
use crate::cache::upstream::UpstreamError;
use crate::http::{Drained, Observer, Server, ServerConfig, ServerError, TrustedProxies};
use crate::oci::{Http, HttpError};

/// How often the metrics of store and downloads are taken.
const SAMPLE: Duration = Duration::from_secs(2);

/// A cache that listens, and serves once it runs.
#[derive(Debug)]
pub struct CacheServer {
    folder: PathBuf,
    store: Arc<FsStore>,
    bucket: Option<Bucket>,
    downloads: Downloads,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    gate: Arc<AuthGate<Service>>,
    server: Server,
    admin: Option<(Server, Arc<AdminEndpoint>)>,
    peers: Option<(PeerListener, Service)>,
    socket: Option<AdminSocket>,
    reload: Reload,
}

/// Why a cache does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder cannot be used.
    #[error("cannot keep anything in `{}`", folder.display())]
    Store {
        /// The folder.
        folder: PathBuf,
        /// What the store says.
        source: io::Error,
    },
    /// The bucket cannot be used, however often it is tried.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The other caches on the bucket cannot ask this one.
    #[error(transparent)]
    Peers(#[from] PeerError),
    /// The client for registries cannot be made.
    #[error(transparent)]
    Client(HttpError),
    /// An upstream's endpoint cannot be used.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The users cannot be read.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// The server cannot listen, or its certificate cannot be used.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// A store that could not be closed in order.
#[derive(Debug, thiserror::Error)]
#[error("cannot close `{}`", folder.display())]
pub struct CloseError {
    /// The folder.
    pub folder: PathBuf,
    /// What the file system says.
    pub source: io::Error,
}

impl CacheServer {
    /// Opens the store in `folder`, and begins to listen.
    ///
    /// `config` is what `source` said; it is read again while the server runs. Has to be called inside a tokio
    /// runtime.
    pub async fn start(
        config: Config,
        source: ConfigSource,
        folder: PathBuf,
        log: LogFilter,
    ) -> Result<Self, StartError> {
        let store = Arc::new(open(&config, &folder).await?);
        let local = Arc::clone(&store) as Arc<dyn Store>;
        let bucket = match &config.bucket {
            Some(bucket) => Some(Bucket::open(bucket, &config, &folder, Arc::clone(&local)).await?),
            None => None,
        };
        let peers = match (&config.peers, &bucket) {
            (Some(peers), Some(bucket)) => Some(PeerListener::bind(peers, config.clients, bucket.clone())?),
            (Some(_), None) | (None, _) => None,
        };
        let replicas = peers.as_ref().map(|peers| peers.replicas().clone());
        let tiers = match (&bucket, &peers) {
            (Some(_), Some(_)) => Tiers::WithReplicas,
            (Some(_), None) => Tiers::WithBucket,
            (None, _) => Tiers::Local,
        };
        let served = match &bucket {
            Some(bucket) => Arc::new(TieredStore::new(local, bucket.clone())) as Arc<dyn Store>,
            None => local,
        };
        let (metrics, health) = (Arc::new(Metrics::of(tiers)), Arc::new(Health::default()));
        let policy = Policy { fills: config.limits.fills, ..Policy::default() };
        let tier = bucket.clone().map(|bucket| Arc::new(bucket) as Arc<dyn Tier>);
        let downloads = Downloads::with_tier(Arc::clone(&served), tier, policy);
        let http = Http::new(&config.http_settings()).map_err(StartError::Client)?;
        let http = http.leaving_unreachable_hosts_alone();
        let snapshot = Snapshot::new(config.clone(), None, &http, &metrics)?;
        let service =
            Service::new(served, downloads.clone(), Arc::clone(&metrics), snapshot, replicas.clone());
        let peers = peers.map(|peers| (peers, service.clone()));
        let verifier = config.htpasswd.clone().map(Verifier::read).transpose()?.map(Arc::new);
        let anonymous = match config.authenticate {
            Authenticate::All => Anonymous::Deny,
            Authenticate::Private => Anonymous::Allow,
        };
        let users = verifier.clone().map(|verifier| (verifier, anonymous));
        let gate = Arc::new(AuthGate::new(service.clone(), Arc::clone(&health), users));
        let listen = ServerConfig {
            tls: config.tls.clone(),
            limits: config.clients,
            proxies: TrustedProxies::new(config.trusted_proxies.clone()),
            ..ServerConfig::new(config.listen.clone())
        };
        let server = Server::bind_or_take(listen, Arc::clone(&metrics) as Arc<dyn Observer>)?;
        let local = Arc::clone(&store) as Arc<dyn Store>;
        let socket = AdminSocket::listen(&folder, local, service.clone(), bucket.clone(), replicas.clone());
        let socket = socket.inspect_err(|error| {
            tracing::warn!(%error, "ls, prune and stats cannot ask this server");
        });
        let admin = match config.metrics {
            None => None,
            Some(address) => {
                let sources = match config.status_page {
                    StatusPage::Hidden => None,
                    StatusPage::Shown => Some(Sources::new(
                        Arc::clone(&store) as Arc<dyn Store>,
                        service.clone(),
                        bucket.clone(),
                        replicas.clone(),
                        downloads.clone(),
                        Arc::clone(&metrics),
                        Arc::clone(&health),
                    )),
                };
                let endpoint = AdminEndpoint::new(Arc::clone(&metrics), Arc::clone(&health), sources);
                let endpoint = Arc::new(endpoint);
                // Those who read the metrics are not counted among them.
                let own = Arc::new(Metrics::new());
                Some((Server::bind(ServerConfig::new(vec![address]), own)?, endpoint))
            }
        };
        let reload = Reload {
            source,
            log,
            service,
            store: Arc::clone(&store),
            bucket: bucket.clone(),
            metrics: Arc::clone(&metrics),
            http,
            verifier,
            certificate: server.certificate(),
            started: config,
        };
        let socket = socket.ok();
        Ok(Self {
            folder,
            store,
            bucket,
            downloads,
            metrics,
            health,
            gate,
            server,
            admin,
            peers,
            socket,
            reload,
        })
    }

    /// Returns the addresses that it listens on, with the ports that were free.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.server.addresses()
    }

    /// Returns the addresses that metrics are served on.
    pub fn metrics_addresses(&self) -> &[SocketAddr] {
        self.admin.as_ref().map(|(server, _)| server.addresses()).unwrap_or_default()
    }

    /// Returns the URL by which other caches on the bucket ask this one, if they do.
    pub fn peer_url(&self) -> Option<&str> {
        self.peers.as_ref().map(|(peers, _)| peers.replicas().url())
    }

    /// Serves until `shutdown` is done, lets the answers that have begun end, and closes the store.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Drained, CloseError> {
        let Self {
            folder,
            store,
            bucket,
            downloads,
            metrics,
            health,
            gate,
            server,
            admin,
            peers,
            socket,
            reload,
        } = self;
        let mut tasks = JoinSet::new();
        if let Some((server, endpoint)) = admin {
            tasks.spawn(async move {
                server.run(endpoint, std::future::pending()).await;
            });
        }
        tasks.spawn(reload.watch());
        if let Some(bucket) = bucket.clone() {
            tasks.spawn(bucket.run());
        }
        let replicas = peers.as_ref().map(|(peers, _)| peers.replicas().clone());
        if let Some(replicas) = replicas.clone() {
            tasks.spawn(replicas.run());
        }
        let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
        let others = async {
            if let Some((peers, service)) = peers {
                peers.run(service, async { drop(stopped.await) }).await;
            }
        };
        let sampled = Sampled {
            folder: folder.clone(),
            store: Arc::clone(&store),
            bucket: bucket.clone(),
            replicas: replicas.clone(),
            downloads,
            metrics,
            health: Arc::clone(&health),
        };
        tasks.spawn(sampled.sample());
        health.set_ready(true);
        notify_ready();
        let stop = async {
            shutdown.await;
            health.set_ready(false);
            notify_stopping();
            tracing::info!("stopping; transfers end first");
            // Before it: a cache that goes is not to be asked for more.
            if let Some(replicas) = &replicas {
                replicas.close().await;
            }
            drop(stopping);
        };
        let (drained, ()) = tokio::join!(server.run(gate, stop), others);
        if let Drained::Without(cut) = drained {
            tracing::warn!(cut, "transfers took too long to end and were cut");
        }
        tasks.abort_all();
        drop(socket);
        if let Some(bucket) = bucket {
            bucket.close().await;
        }
        match store.close().await {
            Ok(()) => Ok(drained),
            Err(source) => Err(CloseError { folder, source }),
        }
    }
}

async fn open(config: &Config, folder: &Path) -> Result<FsStore, StartError> {
    let settings = FsConfig {
        cap: config.size_cap.map(|size| size.0),
        reserve: config.reserve.map(|size| size.0),
        pins: pins(config),
        ..FsConfig::new(folder.to_owned())
    };
    let opened = FsStore::open(settings).await;
    opened.map_err(|source| StartError::Store { folder: folder.to_owned(), source })
}

/// Writes a file without a name: an error is that of a disk that is full, read-only or broken.
fn try_writing(folder: &Path) -> io::Result<()> {
    tempfile::tempfile_in(folder)?.write_all(b"talmirror")
}

/// What metrics are taken of that are not reported.
struct Sampled {
    folder: PathBuf,
    store: Arc<FsStore>,
    bucket: Option<Bucket>,
    replicas: Option<Replicas>,
    downloads: Downloads,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

impl Sampled {
    /// Takes the metrics that store, bucket and downloads do not report by themselves; never ends.
    async fn sample(self) {
        let mut ticks = tokio::time::interval(SAMPLE);
        loop {
            ticks.tick().await;
            self.metrics.flights(&self.downloads.stats());
            self.metrics.note_traffic(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default());
            let own = self.folder.clone();
            match tokio::task::spawn_blocking(move || try_writing(&own)).await {
                Ok(Err(error)) => {
                    let what = format!("cannot write to `{}`: {error}", self.folder.display());
                    self.health.degraded("disk", what);
                }
                Ok(Ok(())) | Err(_) => self.health.well("disk"),
            }
            if let Some(report) = self.bucket.as_ref().map(Bucket::report) {
                self.metrics.bucket(&report);
                match report.trouble() {
                    Some(why) => self.health.degraded("bucket", why),
                    None => self.health.well("bucket"),
                }
            }
            if let Some(report) = self.replicas.as_ref().map(Replicas::report) {
                self.metrics.replicas(&report);
                match report.trouble() {
                    Some(why) => self.health.degraded("peers", why),
                    None => self.health.well("peers"),
                }
            }
            let Ok(usage) = self.store.usage().await else { continue };
            self.metrics.usage(&usage);
            if usage.full {
                let what = "there is no room: what is fetched is passed on without being kept";
                self.health.degraded("store", what);
            } else {
                self.health.well("store");
            }
        }
    }
}
