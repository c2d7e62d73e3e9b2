use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::policy::readable;
use super::resuming_body::ResumingBody;
use super::source::FetchError;
use super::state::{Passthrough, Remainder};
use crate::cache::memory::locked;
use crate::oci::Verifier;

/// The rest of an object that cannot be kept, for one reader alone: nothing of its end before the digest proved right.
pub(super) struct PassthroughReader {
    shared: Arc<Passthrough>,
    body: ResumingBody,
    pending: VecDeque<Bytes>,
    verifier: Verifier,
    total: u64,
    /// What has come and was not given on, and where it begins.
    held: VecDeque<Bytes>,
    held_from: u64,
    verified: bool,
}

impl PassthroughReader {
    pub(super) fn new(shared: Arc<Passthrough>) -> Result<Self, FetchError> {
        let Some(total) = shared.total else { return Err(no_length()) };
        let rest = locked(&shared.rest).take();
        let Remainder { pending, body } = rest.unwrap_or_else(|| Remainder {
            pending: Vec::new(),
            body: ResumingBody::new(Arc::clone(&shared.source), shared.policy, shared.at, shared.total),
        });
        Ok(Self {
            body,
            pending: pending.into(),
            verifier: shared.verifier.clone(),
            total,
            held: VecDeque::new(),
            held_from: shared.at,
            verified: false,
            shared,
        })
    }

    /// Returns up to which position bytes may be given to the reader.
    pub(super) fn readable(&self) -> u64 {
        if self.verified { self.total } else { readable(Some(self.total), self.total) }
    }

    /// Returns how many bytes from the beginning are in the download's file.
    pub(super) fn kept(&self) -> u64 {
        self.shared.at
    }

    /// Takes bytes from a position on, up to another.
    pub(super) fn take(&mut self, offset: u64, upto: u64) -> Option<Bytes> {
        if self.held_from != offset {
            return None;
        }
        let wanted = usize::try_from(upto.checked_sub(offset)?).unwrap_or(usize::MAX);
        let front = self.held.front_mut()?;
        let bytes = front.split_to(wanted.min(front.len()));
        if front.is_empty() {
            self.held.pop_front();
        }
        self.held_from += bytes.len() as u64;
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Waits for more; what lies before a position is hashed only.
    pub(super) async fn pull(&mut self, offset: u64) -> Result<(), FetchError> {
        let bytes = match self.pending.pop_front() {
            Some(bytes) => Some(bytes),
            None => self.body.next().await?,
        };
        let Some(mut bytes) = bytes else {
            let verifier = self.verifier.clone();
            return match verifier.finish() {
                Ok(_) => {
                    self.shared.source.complete().await;
                    self.verified = true;
                    Ok(())
                }
                Err(mismatch) => {
                    self.body.mismatch();
                    Err(FetchError::Mismatch(mismatch.to_string()))
                }
            };
        };
        // Small steps: this is hashed where other requests are served too.
        for slice in bytes.chunks(64 << 10) {
            self.verifier.update(slice);
            tokio::task::yield_now().await;
        }
        if self.held.is_empty() {
            let end = self.held_from.saturating_add(bytes.len() as u64);
            let skipped = offset.saturating_sub(self.held_from).min(end - self.held_from);
            drop(bytes.split_to(usize::try_from(skipped).unwrap_or(usize::MAX).min(bytes.len())));
            self.held_from += skipped;
        }
        if !bytes.is_empty() {
            self.held.push_back(bytes);
        }
        Ok(())
    }
}

pub(super) fn no_length() -> FetchError {
    FetchError::unavailable(
        "the upstream does not say how long it is, and there is no room to keep it until that is known"
            .to_owned(),
    )
}
