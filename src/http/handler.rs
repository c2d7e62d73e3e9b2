use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response, StatusCode};

use super::body::Body;
use super::prepared::{PlainRequest, PreparedResponse};

/// Why a server answers without asking its handler for the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The request cannot be read, or breaks a rule that holds for all requests.
    Malformed {
        /// The status that the answer gets.
        status: StatusCode,
        /// What is wrong, for the client's developer.
        problem: &'static str,
    },
    /// There are too many connections.
    TooMany,
}

/// What answers requests, whatever transport they came by.
///
/// `Content-Length` is among the headers of every answer; transports add `Date` and `Connection` only.
pub trait Handler: Send + Sync + 'static {
    /// Answers a request without a body; `peer` is the client, as far as trusted proxies say who that is.
    fn handle(&self, request: Request<()>, peer: SocketAddr) -> impl Future<Output = Response<Body>> + Send;

    /// Returns an answer that was put together before, where the same request would be answered with it now. What is
    /// returned here [`Handler::handle`] is not asked for.
    fn prepared(&self, _request: &PlainRequest<'_>) -> Option<Arc<PreparedResponse>> {
        None
    }

    /// Makes the answer to what is rejected before [`Handler::handle`] is called.
    fn reject(&self, rejected: Rejected) -> Response<Body>;
}
