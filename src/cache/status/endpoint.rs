use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{
    ACCEPT, CONTENT_SECURITY_POLICY, HeaderMap, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use serde::Serialize;
use url::form_urlencoded;

use super::gather::Sources;
use super::images_page::images_page;
use super::layout::POLICY;
use super::status_page::status_page;
use crate::cache::observe::{Health, Metrics, text};
use crate::cache::refusal::{refusal, rejection};
use crate::http::{Body, Handler, Rejected};
use crate::oci::Refusal;

/// What is answered where metrics are served: `/metrics`, `/livez`, `/readyz`, and the status page.
#[derive(Debug)]
pub(in crate::cache) struct AdminEndpoint {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    status: Option<Sources>,
}

impl AdminEndpoint {
    /// Makes it of what it shows; without a source of the status there is no page.
    pub(in crate::cache) fn new(metrics: Arc<Metrics>, health: Arc<Health>, status: Option<Sources>) -> Self {
        Self { metrics, health, status }
    }
}

/// The media type of [`Metrics::encode`].
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
/// The longest text that is searched for, in bytes.
const LONGEST_QUERY: usize = 512;

impl Handler for AdminEndpoint {
    async fn handle(&self, request: Request<()>, _: SocketAddr) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return refusal(&Refusal::Method);
        }
        let path = request.uri().path();
        if path == "/metrics" {
            return text(StatusCode::OK, OPENMETRICS, self.metrics.encode());
        }
        if let Some(answer) = self.health.answer(path) {
            return answer;
        }
        let Some(sources) = &self.status else { return refusal(&Refusal::NotServed) };
        match show(sources, &request).await {
            None => refusal(&Refusal::NotServed),
            Some(Ok(answer)) => answer,
            Some(Err(error)) => {
                let why = format!("cannot read what is stored: {error}\n");
                text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", why)
            }
        }
    }

    fn reject(&self, rejected: Rejected) -> Response<Body> {
        rejection(rejected)
    }
}

/// Answers a page of the status or its JSON; [`None`] where there is no such page.
async fn show(sources: &Sources, request: &Request<()>) -> Option<io::Result<Response<Body>>> {
    let wants_json = wants_json(request.headers());
    let asked = Asked::of(request.uri().query().unwrap_or_default());
    Some(match (request.uri().path(), wants_json) {
        ("/", false) => sources.status().await.map(|status| html(status_page(&status))),
        ("/", true) | ("/status.json", _) => sources.status().await.and_then(|status| json(&status)),
        ("/images", false) => {
            sources.images(asked.query, asked.from).await.map(|images| html(images_page(&images)))
        }
        ("/images", true) | ("/images.json", _) => {
            sources.images(asked.query, asked.from).await.and_then(|images| json(&images))
        }
        _ => return None,
    })
}

/// What the address of the list of images asks for.
struct Asked {
    query: String,
    from: usize,
}

impl Asked {
    fn of(query: &str) -> Self {
        let mut asked = Self { query: String::new(), from: 0 };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "q" => asked.query = value.chars().take(LONGEST_QUERY).collect(),
                "from" => asked.from = value.parse().unwrap_or_default(),
                _ => {}
            }
        }
        asked
    }
}

/// Returns whether a client asks for JSON, and not for a page as browsers do.
fn wants_json(headers: &HeaderMap) -> bool {
    let accepts = |wanted: &str| {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == wanted))
    };
    accepts(JSON) && !accepts("text/html")
}

fn html(page: String) -> Response<Body> {
    let mut response = text(StatusCode::OK, HTML, page);
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    guard(response)
}

fn json(view: &impl Serialize) -> io::Result<Response<Body>> {
    let mut body = serde_json::to_string_pretty(view)?;
    body.push('\n');
    Ok(guard(text(StatusCode::OK, JSON, body)))
}

/// Adds what keeps other sites from taking an answer for something else.
fn guard(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(policy, HeaderValue::from_static("same-origin"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Piece;

    async fn ask(path: &str) -> (u16, String) {
        let endpoint = AdminEndpoint::new(Arc::default(), Arc::default(), None);
        let request = Request::builder().uri(path).body(()).unwrap();
        let response = endpoint.handle(request, "[::1]:1".parse().unwrap()).await;
        let status = response.status().as_u16();
        let Body::Piece(Piece::Bytes(bytes)) = response.into_body() else { panic!("no text") };
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn metrics_and_probes() {
        assert!(ask("/metrics").await.1.ends_with("# EOF\n"));
        assert_eq!(ask("/readyz").await.0, 503);
        assert_eq!(ask("/v2/").await.0, 404);
        assert_eq!(ask("/").await.0, 404);
    }

    #[test]
    fn json_is_for_those_who_ask_for_it() {
        for (accept, wanted) in [
            ("application/json", true),
            ("text/plain, application/json;q=0.9", true),
            ("text/html,application/xhtml+xml,application/json", false),
            ("*/*", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(wants_json(&headers), wanted, "{accept}");
        }
    }

    #[test]
    fn addresses() {
        let asked = Asked::of("q=a%2Fb+c&from=100&from=x&else=1");
        assert_eq!((asked.query.as_str(), asked.from), ("a/b c", 0));
        assert_eq!(Asked::of(&format!("q={}", "ä".repeat(9999))).query.chars().count(), LONGEST_QUERY);
    }
}
