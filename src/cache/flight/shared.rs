use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use tokio::sync::watch;

use super::intake_driver::Intake;
use super::rules::Rules;
use super::source::{Source, SourceError};
use crate::cache::store::{SharedFile, Spool};
use crate::image::Digest;
use crate::oci::Verifier;

/// What a fill and those who read along have in common.
pub(super) struct Shared {
    pub(super) digest: Digest,
    /// Where the bytes are, once there is a place for them.
    pub(super) file: OnceLock<SharedFile>,
    /// How many bytes from the beginning may be read; only grows. Looked at without a lock for every piece.
    readable: AtomicU64,
    /// Changes with every step of the fill too, so that whoever waits for bytes waits for this.
    state: watch::Sender<State>,
    /// How many wait or read.
    pub(super) passengers: watch::Sender<usize>,
}

/// How far a flight is.
#[derive(Clone)]
pub(super) enum State {
    /// No headers yet.
    Boarding,
    /// Bytes come; with how many there will be, where that is known.
    Flying(Option<u64>),
    /// All of them are there, and right.
    Landed(u64),
    /// Nothing more comes.
    Lost(SourceError),
    /// They cannot be kept any more: everybody goes on alone.
    Diverted(Arc<Diversion>),
}

/// What is needed to go on without keeping.
pub(super) struct Diversion {
    pub(super) total: Option<u64>,
    /// How many bytes are in the file, where there is one.
    pub(super) at: u64,
    /// Has seen that many.
    pub(super) verifier: Verifier,
    pub(super) source: Arc<dyn Source>,
    pub(super) rules: Rules,
    /// The transfer that was under way, for the first to come: so that a single client costs a single one.
    pub(super) rest: Mutex<Option<Rest>>,
    /// Keeps its room accounted for until the last has read what is in it.
    pub(super) _spool: Option<Spool>,
}

/// A transfer under way, and what came of it that is not in the file.
pub(super) struct Rest {
    pub(super) pending: Vec<Bytes>,
    pub(super) intake: Intake,
}

impl Shared {
    pub(super) fn new(digest: Digest) -> Self {
        Self {
            digest,
            file: OnceLock::new(),
            readable: AtomicU64::new(0),
            state: watch::Sender::new(State::Boarding),
            passengers: watch::Sender::new(0),
        }
    }

    pub(super) fn readable(&self) -> u64 {
        self.readable.load(Ordering::Acquire)
    }

    /// Lets everybody read up to there.
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
            State::Boarding | State::Flying(_) => false,
            State::Landed(_) | State::Lost(_) | State::Diverted(_) => true,
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }
}
