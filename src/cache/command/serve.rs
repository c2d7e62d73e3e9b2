#![expect(clippy::disallowed_methods, reason = "runs the server: files, signals, the process' end")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{ConfigArgs, RootArgs, ServerArgs};
use super::control::Control;
use super::load::{Loaded, load, root};
use crate::cache::auth::{Anonymous, AuthGate, UsersError, Verifier};
use crate::cache::config::{Authenticate, Config, LogFormat, Overlay};
use crate::cache::download::{Downloads, Policy};
use crate::cache::observe::{AdminEndpoint, Health, Metrics, log_json, log_text};
use crate::cache::service::{Service, Snapshot};
use crate::cache::service_manager::{notify_ready, notify_reloading, notify_stopping};
use crate::cache::store::{FsConfig, FsStore, Origin, Pins, Store};
use crate::file::Stamp;
use crate::finding::{Code, Problem};
use crate::http::{Certificate, Drained, Limits, Observer, Server, ServerConfig, ServerError, TlsFiles};
use crate::oci::{Http, HttpSettings, Timeouts};
use crate::ui::Ui;
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};

/// How often numbers are taken, and the file of the configuration is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Arguments of `serve`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Once it accepts connections it says so in one line on standard error. SIGHUP, or a change of the \
file, reads the configuration again without cutting a transfer. SIGTERM and SIGINT let transfers end first; a second one \
does not wait.

Examples:
  talmirror-cache serve
  talmirror-cache serve --listen :5000 --root /var/lib/talmirror-cache --size-cap 50GiB
  talmirror-cache serve --upstream docker.io=https://registry-1.docker.io --credentials docker.io=hub.json --anonymous docker.io
  talmirror-cache serve --config /etc/talmirror-cache.yaml --metrics-listen :9090"
)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    root: RootArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl ServeArgs {
    fn overlay(&self) -> Overlay {
        Overlay { root: self.root.root.clone(), ..self.server.over(self.config.overlay()) }
    }

    fn load(&self) -> Result<Loaded, CliError> {
        load(self.config.config.as_deref(), &self.overlay())
    }
}

pub(super) fn run(ui: &mut Ui, args: &ServeArgs) -> Result<Exit, CliError> {
    let Loaded { config, problems } = args.load()?;
    for problem in &problems {
        ui.problem(problem);
    }
    for (doubt, help) in doubts(&config, &problems) {
        ui.warn(&doubt, Some(&help));
    }
    let filter = config.log.filter.clone().unwrap_or_else(|| "info".to_owned());
    match config.log.format {
        LogFormat::Text => log_text(&filter),
        LogFormat::Json => log_json(&filter),
    }
    .map_err(|message| CliError::new(exit::INVALID, message))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::from_error(exit::REMOTE, error).context("cannot start"))?;
    let exit = runtime.block_on(serve(ui, args, config))?;
    // What is still being fetched for nobody is not waited for.
    runtime.shutdown_background();
    Ok(exit)
}

impl From<UsersError> for CliError {
    fn from(error: UsersError) -> Self {
        Self::from_error(exit::INVALID, error)
    }
}

impl From<ServerError> for CliError {
    fn from(error: ServerError) -> Self {
        Self::from_error(exit::INVALID, error)
    }
}

/// Returns what is doubtful about a configuration, flags included, that its file's findings do not say yet; and a way out.
fn doubts(config: &Config, said: &[Problem]) -> Vec<(String, String)> {
    let new = |code: Code, about: &str| {
        !said.iter().any(|problem| problem.code == code && problem.message.contains(about))
    };
    let mut out = Vec::new();
    for host in config.unreadable().filter(|host| new(Code::NoClientMayRead, host.as_str())) {
        out.push((
            format!("nobody may read what comes from {host}: it takes credentials, and there are no users"),
            format!("--htpasswd FILE, or --anonymous {host} if it may go to anyone"),
        ));
    }
    for (host, upstream) in &config.upstreams {
        let Some(file) = &upstream.credentials else { continue };
        let plain = upstream.endpoints.iter().any(|url| url.scheme() == "http");
        if plain && new(Code::PlainHttpCredentials, host.as_str()) {
            let doubt = format!("the credentials of {host} go over plain http");
            out.push((doubt, "an https:// endpoint, if there is one".to_owned()));
        }
        if let Err(error) = std::fs::File::open(file) {
            let doubt = format!("the credentials of {host} cannot be read: `{}`: {error}", file.display());
            out.push((doubt, "pulls from there fail until they can; no restart is needed".to_owned()));
        }
    }
    let open = config.listen.iter().any(|address| !address.ip().is_loopback());
    if config.htpasswd.is_some()
        && config.tls.is_none()
        && open
        && new(Code::PlainHttpCredentials, "users send")
    {
        let doubt = "users send their passwords over plain http".to_owned();
        out.push((doubt, "--tls-cert FILE --tls-key FILE".to_owned()));
    }
    out
}

/// Returns what content stays, whatever else comes: that of repositories by their names.
fn pins(config: &Config) -> Option<Pins> {
    let globs = config.pins.clone();
    let pinned = move |origin: &Origin| {
        let name = format!("{}/{}", origin.registry, origin.repository);
        globs.iter().any(|glob| glob.matches(&name))
    };
    if config.pins.is_empty() { None } else { Some(Arc::new(pinned)) }
}

async fn serve(ui: &mut Ui, args: &ServeArgs, config: Config) -> Result<Exit, CliError> {
    let folder = root(config.root.as_deref())?;
    let store = Arc::new(open(&folder, &config).await?);
    let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::default()));
    let policy = Policy { fills: config.limits.fills, ..Policy::default() };
    let downloads = Downloads::new(Arc::clone(&store) as Arc<dyn Store>, policy);
    let http = http(&config)?;
    let snapshot = Snapshot::new(config.clone(), None, &http, &metrics)
        .map_err(|error| CliError::from_error(exit::INVALID, error))?;
    let service =
        Service::new(Arc::clone(&store) as Arc<dyn Store>, downloads.clone(), Arc::clone(&metrics), snapshot);
    let verifier = config.htpasswd.clone().map(Verifier::read).transpose()?.map(Arc::new);
    let anonymous = match config.authenticate {
        Authenticate::All => Anonymous::Deny,
        Authenticate::Private => Anonymous::Allow,
    };
    let users = verifier.clone().map(|verifier| (verifier, anonymous));
    let gate = Arc::new(AuthGate::new(service.clone(), Arc::clone(&health), users));
    let server = Server::bind_or_take(server_config(&config), Arc::clone(&metrics) as Arc<dyn Observer>)?;
    let control = Control::listen(&folder, Arc::clone(&store) as Arc<dyn Store>, service.clone());
    let _control = control.inspect_err(|error| {
        tracing::warn!(%error, "ls, prune and stats cannot ask this server");
    });
    let mut tasks = tokio::task::JoinSet::new();
    if let Some(address) = config.metrics {
        let endpoint = Arc::new(AdminEndpoint::new(Arc::clone(&metrics), Arc::clone(&health)));
        // Those who read the metrics are not counted among them.
        let server = Server::bind(ServerConfig::new(vec![address]), Arc::new(Metrics::new()))?;
        ui.note(&format!("metrics on http://{}/metrics", join(server.addresses())));
        tasks.spawn(async move {
            server.run(endpoint, std::future::pending()).await;
        });
    }
    let reload = Reload {
        args: args.clone(),
        service,
        store: Arc::clone(&store),
        metrics: Arc::clone(&metrics),
        http,
        verifier,
        certificate: server.certificate(),
        started: config.clone(),
    };
    tasks.spawn(reload.watch());
    tasks.spawn(numbers(store.clone(), downloads, metrics, Arc::clone(&health)));
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    health.set_ready(true);
    notify_ready();
    ui.note(&format!("listening on {scheme}://{}", join(server.addresses())));
    let stop = Stop::new()?;
    let drained = server.run(gate, stop.wait(Arc::clone(&health))).await;
    if let Drained::Without(cut) = drained {
        tracing::warn!(cut, "transfers took too long to end and were cut");
    }
    tasks.abort_all();
    store.close().await.map_err(|error| {
        CliError::from_error(exit::WRITE, error).context(format!("cannot close `{}`", folder.display()))
    })?;
    Ok(exit::OK)
}

fn join(addresses: &[std::net::SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

async fn open(folder: &Path, config: &Config) -> Result<FsStore, CliError> {
    let settings = FsConfig {
        cap: config.size_cap.map(|size| size.0),
        reserve: config.reserve.map(|size| size.0),
        pins: pins(config),
        ..FsConfig::new(folder.to_owned())
    };
    FsStore::open(settings).await.map_err(|error| {
        CliError::from_error(exit::WRITE, error)
            .context(format!("cannot keep anything in `{}`", folder.display()))
            .help("name a folder that this user may write to, and that no other talmirror-cache uses: --root DIR")
    })
}

/// Returns the connections to registries that all of them share.
pub(super) fn http(config: &Config) -> Result<Http, CliError> {
    let timeouts = Timeouts { header: config.limits.header, ..Timeouts::default() };
    Http::new(&HttpSettings { timeouts, ..HttpSettings::default() })
        .map_err(|error| CliError::from_error(exit::REMOTE, error))
}

fn server_config(config: &Config) -> ServerConfig {
    let tls = config.tls.clone().map(|tls| TlsFiles {
        certificate: tls.cert,
        key: tls.key,
        client_ca: tls.client_ca,
    });
    let limits = Limits {
        connections: config.limits.connections,
        per_address: config.limits.per_client,
        ..Limits::default()
    };
    ServerConfig { listen: config.listen.clone(), tls, limits }
}

/// The signals that end the server.
struct Stop {
    term: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the first; a second one ends the process at once.
    async fn wait(mut self, health: Arc<Health>) {
        self.next().await;
        health.set_ready(false);
        notify_stopping();
        tracing::info!("stopping; transfers end first");
        tokio::spawn(async move {
            self.next().await;
            tracing::warn!("stopped before transfers had ended");
            std::process::exit(i32::from(exit::INTERRUPTED.code));
        });
    }
}

/// What is read again when the configuration changes.
struct Reload {
    args: ServeArgs,
    service: Service,
    store: Arc<FsStore>,
    metrics: Arc<Metrics>,
    http: Http,
    verifier: Option<Arc<Verifier>>,
    certificate: Option<Arc<Certificate>>,
    /// What holds until the next start, whatever the file says meanwhile.
    started: Config,
}

impl Reload {
    /// Waits for SIGHUP, or for another file of the configuration.
    async fn watch(self) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        let file = self.args.config.config.clone();
        let mut seen = file.as_deref().and_then(Stamp::of);
        let mut ticks = tokio::time::interval(LOOK);
        let mut said = [const { String::new() }; 2];
        loop {
            tokio::select! {
                _ = hangup.recv() => self.service.snapshot().end_pauses(),
                _ = ticks.tick() => {
                    self.reload_files(&mut said);
                    let now = file.as_deref().and_then(Stamp::of);
                    if now == seen {
                        continue;
                    }
                    seen = now;
                }
            }
            notify_reloading();
            self.reload_files(&mut said);
            self.reload();
            notify_ready();
        }
    }

    /// Reads certificate and users again if their files have changed; `said` holds what was wrong with them last.
    fn reload_files(&self, said: &mut [String; 2]) {
        let told = |part: &str, said: &mut String, read: Result<bool, String>| match read {
            Ok(true) => {
                said.clear();
                tracing::info!("{part} read again");
            }
            Ok(false) => said.clear(),
            Err(error) if *said == error => {}
            Err(error) => {
                tracing::error!(error, "the {part} stays as it was");
                *said = error;
            }
        };
        let [certificate, users] = said;
        if let Some(own) = &self.certificate {
            told("certificate", certificate, own.reload().map_err(|error| error.to_string()));
        }
        if let Some(own) = &self.verifier {
            told("users", users, own.reload().map_err(|error| error.to_string()));
        }
    }

    fn reload(&self) {
        let loaded = match self.args.load() {
            Ok(loaded) => loaded,
            Err(error) => {
                for problem in &error.problems {
                    tracing::error!("{problem}");
                }
                tracing::error!("the configuration stays as it was: {}", error.render());
                return;
            }
        };
        for problem in &loaded.problems {
            tracing::warn!("{problem}");
        }
        for what in fixed(&self.started, &loaded.config) {
            tracing::warn!("a change of `{what}` counts from the next start on");
        }
        let before = self.service.snapshot();
        let pins = pins(&loaded.config);
        match Snapshot::new(loaded.config, Some(&before), &self.http, &self.metrics) {
            Ok(snapshot) => {
                self.store.set_pins(pins);
                self.service.replace(snapshot);
                tracing::info!("configuration read again");
            }
            Err(error) => tracing::error!(%error, "the configuration stays as it was"),
        }
    }
}

/// Returns what of a configuration cannot change while the server runs, and has.
fn fixed(started: &Config, now: &Config) -> Vec<&'static str> {
    [
        ("listen", started.listen != now.listen),
        ("metricsListen", started.metrics != now.metrics),
        ("root", started.root != now.root),
        ("sizeCap", started.size_cap != now.size_cap),
        ("reserve", started.reserve != now.reserve),
        ("tls", started.tls != now.tls),
        ("htpasswd", started.htpasswd != now.htpasswd),
        ("authenticate", started.authenticate != now.authenticate),
        ("log", started.log != now.log),
        ("limits", started.limits != now.limits),
    ]
    .into_iter()
    .filter_map(|(name, changed)| changed.then_some(name))
    .collect()
}

/// Takes the numbers that nobody reports by themselves.
async fn numbers(store: Arc<FsStore>, downloads: Downloads, metrics: Arc<Metrics>, health: Arc<Health>) {
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        metrics.flights(&downloads.stats());
        let Ok(usage) = store.usage().await else { continue };
        metrics.usage(&usage);
        if usage.full {
            health.degraded("store", "there is no room: what is fetched is passed on without being kept");
        } else {
            health.well("store");
        }
    }
}
