use std::collections::HashSet;
use std::time::Duration;

use super::mark::Unit;
use super::outcome::{Collected, Stage};
use super::snapshot::{Entry, Links, Stored};
use crate::cache::store::{Kind, Object};
use crate::image::Digest;

/// A part of a collection, which is a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::cache::bucket) enum Part {
    /// It is under way.
    Claim,
    /// Its collector runs.
    Beat,
    /// What it condemns.
    Condemned,
    /// It has ended, or was given up.
    Done,
}

/// A key of a collection, as it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache::bucket) struct Listed {
    pub(in crate::cache::bucket) number: u64,
    pub(in crate::cache::bucket) part: Part,
    pub(in crate::cache::bucket) written: u64,
}

/// What a part of a collection says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cache::bucket) enum Body {
    /// That it is there.
    Empty,
    /// What is condemned.
    Condemned(Vec<Unit>),
    /// What came of it.
    Ended(Collected),
}

/// Whether something was written that must not replace anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache::bucket) enum Created {
    Yes,
    Existed,
}

/// A request failed: it may have been done all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(in crate::cache::bucket) struct Failed(pub(in crate::cache::bucket) String);

pub(in crate::cache::bucket) type Answer<T> = Result<T, Failed>;

/// What a collection asks of a bucket, and of a clock. Each request ends within [`Timing::within`](super::timing::Timing).
pub(in crate::cache::bucket) trait Place: Sync {
    /// Returns a time of a clock that only goes forwards.
    fn moment(&self) -> Duration;
    /// Waits.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;
    /// Lists the keys of all collections.
    fn collections(&self) -> impl Future<Output = Answer<Vec<Listed>>> + Send;
    /// Returns the store's time; fails where nothing can be written or removed.
    fn clock(&self) -> impl Future<Output = Answer<u64>> + Send;
    /// Writes a part of a collection that must not be there.
    fn create(&self, number: u64, part: Part, body: Body) -> impl Future<Output = Answer<Created>> + Send;
    /// Writes that a collector runs.
    fn beat(&self, number: u64) -> impl Future<Output = Answer<()>> + Send;
    /// Reads what a collection condemns.
    fn condemned(&self, number: u64) -> impl Future<Output = Answer<Option<HashSet<Unit>>>> + Send;
    /// Lists the entries of all tags.
    fn tags(&self, each: impl FnMut(Entry) + Send) -> impl Future<Output = Answer<()>> + Send;
    /// Lists blobs or manifests.
    fn objects(
        &self,
        kind: Kind,
        each: impl FnMut(Object, Stored) + Send,
    ) -> impl Future<Output = Answer<()>> + Send;
    /// Lists grants: of what they are, their keys, and when they were written.
    fn grants(&self, each: impl FnMut(Object, String, u64) + Send)
    -> impl Future<Output = Answer<()>> + Send;
    /// Asks whether something is there, which was not listed.
    fn is_there(&self, object: Object) -> impl Future<Output = Answer<bool>> + Send;
    /// Reads what a manifest refers to.
    fn links(&self, manifest: Digest) -> impl Future<Output = Answer<Option<Links>>> + Send;
    /// Removes a blob or a manifest.
    fn remove(&self, object: Object) -> impl Future<Output = Answer<()>> + Send;
    /// Removes an entry of a tag, or a grant.
    fn remove_key(&self, key: String) -> impl Future<Output = Answer<()>> + Send;
    /// Removes a part of a collection.
    fn remove_part(&self, number: u64, part: Part) -> impl Future<Output = Answer<()>> + Send;
    /// Does what takes long without a request.
    fn think<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send;
    /// Takes note of how far a collection has come.
    fn note(&self, _: Stage) {}
}
