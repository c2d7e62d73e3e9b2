use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, LINK, LOCATION, VARY, WARNING, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use jiff::Timestamp;

use super::freshness::ago;
use crate::cache::observe::{Kind, Outcome, Reason, Served};
use crate::http::{Body, Piece};
use crate::image::{Digest, RegistryHost};
use crate::oci::{ContentRange, Method, OCTET_STREAM, Refusal, Selection, Span, etag};
use crate::secret::Secret;

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
const NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// `public` would let caches in between keep what was answered to a client that is known (RFC 9111, 3.5).
const IMMUTABLE_PRIVATE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What every answer to one request says, whatever else it says.
#[derive(Clone, Debug)]
pub(super) struct ResponseContext {
    /// GET or HEAD.
    pub(super) method: Method,
    /// What is asked for.
    pub(super) kind: Kind,
    /// The registry that is asked for, once it is known.
    pub(super) registry: Option<RegistryHost>,
    /// The registry's name, where the request's `ns` chose it (OCI distribution-spec, "Registry Proxying").
    pub(super) namespace: Option<HeaderValue>,
    /// Whether the content is for authorised clients only.
    pub(super) is_private: bool,
}

/// How a manifest was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestedBy {
    /// By its digest: the answer holds for ever.
    Digest,
    /// By a tag, which may move.
    Tag,
}

/// What an answer says that is older than it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Staleness {
    /// Why it could not be checked, such as `unreachable`.
    pub(super) why: &'static str,
    /// When it was checked last.
    pub(super) checked: Timestamp,
}

/// A manifest with what its answers say, ready to be sent any number of times.
#[derive(Debug)]
pub(super) struct PreparedManifest {
    /// The bytes.
    pub(super) bytes: Bytes,
    /// Their digest.
    pub(super) digest: Digest,
    /// The media type.
    pub(super) media_type: String,
    content_type: HeaderValue,
    content_digest: HeaderValue,
    etag: HeaderValue,
    /// It has just come from the tier behind the store, and no answer has said so yet.
    is_of_tier: AtomicBool,
}

impl PreparedManifest {
    /// Prepares a manifest. The media type is one that may be passed on.
    pub(super) fn new(digest: Digest, media_type: String, bytes: Bytes) -> Self {
        Self {
            content_type: value(&media_type),
            content_digest: value(&digest.to_string()),
            etag: value(&etag(&digest)),
            bytes,
            digest,
            media_type,
            is_of_tier: AtomicBool::new(false),
        }
    }

    /// Notes that it has just come from the tier behind the store.
    pub(super) fn note_tier(&self) {
        self.is_of_tier.store(true, Ordering::Relaxed);
    }

    /// Returns where an answer came from, which is the tier behind the store for the first one that it was fetched for.
    fn outcome(&self, outcome: Outcome) -> Outcome {
        let is_hit = outcome == Outcome::Hit && self.is_of_tier.load(Ordering::Relaxed);
        if is_hit && self.is_of_tier.swap(false, Ordering::Relaxed) { Outcome::Bucket } else { outcome }
    }

    /// Returns about how much memory it takes.
    pub(super) fn weight(&self) -> usize {
        self.bytes.len() + self.media_type.len() + 512
    }

    /// Answers with it.
    pub(super) fn answer(
        &self,
        context: &ResponseContext,
        by: RequestedBy,
        outcome: Outcome,
        stale: Option<(&RegistryHost, &Staleness, Timestamp)>,
        unchanged: bool,
    ) -> Response<Body> {
        let mut response = context.response(StatusCode::OK, Some(self.outcome(outcome)));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.content_type.clone());
        headers.insert(CONTENT_DIGEST, self.content_digest.clone());
        headers.insert(ETAG, self.etag.clone());
        match by {
            RequestedBy::Digest => headers.insert(CACHE_CONTROL, context.immutable()),
            RequestedBy::Tag => {
                headers.insert(VARY, HeaderValue::from_static("Accept"));
                headers.insert(CACHE_CONTROL, NO_CACHE)
            }
        };
        if let Some((registry, stale, now)) = stale {
            headers.insert(WARNING, value(&warning(registry, stale, now)));
            let age = now.duration_since(stale.checked).as_secs();
            headers.insert(AGE, HeaderValue::from(u64::try_from(age).unwrap_or(0)));
        }
        if unchanged {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(self.bytes.len()));
        context.fill(response, self.bytes.clone())
    }
}

/// Returns the text of a `Warning` header: code and agent as the OCI distribution-spec asks for.
fn warning(registry: &RegistryHost, stale: &Staleness, now: Timestamp) -> String {
    format!("299 - \"upstream {registry} {}, tag last checked {} ago\"", stale.why, ago(stale.checked, now))
}

/// Makes a value of a text that is known to fit; what does not is left out rather than answered with an error.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

impl ResponseContext {
    /// Makes the context of an answer.
    pub(super) fn new(method: Method, namespace: Option<&str>) -> Self {
        Self { method, kind: Kind::Other, registry: None, namespace: namespace.map(value), is_private: false }
    }

    /// Notes that the request's `ns` chose the registry.
    pub(super) fn set_namespace(&mut self, namespace: Option<&str>) {
        self.namespace = namespace.map(value);
    }

    fn immutable(&self) -> HeaderValue {
        if self.is_private { IMMUTABLE_PRIVATE } else { IMMUTABLE }
    }

    fn response(&self, status: StatusCode, outcome: Option<Outcome>) -> Response<Body> {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.reserve(12);
        common(headers);
        if let Some(namespace) = &self.namespace {
            headers.insert(NAMESPACE, namespace.clone());
        }
        if let Some(outcome) = outcome.and_then(header_of) {
            headers.insert(X_CACHE, outcome);
        }
        let outcome = outcome.unwrap_or(Outcome::None);
        response.extensions_mut().insert(Served { kind: self.kind, outcome });
        response
    }

    fn fill(&self, mut response: Response<Body>, bytes: Bytes) -> Response<Body> {
        if self.method == Method::Get && !bytes.is_empty() {
            *response.body_mut() = Body::Piece(Piece::Bytes(bytes));
        }
        response
    }

    /// Answers another cache that what it asks for is read from another one here, too.
    pub(super) fn reads_elsewhere(&self) -> Response<Body> {
        let mut response = self.response(StatusCode::CONFLICT, None);
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
        response
    }

    /// Answers to `/v2/`.
    pub(super) fn pong(&self) -> Response<Body> {
        self.json(Bytes::from_static(b"{}"), None)
    }

    fn json(&self, bytes: Bytes, outcome: Option<Outcome>) -> Response<Body> {
        let mut response = self.response(StatusCode::OK, outcome);
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        self.fill(response, bytes)
    }

    /// Answers with a page of tags.
    pub(super) fn tags(&self, body: String, link: Option<&str>) -> Response<Body> {
        let mut response = self.json(body.into(), Some(Outcome::Miss));
        response.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
        if let Some(link) = link {
            response.headers_mut().insert(LINK, value(link));
        }
        response
    }

    /// Answers with an index of referrers.
    pub(super) fn referrers(&self, index: Bytes, outcome: Outcome, filtered: bool) -> Response<Body> {
        let mut response = self.json(index, Some(outcome));
        let media_type = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");
        response.headers_mut().insert(CONTENT_TYPE, media_type);
        response.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
        if filtered {
            response.headers_mut().insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
        }
        response
    }

    /// Answers with a blob or a part of it; `body` makes its bytes and is not called where none go out.
    pub(super) fn blob(
        &self,
        digest: &Digest,
        total: u64,
        selection: Selection,
        outcome: Outcome,
        body: impl FnOnce(Option<Span>) -> Body,
    ) -> Response<Body> {
        let mut response = self.response(StatusCode::OK, Some(outcome));
        blob_headers(response.headers_mut(), digest, self.immutable());
        let (status, len, span) = match selection {
            Selection::Whole => (StatusCode::OK, total, None),
            Selection::Part(span) => {
                let range = ContentRange::Part(span, Some(total)).to_string();
                response.headers_mut().insert(CONTENT_RANGE, value(&range));
                (StatusCode::PARTIAL_CONTENT, span.size(), Some(span))
            }
            Selection::Unsatisfiable => {
                let range = ContentRange::Unsatisfied(total).to_string();
                response.headers_mut().insert(CONTENT_RANGE, value(&range));
                // There is nothing of the kind that the other headers describe.
                response.headers_mut().remove(CACHE_CONTROL);
                (StatusCode::RANGE_NOT_SATISFIABLE, 0, None)
            }
        };
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len));
        if self.method == Method::Get && len > 0 {
            *response.body_mut() = body(span);
        }
        response
    }

    /// Answers that the client gets the blob elsewhere; [`None`] where that address cannot stand in a header.
    ///
    /// The address is for this client and this moment: nothing in between keeps it, and nothing prints it.
    pub(super) fn redirected(&self, digest: &Digest, location: &Secret<String>) -> Option<Response<Body>> {
        let mut location = HeaderValue::from_str(location.expose()).ok()?;
        location.set_sensitive(true);
        let mut response = self.response(StatusCode::TEMPORARY_REDIRECT, Some(Outcome::Redirect));
        let headers = response.headers_mut();
        headers.insert(LOCATION, location);
        headers.insert(CONTENT_DIGEST, value(&digest.to_string()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        Some(response)
    }

    /// Answers that the client has the blob already.
    pub(super) fn unchanged_blob(&self, digest: &Digest, outcome: Outcome) -> Response<Body> {
        let mut response = self.response(StatusCode::NOT_MODIFIED, Some(outcome));
        blob_headers(response.headers_mut(), digest, self.immutable());
        response
    }

    /// Answers with what cannot be kept, as upstream sent it.
    pub(super) fn passed_on(
        &self,
        media_type: &str,
        digest: Option<&Digest>,
        bytes: Bytes,
    ) -> Response<Body> {
        let mut response = self.json(bytes, Some(Outcome::Miss));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, value(media_type));
        headers.insert(CACHE_CONTROL, NO_CACHE);
        headers.insert(VARY, HeaderValue::from_static("Accept"));
        if let Some(digest) = digest {
            headers.insert(CONTENT_DIGEST, value(&digest.to_string()));
        }
        response
    }

    /// Answers with what is refused.
    pub(super) fn refused(&self, refusal: &Refusal) -> Response<Body> {
        let body = Bytes::from(refusal.body());
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = self.response(status, None);
        response.extensions_mut().insert(Reason::of(refusal).at(self.registry.as_ref()));
        let headers = response.headers_mut();
        for (name, text) in refusal.headers() {
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                headers.insert(name, value(&text));
            }
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        self.fill(response, body)
    }
}

fn common(headers: &mut HeaderMap) {
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

fn blob_headers(headers: &mut HeaderMap, digest: &Digest, immutable: HeaderValue) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(OCTET_STREAM));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_DIGEST, value(&digest.to_string()));
    headers.insert(ETAG, value(&etag(digest)));
    headers.insert(CACHE_CONTROL, immutable);
}

fn header_of(outcome: Outcome) -> Option<HeaderValue> {
    Some(HeaderValue::from_static(match outcome {
        Outcome::Hit => "HIT",
        Outcome::Bucket => "BUCKET",
        Outcome::Redirect => "REDIRECT",
        Outcome::Peer => "PEER",
        Outcome::Miss => "MISS",
        Outcome::Follow => "FOLLOW",
        Outcome::Stale => "STALE",
        Outcome::Revalidated => "REVALIDATED",
        Outcome::None => return None,
    }))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::oci::{Range, digest_of};

    fn shown(response: &Response<Body>) -> String {
        let mut out = format!("{}\n", response.status().as_u16());
        let mut names: Vec<_> = response.headers().iter().collect();
        names.sort_by_key(|(name, _)| name.as_str());
        for (name, value) in names {
            writeln!(out, "{name}: {}", value.to_str().unwrap()).unwrap();
        }
        let body = match response.body() {
            Body::Piece(Piece::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Body::Empty => String::new(),
            other => format!("{other:?}"),
        };
        out + &body
    }

    fn digest() -> Digest {
        digest_of(crate::image::Algorithm::Sha256, b"{}")
    }

    fn ready() -> PreparedManifest {
        PreparedManifest::new(
            digest(),
            "application/vnd.oci.image.index.v1+json".into(),
            Bytes::from_static(b"{}"),
        )
    }

    #[test]
    fn manifests_to_the_byte() {
        let (get, head) =
            (ResponseContext::new(Method::Get, Some("docker.io")), ResponseContext::new(Method::Head, None));
        insta::assert_snapshot!(shown(&ready().answer(&get, RequestedBy::Digest, Outcome::Hit, None, false)), @r#"
        200
        cache-control: public, max-age=31536000, immutable
        content-length: 2
        content-type: application/vnd.oci.image.index.v1+json
        docker-content-digest: sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a
        docker-distribution-api-version: registry/2.0
        etag: "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        oci-namespace: docker.io
        x-cache: HIT
        x-content-type-options: nosniff
        {}
        "#);
        let now: Timestamp = "2026-11-01T12:00:00Z".parse().unwrap();
        let stale = Staleness { why: "unreachable", checked: "2026-11-01T10:00:00Z".parse().unwrap() };
        let hub: RegistryHost = "docker.io".parse().unwrap();
        let stale = ready().answer(&head, RequestedBy::Tag, Outcome::Stale, Some((&hub, &stale, now)), false);
        insta::assert_snapshot!(shown(&stale), @r#"
        200
        age: 7200
        cache-control: no-cache
        content-length: 2
        content-type: application/vnd.oci.image.index.v1+json
        docker-content-digest: sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a
        docker-distribution-api-version: registry/2.0
        etag: "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        vary: Accept
        warning: 299 - "upstream docker.io unreachable, tag last checked 2h ago"
        x-cache: STALE
        x-content-type-options: nosniff
        "#);
        let unchanged = ready().answer(&get, RequestedBy::Tag, Outcome::Hit, None, true);
        assert_eq!(unchanged.status(), 304);
        assert!(unchanged.body().is_empty() && !unchanged.headers().contains_key(CONTENT_LENGTH));
    }

    #[test]
    fn blobs_to_the_byte() {
        let get = ResponseContext::new(Method::Get, None);
        let bytes = |span: Option<Span>| {
            let text = match span {
                None => "0123456789",
                Some(_) => "3456789",
            };
            Body::Piece(Piece::Bytes(text.into()))
        };
        let part = get.blob(&digest(), 10, Range::From(3).of(10), Outcome::Follow, bytes);
        insta::assert_snapshot!(shown(&part), @r#"
        206
        accept-ranges: bytes
        cache-control: public, max-age=31536000, immutable
        content-length: 7
        content-range: bytes 3-9/10
        content-type: application/octet-stream
        docker-content-digest: sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a
        docker-distribution-api-version: registry/2.0
        etag: "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        x-cache: FOLLOW
        x-content-type-options: nosniff
        3456789
        "#);
        let whole = get.blob(&digest(), 10, Selection::Whole, Outcome::Hit, bytes);
        assert_eq!((whole.status().as_u16(), whole.body().len()), (200, 10));
        let none = get.blob(&digest(), 10, Selection::Unsatisfiable, Outcome::Hit, bytes);
        assert_eq!((none.status().as_u16(), &none.headers()[CONTENT_RANGE]), (416, &value("bytes */10")));
        assert!(none.body().is_empty() && none.headers()[CONTENT_LENGTH] == "0");
        let head = ResponseContext::new(Method::Head, None).blob(
            &digest(),
            10,
            Selection::Whole,
            Outcome::Hit,
            bytes,
        );
        assert_eq!((head.body().len(), &head.headers()[CONTENT_LENGTH]), (0, &value("10")));
        let empty = get.blob(&digest(), 0, Selection::Whole, Outcome::Hit, bytes);
        assert_eq!(empty.headers()[CONTENT_LENGTH], "0");
    }

    #[test]
    fn where_a_blob_is_stands_in_one_header_and_is_not_printed() {
        let address = Secret::new("https://s3.example/a?X-Amz-Signature=s3cr3t".to_owned());
        let answer = ResponseContext::new(Method::Get, None).redirected(&digest(), &address).unwrap();
        assert!(!format!("{answer:?}").contains("s3cr3t"));
        insta::assert_snapshot!(shown(&answer), @r"
        307
        cache-control: no-store
        content-length: 0
        docker-content-digest: sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a
        docker-distribution-api-version: registry/2.0
        location: https://s3.example/a?X-Amz-Signature=s3cr3t
        x-cache: REDIRECT
        x-content-type-options: nosniff
        ");
    }

    #[test]
    fn refusals_have_the_common_headers_too() {
        let context = ResponseContext::new(Method::Get, None);
        insta::assert_snapshot!(shown(&context.refused(&Refusal::Method)), @r#"
        405
        allow: GET, HEAD
        content-length: 76
        content-type: application/json
        docker-distribution-api-version: registry/2.0
        x-content-type-options: nosniff
        {"errors":[{"code":"UNSUPPORTED","message":"only GET and HEAD are served"}]}
        "#);
        insta::assert_snapshot!(shown(&context.pong()), @r"
        200
        content-length: 2
        content-type: application/json
        docker-distribution-api-version: registry/2.0
        x-content-type-options: nosniff
        {}
        ");
    }
}
