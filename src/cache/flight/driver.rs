use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fill_driver::{Fill, Outcome, Report};
use super::reader_driver::{Reader, no_length};
use super::rules::Rules;
use super::shared::{Shared, State};
use super::source::{Source, SourceError};
use crate::cache::store::Store;
use crate::http::Body;
use crate::image::Digest;
use crate::oci::Span;

/// Everything that is being fetched into a store.
#[derive(Clone)]
pub struct Flights(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    rules: Rules,
    permits: Arc<Semaphore>,
    running: Mutex<HashMap<Digest, Arc<Shared>>>,
    counts: Counts,
}

/// So much is being fetched already that nothing more is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} objects are being fetched already")]
pub struct Overloaded(pub usize);

/// What flights have come to since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// How many are under way.
    pub running: usize,
    /// How many were begun.
    pub begun: u64,
    /// How many readers boarded one that was under way.
    pub followers: u64,
    /// How many were stored.
    pub stored: u64,
    /// How many could not be kept, and were passed on to each reader by itself.
    pub diverted: u64,
    /// How many failed.
    pub failed: u64,
    /// How many of those because what came had another digest.
    pub mismatched: u64,
    /// How many were given up because nobody waited.
    pub deserted: u64,
    /// How often a broken transfer was taken up again.
    pub resumed: u64,
}

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    followers: AtomicU64,
    stored: AtomicU64,
    diverted: AtomicU64,
    failed: AtomicU64,
    mismatched: AtomicU64,
    deserted: AtomicU64,
    resumed: AtomicU64,
}

/// A fetch that somebody waits for; whoever drops the last one leaves it to the rules whether it goes on.
pub struct Flight {
    shared: Arc<Shared>,
    role: Role,
}

/// Who began a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// This one.
    Leader,
    /// Somebody before.
    Follower,
}

impl Flights {
    /// Makes a place for fetches into a store.
    pub fn new(store: Arc<dyn Store>, rules: Rules) -> Self {
        Self(Arc::new(Inner {
            store,
            rules,
            permits: Arc::new(Semaphore::new(rules.fills)),
            running: Mutex::default(),
            counts: Counts::default(),
        }))
    }

    /// Boards the fetch of a blob, or begins it; it belongs to the service, not to the caller.
    ///
    /// `hint` is how long the blob should be, for upstreams that do not say; call it where [`Store::open`] found
    /// nothing.
    pub fn get(
        &self,
        digest: &Digest,
        hint: Option<u64>,
        source: Arc<dyn Source>,
    ) -> Result<Flight, Overloaded> {
        let mut running = self.0.running();
        if let Some(shared) = running.get(digest) {
            count(&self.0.counts.followers);
            return Ok(Flight::new(Arc::clone(shared), Role::Follower));
        }
        let Ok(permit) = Arc::clone(&self.0.permits).try_acquire_owned() else {
            return Err(Overloaded(self.0.rules.fills));
        };
        count(&self.0.counts.begun);
        let shared = Arc::new(Shared::new(*digest));
        running.insert(*digest, Arc::clone(&shared));
        let flight = Flight::new(Arc::clone(&shared), Role::Leader);
        let fill = Fill {
            shared: Arc::clone(&shared),
            store: Arc::clone(&self.0.store),
            source,
            rules: self.0.rules,
            hint,
        };
        let guard = Guard { inner: Arc::clone(&self.0), shared, _permit: permit };
        tokio::spawn(run(fill, guard));
        Ok(flight)
    }

    /// Boards the fetch of a blob if there is one.
    pub fn running(&self, digest: &Digest) -> Option<Flight> {
        let running = self.0.running();
        let shared = running.get(digest)?;
        Some(Flight::new(Arc::clone(shared), Role::Follower))
    }

    /// Returns what flights have come to.
    pub fn stats(&self) -> Stats {
        let counts = &self.0.counts;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Stats {
            running: self.0.running().len(),
            begun: get(&counts.begun),
            followers: get(&counts.followers),
            stored: get(&counts.stored),
            diverted: get(&counts.diverted),
            failed: get(&counts.failed),
            mismatched: get(&counts.mismatched),
            deserted: get(&counts.deserted),
            resumed: get(&counts.resumed),
        }
    }
}

impl Inner {
    fn running(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Shared>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a flight off the list when its task ends, even if that is by a panic: readers must not wait for ever.
struct Guard {
    inner: Arc<Inner>,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Guard {
    fn strike(&self, running: &mut HashMap<Digest, Arc<Shared>>) {
        if running.get(&self.shared.digest).is_some_and(|shared| Arc::ptr_eq(shared, &self.shared)) {
            running.remove(&self.shared.digest);
        }
    }

    /// Takes it off the list unless somebody has boarded meanwhile.
    fn strike_deserted(&self) -> bool {
        let mut running = self.inner.running();
        let deserted = *self.shared.passengers.borrow() == 0;
        if deserted {
            self.strike(&mut running);
        }
        deserted
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.strike(&mut self.inner.running());
        if !self.shared.is_over() {
            self.shared.enter(State::Lost(SourceError::Internal("the fetch was ended".to_owned())));
        }
    }
}

async fn run(fill: Fill, guard: Guard) {
    let counts = &guard.inner.counts;
    let digest = fill.shared.digest;
    let Report { outcome, resumed } = fill.run(&|| guard.strike_deserted()).await;
    counts.resumed.fetch_add(resumed, Ordering::Relaxed);
    match outcome {
        Outcome::Present => {}
        Outcome::Landed(spool) => match fill.store.commit(spool, &digest).await {
            Ok(()) => count(&counts.stored),
            Err(error) => tracing::warn!(%digest, "passed on, but not kept: {error}"),
        },
        Outcome::Diverted => count(&counts.diverted),
        Outcome::Lost(error) => {
            count(&counts.failed);
            if let SourceError::Mismatch(why) = &error {
                count(&counts.mismatched);
                tracing::error!(%digest, "the upstream gave wrong bytes: {why}");
            }
            fill.shared.enter(State::Lost(error));
        }
        Outcome::Deserted => count(&counts.deserted),
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Flight {
    fn new(shared: Arc<Shared>, role: Role) -> Self {
        shared.passengers.send_modify(|count| *count += 1);
        Self { shared, role }
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns whether this is the one that began the fetch.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Waits for the headers: how many bytes the whole blob has.
    ///
    /// That is as soon as the upstream says so; where it does not, at the end. Nothing at all is only said to be
    /// nothing when that has the right digest.
    pub async fn headers(&self) -> Result<u64, SourceError> {
        let mut state = self.shared.watch();
        loop {
            match &*state.borrow_and_update() {
                State::Boarding | State::Flying(None | Some(0)) => {}
                State::Flying(Some(total)) | State::Landed(total) => return Ok(*total),
                State::Lost(error) => return Err(error.clone()),
                State::Diverted(diversion) => match diversion.total {
                    None => return Err(no_length()),
                    Some(0) => {
                        let checked = diversion.verifier.clone().finish();
                        return checked.map_err(|error| SourceError::Mismatch(error.to_string()));
                    }
                    Some(total) => return Ok(total),
                },
            }
            if state.changed().await.is_err() {
                return Err(SourceError::Internal("the fetch ended without a word".to_owned()));
            }
        }
    }

    /// Returns a part, or all of it, as the body of an answer; `total` is what [`Flight::headers`] said.
    ///
    /// Its last 64 KiB come when the digest has proved right; an error means that the connection must be broken off.
    pub fn body(&self, span: Option<Span>, total: u64) -> Body {
        let (offset, len) = span.map_or((0, total), |span| (span.first(), span.size()));
        if len == 0 {
            return Body::Empty;
        }
        let reader = Reader::new(self.clone(), offset, offset.saturating_add(len));
        Body::Pieces { len, pieces: Box::new(reader) }
    }
}

impl Clone for Flight {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared), self.role)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.shared.passengers.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight")
            .field("digest", &self.shared.digest)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
