use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};

use super::health::{Health, text};
use super::metrics::Metrics;
use crate::cache::refusal::{refusal, rejection};
use crate::http::{Body, Handler, Rejected};
use crate::oci::Refusal;

/// What is answered where metrics are served: `/metrics`, `/livez`, `/readyz`.
#[derive(Debug)]
pub struct AdminEndpoint {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

impl AdminEndpoint {
    /// Makes it of what it shows.
    pub fn new(metrics: Arc<Metrics>, health: Arc<Health>) -> Self {
        Self { metrics, health }
    }
}

/// The media type of [`Metrics::encode`].
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Handler for AdminEndpoint {
    async fn handle(&self, request: Request<()>, _: SocketAddr) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return refusal(&Refusal::Method);
        }
        match request.uri().path() {
            "/metrics" => text(StatusCode::OK, OPENMETRICS, self.metrics.encode()),
            path => self.health.answer(path).unwrap_or_else(|| refusal(&Refusal::NotServed)),
        }
    }

    fn reject(&self, rejected: Rejected) -> Response<Body> {
        rejection(rejected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Piece;

    async fn ask(path: &str) -> (u16, String) {
        let endpoint = AdminEndpoint::new(Arc::default(), Arc::default());
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
    }
}
