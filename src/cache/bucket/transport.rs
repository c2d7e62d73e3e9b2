#![expect(clippy::disallowed_methods, reason = "asks the store, and waits for it")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, timeout};

use super::fault::{Fault, code};
use super::traffic::{Direction, Traffic};
use crate::tls::crypto_provider;

/// How long the header of an answer may take to something that is read: a client waits for it.
pub(super) const READ_PATIENCE: Duration = Duration::from_secs(5);
/// How long a part of a blob may take to be written; no client waits for it.
const WRITE_PATIENCE: Duration = Duration::from_mins(2);
/// How long a small request may take that no client waits for.
pub(super) const SMALL_PATIENCE: Duration = Duration::from_mins(1);
/// The most that is read of an answer that says what is wrong.
const MAX_ERROR: usize = 64 << 10;

/// For whom a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For a client that waits: not sent to a bucket that is not well.
    Pull,
    /// For nothing that waits, or for what was begun and is to go on.
    Care,
    /// For a collection, which may take its time: how it goes says nothing to others.
    Collect,
}

/// The connections to a bucket, for one purpose.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    client: reqwest::Client,
    traffic: Arc<Traffic>,
    purpose: Purpose,
    /// The host and port of the bucket; requests to others are for credentials.
    host: String,
}

/// The bucket is not asked now.
#[derive(Debug, thiserror::Error)]
#[error("the bucket is left alone for now, as it has failed")]
struct LeftAlone;

/// It does not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("it does not answer in time")]
struct TooSlow;

/// A list ends where there is more, and does not say where to go on.
#[derive(Debug, thiserror::Error)]
#[error("the store says that a list goes on and not where: what is not in it may be there all the same")]
struct Endless;

/// A request has no valid URL.
#[derive(Debug, thiserror::Error)]
#[error("it is not a valid URL")]
struct BadUrl;

/// Returns how connections are encrypted; `roots` are trusted besides the system's authorities.
pub(in crate::cache) fn tls(roots: Vec<CertificateDer<'static>>) -> Result<ClientConfig, String> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root).map_err(|error| error.to_string())?;
    }
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(store).with_no_client_auth())
}

/// Makes what sends requests; `roots` are trusted besides the system's authorities.
pub(super) fn client(roots: Vec<CertificateDer<'static>>) -> Result<reqwest::Client, String> {
    let tls = tls(roots)?;
    reqwest::Client::builder()
        .user_agent(concat!("talmirror/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .http1_only()
        .connect_timeout(READ_PATIENCE)
        .tcp_keepalive(Duration::from_secs(30))
        .pool_idle_timeout(Duration::from_secs(30))
        .build()
        .map_err(|error| innermost(&error))
}

impl Transport {
    pub(super) const fn new(
        client: reqwest::Client,
        traffic: Arc<Traffic>,
        purpose: Purpose,
        host: String,
    ) -> Self {
        Self { client, traffic, purpose, host }
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let direction = match *request.method() {
            Method::GET | Method::HEAD => Direction::Read,
            _ => Direction::Write,
        };
        let is_list = request.uri().query().is_some_and(|query| query.contains("list-type=2"));
        let is_removal = *request.method() == Method::DELETE;
        let is_bucket = request.uri().authority().is_some_and(|host| host.as_str() == self.host);
        if is_bucket && self.purpose == Purpose::Pull && !self.traffic.is_open(direction) {
            return Err(HttpError::new(HttpErrorKind::Unknown, LeftAlone));
        }
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string().parse();
        let url = url.map_err(|_| HttpError::new(HttpErrorKind::Request, BadUrl))?;
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        let length = body.content_length() as u64;
        *request.body_mut() = Some(match body.as_bytes() {
            Some(bytes) => bytes.clone().into(),
            None => reqwest::Body::wrap(body),
        });
        let patience = match (self.purpose, direction) {
            (Purpose::Collect, _) => SMALL_PATIENCE,
            (Purpose::Pull | Purpose::Care, Direction::Read) => READ_PATIENCE,
            (Purpose::Pull | Purpose::Care, Direction::Write) => WRITE_PATIENCE,
        };
        if is_bucket {
            self.traffic.asked(length);
        }
        let begun = Instant::now();
        let (fault, answered) = match timeout(patience, self.client.execute(request)).await {
            Err(_) => (Some(Fault::Slow), Err(HttpError::new(HttpErrorKind::Timeout, TooSlow))),
            Ok(Err(error)) => {
                let fault = Fault::Unreachable(innermost(&error));
                (Some(fault), Err(HttpError::new(kind(&error), error.without_url())))
            }
            Ok(Ok(answer)) if is_wrong(answer.status()) => explained(answer).await,
            Ok(Ok(answer)) => {
                let (parts, body) = http::Response::from(answer).into_parts();
                let late = if is_bucket { self.traffic.timed(direction, begun.elapsed()) } else { None };
                let body = body.map_err(|error| HttpError::new(kind(&error), error.without_url()));
                let body = if is_list && self.purpose == Purpose::Collect {
                    body.collect().await.and_then(|body| whole_list(body.to_bytes()))
                } else {
                    Ok(HttpResponseBody::new(body))
                };
                (late, body.map(|body| HttpResponse::from_parts(parts, body)))
            }
        };
        if is_bucket {
            match fault {
                // Those who may not remove anything may write all the same.
                Some(Fault::Refuses(_)) if is_removal => self.traffic.note_failure(),
                Some(_) if self.purpose == Purpose::Collect => self.traffic.note_failure(),
                None if self.purpose == Purpose::Collect => {}
                fault => self.traffic.note(direction, fault),
            }
        } else if let Some(fault) = fault {
            self.traffic.without_credentials(&fault.to_string());
        }
        answered
    }
}

#[async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.send(request).await
    }
}

impl HttpConnector for Transport {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

/// Gives a page of a list; fails where the library would take it for the last one, and it is not.
fn whole_list(page: Bytes) -> Result<HttpResponseBody, HttpError> {
    if is_endless(&page) {
        return Err(HttpError::new(HttpErrorKind::Decode, Endless));
    }
    Ok(HttpResponseBody::from(page))
}

/// Returns whether a page of a list says that there is another one, and not which.
fn is_endless(page: &[u8]) -> bool {
    let text = String::from_utf8_lossy(page);
    // No key has one of these in it: `<` is written otherwise there.
    let field = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once("</")?.0.trim())
    };
    field("IsTruncated") == Some("true") && field("NextContinuationToken").is_none_or(str::is_empty)
}

fn is_wrong(status: StatusCode) -> bool {
    !status.is_success() && status != StatusCode::NOT_MODIFIED
}

/// Reads what an answer says is wrong, and gives the answer back whole.
async fn explained(answer: reqwest::Response) -> (Option<Fault>, Result<HttpResponse, HttpError>) {
    let (parts, mut body) = http::Response::from(answer).into_parts();
    let mut bytes = Vec::new();
    while let Ok(Some(Ok(frame))) = timeout(READ_PATIENCE, body.frame()).await {
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], Bytes::as_ref));
        if bytes.len() > MAX_ERROR {
            break;
        }
    }
    let fault = Fault::of_answer(parts.status.as_u16(), code(&bytes));
    (fault, Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(bytes))))
}

fn kind(error: &reqwest::Error) -> HttpErrorKind {
    if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_decode() {
        HttpErrorKind::Decode
    } else {
        HttpErrorKind::Request
    }
}

/// Returns the words of the innermost cause; the outer ones repeat it, and name the URL.
pub(in crate::cache) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_not_the_last_says_which_is_next() {
        let page = |fields: &str| format!("<?xml?><ListBucketResult>{fields}</ListBucketResult>");
        let next = "<NextContinuationToken>x</NextContinuationToken>";
        for whole in [
            "",
            "<IsTruncated>false</IsTruncated>",
            &format!("<IsTruncated>true</IsTruncated>{next}"),
            &format!("{next}<IsTruncated> true </IsTruncated>"),
            "<Contents><Key>&lt;IsTruncated&gt;true</Key></Contents>",
        ] {
            assert!(!is_endless(page(whole).as_bytes()), "{whole}");
        }
        for endless in [
            "<IsTruncated>true</IsTruncated><NextMarker>x</NextMarker>",
            "<IsTruncated>true</IsTruncated><NextContinuationToken></NextContinuationToken>",
        ] {
            assert!(is_endless(page(endless).as_bytes()), "{endless}");
        }
    }
}
