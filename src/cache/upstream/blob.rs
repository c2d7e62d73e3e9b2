#![expect(clippy::disallowed_methods, reason = "measures upstream, and waits before a retry")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use http::header::{CONTENT_RANGE, ETAG};

use super::endpoints::{CountsAgainstQuota, Endpoints};
use super::error::EndpointError;
use crate::cache::backoff::Backoff;
use crate::cache::download::{FetchError, Opened, Source};
use crate::cache::memory::{BoundedMap, locked};
use crate::image::{Digest, Repository};
use crate::oci::{Answer, ContentRange, Method, Range, RegistryRequest, RequestError, RequestErrorKind};
use futures_util::future::BoxFuture;

/// For how long an endpoint is not asked for a digest under which it gave other bytes, where another one can be asked.
const QUARANTINE: Duration = Duration::from_mins(1);
/// For how long where it is the only one, by how often that has happened.
const QUARANTINE_OF_THE_ONLY: Backoff =
    Backoff { first: Duration::from_secs(2), longest: Duration::from_mins(1) };
/// How many such cases are remembered.
const CASES: usize = 1024;
/// How long to wait before a blob is asked for again that failed before its first byte.
const TRIES: Backoff = Backoff { first: Duration::from_millis(250), longest: Duration::from_secs(2) };
/// After what time it is not asked for again: a client waits for the header.
const LONGEST_TRY: Duration = Duration::from_secs(10);
/// How long a transfer that broke waits for an endpoint that is left alone, rather than fail.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which endpoint gave other bytes for which digest, and when.
#[derive(Debug)]
pub(super) struct Quarantine(BoundedMap<(Digest, usize), (Instant, u32)>);

impl Default for Quarantine {
    fn default() -> Self {
        Self(BoundedMap::new(CASES))
    }
}

impl Quarantine {
    /// Notes that an endpoint gave other bytes for a digest; `only` says that no other one can be asked.
    fn put(&mut self, digest: &Digest, endpoint: usize, only: bool, now: Instant) {
        let times = self.0.get(&(*digest, endpoint)).map_or(0, |(_, times)| times).saturating_add(1);
        let wait = if only { QUARANTINE_OF_THE_ONLY.after(times) } else { QUARANTINE };
        self.0.put((*digest, endpoint), (now + wait, times), 1);
    }

    /// Returns whether an endpoint is not to be asked for a digest.
    fn holds(&mut self, digest: &Digest, endpoint: usize, now: Instant) -> bool {
        self.0.get(&(*digest, endpoint)).is_some_and(|(until, _)| now < until)
    }
}

/// A blob's bytes, from whichever endpoint gives them.
#[derive(Debug)]
pub(super) struct BlobSource {
    endpoints: Arc<Endpoints>,
    quarantine: Arc<Mutex<Quarantine>>,
    repository: Repository,
    digest: Digest,
    /// How large it is, where a manifest says so.
    size: Option<u64>,
    known: Mutex<EarlierAnswers>,
}

/// What is asked for of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    /// The first byte.
    from: u64,
    /// Where it ends, without the byte there, if that is before the blob does.
    end: Option<u64>,
}

impl Part {
    fn range(self) -> Option<Range> {
        match (self.from, self.end) {
            (0, None) => None,
            (from, None) => Some(Range::From(from)),
            (from, Some(end)) => Some(Range::Between(from, end.saturating_sub(1).max(from))),
        }
    }
}

/// What earlier answers said about the blob.
#[derive(Debug, Default)]
struct EarlierAnswers {
    /// The endpoint that answered last.
    last: Option<usize>,
    total: Option<u64>,
    /// Strong entity tags by endpoint: each has its own.
    etags: HashMap<usize, String>,
}

impl BlobSource {
    pub(super) fn new(
        endpoints: Arc<Endpoints>,
        quarantine: Arc<Mutex<Quarantine>>,
        repository: Repository,
        digest: Digest,
        size: Option<u64>,
    ) -> Self {
        Self { endpoints, quarantine, repository, digest, size, known: Mutex::default() }
    }

    /// Opens the blob; where what failed may go well in a moment, as it is with the servers behind a redirect, asks
    /// again, within seconds.
    async fn open_now(&self, part: Part) -> Result<Opened, FetchError> {
        let begun = Instant::now();
        let mut tries = 0;
        loop {
            let failed = match self.open_once(part).await {
                Ok(opened) => return Ok(opened),
                Err(failed) => failed,
            };
            let may_go_well = !failed.is_empty() && failed.iter().all(is_failing);
            if !may_go_well || tries == self.endpoints.retries() || begun.elapsed() > LONGEST_TRY {
                return Err(Endpoints::failed(&failed));
            }
            tries += 1;
            tokio::time::sleep(TRIES.after(tries)).await;
        }
    }

    async fn open_once(&self, part: Part) -> Result<Opened, Vec<EndpointError>> {
        let size = match part.end {
            Some(end) => Some(end.saturating_sub(part.from)),
            None => locked(&self.known).total.or(self.size),
        };
        let permit = self.endpoints.body_permit(size).await.map_err(|failed| vec![failed])?;
        let mut failed = Vec::new();
        for endpoint in self.order() {
            if locked(&self.quarantine).holds(&self.digest, endpoint, Instant::now()) {
                failed.push(EndpointError::Quarantined);
                continue;
            }
            match self.open_at(endpoint, part).await {
                Ok((answer, starts_at, total)) => {
                    self.learn(endpoint, &answer, total);
                    let endpoints = Arc::clone(&self.endpoints);
                    let body = answer.into_stream().map(move |piece| {
                        // The permit lasts as long as the body.
                        let _ = &permit;
                        match piece {
                            Ok(bytes) => {
                                endpoints.received(bytes.len());
                                Ok(bytes)
                            }
                            Err(error) => {
                                tracing::debug!(registry = %endpoints.registry, %error, "a transfer broke off");
                                Err(FetchError::Broken(error.cause.reason().to_owned()))
                            }
                        }
                    });
                    return Ok(Opened { total, starts_at, endpoint, body: body.boxed() });
                }
                Err(error) => failed.push(error),
            }
        }
        Err(failed)
    }

    /// Returns the endpoints in the order in which they are asked: the one that answered last goes on.
    fn order(&self) -> Vec<usize> {
        let last = locked(&self.known).last;
        let others = (0..self.endpoints.len()).filter(|endpoint| Some(*endpoint) != last);
        last.into_iter().chain(others).collect()
    }

    /// Asks one endpoint; returns the answer, where its body begins, and how long the blob is.
    async fn open_at(
        &self,
        endpoint: usize,
        part: Part,
    ) -> Result<(Answer, u64, Option<u64>), EndpointError> {
        let from = part.from;
        let what = format!("blobs/{}", self.digest);
        let mut ask = RegistryRequest::new(Method::Get, &self.repository, &what);
        let known = locked(&self.known).total;
        if let Some(range) = part.range() {
            let etag = locked(&self.known).etags.get(&endpoint).cloned();
            ask = ask.part(range, etag);
        }
        let answer = match self.endpoints.answer(endpoint, &ask, CountsAgainstQuota::No).await {
            // An endpoint that gave the first half is soon asked again for the second.
            Err(EndpointError::Paused(_, left)) if from > 0 && left <= PATIENCE => {
                tokio::time::sleep(left + Duration::from_millis(10)).await;
                self.endpoints.answer(endpoint, &ask, CountsAgainstQuota::No).await?
            }
            answer => answer?,
        };
        match begins(&answer, part, known) {
            Ok((starts_at, total)) => Ok((answer, starts_at, total)),
            Err(what) => {
                let failed = EndpointError::Asked(answer.failed(RequestError::Answer(what)));
                self.endpoints.log(endpoint, &failed);
                Err(failed)
            }
        }
    }

    fn learn(&self, endpoint: usize, answer: &Answer, total: Option<u64>) {
        let etag = answer.header(ETAG).filter(|tag| tag.starts_with('"')).map(str::to_owned);
        let mut known = locked(&self.known);
        known.last = Some(endpoint);
        known.total = known.total.or(total);
        match etag {
            Some(etag) => known.etags.insert(endpoint, etag),
            None => known.etags.remove(&endpoint),
        };
    }
}

/// Returns whether an endpoint answered with an error of its own, or broke off: the next time it may not.
fn is_failing(error: &EndpointError) -> bool {
    matches!(error, EndpointError::Asked(error) if error.cause.kind() == RequestErrorKind::Failing)
}

/// Returns where a body begins, and how long the whole is; what cannot go on where an earlier one ended is an error.
fn begins(answer: &Answer, part: Part, known: Option<u64>) -> Result<(u64, Option<u64>), String> {
    let from = part.from;
    let (starts_at, total) = match answer.status() {
        200 => (0, answer.content_length()),
        206 => {
            let header = answer.header(CONTENT_RANGE).and_then(|header| header.parse().ok());
            let Some(ContentRange::Part(span, size)) = header else {
                return Err("it answers with a part and does not say which".to_owned());
            };
            let is_bounded = part.end.is_some();
            // Where a part ends that was asked for says nothing of the whole.
            let total = size.or(known).or((!is_bounded).then(|| span.last() + 1));
            let continues = total.is_some_and(|total| ContentRange::Part(span, size).continues(from, total));
            if !(continues || is_bounded && span.first() == from) {
                return Err(format!("it answers with other bytes than those from {from} on"));
            }
            (from, total)
        }
        status => return Err(format!("it answers {status} to a request for a part")),
    };
    match (known, total) {
        (Some(known), Some(total)) if known != total => {
            Err(format!("it says that there are {total} bytes, and there were {known}"))
        }
        (known, total) => Ok((starts_at, total.or(known))),
    }
}

impl Source for BlobSource {
    fn open(&self, from: u64) -> BoxFuture<'_, Result<Opened, FetchError>> {
        Box::pin(self.open_now(Part { from, end: None }))
    }

    fn open_part(&self, from: u64, end: u64) -> BoxFuture<'_, Result<Opened, FetchError>> {
        Box::pin(self.open_now(Part { from, end: Some(end) }))
    }

    fn mismatch(&self, endpoints: &[usize]) {
        let now = Instant::now();
        for endpoint in endpoints {
            let what = format!("other bytes than those of {}", self.digest);
            self.endpoints.log(*endpoint, &EndpointError::Mismatch(what));
            self.endpoints.mismatch();
            locked(&self.quarantine).put(&self.digest, *endpoint, self.endpoints.len() == 1, now);
        }
        *locked(&self.known) = EarlierAnswers::default();
    }
}
