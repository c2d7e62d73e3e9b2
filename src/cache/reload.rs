#![expect(clippy::disallowed_methods, reason = "waits for a signal, and for files to change")]

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::auth::Verifier;
use super::bucket::Bucket;
use super::config::{Config, ConfigSource, LoadError};
use super::observe::{LogFilter, Metrics};
use super::service::{Service, Snapshot};
use super::service_manager::{notify_ready, notify_reloading};
use super::store::{FsStore, Origin, Pins};
use crate::finding::one_line;
use crate::http::Certificate;
use crate::oci::Http;

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// What is read again while the server runs: certificate, users, configuration.
#[derive(Debug)]
pub(super) struct Reload {
    pub(super) source: ConfigSource,
    pub(super) log: LogFilter,
    pub(super) service: Service,
    pub(super) store: Arc<FsStore>,
    pub(super) bucket: Option<Bucket>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) http: Http,
    pub(super) verifier: Option<Arc<Verifier>>,
    pub(super) certificate: Option<Arc<Certificate>>,
    /// What holds until the next start, whatever the file says meanwhile.
    pub(super) started: Config,
}

/// What could not be read when it was tried last, so that it is logged once.
#[derive(Debug, Default)]
struct Failures {
    certificate: String,
    users: String,
}

impl Reload {
    /// Reads again what has changed: files when they do, everything at SIGHUP; never ends.
    pub(super) async fn watch(self) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        let this = Arc::new(self);
        let mut seen = this.source.stamp();
        let mut failures = Failures::default();
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            let is_told = tokio::select! {
                _ = hangup.recv() => true,
                _ = ticks.tick() => false,
            };
            let own = Arc::clone(&this);
            let (before, mut last) = (seen, std::mem::take(&mut failures));
            // Files may lie on a disk that takes its time.
            let looked = tokio::task::spawn_blocking(move || {
                own.files(&mut last);
                let now = own.source.stamp();
                if is_told {
                    own.service.snapshot().end_pauses();
                    own.http.end_pauses();
                }
                if is_told || now != before {
                    notify_reloading();
                    own.config();
                    notify_ready();
                }
                (now, last)
            });
            if let Ok((now, last)) = looked.await {
                (seen, failures) = (now, last);
            }
        }
    }

    /// Reads certificate and users again if their files have changed.
    fn files(&self, failures: &mut Failures) {
        if let Some(certificate) = &self.certificate {
            report("certificate", certificate.reload(), &mut failures.certificate);
        }
        if let Some(verifier) = &self.verifier {
            report("list of users", verifier.reload(), &mut failures.users);
        }
    }

    /// Reads the configuration again.
    fn config(&self) {
        let loaded = match self.source.load() {
            Ok(loaded) => loaded,
            Err(error) => {
                if let LoadError::Invalid { problems, .. } = &error {
                    for problem in problems {
                        tracing::error!("{problem}");
                    }
                }
                tracing::error!("the configuration stays as it was: {}", one_line(&error));
                return;
            }
        };
        for problem in &loaded.problems {
            tracing::warn!("{problem}");
        }
        for what in fixed(&self.started, &loaded.config) {
            tracing::warn!("a change of `{what}` takes effect at the next start");
        }
        let (log, pins, config) = (loaded.config.log.clone(), pins(&loaded.config), loaded.config.clone());
        let before = self.service.snapshot();
        match Snapshot::new(loaded.config, Some(&before), &self.http, &self.metrics) {
            Ok(snapshot) => {
                self.store.set_pins(pins);
                // First: what is private from now on is not noted for everyone.
                if let Some(bucket) = &self.bucket {
                    bucket.follow(&config);
                }
                self.service.replace(snapshot);
                if let Err(error) = self.log.set(log.filter()) {
                    tracing::error!(error, "the level of the log stays as it was");
                }
                tracing::info!("read the configuration again");
            }
            Err(error) => tracing::error!("the configuration stays as it was: {}", one_line(&error)),
        }
    }
}

fn report<E: std::fmt::Display>(what: &str, read: Result<bool, E>, failure: &mut String) {
    match read {
        Ok(changed) => {
            failure.clear();
            if changed {
                tracing::info!("read the {what} again");
            }
        }
        Err(error) => {
            let error = error.to_string();
            if *failure != error {
                tracing::error!(error, "the {what} stays as it was");
                *failure = error;
            }
        }
    }
}

/// Returns what content is never evicted: that of repositories by their names.
pub(super) fn pins(config: &Config) -> Option<Pins> {
    let globs = config.pins.clone();
    let pinned = move |origin: &Origin| {
        let name = format!("{}/{}", origin.registry, origin.repository);
        globs.iter().any(|glob| glob.matches(&name))
    };
    if config.pins.is_empty() { None } else { Some(Arc::new(pinned)) }
}

/// Returns what of a configuration cannot change while the server runs, and has.
fn fixed(started: &Config, now: &Config) -> Vec<&'static str> {
    [
        ("listen", started.listen != now.listen),
        ("metricsListen", started.metrics != now.metrics),
        ("statusPage", started.status_page != now.status_page),
        ("root", started.root != now.root),
        ("sizeCap", started.size_cap != now.size_cap),
        ("reserve", started.reserve != now.reserve),
        ("bucket", started.bucket != now.bucket),
        ("peers", started.peers != now.peers),
        ("tls", started.tls != now.tls),
        ("htpasswd", started.htpasswd != now.htpasswd),
        ("authenticate", started.authenticate != now.authenticate),
        ("log.format", started.log.format != now.log.format),
        ("trustedProxies", started.trusted_proxies != now.trusted_proxies),
        ("limits", started.limits != now.limits || started.clients != now.clients),
    ]
    .into_iter()
    .filter_map(|(name, changed)| changed.then_some(name))
    .collect()
}
