use super::state::{Shared, State};
use crate::cache::store::Origin;
use crate::image::Digest;

/// How far a download is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is downloaded.
    pub digest: Digest,
    /// The repository that it comes from, where it is one.
    pub origin: Option<Origin>,
    /// How many bytes readers may have already.
    pub received_bytes: u64,
    /// How many there will be, where that is known.
    pub total_bytes: Option<u64>,
    /// How many clients wait or read.
    pub readers: usize,
}

impl Progress {
    pub(super) fn of(shared: &Shared) -> Self {
        let (received_bytes, total_bytes) = match &*shared.watch().borrow() {
            State::Waiting | State::Failed(_) => (shared.readable(), None),
            State::Streaming(total) => (shared.readable(), *total),
            State::Complete(total) => (*total, Some(*total)),
            State::Passthrough(rest) => (shared.readable(), Some(rest.window.total())),
        };
        Self {
            digest: shared.digest,
            origin: shared.origin.clone(),
            received_bytes,
            total_bytes,
            readers: *shared.readers.borrow(),
        }
    }
}
