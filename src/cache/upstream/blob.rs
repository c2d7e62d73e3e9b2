#![expect(clippy::disallowed_methods, reason = "measures upstream, and waits before a retry")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::header::{CONTENT_RANGE, ETAG};

use super::endpoints::{CountsAgainstQuota, Endpoints, unless_late};
use super::error::EndpointError;
use super::gzip::{decode, is_gzip};
use crate::cache::backoff::Backoff;
use crate::cache::download::{FetchError, Opened, Source};
use crate::cache::memory::{BoundedMap, locked};
use crate::image::{Digest, Repository};
use crate::oci::{
    Answer, Coding, ContentRange, Method, Range, RegistryRequest, RequestError, RequestErrorKind, send_again,
};
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
/// From which size on a part is worth a connection of its own, in bytes.
const LARGE_PART: u64 = 1 << 20;
/// How long a transfer that broke waits for an endpoint that is left alone, rather than fail.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found out about the bytes that endpoints gave.
#[derive(Debug)]
pub(super) struct Quarantine {
    /// Which endpoint gave other bytes for which digest, and when.
    wrong: BoundedMap<(Digest, usize), (Instant, u32)>,
    /// Blobs that came as gzip and did not have their digest, how they are taken the next time, and since when.
    codings: BoundedMap<Digest, (Taken, Instant)>,
}

/// How a body is taken that is gzip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// As it comes.
    AsItIs,
    /// Decoded.
    Decoded,
}

impl Default for Quarantine {
    fn default() -> Self {
        Self { wrong: BoundedMap::new(CASES), codings: BoundedMap::new(CASES) }
    }
}

impl Quarantine {
    /// Notes that an endpoint gave other bytes for a digest; `only` says that no other one can be asked.
    fn put(&mut self, digest: &Digest, endpoint: usize, only: bool, now: Instant) {
        let times = self.wrong.get(&(*digest, endpoint)).map_or(0, |(_, times)| times).saturating_add(1);
        let wait = if only { QUARANTINE_OF_THE_ONLY.after(times) } else { QUARANTINE };
        self.wrong.put((*digest, endpoint), (now + wait, times), 1);
    }

    /// Returns how a blob is to be taken that did not have its digest the other way.
    fn coding(&mut self, digest: &Digest) -> Option<Taken> {
        let (taken, since) = self.codings.get(digest)?;
        (since.elapsed() < QUARANTINE).then_some(taken)
    }

    /// Returns whether an endpoint is not to be asked for a digest.
    fn holds(&mut self, digest: &Digest, endpoint: usize, now: Instant) -> bool {
        self.wrong.get(&(*digest, endpoint)).is_some_and(|(until, _)| now < until)
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
    known: Arc<Mutex<EarlierAnswers>>,
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
    /// From which byte on it was asked then.
    from: u64,
    /// What it gave then has ended, in whatever way.
    has_ended: bool,
    total: Option<u64>,
    /// Strong entity tags by endpoint: each has its own.
    etags: HashMap<usize, String>,
    /// How a body was taken that is gzip, and may be meant otherwise.
    taken: Option<Taken>,
    /// What came was gzip and had another digest; how it is taken the next time is for another download.
    is_doubtful: bool,
}

/// A body of which it is known where it begins, and how long the whole is.
struct Begun {
    starts_at: u64,
    total: Option<u64>,
    etag: Option<String>,
    body: BoxStream<'static, Result<Bytes, FetchError>>,
}

impl BlobSource {
    pub(super) fn new(
        endpoints: Arc<Endpoints>,
        quarantine: Arc<Mutex<Quarantine>>,
        repository: Repository,
        digest: Digest,
        size: Option<u64>,
    ) -> Self {
        Self { endpoints, quarantine, repository, digest, size, known: Arc::default() }
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
        let what = self.what();
        self.endpoints.settle(Some((&self.repository, &what))).await;
        let mut permit = Some(self.endpoints.body_permit(size).await.map_err(|failed| vec![failed])?);
        let mut failed = Vec::new();
        for endpoint in self.order(part.from) {
            let is_doubtful = locked(&self.known).is_doubtful;
            if is_doubtful || locked(&self.quarantine).holds(&self.digest, endpoint, Instant::now()) {
                failed.push(EndpointError::Quarantined);
                continue;
            }
            if permit.is_none() {
                permit = Some(self.endpoints.body_permit(size).await.map_err(|failed| vec![failed])?);
            }
            // A request, or its answer, may be lost on the way: then this digest would be held until the header is given up.
            let again = self.endpoints.asks_again(endpoint);
            let asked = send_again(again, || self.open_noting(endpoint, part), Result::is_ok);
            let (begun, kept) = unless_late(permit.take(), asked).await;
            permit = kept.flatten();
            match begun {
                Ok(Begun { starts_at, total, etag, body }) => {
                    self.learn(endpoint, part.from, etag, total);
                    let permit = match permit.take() {
                        Some(permit) => permit,
                        None => self.endpoints.body_permit(size).await.map_err(|failed| vec![failed])?,
                    };
                    let body = body.map(move |piece| {
                        // The permit lasts as long as the body.
                        let _ = &permit;
                        piece
                    });
                    return Ok(Opened { total, starts_at, endpoint, body: body.boxed() });
                }
                Err(error) => failed.push(error),
            }
        }
        Err(failed)
    }

    fn what(&self) -> String {
        format!("blobs/{}", self.digest)
    }

    /// Returns the endpoints in the order in which they are asked for what begins with a byte: the one that answered last
    /// goes on, unless it was asked for the same then and gave nothing of it.
    fn order(&self, from: u64) -> Vec<usize> {
        let (last, gave_nothing) = {
            let known = locked(&self.known);
            (known.last, known.has_ended && known.from == from)
        };
        let others = (0..self.endpoints.len()).filter(|endpoint| Some(*endpoint) != last);
        if gave_nothing { others.chain(last).collect() } else { last.into_iter().chain(others).collect() }
    }

    /// Asks one endpoint, and notes how soon it answers.
    async fn open_noting(&self, endpoint: usize, part: Part) -> Result<Begun, EndpointError> {
        let asked = Instant::now();
        let begun = self.open_at(endpoint, part).await?;
        self.endpoints.answered(endpoint, asked);
        Ok(begun)
    }

    /// Asks one endpoint.
    async fn open_at(&self, endpoint: usize, part: Part) -> Result<Begun, EndpointError> {
        let known = locked(&self.known).total;
        let taken = locked(&self.quarantine).coding(&self.digest);
        // Of what is to be decoded, no part can be asked for.
        let before = locked(&self.known).taken;
        if taken == Some(Taken::Decoded) || taken.is_none() && before == Some(Taken::Decoded) {
            return self.open_decoded(endpoint).await;
        }
        let (mut part, mut answer) = (part, self.ask(endpoint, part).await?);
        let mut coded_size = coded_size_of(&answer);
        let says_gzip = answer.coding() == Coding::Gzip;
        if taken.is_none() && answer.status() == 206 && !says_gzip && self.is_other_size(coded_size) {
            // A part of something else, it seems; what it is, its first bytes tell.
            part = Part { from: 0, end: None };
            answer = self.ask(endpoint, part).await?;
            coded_size = coded_size_of(&answer);
        }
        let says_gzip = answer.coding() == Coding::Gzip;
        let etag = answer.header(ETAG).filter(|tag| tag.starts_with('"')).map(str::to_owned);
        let is_other_size = self.is_other_size(coded_size);
        // What has the length of the manifest is the blob; what has none was compressed for us, it seems.
        if says_gzip && taken.is_none() && (is_other_size || coded_size.is_none()) {
            if answer.status() == 206 {
                return self.open_decoded(endpoint).await;
            }
            return Ok(self.decoded(self.body(answer)));
        }
        let (starts_at, total) = match begins(&answer, part, known) {
            Ok(begins) => begins,
            Err(what) => {
                let failed = EndpointError::Asked(answer.failed(RequestError::Answer(what)));
                self.endpoints.log(endpoint, &failed);
                return Err(failed);
            }
        };
        let mut body = self.body(answer);
        if starts_at == 0 && taken.is_none() && is_other_size {
            let first = body.next().await;
            let is_gzip = matches!(&first, Some(Ok(bytes)) if is_gzip(bytes));
            body = stream::iter(first).chain(body).boxed();
            if is_gzip {
                return Ok(self.decoded(body));
            }
        } else if starts_at == 0 && taken.is_none() && self.size.is_none() {
            // Which of the two it is, its digest tells.
            let (known, mut is_first) = (Arc::clone(&self.known), true);
            let look = move |bytes: &Bytes| {
                if std::mem::take(&mut is_first) && (says_gzip || is_gzip(bytes)) {
                    locked(&known).taken = Some(Taken::AsItIs);
                }
            };
            body = body.inspect_ok(look).boxed();
        }
        Ok(Begun { starts_at, total, etag, body })
    }

    /// Returns whether what comes has another length than the manifest says.
    fn is_other_size(&self, coded: Option<u64>) -> bool {
        self.size.is_some() && coded.is_some() && self.size != coded
    }

    /// Asks one endpoint for all of what is to be decoded.
    async fn open_decoded(&self, endpoint: usize) -> Result<Begun, EndpointError> {
        let answer = self.ask(endpoint, Part { from: 0, end: None }).await?;
        Ok(self.decoded(self.body(answer)))
    }

    /// Returns a body whose gzip is to be decoded; how long that becomes, its manifest says.
    fn decoded(&self, body: BoxStream<'static, Result<Bytes, FetchError>>) -> Begun {
        locked(&self.known).taken = Some(Taken::Decoded);
        Begun { starts_at: 0, total: self.size, etag: None, body: decode(body) }
    }

    /// Sends a request for a part to one endpoint.
    async fn ask(&self, endpoint: usize, part: Part) -> Result<Answer, EndpointError> {
        let what = self.what();
        let mut ask = RegistryRequest::new(Method::Get, &self.repository, &what);
        if let Some(range) = part.range() {
            let etag = locked(&self.known).etags.get(&endpoint).cloned();
            ask = ask.part(range, etag);
        }
        // Parts of one blob are read side by side: they would leave as many connections behind that nothing uses.
        if part.end.is_some_and(|end| end.saturating_sub(part.from) >= LARGE_PART) {
            ask = ask.closing();
        }
        match self.endpoints.answer(endpoint, &ask, CountsAgainstQuota::No).await {
            // An endpoint that gave the first half is soon asked again for the second.
            Err(EndpointError::Paused(_, left)) if part.from > 0 && left <= PATIENCE => {
                tokio::time::sleep(left + Duration::from_millis(10)).await;
                self.endpoints.settle(Some((&self.repository, &what))).await;
                self.endpoints.answer(endpoint, &ask, CountsAgainstQuota::No).await
            }
            answer => answer,
        }
    }

    /// Returns the body of an answer as it comes, and counts it.
    fn body(&self, answer: Answer) -> BoxStream<'static, Result<Bytes, FetchError>> {
        let (endpoints, known) = (Arc::clone(&self.endpoints), Arc::clone(&self.known));
        let pieces = answer.into_stream().map(Some).chain(stream::iter([None]));
        let body = pieces.filter_map(move |piece| {
            let piece = match piece {
                Some(Ok(bytes)) => {
                    endpoints.received(bytes.len());
                    Some(Ok(bytes))
                }
                Some(Err(error)) => {
                    locked(&known).has_ended = true;
                    tracing::debug!(registry = %endpoints.registry, %error, "a transfer broke off");
                    Some(Err(FetchError::Broken(error.cause.reason().to_owned())))
                }
                None => {
                    locked(&known).has_ended = true;
                    None
                }
            };
            std::future::ready(piece)
        });
        body.boxed()
    }

    fn learn(&self, endpoint: usize, from: u64, etag: Option<String>, total: Option<u64>) {
        let mut known = locked(&self.known);
        known.last = Some(endpoint);
        (known.from, known.has_ended) = (from, false);
        known.total = known.total.or(total);
        match etag {
            Some(etag) => known.etags.insert(endpoint, etag),
            None => known.etags.remove(&endpoint),
        };
    }
}

/// Returns whether an endpoint answered with an error of its own, or broke off: the next time it may not.
pub(super) fn is_failing(error: &EndpointError) -> bool {
    matches!(error, EndpointError::Asked(error) if error.cause.kind() == RequestErrorKind::Failing)
}

/// Returns how long the whole is in the form in which it comes, if the answer says so.
fn coded_size_of(answer: &Answer) -> Option<u64> {
    match answer.status() {
        206 => match answer.header(CONTENT_RANGE)?.parse().ok()? {
            ContentRange::Part(_, size) => size,
            ContentRange::Unsatisfied(size) => Some(size),
        },
        _ => answer.content_length(),
    }
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
        let taken = locked(&self.known).taken;
        let other = match taken {
            Some(Taken::AsItIs) => Some(Taken::Decoded),
            Some(Taken::Decoded) => Some(Taken::AsItIs),
            None => None,
        };
        // It may be meant in the other form, once; then it is wrong in both, or was damaged on its way.
        let tried = locked(&self.quarantine).codings.remove(&self.digest);
        if let (Some(other), None) = (other, tried) {
            locked(&self.quarantine).codings.put(self.digest, (other, now), 1);
            *locked(&self.known) = EarlierAnswers { is_doubtful: true, ..EarlierAnswers::default() };
            return;
        }
        for endpoint in endpoints {
            let what = format!("other bytes than those of {}", self.digest);
            self.endpoints.log(*endpoint, &EndpointError::Mismatch(what));
            self.endpoints.mismatch();
            locked(&self.quarantine).put(&self.digest, *endpoint, self.endpoints.len() == 1, now);
        }
        *locked(&self.known) = EarlierAnswers::default();
    }
}
