use std::net::SocketAddr;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{Method, Request, Response, StatusCode};

use super::access_file::{Access, unauthorized};
use super::health::{Health, text};
use super::metrics::Metrics;
use super::reply::refusal;
use crate::cache::{Body, Handler};
use crate::oci::Refusal;

/// Who asks, proved by a password; among the extensions of a request, and of the answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(Arc<str>);

impl Identity {
    /// Makes one of a user's name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Returns the user's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who has to say who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strangers {
    /// The handler decides by what is asked for. A challenge to everyone would make containerd hand over the
    /// passwords of other registries, for it cannot tell that they are not ours.
    #[default]
    Pass,
    /// Everyone who asks for more than whether the server lives.
    Refused,
}

/// What stands before a handler: probes are answered, and passwords looked at.
#[derive(Debug)]
pub struct Front<H> {
    handler: H,
    health: Arc<Health>,
    access: Option<(Arc<Access>, Strangers)>,
}

impl<H: Handler> Front<H> {
    /// Puts it before a handler. Without users, what clients say of themselves goes through to the handler.
    pub fn new(handler: H, health: Arc<Health>, access: Option<(Arc<Access>, Strangers)>) -> Self {
        Self { handler, health, access }
    }
}

impl<H: Handler> Handler for Front<H> {
    async fn handle(&self, mut request: Request<()>, peer: SocketAddr) -> Response<Body> {
        if let Some(answer) = self.health.answer(request.uri().path()) {
            return answer;
        }
        let Some((access, strangers)) = &self.access else {
            return self.handler.handle(request, peer).await;
        };
        let identity = match access.identify(request.headers()).await {
            Ok(None) if *strangers == Strangers::Refused => return refusal(&unauthorized()),
            Ok(identity) => identity,
            // What a stranger may have, one with another registry's password may have too: Docker shows that of
            // Docker Hub to its mirrors.
            Err(Refusal::Unauthorized(_)) if *strangers == Strangers::Pass => None,
            Err(refused) => return refusal(&refused),
        };
        request.headers_mut().remove(AUTHORIZATION);
        let Some(identity) = identity else {
            return self.handler.handle(request, peer).await;
        };
        request.extensions_mut().insert(identity.clone());
        let mut response = self.handler.handle(request, peer).await;
        response.extensions_mut().insert(identity);
        response
    }
}

/// What the listener for numbers answers: `/metrics`, `/livez`, `/readyz`.
#[derive(Debug)]
pub struct Numbers {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

impl Numbers {
    /// Makes it.
    pub fn new(metrics: Arc<Metrics>, health: Arc<Health>) -> Self {
        Self { metrics, health }
    }
}

/// The media type of [`Metrics::encode`].
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Handler for Numbers {
    async fn handle(&self, request: Request<()>, _: SocketAddr) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return refusal(&Refusal::Method);
        }
        match request.uri().path() {
            "/metrics" => text(StatusCode::OK, OPENMETRICS, self.metrics.encode()),
            path => self.health.answer(path).unwrap_or_else(|| refusal(&Refusal::NotServed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    /// Answers with the name of who asks, and whether a password came through.
    struct Echo;

    impl Handler for Echo {
        async fn handle(&self, request: Request<()>, _: SocketAddr) -> Response<Body> {
            let name = request.extensions().get::<Identity>().map_or("nobody", Identity::as_str);
            let came = request.headers().contains_key(AUTHORIZATION);
            text(StatusCode::OK, "text/plain", format!("{name} {came}"))
        }
    }

    async fn ask(handler: &impl Handler, path: &str, pair: Option<&str>) -> (u16, String) {
        let mut request = Request::builder().uri(path);
        if let Some(pair) = pair {
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            request = request.header(AUTHORIZATION, format!("Basic {pair}"));
        }
        let response = handler.handle(request.body(()).unwrap(), "[::1]:1".parse().unwrap()).await;
        let status = response.status().as_u16();
        let Body::Piece(crate::cache::Piece::Bytes(bytes)) = response.into_body() else { panic!("no text") };
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn who_gets_through() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        std::fs::write(&file, format!("ada:{}\n", bcrypt::hash("s3cr3t-ada", 4).unwrap())).unwrap();
        let access = Arc::new(Access::read(file).unwrap());
        let front = |access| Front::new(Echo, Arc::default(), access);
        let (good, bad) = (Some("ada:s3cr3t-ada"), Some("ada:x"));
        let open = front(None);
        assert_eq!(ask(&open, "/v2/", good).await, (200, "nobody true".into()));
        let pass = front(Some((Arc::clone(&access), Strangers::Pass)));
        let refused = front(Some((access, Strangers::Refused)));
        for (front, strangers) in [(&pass, 200), (&refused, 401)] {
            assert_eq!(ask(front, "/v2/", good).await, (200, "ada false".into()));
            assert_eq!(ask(front, "/v2/", bad).await.0, strangers);
            assert_eq!(ask(front, "/v2/", None).await.0, strangers);
            assert_eq!(ask(front, "/livez", bad).await, (200, "ok\n".into()));
        }
    }

    #[tokio::test]
    async fn numbers() {
        let numbers = Numbers::new(Arc::default(), Arc::default());
        assert!(ask(&numbers, "/metrics", None).await.1.ends_with("# EOF\n"));
        assert_eq!(ask(&numbers, "/readyz", None).await.0, 503);
        assert_eq!(ask(&numbers, "/v2/", None).await.0, 404);
    }
}
