#![expect(clippy::disallowed_methods, reason = "dates answers")]

use std::net::IpAddr;
use std::sync::Arc;

use http::Response;
use http::header::{ACCEPT, CACHE_CONTROL, HeaderMap, HeaderName, IF_NONE_MATCH, IF_RANGE, RANGE};

use super::ready::ReadyKey;
use super::response::{PreparedManifest, RequestedBy, ResponseContext, Staleness};
use super::snapshot::Snapshot;
use crate::cache::observe::Outcome;
use crate::cache::replica::Member;
use crate::cache::store::Origin;
use crate::http::Body;
use crate::image::{Digest, RegistryHost};
use crate::oci::{self, Accept, Method, Selection, if_none_match, select};

/// A request for something of a repository, by a client that may read from there.
pub(super) struct RepositoryRequest<'a> {
    pub(super) snapshot: &'a Arc<Snapshot>,
    pub(super) origin: Origin,
    pub(super) context: &'a ResponseContext,
    pub(super) headers: &'a HeaderMap,
    /// The client's address, as far as trusted proxies say who that is.
    pub(super) client: IpAddr,
    /// Whether the client has shown who it is.
    pub(super) is_user: bool,
    /// What another cache on the bucket asks for, where one asks.
    pub(super) member: Option<Member>,
    /// Under which words its answer may be kept ready.
    pub(super) ready_key: Option<&'a ReadyKey>,
}

impl RepositoryRequest<'_> {
    /// Returns which requests may share a download with this one: those of its registry. Another registry could be
    /// slow on purpose, or private.
    pub(super) fn scope(&self) -> &RegistryHost {
        &self.origin.registry
    }

    /// Returns whether the client asks for what upstream has now, and may: others could make upstream count pulls.
    pub(super) fn wants_fresh(&self) -> bool {
        let header = self.header(CACHE_CONTROL).unwrap_or_default();
        self.is_user && header.split(',').any(|part| part.trim().eq_ignore_ascii_case("no-cache"))
    }

    /// Returns a header, if it is text.
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns what the client takes.
    pub(super) fn accept(&self) -> Accept {
        Accept::parse(self.accepts())
    }

    fn accepts(&self) -> impl Iterator<Item = &str> {
        self.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok())
    }

    /// Returns what the client takes, as one header.
    pub(super) fn accept_header(&self) -> String {
        self.accepts().collect::<Vec<_>>().join(", ")
    }

    /// Returns whether the client says that it has this content.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.header(IF_NONE_MATCH).is_some_and(|header| if_none_match(header, digest))
    }

    /// Returns which bytes of a blob are wanted.
    pub(super) fn selection(&self, digest: &Digest, total: u64) -> Selection {
        let counts = self.header(IF_RANGE).is_none_or(|header| oci::if_range(header, digest));
        // A range of HEAD means nothing (RFC 9110 §14.2).
        let range = if counts && self.context.method == Method::Get { self.header(RANGE) } else { None };
        select(range, total)
    }

    /// Answers with a manifest that is stored.
    pub(super) fn manifest(
        &self,
        prepared: &PreparedManifest,
        by: RequestedBy,
        outcome: Outcome,
        stale: Option<&Staleness>,
    ) -> Response<Body> {
        let now = jiff::Timestamp::now();
        let stale = stale.map(|stale| (&self.origin.registry, stale, now));
        prepared.answer(self.context, by, outcome, stale, self.has(&prepared.digest))
    }
}
