use std::net::SocketAddr;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{Request, Response};

use super::verifier::{Verifier, unauthorized};
use crate::cache::observe::{Health, Kind, Outcome, Served};
use crate::cache::refusal::{refusal, rejection};
use crate::http::{Body, Handler, PlainRequest, PreparedResponse, Rejected};
use crate::oci::{Refusal, parse_route};

/// What a client may do that has not proved who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Ask: the handler decides by what is asked for. A challenge to every client would make containerd send the
    /// passwords of other registries, for it cannot tell that they are not this server's.
    #[default]
    Allow,
    /// Nothing but the probes.
    Deny,
}

/// What stands before a handler: probes are answered, and passwords looked at.
#[derive(Debug)]
pub struct AuthGate<H> {
    handler: H,
    health: Arc<Health>,
    verifier: Option<(Arc<Verifier>, Anonymous)>,
}

impl<H: Handler> AuthGate<H> {
    /// Puts it before a handler. Without users, what clients say of themselves goes through to the handler.
    pub fn new(handler: H, health: Arc<Health>, verifier: Option<(Arc<Verifier>, Anonymous)>) -> Self {
        Self { handler, health, verifier }
    }
}

impl<H: Handler> Handler for AuthGate<H> {
    async fn handle(&self, mut request: Request<()>, peer: SocketAddr) -> Response<Body> {
        if let Some(answer) = self.health.answer(request.uri().path()) {
            return answer;
        }
        let Some((verifier, anonymous)) = &self.verifier else {
            return self.handler.handle(request, peer).await;
        };
        let identity = match verifier.identify(request.headers()).await {
            Ok(None) if *anonymous == Anonymous::Deny => return refused(&request, &unauthorized()),
            Ok(identity) => identity,
            // What a client without a password may have, one with another registry's password may have too: Docker shows that of
            // Docker Hub to its mirrors.
            Err(Refusal::Unauthorized(_)) if *anonymous == Anonymous::Allow => None,
            Err(why) => return refused(&request, &why),
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

    fn prepared(&self, request: &PlainRequest<'_>) -> Option<Arc<PreparedResponse>> {
        // Such a request names no user.
        match self.verifier {
            Some((_, Anonymous::Deny)) => None,
            Some((_, Anonymous::Allow)) | None => self.handler.prepared(request),
        }
    }

    fn reject(&self, rejected: Rejected) -> Response<Body> {
        rejection(rejected)
    }
}

/// Answers a request that is not handed on.
fn refused(request: &Request<()>, why: &Refusal) -> Response<Body> {
    let route = parse_route(request.method().as_str(), request.uri().path(), request.uri().query());
    let kind = route.as_ref().map_or(Kind::Other, Kind::of_route);
    let mut response = refusal(why);
    response.extensions_mut().insert(Served { kind, outcome: Outcome::None });
    response
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;
    use crate::cache::auth::Identity;
    use crate::http::Piece;

    /// Answers with the name of who asks, and whether a password came through.
    struct Echo;

    impl Handler for Echo {
        async fn handle(&self, request: Request<()>, _: SocketAddr) -> Response<Body> {
            let name = request.extensions().get::<Identity>().map_or("anonymous", Identity::as_str);
            let came = request.headers().contains_key(AUTHORIZATION);
            Response::new(Body::Piece(Piece::Bytes(format!("{name} {came}").into())))
        }

        fn reject(&self, rejected: Rejected) -> Response<Body> {
            rejection(rejected)
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
        let Body::Piece(Piece::Bytes(bytes)) = response.into_body() else { panic!("no text") };
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn who_gets_through() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        std::fs::write(&file, format!("ada:{}\n", bcrypt::hash("s3cr3t-ada", 4).unwrap())).unwrap();
        let verifier = Arc::new(Verifier::read(file).unwrap());
        let gate = |verifier| AuthGate::new(Echo, Arc::default(), verifier);
        let (good, bad) = (Some("ada:s3cr3t-ada"), Some("ada:x"));
        let open = gate(None);
        assert_eq!(ask(&open, "/v2/", good).await, (200, "anonymous true".into()));
        let allow = gate(Some((Arc::clone(&verifier), Anonymous::Allow)));
        let deny = gate(Some((verifier, Anonymous::Deny)));
        for (gate, anonymous) in [(&allow, 200), (&deny, 401)] {
            assert_eq!(ask(gate, "/v2/", good).await, (200, "ada false".into()));
            assert_eq!(ask(gate, "/v2/", bad).await.0, anonymous);
            assert_eq!(ask(gate, "/v2/", None).await.0, anonymous);
            assert_eq!(ask(gate, "/livez", bad).await, (200, "ok\n".into()));
        }
    }
}
