#![expect(clippy::disallowed_methods, reason = "measures endpoints, within time limits")]

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::circuit_breaker::{Admission, CircuitBreaker, PauseReason, Signal};
use super::error::{EndpointError, together};
use super::pull_quota::PullQuota;
use crate::cache::download::FetchError;
use crate::cache::memory::locked;

use crate::cache::observe::{self, Metrics, UpstreamResult};
use crate::image::RegistryHost;
use crate::oci::{Answer, Quota, RegistryClient, RegistryRequest, RequestError, RequestErrorKind};

/// How many requests of an upstream may be under way that are no blobs.
const REQUESTS: usize = 64;
/// How long a request waits for others to end; containerd gives up after 30 s.
const QUEUE: Duration = Duration::from_secs(20);
/// After what time a request whose client has gone says that the endpoint is slow.
const SLOW: Duration = Duration::from_millis(1500);

/// The endpoints of one registry, in the order in which they are asked, and how they are.
#[derive(Debug)]
pub(super) struct Endpoints {
    pub(super) registry: RegistryHost,
    all: Vec<Endpoint>,
    metrics: Arc<Metrics>,
    requests: Semaphore,
    bodies: Arc<Semaphore>,
}

#[derive(Debug)]
struct Endpoint {
    client: RegistryClient,
    circuit: Mutex<CircuitBreaker>,
    budget: Mutex<PullQuota>,
}

/// How an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointHealth {
    /// Where it is.
    pub endpoint: String,
    /// Why it is not asked now, and for how long.
    pub paused: Option<(PauseReason, Duration)>,
    /// What it said last about how much may be pulled.
    pub quota: Option<Quota>,
}

/// Whether a request is one that a registry counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CountsAgainstQuota {
    /// It is: GET of a manifest.
    Yes,
    /// It is not.
    No,
}

/// An answer that was read whole.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) endpoint: usize,
    headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Why a reply is not used.
#[derive(Clone, Debug)]
pub(super) enum InvalidReply {
    /// Its bytes are others than they should be.
    Mismatch(String),
    /// It is malformed.
    Malformed(String),
}

impl Endpoints {
    pub(super) fn new(
        registry: RegistryHost,
        clients: Vec<RegistryClient>,
        metrics: Arc<Metrics>,
        bodies: usize,
    ) -> Self {
        let endpoint = |client| Endpoint { client, circuit: Mutex::default(), budget: Mutex::default() };
        Self {
            registry,
            all: clients.into_iter().map(endpoint).collect(),
            metrics,
            requests: Semaphore::new(REQUESTS),
            bodies: Arc::new(Semaphore::new(bodies.max(1))),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn clients(&self) -> impl Iterator<Item = &RegistryClient> {
        self.all.iter().map(|endpoint| &endpoint.client)
    }

    /// Asks one endpoint after the other until one answers with what passes `check`, and reads the answer whole.
    pub(super) async fn ask(
        &self,
        ask: &RegistryRequest<'_>,
        counted: CountsAgainstQuota,
        limit: usize,
        check: &(dyn Fn(&Reply) -> Result<(), InvalidReply> + Send + Sync),
    ) -> Result<Reply, Vec<EndpointError>> {
        let mut failed = Vec::new();
        for endpoint in 0..self.all.len() {
            match self.ask_one(endpoint, ask, counted, limit, check).await {
                Ok(reply) => return Ok(reply),
                Err(error) => failed.push(error),
            }
        }
        Err(failed)
    }

    /// Asks one endpoint.
    pub(super) async fn ask_one(
        &self,
        endpoint: usize,
        ask: &RegistryRequest<'_>,
        counted: CountsAgainstQuota,
        limit: usize,
        check: &(dyn Fn(&Reply) -> Result<(), InvalidReply> + Send + Sync),
    ) -> Result<Reply, EndpointError> {
        let waited = tokio::time::timeout(QUEUE, self.requests.acquire()).await;
        let Ok(Ok(_permit)) = waited else { return Err(EndpointError::Busy) };
        let answer = self.answer(endpoint, ask, counted).await?;
        let fit = |reply: &Reply| {
            check(reply).map_err(|unfit| match unfit {
                InvalidReply::Mismatch(what) => EndpointError::Mismatch(what),
                InvalidReply::Malformed(what) => {
                    EndpointError::Asked(self.error_at(endpoint, RequestError::Answer(what)))
                }
            })
        };
        let headers = answer.headers().clone();
        let body = answer.bytes(limit).await;
        let reply = body.map_err(EndpointError::from).map(|body| Reply { endpoint, headers, body });
        let result = reply.and_then(|reply| fit(&reply).map(|()| reply));
        if let Err(error) = &result {
            if matches!(error, EndpointError::Mismatch(_)) {
                self.metrics.upstream(self.registry.as_str(), UpstreamResult::Mismatch, Duration::ZERO);
            }
            self.log(endpoint, error);
        }
        result
    }

    fn error_at(&self, endpoint: usize, cause: RequestError) -> crate::oci::ClientError {
        let url = self.all.get(endpoint).map(|endpoint| endpoint.client.endpoint().to_string());
        crate::oci::ClientError { url: url.unwrap_or_default(), cause }
    }

    /// Sends a request to an endpoint that is well, and waits for the header of its answer.
    pub(super) async fn answer(
        &self,
        endpoint: usize,
        ask: &RegistryRequest<'_>,
        counted: CountsAgainstQuota,
    ) -> Result<Answer, EndpointError> {
        let Some(asked) = self.all.get(endpoint) else { return Err(EndpointError::Busy) };
        if counted == CountsAgainstQuota::Yes
            && let Some(left) = locked(&asked.budget).spent(Instant::now())
        {
            return Err(EndpointError::Paused(PauseReason::TooMany, left));
        }
        let admission = locked(&asked.circuit).admit(Instant::now());
        match admission {
            Admission::Wait(why, left) => return Err(EndpointError::Paused(why, left)),
            Admission::Go | Admission::Probe => self.show_circuit(),
        }
        let attempt = Attempt { endpoints: self, endpoint: asked, begun: Instant::now(), noted: false };
        let answer = asked.client.send(ask).await;
        let result = answer.as_ref().map_or_else(|error| result(error.cause.kind()), |_| UpstreamResult::Ok);
        self.metrics.upstream(self.registry.as_str(), result, attempt.begun.elapsed());
        attempt.note(answer.as_ref().map_or_else(|error| signal(&error.cause), |_| Signal::Good));
        match answer {
            Ok(answer) => {
                self.note_quota(asked, &answer);
                Ok(answer)
            }
            Err(error) => {
                let failed = EndpointError::from(error);
                self.log(endpoint, &failed);
                Err(failed)
            }
        }
    }

    fn note_quota(&self, endpoint: &Endpoint, answer: &Answer) {
        let header = |name| answer.header(HeaderName::from_static(name));
        if let Some(quota) = Quota::parse(header("ratelimit-limit"), header("ratelimit-remaining")) {
            locked(&endpoint.budget).note(quota, Instant::now());
            self.metrics.quota(self.registry.as_str(), quota.limit, quota.remaining);
        }
    }

    /// Waits for the right to transfer a body.
    pub(super) async fn body_permit(&self) -> Result<OwnedSemaphorePermit, EndpointError> {
        match tokio::time::timeout(QUEUE, Arc::clone(&self.bodies).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(EndpointError::Busy),
        }
    }

    pub(super) fn received(&self, bytes: usize) {
        self.metrics.upstream_received(self.registry.as_str(), bytes as u64);
    }

    pub(super) fn mismatch(&self) {
        self.metrics.upstream(self.registry.as_str(), UpstreamResult::Mismatch, Duration::ZERO);
    }

    /// Returns why nothing is asked now, and for how long at least; [`None`] where an endpoint is.
    pub(super) fn pause(&self) -> Option<(PauseReason, Duration)> {
        let now = Instant::now();
        let mut least = None;
        for endpoint in &self.all {
            let (why, left) = locked(&endpoint.circuit).paused(now)?;
            least = least.filter(|(_, other)| *other <= left).or(Some((why, left)));
        }
        least
    }

    pub(super) fn health(&self) -> Vec<EndpointHealth> {
        let now = Instant::now();
        let health = |endpoint: &Endpoint| EndpointHealth {
            endpoint: endpoint.client.endpoint().to_string(),
            paused: locked(&endpoint.circuit).paused(now),
            quota: locked(&endpoint.budget).quota(),
        };
        self.all.iter().map(health).collect()
    }

    /// Returns what was said last about how much may be pulled, by the first endpoint that says so.
    pub(super) fn budget(&self) -> Option<PullQuota> {
        self.all.iter().map(|endpoint| *locked(&endpoint.budget)).find(|budget| budget.quota().is_some())
    }

    fn show_circuit(&self) {
        let circuits = self.all.iter().map(|endpoint| *locked(&endpoint.circuit));
        let best = circuits
            .map(|circuit| match (circuit.is_closed(), circuit.is_probing()) {
                (true, _) => (0, observe::Circuit::Closed),
                (_, true) => (1, observe::Circuit::HalfOpen),
                _ => (2, observe::Circuit::Open),
            })
            .min_by_key(|(order, _)| *order);
        if let Some((_, circuit)) = best {
            self.metrics.circuit(self.registry.as_str(), circuit);
        }
    }

    /// Logs what happened; what any client can cause with a wrong name is logged at debug only.
    pub(super) fn log(&self, endpoint: usize, failed: &EndpointError) {
        let registry = &self.registry;
        match failed {
            EndpointError::Asked(error) => match error.cause.kind() {
                RequestErrorKind::NotFound | RequestErrorKind::Denied => {
                    tracing::debug!(%registry, %error, "upstream does not give it");
                }
                RequestErrorKind::TooMany
                | RequestErrorKind::Down
                | RequestErrorKind::Failing
                | RequestErrorKind::Setup => {
                    let help = error.help().unwrap_or_default();
                    tracing::warn!(%registry, %error, help, "upstream failed");
                }
            },
            EndpointError::Mismatch(what) => {
                let endpoint = self.all.get(endpoint).map(|endpoint| endpoint.client.endpoint().to_string());
                tracing::warn!(%registry, ?endpoint, what, "upstream sent something else");
            }
            EndpointError::Paused(..) | EndpointError::Busy => {}
        }
    }

    pub(super) fn failed(failed: &[EndpointError]) -> FetchError {
        together(failed)
    }
}

/// A request that is under way: what becomes of it is noted, even if no client waits for it any more.
struct Attempt<'a> {
    endpoints: &'a Endpoints,
    endpoint: &'a Endpoint,
    begun: Instant,
    noted: bool,
}

impl Attempt<'_> {
    fn note(mut self, signal: Signal) {
        self.noted = true;
        self.tell(signal);
    }

    fn tell(&self, signal: Signal) {
        locked(&self.endpoint.circuit).note(Instant::now(), signal, chance());
        self.endpoints.show_circuit();
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.noted {
            self.tell(if self.begun.elapsed() >= SLOW { Signal::Down } else { Signal::None });
        }
    }
}

/// Returns a number between 0 and 1.
fn chance() -> f64 {
    // Every state is keyed by the system's randomness, which is all that is wanted here.
    let bits = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(bits >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

/// Returns what a cause says about the endpoint.
fn signal(cause: &RequestError) -> Signal {
    match cause {
        RequestError::TooMany(pause) => Signal::TooMany(*pause),
        RequestError::Status { status: 500.., .. } | RequestError::Broken(_) => Signal::Failing,
        RequestError::Status { .. } | RequestError::NotFound(_) | RequestError::Denied { .. } => Signal::Good,
        RequestError::Resolve { .. }
        | RequestError::Connect(_)
        | RequestError::Tls(_)
        | RequestError::TimedOut { .. } => Signal::Down,
        RequestError::PrivateAddress(_)
        | RequestError::Redirect(_)
        | RequestError::Realm(_)
        | RequestError::Token(_)
        | RequestError::Answer(_)
        | RequestError::TooLarge(_)
        | RequestError::Credentials { .. } => Signal::None,
    }
}

fn result(kind: RequestErrorKind) -> UpstreamResult {
    match kind {
        RequestErrorKind::NotFound => UpstreamResult::NotFound,
        RequestErrorKind::Denied => UpstreamResult::Denied,
        RequestErrorKind::TooMany => UpstreamResult::TooMany,
        RequestErrorKind::Down | RequestErrorKind::Failing | RequestErrorKind::Setup => {
            UpstreamResult::Unavailable
        }
    }
}
