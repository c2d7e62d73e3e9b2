#![expect(clippy::disallowed_methods, reason = "asks endpoints whether they are well, within time limits")]

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::circuit_breaker::PauseReason;
use super::circuits::{Permission, RepositoryProbe};
use super::endpoints::{Endpoints, chance};
use super::error::EndpointError;
use super::health::{Probe, Verdict};
use crate::cache::memory::locked;
use crate::image::Repository;
use crate::oci::{
    ACCEPT_MANIFESTS, Answer, ClientError, Method, Range, RegistryClient, RegistryRequest, RequestError,
    RequestErrorKind,
};

/// How long the answer to a probe of a host may take.
const PROBE: Duration = Duration::from_secs(10);
/// After what time a probe that was not answered is not the only one any more: it may have been lost while all is well.
const NEXT_PROBE: Duration = Duration::from_secs(4);
/// How long a request waits for a probe that may tell that nothing is wrong: less than what a stale tag waits.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How it is found out that what was left alone is well again: by requests of our own, which no client waits for longer
/// than a moment.
impl Endpoints {
    /// Shows what was noted, and has the host probed where that is due.
    pub(super) fn noted(self: &Arc<Self>, endpoint: usize, probe: Probe) {
        self.show_circuit();
        match probe {
            Probe::None => {}
            Probe::Paused | Probe::Suspected => {
                tokio::spawn(Self::probe(Arc::downgrade(self), endpoint, probe));
            }
        }
    }

    /// Returns whether a request may go out to an endpoint, as an error if it may not.
    pub(super) fn may_ask(
        self: &Arc<Self>,
        endpoint: usize,
        object: Option<(&Repository, &str)>,
    ) -> Result<(), EndpointError> {
        match self.admit(endpoint, object) {
            Permission::Go => Ok(()),
            Permission::Wait(why, left) => Err(EndpointError::Paused(why, left)),
            Permission::Probe(why, _) => Err(EndpointError::Paused(why, PATIENCE)),
        }
    }

    /// Returns whether a request may go out to an endpoint; sends the probe that is due.
    fn admit(self: &Arc<Self>, endpoint: usize, object: Option<(&Repository, &str)>) -> Permission {
        let Some(asked) = self.all.get(endpoint) else { return Permission::Go };
        let permission = locked(&asked.health).admit(object, Instant::now());
        if let Permission::Probe(_, probe) = &permission {
            tokio::spawn(Arc::clone(self).probe_repository(endpoint, probe.clone()));
        }
        permission
    }

    /// Waits a moment where something cannot be asked for until a probe has been answered, which is soon where all is well.
    pub(super) async fn settle(self: &Arc<Self>, object: Option<(&Repository, &str)>) {
        let Some(object) = object else { return };
        let settled = async {
            loop {
                let probed = self.probed.notified();
                let mut is_probing = false;
                for (endpoint, asked) in self.all.iter().enumerate() {
                    match self.admit(endpoint, Some(object)) {
                        Permission::Go => return,
                        Permission::Probe(..) => is_probing = true,
                        Permission::Wait(..) => {
                            is_probing |= locked(&asked.health).is_probing(object, Instant::now());
                        }
                    }
                }
                if !is_probing {
                    return;
                }
                probed.await;
            }
        };
        // What is not known by then is told to the client as it is now.
        drop(tokio::time::timeout(PATIENCE, settled).await);
    }

    /// Asks for something of a repository, to tell whether it is well again.
    async fn probe_repository(self: Arc<Self>, endpoint: usize, probe: RepositoryProbe) {
        let Some(asked) = self.all.get(endpoint) else { return };
        let mut asking = Box::pin(probe.send(&asked.client));
        let mut answer = tokio::time::timeout(NEXT_PROBE, &mut asking).await.ok();
        if answer.is_none() {
            self.note_probe(endpoint, &probe, None);
            // An upstream that takes its time for everything is no worse than before.
            answer = if probe.is_patient { Some(asking.await) } else { None };
        }
        if let Some(answer) = &answer {
            let verdict = self.verdict(&asked.client, answer.as_ref().map(drop));
            self.note_probe(endpoint, &probe, Some(verdict));
        }
        if probe.is_patient {
            locked(&asked.health).patient_probe_ended(&probe.scope);
        }
    }

    fn note_probe(self: &Arc<Self>, endpoint: usize, probe: &RepositoryProbe, verdict: Option<Verdict>) {
        let Some(asked) = self.all.get(endpoint) else { return };
        let due = locked(&asked.health).note_probe(probe, verdict, Instant::now(), chance());
        self.noted(endpoint, due);
        self.probed.notify_waiters();
    }

    /// Probes a host until it answers; a host that is only suspected and answers at once is left as it is.
    async fn probe(endpoints: Weak<Self>, endpoint: usize, reason: Probe) {
        // One that is lost keeps the next from nothing, and an answer that comes late is one.
        let mut pings = FuturesUnordered::new();
        loop {
            let Some(this) = endpoints.upgrade() else { return };
            let Some(asked) = this.all.get(endpoint) else { return };
            // What is asked does not keep the upstream: it may go while the answer is late.
            pings.push(Box::pin(ping(Arc::clone(&asked.client), reason)));
            drop(this);
            let answered = tokio::time::timeout(NEXT_PROBE, first_answer(&mut pings)).await;
            let wait = match answered.unwrap_or(Err(PauseReason::Unreachable)) {
                Ok(()) => return Self::probe_answered(&endpoints, endpoint),
                Err(why) => {
                    let Some(this) = endpoints.upgrade() else { return };
                    let Some(asked) = this.all.get(endpoint) else { return };
                    let wait = locked(&asked.health).probe_failed(why, Instant::now(), chance());
                    this.probed.notify_waiters();
                    this.show_circuit();
                    wait
                }
            };
            let late = async {
                if first_answer(&mut pings).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            if tokio::time::timeout(wait, late).await.is_ok() {
                return Self::probe_answered(&endpoints, endpoint);
            }
            let is_paused = endpoints.upgrade().is_some_and(|endpoints| {
                let asked = endpoints.all.get(endpoint);
                asked.is_some_and(|asked| locked(&asked.health).is_ill())
            });
            if !is_paused {
                return;
            }
        }
    }

    fn probe_answered(endpoints: &Weak<Self>, endpoint: usize) {
        let Some(this) = endpoints.upgrade() else { return };
        let Some(asked) = this.all.get(endpoint) else { return };
        locked(&asked.health).probe_answered();
        this.probed.notify_waiters();
        this.show_circuit();
    }
}

/// Asks a host whether it is there.
async fn ping(client: Arc<RegistryClient>, reason: Probe) -> Result<(), PauseReason> {
    match tokio::time::timeout(PROBE, Box::pin(client.ping())).await {
        // A host that answers with an error is there; what fails is for each repository to show.
        Ok(Ok(status)) if status < 500 || reason == Probe::Paused => Ok(()),
        Ok(Ok(_)) => Err(PauseReason::Failing),
        Ok(Err(error)) => match error.cause.kind() {
            RequestErrorKind::Down | RequestErrorKind::Failing => Err(PauseReason::Unreachable),
            RequestErrorKind::NotFound
            | RequestErrorKind::Denied
            | RequestErrorKind::TooMany
            | RequestErrorKind::Setup => Ok(()),
        },
        Err(_) => Err(PauseReason::Unreachable),
    }
}

impl RepositoryProbe {
    /// Sends requests that cost little: whether it is there, and of a blob the first byte, since some registries do not
    /// look for it before.
    async fn send(&self, client: &RegistryClient) -> Result<Answer, ClientError> {
        if self.what.starts_with("blobs/") {
            let byte = RegistryRequest::new(Method::Get, &self.scope.repository, &self.what);
            return client.send(&byte.part(Range::Between(0, 0), None).decoding_gzip().closing()).await;
        }
        let request = |method| {
            RegistryRequest::new(method, &self.scope.repository, &self.what).accepting(ACCEPT_MANIFESTS)
        };
        match client.send(&request(Method::Head)).await {
            // Some registries know no HEAD: of those, GET tells, whose body is not waited for.
            Err(error) if is_of_head(&error.cause) => {
                client.send(&request(Method::Get).decoding_gzip().closing()).await
            }
            answer => answer,
        }
    }
}

/// Returns whether HEAD may have failed where GET does not.
fn is_of_head(error: &RequestError) -> bool {
    matches!(error, RequestError::Status { status: 405 | 500.., .. } | RequestError::Broken(_))
}

/// Waits until one of several requests has been answered, or all have failed; returns how the last of them did.
async fn first_answer<F>(pings: &mut FuturesUnordered<F>) -> Result<(), PauseReason>
where
    F: Future<Output = Result<(), PauseReason>>,
{
    let mut failed = Err(PauseReason::Unreachable);
    while let Some(ping) = pings.next().await {
        match ping {
            Ok(()) => return Ok(()),
            Err(why) => failed = Err(why),
        }
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::super::registry::Upstream;
    use super::*;
    use crate::cache::config::{UpstreamConfig, UpstreamLimits};
    use crate::cache::observe::Metrics;
    use crate::oci::{Http, HttpSettings, Proxies};

    #[tokio::test]
    async fn a_probe_keeps_no_upstream_that_was_removed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let config = UpstreamConfig { endpoints: vec![url], ..UpstreamConfig::default() };
        let settings = HttpSettings { proxies: Proxies::None, ..HttpSettings::default() };
        let (http, limits) = (Http::new(&settings).unwrap(), UpstreamLimits::default());
        let registry = "reg.example".parse().unwrap();
        let upstream = Upstream::new(registry, &config, &http, Arc::new(Metrics::new()), limits).unwrap();
        let endpoints = Arc::downgrade(&upstream.endpoints);
        tokio::spawn(Endpoints::probe(Weak::clone(&endpoints), 0, Probe::Suspected));
        // It is asked, and does not answer.
        let connection = listener.accept().await.unwrap();
        drop(upstream);
        assert!(endpoints.upgrade().is_none());
        drop(connection);
    }
}
