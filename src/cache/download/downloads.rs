#![expect(clippy::disallowed_methods, reason = "waits for readers that come back")]

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::parts::PartsRoom;
use super::policy::{FIRST_FOR, LINGER, Policy, SHARED_FOR};
use super::progress::Progress;
use super::provenance::CameFrom;
use super::reader::Reader;
use super::source::{FetchError, Source};
use super::state::{Attached, Shared, State};
use super::task::{DownloadTask, Finished, Outcome, Why};
use super::tier_pace::TierPace;
use super::tiered::TieredSource;
use super::window::Wants;
use crate::cache::memory::locked;
use crate::cache::store::{Origin, PartialKey, Store, Tier};
use crate::http::Body;
use crate::image::{Digest, RegistryHost};
use crate::oci::Span;

/// How long another cache waits until it is decided where the bytes come from that it asks for.
const DECIDED_WITHIN: Duration = Duration::from_secs(1);
/// When what came from another cache is given to the tier: that cache does so at once, so that little is left to do.
const LATER: Duration = Duration::from_secs(30);

/// Everything that is being fetched into a store.
#[derive(Clone)]
pub struct Downloads(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    tier: Option<Arc<dyn Tier>>,
    policy: Policy,
    permits: Arc<Semaphore>,
    running: Mutex<HashMap<Key, Arc<Shared>>>,
    counts: Counts,
    /// How many bytes of objects are in memory that cannot be kept.
    memory: Arc<AtomicUsize>,
    /// How fast the tier and upstreams were lately.
    pace: Arc<Mutex<TierPace>>,
    /// Room for parts of what the tier gives that come before their turn.
    parts: Arc<PartsRoom>,
}

/// What a download is of, and which calls share it: those with the same scope.
type Key = (Digest, Option<RegistryHost>);

/// So much is being fetched already that nothing more is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} objects are being fetched already")]
pub struct Overloaded(pub usize);

/// What downloads have come to since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// How many are under way.
    pub running: usize,
    /// How many were begun.
    pub begun: u64,
    /// How many readers joined one that was under way.
    pub followers: u64,
    /// How many were stored.
    pub stored: u64,
    /// How many could not be kept, and were passed on to each reader by itself.
    pub passed_through: u64,
    /// How many failed.
    pub failed: u64,
    /// How many of those because what came had another digest.
    pub mismatched: u64,
    /// How many were given up because no reader was left.
    pub abandoned: u64,
    /// How often a broken transfer was resumed.
    pub resumed: u64,
}

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    followers: AtomicU64,
    stored: AtomicU64,
    passed_through: AtomicU64,
    failed: AtomicU64,
    mismatched: AtomicU64,
    abandoned: AtomicU64,
    resumed: AtomicU64,
}

/// A reader's place at a download; when the last one is dropped, the policy says whether the download goes on.
#[derive(Clone)]
pub struct Download {
    at: Attached,
    joined: Joined,
}

/// Whether a caller started a download or joined one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// This call started it.
    Started,
    /// It was under way.
    Existing,
}

impl Downloads {
    /// Makes a place for downloads into a store.
    pub fn new(store: Arc<dyn Store>, policy: Policy) -> Self {
        Self::with_tier(store, None, policy)
    }

    /// Makes a place for downloads into a store with a tier behind it.
    pub fn with_tier(store: Arc<dyn Store>, tier: Option<Arc<dyn Tier>>, policy: Policy) -> Self {
        Self(Arc::new(Inner {
            store,
            tier,
            policy,
            permits: Arc::new(Semaphore::new(policy.fills)),
            running: Mutex::default(),
            counts: Counts::default(),
            memory: Arc::default(),
            pace: Arc::default(),
            parts: Arc::default(),
        }))
    }

    /// Joins the download of a blob, or starts it; it belongs to the service, not to the caller.
    ///
    /// `hint` is how long the blob should be, for upstreams that do not say; call it where [`Store::open`] found
    /// nothing. Only calls with the same `scope` share a download: the registry that is asked.
    pub fn get(
        &self,
        digest: &Digest,
        hint: Option<u64>,
        scope: Option<&RegistryHost>,
        source: Arc<dyn Source>,
    ) -> Result<Download, Overloaded> {
        self.get_part(digest, hint, None, scope, source)
    }

    /// Joins or starts a download as [`Downloads::get`] does, for a reader that may want a part: of what is too large to
    /// be kept, that part is asked for.
    pub fn get_part(
        &self,
        digest: &Digest,
        hint: Option<u64>,
        first: Option<Span>,
        scope: Option<&RegistryHost>,
        source: Arc<dyn Source>,
    ) -> Result<Download, Overloaded> {
        let key = (*digest, scope.cloned());
        let mut running = self.0.running();
        if let Some(shared) = running.get(&key) {
            count(&self.0.counts.followers);
            return Ok(Download::new(Arc::clone(shared), Joined::Existing));
        }
        let Ok(permit) = Arc::clone(&self.0.permits).try_acquire_owned() else {
            return Err(Overloaded(self.0.policy.fills));
        };
        count(&self.0.counts.begun);
        let provenance = source.provenance().cloned().unwrap_or_default();
        let shared = Arc::new(Shared::new(*digest, source.origin().cloned(), provenance.clone()));
        running.insert(key.clone(), Arc::clone(&shared));
        let download = Download::new(Arc::clone(&shared), Joined::Started);
        let source = match &self.0.tier {
            Some(tier) => {
                let shared = (Arc::clone(&self.0.pace), Arc::clone(&self.0.parts));
                Arc::new(TieredSource::new(Arc::clone(tier), *digest, source, shared, provenance))
            }
            None => source,
        };
        let task = DownloadTask {
            shared: Arc::clone(&shared),
            store: Arc::clone(&self.0.store),
            source,
            policy: self.0.policy,
            hint,
            key: scope.map(|registry| PartialKey::new(digest, registry)),
            first,
            memory: Arc::clone(&self.0.memory),
        };
        let guard = Guard { inner: Arc::clone(&self.0), key, shared, _permit: permit };
        tokio::spawn(run(task, guard));
        Ok(download)
    }

    /// Joins the download of a blob if there is one in this scope.
    pub fn running(&self, digest: &Digest, scope: Option<&RegistryHost>) -> Option<Download> {
        let running = self.0.running();
        let shared = running.get(&(*digest, scope.cloned()))?;
        Some(Download::new(Arc::clone(shared), Joined::Existing))
    }

    /// Returns whether a blob is being downloaded, in whichever scope.
    pub fn is_running(&self, digest: &Digest) -> bool {
        self.0.running().keys().any(|(running, _)| running == digest)
    }

    /// Returns how far the running downloads are, in the order of their digests.
    pub fn progress(&self) -> Vec<Progress> {
        let mut all: Vec<Progress> = self.0.running().values().map(|shared| Progress::of(shared)).collect();
        all.sort_by(|a, b| (a.digest, &a.origin).cmp(&(b.digest, &b.origin)));
        all
    }

    /// Returns what downloads have come to.
    pub fn stats(&self) -> Stats {
        let counts = &self.0.counts;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Stats {
            running: self.0.running().len(),
            begun: get(&counts.begun),
            followers: get(&counts.followers),
            stored: get(&counts.stored),
            passed_through: get(&counts.passed_through),
            failed: get(&counts.failed),
            mismatched: get(&counts.mismatched),
            abandoned: get(&counts.abandoned),
            resumed: get(&counts.resumed),
        }
    }
}

impl Inner {
    fn running(&self) -> MutexGuard<'_, HashMap<Key, Arc<Shared>>> {
        locked(&self.running)
    }
}

/// Takes a download off the list when its task ends, even if that is by a panic: readers must not wait for ever.
struct Guard {
    inner: Arc<Inner>,
    key: Key,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Guard {
    fn remove(&self, running: &mut HashMap<Key, Arc<Shared>>) {
        if running.get(&self.key).is_some_and(|shared| Arc::ptr_eq(shared, &self.shared)) {
            running.remove(&self.key);
        }
    }

    /// Takes it off the list unless a reader has joined meanwhile.
    fn remove_if_abandoned(&self) -> bool {
        let mut running = self.inner.running();
        let abandoned = *self.shared.readers.borrow() == 0;
        if abandoned {
            self.remove(&mut running);
        }
        abandoned
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.remove(&mut self.inner.running());
        if !self.shared.is_over() {
            self.shared.enter(State::Failed(FetchError::Internal("the fetch was ended".to_owned())));
        }
    }
}

async fn run(task: DownloadTask, guard: Guard) {
    let counts = &guard.inner.counts;
    let digest = task.shared.digest;
    let Finished { outcome, resumed } = task.run(&|| guard.remove_if_abandoned()).await;
    counts.resumed.fetch_add(resumed, Ordering::Relaxed);
    match outcome {
        Outcome::Present => {}
        Outcome::Complete(spool) => match task.store.commit(spool, &digest).await {
            Ok(()) => {
                count(&counts.stored);
                task.source.kept().await;
                if let Some(tier) = &guard.inner.tier {
                    let wait = match task.shared.provenance.get() {
                        CameFrom::Member => LATER,
                        CameFrom::Unknown | CameFrom::Upstream | CameFrom::Tier => Duration::ZERO,
                    };
                    tokio::spawn(put(Arc::clone(tier), Arc::clone(&task.store), digest, wait));
                }
            }
            Err(error) => tracing::warn!(%digest, "passed on, but not kept: {error}"),
        },
        Outcome::Passthrough(why) => {
            count(&counts.passed_through);
            let first = tokio::spawn(forget_first(Arc::clone(&task.shared)));
            match why {
                // Those who come while others read share what they read.
                Why::TooLarge => until_left(&task.shared, &guard).await,
                // Those of one moment do, too; the next may find room.
                Why::NoRoom => drop(timeout(SHARED_FOR, until_left(&task.shared, &guard)).await),
            }
            first.abort();
        }
        Outcome::Failed(error) => {
            count(&counts.failed);
            if let FetchError::Mismatch(why) = &error {
                count(&counts.mismatched);
                tracing::error!(%digest, "the upstream gave wrong bytes: {why}");
            }
            task.shared.enter(State::Failed(error));
        }
        Outcome::Abandoned => count(&counts.abandoned),
    }
}

/// Ends the transfer that what cannot be kept began with, once the reader that it was for must have come.
async fn forget_first(shared: Arc<Shared>) {
    sleep(FIRST_FOR).await;
    let state = shared.watch().borrow().clone();
    match state {
        State::Passthrough(passthrough) => passthrough.window.forget_first(),
        State::Waiting | State::Streaming(_) | State::Complete(_) | State::Failed(_) => {}
    }
}

/// Waits until all readers have gone, and none has come for a moment.
async fn until_left(shared: &Shared, guard: &Guard) {
    let mut readers = shared.readers.subscribe();
    loop {
        // The sender is ours: neither wait can fail.
        drop(readers.wait_for(|count| *count == 0).await);
        let is_back = timeout(LINGER, readers.wait_for(|count| *count > 0)).await.is_ok();
        if !is_back && guard.remove_if_abandoned() {
            return;
        }
    }
}

/// Gives a tier what was committed.
async fn put(tier: Arc<dyn Tier>, store: Arc<dyn Store>, digest: Digest, wait: Duration) {
    sleep(wait).await;
    let result = match store.open(&digest).await {
        Ok(Some(blob)) => tier.put(&digest, &blob).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        tracing::warn!(%digest, "cannot give it to the tier: {error}");
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Download {
    fn new(shared: Arc<Shared>, joined: Joined) -> Self {
        Self { at: Attached::new(shared), joined }
    }

    /// Returns the repository that it is downloaded from, where it is one.
    pub fn origin(&self) -> Option<&Origin> {
        self.at.shared().origin.as_ref()
    }

    /// Returns whether this call started the download.
    pub const fn joined(&self) -> Joined {
        self.joined
    }

    /// Returns where its bytes come from.
    pub fn came_from(&self) -> CameFrom {
        self.at.shared().provenance.get()
    }

    /// Waits for a moment until it is decided where its bytes come from.
    pub async fn decided(&self) -> CameFrom {
        let decided = timeout(DECIDED_WITHIN, self.at.shared().provenance.decided()).await;
        decided.unwrap_or(CameFrom::Unknown)
    }

    /// Waits for the headers: how many bytes the whole blob has.
    ///
    /// That is as soon as the upstream says so; where it does not, at the end. Nothing at all is only said to be
    /// nothing when that has the right digest.
    pub async fn headers(&self) -> Result<u64, FetchError> {
        let mut state = self.at.shared().watch();
        loop {
            match &*state.borrow_and_update() {
                State::Waiting | State::Streaming(None | Some(0)) => {}
                State::Streaming(Some(total)) | State::Complete(total) => return Ok(*total),
                State::Failed(error) => return Err(error.clone()),
                State::Passthrough(passthrough) => return Ok(passthrough.window.total()),
            }
            if state.changed().await.is_err() {
                return Err(FetchError::Internal("the download ended without a result".to_owned()));
            }
        }
    }

    /// Returns a part, or all of it, as the body of an answer; `total` is what [`Download::headers`] said.
    ///
    /// Its last 64 KiB come when the digest has proved right; an error means that the connection must be broken off.
    pub fn body(&self, span: Option<Span>, total: u64) -> Body {
        let (offset, len) = span.map_or((0, total), |span| (span.first(), span.size()));
        let wants = if span.is_none() { Wants::All } else { Wants::Part };
        if len == 0 {
            return Body::Empty;
        }
        let reader = Reader::new(self.at.clone(), offset, offset.saturating_add(len), wants);
        Body::Pieces { len, pieces: Box::new(reader) }
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("digest", &self.at.shared().digest)
            .field("joined", &self.joined)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Downloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Downloads").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
