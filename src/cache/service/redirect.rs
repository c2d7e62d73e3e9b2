#![expect(clippy::disallowed_methods, reason = "remembers for a while who was sent to the bucket")]

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Response;
use http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};

use super::access::Grants;
use super::request::RepositoryRequest;
use crate::cache::download::Downloads;
use crate::cache::memory::{BoundedMap, locked};
use crate::cache::store::{Object, Store};
use crate::http::Body;
use crate::image::Digest;
use crate::oci::Method;

/// Of how many answers it is remembered that they have sent a client to the bucket.
const SENT: usize = 65_536;
/// A client that asks for the same again within this time got nothing of use there: kubelet waits five minutes at most.
const AGAIN: Duration = Duration::from_mins(10);

/// Sends clients to the bucket for blobs that are there and not in the folder, where the configuration says so.
///
/// What goes that way is checked by nobody but the client, and does not come here. So it is done only for content that is
/// anyone's, while nothing is under way that could be shared, and once: a client that comes back for the same bytes gets
/// them from here, whatever is wrong with the bucket or with the way there.
pub(super) struct Redirects {
    store: Arc<dyn Store>,
    grants: Arc<Grants>,
    downloads: Downloads,
    /// When which client was sent there for what, by a hash.
    sent: Mutex<BoundedMap<u64, Instant>>,
    /// When which client came back for something: the way does not work for it.
    back: Mutex<BoundedMap<IpAddr, Instant>>,
    hasher: RandomState,
}

impl Redirects {
    pub(super) fn new(store: Arc<dyn Store>, grants: Arc<Grants>, downloads: Downloads) -> Self {
        let (sent, back) = (Mutex::new(BoundedMap::new(SENT)), Mutex::new(BoundedMap::new(SENT)));
        Self { store, grants, downloads, sent, back, hasher: RandomState::new() }
    }

    /// Answers with where a blob is in the bucket; [`None`] where it is to come through the cache. Whether this client may read
    /// from its repository has been decided.
    pub(super) async fn answer(
        &self,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
    ) -> Option<Response<Body>> {
        // What another cache asks for it checks and keeps; what is asked about is answered here.
        if request.member.is_some() || request.context.method != Method::Get || request.context.is_private {
            return None;
        }
        let client = request.client;
        if !request.snapshot.config.sends_to_bucket(&request.origin.registry, client) {
            return None;
        }
        // The bucket calls it by another version than we do.
        if request.headers.contains_key(IF_RANGE) || request.headers.contains_key(IF_NONE_MATCH) {
            return None;
        }
        if self.downloads.is_running(digest) {
            return None;
        }
        if !self.grants.is_granted(&request.origin, &Object::blob(*digest)).await {
            return None;
        }
        let range = request.header(RANGE).unwrap_or_default();
        let who = client.to_canonical();
        let sent = self.hasher.hash_one((who, digest, range));
        let lately = |since: Instant| since.elapsed() < AGAIN;
        if locked(&self.sent).get(&sent).is_some_and(lately) {
            // Nor would it get the other blobs of the image there.
            locked(&self.back).put(who, Instant::now(), 1);
            return None;
        }
        if locked(&self.back).get(&who).is_some_and(lately) {
            return None;
        }
        let location = self.store.tier_location(digest).await?;
        // It may have begun meanwhile.
        if self.downloads.is_running(digest) {
            return None;
        }
        let answer = request.context.redirected(digest, &location)?;
        locked(&self.sent).put(sent, Instant::now(), 1);
        Some(answer)
    }
}
