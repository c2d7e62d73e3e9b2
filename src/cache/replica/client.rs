#![expect(clippy::disallowed_methods, reason = "asks other members, and waits for them")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::timeout;
use url::Url;

use super::gate::{HELLO, Member};
use super::proof::Claim;
use super::secrets::PeerSecrets;
use crate::cache::bucket::{self, innermost};
use crate::cache::store::Origin;
use crate::image::Digest;
use crate::oci::ContentRange;

/// How long a transfer may give nothing before it is asked for again, which tells whether the member is there.
const IDLE: Duration = Duration::from_secs(15);
/// How long a connection may take, and the answer to a greeting.
const CONNECT: Duration = Duration::from_secs(2);

/// Asks other members.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    secrets: PeerSecrets,
    received: Arc<AtomicU64>,
}

/// A part of a blob that another member is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) origin: &'a Origin,
    pub(super) digest: &'a Digest,
    pub(super) from: u64,
    /// Where it ends, if that is before the blob does: the first byte that is not wanted.
    pub(super) end: Option<u64>,
}

/// Why another member gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PeerFault {
    /// It cannot be reached, or does not answer.
    #[error("it cannot be reached: {0}")]
    Gone(String),
    /// It is there, and gives nothing for a while: its own way to upstream may hang.
    #[error("it gives nothing in time")]
    Late,
    /// It does not answer, and has not renewed the lease that it had: it hangs, or is cut off.
    #[error("it does not answer, and does not renew its lease")]
    Silent,
    /// It does not give this to this cache, whatever it has.
    #[error(
        "it denies access ({0}): do all caches have the same secret, the same registries, and the right time?"
    )]
    Denied(u16),
    /// It does not have it, or cannot give it now.
    #[error("{0}")]
    WithoutIt(String),
}

/// A blob's bytes as another member gives them.
pub(super) struct PeerBody {
    /// How long the whole blob is.
    pub(super) total: u64,
    pub(super) body: BoxStream<'static, Result<Bytes, PeerFault>>,
}

impl Client {
    /// Makes one that knows the secret.
    pub(super) fn new(secrets: PeerSecrets) -> Result<Self, String> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("talmirror/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(bucket::tls(Vec::new())?)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .http1_only()
            .connect_timeout(CONNECT)
            .tcp_keepalive(Duration::from_secs(5))
            .pool_idle_timeout(Duration::from_secs(20))
            .build()
            .map_err(|error| error.without_url().to_string())?;
        Ok(Self { http, secrets, received: Arc::default() })
    }

    /// Returns how many bytes of blobs came from other members.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Asks whether a member is there and takes the secret; `own` is told to it as the URL of one that is new.
    pub(super) async fn greet(&self, member: &str, own: Option<&str>) -> Result<(), PeerFault> {
        let mut url = url(member, HELLO)?;
        if let Some(own) = own {
            url.query_pairs_mut().append_pair("from", own);
        }
        let answer = self.send(member, url, String::new());
        let answer = timeout(CONNECT, answer).await;
        let answer = answer.map_err(|_| PeerFault::Gone("it does not answer in time".to_owned()))??;
        match answer.status() {
            StatusCode::NO_CONTENT => Ok(()),
            StatusCode::UNAUTHORIZED => Err(PeerFault::Denied(401)),
            status => Err(PeerFault::WithoutIt(format!("it answers {} to a greeting", status.as_u16()))),
        }
    }

    /// Asks a member for a part of a blob, and waits for the header of its answer as long as the caller does.
    pub(super) async fn open(
        &self,
        member: &str,
        asks: Member,
        part: Part<'_>,
    ) -> Result<PeerBody, PeerFault> {
        let Part { origin, digest, from, end } = part;
        let target = format!("/v2/{}/{}/blobs/{digest}", origin.registry, origin.repository);
        let mut url = url(member, &target)?;
        url.set_query(Some(&asks.query()));
        let range = match (from, end) {
            (0, None) => String::new(),
            (from, None) => format!("bytes={from}-"),
            (from, Some(end)) => format!("bytes={from}-{}", end.saturating_sub(1)),
        };
        let answer = self.send(member, url, range).await?;
        match answer.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
                let total = total(answer.status(), answer.headers(), from);
                let total = total.ok_or_else(|| {
                    PeerFault::WithoutIt("it gives another part than it was asked for".to_owned())
                })?;
                Ok(PeerBody { total, body: self.body(answer) })
            }
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(PeerFault::Denied(status.as_u16()))
            }
            StatusCode::CONFLICT => {
                Err(PeerFault::WithoutIt("it reads from another cache itself".to_owned()))
            }
            status => Err(PeerFault::WithoutIt(format!("it answers {}", status.as_u16()))),
        }
    }

    async fn send(&self, member: &str, url: Url, range: String) -> Result<reqwest::Response, PeerFault> {
        let target =
            url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let claim = Claim { member, method: "GET", target: &target, range: &range };
        let proof = self.secrets.prove(&claim, jiff::Timestamp::now().as_second());
        let mut proof = HeaderValue::from_str(&proof).map_err(|error| PeerFault::Gone(error.to_string()))?;
        proof.set_sensitive(true);
        let mut request = self.http.get(url).header(AUTHORIZATION, proof);
        if !range.is_empty() {
            request = request.header(RANGE, range);
        }
        request.send().await.map_err(|error| PeerFault::Gone(innermost(&error.without_url())))
    }

    fn body(&self, answer: reqwest::Response) -> BoxStream<'static, Result<Bytes, PeerFault>> {
        let received = Arc::clone(&self.received);
        stream::try_unfold((answer, received), |(mut answer, received)| async move {
            match timeout(IDLE, answer.chunk()).await {
                Err(_) => Err(PeerFault::Late),
                Ok(Err(error)) => Err(PeerFault::Gone(innermost(&error.without_url()))),
                Ok(Ok(None)) => Ok(None),
                Ok(Ok(Some(bytes))) => {
                    received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    Ok(Some((bytes, (answer, received))))
                }
            }
        })
        .boxed()
    }
}

fn url(member: &str, target: &str) -> Result<Url, PeerFault> {
    let url = format!("{}{target}", member.trim_end_matches('/')).parse();
    url.map_err(|_| PeerFault::Gone("its URL in the bucket is not valid".to_owned()))
}

/// Returns how long the whole is, where an answer has the part from byte `from` on.
fn total(status: StatusCode, headers: &HeaderMap, from: u64) -> Option<u64> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if status == StatusCode::OK {
        return text(CONTENT_LENGTH)?.parse().ok().filter(|_| from == 0);
    }
    match text(CONTENT_RANGE)?.parse::<ContentRange>().ok()? {
        ContentRange::Part(span, total) if span.first() == from => total,
        ContentRange::Part(..) | ContentRange::Unsatisfied(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_part_that_was_asked_for() {
        let headers = |pairs: &[(http::HeaderName, &str)]| {
            pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect::<HeaderMap>()
        };
        let whole = headers(&[(CONTENT_LENGTH, "9")]);
        assert_eq!((total(StatusCode::OK, &whole, 0), total(StatusCode::OK, &whole, 3)), (Some(9), None));
        let part = headers(&[(CONTENT_LENGTH, "6"), (CONTENT_RANGE, "bytes 3-8/9")]);
        assert_eq!(total(StatusCode::PARTIAL_CONTENT, &part, 3), Some(9));
        for (status, headers, from) in [
            (StatusCode::PARTIAL_CONTENT, &part, 2),
            (StatusCode::PARTIAL_CONTENT, &whole, 3),
            (StatusCode::OK, &headers(&[]), 0),
        ] {
            assert_eq!(total(status, headers, from), None);
        }
        assert!(url("http://[::1]:1/", "/v2/").is_ok_and(|url| url.as_str() == "http://[::1]:1/v2/"));
        assert!(url("rot", "/v2/").is_err());
    }
}
