#![expect(clippy::disallowed_methods, reason = "opens credentials, waits for signals, ends the process")]

use std::net::SocketAddr;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{BucketArgs, ConfigArgs, PeerArgs, RedirectArgs, RootArgs, ServerArgs};
use super::folder::root;
use super::redirect;
use crate::cache::config::{Config, ConfigSource, LoadedConfig, LogFormat, Overlay, StatusPage};
use crate::cache::observe::{LogFilter, log_json, log_text};
use crate::cache::server::CacheServer;
use crate::finding::{Code, Problem};
use crate::image::RegistryHost;
use crate::ui::Ui;
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};

/// Arguments of `serve`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Once it accepts connections it says so in one line on standard error. SIGHUP, or a change of the \
file, reads the configuration again, the level of the log included, without cutting a transfer. SIGTERM and SIGINT let transfers end first; a second one \
does not wait.

Examples:
  talmirror-cache serve
  talmirror-cache serve --listen :5000 --root /var/lib/talmirror-cache --size-cap 50GiB
  talmirror-cache serve --upstream docker.io=https://registry-1.docker.io --credentials docker.io=hub.json --anonymous docker.io
  talmirror-cache serve --config /etc/talmirror-cache.yaml --metrics-listen :9090
  talmirror-cache serve --listen :5000 --bucket s3://images/talmirror --s3-endpoint https://rgw.example.com --s3-path-style
  talmirror-cache serve --listen :5000 --bucket s3://images --s3-endpoint https://rgw.example.com --peer-listen 10.0.0.11:5001 --peer-secret /etc/talmirror-cache/peer-secret"
)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    root: RootArgs,
    #[command(flatten)]
    bucket: BucketArgs,
    #[command(flatten)]
    redirect: RedirectArgs,
    #[command(flatten)]
    peers: PeerArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl ServeArgs {
    fn source(&self) -> ConfigSource {
        let source = self.config.source();
        let overlay = Overlay {
            root: self.root.root.clone(),
            bucket: self.bucket.overlay(),
            peers: self.peers.overlay(),
            ..self.server.over(source.overlay)
        };
        ConfigSource { overlay: self.redirect.over(overlay), ..source }
    }
}

pub(super) fn run(ui: &mut Ui, args: &ServeArgs) -> Result<Exit, CliError> {
    let source = args.source();
    let LoadedConfig { config, problems } = source.load()?;
    for problem in &problems {
        ui.problem(problem);
    }
    for (doubt, help) in doubts(&config, &problems) {
        ui.warn(&doubt, Some(&help));
    }
    let filter = config.log.filter();
    let log = match config.log.format {
        LogFormat::Text => log_text(filter),
        LogFormat::Json => log_json(filter),
    }
    .map_err(|message| CliError::new(exit::INVALID, message))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::from_error(exit::REMOTE, error).context("cannot start"))?;
    let exit = runtime.block_on(serve(ui, config, source, log))?;
    // Downloads that no client waits for are not waited for.
    runtime.shutdown_background();
    Ok(exit)
}

async fn serve(ui: &mut Ui, config: Config, source: ConfigSource, log: LogFilter) -> Result<Exit, CliError> {
    let folder = root(config.root.as_deref())?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let (serves, cap, status_page) = (serves(&config), config.size_cap, config.status_page);
    let bucket = config.bucket.as_ref().map(|bucket| bucket.address.to_string());
    let server = CacheServer::start(config, source, folder.clone(), log).await?;
    let stop = Stop::new()?;
    let cap =
        cap.map_or_else(|| "as much as the disk has room for".to_owned(), |cap| format!("at most {cap}"));
    ui.note(&format!("keeps {cap} in {}", folder.display()));
    if let Some(bucket) = bucket {
        ui.note(&format!("shares {bucket} with other caches"));
    }
    if let Some(url) = server.peer_url() {
        ui.note(&format!("other caches on it ask this one at {url}"));
    }
    ui.note(&serves);
    if !server.metrics_addresses().is_empty() {
        ui.note(&format!("metrics on http://{}/metrics", join(server.metrics_addresses())));
        if let (StatusPage::Shown, Some(address)) = (status_page, server.metrics_addresses().first()) {
            ui.note(&format!("status page on http://{}/", reachable(address)));
        }
    }
    ui.note(&format!("listening on {scheme}://{}", join(server.addresses())));
    if let Some(address) = server.addresses().first() {
        let host = reachable(address);
        ui.note(&format!("next: talmirror-cache mirror-config talos --url {scheme}://{host}"));
    }
    server.run(stop.wait()).await?;
    Ok(exit::OK)
}

/// Returns which registries are served, as many as a line holds.
fn serves(config: &Config) -> String {
    let names: Vec<&str> = config.upstreams.keys().map(RegistryHost::as_str).collect();
    match (names.get(..5), names.len()) {
        (_, 0) => "serves no registry: name one with --upstream".to_owned(),
        (Some(first), all @ 7..) => format!("serves {} and {} more", first.join(", "), all - first.len()),
        _ => format!("serves {}", names.join(", ")),
    }
}

/// Returns how an address that is listened on is written into a URL.
fn reachable(address: &SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("HOST:{}", address.port()) } else { address.to_string() }
}

fn join(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Returns what is doubtful about a configuration, flags included, that its file's findings do not say yet; and a way out.
fn doubts(config: &Config, said: &[Problem]) -> Vec<(String, String)> {
    let new = |code: Code, about: &str| {
        !said.iter().any(|problem| problem.code == code && problem.message.contains(about))
    };
    let mut out = Vec::new();
    for host in config.unreadable().filter(|host| new(Code::NoClientMayRead, host.as_str())) {
        out.push((
            format!(
                "no client may read what comes from {host}: it takes credentials, and there are no users"
            ),
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
    out.extend(redirect::doubts(config, said));
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
    async fn wait(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            tracing::warn!("stopped before transfers had ended");
            std::process::exit(i32::from(exit::INTERRUPTED.code));
        });
    }
}
