#![expect(clippy::disallowed_methods, reason = "says whether a tag may still be answered without a look")]

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use jiff::Timestamp;

use crate::cache::memory::{BoundedMap, locked};
use crate::cache::observe::{Outcome, Served};
use crate::cache::store::{Kind, Object, Origin, Store, TagRecord, Touched};
use crate::http::{Body, PlainRequest, PreparedResponse};
use crate::image::{Digest, Tag};
use crate::oci::digest_of;

/// How much memory answers may take, in bytes.
const MEMORY: usize = 64 << 20;
/// Of how many tags there may be answers; beyond that, all are forgotten.
const TAGS: usize = 1 << 17;

thread_local! {
    /// The key that is looked up.
    static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Answers that anyone gets who asks in the same words: manifests and small blobs that are stored and may go out.
///
/// They hold as long as nothing has changed that they follow from. A new configuration and an administrator may change what a
/// client may have: whoever adds such a way calls [`ReadyAnswers::forget`]. When a tag moves, what was answered to those who asked
/// for it is forgotten. What is not stored any more is noticed when it is asked for.
pub(super) struct ReadyAnswers {
    store: Arc<dyn Store>,
    kept: Mutex<All>,
    /// Counts what has changed. It grows while `kept` is locked; before the lock is released, every answer that the change affects
    /// has been removed.
    changes: AtomicU64,
    hasher: RandomState,
}

struct All {
    answers: BoundedMap<Vec<u8>, Arc<Kept>>,
    /// The hashes of tags that there may be answers of.
    tags: HashSet<u64>,
}

impl All {
    fn clear(&mut self) {
        self.answers.clear();
        self.tags.clear();
    }
}

/// The words of a request that others may ask in, and what had changed until it came.
#[derive(Debug)]
pub(super) struct ReadyKey {
    key: Vec<u8>,
    changes: u64,
}

/// What a tag is, and until when that is believed without a look.
#[derive(Clone, Debug)]
pub(super) struct Believed {
    /// What was seen when it was checked.
    pub(super) record: Arc<TagRecord>,
    /// When it is to be checked again.
    pub(super) until: Timestamp,
}

impl Believed {
    /// A check in the future is of a clock that was set back.
    fn holds(&self, now: Timestamp) -> bool {
        self.record.checked_at <= now && now < self.until
    }
}

struct Kept {
    response: Arc<PreparedResponse>,
    object: Object,
    /// Of the tag, where it was asked for by one.
    believed: Option<Believed>,
}

impl Kept {
    fn holds(&self) -> bool {
        self.believed.as_ref().is_none_or(|believed| believed.holds(Timestamp::now()))
    }
}

impl ReadyAnswers {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let all = All { answers: BoundedMap::new(MEMORY), tags: HashSet::new() };
        Self { store, kept: Mutex::new(all), changes: AtomicU64::new(0), hasher: RandomState::new() }
    }

    /// Returns the answer to a request, if it is ready, and nothing waits for its manifest to be taken by a client.
    pub(super) fn get(
        &self,
        request: &PlainRequest<'_>,
        is_unsaved: impl FnOnce(&Digest) -> bool,
    ) -> Option<Arc<PreparedResponse>> {
        KEY.with_borrow_mut(|key| {
            write_key(key, request);
            let kept = locked(&self.kept).answers.get(key.as_slice())?;
            if !kept.holds() || (kept.object.kind == Kind::Manifest && is_unsaved(&kept.object.digest)) {
                return None;
            }
            match self.store.touch(&kept.object) {
                Touched::Counted => Some(Arc::clone(&kept.response)),
                // It is to be stored again.
                Touched::Gone => {
                    locked(&self.kept).answers.remove(key.as_slice());
                    None
                }
                Touched::Wanted => None,
            }
        })
    }

    /// Counts what has changed so far: to be asked for before anything else is looked at for an answer.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Returns under which words the answer to a request may be kept, if others may have it, too.
    pub(super) fn key(request: &Request<()>, changes: u64) -> Option<ReadyKey> {
        let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let target = request.uri().path_and_query()?.as_str();
        let plain = PlainRequest::of(request.method().as_str(), target, headers)?;
        let mut key = Vec::new();
        write_key(&mut key, &plain);
        Some(ReadyKey { key, changes })
    }

    /// Keeps the answer to a request ready, if it is small and came from the store.
    pub(super) fn keep(
        &self,
        key: Option<&ReadyKey>,
        response: &Response<Body>,
        object: Object,
        believed: Option<Believed>,
    ) {
        let Some(ReadyKey { key, changes }) = key else { return };
        let is_hit =
            response.extensions().get::<Served>().is_some_and(|served| served.outcome == Outcome::Hit);
        if !is_hit {
            return;
        }
        let known = locked(&self.kept).answers.get(key);
        if known.is_some_and(|known| known.object == object && known.holds()) {
            return;
        }
        let Some(response) = PreparedResponse::of(response) else { return };
        // A file may have been damaged on the disk, and is found out to be one day; what is in memory is not looked at again.
        let is_sound = object.kind == Kind::Manifest
            || response.body().is_empty()
            || digest_of(object.digest.algorithm(), response.body()) == object.digest;
        if !is_sound {
            return;
        }
        let weight = response.weight() + key.len();
        let kept = Arc::new(Kept { response: Arc::new(response), object, believed });
        let tag = kept.believed.as_ref().map(|believed| {
            let record = &believed.record;
            self.hash(&record.origin, &record.tag)
        });
        let mut all = locked(&self.kept);
        if self.changes.load(Ordering::Acquire) != *changes {
            return;
        }
        if all.tags.len() >= TAGS {
            all.clear();
        }
        all.tags.extend(tag);
        all.answers.put(key.clone(), kept, weight);
    }

    /// Forgets all of them, those of requests that are being answered too: something has changed.
    pub(super) fn forget(&self) {
        let mut all = locked(&self.kept);
        self.changes.fetch_add(1, Ordering::AcqRel);
        all.clear();
    }

    /// Forgets what was answered to those who asked for a tag: it has moved.
    pub(super) fn forget_tag(&self, origin: &Origin, tag: &Tag) {
        let mut all = locked(&self.kept);
        self.changes.fetch_add(1, Ordering::AcqRel);
        // Clients may ask for any number of tags that never were.
        if !all.tags.remove(&self.hash(origin, tag)) {
            return;
        }
        all.answers.retain(|_, kept| {
            let record = kept.believed.as_ref().map(|believed| &believed.record);
            record.is_none_or(|record| record.tag != *tag || record.origin != *origin)
        });
    }

    fn hash(&self, origin: &Origin, tag: &Tag) -> u64 {
        self.hasher.hash_one((origin, tag))
    }
}

/// Writes what tells a plain request from all others.
fn write_key(key: &mut Vec<u8>, request: &PlainRequest<'_>) {
    key.clear();
    key.push(u8::from(request.is_head));
    key.extend_from_slice(request.target.as_bytes());
    // What a digest names is one thing, whatever a client would take.
    if !is_by_digest(request.target) {
        // No target has such a byte in it.
        key.push(0);
        key.extend_from_slice(request.accept);
    }
}

/// Returns whether a target names a digest, in letters that need no decoding: no tag has a colon in it.
fn is_by_digest(target: &str) -> bool {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    path.rsplit_once('/').is_some_and(|(_, last)| last.contains(':'))
}
