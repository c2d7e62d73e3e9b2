#![expect(clippy::disallowed_methods, reason = "measures endpoints, within time limits")]

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::header::{HeaderMap, HeaderName};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use url::Url;

use super::circuit_breaker::{PauseReason, Signal};
use super::circuits::PausedRepository;
use super::error::{EndpointError, together};
use super::gzip::{decoded, is_gzip};
use super::health::{Health, Verdict};
use super::lost_answers::LostAnswers;
use super::pull_quota::PullQuota;
use crate::cache::config::UpstreamLimits;
use crate::cache::download::FetchError;
use crate::cache::memory::locked;
use crate::cache::observe::{self, Metrics, UpstreamResult};
use crate::image::{RegistryHost, Repository, Tag};
use crate::oci::{
    Answer, ClientError, Quota, RegistryClient, RegistryRequest, RequestError, RequestErrorKind, Wait,
};

/// How many requests of an upstream may be under way that are not for blobs.
const REQUESTS: usize = 64;
/// How many small blobs may be transferred at once besides the large ones, so that they do not wait behind them.
const SMALL_BODIES: usize = 32;
/// Up to which size a blob is small, in bytes.
const SMALL: u64 = 1 << 20;
/// By how much a pause is longer than what was asked for, at most.
const ADDED: Duration = Duration::from_secs(1);
/// How long a header takes that is late.
const LATE: Duration = Duration::from_secs(2);

/// The endpoints of one registry, in the order in which they are asked, and how they are.
#[derive(Debug)]
pub(super) struct Endpoints {
    pub(super) registry: RegistryHost,
    pub(super) all: Vec<Endpoint>,
    metrics: Arc<Metrics>,
    limits: UpstreamLimits,
    requests: Semaphore,
    bodies: Arc<Semaphore>,
    small_bodies: Arc<Semaphore>,
    /// How many wait for the right to transfer a body.
    waiting: AtomicUsize,
    /// Told when a probe has ended.
    pub(super) probed: Notify,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) client: Arc<RegistryClient>,
    pub(super) health: Mutex<Health>,
    quota: Mutex<PullQuota>,
    lost: LostAnswers,
}

/// How an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointHealth {
    /// Where it is.
    pub endpoint: String,
    /// Why its host is not asked now, and for how long at least.
    pub paused: Option<(PauseReason, Duration)>,
    /// For how long that has been so.
    pub paused_for: Option<Duration>,
    /// Which of its repositories are not asked now, or not for something of them, though the host is.
    pub repositories: Vec<PausedRepository>,
    /// What it said last about how much may be pulled.
    pub quota: Option<Quota>,
}

/// How many blobs are being transferred from an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfers {
    /// How many large ones, or such of which nothing is known.
    pub running: usize,
    /// How many of those there may be at once.
    pub limit: usize,
    /// How many wait for their turn.
    pub waiting: usize,
}

/// Counts one that waits, as long as it is there.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
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
        limits: UpstreamLimits,
    ) -> Self {
        let endpoint = |client| Endpoint {
            client: Arc::new(client),
            health: Mutex::default(),
            quota: Mutex::default(),
            lost: LostAnswers::default(),
        };
        Self {
            registry,
            all: clients.into_iter().map(endpoint).collect(),
            metrics,
            requests: Semaphore::new(REQUESTS),
            bodies: Arc::new(Semaphore::new(limits.bodies.max(1))),
            small_bodies: Arc::new(Semaphore::new(SMALL_BODIES)),
            waiting: AtomicUsize::new(0),
            probed: Notify::new(),
            limits,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn clients(&self) -> impl Iterator<Item = &RegistryClient> {
        self.all.iter().map(|endpoint| &*endpoint.client)
    }

    /// Asks one endpoint after the other until one answers with what passes `check`, and reads the answer whole.
    pub(super) async fn ask(
        self: &Arc<Self>,
        ask: &RegistryRequest<'_>,
        counted: CountsAgainstQuota,
        limit: usize,
        check: &(dyn Fn(&Reply) -> Result<(), InvalidReply> + Send + Sync),
    ) -> Result<Reply, Vec<EndpointError>> {
        self.settle(ask.object).await;
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
        self: &Arc<Self>,
        endpoint: usize,
        ask: &RegistryRequest<'_>,
        counted: CountsAgainstQuota,
        limit: usize,
        check: &(dyn Fn(&Reply) -> Result<(), InvalidReply> + Send + Sync),
    ) -> Result<Reply, EndpointError> {
        let waited = tokio::time::timeout(self.limits.queue, self.requests.acquire()).await;
        let Ok(Ok(permit)) = waited else { return Err(EndpointError::Busy) };
        let (answer, _permit) = unless_late(permit, self.answer(endpoint, ask, counted)).await;
        let answer = answer?;
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
        let result = reply.and_then(|reply| {
            // Nothing that is read whole is compressed by itself, unless that is what its digest says.
            let plain = if is_gzip(&reply.body) { decoded(&reply.body, limit) } else { None };
            let plain = plain.map(|body| Reply { body, ..reply.clone() });
            match plain.filter(|plain| check(plain).is_ok()) {
                Some(plain) => Ok(plain),
                None => fit(&reply).map(|()| reply),
            }
        });
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
        self: &Arc<Self>,
        endpoint: usize,
        ask: &RegistryRequest<'_>,
        counted: CountsAgainstQuota,
    ) -> Result<Answer, EndpointError> {
        let Some(asked) = self.all.get(endpoint) else { return Err(EndpointError::Busy) };
        if counted == CountsAgainstQuota::Yes
            && let Some(left) = locked(&asked.quota).spent(Instant::now())
        {
            return Err(EndpointError::Paused(PauseReason::TooMany, left));
        }
        self.may_ask(endpoint, ask.object)?;
        let begun = Instant::now();
        let answer = Box::pin(asked.client.send(&ask.clone().decoding_gzip())).await;
        let result = answer.as_ref().map_or_else(|error| result(error.cause.kind()), |_| UpstreamResult::Ok);
        self.metrics.upstream(self.registry.as_str(), result, begun.elapsed());
        let verdict = self.verdict(&asked.client, answer.as_ref().map(drop));
        let probe = locked(&asked.health).note(ask.object, verdict, Instant::now(), chance());
        self.noted(endpoint, probe);
        match answer {
            Ok(answer) => {
                self.note_quota(asked, &answer);
                Ok(answer)
            }
            Err(mut error) => {
                if let RequestError::TooMany(Some(pause)) = &mut error.cause {
                    *pause = (*pause).min(self.limits.pause);
                }
                let failed = EndpointError::from(error);
                self.log(endpoint, &failed);
                Err(failed)
            }
        }
    }

    /// Returns what an answer says about the endpoint: nothing, where a redirect or a token led elsewhere.
    pub(super) fn verdict(&self, client: &RegistryClient, answer: Result<(), &ClientError>) -> Verdict {
        let Err(error) = answer else { return Verdict::Repository(Signal::Good) };
        let is_own = Url::parse(&error.url).is_ok_and(|url| client.endpoint().is_own(&url));
        let signal = match &error.cause {
            // Hosts to which it leads have pauses of their own.
            _ if !is_own => Signal::None,
            RequestError::TooMany(pause) => {
                // What is added so that replicas do not come back together makes it no longer than the longest.
                let longest = self.limits.pause.saturating_sub(ADDED);
                Signal::TooMany(pause.map(|pause| pause.min(longest)))
            }
            RequestError::Status { status: 500.., .. }
            | RequestError::Broken(_)
            | RequestError::TimedOut { waited: Wait::Header | Wait::Body, .. } => Signal::Failing,
            RequestError::Status { .. } | RequestError::NotFound(_) | RequestError::Denied { .. } => {
                Signal::Good
            }
            RequestError::Resolve { .. }
            | RequestError::Connect(_)
            | RequestError::Tls(_)
            | RequestError::TimedOut { waited: Wait::Connection, .. } => return Verdict::HostDown,
            RequestError::PrivateAddress(_)
            | RequestError::OtherNetwork(_)
            | RequestError::NotAsked(_)
            | RequestError::Redirect(_)
            | RequestError::Realm(_)
            | RequestError::Token(_)
            | RequestError::Answer(_)
            | RequestError::TooLarge(_)
            | RequestError::Credentials { .. } => Signal::None,
        };
        Verdict::Repository(signal)
    }

    /// Ends all pauses: the operator says that the upstream is well.
    pub(super) fn end_pauses(&self) {
        for endpoint in &self.all {
            locked(&endpoint.health).end_pauses();
            *locked(&endpoint.quota) = PullQuota::default();
            endpoint.client.end_pauses();
        }
        self.probed.notify_waiters();
        self.show_circuit();
    }

    fn note_quota(&self, endpoint: &Endpoint, answer: &Answer) {
        let header = |name| answer.header(HeaderName::from_static(name));
        let quota = Quota::parse(header("ratelimit-limit"), header("ratelimit-remaining"));
        // Limits of a whole API, which have no window, are not about pulls.
        if let Some(quota) = quota.filter(|quota| quota.window.is_some()) {
            locked(&endpoint.quota).note(quota, Instant::now());
            self.metrics.quota(self.registry.as_str(), quota.limit, quota.remaining);
        }
    }

    /// Waits for the right to transfer a body, of which it may be known how large it is.
    pub(super) async fn body_permit(&self, size: Option<u64>) -> Result<OwnedSemaphorePermit, EndpointError> {
        let is_small = size.is_some_and(|size| size <= SMALL);
        let bodies = Arc::clone(if is_small { &self.small_bodies } else { &self.bodies });
        let _waiting = Waiting::new(&self.waiting);
        match tokio::time::timeout(self.limits.queue, bodies.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(EndpointError::Busy),
        }
    }

    /// Returns how often a blob is asked for again that fails before its first byte.
    pub(super) fn retries(&self) -> u32 {
        self.limits.retries
    }

    /// Tells when a blob is asked for once more whose header is late; never, where nothing is asked for again.
    pub(super) fn asks_again(
        &self,
        endpoint: usize,
    ) -> impl Stream<Item = Option<OwnedSemaphorePermit>> + Send {
        let asked = Instant::now();
        let lost = self.all.get(endpoint).filter(|_| self.limits.retries > 0).map(|asked| &asked.lost);
        stream::iter(lost).then(move |lost| lost.due(asked.into(), self.limits.header))
    }

    /// Takes note that the header of a blob came that was asked for at `asked`.
    pub(super) fn answered(&self, endpoint: usize, asked: Instant) {
        if let Some(endpoint) = self.all.get(endpoint) {
            endpoint.lost.answered(asked.into());
        }
    }

    pub(super) fn received(&self, bytes: usize) {
        self.metrics.upstream_received(self.registry.as_str(), bytes as u64);
    }

    pub(super) fn mismatch(&self) {
        self.metrics.upstream(self.registry.as_str(), UpstreamResult::Mismatch, Duration::ZERO);
    }

    /// Returns why nothing is asked now, and for how long at least; [`None`] where an endpoint is.
    ///
    /// That is what holds for a tag of a repository, if one is named, else for the hosts.
    pub(super) fn pause(&self, tag: Option<(&Repository, &Tag)>) -> Option<(PauseReason, Duration)> {
        let now = Instant::now();
        let mut least = None;
        for endpoint in &self.all {
            let mut health = locked(&endpoint.health);
            let (why, left) = match tag {
                Some((repository, tag)) => health.paused_for(repository, tag, now)?,
                None => health.paused(now)?,
            };
            least = least.filter(|(_, other)| *other <= left).or(Some((why, left)));
        }
        least
    }

    pub(super) fn health(&self) -> Vec<EndpointHealth> {
        let now = Instant::now();
        let health = |endpoint: &Endpoint| {
            let quota = *locked(&endpoint.quota);
            let health = locked(&endpoint.health);
            let since = |since: Instant| now.saturating_duration_since(since);
            let (paused, paused_for) = match (health.paused(now), quota.spent(now)) {
                (Some(paused), _) => (Some(paused), health.paused_since().map(since)),
                (None, Some(left)) => (Some((PauseReason::TooMany, left)), quota.said_at().map(since)),
                (None, None) => (None, None),
            };
            let repositories = if paused.is_some() { Vec::new() } else { health.paused_repositories(now) };
            let endpoint = endpoint.client.endpoint().to_string();
            EndpointHealth { endpoint, paused, paused_for, repositories, quota: quota.quota() }
        };
        self.all.iter().map(health).collect()
    }

    pub(super) fn transfers(&self) -> Transfers {
        let limit = self.limits.bodies.max(1);
        Transfers {
            running: limit.saturating_sub(self.bodies.available_permits()),
            limit,
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    /// Returns what was said last about how much may be pulled, by the first endpoint that says so.
    pub(super) fn budget(&self) -> Option<PullQuota> {
        self.all.iter().map(|endpoint| *locked(&endpoint.quota)).find(|budget| budget.quota().is_some())
    }

    pub(super) fn show_circuit(&self) {
        let now = Instant::now();
        let best = self.all.iter().map(|endpoint| {
            let health = locked(&endpoint.health);
            match (health.paused(now), health.is_first_probe()) {
                (None, _) => (0, observe::Circuit::Closed),
                (Some(_), true) => (1, observe::Circuit::HalfOpen),
                (Some(_), false) => (2, observe::Circuit::Open),
            }
        });
        if let Some((_, circuit)) = best.min_by_key(|(order, _)| *order) {
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
            EndpointError::Paused(..) | EndpointError::Quarantined | EndpointError::Busy => {}
        }
    }

    pub(super) fn failed(failed: &[EndpointError]) -> FetchError {
        together(failed)
    }
}

/// Waits for an answer's header; one that is late gives back what it holds, so that it keeps no other waiting.
pub(super) async fn unless_late<P, T>(permit: P, answer: impl Future<Output = T>) -> (T, Option<P>) {
    let mut answer = std::pin::pin!(answer);
    if let Ok(answer) = tokio::time::timeout(LATE, &mut answer).await {
        return (answer, Some(permit));
    }
    drop(permit);
    (answer.await, None)
}

/// Returns a number between 0 and 1.
pub(super) fn chance() -> f64 {
    // Every state is keyed by the system's randomness, which is all that is wanted here.
    let bits = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(bits >> 32).unwrap_or_default()) / f64::from(u32::MAX)
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
