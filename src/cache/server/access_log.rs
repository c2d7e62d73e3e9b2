use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, StatusCode, Uri};
use tracing::Level;

use super::front::Identity;
use super::traffic::{End, Kind, Outcome};

/// The target under which answers are logged, so that filters can tell them from the rest.
pub const ACCESS: &str = "access";

/// Whether answers are logged at all, so that nothing need be kept for it where they are not.
pub(super) fn wanted() -> bool {
    tracing::enabled!(target: ACCESS, Level::INFO)
}

/// What is logged of a request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) peer: SocketAddr,
    pub(super) method: Method,
    pub(super) uri: Uri,
}

/// What is logged of its answer.
#[derive(Debug)]
pub(super) struct Answered<'a> {
    pub(super) kind: Kind,
    pub(super) outcome: Outcome,
    pub(super) status: StatusCode,
    pub(super) end: End,
    pub(super) sent: u64,
    pub(super) took: Duration,
    pub(super) user: Option<&'a Identity>,
    pub(super) error: Option<String>,
}

/// Writes one line about an answer. Of the query there is only `ns` in it, and no header at all.
pub(super) fn log(asked: &Asked, answered: &Answered<'_>) {
    let query = asked.uri.query().unwrap_or_default();
    let ns = query.split('&').find_map(|pair| pair.strip_prefix("ns="));
    tracing::info!(
        target: ACCESS,
        peer = %asked.peer.ip(),
        user = answered.user.map(Identity::as_str),
        method = asked.method.as_str(),
        path = asked.uri.path(),
        ns,
        status = answered.status.as_u16(),
        kind = answered.kind.as_str(),
        cache = answered.outcome.as_str(),
        bytes = answered.sent,
        micros = u64::try_from(answered.took.as_micros()).unwrap_or(u64::MAX),
        end = answered.end.as_str(),
        error = answered.error.as_deref(),
    );
}
