#![expect(clippy::disallowed_methods, reason = "looks how old a proof is")]

use std::net::SocketAddr;

use http::header::{AUTHORIZATION, RANGE};
use http::{Request, Response, StatusCode};

use super::proof::Claim;
use super::secrets::PeerSecrets;
use crate::cache::auth::Identity;
use crate::cache::refusal::{refusal, rejection};
use crate::http::{Body, Handler, Rejected};
use crate::oci::{Challenge, Refusal};

/// The path by which members ask each other whether they are there.
pub(super) const HELLO: &str = "/talmirror/v1/hello";

/// What a member asks of another one: among the extensions of its request, which must not be sent on to a third one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Whether it is to be fetched where it is not there.
    pub asks: Asks,
    /// For whom that member takes the registry's content to be.
    pub readers: Readers,
}

/// For whom the content of a registry is, as a cache is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Every client.
    Everyone,
    /// Users of the cache.
    Users,
}

/// What a member wants of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// What it has, or else fetches.
    Fetch,
    /// What it has, or fetches already.
    Have,
}

impl Member {
    /// Writes it as the query of a request.
    pub(super) fn query(self) -> String {
        let asks = match self.asks {
            Asks::Fetch => "fetch",
            Asks::Have => "have",
        };
        let readers = match self.readers {
            Readers::Everyone => "everyone",
            Readers::Users => "users",
        };
        format!("asks={asks}&for={readers}")
    }

    /// Reads it from the query of a request.
    fn read(query: &str) -> Option<Self> {
        let each = |asks| [Readers::Everyone, Readers::Users].map(|readers| Self { asks, readers });
        let all = [Asks::Fetch, Asks::Have].into_iter().flat_map(each);
        all.into_iter().find(|member| member.query() == query)
    }
}

/// What stands before the handler where members ask each other: without a proof of their secret nothing is given.
pub struct PeerGate<H> {
    handler: H,
    /// The URL by which the others ask this one.
    own: String,
    secrets: PeerSecrets,
    /// Takes note of a member by its URL, which has just said that it is there.
    greeted: Box<dyn Fn(&str) + Send + Sync>,
}

impl<H> std::fmt::Debug for PeerGate<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerGate").finish_non_exhaustive()
    }
}

impl<H: Handler> PeerGate<H> {
    /// Puts it before a handler.
    pub(super) fn new(
        handler: H,
        own: String,
        secrets: PeerSecrets,
        greeted: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        Self { handler, own, secrets, greeted: Box::new(greeted) }
    }

    fn hello(&self, query: &str) -> Response<Body> {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        if let Some((_, url)) = pairs.find(|(name, _)| name == "from") {
            (self.greeted)(&url);
        }
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    }
}

impl<H: Handler> Handler for PeerGate<H> {
    async fn handle(&self, mut request: Request<()>, peer: SocketAddr) -> Response<Body> {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let claim = Claim {
            member: &self.own,
            method: request.method().as_str(),
            target: request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str),
            range: header(RANGE),
        };
        let now = jiff::Timestamp::now().as_second();
        if !self.secrets.prove_it(&claim, header(AUTHORIZATION), now) {
            let realm = "talmirror-cache members".to_owned();
            return refusal(&Refusal::Unauthorized(Challenge::Basic { realm }));
        }
        let query = request.uri().query().unwrap_or_default();
        if request.uri().path() == HELLO {
            return self.hello(query);
        }
        let Some(member) = Member::read(query) else {
            return refusal(&Refusal::Request("this version does not know what is asked"));
        };
        let path = request.uri().path().parse();
        let Ok(path) = path else { return refusal(&Refusal::NotServed) };
        *request.uri_mut() = path;
        request.headers_mut().remove(AUTHORIZATION);
        request.extensions_mut().insert(Identity::new("another cache"));
        request.extensions_mut().insert(member);
        self.handler.handle(request, peer).await
    }

    fn reject(&self, rejected: Rejected) -> Response<Body> {
        rejection(rejected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_reads_back() {
        for asks in [Asks::Fetch, Asks::Have] {
            for readers in [Readers::Everyone, Readers::Users] {
                let member = Member { asks, readers };
                assert_eq!(Member::read(&member.query()), Some(member));
            }
        }
        for bad in ["", "asks=fetch", "asks=fetch&for=all", "for=users&asks=have"] {
            assert_eq!(Member::read(bad), None, "{bad}");
        }
    }
}
