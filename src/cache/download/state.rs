use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use super::provenance::Provenance;
use super::source::FetchError;
use super::window::Window;
use crate::cache::store::{Origin, SharedFile, Spool};
use crate::image::Digest;
use crate::oci::Verifier;

/// What a download and its readers share.
pub(super) struct Shared {
    pub(super) digest: Digest,
    /// The repository that it is downloaded from, where it is one.
    pub(super) origin: Option<Origin>,
    /// Where the bytes are, once there is a place for them.
    pub(super) file: OnceLock<SharedFile>,
    /// How many bytes from the beginning may be read; only grows. Read without a lock for every piece.
    readable: AtomicU64,
    /// Changes with every step of the download too, so that a reader that waits for bytes waits for this.
    state: watch::Sender<State>,
    /// Where its bytes come from.
    pub(super) provenance: Provenance,
    /// How many wait or read; counted by [`Attached`].
    pub(super) readers: watch::Sender<usize>,
}

/// How far a download is.
#[derive(Clone)]
pub(super) enum State {
    /// No headers yet.
    Waiting,
    /// Bytes come; with how many there will be, where that is known.
    Streaming(Option<u64>),
    /// All of them are there, and right.
    Complete(u64),
    /// Nothing more comes.
    Failed(FetchError),
    /// They cannot be kept any more: readers take the rest from what they share.
    Passthrough(Arc<Passthrough>),
}

/// What a reader needs to read the rest of an object that cannot be kept.
pub(super) struct Passthrough {
    /// How many bytes are in the file, where there is one.
    pub(super) at: u64,
    /// Has seen that many.
    pub(super) verifier: Verifier,
    /// What readers share.
    pub(super) window: Arc<Window>,
    /// Keeps its room accounted for until the last reader has read what is in it.
    pub(super) _spool: Option<Spool>,
}

impl Shared {
    pub(super) fn new(digest: Digest, origin: Option<Origin>, provenance: Provenance) -> Self {
        Self {
            digest,
            origin,
            file: OnceLock::new(),
            readable: AtomicU64::new(0),
            state: watch::Sender::new(State::Waiting),
            provenance,
            readers: watch::Sender::new(0),
        }
    }

    pub(super) fn readable(&self) -> u64 {
        self.readable.load(Ordering::Acquire)
    }

    /// Lets all readers read up to there.
    pub(super) fn publish(&self, readable: u64) {
        if self.readable.fetch_max(readable, Ordering::AcqRel) < readable {
            self.state.send_modify(|_| {});
        }
    }

    pub(super) fn enter(&self, state: State) {
        self.state.send_replace(state);
    }

    pub(super) fn is_over(&self) -> bool {
        match &*self.state.borrow() {
            State::Waiting | State::Streaming(_) => false,
            State::Complete(_) | State::Failed(_) | State::Passthrough(_) => true,
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }
}

/// A place at a download: as long as one is held, the download has a reader.
pub(super) struct Attached(Arc<Shared>);

impl Attached {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        shared.readers.send_modify(|count| *count += 1);
        Self(shared)
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Clone for Attached {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.0))
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.readers.send_modify(|count| *count = count.saturating_sub(1));
    }
}
